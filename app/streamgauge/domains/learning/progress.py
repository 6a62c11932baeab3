"""How far learners are in their courses. Pure: rows in, a frozen report out."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeVar

from streamgauge.domains.gamification.declarations import DAILY_XP
from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import ENROLMENTS, LESSONS, PERCENT
from streamgauge.entities.standings import Rank
from streamgauge.entities.tallies import By, Group, Tallies
from streamgauge.event import DAILY
from streamgauge.people.documented import ACTOR
from streamgauge.read.tally import rounded

DONE: Final = 100  # per cent of a lesson
MOST_COURSES: Final = 1_000  # in an answer
_BY: Final[tuple[By, ...]] = ("actor", 1)

Basis = Literal["declared", "met", "both"]
Pair = tuple[bytes, str]  # a learner and a course
K = TypeVar("K")


class Taken(NamedTuple):
    """A course that a learner takes: of how many lessons the mean is, their percents together, and how many are at 100 %."""

    lessons: int
    percents: int
    completed: int
    declared: bool  #: whether these lessons are the catalogue's

    @property
    def finished(self) -> bool:
        """Whether all of its lessons are known, and done."""
        return self.declared and self.completed == self.lessons


@dataclass(frozen=True, slots=True)
class Progress:
    """How far somebody is, by what was said last of every lesson: by the time of the event, at the same time by the greater event id.

    Somebody takes a course who enrolled in it or had an event of a lesson of it. Of a course whose lessons the catalogue declares these
    lessons count, at 0 % until anything was said of them, and no others; of any other course those of which a percentage was said.

    `percent`: mean over all these lessons of all courses and learners looked at, each as much as any other; null without lessons.
    `basis`: `declared` where all courses declare their lessons, `met` where none does, `both` where some do; null for who takes none.
    `completed`: lessons at 100 %. `total`: how many there are, null unless all courses declare theirs.
    """

    percent: float | None
    basis: Basis | None
    completed: int
    total: int | None


@dataclass(frozen=True, slots=True)
class CourseProgress:
    """One course. `name`, `subject`: as declared. `learners`: how many of those looked at take it; a lesson counts once for each of them."""

    id: str
    name: str | None
    subject: str | None
    learners: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class LearnerProgress:
    """One learner. `courses`: how many it takes, of those asked about. `xp`: points of all time."""

    id: str
    name: str
    courses: int
    progress: Progress
    xp: int


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """How far an actor, a group or everybody whom the caller may see is.

    `actor`, `group`, `course`: what it is about; null: not narrowed. `learners`: how many take a course (`course`, if given).
    `xp`: points of all time, from `xp.earned` and `learning_session.ended`, whatever the course. `rank`: the actor's by these among the
    `participants` of the whole tenant; of equal points the smaller id is before the other. Both are null for several and for who never had
    an event with points. `courses`: those taken, by id (code points), up to 1,000. `people`: who takes a course, by id, up to `limit`; empty
    for one actor.
    """

    actor: str | None
    group: str | None
    course: str | None
    learners: int
    progress: Progress
    xp: int
    rank: int | None
    participants: int | None
    courses: tuple[CourseProgress, ...]
    people: tuple[LearnerProgress, ...]


EXAMPLE: Final = ProgressReport(
    ACTOR, None, None, 1, Progress(62.5, "declared", 1, 2), 340, 9, 28,
    (CourseProgress("biology-7", "Biology 7", "biology", 1, Progress(62.5, "declared", 1, 2)),), (),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class About:
    """What a report is about. `actor`: the only one; `course`: only this one."""

    actor: bytes | None = None
    group: str | None = None
    course: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of those whom a report is about. `rank`: the only one's."""

    taken: Mapping[Pair, Taken]
    xp: Mapping[bytes, int]

    def learners(self, limit: int) -> list[bytes]:
        """Who takes a course, by id, without visitors that are known for a day only."""
        return sorted({actor for actor, _ in self.taken if actor[0] != DAILY})[:limit]


async def read_progress(tallies: Tallies, courses: Mapping[str, Course], course: str | None) -> Reading:
    """Rows for a report. Raises InputError for more than are read."""
    xp = await tallies.totals(DAILY_XP.name, ["actor"])
    return Reading(
        await read_taken(tallies, courses, course),
        {group.actor: total.sums[0] for group, total in xp.items() if group.actor is not None},
    )


