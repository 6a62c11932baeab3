"""Promises about a tenant's part: every figure follows from the raw events."""

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.catalogue import CATALOGUE
from streamgauge.event import Event
from streamgauge.read.api.ledger import Entry, outcomes_of
from streamgauge.read.api.summary import instants, last_hours
from streamgauge.summaries.rollups import Catalogue
from streamgauge.system.tenant import TenantMetrics, questions, tenant_metrics
from tests.unit.domains.coach.answering import Answering

NOW = datetime(2026, 3, 31, 12, 20, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ENTRIES = [
    Entry(0, None, None, 11),
    Entry(0, "applied", "", 5),
    Entry(0, "dead_lettered", "late", 3),
    Entry(3_600, "dead_lettered", "late", 1),
    Entry(3_600, "rejected", "invalid_value", 2),
]


@st.composite
def requests(draw: st.DrawFn) -> Event:
    """A request of the five hours before NOW, or something else that happened."""
    failed = draw(st.integers(0, 3)) == 0
    properties: dict[str, int | str] = {
        "http.route": draw(st.sampled_from(["/a", "/b", "/c"])),
        "http.response.status_code": draw(st.sampled_from([500, 503])) if failed else 200,
        "duration": draw(st.integers(0, 10**6)),
    }
    if failed and draw(st.booleans()):
        properties["error.type"] = draw(st.sampled_from(["TimeoutError", "KeyError"]))
    actor = draw(st.none() | st.integers(0, 5).map(lambda number: bytes([1, number]) + bytes(15)))
    at = (SECONDS - draw(st.integers(0, 5 * 3_600))) * 1_000_000
    name = draw(st.sampled_from(["http.request"] * 4 + ["xp.earned"]))
    return Event(name, at, "school", actor, properties=properties if name == "http.request" else {})


def told(
    events: list[Event], hours: int, zone: str, seed: int | None = None, catalogue: Catalogue = CATALOGUE
) -> TenantMetrics:
    answering = Answering(events, zone, seed)
    calendar = answering.calendar
    period = last_hours(calendar, SECONDS, hours)
    hour = last_hours(calendar, calendar.hour_of(SECONDS) - 1, 1)
    asked = questions(instants(calendar, period), instants(calendar, hour), catalogue)
    found = {part: answering.ask(question, NOW.isoformat()) for part, question in asked.items()}
    return tenant_metrics(found, hours, hour.end - hour.start, outcomes_of(ENTRIES), "2026-03-31T00:00:00Z")


@settings(max_examples=30)
@given(
    st.lists(requests(), max_size=30),
    st.integers(1, 6),
    st.sampled_from(["UTC", "Asia/Kolkata"]),
    st.integers(),
)
def test_every_figure_follows_from_the_raw_events(
    events: list[Event], hours: int, zone: str, seed: int
) -> None:
    found = told(events, hours, zone, seed)
    # Kolkata's hours begin at half past of UTC's.
    now = NOW.astimezone(ZoneInfo(zone))
    this_hour = SECONDS - now.minute * 60
    inside = [each for each in events if each.occurred_at >= (this_hour - (hours - 1) * 3_600) * 1_000_000]
    of_web = [each for each in inside if each.name == "http.request"]
    failed = [each for each in of_web if int(each.properties["http.response.status_code"]) >= 500]
    assert (found.requests, found.errors.count) == (len(of_web), len(failed))
    assert found.errors.rate == (round(len(failed) / len(of_web), 6) if of_web else None)
    by_route = Counter(str(each.properties["http.route"]) for each in of_web)
    order = sorted(by_route, key=lambda route: (-by_route[route], route))
    assert [(each.route, each.requests) for each in found.routes] == [
        (route, by_route[route]) for route in order
    ]
    for each in found.routes:
        own = [request for request in failed if request.properties["http.route"] == each.route]
        assert (each.errors, each.error_rate) == (len(own), round(len(own) / each.requests, 6))
        durations = sorted(
            int(request.properties["duration"])
            for request in of_web
            if request.properties["http.route"] == each.route
        )
        for percent in (50, 95, 99):
            exact = durations[-(-percent * len(durations) // 100) - 1]
            shown = getattr(each.latency, f"p{percent}")
            assert abs(shown * 1_000 - exact) <= exact * 0.00782 + 1
    statuses = Counter(str(each.properties["http.response.status_code"]) for each in failed)
    assert {each.status: each.errors for each in found.errors.statuses} == statuses
    types = Counter(each.properties["error.type"] for each in of_web if "error.type" in each.properties)
    assert found.errors.types is not None
    assert {each.type: each.requests for each in found.errors.types} == types
    counts = [each.requests for each in found.errors.types]
    assert counts == sorted(counts, reverse=True)
    assert found.active_users == len({each.actor for each in inside} - {None})
    before = (this_hour - 3_600) * 1_000_000
    last = [each for each in events if before <= each.occurred_at < this_hour * 1_000_000]
    assert found.throughput.events == len(last)
    assert found.throughput.events_per_second == round(len(last) / 3_600, 3)
    assert datetime.fromisoformat(found.throughput.hour_end).timestamp() == this_hour


def request(route: str, **properties: int | str) -> Event:
    told = {"http.route": route, "http.response.status_code": 200, "duration": 5, **properties}
    return Event("http.request", SECONDS * 1_000_000, "school", properties=told)


def test_of_many_routes_the_busiest_fifty_are_told_and_how_many_there_are() -> None:
    events = [*(request(f"/{number:02}") for number in range(60)), request("/59")]
    found = told(events, 24, "UTC")
    assert [each.route for each in found.routes] == ["/59", *(f"/{number:02}" for number in range(49))]
    assert (found.routes_total, found.requests) == (60, 61)


def test_what_was_not_counted_is_told_by_its_reason() -> None:
    drops = told([], 1, "UTC").drops
    assert (drops.rejected, drops.dead_lettered) == ({"invalid_value": 2}, {"late": 4})


def test_without_a_summary_of_exceptions_their_types_are_not_known_instead_of_none() -> None:
    plain = Catalogue(
        CATALOGUE.event_types, tuple(each for each in CATALOGUE.rollups if "exception" not in each.metric)
    )
    assert told([request("/", **{"error.type": "KeyError"})], 1, "UTC", catalogue=plain).errors.types is None
    assert told([], 1, "UTC").errors.types == ()


def test_nothing_that_happened_is_zero_without_rates() -> None:
    found = told([], 24, "UTC")
    assert (found.requests, found.routes, found.errors.count, found.active_users) == (0, (), 0, 0)
    assert (found.errors.rate, found.latency.p50, found.throughput.events_per_second) == (None, None, 0.0)
