"""What a domain's route answers from: one snapshot of one tenant, of the actors that the caller may see and asked for."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.database import Connection
from streamgauge.entities.standings import Frame, Standings
from streamgauge.entities.stored import StoredTallies
from streamgauge.entities.stored_standings import standings_of
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.people.desk import Asking, refuse_zeros
from streamgauge.people.sight import ID_LENGTH, SQL, Sight, parse_id
from streamgauge.read.api.asking import Now, check_may_say_now
from streamgauge.read.api.parameters import refuse_strangers
from streamgauge.read.api.tags import by_content
from streamgauge.read.date_range import parse_instant
from streamgauge.read.rows import Tenant, load_tenant
from streamgauge.summaries.tallies import ALL_TIME

LONGEST_GROUP: Final = 100  # characters

ActorParameter = Annotated[
    str | None,
    Query(
        max_length=200, description=f"Only this actor: {ID_LENGTH} hexadecimal digits, as answers show it."
    ),
]
GroupParameter = Annotated[
    str | None, Query(max_length=LONGEST_GROUP, description="Only who is in this group.", examples=["5b"])
]
DaysParameter = Annotated[
    int, Query(ge=1, le=365, description="Local days back from now, today included.", examples=[30])
]
LimitParameter = Annotated[int, Query(ge=1, le=100, description="How many at most.", examples=[20])]


@dataclass(frozen=True, slots=True)
class View:
    """One snapshot. `actors`: whom it is about, None: everybody; `now`: the Unix second it is of."""

    connection: Connection
    tenant: Tenant
    caller: Caller
    now: int
    actors: frozenset[bytes] | None
    tallies: Tallies
    _asking: Asking

    def days(self, count: int) -> Span:
        """The last local days, today included."""
        calendar = self.tenant.calendar
        today = calendar.date_of(self.now)
        return Span(
            calendar.day_start(today - timedelta(count - 1)), calendar.day_start(today + timedelta(1))
        )

    def everybody(self) -> Tallies:
        """The whole tenant's rows: for what is told about all together and about nobody, such as how many there are."""
        return StoredTallies(self.connection, self.tenant.tenant_id, None)

    def frame(self, board: str, timeframe: str) -> Frame:
        """A board in the timeframe that `now` is in: day, week (from Monday), month or all."""
        calendar = self.tenant.calendar
        today = calendar.date_of(self.now)
        first = {
            "day": today,
            "week": today - timedelta(today.weekday()),
            "month": today.replace(day=1),
        }.get(timeframe)
        return Frame(board, timeframe, ALL_TIME if first is None else calendar.day_start(first))

    async def standings(self, frame: Frame, actors: frozenset[bytes] | None = None) -> Standings:
        """A board among these actors; None: everybody of the tenant, whom the caller may see or not."""
        return await standings_of(self.connection, self.tenant.tenant_id, frame, actors)

    async def names(self, actors: Sequence[bytes]) -> Mapping[bytes, str]:
        """What actors are called: the directory's names, or user_ and six characters."""
        return await self._asking.people.names(self.caller.tenant, actors)

    async def members(self, group: str) -> frozenset[bytes]:
        """Who is in a group without managing it. Raises HTTPException 404 where the caller may not see the group, or there is none."""
        return await members_of(self.connection, self.caller, self.tenant.tenant_id, group)


class Entrance:
    """A request for a view: who asks, and as of when."""

    def __init__(self, request: Request, caller: Caller, now: str | None) -> None:
        refuse_strangers(request)
        if now is not None:
            check_may_say_now(caller)
        self._request = request
        self._now = None if now is None else int(parse_instant(now, "now").timestamp())
        self.caller = caller

    @asynccontextmanager
    async def view(
        self, action: str, *, actor: str | None = None, group: str | None = None, **told: Any
    ) -> AsyncIterator[View]:
        """A snapshot of those whom the caller may see, narrowed to an actor or a group. Members see themselves alone.

        Args:
            action: what the audit log calls it, such as `learning.read`.
            told: further parameters for the audit log.

        Raises HTTPException 404 alike for who is not there and who may not be seen; ServerError as `lent_snapshot`.
        """
        refuse_zeros(group=group)
        asking = Asking(self._request, self.caller)
        if self.caller.role != "member":
            await asking.audited(action, {"actor": actor, "group": group, **told})
        pseudonym = None if actor is None else parse_id(actor)
        async with asking.snapshot() as connection:
            tenant = await load_tenant(connection, self.caller.tenant)
            sight = await Sight.of(connection, self.caller)
            if group is not None:
                sight = sight.narrowed(await members_of(connection, self.caller, tenant.tenant_id, group))
            if pseudonym is not None:
                await sight.require(connection, pseudonym)
                sight = sight.narrowed([pseudonym])
            now = tenant.clock // 1_000_000 if self._now is None else self._now
            tallies = StoredTallies(connection, tenant.tenant_id, sight.actors)
            yield View(connection, tenant, self.caller, now, sight.actors, tallies, asking)

    def respond(self, report: object) -> Response:
        """The report as JSON, or 304 for who has it already. Equal reports are equal bytes."""
        return by_content(self._request, orjson.dumps(report))


async def members_of(connection: Connection, caller: Caller, tenant_id: int, group: str) -> frozenset[bytes]:
    """Who is in a group without managing it. Raises HTTPException 404 where the caller may not know of the group, or there is none.

    A member knows of the groups it is in; an analyst who is limited to groups, of those.
    """
    rows = await connection.fetch(SQL["members_as"], tenant_id, group, None, None)
    everybody = frozenset(bytes(row["actor"]) for row in rows)
    if caller.role == "member":
        knows = caller.actor in everybody
    else:
        knows = bool(everybody) and (caller.groups is None or group in caller.groups)
    if not knows:
        raise HTTPException(404, "there is no such group")
    rows = await connection.fetch(SQL["members_as"], tenant_id, group, None, False)
    return frozenset(bytes(row["actor"]) for row in rows)


def instant(at: int) -> str:
    """UTC microseconds as RFC 3339, to the second."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def entrance(
    request: Request, caller: Annotated[Caller, Depends(require("people"))], now: Now = None
) -> Entrance:
    """A dependency of every route of a domain."""
    return Entrance(request, caller, now)


Enter = Annotated[Entrance, Depends(entrance)]
