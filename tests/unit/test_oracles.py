"""The oracles against facts that others counted, and against cases small enough to count by hand."""

from collections import Counter
from datetime import datetime
from fractions import Fraction
from pathlib import Path

from ..oracles import access_log, event_counts
from ..oracles.event_counts import Place, Summary

LOG = Path(__file__).resolve().parent.parent / "data" / "apache_combined_2015-05.log.gz"


def test_the_recount_of_the_apache_log_equals_its_published_facts() -> None:
    log = access_log.read(LOG)
    days = {day: (each.requests, each.visitors, each.hosts, each.bytes) for day, each in log.days.items()}
    assert days == {
        "2015-05-17": (1_632, 365, 341, 414_259_902),
        "2015-05-18": (2_893, 660, 627, 788_636_158),
        "2015-05-19": (2_896, 586, 561, 665_827_339),
        "2015-05-20": (2_578, 532, 505, 878_559_106),
    }
    assert log.total.statuses == {200: 9_125, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3, 403: 2, 416: 2}
    assert (log.total.requests, log.total.visitors, log.malformed) == (9_999, 1_861, [8_899])


def test_its_hours_and_paths_add_up_to_its_days() -> None:
    log = access_log.read(LOG)
    days: Counter[str] = Counter()
    for hour, counts in log.hours.items():
        days[hour[:10]] += counts.requests
    assert days == {day: counts.requests for day, counts in log.days.items()}
    assert sum(counts.bytes for counts in log.paths.values()) == log.total.bytes
    assert sum((counts.statuses for counts in log.paths.values()), Counter()) == log.total.statuses


def second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_hours_and_days_of_difficult_clocks() -> None:
    cases = [
        ("Asia/Kolkata", "2024-05-01T10:40+05:30", "2024-05-01T10:00+05:30", "2024-05-01T00:00+05:30"),
        ("Pacific/Chatham", "2024-05-01T10:40+12:45", "2024-05-01T10:00+12:45", "2024-05-01T00:00+12:45"),
        # New York's second 01:00 hour of 3 November, in a day that began in daylight time.
        ("America/New_York", "2024-11-03T01:30-05:00", "2024-11-03T01:00-05:00", "2024-11-03T00:00-04:00"),
        # Lord Howe's 01:00 hour lasts 90 minutes.
        ("Australia/Lord_Howe", "2024-04-07T01:59+10:30", "2024-04-07T01:00+11:00", "2024-04-07T00:00+11:00"),
    ]
    for zone, at, hour, day in cases:
        quarter = second(at) // event_counts.QUARTER
        assert event_counts.hour_start(zone, quarter) == second(hour)
        assert event_counts.day_start(zone, quarter) == second(day)


def test_three_events_by_hand() -> None:
    summary = Summary("web", "http.request", ((), ("status",)), value="duration")
    events = [
        {
            "name": "http.request",
            "at": 5,
            "tenant": "t",
            "actor": b"a",
            "properties": {"status": 200, "duration": 9},
        },
        {
            "name": "http.request",
            "at": 3_600_000_000,
            "tenant": "t",
            "actor": b"a",
            "properties": {"duration": 1},
        },
        {"name": "other", "at": 5, "tenant": "t", "properties": {}},
    ]
    cells = event_counts.recount(events, {"t": "UTC"}, [summary])
    total = cells[Place("d", "t", "web", 0, (), 0)]
    assert (total.count, sorted(total.values), total.actors) == (2, [1, 9], {b"a"})
    assert cells[Place("h", "t", "web", 1, ("(none)",), 3_600)].count == 1
    assert len(cells) == 3 + 4
    assert event_counts.quantile(total.values, Fraction(1, 2)) == 1
