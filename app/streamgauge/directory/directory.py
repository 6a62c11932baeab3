"""What the server asks about people, and two directories that need no network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

#: (tenant, external identifier) -> the actor's pseudonym.
PseudonymOf = Callable[[str, str], bytes]


class Directory(Protocol):
    """Who is who. What cannot be told is left out; both may raise DirectoryError."""

    async def names(self, tenant: str, pseudonyms: Sequence[bytes]) -> Mapping[bytes, str]:
        """The names of these actors, as far as they are known."""

    async def search(self, tenant: str, q: str, limit: int) -> Sequence[str]:
        """External identifiers of up to `limit` people that the text finds."""


class NoDirectory:
    """Knows nobody."""

    async def names(self, tenant: str, pseudonyms: Sequence[bytes]) -> Mapping[bytes, str]:
        """None."""
        return {}

    async def search(self, tenant: str, q: str, limit: int) -> Sequence[str]:
        """Nobody."""
        return ()


class MemoryDirectory:
    """Knows who it was given: for tests, and for hosts that serve the API in their own process."""

    def __init__(self, pseudonym_of: PseudonymOf, people: Mapping[str, Mapping[str, str]]) -> None:
        """`people`: by tenant, names by external identifier."""
        self._people = people
        self._names = {
            tenant: {pseudonym_of(tenant, external): name for external, name in known.items()}
            for tenant, known in people.items()
        }

    async def names(self, tenant: str, pseudonyms: Sequence[bytes]) -> Mapping[bytes, str]:
        """See `Directory.names`."""
        known = self._names.get(tenant, {})
        return {pseudonym: known[pseudonym] for pseudonym in pseudonyms if pseudonym in known}

    async def search(self, tenant: str, q: str, limit: int) -> Sequence[str]:
        """Who has the text in name or identifier, whatever the case; by name."""
        return matching(self._people.get(tenant, {}), q, limit)


def matching(people: Mapping[str, str], q: str, limit: int) -> list[str]:
    """External identifiers of people (names by identifier) whose name or identifier holds the text; by name."""
    text = q.casefold()
    found = [
        (name, external)
        for external, name in people.items()
        if text in name.casefold() or text in external.casefold()
    ]
    return [external for _, external in sorted(found)[:limit]]
