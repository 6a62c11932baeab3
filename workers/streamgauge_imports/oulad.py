"""OULAD as events of the learning domain: clicks as views, results as submissions, first appearances as enrolments."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.domains.learning import declarations as learning
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.calendar import Calendar
from streamgauge_imports.batches import VERSION, Frame
from streamgauge_imports.facts import Facts, RejectedRows, UnusableError
from streamgauge_imports.framing import Made, framed
from streamgauge_imports.local_days import noon
from streamgauge_imports.oulad_folder import (
    ASSESSMENTS,
    MATERIALS,
    MISSING,
    SUBMISSIONS,
    VIEWS,
    Folder,
    course_of,
    known,
)
from streamgauge_imports.repetitions import Repetitions
from streamgauge_imports.table_rows import BadRow, Row
from streamgauge_imports.tenants import Zones

MOST_POINTS = 100  # of every assessment
#: A student and a course.
Place = tuple[str, str]


@dataclass(frozen=True)
class Days:
    """The instants of the dataset's days, which are counted from `start`."""

    start: date
    calendar: Calendar
    _noons: dict[int, int] = field(default_factory=dict)

    def at(self, day: int) -> int:
        """The UTC microsecond of a day's local noon. Raises UnusableError outside of 1970 to 2100."""
        if day not in self._noons:
            try:
                self._noons[day] = noon(self.calendar, self.start + timedelta(day))
            except (InputError, OverflowError):
                raise UnusableError("invalid_time", "its day lies outside of 1970 to 2100") from None
        return self._noons[day]


@dataclass(frozen=True)
class Oulad:
    """What the sources of both files have in common."""

    folder: Folder
    start: date
    zones: Zones
    keys: TenantKeys
    shards: int
    batch: int
    rejects: Path

    def options(self) -> dict[str, object]:
        """See `Source.options`."""
        others = {
            name + ".csv": file.digest.hex()[:16]
            for name, file in sorted(self.folder.files.items())
            if name in self.needs
        }
        return {
            "version": VERSION, "--start": self.start.isoformat(), "key": self.keys.fingerprint, "shards": self.shards,
            "batch": self.batch, **others,
        }  # fmt: skip

    #: The other files that its events depend on.
    needs: ClassVar[tuple[str, ...]] = (MATERIALS,)

    def frames(self, summary: dict[str, Any]) -> Iterator[Frame]:
        """The events in the order of the rows, enrolments first; see `framed`."""
        days = Days(self.start, Calendar(self.zones))
        facts = Facts(self.keys, learning.EVENT_TYPES, self.shards)
        yield from framed(
            lambda facts, rejects: self.events(facts, days, rejects),
            facts, self.folder.files.values(), self.shards, self.batch, self.rejects, summary,
        )  # fmt: skip

    def events(self, facts: Facts, days: Days, rejects: RejectedRows) -> Made:
        """Every event, with the number of its line."""
        raise NotImplementedError

    def _enrolments(self, facts: Facts, days: Days, first: dict[Place, int]) -> Made:
        for (student, course), day in first.items():
            name, key = learning.COURSE_ENROLLED.name, f"oulad enrolment {course}"
            # What cannot be used here is in the rows, too, and told there.
            with suppress(UnusableError):
                yield 0, facts.event(name, days.at(day), {learning.COURSE: course}, key, actor=student)

    def _clicked(self, days: Days) -> dict[Place, int]:
        """The first day of everybody in every course."""
        first: dict[Place, int] = {}
        for row in self.folder.rows(VIEWS):
            if isinstance(row, Row) and known(row.cells):
                module, presentation, student, _, day, _ = row.cells
                _earlier(first, (student, course_of(module, presentation)), day, days)
        return first

    def _judged(
        self, name: str, rejects: RejectedRows, make: Callable[[Sequence[str]], tuple[int, Event]]
    ) -> Made:
        for row in self.folder.rows(name):
            try:
                if isinstance(row, BadRow):
                    raise UnusableError(row.reason, row.detail)
                made = make(row.cells)
            except UnusableError as error:
                rejects.refuse(row.line, error.reason, f"{name}.csv: {error.detail}")
                continue
            yield row.line, made


