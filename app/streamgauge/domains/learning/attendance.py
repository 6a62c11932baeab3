"""Who was active in which course, as far as tallies tell."""

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction

from streamgauge.domains.learning.declarations import ENROLMENTS, LESSONS, MATERIALS
from streamgauge.domains.learning.submissions import Rows, course_of, within
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.read.tally import RATE_DECIMALS, rounded

Pair = tuple[bytes, str]  # an actor and a course


@dataclass(frozen=True, slots=True)
class ActiveCourses:
    """Courses ("classes"). `active`: in which anybody looked at was active; `total`: those, and all that anybody looked at is enrolled in.

    Active in a course is who progressed in a lesson, viewed or completed a material, attempted a quiz or handed something in, with an
    event that named the course. Of a lesson and of an assignment the first and the last event are known, of a material and a day the
    last. Sessions and enrolling itself do not count.
    """

    active: int
    total: int


@dataclass(frozen=True, slots=True)
class ActiveEnrolments:
    """Different pairs of an actor and a course it ever enrolled in. `active`: those whose actor was active in that course in these days.

    `attendance`: the active ones' share, 0 to 1; null where nobody is enrolled.
    """

    active: int
    total: int
    attendance: float | None


async def enrolled_pairs(tallies: Tallies) -> set[Pair]:
    """Who is enrolled in what. Raises InputError for more than are read."""
    found = await tallies.totals(ENROLMENTS.name, ["actor", 1])
    return {(group.actor, group.parts[0]) for group in found if group.actor is not None}


async def active_pairs(tallies: Tallies, span: Span, attempts: Rows, submissions: Rows) -> set[Pair]:
    """Who was active in what within the span; see `ActiveCourses`. Raises InputError for more rows than are read.

    Args:
        attempts: rows of `declarations.ATTEMPTS` in the span.
        submissions: rows of `declarations.SUBMISSIONS`, of all time.
    """
    found = {
        (group.actor, group.parts[0])
        for group, total in (await tallies.totals(LESSONS.name, ["actor", 1])).items()
        if within(span, total.last_at) or within(span, total.first_at)
    }
    handed_in = {
        key: state
        for key, state in submissions.items()
        if within(span, state.last.at) or within(span, state.first.at)
    }
    for rows in (await tallies.states(MATERIALS.name, span), attempts, handed_in):
        for key, state in rows.items():
            course = course_of(state)
            if course is not None:
                found.add((key.actor, course))
    return {(actor, course) for actor, course in found if actor is not None}


def attendance(
    active: Collection[Pair], enrolled: Collection[Pair]
) -> tuple[ActiveCourses, ActiveEnrolments]:
    """What pairs of actors and courses add up to."""
    courses = {course for _, course in active}
    both = len(set(active) & set(enrolled))
    share = rounded(Fraction(both, len(enrolled)), RATE_DECIMALS) if enrolled else None
    everything = courses | {course for _, course in enrolled}
    return ActiveCourses(len(courses), len(everything)), ActiveEnrolments(both, len(enrolled), share)
