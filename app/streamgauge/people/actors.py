"""`GET /actors`, `/actors/{id}` and `/actors/{id}/sessions`: who was there last, and what one of them did."""

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.event_log.activity import FIRST_VISITOR, Where
from streamgauge.event_log.walk import SECOND
from streamgauge.people import cursors
from streamgauge.people.actor_reports import (
    ActorProfile,
    ActorSessions,
    ListedActors,
    listed,
    profile,
    session_page,
)
from streamgauge.people.desk import Asking, refuse_zeros
from streamgauge.people.documented import NOT_THERE, ActorId, Cursor, Days, answers
from streamgauge.people.examples import LISTED, PROFILE, SESSIONS
from streamgauge.people.history import Range, read_history
from streamgauge.people.listing import Seen, last_seen
from streamgauge.people.notes import Note
from streamgauge.people.profile import Sums
from streamgauge.people.sessions import sessions
from streamgauge.people.sight import SQL, Sight, parse_id
from streamgauge.read.api.parameters import refuse_strangers
from streamgauge.read.rows import Tenant, load_tenant
from streamgauge.summaries.calendar import END_SECOND
from streamgauge.summaries.grid import HOUR

MOST_HOURS = 48
LATEST = END_SECOND * SECOND
MOST_DAYS = 365
LONGEST_NAME = 200  # characters
LONGEST_GROUP = 100  # characters
DAY = 24 * HOUR

router = APIRouter(tags=["people"])
Person = Annotated[Caller, Depends(require("people"))]
Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.", examples=[20])]
Within = Annotated[
    str,
    Query(
        max_length=5,
        description=f"Who was active within so many hours (`24h`, up to {MOST_HOURS}) or local days, today included (`30d`, up to {MOST_DAYS}).",
        examples=["7d", "24h"],
    ),
]