class OuladViews(Oulad):
    """studentVle: a `Source`."""

    def events(self, facts: Facts, days: Days, rejects: RejectedRows) -> Made:
        """Enrolments of whoever appears, then one view for each row."""
        yield from self._enrolments(facts, days, self._clicked(days))
        types: dict[tuple[str, str], str] = {}
        for row in self.folder.rows(MATERIALS):
            if isinstance(row, Row):
                site, module, presentation, kind = row.cells
                types[site, course_of(module, presentation)] = kind
        repetitions = Repetitions(row.cells for row in self.folder.rows(VIEWS) if isinstance(row, Row))

        def view(cells: Sequence[str]) -> tuple[int, Event]:
            if not known(cells):
                raise UnusableError("missing_value", "a cell is empty")
            module, presentation, student, site, day, clicks = cells
            course = course_of(module, presentation)
            properties = {
                learning.MATERIAL: site,
                learning.MATERIAL_TYPE: types.get((site, course)) or None,
                learning.COURSE: course,
                learning.VIEWS: _whole("sum_click", clicks),
            }
            key = f"oulad view {course} {site} {day} {clicks} {repetitions.number(cells)}"
            at = days.at(_whole("date", day))
            return facts.event(learning.MATERIAL_VIEWED.name, at, properties, key, actor=student)

        yield from self._judged(VIEWS, rejects, view)


class OuladSubmissions(Oulad):
    """studentAssessment: a `Source`."""

    needs = VIEWS, ASSESSMENTS

    def events(self, facts: Facts, days: Days, rejects: RejectedRows) -> Made:
        """Enrolments of whoever handed something in and is not in studentVle, then one submission for each row."""
        courses = {
            row.cells[0]: course_of(row.cells[1], row.cells[2])
            for row in self.folder.rows(ASSESSMENTS)
            if isinstance(row, Row)
        }
        yield from self._enrolments(facts, days, self._handed_in(courses, self._clicked(days), days))
        repetitions = Repetitions(row.cells for row in self.folder.rows(SUBMISSIONS) if isinstance(row, Row))

        def submission(cells: Sequence[str]) -> tuple[int, Event]:
            assessment, student, day, banked, score = cells
            if banked == "1":
                # Nothing was handed in: it is what somebody brought along from an earlier presentation.
                raise UnusableError("banked", "is_banked is 1: a result of an earlier presentation")
            if not known((assessment, student, day)):
                raise UnusableError("missing_value", "id_assessment, id_student or date_submitted is empty")
            course = courses.get(assessment)
            if course is None:
                raise UnusableError("unknown_assessment", "assessments.csv does not have its id_assessment")
            properties: dict[str, Any] = {learning.ASSIGNMENT: assessment, learning.COURSE: course}
            if score not in MISSING:
                properties |= {learning.SCORE: _whole("score", score), learning.MAX_SCORE: MOST_POINTS}
            key = f"oulad submission {assessment} {day} {score} {repetitions.number(cells)}"
            at = days.at(_whole("date_submitted", day))
            return facts.event(learning.ASSIGNMENT_SUBMITTED.name, at, properties, key, actor=student)

        yield from self._judged(SUBMISSIONS, rejects, submission)

    def _handed_in(self, courses: dict[str, str], clicked: dict[Place, int], days: Days) -> dict[Place, int]:
        """The first day of everybody in every course in which they never clicked."""
        first: dict[Place, int] = {}
        for row in self.folder.rows(SUBMISSIONS):
            if isinstance(row, Row) and known(row.cells[:3]) and row.cells[3] != "1":
                assessment, student, day, _, _ = row.cells
                place = student, courses.get(assessment, "")
                if place[1] and place not in clicked:
                    _earlier(first, place, day, days)
        return first


def _earlier(first: dict[Place, int], place: Place, day: str, days: Days) -> None:
    try:
        number = _whole("date", day)
        days.at(number)
    except UnusableError:
        return  # the row is refused for it
    if number < first.get(place, number + 1):
        first[place] = number


def _whole(column: str, text: str) -> int:
    """A whole number of up to nine digits, also written as 78.0. Raises UnusableError."""
    digits = text.strip().removesuffix(".0")
    if not digits.removeprefix("-").isdecimal() or len(digits) > 9 or not digits.isascii():
        raise UnusableError("invalid_number", f"column {column} is no whole number of up to 9 digits")
    return int(digits)
