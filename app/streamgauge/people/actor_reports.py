"""What is answered about actors: rows in, frozen reports out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from streamgauge.people.history import History, Range
from streamgauge.people.listing import Seen
from streamgauge.people.profile import Sum, Sums
from streamgauge.people.sessions import GAP, GAP_MINUTES, Session
from streamgauge.people.sight import Group, ManagedGroup, Standing
from streamgauge.read.report import rfc3339
from streamgauge.summaries.calendar import Calendar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to before `end`, RFC 3339."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class ListedActor:
    """Somebody who was there. `last_active`: the beginning of the local hour of its last activity."""

    id: str
    name: str
    last_active: str
    groups: tuple[Group, ...]
    manages: tuple[ManagedGroup, ...]


@dataclass(frozen=True, slots=True)
class ListedActors:
    """Who was there, the latest first. `precision`: how exactly `last_active` is known."""

    period: Period
    precision: Literal["hour"]
    actors: tuple[ListedActor, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EventTotal:
    """One actor's events of one name. `average_duration`: milliseconds, null where none carried a duration."""

    name: str
    events: int
    errors: int
    average_duration: float | None
    last_at: str | None


@dataclass(frozen=True, slots=True)
class ActorProfile:
    """One actor in a period. `first_seen` and `last_active` are its first and last event there; durations are milliseconds.

    `complete`: whether the whole period could be read; from `covers_from` on everything is counted. `damaged_entries`: entries of the event log
    that could not be read and are left out.
    """

    id: str
    name: str
    period: Period
    complete: bool
    covers_from: str
    first_seen: str | None
    last_active: str | None
    events: int
    errors: int
    average_duration: float | None
    by_event: tuple[EventTotal, ...]
    groups: tuple[Group, ...]
    manages: tuple[ManagedGroup, ...]
    damaged_entries: int


@dataclass(frozen=True, slots=True)
class ActorSession:
    """One session. `id` is null where its events carry none; `routes`: distinct route templates; `cut`: it may have begun earlier."""

    id: str | None
    start: str
    end: str
    events: int
    errors: int
    routes: int
    cut: bool


@dataclass(frozen=True, slots=True)
class ActorSessions:
    """Sessions, newest start first. `gap_minutes` of nothing end one whose events carry no id; `complete` and `covers_from` as for the actor."""

    period: Period
    gap_minutes: int
    complete: bool
    covers_from: str
    sessions: tuple[ActorSession, ...]
    damaged_entries: int
    next_cursor: str | None

    def followed_by(self, cursor: str) -> "ActorSessions":
        """The same with a cursor."""
        return replace(self, next_cursor=cursor)


def instant(microseconds: int) -> str:
    """RFC 3339 in UTC."""
    return rfc3339(EPOCH + timedelta(microseconds=microseconds))


def listed(
    shown: Sequence[Seen], pseudonyms: Mapping[int, bytes], names: Mapping[bytes, str], standings: Mapping[bytes, Standing],
    calendar: Calendar, period: tuple[int, int], next_cursor: str | None,
) -> ListedActors:  # fmt: skip
    """The report of `GET /actors`."""
    rows = []
    for hour, actor_id in shown:
        pseudonym = pseudonyms.get(actor_id)
        if pseudonym is not None:
            standing = standings[pseudonym]
            rows.append(
                ListedActor(
                    pseudonym.hex(),
                    names[pseudonym],
                    calendar.local_iso(hour),
                    standing.groups,
                    standing.manages,
                )
            )
    start, end = (calendar.local_iso(second) for second in period)
    return ListedActors(Period(start, end), "hour", tuple(rows), next_cursor)


def profile(
    pseudonym: bytes, name: str, sums: Sums, history: History, period: Range, standing: Standing, calendar: Calendar
) -> ActorProfile:  # fmt: skip
    """The report of `GET /actors/{id}`."""
    total = sums.total
    return ActorProfile(
        id=pseudonym.hex(),
        name=name,
        period=_period(period, calendar),
        complete=history.complete,
        covers_from=_from(history, period, calendar),
        first_seen=_at(total.first_at),
        last_active=_at(total.last_at),
        events=total.events,
        errors=total.errors,
        average_duration=total.average_duration,
        by_event=tuple(_total(event, each) for event, each in sums.ordered()),
        groups=standing.groups,
        manages=standing.manages,
        damaged_entries=history.damaged,
    )


def session_page(
    every: Sequence[Session], history: History, period: Range, before: tuple[int, str] | None, limit: int, calendar: Calendar
) -> tuple[ActorSessions, tuple[int, int, int, str] | None]:  # fmt: skip
    """The report of `GET /actors/{id}/sessions`, and where it goes on: range, and the start and id of the last one shown.

    When not everything could be read, it goes on from where the reading ended, with an answer of its own.
    """
    rest = [each for each in every if before is None or (each.start, each.id) < before]
    shown, more = rest[:limit], len(rest) > limit
    position = None
    if more:
        position = period.start, period.end, shown[-1].start, shown[-1].id
    elif not history.ended:
        position = period.start, history.reached, history.reached, ""
    read_from = period.start * SECOND if history.ended else history.reached
    report = ActorSessions(
        period=_period(period, calendar),
        gap_minutes=GAP_MINUTES,
        complete=history.complete,
        covers_from=_from(history, period, calendar),
        sessions=tuple(
            ActorSession(
                each.id or None, instant(each.start), instant(each.end), each.events, each.errors, each.routes,
                cut=each.start - read_from <= GAP,
            )
            for each in shown
        ),
        damaged_entries=history.damaged,
        next_cursor=None,
    )  # fmt: skip
    return report, position


def _total(name: str, found: Sum) -> EventTotal:
    return EventTotal(name, found.events, found.errors, found.average_duration, _at(found.last_at))


def _at(microseconds: int | None) -> str | None:
    return None if microseconds is None else instant(microseconds)


def _period(period: Range, calendar: Calendar) -> Period:
    return Period(calendar.local_iso(period.start), instant(period.end))


def _from(history: History, period: Range, calendar: Calendar) -> str:
    return calendar.local_iso(period.start) if history.complete else instant(history.covers_from)
