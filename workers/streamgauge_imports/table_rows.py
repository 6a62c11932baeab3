"""Rows of comma-separated values (RFC 4180): each by itself, whatever is wrong with others."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from streamgauge.errors import InputError
from streamgauge_imports.text_files import MAX_LINE, lines_of


class Row(NamedTuple):
    """A row: the number of the line on which it begins, and its cells."""

    line: int
    cells: Sequence[str]


class BadRow(NamedTuple):
    """A row that cannot be used: why, and what exactly is wrong. Never what it holds."""

    line: int
    reason: str
    detail: str


class _TooLongError(Exception):
    """A row goes on for longer than any row may."""


class _Lines:
    """Lines as texts, remembering those of the row that is being read: a row that goes wrong costs its first line alone."""

    def __init__(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self._coming = iter(lines)
        self._again: deque[tuple[int, bytes]] = deque()
        self.taken: list[tuple[int, bytes]] = []
        self._size = 0

    def begin(self) -> None:
        """The next line begins a row."""
        self.taken.clear()
        self._size = 0

    def give_back(self) -> None:
        """All lines of this row but its first are to be read again."""
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        number, line = self._again.popleft() if self._again else next(self._coming)
        self.taken.append((number, line))
        self._size += len(line) + 1
        if self._size > MAX_LINE + 1:
            raise _TooLongError
        # What is no text is found when the row is whole: no other row may suffer from it.
        return line.decode("utf-8", "surrogateescape") + "\n"


def read_rows(lines: Iterable[tuple[int, bytes]], delimiter: str = ",") -> Iterator[Row | BadRow]:
    """Every row of these numbered lines. Blank lines are bad rows, so that lines add up."""
    given = _Lines(lines)
    reader = csv.reader(given, delimiter=delimiter, strict=True)
    while True:
        given.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (_TooLongError, csv.Error) as error:
            number, first = given.taken[0]
            given.give_back()
            yield _bad(number, first, error)
            continue
        yield _checked(given.taken, cells)


def picked(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[Row | BadRow]:
    """The cells of some columns, in the order they are asked for, of every row below the header.

    Raises InputError when there is no header, when it has a column twice, or when one of these is missing.
    """
    rows = read_rows(lines_of(path), delimiter)
    header = next(rows, None)
    if not isinstance(header, Row):
        raise InputError(f"{path.name}: the first line has to name the columns", "file")
    names = [each.strip() for each in header.cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{path.name} has the column {min(twice)!r} twice", "file")
    if missing := [name for name in columns if name not in names]:
        raise InputError(
            f"{path.name} has no column {missing[0]!r}, but {', '.join(map(repr, names[:40]))}: is {delimiter!r} what separates them?",
            missing[0],
        )
    places = [names.index(name) for name in columns]
    for row in rows:
        if isinstance(row, BadRow):
            yield row
        elif len(row.cells) != len(names):
            yield BadRow(row.line, "wrong_width", f"has {len(row.cells)} cells, the header {len(names)}")
        else:
            yield Row(row.line, [row.cells[place] for place in places])


def _checked(taken: Sequence[tuple[int, bytes]], cells: Sequence[str]) -> Row | BadRow:
    number = taken[0][0]
    if not any(cells):
        return BadRow(number, "blank", "nothing in it")
    for _, line in taken:
        if not line.isascii():
            try:
                line.decode()
            except UnicodeDecodeError:
                return BadRow(number, "not_text", "is not UTF-8")
        if b"\0" in line:
            return BadRow(number, "not_text", "holds U+0000")
    return Row(number, cells)


def _bad(number: int, first: bytes, error: Exception) -> BadRow:
    if len(first) > MAX_LINE:
        return BadRow(number, "too_long", f"has more than {MAX_LINE:,} bytes")
    if isinstance(error, _TooLongError) or "unexpected end" in str(error):
        return BadRow(number, "unterminated_quote", f"a quote is not closed within {MAX_LINE:,} bytes")
    if "field larger" in str(error):
        return BadRow(number, "too_long", "has a cell that is too long")
    return BadRow(number, "bad_quote", "something follows the end of a quoted cell")
