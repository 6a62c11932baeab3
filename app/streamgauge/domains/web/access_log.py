"""Access log files, plain or gzip: their lines in bounded memory, and the digest of their content.

A file that cannot be read as a whole raises InputError; ``parse_line`` names what is wrong with a line.
"""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast, get_args

from streamgauge.domains.web.log_line import (
    MAX_LINE,
    MAX_PATH,
    LogFormat,
    LogLine,
    Malformed,
    Reason,
    parse_line,
)
from streamgauge.errors import InputError

__all__ = [
    "MAX_LINE",
    "MAX_PATH",
    "LogFormat",
    "LogLine",
    "Malformed",
    "Reason",
    "content_digest",
    "parse_line",
    "read_lines",
]

_BLOCK: Final = 1 << 18  # bytes read at once
_GZIP = b"\x1f\x8b"
#: First bytes of what people also name .log.something.
_OTHER_ARCHIVES = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard", b"PK\x03\x04": "zip"}


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Every line with its number from 1, without its line end (LF or CRLF); blank ones too.

    Of a line over MAX_LINE bytes only so much is yielded that ``parse_line`` finds it too long; the rest is
    skipped unread into memory. Raises InputError, at the first line or where the fault lies, for a file that
    is missing, not readable, empty, not a log, or a damaged or truncated gzip.
    """
    with _content(path) as content:
        _refuse_binary(Path(path), content)
        number = 0
        while line := content.readline(MAX_LINE + 2):
            number += 1
            if not line.endswith(b"\n"):
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = content.readline(_BLOCK)
            yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def content_digest(path: str | os.PathLike[str]) -> bytes:
    """BLAKE2b-256 of the uncompressed content, so that a log and its gzip are the same file. Raises
    InputError as ``read_lines`` does, except that it does not look whether the content is a log."""
    digest = hashlib.blake2b(digest_size=32)
    with _content(path) as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.digest()


@contextmanager
def _content(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """The uncompressed content, with every failure of opening and reading told as InputError."""
    name = Path(path)
    try:
        if name.is_dir():
            raise InputError(f"{name} is a folder: give one log file.", field="file")
        if name.exists() and not name.is_file():
            raise InputError(
                f"{name} is a pipe or device, but is read twice: save it to a file.", field="file"
            )
        with io.FileIO(name) as file, _buffered(name, file) as content:
            if not content.peek(1):
                raise InputError(f"{name} is empty: give a log with at least one line.", field="file")
            yield content
    except FileNotFoundError as missing:
        raise InputError(f"{name} does not exist: check the path.", field="file") from missing
    except EOFError as cut:
        raise InputError(
            f"{name} is a gzip file that ends too early: copy it again, whole.", field="file"
        ) from cut
    except (gzip.BadGzipFile, zlib.error) as damaged:
        raise InputError(
            f"{name} is a damaged gzip file ({damaged}): copy it again.", field="file"
        ) from damaged
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise InputError(
            f"{name} cannot be read ({reason}): check its permissions and disk.", field="file"
        ) from failure


def _buffered(name: Path, file: io.FileIO) -> io.BufferedReader:
    start = file.read(8)
    file.seek(0)
    for magic, kind in _OTHER_ARCHIVES.items():
        if start.startswith(magic):
            raise InputError(
                f"{name} is packed with {kind}: unpack it first, or pack it with gzip.", field="file"
            )
    if not start.startswith(_GZIP):
        return io.BufferedReader(file, _BLOCK)
    packed = io.BufferedReader(file, _BLOCK)
    # A BufferedReader around it: GzipFile's own readline runs Python code for each line.
    return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=packed)), _BLOCK)


def _refuse_binary(name: Path, content: io.BufferedReader) -> None:
    start = content.peek(_BLOCK)
    if b"\0" not in start:
        return
    lines = start.split(b"\n")
    if not any(isinstance(parse_line(line, each), LogLine) for line in lines for each in get_args(LogFormat)):
        raise InputError(
            f"{name} is not text: give an Apache or NCSA access log, in ASCII or UTF-8.", field="file"
        )
