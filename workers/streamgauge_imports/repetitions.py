"""Rows of a file that are equal, told apart."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


class Repetitions:
    """Tells equal rows apart by how many of them came before.

    Only rows that are there more than once are remembered: of ten million, some hundred thousand.
    """

    def __init__(self, rows: Iterable[Sequence[str]]) -> None:
        """`rows`: all of them, once."""
        hashes = np.sort(np.fromiter((hash(tuple(row)) for row in rows), np.int64))
        self._repeated: set[int] = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        self._met: Counter[tuple[str, ...]] = Counter()

    def number(self, row: Sequence[str]) -> int:
        """How many equal rows there were before this one."""
        cells = tuple(row)
        if hash(cells) not in self._repeated:
            return 0
        self._met[cells] += 1
        return self._met[cells] - 1