async def read_taken(
    tallies: Tallies, courses: Mapping[str, Course], course: str | None = None
) -> dict[Pair, Taken]:
    """Who takes which course, and how far they are in it, by learner and course.

    Args:
        tallies: of those whom it is about.
        courses: the catalogue.
        course: only this one.

    Raises InputError for more rows than are read: learners times their courses.
    """
    declared = {id: frozenset(each.lessons) for id, each in courses.items() if each.lessons is not None}
    enrolled = await tallies.totals(ENROLMENTS.name, _BY, part=course)
    met = await tallies.totals(LESSONS.name, _BY, part=course)
    said = await tallies.sayings(LESSONS.name, PERCENT, DONE, _BY, part=course)
    figures = {group: (each.entities, each.sum, each.reached) for group, each in said.items()}
    for group, (percents, completed) in (await _undeclared(tallies, declared, course)).items():
        lessons, all_percents, all_completed = figures[group]
        figures[group] = (lessons, all_percents - percents, all_completed - completed)
    found: dict[Pair, Taken] = {}
    for group in sorted(enrolled.keys() | met.keys(), key=lambda each: (each.actor or b"", each.parts)):
        if group.actor is None:
            continue
        lessons, percents, completed = figures.get(group, (0, 0, 0))
        own = declared.get(group.parts[0])
        found[group.actor, group.parts[0]] = Taken(
            lessons if own is None else len(own), percents, completed, own is not None
        )
    return found


async def _undeclared(
    tallies: Tallies, declared: Mapping[str, frozenset[str]], course: str | None
) -> dict[Group, tuple[int, int]]:
    """By learner and course: percents and completions of lessons that a course with declared lessons does not declare."""
    outside: dict[str, set[str]] = {}
    # A row for each lesson tells which courses have any: rows for each learner and lesson are read of these alone.
    for group in await tallies.sayings(LESSONS.name, PERCENT, DONE, (1, 2), part=course):
        of, lesson = group.parts
        if of in declared and lesson not in declared[of]:
            outside.setdefault(of, set()).add(lesson)
    found: dict[Group, tuple[int, int]] = {}
    for of, lessons in outside.items():
        said = await tallies.sayings(LESSONS.name, PERCENT, DONE, ("actor", 2), part=of)
        for group, each in said.items():
            if group.parts[0] in lessons:
                pair = Group(None, group.actor, (of,))
                percents, completed = found.get(pair, (0, 0))
                found[pair] = (percents + each.sum, completed + each.reached)
    return found


def progress_of(taken: Collection[Taken]) -> Progress:
    """What courses that learners take come to together."""
    lessons = sum(each.lessons for each in taken)
    kinds = {each.declared for each in taken}
    basis: dict[frozenset[bool], Basis] = {
        frozenset({True}): "declared", frozenset({False}): "met", frozenset({True, False}): "both",
    }  # fmt: skip
    return Progress(
        rounded(Fraction(sum(each.percents for each in taken), lessons)) if lessons else None,
        basis.get(frozenset(kinds)),
        sum(each.completed for each in taken),
        lessons if kinds == {True} else None,
    )


def by_learner(taken: Mapping[Pair, Taken]) -> dict[bytes, list[Taken]]:
    """The courses that each takes."""
    return _grouped((actor, each) for (actor, _), each in taken.items())


def by_course(taken: Mapping[Pair, Taken]) -> dict[str, list[Taken]]:
    """Those who take each course."""
    return _grouped((course, each) for (_, course), each in taken.items())


def _grouped(pairs: Iterable[tuple[K, Taken]]) -> dict[K, list[Taken]]:
    found: dict[K, list[Taken]] = {}
    for key, each in pairs:
        found.setdefault(key, []).append(each)
    return found


def progress_report(
    reading: Reading,
    courses: Mapping[str, Course],
    about: About,
    rank: Rank | None = None,
    names: Mapping[bytes, str] | None = None,
) -> ProgressReport:
    """The report. `rank`: of the only actor that it is about; `names`: of those to be listed, where it is about several."""
    own, learners = by_course(reading.taken), by_learner(reading.taken)
    listed = sorted(names or {})
    return ProgressReport(
        None if about.actor is None else about.actor.hex(),
        about.group,
        about.course,
        len(learners),
        progress_of(list(reading.taken.values())),
        sum(reading.xp.values()),
        None if rank is None else rank.rank,
        None if rank is None else rank.participants,
        tuple(_course(id, courses.get(id), own[id]) for id in sorted(own)[:MOST_COURSES]),
        tuple(
            LearnerProgress(
                actor.hex(),
                (names or {})[actor],
                len(learners.get(actor, ())),
                progress_of(learners.get(actor, ())),
                reading.xp.get(actor, 0),
            )
            for actor in listed
        ),
    )


def _course(id: str, declared: Course | None, taken: Collection[Taken]) -> CourseProgress:
    name, subject = (None, None) if declared is None else (declared.name, declared.subject)
    return CourseProgress(id, name, subject, len(taken), progress_of(taken))
