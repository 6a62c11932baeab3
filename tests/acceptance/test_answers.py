"""Answers of the real command, against recounts that share no code with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ..oracles import access_log
from .test_access_log import DAYS, LOG, STATUSES, VISITORS, Command

RANGE = ["2015-05-17", "2015-05-20"]


@pytest.fixture
def command(redis_url: str, database_url: str, tmp_path: Path) -> Command:
    return Command(redis_url, database_url, tmp_path / "data")


def asked(
    command: Command, tenant: str, metrics: str, date_range: object, *dimensions: str
) -> dict[Any, Any]:
    """The answer's metrics, by its dimensions: one dimension plain, several as a tuple, none as ()."""
    question = {
        "tenant": tenant,
        "metrics": metrics.split(),
        "date_range": date_range,
        "dimensions": dimensions,
    }
    output, _ = command.run("query", json.dumps(question))
    found = json.loads(output)
    assert [*found] == ["results", "meta", "query"]
    return {
        row["dimensions"][0] if len(dimensions) == 1 else tuple(row["dimensions"]): tuple(row["metrics"])
        for row in found["results"]
    }


def test_answers_about_the_real_log_equal_an_independent_recount(command: Command) -> None:
    command.imported()
    recount = access_log.read(LOG)
    whole = asked(command, "apache", "requests visitors bytes errors", RANGE)
    assert whole == {(): (recount.total.requests, VISITORS, recount.total.bytes, STATUSES["500"])}
    assert recount.total.visitors == VISITORS
    days = asked(command, "apache", "requests visitors bytes", RANGE, "time:day")
    assert {day[:10]: found for day, found in days.items()} == DAYS
    hours = asked(command, "apache", "requests visitors bytes", RANGE, "time:hour")
    assert {hour[:13].replace("T", " "): found for hour, found in hours.items() if found[0]} == {
        hour: (counts.requests, counts.visitors, counts.bytes) for hour, counts in recount.hours.items()
    }
    paths = asked(command, "apache", "requests visitors bytes", RANGE, "url.path")
    assert paths == {
        path: (counts.requests, counts.visitors, counts.bytes) for path, counts in recount.paths.items()
    }
    statuses = asked(command, "apache", "requests", RANGE, "http.response.status_code")
    assert statuses == {status: (count,) for status, count in STATUSES.items()}


def test_query_gives_the_totals_that_load_told(command: Command) -> None:
    arguments = "--tenant school --actors 200 --days 3 --seed 5 --events 3000 --time-zone Asia/Kolkata --json"
    told = json.loads(command.run("load", *arguments.split())[0])
    names = "requests errors visitors bytes min_duration max_duration avg_duration"
    totals = told["totals"]
    assert asked(command, "school", names, "all") == {(): expected(totals)}
    days = asked(command, "school", names, "all", "time:day")
    assert {day[:10]: found for day, found in days.items()} == {
        day: expected(each) for day, each in told["by_day"].items()
    }
    assert asked(command, "school", "events", "all", "event.name") == {
        name: (count,) for name, count in told["by_name"].items()
    }
    assert asked(command, "school", "actors", "all") == {(): (totals["actors"],)}


def expected(each: dict[str, int]) -> tuple[object, ...]:
    return (
        each["requests"], each["errors"], each["visitors"], each["bytes"], each["min_duration"] / 1000,
        each["max_duration"] / 1000, pytest.approx(each["sum_duration"] / each["requests"] / 1000, abs=0.0006),
    )  # fmt: skip