@router.get("/actors", summary="Who was there last", response_model=ListedActors, responses=answers(LISTED))
async def actors(
    request: Request,
    caller: Person,
    active_within: Within = "30d",
    event: Annotated[
        str | None,
        Query(
            max_length=LONGEST_NAME,
            description="Only activity with events of this name counts.",
            examples=["http.request"],
        ),
    ] = None,
    group: Annotated[
        str | None,
        Query(max_length=LONGEST_GROUP, description="Only who is in this group.", examples=["5b"]),
    ] = None,
    role: Annotated[
        Literal["manager", "member"] | None,
        Query(
            description="Only who manages a group, or is in one without managing it; with `group`, that one.",
            examples=["manager"],
        ),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """Actors with an identity by the local hour of their last activity, the latest first; in the same hour, who is known longest first.

    It is known to the hour and no better, since nothing but the summaries' sets of actors is read. Visitors known for a day only
    are not listed. An event's name beyond the limit of names a day (`GET /api/v1/catalogue`) is not found. Who becomes active while you go through the pages may be missing from later ones: it is on the first by then.
    """
    refuse_strangers(request)
    asked = {"active_within": active_within, "event": event, "group": group, "role": role}
    after = None if cursor is None else Seen(*cursors.decode(["actors", asked], cursor, (int, int)))
    cursors.require(after is None or (after.hour >= 0 and 0 <= after.actor_id < FIRST_VISITOR))
    within(active_within)
    refuse_zeros(event=event, group=group)
    asking = Asking(request, caller)
    await asking.audited("people.list", {**asked, "limit": limit, "cursor": cursor and "given"})
    async with asking.snapshot() as connection:
        tenant = await load_tenant(connection, caller.tenant)
        now = tenant.clock // 1_000_000
        sight = await Sight.of(connection, caller)
        if group is not None or role is not None:
            as_manager = None if role is None else role == "manager"
            groups = None if sight.groups is None else sorted(sight.groups)
            rows = await connection.fetch(SQL["members_as"], tenant.tenant_id, group, groups, as_manager)
            sight = sight.narrowed(bytes(row["actor"]) for row in rows)
        start = begin_of(active_within, tenant, now)
        ids = await sight.ids(connection)
        dense, shards = (None, None) if ids is None else ids
        where = Where(tenant.tenant_id, tenant.calendar, event, shards, dense)
        found: list[Seen] = []
        if dense is None or dense:
            found = await last_seen(connection, where, start, now + HOUR, after, limit + 1)
        shown = found[:limit]
        pseudonyms = await _pseudonyms(connection, tenant, shown)
        standings = await sight.standings(connection, list(pseudonyms.values()))
    names = await asking.people.names(caller.tenant, list(pseudonyms.values()))
    following = cursors.encode(["actors", asked], shown[-1]) if len(found) > limit else None
    report = listed(shown, pseudonyms, names, standings, tenant.calendar, (start, now), following)
    return Response(orjson.dumps(report), media_type="application/json")


@router.get(
    "/actors/{id}",
    summary="What an actor did",
    response_model=ActorProfile,
    responses={**answers(PROFILE), **NOT_THERE},
)
async def actor(request: Request, caller: Person, id: ActorId, days: Days = 30) -> Response:
    """An actor's events by name, its errors, its average duration (milliseconds), its groups and those it manages.

    Read from the event log, in the hours in which the actor was active. `complete` is false when that is more than one request may
    read, or the log does not hold it any more: then everything from `covers_from` on is counted, and what could be read of before.
    """
    refuse_strangers(request)
    pseudonym, asking = parse_id(id), Asking(request, caller)
    await asking.audited("people.read", {"days": days})
    sums = Sums()
    async with asking.people.reading() as budget, asking.snapshot() as connection:
        tenant, sight = await _look(connection, caller, pseudonym)
        period = Range.of_days(tenant, days)
        history = await read_history(
            asking.people, connection, tenant, caller.tenant, pseudonym, period, sums.add, budget
        )
        standings = await sight.standings(connection, [pseudonym])
    names = await asking.people.names(caller.tenant, [pseudonym])
    report = profile(
        pseudonym, names[pseudonym], sums, history, period, standings[pseudonym], tenant.calendar
    )
    return Response(orjson.dumps(report), media_type="application/json")


@router.get(
    "/actors/{id}/sessions",
    summary="An actor's sessions",
    response_model=ActorSessions,
    responses={**answers(SESSIONS), **NOT_THERE},
)
async def actor_sessions(
    request: Request, caller: Person, id: ActorId, days: Days = 30, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """Events of the same session, or, where events carry none, those that lie at most 30 minutes apart; newest start first.

    A session that may have begun earlier than what was read has `cut`: true.
    """
    refuse_strangers(request)
    pseudonym, asking = parse_id(id), Asking(request, caller)
    question = ["sessions", id, days]
    given = None if cursor is None else cursors.decode(question, cursor, (int, int, int, str))
    cursors.require(given is None or 0 <= given[0] * SECOND < given[1] <= LATEST)
    await asking.audited("people.read", {"sessions": True, "days": days, "limit": limit})
    notes: list[Note] = []
    async with asking.people.reading() as budget, asking.snapshot() as connection:
        tenant, _ = await _look(connection, caller, pseudonym)
        period = Range.of_days(tenant, days) if given is None else Range(*given[:2])
        history = await read_history(
            asking.people, connection, tenant, caller.tenant, pseudonym, period, notes.extend, budget
        )
    before = None if given is None else (given[2], given[3])
    report, position = session_page(sessions(notes), history, period, before, limit, tenant.calendar)
    if position is not None:
        report = report.followed_by(cursors.encode(question, position))
    return Response(orjson.dumps(report), media_type="application/json")


def within(text: str) -> tuple[int, str]:
    """A number and its unit, "h" or "d". Raises InputError."""
    number, unit = text[:-1], text[-1:]
    most = {"h": MOST_HOURS, "d": MOST_DAYS}.get(unit, 0)
    if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= most):
        raise InputError(
            f"active_within is {text!r}: give hours, 1h to {MOST_HOURS}h, or days, 1d to {MOST_DAYS}d",
            "active_within",
        )
    return int(number), unit


def begin_of(text: str, tenant: Tenant, now: int) -> int:
    """The Unix second at which the first hour begins that counts."""
    number, unit = within(text)
    if unit == "h":
        return tenant.calendar.hour_of(max(now - (number - 1) * HOUR, 0))
    return Range.of_days(tenant, number).start


async def _look(connection: Connection, caller: Caller, pseudonym: bytes) -> tuple[Tenant, Sight]:
    tenant = await load_tenant(connection, caller.tenant)
    sight = await Sight.of(connection, caller)
    await sight.require(connection, pseudonym)
    return tenant, sight


async def _pseudonyms(connection: Connection, tenant: Tenant, shown: list[Seen]) -> dict[int, bytes]:
    ids = [each.actor_id for each in shown]
    rows = await connection.fetch(SQL["pseudonyms"], tenant.tenant_id, ids)
    found = {row["actor_id"]: bytes(row["pseudonym"]) for row in rows}
    return {actor_id: found[actor_id] for actor_id in ids if actor_id in found}
