"""What was handed in: when for the first time, and how good it was in the end."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import COURSE, MAX_SCORE, SCORE
from streamgauge.domains.learning.marks import Mark, mean_percent
from streamgauge.entities.tallies import Span
from streamgauge.summaries.tallies import State, TallyKey

Rows = Mapping[TallyKey, State]


@dataclass(frozen=True, slots=True)
class Assignments:
    """Assignments handed in for the first time in these days; each counts once per actor, however often it was handed in.

    `with_due_date`: those whose due date the catalogue declares; `on_time`: those of them handed in first at or before it. Both are null if
    it declares no due date at all. `score`: mean of score/max as the last event of each told it, in per cent; null where none told both.
    """

    submitted: int
    with_due_date: int | None
    on_time: int | None
    score: float | None


class DueDates:
    """When declared assignments are due."""

    def __init__(self, courses: Mapping[str, Course]) -> None:
        self._declared: dict[tuple[str, str], int | None] = {}
        self._courses: dict[str, list[str]] = {}
        for course in courses.values():
            for each in course.assignments or ():
                self._declared[course.id, each.id] = each.due_at
                self._courses.setdefault(each.id, []).append(course.id)

    @property
    def any(self) -> bool:
        """Whether any assignment has a due date."""
        return any(at is not None for at in self._declared.values())

    def of(self, assignment: str, course: str | None) -> int | None:
        """UTC microseconds; None where nothing is declared. Without a course: of the only one that declares such an assignment."""
        if course is None:
            declaring = self._courses.get(assignment, [])
            course = declaring[0] if len(declaring) == 1 else None
        return None if course is None else self._declared.get((course, assignment))


def assignments_in(rows: Rows, courses: Mapping[str, Course], span: Span) -> Assignments:
    """What rows of `declarations.SUBMISSIONS` say of those handed in first in the span."""
    dates = DueDates(courses)
    chosen = [(key, state) for key, state in rows.items() if within(span, state.first.at)]
    due = [(dates.of(key.parts[0], course_of(state)), state.first.at) for key, state in chosen]
    on_time = [handed_in <= at for at, handed_in in due if at is not None]
    return Assignments(
        len(chosen),
        len(on_time) if dates.any else None,
        sum(on_time) if dates.any else None,
        mean_percent(marks_of(state for _, state in chosen)),
    )


def marks_of(states: Iterable[State]) -> Iterator[Mark]:
    """What last events told of points; one that lacks the points or how many there were tells nothing."""
    for state in states:
        score, most = state.said.get(SCORE), state.said.get(MAX_SCORE)
        if type(score) is int and type(most) is int and most > 0:
            yield score, most


def course_of(state: State) -> str | None:
    """The course that the last event named."""
    course = state.said.get(COURSE)
    return course if isinstance(course, str) else None


def within(span: Span, at: int) -> bool:
    """Whether an instant in microseconds is in the span."""
    return span.since <= at // 1_000_000 < span.until
