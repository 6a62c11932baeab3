"""The body of a request, read and decoded within bounds whatever is sent, however it is sent, and however slowly."""

import asyncio
import zlib
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
import orjson
from fastapi import HTTPException, Request
from numpy.typing import NDArray

from streamgauge.errors import InputError

PATIENCE: Final = 30.0  # seconds a body may take to arrive
MOST_BYTES: Final = 1024 * 1024
DEEPEST: Final = 8
MOST_KEYS: Final = 50_000
#: Keys, values, lists and objects. An empty object takes two bytes to send and 64 to keep.
MOST_PARTS: Final = 100_000
_LONGEST_NUMBER = 18  # digits
_CONTENT_TYPE = "application/json"
_GZIP = ("gzip", "x-gzip")  # the same: RFC 9110, section 8.4.1.3
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # one gzip member, and nothing but gzip
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}:,'))
Marks: TypeAlias = NDArray[np.uint8]
_QUOTE, _COLON, _OPEN, _CLOSE = b'":[]'


async def read_body(
    request: Request, most_bytes: int, advice: str = "send less at once", patience: float = PATIENCE
) -> bytes:
    """The whole body, unpacked where it is sent as gzip.

    Received and unpacked bytes are counted as they come; what is kept is never more than `most_bytes` and the part that has just come.

    Args:
        request: whose body nobody has read yet.
        most_bytes: of what is received, and of what it unpacks to.
        advice: what to do about a body that is too long.
        patience: seconds it may take.

    Raises:
        HTTPException: 408 when it takes too long, 413 when it is too long, 415 for a Content-Encoding other than gzip.
        InputError: it is not one whole gzip member.
    """
    too_long = HTTPException(413, f"the body is longer than {most_bytes} bytes: {advice}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > _LONGEST_NUMBER or int(announced) > most_bytes):
        raise too_long
    gunzip = _Gunzip() if _is_packed(request) else None
    received, kept, whole = 0, 0, BytesIO()
    try:
        async with asyncio.timeout(patience):
            async for part in request.stream():
                received += len(part)
                unpacked = gunzip.unpack(part, most_bytes - kept + 1) if gunzip else part
                kept += len(unpacked)
                if received > most_bytes or kept > most_bytes:
                    raise too_long
                whole.write(unpacked)
    except TimeoutError:
        # What is still to come of it must not be taken for the next request.
        raise HTTPException(
            408,
            f"the body did not arrive within {patience:g} seconds: send it at once",
            {"Connection": "close"},
        ) from None
    if gunzip:
        gunzip.finish()
    return whole.getvalue()


async def read_json(
    request: Request,
    most_bytes: int = MOST_BYTES,
    deepest: int = DEEPEST,
    *,
    most_keys: int = MOST_KEYS,
    most_parts: int = MOST_PARTS,
    advice: str = "send less at once",
) -> object:
    """The JSON of a body. Of a key that is given twice in an object, the last value counts.

    Raises what `read_body` and `decode_json` raise, and HTTPException 415 for another Content-Type than application/json.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != _CONTENT_TYPE:
        raise HTTPException(
            415, f"the body's Content-Type is {given[:80]!r}: send {_CONTENT_TYPE}", {"Accept": _CONTENT_TYPE}
        )
    body = await read_body(request, most_bytes, advice)
    return decode_json(body, deepest, most_keys=most_keys, most_parts=most_parts)


def decode_json(
    body: bytes, deepest: int = DEEPEST, *, most_keys: int = MOST_KEYS, most_parts: int = MOST_PARTS
) -> object:
    """JSON of bounded depth and size, which are looked at before anything is decoded.

    Args:
        body: what was sent.
        deepest: levels of lists and objects.
        most_keys: keys of all objects together.
        most_parts: keys, values, lists and objects together.

    Raises:
        InputError: it is nested too deeply, has too many keys or parts, or is no JSON.
    """
    structure = _structure(body)
    keys, closing = int(np.count_nonzero(structure == _COLON)), int(np.count_nonzero(structure == _CLOSE))
    if keys > most_keys:
        raise InputError(f"the body has more than {most_keys} keys: send less at once", "body")
    # A longer one is refused in any case.
    if _depth(structure[: 2 * most_parts]) > deepest:
        raise InputError(f"the body is nested deeper than {deepest} levels", "body")
    if structure.size - closing > most_parts:
        raise InputError(f"the body has more than {most_parts} keys and values: send less at once", "body")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}", "body") from None


def _structure(body: bytes) -> Marks:
    """The colons, commas and brackets outside of texts, braces as brackets. Of what is no JSON, at least up to where it stops being it."""
    # By whole passes over the body: a loop over its bytes would keep every other request waiting, and a regular expression makes a
    # piece for every text, sixty times what was sent.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_BRACKETS, _NO_STRUCTURE)
    marks = np.frombuffer(plain, np.uint8)
    quotes = marks == _QUOTE
    texts = np.logical_xor.accumulate(quotes) | quotes
    structure: Marks = marks[~texts]
    return structure


def _depth(structure: Marks) -> int:
    steps = (structure == _OPEN).astype(np.int32) - (structure == _CLOSE)
    return int(np.cumsum(steps).max(initial=0))


def _is_packed(request: Request) -> bool:
    """Whether the body is gzip. Raises HTTPException 415 for any other encoding, and for several."""
    given = ",".join(request.headers.getlist("content-encoding")).lower()
    encodings = [name for part in given.split(",") if (name := part.strip()) not in ("", "identity")]
    if not encodings:
        return False
    if len(encodings) > 1 or encodings[0] not in _GZIP:
        raise HTTPException(
            415,
            f"the body's Content-Encoding is {given[:80]!r}: send it as gzip, or as it is",
            {"Accept-Encoding": "gzip"},
        )
    return True


class _Gunzip:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    def unpack(self, part: bytes, most: int) -> bytes:
        """Up to `most` bytes of what this part holds. Where there is more, whoever gets them is to stop. Raises InputError."""
        try:
            unpacked = self._member.decompress(part, most)
        except zlib.error as error:
            raise InputError(f"the body is not gzip, as its Content-Encoding says: {error}", "body") from None
        if self._member.unused_data:
            raise InputError("something follows the body's gzip data: send one gzip member", "body")
        return unpacked

    def finish(self) -> None:
        """Raises InputError unless the end has come."""
        if not self._member.eof:
            raise InputError("the body's gzip data end too early", "body")
