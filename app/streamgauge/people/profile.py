"""What one actor did, added up. Pure: the same notes give the same report, in whatever order they come."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from streamgauge.people.notes import Note
from streamgauge.read.tally import rounded

MICROSECONDS = 1_000  # per millisecond


@dataclass(slots=True)
class Sum:
    """Events added up. Times and durations in microseconds; `observed`: how many carried a duration."""

    events: int = 0
    errors: int = 0
    observed: int = 0
    duration: int = 0
    first_at: int | None = None
    last_at: int | None = None

    def add(self, note: Note) -> None:
        """Count an event."""
        self.events += 1
        self.errors += note.failed
        if note.duration is not None:
            self.observed += 1
            self.duration += note.duration
        self.first_at = note.at if self.first_at is None else min(self.first_at, note.at)
        self.last_at = note.at if self.last_at is None else max(self.last_at, note.at)

    @property
    def average_duration(self) -> float | None:
        """Milliseconds; None where no event carried a duration."""
        return rounded(Fraction(self.duration, self.observed * MICROSECONDS)) if self.observed else None


@dataclass(slots=True)
class Sums:
    """Everything, and by the events' names."""

    total: Sum = field(default_factory=Sum)
    by_name: dict[str, Sum] = field(default_factory=dict)

    def add(self, notes: Iterable[Note]) -> None:
        """Count events."""
        for note in notes:
            self.total.add(note)
            self.by_name.setdefault(note.name, Sum()).add(note)

    def ordered(self) -> list[tuple[str, Sum]]:
        """By name, the most frequent first."""
        return sorted(self.by_name.items(), key=lambda each: (-each[1].events, each[0]))
