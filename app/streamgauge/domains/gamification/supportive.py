"""Supportive mode: a board that shows ten and compares nobody. Pure.

The first ten are on it, each with an `insight`; the board has a `message`. Whoever is not among them learns what they have gathered
themselves, and neither a rank nor a percentile nor who is near. Every text is one of those below, which were reviewed for comparing nobody
and shaming nobody; which one it is depends on one's own score and on the board alone, never on anybody else's.
"""

from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from itertools import pairwise
from typing import Final

from streamgauge.domains.gamification.leaderboard import (
    YOU,
    Audience,
    Leaderboard,
    Reading,
    described,
    leaderboard,
)
from streamgauge.entities.standings import Frame
from streamgauge.errors import InputError
from streamgauge.summaries.calendar import Calendar

MOST_ENTRIES: Final = 10

#: From which own score on which texts are chosen from.
INSIGHTS: Final = (
    (0, ("A good moment to begin.", "Every start counts.")),
    (1, ("The first points are in.", "Off to a good start.")),
    (100, ("Steady work adds up.", "This is taking shape.")),
    (500, ("A lot of learning went into this.", "Real effort shows here.")),
    (2_000, ("Impressive dedication.", "A great deal of work, well done.")),
)
MESSAGES: Final = (
    "Thank you all for learning together.",
    "Every point here stands for something learned.",
    "Each of you goes at your own pace.",
    "Learning grows one step at a time.",
)
EMPTY_MESSAGE: Final = "The board is open, and everybody is welcome."


@dataclass(frozen=True, slots=True)
class SupportiveEntry:
    """One of the first ten. `name`: "You" for oneself. `id`: of an actor whom the caller may see, else null. `insight`: a text about its score alone."""

    rank: int
    name: str
    score: int
    is_you: bool
    id: str | None
    insight: str


@dataclass(frozen=True, slots=True)
class SupportiveOwn:
    """What one has gathered oneself, on the board or not."""

    name: str
    score: int
    insight: str


@dataclass(frozen=True, slots=True)
class SupportiveLeaderboard:
    """The first ten by score, the greatest first, of equal scores the smaller id first; `message` is for everybody.

    `starts`: the first local day of the timeframe, null for all time. `you`: null for who has brought no event that the board counts.
    """

    metric: str
    timeframe: str
    season: str | None
    starts: date | None
    supportive: bool
    message: str
    entries: tuple[SupportiveEntry, ...]
    you: SupportiveOwn | None


def checked_limit(limit: int, *, supportive: bool, force_supportive: bool = False) -> int:
    """The limit. Raises InputError for one above ten in supportive mode."""
    if (supportive or force_supportive) and limit > MOST_ENTRIES:
        raise InputError(f"limit is {limit}: a supportive board shows at most {MOST_ENTRIES}", "limit")
    return limit


def presented(
    reading: Reading,
    frame: Frame,
    calendar: Calendar,
    audience: Audience,
    *,
    supportive: bool,
    force_supportive: bool = False,
) -> Leaderboard | SupportiveLeaderboard:
    """What was read of a board, as it is shown to who asked for supportive mode, or to everybody where that is forced."""
    if supportive or force_supportive:
        return supportive_leaderboard(reading, frame, calendar, audience)
    return leaderboard(reading, frame, calendar, audience)


def supportive_leaderboard(
    reading: Reading, frame: Frame, calendar: Calendar, audience: Audience
) -> SupportiveLeaderboard:
    """What was read, as it is shown: at most ten, whatever was read."""
    timeframe, season, starts = described(frame, calendar)
    shown = [audience.entry(rank, each) for rank, each in enumerate(reading.best[:MOST_ENTRIES], 1)]
    entries = tuple(
        SupportiveEntry(
            each.rank, each.name, each.score, each.is_you, each.id, insight(score.score, score.actor)
        )
        for each, score in zip(shown, reading.best, strict=False)  # more may have been read than is shown
    )
    you = None
    if reading.own is not None and audience.actor is not None:
        own = reading.own.score
        you = SupportiveOwn(YOU, own, insight(own, audience.actor))
    return SupportiveLeaderboard(
        frame.board, timeframe, season, starts, True, message(frame, empty=not entries), entries, you
    )


def insight(score: int, actor: bytes) -> str:
    """A text for a score: always the same for the same person and the same score."""
    least = [each for each, _ in INSIGHTS]
    place = next((at for at, (_, end) in enumerate(pairwise(least)) if score < end), len(least) - 1)
    return _chosen(INSIGHTS[place][1], actor)


def message(frame: Frame, *, empty: bool) -> str:
    """A text for a board: always the same for the same timeframe, whoever asks."""
    return EMPTY_MESSAGE if empty else _chosen(MESSAGES, repr(frame).encode())


def _chosen(texts: tuple[str, ...], of: bytes) -> str:
    return texts[blake2b(of, digest_size=8).digest()[0] % len(texts)]
