"""`GET /events`: single events, newest first."""

import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.event import DAILY, Value
from streamgauge.event_log.activity import Where, steps
from streamgauge.event_log.entries import Place
from streamgauge.event_log.walk import AHEAD, SECOND, Budget
from streamgauge.event_log.wanted import Wanted
from streamgauge.people import cursors
from streamgauge.people.actor_reports import instant
from streamgauge.people.desk import Asking, People, refuse_zeros
from streamgauge.people.documented import ACTOR, NOT_THERE, SESSION, Cursor, answers
from streamgauge.people.examples import EVENTS
from streamgauge.people.newest import Found, Newest
from streamgauge.people.notes import declared_properties, has_failed
from streamgauge.people.sight import Sight, parse_id
from streamgauge.read.api.parameters import LONGEST_INSTANT, refuse_strangers
from streamgauge.read.date_range import parse_instant
from streamgauge.read.rows import Tenant, load_tenant
from streamgauge.summaries.calendar import FIRST_DATE, LAST_DATE
from streamgauge.summaries.rollups import Catalogue

PER_STEP = 5_000  # events looked through together
MOST_DAYS = 400  # walked back through for one request
LONGEST_NAME = 200  # characters
LONGEST_SESSION = 200  # characters
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

router = APIRouter(tags=["people"])


@dataclass(frozen=True, slots=True)
class EventActor:
    """Whose event it is. `visitor`: known for a day only, and not to be found among the actors."""

    id: str
    name: str
    visitor: bool


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One event. `properties`: the declared ones, in the units of `GET /api/v1/catalogue`; `session`: a digest."""

    id: str
    occurred_at: str
    name: str
    actor: EventActor | None
    session: str | None
    group: str | None
    source: str
    failed: bool
    properties: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first. From `covers_from` on nothing is missing; `complete` is false when one request could not read enough for
    a whole page: `next_cursor` goes on. It is null when there is nothing further back. `damaged_entries`: entries of the event log
    that could not be read and are left out.
    """

    events: tuple[ShownEvent, ...]
    complete: bool
    covers_from: str
    damaged_entries: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """What was read: up to `limit` events, and the place from which it goes on, None: there is nothing more."""

    found: Sequence[Found]
    following: Place | None
    complete: bool
    floor: int


