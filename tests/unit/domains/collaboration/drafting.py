"""Events of people who write drafts in turns, and what is to be told of them: counted straight from the events, with nothing of ours."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from streamgauge.domains.collaboration.declarations import BOARDS, EVENT_TYPES, ROLLUPS, TALLIES
from streamgauge.event import Event
from streamgauge.summaries.rollups import Catalogue

OWN = Catalogue(EVENT_TYPES, ROLLUPS, TALLIES, BOARDS)
ZONE = "America/New_York"
#: Four people, and a visitor known for a day only.
PEOPLE = [bytes([1]) + bytes([number]) * 16 for number in (3, 1, 4, 2)]
VISITOR = bytes([0]) + b"v" * 16
DRAFTS = ["fable", "ballad", "odé/1"]
#: What is drawn from: what matters most, most often.
NAMES = [*(each.name for each in EVENT_TYPES), "segment.added", "ring.passed", "ring.passed"]
SECOND = 1_000_000
DAY = 86_400 * SECOND
NOW = int(datetime(2026, 3, 20, 15, tzinfo=UTC).timestamp())
#: On purpose many at the same time, some in the minutes ahead of `now`, and over the hour that New York skips.
TIMES = st.one_of(
    st.integers(NOW * SECOND - 30 * DAY, NOW * SECOND + 300 * SECOND),
    st.sampled_from([NOW * SECOND - each * DAY for each in (0, 1, 7, 8, 12, 13, 240)] + [NOW * SECOND + 1]),
)


@st.composite
def events(draw: st.DrawFn, most: int = 25) -> list[Event]:
    """Events with keys, of which some come twice."""
    made = []
    for number in range(draw(st.integers(0, most))):
        name = draw(st.sampled_from(NAMES))
        properties = {"draft.id": draw(st.sampled_from(DRAFTS))}
        if name == "ring.passed":
            to = draw(st.sampled_from([*(each.hex() for each in PEOPLE), VISITOR.hex(), "nobody", None]))
            properties |= {} if to is None else {"to": to}
        if draw(st.integers(0, 19)) == 0:
            del properties["draft.id"]
        made.append(
            Event(
                name,
                draw(TIMES),
                "school",
                draw(st.sampled_from([*PEOPLE, *PEOPLE, VISITOR, None])),
                properties=properties,
                # Ids whose order is not that of the events.
                key=bytes([number * 37 % 251]) * 16,
            )
        )
    repeated = draw(st.lists(st.sampled_from(made), max_size=4)) if made else []
    return made + repeated


def once(told: Sequence[Event]) -> list[Event]:
    """Each event once, in the order of times and ids. One without a key is told once."""
    found = {event.key or number: event for number, event in enumerate(told)}
    return sorted(found.values(), key=lambda event: (event.occurred_at, event.key or b""))


def local(event: Event) -> date:
    """The local date of an event."""
    return datetime.fromtimestamp(event.occurred_at / SECOND, ZoneInfo(ZONE)).date()


TODAY = datetime.fromtimestamp(NOW, ZoneInfo(ZONE)).date()


def named(told: Sequence[Event], *names: str, draft: str | None = None) -> list[Event]:
    """Events of these names that name a draft, or this one."""
    return [
        event
        for event in told
        if event.name in names
        and "draft.id" in event.properties
        and draft in (None, event.properties["draft.id"])
    ]


def contributions(told: Sequence[Event], actor: bytes) -> set[object]:
    """Drafts that somebody created or wrote a segment of."""
    chosen = named(told, "draft.created", "segment.added")
    return {event.properties["draft.id"] for event in chosen if event.actor == actor}


def rings(told: Sequence[Event], actor: bytes) -> int:
    """How often somebody got a ring."""
    return sum(event.properties.get("to") == actor.hex() for event in named(told, "ring.passed"))


def holds(told: Sequence[Event], actor: bytes, now: int = NOW) -> list[tuple[int, bool]]:
    """Every hold of somebody: its microseconds, and whether it is open. One event at a time, as one would with a pencil."""
    has: dict[object, tuple[object, int]] = {}
    found = []
    for event in named(once(told), "ring.passed", "draft.published"):
        draft = event.properties["draft.id"]
        if draft in has:
            holder, since = has.pop(draft)
            if holder == actor.hex():
                found.append((event.occurred_at - since, False))
        if event.name == "ring.passed":
            has[draft] = event.properties.get("to"), event.occurred_at
    for holder, since in has.values():
        if holder == actor.hex():
            found.append((max(now * SECOND - since, 0), True))
    return found


def mean(lengths: Collection[int]) -> float | None:
    """The mean of microseconds in seconds, to 3 decimals."""
    return float(round(Fraction(sum(lengths), len(lengths)) / SECOND, 3)) if lengths else None


def collaboration(told: Sequence[Event], actor: bytes) -> int:
    """The score, from events of the days that count."""
    segments = sum(event.actor == actor for event in named(told, "segment.added"))
    return segments * 3 + rings(told, actor) * 2 + len(contributions(told, actor))


def created(told: Sequence[Event], actor: bytes) -> set[object]:
    """Drafts that somebody created."""
    return {event.properties["draft.id"] for event in named(told, "draft.created") if event.actor == actor}


def consistency(told: Sequence[Event], actor: bytes) -> int:
    """Likewise."""
    return len(created(told, actor)) * 5 + len(contributions(told, actor)) * 2


def points_by_day(told: Sequence[Event], actor: bytes) -> dict[date, int]:
    """What momentum weighs: a day's segments, and five times its drafts created."""
    days = {local(event) for event in told}
    return {
        day: sum(event.actor == actor for event in named(own, "segment.added")) + 5 * len(created(own, actor))
        for day in days
        for own in [[event for event in told if local(event) == day]]
    }


def momentum(told: Sequence[Event], actor: bytes) -> tuple[Decimal, int]:
    """The true score, to 60 digits; and all its points, unweighted."""
    with localcontext() as context:
        context.prec = 60
        found = Decimal(0)
        for day, points in points_by_day(told, actor).items():
            found += points * Decimal(2) ** (Decimal(-(TODAY - day).days) / 7)
        return found, sum(points_by_day(told, actor).values())


def counting(told: Sequence[Event], days: int | None) -> list[Event]:
    """The events of the last local days."""
    first = date.min if days is None else TODAY - timedelta(days - 1)
    return [event for event in once(told) if first <= local(event) <= TODAY]


def ordered(told: Sequence[Event], score: Callable[[Sequence[Event], bytes], int]) -> list[tuple[bytes, int]]:
    """People by score, the greatest first, then by id; without those who have none."""
    scores = [(actor, score(told, actor)) for actor in PEOPLE]
    return sorted(
        (each for each in scores if each[1] > 0),
        key=lambda each: (-each[1], each[0]),
    )
