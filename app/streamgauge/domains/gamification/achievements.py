"""Achievements: declared rules, and when the events satisfied them. A pure fold over journals.

Events are in the order of (time, event id). A rule is satisfied by the first event with which it holds, and never again; that event's
time is the award's date. All is worked out from the journals whenever it is asked for, so an event that comes late moves a date back
where it belongs, and one that comes twice changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from streamgauge.domains.gamification.declarations import COUNTED, DEEDS, LEDGER
from streamgauge.domains.gamification.streaks import Step
from streamgauge.entities.tallies import By, Span, Tallies
from streamgauge.entities.view import instant
from streamgauge.errors import SettingsError
from streamgauge.summaries.tallies import State


@dataclass(frozen=True, slots=True)
class XpReached:
    """So many points, of all time."""

    points: int


@dataclass(frozen=True, slots=True)
class EventsCounted:
    """So many events of a name, which is one of `declarations.COUNTED`."""

    event: str
    times: int


@dataclass(frozen=True, slots=True)
class StreakReached:
    """A streak of so many active days; see `streaks`."""

    days: int


Rule = XpReached | EventsCounted | StreakReached


@dataclass(frozen=True, slots=True)
class Achievement:
    """Something to be achieved once. Raises SettingsError for a rule that nothing or everything satisfies."""

    name: str
    title: str
    rule: Rule

    def __post_init__(self) -> None:
        if self.target < 1:
            raise SettingsError(f"achievement {self.name!r} has to ask for 1 or more")
        if isinstance(self.rule, EventsCounted) and self.rule.event not in COUNTED:
            raise SettingsError(f"achievement {self.name!r} can count {', '.join(COUNTED)}")

    @property
    def target(self) -> int:
        """How many points, events or days it takes."""
        match self.rule:
            case XpReached(points):
                return points
            case EventsCounted(_, times):
                return times
            case StreakReached(days):
                return days


#: What can be achieved where nobody says otherwise.
ACHIEVEMENTS: Final = (
    Achievement("first-material", "First material completed", EventsCounted("material.completed", 1)),
    Achievement("ten-materials", "Ten materials completed", EventsCounted("material.completed", 10)),
    Achievement("first-quiz", "First quiz attempted", EventsCounted("quiz.attempted", 1)),
    Achievement("ten-assignments", "Ten assignments handed in", EventsCounted("assignment.submitted", 10)),
    Achievement("first-published", "First draft published", EventsCounted("draft.published", 1)),
    Achievement("xp-1000", "1,000 points", XpReached(1_000)),
    Achievement("xp-10000", "10,000 points", XpReached(10_000)),
    Achievement("streak-7", "Seven active days in a row", StreakReached(7)),
    Achievement("streak-30", "Thirty active days in a row", StreakReached(30)),
)


@dataclass(frozen=True, slots=True)
class Award:
    """An achievement. `reached`: points, events or days in a row there are so far, at most `target`.

    `awarded_at`: the time (UTC) of the event that satisfied the rule, events being in the order of time and then of their ids; null
    before. An event that comes late can move it back.
    """

    name: str
    title: str
    reached: int
    target: int
    awarded_at: str | None


async def awards(
    tallies: Tallies,
    until: int,
    active: Mapping[Step, int],
    achievements: Sequence[Achievement] = ACHIEVEMENTS,
) -> tuple[Award, ...]:
    """One actor's, in the order in which they are declared.

    Args:
        tallies: of this actor alone.
        until: the UTC second before which the local days begin that count.
        active: its active days, with the microsecond of the first event of each.

    Raises InputError as `Tallies` does.
    """
    journals: dict[str, _Journal] = {}
    found = []
    for achievement in achievements:
        rule, target = achievement.rule, achievement.target
        match rule:
            case StreakReached():
                reached = max((step.length for step in active), default=0)
                at = min((at for step, at in active.items() if step.length >= target), default=None)
            case XpReached() | EventsCounted():
                event = rule.event if isinstance(rule, EventsCounted) else ""
                if event not in journals:
                    journals[event] = await _Journal.of(tallies, event, until)
                reached = sum(journals[event].days.values())
                at = await journals[event].moment(target)
        shown = None if at is None else instant(at)
        found.append(Award(achievement.name, achievement.title, min(reached, target), target, shown))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Journal:
    """What adds up, by local day. Only the day on which a target was reached is read event by event."""

    tallies: Tallies
    event: str  #: empty: points of the ledger
    days: Mapping[int, int]

    @classmethod
    async def of(cls, tallies: Tallies, event: str, until: int) -> "_Journal":
        by: Collection[By] = ["bucket"]
        span = Span(until=until)
        if event:
            totals = await tallies.totals(DEEDS.name, by, span, part=event)
        else:
            totals = await tallies.totals(LEDGER.name, by, span)
        amounts = {
            group.bucket or 0: total.count if event else total.sums[0] for group, total in totals.items()
        }
        return cls(tallies, event, amounts)

    async def moment(self, target: int) -> int | None:
        """The microsecond of the event with which as much was there."""
        before = 0
        for bucket in sorted(self.days):
            if before + self.days[bucket] >= target:
                span = Span(bucket, bucket + 1)
                if self.event:
                    rows = await self.tallies.states(DEEDS.name, span, part=self.event)
                else:
                    rows = await self.tallies.states(LEDGER.name, span)
                return reached_at(rows.values(), target - before, points=not self.event)
            before += self.days[bucket]
        return None


def reached_at(rows: Iterable[State], target: int, *, points: bool) -> int | None:
    """The microsecond of the event of a journal with which so many `points`, or else events, were there; None: of none."""
    ordered = sorted(rows, key=lambda state: state.first)
    amounts = accumulate(state.sums[0] if points else state.count for state in ordered)
    return next(
        (state.first.at for state, amount in zip(ordered, amounts, strict=True) if amount >= target), None
    )
