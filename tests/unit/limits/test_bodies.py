"""Bodies of requests: bounded in length, in what they unpack to, in depth and in time, however they are sent."""

import asyncio
import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import HTTPException, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from streamgauge.errors import InputError
from streamgauge.limits.bodies import DEEPEST, decode_json, read_body, read_json

#: Texts that look like structure, to whoever does not see where they begin and end.
TEXTS = st.text(alphabet='[]{}"\\,:aé', max_size=8)
DOCUMENTS = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def request(messages: AsyncIterator[Message], **headers: str) -> Request:
    async def receive() -> Message:
        return await anext(messages)

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": given}, receive)


async def parts(*contents: bytes) -> AsyncIterator[Message]:
    for content in contents:
        yield {"type": "http.request", "body": content, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def then_nothing(*contents: bytes) -> AsyncIterator[Message]:
    """Fails when more is read."""
    for content in contents:
        yield {"type": "http.request", "body": content, "more_body": True}
    raise AssertionError("it was read on")


async def drop_by_drop() -> AsyncIterator[Message]:
    while True:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.sleep(0.001)


async def status_of(asked: Request, most: int = 1_000, **options: Any) -> int:
    with pytest.raises(HTTPException) as refused:
        await read_body(asked, most, **options)
    return refused.value.status_code


async def test_a_body_of_many_parts_is_put_together_up_to_its_limit() -> None:
    assert await read_body(request(parts(b"ab", b"", b"c")), 3) == b"abc"
    assert await read_body(request(parts(b"abc"), content_length="3"), 3) == b"abc"
    assert await read_body(request(parts()), 3) == b""


async def test_a_body_is_refused_with_the_first_byte_too_many() -> None:
    with pytest.raises(HTTPException) as refused:
        await read_body(request(then_nothing(b"ab", b"cd")), 3, "shorten it")
    assert (refused.value.status_code, refused.value.detail) == (413, "the body is longer than 3 bytes: shorten it")  # fmt: skip


@pytest.mark.parametrize("announced", ["4", "9" * 18, "9" * 5_000])
async def test_a_body_that_is_announced_as_too_long_is_not_read_at_all(announced: str) -> None:
    assert await status_of(request(then_nothing(), content_length=announced), 3) == 413


async def test_a_body_that_trickles_in_is_given_up() -> None:
    with pytest.raises(HTTPException) as refused:
        await read_body(request(drop_by_drop()), 10**6, patience=0.05)
    assert refused.value.status_code == 408
    # What is still to come of it must not be taken for the next request.
    assert refused.value.headers == {"Connection": "close"}


@given(content=st.binary(max_size=200), cut=st.integers(1, 40), name=st.sampled_from(["gzip", "GZIP", "x-gzip", "identity, gzip"]))  # fmt: skip
async def test_gzip_is_unpacked_wherever_it_is_cut(content: bytes, cut: int, name: str) -> None:
    packed = gzip.compress(content)
    pieces = [packed[start : start + cut] for start in range(0, len(packed), cut)]
    assert await read_body(request(parts(*pieces), content_encoding=name), 300) == content


async def test_what_gzip_unpacks_to_counts_and_so_does_what_is_received() -> None:
    assert len(await read_body(request(parts(gzip.compress(bytes(1_000))), content_encoding="gzip"), 1_000)) == 1_000  # fmt: skip
    bomb = gzip.compress(bytes(10**7))
    assert await status_of(request(then_nothing(bomb), content_encoding="gzip"), 100_000) == 413
    assert await status_of(request(parts(gzip.compress(bytes(1_001))), content_encoding="gzip")) == 413
    # Empty blocks unpack to nothing: without an end, they are too long as they are.
    empty = zlib.compressobj(wbits=31)
    endless = [empty.compress(b"") + empty.flush(zlib.Z_FULL_FLUSH) for _ in range(1_000)]
    assert await status_of(request(then_nothing(*endless), content_encoding="gzip")) == 413


async def test_no_more_is_unpacked_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = zlib.decompressobj, []

    class Watched:
        def __init__(self, wbits: int) -> None:
            self.member = real(wbits)

        def decompress(self, part: bytes, most: int) -> bytes:
            given.append(self.member.decompress(part, most))
            return given[-1]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.member, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    bomb = gzip.compress(b"abc") + gzip.compress(bytes(10**7))
    with pytest.raises(InputError, match="follows"):
        await read_body(request(then_nothing(bomb), content_encoding="gzip"), 100_000)
    assert given == [b"abc"]
    bomb = gzip.compress(bytes(10**7))
    assert await status_of(request(then_nothing(bomb[:500], bomb[500:]), content_encoding="gzip")) == 413
    assert [len(each) for each in given[1:]] == [1_001]


@pytest.mark.parametrize(
    "encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "compress", "*", "gzip;q=1"]
)
async def test_other_encodings_and_encodings_of_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(HTTPException) as refused:
        await read_body(request(then_nothing(), content_encoding=encoding), 100)
    assert refused.value.status_code == 415
    assert refused.value.headers == {"Accept-Encoding": "gzip"}


async def test_encodings_in_several_header_lines_are_counted_together() -> None:
    asked = request(then_nothing())
    asked.scope["headers"] = [(b"content-encoding", b"gzip"), (b"content-encoding", b"gzip")]
    assert await status_of(asked) == 415


GOOD = gzip.compress(b'{"name":"a.b"}')


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([GOOD[:-1]], "too early"),
        ([GOOD[:12]], "too early"),
        ([], "too early"),
        ([GOOD + b"x"], "follows"),
        ([GOOD, b"x"], "follows"),
        ([GOOD + GOOD], "follows"),
        ([GOOD, GOOD], "follows"),
        ([b'{"name":"a.b"}'], "not gzip"),
        ([zlib.compress(b"{}")], "not gzip"),
        ([GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:]], "not gzip"),
    ],
)
async def test_what_is_not_one_whole_gzip_member_is_refused(pieces: list[bytes], told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        await read_body(request(parts(*pieces), content_encoding="gzip"), 1_000)
    assert refused.value.field == "body"


@given(st.binary(max_size=200))
async def test_whatever_is_sent_as_gzip_is_unpacked_or_refused(content: bytes) -> None:
    with contextlib.suppress(InputError):
        found = await read_body(request(parts(content), content_encoding="gzip"), 10_000)
        assert found == gzip.decompress(content)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def keys(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return (len(value) if isinstance(value, dict) else 0) + sum(map(keys, inner))


@given(DOCUMENTS, st.integers(0, 12), st.booleans())
def test_a_body_is_refused_exactly_when_it_is_nested_too_deeply(
    inner: Any, wrapped: int, escaped: bool
) -> None:
    document = inner
    for number in range(wrapped):
        document = [document, []] if number % 2 else {"a[": document}
    body = json.dumps(document, ensure_ascii=escaped).encode()
    if depth(document) <= DEEPEST:
        assert decode_json(body) == document
    else:
        with pytest.raises(InputError, match="deeper than 8"):
            decode_json(body)


@given(DOCUMENTS, st.integers(0, 8))
def test_a_body_is_refused_exactly_when_it_has_too_many_keys(document: Any, most: int) -> None:
    body = json.dumps(document).encode()
    if keys(document) <= most:
        assert decode_json(body, 20, most_keys=most) == document
    else:
        with pytest.raises(InputError, match=f"more than {most} keys"):
            decode_json(body, 20, most_keys=most)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}"\\:,', max_size=60).map(str.encode))
def test_whatever_bytes_are_sent_they_are_decoded_or_refused(body: bytes) -> None:
    found, refused = None, True
    with contextlib.suppress(InputError):
        found = decode_json(body)
        refused = False
    assert refused or found == json.loads(body)


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"a":' * 40_000, b"[" * 500_000 + b"]" * 500_000, b"[[[[[[[[[" + b"," * 10**6])  # fmt: skip
def test_a_million_brackets_are_refused_before_anything_is_decoded(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.limits.bodies.orjson.loads", None)
    with pytest.raises(InputError, match="deeper than 8"):
        decode_json(body)


@pytest.mark.parametrize(
    "body", [b"[" + b"{}," * 100_000 + b"0]", b"[" + b"0," * 100_001 + b"0]", b"[" + b"[]," * 60_000 + b"0]"]
)
def test_what_takes_little_to_send_and_much_to_keep_is_refused_before_it_is_decoded(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.limits.bodies.orjson.loads", None)
    with pytest.raises(InputError, match="more than 100000 keys and values"):
        decode_json(body)


def test_of_a_key_given_twice_the_last_value_counts() -> None:
    assert decode_json(b'{"a":1,"a":2}') == {"a": 2}


async def test_json_is_read_plain_and_packed_and_by_its_content_type_alone() -> None:
    kind = "application/json; charset=utf-8"
    assert await read_json(request(parts(b'{"a":[1]}'), content_type=kind)) == {"a": [1]}
    packed = request(parts(GOOD), content_type="Application/JSON", content_encoding="gzip")
    assert await read_json(packed) == {"name": "a.b"}
    for wrong in ("text/plain", "", "application/jsonp", "application/x-www-form-urlencoded"):
        with pytest.raises(HTTPException) as refused:
            await read_json(request(then_nothing(), content_type=wrong))
        assert refused.value.status_code == 415
    for broken in (b"", b"{", b"NaN", b'"\xff"', b"{} {}"):
        with pytest.raises(InputError, match="not JSON") as unusable:
            await read_json(request(parts(broken), content_type=kind))
        assert unusable.value.field == "body"
