"""What learners have come to in each subject of the catalogue. Pure: rows in, a frozen report out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import ATTEMPTS, LESSONS, SUBMISSIONS
from streamgauge.domains.learning.progress import Pair, Progress, Taken, progress_of, read_taken
from streamgauge.domains.learning.submissions import Rows, course_of
from streamgauge.domains.learning.summary import unless_too_many
from streamgauge.entities.tallies import Tallies
from streamgauge.people.documented import ACTOR

Counts = Counter[str | None]  # by subject


@dataclass(frozen=True, slots=True)
class Evidence:
    """What mastery is told by, of all time, of the courses that events named: an event without a course has no subject.

    `lessons`: pairs of a learner and a lesson with an event. `quiz_attempts`: `quiz.attempted` events that named the quiz.
    `assignments`: pairs of a learner and an assignment handed in, however often. `count`: these three together. Null: see `left_out`.
    """

    count: int | None
    lessons: int
    quiz_attempts: int | None
    assignments: int | None


@dataclass(frozen=True, slots=True)
class SubjectMastery:
    """One subject; null: of courses that declare none, or that the catalogue does not know.

    `topics`: courses taken, once for each learner who takes it. `topics_completed`: those whose declared lessons are all at 100 %; null where
    no course of the subject declares lessons. `progress`: of these courses, as `progress` tells it.
    """

    subject: str | None
    topics: int
    topics_completed: int | None
    progress: Progress
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Mastery:
    """Subjects by name (code points), null last: all of the catalogue, whether anybody takes a course of it or not.

    `learners`: how many of those looked at take a course. `left_out`: what is null because there are more rows of it than one answer reads; a
    group or an actor has fewer.
    """

    actor: str | None
    group: str | None
    learners: int
    subjects: tuple[SubjectMastery, ...]
    left_out: tuple[str, ...]


EXAMPLE: Final = Mastery(
    ACTOR, None, 1,
    (SubjectMastery("biology", 1, 0, Progress(62.5, "declared", 1, 2), Evidence(5, 2, 2, 1)),), (),
)  # fmt: skip


async def mastery(
    tallies: Tallies,
    courses: Mapping[str, Course],
    actor: bytes | None = None,
    group: str | None = None,
) -> Mastery:
    """What those of the tallies have come to, of all time.

    Args:
        courses: the catalogue.
        actor, group: what the tallies are narrowed to.

    Raises InputError for more learners and courses than are read.
    """
    taken = await read_taken(tallies, courses)
    lessons: Counter[str | None] = Counter()
    for part, total in (await tallies.totals(LESSONS.name, [1])).items():
        lessons[_subject(courses, part.parts[0])] += total.entities
    attempts = _by_subject(courses, await unless_too_many(tallies.states(ATTEMPTS.name)))
    assignments = _by_subject(courses, await unless_too_many(tallies.states(SUBMISSIONS.name)))
    read = {"quiz_attempts": attempts, "assignments": assignments}
    own: dict[str | None, list[Taken]] = {course.subject: [] for course in courses.values()}
    for subject, each in _subjects_of(courses, taken):
        own.setdefault(subject, []).append(each)
    for found in (lessons, attempts, assignments):
        for subject in found or ():
            own.setdefault(subject, [])
    completable = {course.subject for course in courses.values() if course.lessons}
    return Mastery(
        None if actor is None else actor.hex(),
        group,
        len({each for each, _ in taken}),
        tuple(
            SubjectMastery(
                subject,
                len(own[subject]),
                sum(each.finished and each.lessons > 0 for each in own[subject])
                if subject in completable
                else None,
                progress_of(own[subject]),
                _evidence(subject, lessons, attempts, assignments),
            )
            for subject in sorted(own, key=lambda each: (each is None, each or ""))
        ),
        tuple(name for name, counts in read.items() if counts is None),
    )


def _evidence(
    subject: str | None, lessons: Counts, attempts: Counts | None, assignments: Counts | None
) -> Evidence:
    attempted = None if attempts is None else attempts[subject]
    handed_in = None if assignments is None else assignments[subject]
    whole = None if attempted is None or handed_in is None else lessons[subject] + attempted + handed_in
    return Evidence(whole, lessons[subject], attempted, handed_in)


def _by_subject(courses: Mapping[str, Course], rows: Rows | None) -> Counts | None:
    """How many rows name a course of which subject."""
    return None if rows is None else Counter(_subject(courses, course_of(state)) for state in rows.values())


def _subjects_of(
    courses: Mapping[str, Course], taken: Mapping[Pair, Taken]
) -> Iterable[tuple[str | None, Taken]]:
    return ((_subject(courses, course), each) for (_, course), each in taken.items())


def _subject(courses: Mapping[str, Course], course: str | None) -> str | None:
    declared = None if course is None else courses.get(course)
    return None if declared is None else declared.subject
