"""Text files, plain or gzip, that are read once before anything of them is sent and once more for it."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from streamgauge.domains.web.access_log import MAX_LINE, content_digest, read_lines
from streamgauge.errors import InputError
from streamgauge_imports.log_frames import Signature

__all__ = ["BOM", "MAX_LINE", "TextFile", "content_of", "examine_text", "lines_of"]

BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"


class TextFile(NamedTuple):
    """A file that has been read whole."""

    path: Path
    digest: bytes  #: of its uncompressed content
    lines: int
    signature: Signature

    def require_unchanged(self) -> None:
        """Raise InputError when it was written to since: its digest would no longer be its identity."""
        if Signature.of(self.path) != self.signature:
            raise InputError(
                f"{self.path} was written to while it was imported: import a file that is complete", "file"
            )


def examine_text(path: Path) -> TextFile:
    """Read a file to its end. Raises InputError for one that cannot be read whole, or is no text."""
    if path.is_file() and not path.stat().st_size:
        raise InputError(f"{path} is empty", "file")
    # Whatever keeps a file from being read whole is told by this.
    digest = content_digest(path)
    signature = Signature.of(path)
    try:
        lines = sum(1 for _ in read_lines(path))
    except InputError as error:
        raise InputError(f"{path} is not text in UTF-8", "file") from error
    return TextFile(path.absolute(), digest, lines, signature)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line with its number from 1, without its end. Of one over MAX_LINE bytes only a little more than that is there."""
    for number, line in read_lines(path):
        yield number, line.removeprefix(BOM) if number == 1 else line


@contextmanager
def content_of(path: Path) -> Iterator[BinaryIO]:
    """The uncompressed content of a file that was examined."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
