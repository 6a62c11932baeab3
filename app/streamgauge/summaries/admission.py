"""Which values of a dimension get rows of their own when there are too many.

Per tenant, dimension and local day the `limit` values with the smallest keyed hashes are kept, and the rest merged into "(other)":
the k-minimum-values rule (Bar-Yossef et al. 2002) used as a tie-break that depends on the values alone. So the outcome is the same
whatever order, batching or stripe the values come in, where keeping "the first k" would differ from run to run. The key is the
tenant's, so that nobody can choose values that push out others.
"""

import hashlib
from bisect import insort
from dataclasses import dataclass, field


def rank(key: bytes, dimension: str, value: str) -> int:
    """A value's place in the order of admission: a keyed 63-bit hash."""
    digest = hashlib.blake2b(
        value.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=_person(dimension)
    )
    return int.from_bytes(digest.digest(), "big") >> 1


def _person(dimension: str) -> bytes:
    return hashlib.blake2b(dimension.encode(), digest_size=16).digest()


@dataclass(slots=True)
class Admission:
    """The values admitted for one tenant, dimension and day, in one stripe."""

    limit: int
    ranks: dict[str, int] = field(default_factory=dict)
    order: list[tuple[int, str]] = field(default_factory=list)
    overflowed: bool = False

    def offer(self, value: str, place: int) -> str | None:
        """Admit a value if its rank is among the smallest. Returns the value that has to leave: another's, its own, or None."""
        if value in self.ranks:
            return None
        if len(self.order) < self.limit:
            self._admit(value, place)
            return None
        self.overflowed = True
        if (place, value) > self.order[-1]:
            return value
        _, evicted = self.order.pop()
        del self.ranks[evicted]
        self._admit(value, place)
        return evicted

    def _admit(self, value: str, place: int) -> None:
        self.ranks[value] = place
        insort(self.order, (place, value))
