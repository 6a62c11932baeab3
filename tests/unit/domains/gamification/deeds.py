"""What people do in tests of gamification: events of a few of them within some days, each with a key."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies

from streamgauge.event import Event

PEOPLE = [bytes([1, *[number] * 16]) for number in range(1, 5)]
ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
HOUR = 3_600_000_000
#: Shortly before clocks change in New York: 31 October 2026, 00:00 UTC.
START = int(datetime(2026, 10, 31, tzinfo=UTC).timestamp()) * 1_000_000
NAMES = (
    "xp.earned",
    "xp.earned",
    "learning_session.ended",
    "material.completed",
    "quiz.attempted",
    "draft.published",
)


def event(number: int, name: str, at: int, actor: bytes, **properties: Any) -> Event:
    """One event, whose id is its number's."""
    return Event(name, at, "school", actor, properties=properties, key=number.to_bytes(16))


def some_events(seed: int, count: int, days: int = 12, people: Sequence[bytes] = PEOPLE[:2]) -> list[Event]:
    """Events in no order. Some happen at the same microsecond; ids are in another order than times."""
    chosen = random.Random(seed)
    numbers = chosen.sample(range(1, 1_000_000), count)
    made = []
    for number in numbers:
        name = chosen.choice(NAMES)
        given: dict[str, Any] = {}
        if name in ("xp.earned", "learning_session.ended") and chosen.random() < 0.9:
            given["xp"] = chosen.choice([0, 5, 40, 100, 260])
        at = START + chosen.randrange(days * 6) * 4 * HOUR
        made.append(event(number, name, at, chosen.choice(people), **given))
    return made


def date_in(zone: str, at: int) -> str:
    """The local date of a microsecond."""
    return datetime.fromtimestamp(at // 1_000_000, ZoneInfo(zone)).date().isoformat()


seeds = strategies.integers(0, 2**32)
