"""Typed calls for the learning domain's events."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict, Unpack

from streamgauge.domains.learning import declarations as learning

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge
    from streamgauge.capture.pending import Ticket


class About(TypedDict, total=False):
    """Whom an event is about, and when it was: as `Streamgauge.track` takes it, and like there the request's where left out."""

    actor: str | int | None
    session: str | int | None
    group: str | int | None
    idempotency_key: str | None
    occurred_at: datetime | int | None
    tenant: str | None


class Learning:
    """What `gauge.learning` is. No call raises; what cannot be kept is refused and told by its ticket, as by `Streamgauge.track`.

    Every call also takes `actor`, `session`, `group`, `idempotency_key`, `occurred_at` and `tenant`; see `About`.
    """

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge

    def session_started(self, *, course: str | None = None, **about: Unpack[About]) -> "Ticket":
        """Somebody sat down to learn."""
        return self._record(learning.SESSION_STARTED.name, {learning.COURSE: course}, about)

    def session_ended(
        self, duration_us: int, *, xp: int | None = None, course: str | None = None, **about: Unpack[About]
    ) -> "Ticket":
        """Somebody stopped learning.

        Args:
            duration_us: microseconds, up to seven days.
            xp: points for it, up to 1,000,000.
        """
        given = {learning.DURATION: duration_us, learning.XP: xp, learning.COURSE: course}
        return self._record(learning.SESSION_ENDED.name, given, about)

    def material_viewed(
        self,
        material: str,
        *,
        type: str | None = None,
        course: str | None = None,
        views: int = 1,
        **about: Unpack[About],
    ) -> "Ticket":
        """Somebody looked at a material.

        Args:
            type: what kind it is, such as video or page.
            views: how many views this event stands for, 1 to 1,000,000: for what was counted elsewhere.
        """
        given = {
            learning.MATERIAL: material,
            learning.MATERIAL_TYPE: type,
            learning.COURSE: course,
            # Always told: sums of views then need nothing but views.
            learning.VIEWS: views,
        }
        return self._record(learning.MATERIAL_VIEWED.name, given, about)

    def material_completed(
        self, material: str, *, type: str | None = None, course: str | None = None, **about: Unpack[About]
    ) -> "Ticket":
        """Somebody worked a material through."""
        given = {learning.MATERIAL: material, learning.MATERIAL_TYPE: type, learning.COURSE: course}
        return self._record(learning.MATERIAL_COMPLETED.name, given, about)

    def lesson_progressed(self, course: str, lesson: str, percent: int, **about: Unpack[About]) -> "Ticket":
        """How far somebody is in a lesson now, 0 to 100 %. What was said last holds, by `occurred_at`, also when it is less."""
        given = {learning.COURSE: course, learning.LESSON: lesson, learning.PERCENT: percent}
        return self._record(learning.LESSON_PROGRESSED.name, given, about)

    def quiz_attempted(
        self, quiz: str, score: int, max_score: int, *, course: str | None = None, **about: Unpack[About]
    ) -> "Ticket":
        """Somebody tried a quiz and reached `score` of `max_score` points, up to 1,000,000; each try counts."""
        given = {
            learning.QUIZ: quiz,
            learning.SCORE: score,
            learning.MAX_SCORE: max_score,
            learning.COURSE: course,
        }
        return self._record(learning.QUIZ_ATTEMPTED.name, given, about)

    def assignment_submitted(
        self,
        assignment: str,
        *,
        course: str | None = None,
        score: int | None = None,
        max_score: int | None = None,
        **about: Unpack[About],
    ) -> "Ticket":
        """Somebody handed an assignment in, or handed it in again: the first time is when it was, the last one how good.

        Args:
            score, max_score: points of how many, up to 1,000,000; both or neither.
        """
        given = {
            learning.ASSIGNMENT: assignment,
            learning.COURSE: course,
            learning.SCORE: score,
            learning.MAX_SCORE: max_score,
        }
        return self._record(learning.ASSIGNMENT_SUBMITTED.name, given, about)

    def course_enrolled(self, course: str, **about: Unpack[About]) -> "Ticket":
        """Somebody takes a course from now on."""
        return self._record(learning.COURSE_ENROLLED.name, {learning.COURSE: course}, about)

    def _record(self, name: str, properties: Mapping[str, object], about: About) -> "Ticket":
        given = {key: value for key, value in properties.items() if value is not None}
        return self._gauge.record(name, given, **about)