@router.get(
    "/events",
    summary="Single events",
    response_model=EventPage,
    responses={**answers(EVENTS), **NOT_THERE},
)
async def events(
    request: Request,
    caller: Annotated[Caller, Depends(require("people"))],
    since: Annotated[
        str | None,
        Query(
            alias="from",
            max_length=LONGEST_INSTANT,
            description="The first date of the tenant's zone, or the first RFC 3339 instant; the beginning unless given.",
            examples=["2026-11-01", "2026-11-01T08:00:00Z"],
        ),
    ] = None,
    to: Annotated[
        str | None,
        Query(
            max_length=LONGEST_INSTANT,
            description="The last date, which is included, or the instant before which events occurred; now unless given.",
            examples=["2026-11-20", "2026-11-20T18:00:00Z"],
        ),
    ] = None,
    name: Annotated[
        str | None,
        Query(max_length=LONGEST_NAME, description="Only events of this name.", examples=["http.request"]),
    ] = None,
    actor: Annotated[
        str | None,
        Query(max_length=200, description="Only events of the actor of this id.", examples=[ACTOR]),
    ] = None,
    session: Annotated[
        str | None,
        Query(
            max_length=LONGEST_SESSION,
            description="Only events of this session, as answers show it.",
            examples=[SESSION],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.", examples=[50])] = 50,
    cursor: Cursor = None,
) -> Response:
    """Events from the event log, newest first; of the same microsecond, by their place in the log. What was refused is not shown.

    Going through the pages gives every event once, whatever arrives meanwhile: what is newer than the first page is not on later
    ones. Who may see some people only gets events of theirs, and none without an actor.
    """
    refuse_strangers(request)
    asked = {"from": since, "to": to, "name": name, "actor": actor, "session": session}
    before = (
        None if cursor is None else _place(cursors.decode(["events", asked], cursor, (int, int, str, int)))
    )
    pseudonym = None if actor is None else parse_id(actor)
    for text, field in ((since, "from"), (to, "to")):
        if text is not None and not _DATE.fullmatch(text):
            parse_instant(text, field)
    refuse_zeros(name=name, session=session)
    asking = Asking(request, caller)
    await asking.audited("events.read", {**asked, "limit": limit, "cursor": cursor and "given"})
    people = asking.people
    async with people.reading() as budget, asking.snapshot() as connection:
        tenant = await load_tenant(connection, caller.tenant)
        sight = await Sight.of(connection, caller)
        if pseudonym is not None:
            await sight.require(connection, pseudonym)
            sight = sight.narrowed([pseudonym])
        period = between(since, to, tenant)
        wanted = Wanted(caller.tenant, sight.actors, name, session)
        page = await read_page(people, connection, tenant, sight, wanted, period, before, limit, budget)
    known = list({each.event.actor: None for each in page.found if each.event.actor is not None})
    names = await people.names(caller.tenant, known)
    following = (
        None
        if page.following is None
        else cursors.encode(["events", asked], (page.following.at, page.following.shard, page.following.lane.hex(), page.following.number))
    )  # fmt: skip
    report = shown(page, names, people.catalogue, budget.damaged, following)
    return Response(orjson.dumps(report), media_type="application/json")


async def read_page(
    people: People, connection: Connection, tenant: Tenant, sight: Sight, wanted: Wanted, period: tuple[int, int],
    before: Place | None, limit: int, budget: Budget,
) -> Page:  # fmt: skip
    """The newest events of a period (microseconds, to before its end) that lie before a place."""
    start, end = period
    upto = end if before is None else min(end, before.at + (before.shard >= 0))
    ids = await sight.ids(connection)
    if upto <= start or (ids is not None and not ids[0]):
        return Page((), None, True, start)
    calendar = tenant.calendar
    first = max(calendar.date_of((upto - 1) // SECOND) - timedelta(MOST_DAYS), FIRST_DATE)
    begin = max(start // SECOND, calendar.day_start(first))
    dense, shards = (None, None) if ids is None else ids
    where = Where(tenant.tenant_id, calendar, wanted.name, shards, dense)
    # One more than is shown: it tells whether there is a further page.
    newest = Newest(limit + 1, Place(upto, -1, b"", -1) if before is None else before, start)
    ahead = steps(connection, where, begin, -(-upto // SECOND), PER_STEP, split=dense is None)
    walk = people.log.walk(connection, tenant.tenant_id, shards, wanted, ahead, upto, newest.take, budget)
    floor = upto  # until something was read
    async with aclosing(ahead), aclosing(walk):
        async for floor in walk:
            if newest.full_from(floor):
                break
    found = list(newest.since(floor))
    if len(found) > limit:
        return Page(found[:limit], found[limit - 1].place, True, found[limit - 1].place.at)
    if floor <= start or (floor <= begin * SECOND and begin <= start // SECOND):
        return Page(found, None, True, start)
    return Page(found, Place(floor, -1, b"", -1), False, floor)


def between(since: str | None, to: str | None, tenant: Tenant) -> tuple[int, int]:
    """The period that is asked about, in microseconds, to before its end. Raises InputError for one that is empty."""
    calendar = tenant.calendar
    ahead = tenant.clock + int(AHEAD.total_seconds()) * SECOND
    # Before the tenant's first day there is nothing to walk through.
    start = ahead if tenant.extent is None else calendar.day_start(tenant.extent[0]) * SECOND
    if since is not None:
        start = max(start, _instant(since, "from", tenant, 0))
    end = ahead if to is None else min(_instant(to, "to", tenant, 1), ahead)
    if (
        since is not None
        and to is not None
        and _instant(since, "from", tenant, 0) >= _instant(to, "to", tenant, 1)
    ):
        raise InputError(f"from is {since!r}, which does not lie before to, {to!r}", "from")
    return start, end


def shown(
    page: Page, names: Mapping[bytes, str], catalogue: Catalogue, damaged: int, next_cursor: str | None
) -> EventPage:
    """The report."""
    return EventPage(
        tuple(_shown(each, names, catalogue) for each in page.found),
        page.complete,
        instant(page.floor),
        damaged,
        next_cursor,
    )


def _shown(found: Found, names: Mapping[bytes, str], catalogue: Catalogue) -> ShownEvent:
    event = found.event
    actor = event.actor
    who = None if actor is None else EventActor(actor.hex(), names[actor], actor[0] == DAILY)
    return ShownEvent(
        found.place.name, instant(event.occurred_at), event.name, who, event.session, event.group, event.source,
        has_failed(event, catalogue), declared_properties(event, catalogue),
    )  # fmt: skip


def _instant(text: str, field: str, tenant: Tenant, after: int) -> int:
    """Microseconds; of a date, the beginning of the day that comes so many days after it."""
    if not _DATE.fullmatch(text):
        moment = parse_instant(text, field)
        return int(moment.timestamp()) * SECOND + moment.microsecond
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{field} is {text!r}, which is not in the calendar", field) from None
    if not FIRST_DATE <= day < LAST_DATE:
        raise InputError(f"{field} is {text}: dates from 1970 to 2100 are supported", field)
    return tenant.calendar.day_start(day + timedelta(after)) * SECOND


def _place(position: Sequence[Any]) -> Place:
    at, shard, lane, number = position
    try:
        if not 0 <= at <= 2**52:
            raise ValueError
        return Place(at, shard, bytes.fromhex(lane), number)
    except ValueError:
        raise InputError("cursor is none: give the next_cursor of an answer, as it was", "cursor") from None
