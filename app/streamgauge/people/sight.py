"""Whom a caller may see, decided in the snapshot that the answer is made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastapi import HTTPException
from pyroaring import BitMap

from streamgauge.access import Caller
from streamgauge.database import Connection
from streamgauge.event import DAILY, PSEUDONYM_BYTES
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.people")
ID_LENGTH: Final = 2 * PSEUDONYM_BYTES  # hexadecimal characters
_DIGITS: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Group:
    """A group that somebody is in."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class ManagedGroup:
    """A group that somebody manages; `members`: how many are in it who do not manage it."""

    id: str
    name: str
    kind: str
    members: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Somebody's groups, as far as the caller may know of them."""

    groups: tuple[Group, ...] = ()
    manages: tuple[ManagedGroup, ...] = ()


def unseen() -> HTTPException:
    """The one answer for an actor that is not there, and for one that may not be seen."""
    return HTTPException(404, "there is no such actor")


def parse_id(text: str) -> bytes:
    """The pseudonym of an id. Raises HTTPException 404 for what is none, and for a visitor known for a day only."""
    if len(text) != ID_LENGTH or not _DIGITS.issuperset(text) or text.startswith(f"{DAILY:02x}"):
        raise unseen()
    return bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class Sight:
    """A caller's sight of a tenant's people. `actors`: those it may see, None: everybody; `groups`: likewise."""

    tenant_id: int
    actors: frozenset[bytes] | None
    groups: frozenset[str] | None

    @classmethod
    async def of(cls, connection: Connection, caller: Caller) -> "Sight":
        """Everybody for an admin and a free analyst, the groups' members for a limited one, and for anybody else itself."""
        if caller.role == "admin" or (caller.role == "analyst" and caller.groups is None):
            return cls(caller.tenant_id, None, None)
        if caller.role == "analyst" and caller.groups is not None:
            rows = await connection.fetch(SQL["members_of"], caller.tenant_id, sorted(caller.groups))
            return cls(caller.tenant_id, frozenset(bytes(row["actor"]) for row in rows), caller.groups)
        own = frozenset[bytes]() if caller.actor is None else frozenset({caller.actor})
        return cls(caller.tenant_id, own, None)

    def narrowed(self, to: Iterable[bytes]) -> "Sight":
        """The same, of these people alone."""
        chosen = frozenset(to)
        return replace(self, actors=chosen if self.actors is None else self.actors & chosen)

    async def require(self, connection: Connection, pseudonym: bytes) -> None:
        """Raise HTTPException 404 unless the actor is there and may be seen."""
        # Asked in any case: an answer must not come sooner for somebody else's than for nobody's.
        known = await connection.fetchval(SQL["known"], self.tenant_id, pseudonym)
        if self.actors is None:
            if not known:
                raise unseen()
        elif pseudonym not in self.actors:
            raise unseen()

    async def ids(self, connection: Connection) -> tuple[BitMap, list[int]] | None:
        """Dense ids of those who may be seen, and their shards; None: everybody's, and all."""
        if self.actors is None:
            return None
        rows = await connection.fetch(SQL["ids"], self.tenant_id, sorted(self.actors))
        return BitMap([row["actor_id"] for row in rows]), sorted({row["shard"] for row in rows})

    async def standings(
        self, connection: Connection, pseudonyms: Sequence[bytes]
    ) -> Mapping[bytes, Standing]:
        """The groups of these actors."""
        groups = None if self.groups is None else sorted(self.groups)
        rows = await connection.fetch(SQL["places"], self.tenant_id, list(pseudonyms), groups)
        managed = sorted({row["group_id"] for row in rows if row["manager"]})
        sizes = {
            row["group_id"]: row["members"]
            for row in (await connection.fetch(SQL["sizes"], self.tenant_id, managed) if managed else ())
        }
        found = {pseudonym: Standing() for pseudonym in pseudonyms}
        for row in rows:
            actor = bytes(row["actor"])
            so_far, named = found[actor], (row["group_id"], row["name"], row["kind"])
            if row["manager"]:
                more = ManagedGroup(*named, sizes.get(row["group_id"], 0))
                found[actor] = replace(so_far, manages=(*so_far.manages, more))
            else:
                found[actor] = replace(so_far, groups=(*so_far.groups, Group(*named)))
        return found
