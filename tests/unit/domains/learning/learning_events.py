"""What learners do in tests: events of a few of them within some days, each with a key, and how tests look at them without the pipeline."""

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies

from streamgauge.entities.tallies import Span
from streamgauge.event import Event
from streamgauge.summaries.calendar import Calendar

PEOPLE = [bytes([1, *[number] * 16]) for number in range(1, 6)]
ADA, BOB = PEOPLE[:2]
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
MINUTE = 60_000_000
HOUR = 60 * MINUTE
#: Clocks change in New York on 1 November and on Lord Howe on 4 October 2026.
NOW = int(datetime(2026, 11, 3, 9, 30, tzinfo=UTC).timestamp())
NAMES = (
    "learning_session.started", "learning_session.ended", "material.viewed", "material.viewed", "material.completed",
    "lesson.progressed", "lesson.progressed", "lesson.progressed", "quiz.attempted", "assignment.submitted", "course.enrolled", "xp.earned",
)  # fmt: skip
seeds = strategies.integers(0, 2**32)


def event(number: int, name: str, at: int, actor: bytes | None, **properties: Any) -> Event:
    """One event at a microsecond, whose id is its number's. Dots in names of properties are written as two underscores."""
    given = {key.replace("__", "."): value for key, value in properties.items() if value is not None}
    return Event(name, at, "school", actor, properties=given, key=number.to_bytes(16))


def some_events(seed: int, count: int = 50, days: int = 12) -> list[Event]:
    """Events in no order. Some happen at the same microsecond; ids are in another order than times."""
    chosen = random.Random(seed)
    tells_views = chosen.random() < 0.5  # as one source does: always, or never
    made = []
    for number in chosen.sample(range(1, 1_000_000), count):
        name = chosen.choice(NAMES)
        at = (NOW + 2 * 86_400) * 1_000_000 - chosen.randrange(days * 48) * 30 * MINUTE
        given = _properties(chosen, name, tells_views)
        made.append(event(number, name, at, chosen.choice(PEOPLE[:4]), **given))
    return made


def _properties(chosen: random.Random, name: str, tells_views: bool) -> dict[str, Any]:
    course = chosen.choice(["art", "biology", "chess", None])
    marks: dict[str, Any] = {}
    if chosen.random() < 0.8:
        most = chosen.choice([1, 3, 7, 20])
        marks = {"score": chosen.randrange(most + 1), "max_score": most}
    material = {
        "material__id": chosen.choice(["film", "page", "song"]),
        "material__type": chosen.choice(["video", "text", None]),
    }
    given: dict[str, dict[str, Any]] = {
        "learning_session.ended": {"duration": chosen.randrange(10**10), "xp": chosen.choice([None, 0, 30])},
        "material.viewed": {**material, "views": chosen.randrange(1, 9) if tells_views else None},
        "material.completed": material,
        "lesson.progressed": {
            "lesson__id": chosen.choice("abc"),
            "percent": chosen.choice([0, 25, 50, 100, 100]),
        },
        "quiz.attempted": {"quiz__id": chosen.choice("pq"), **marks},
        "assignment.submitted": {"assignment__id": chosen.choice(["essay", "model", "poster"]), **marks},
        "xp.earned": {"xp": chosen.randrange(50)},
    }
    return {**given.get(name, {}), **({} if name == "xp.earned" else {"course__id": course})}


def moment(each: Event) -> tuple[int, bytes]:
    """Where an event is in the order of events."""
    assert each.key is not None
    return each.occurred_at, each.key


def date_of(each: Event, zone: str) -> date:
    """Its local date."""
    return datetime.fromtimestamp(each.occurred_at // 1_000_000, ZoneInfo(zone)).date()


def dates(zone: str, days: int) -> list[date]:
    """The last local dates, today included."""
    today = datetime.fromtimestamp(NOW, ZoneInfo(zone)).date()
    return [today - timedelta(days - 1 - number) for number in range(days)]


def span_of(calendar: Calendar, days: int) -> Span:
    """As a route's view gives it for NOW."""
    today = calendar.date_of(NOW)
    return Span(calendar.day_start(today - timedelta(days - 1)), calendar.day_start(today + timedelta(1)))


def of(events: Iterable[Event], *names: str, who: Iterable[bytes] | None = None) -> list[Event]:
    """Events of these names (none: of all of learning) and of these actors."""
    people = None if who is None else set(who)
    return [
        each
        for each in events
        if (each.name in names if names else each.name != "xp.earned")
        and (people is None or each.actor in people)
    ]


def streak_of(active: set[date], today: date) -> int:
    """Days in a row up to today, or to yesterday while today is not active; by counting."""
    day = today if today in active else today - timedelta(1)
    length = 0
    while day in active:
        length, day = length + 1, day - timedelta(1)
    return length
