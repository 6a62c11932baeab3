"""Learners one by one: how far they are, when they were last there, and who may be falling behind. Pure: rows in, a frozen report out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import ACTIVITY
from streamgauge.domains.learning.progress import Progress, Taken, by_learner, progress_of, read_taken
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.entities.view import instant
from streamgauge.event import DAILY
from streamgauge.people.documented import ACTOR
from streamgauge.summaries.calendar import Calendar

#: Local days, today included, without a learning event after which somebody is at risk.
QUIET_DAYS: Final = 7
RULE: Final = (
    f"takes a course that is not known to be completed, and had no learning event within the last {QUIET_DAYS} local days, today included; "
    "a course is known to be completed when its lessons are declared and all at 100 %"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """When a learner is at risk. `days`: the rule's number; `since`: the first local date of these days, in the tenant's time zone.

    An event within these days always takes the flag away; only time, a course more to take, or a lesson more in one sets it.
    """

    text: str
    days: int
    since: date


@dataclass(frozen=True, slots=True)
class Student:
    """One learner. `courses`: how many it takes; `last_seen`: its last learning event up to the end of today, null without any."""

    id: str
    name: str
    last_seen: str | None
    at_risk: bool
    courses: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class Students:
    """Learners by id; `total` of all pages together, and `at_risk` of these.

    They are the group's members (without its managers), or else everybody whom the caller may see: for who may see everybody that is who
    ever had a learning event. Visitors known for a day only are left out. `next_cursor`: to go on with; null at the end.
    """

    group: str | None
    total: int
    at_risk: int
    rule: Rule
    students: tuple[Student, ...]
    next_cursor: str | None


EXAMPLE: Final = Students(
    "5b", 28, 1, Rule(RULE, QUIET_DAYS, date(2026, 11, 15)),
    (Student(ACTOR, "Ada L.", "2026-11-12T09:41:00Z", True, 1, Progress(62.5, "declared", 1, 2)),), None,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. `seen`: everybody, with the last event in UTC microseconds; `since`: where the rule's days begin, a UTC second."""

    seen: Mapping[bytes, int | None]
    taken: Mapping[bytes, Sequence[Taken]]
    since: int

    def at_risk(self, actor: bytes) -> bool:
        """See `RULE`."""
        last = self.seen[actor]
        quiet = last is None or last // 1_000_000 < self.since
        return quiet and not all(each.finished for each in self.taken.get(actor, ()))

    def after(self, actor: bytes | None, at_risk: bool, limit: int) -> list[bytes]:
        """Those behind an actor in the order of ids; with `at_risk` only who is."""
        chosen = (each for each in sorted(self.seen) if actor is None or each > actor)
        return [each for each in chosen if not at_risk or self.at_risk(each)][:limit]


async def read_students(
    tallies: Tallies,
    courses: Mapping[str, Course],
    actors: Collection[bytes] | None,
    calendar: Calendar,
    now: int,
) -> Reading:
    """Rows of all whom a report is about.

    Args:
        tallies: theirs.
        courses: the catalogue.
        actors: who they are; None: everybody with a learning event.
        now: the Unix second it is of.

    Raises InputError for more learners and courses than are read.
    """
    today = calendar.date_of(now)
    until = calendar.day_start(today + timedelta(1))
    active = await tallies.totals(ACTIVITY.name, ["actor"], Span(until=until))
    last = {group.actor: total.last_at for group, total in active.items() if group.actor is not None}
    chosen = last.keys() if actors is None else actors
    return Reading(
        {actor: last.get(actor) for actor in chosen if actor[0] != DAILY},
        by_learner(await read_taken(tallies, courses)),
        calendar.day_start(today - timedelta(QUIET_DAYS - 1)),
    )


def students_report(
    reading: Reading,
    names: Mapping[bytes, str],
    calendar: Calendar,
    group: str | None = None,
    following: str | None = None,
) -> Students:
    """A page. `names`: of those on it; `following`: the cursor of the next one."""
    return Students(
        group,
        len(reading.seen),
        sum(map(reading.at_risk, reading.seen)),
        Rule(RULE, QUIET_DAYS, calendar.date_of(reading.since)),
        tuple(_student(reading, actor, names[actor]) for actor in sorted(names)),
        following,
    )


def _student(reading: Reading, actor: bytes, name: str) -> Student:
    last, taken = reading.seen[actor], reading.taken.get(actor, ())
    seen = None if last is None else instant(last)
    return Student(actor.hex(), name, seen, reading.at_risk(actor), len(taken), progress_of(taken))
