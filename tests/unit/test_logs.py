"""What gets into the logs, how, and what does not."""

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import logs

Lines = Callable[[], list[dict[str, Any]]]
PSEUDONYM = bytes([1]) + bytes(range(200, 216))


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The logging of the test run as it was, afterwards."""
    root = logging.getLogger()
    handlers, level, shown = root.handlers, root.level, warnings.showwarning
    yield
    logging.captureWarnings(False)
    warnings.showwarning = shown
    root.handlers, root.level = handlers, level
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@pytest.fixture
def lines() -> Lines:
    """Configures JSON logs; gives what was written."""
    stream = io.StringIO()
    logs.configure("info", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_logger_event_and_fields(lines: Lines) -> None:
    structlog.get_logger("streamgauge_workers.worker").info("shard taken", shard=3, parts=[1, {"a": None}])
    (line,) = lines()
    assert list(line) == ["time", "level", "logger", "event", "shard", "parts"]
    assert line["level"] == "info"
    assert line["logger"] == "streamgauge_workers.worker"
    assert line["event"] == "shard taken"
    assert (line["shard"], line["parts"]) == (3, [1, {"a": None}])
    assert line["time"].endswith("Z")
    assert abs((datetime.fromisoformat(line["time"]) - datetime.now(UTC)).total_seconds()) < 60


def test_what_the_standard_librarys_loggers_say_has_the_same_form(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").info(
        "Listening on %s", "http://x", extra={"color_message": "\x1b[1m%s"}
    )
    logging.getLogger("asyncio").warning("slow: %r", {"a": 1})
    first, second = lines()
    assert (first["event"], first["logger"], "color_message" in first) == (
        "Listening on http://x",
        "uvicorn.error",
        False,
    )
    assert (second["event"], second["level"]) == ("slow: {'a': 1}", "warning")


def test_levels_below_the_configured_one_are_not_written(lines: Lines) -> None:
    structlog.get_logger("a").debug("hidden")
    logging.getLogger("b").debug("hidden")
    structlog.get_logger("a").error("shown")
    assert [line["event"] for line in lines()] == ["shown"]


def test_requests_are_not_logged(lines: Lines) -> None:
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s" %d', "192.0.2.1", "GET", "/?email=me@example.org", 200
    )
    assert lines() == []


def test_configuring_twice_writes_every_line_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("info", first)
    logs.configure("info", second)
    structlog.get_logger("a").info("once")
    assert (first.getvalue(), len(second.getvalue().splitlines())) == ("", 1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "postgresql://me:hunter2@db/x is away",
            "postgresql://me:***@db/x is away",
        ),
        (
            "redis://h/0?password=hunter2&a=1",
            "redis://h/0?password=***&a=1",
        ),
        (
            'duplicate key "actors_pkey"\nDETAIL:  Key (pseudonym)=(\\x01c8c9) already exists.',
            'duplicate key "actors_pkey"',
        ),
        (
            "invalid input for query argument $2: [b'secret'] (expected str)",
            "invalid input for query argument $2",
        ),
        (f"no actor {PSEUDONYM!r} here", "no actor <bytes> here"),
        (f"no actor {PSEUDONYM.hex()} here", "no actor <hex> here"),
        (f"no actor \\x{PSEUDONYM.hex()} here", "no actor <hex> here"),
        ("worker 6fa459ea-ee8a-3ca4-894e-db77e160355e", "worker 6fa459ea-ee8a-3ca4-894e-db77e160355e"),
        ("the database lacks migration 0001_kernel", "the database lacks migration 0001_kernel"),
    ],
)
def test_secrets_and_quoted_rows_are_left_out_wherever_they_stand(text: str, kept: str, lines: Lines) -> None:
    log = structlog.get_logger("a")
    log.info(text)
    log.info("x", detail=text, nested={"list": [text]})
    logging.getLogger("b").warning("%s", text)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        log.exception("failed")
    first, second, third, fourth = lines()
    assert first["event"] == second["detail"] == second["nested"]["list"][0] == third["event"] == kept
    assert fourth["detail"] == kept


def test_bytes_are_told_by_their_length_alone(lines: Lines) -> None:
    structlog.get_logger("a").info("seen", actor=PSEUDONYM, all={PSEUDONYM})
    (line,) = lines()
    assert (line["actor"], line["all"]) == ("<17 bytes>", ["<17 bytes>"])


def test_an_exception_is_its_type_its_text_and_where_it_came_through_without_source_or_values(
    lines: Lines,
) -> None:
    def inner() -> None:
        unseen = "a local value"
        raise ValueError("it is wrong", len(unseen))

    try:
        inner()
    except ValueError:
        logging.getLogger("a").exception("failed")
    (line,) = lines()
    assert (line["error"], line["detail"]) == ("ValueError", "('it is wrong', 13)")
    assert re.fullmatch(r"unit/test_logs\.py:\d+ inner", line["frames"][-1])
    assert "a local value" not in json.dumps(line)


def test_a_long_text_a_long_list_and_a_deep_value_are_cut(lines: Lines) -> None:
    deep: Any = "end"
    for _ in range(100):
        deep = [deep]
    structlog.get_logger("a").info("x" * 100_000, many=list(range(10_000)), deep=deep)
    (line,) = lines()
    assert (len(line["event"]), len(line["many"])) == (logs.LONGEST_TEXT, logs.MOST_ITEMS)
    assert len(json.dumps(line)) < 3_000


def test_lines_for_people_are_short_and_stay_on_one_line() -> None:
    stream = io.StringIO()
    logs.configure("info", stream, readable=True)
    structlog.get_logger("a").warning("stopped\nfake: line\x1b[2J", shard=2)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert re.match(r"\d\d:\d\d:\d\d warning +stopped\\nfake: line\\x1b\[2J  shard=2\n$", text)


@given(st.text(), st.text())
def test_no_text_can_forge_a_line_or_reach_the_terminal(event: str, value: str) -> None:
    for readable in (False, True):
        stream = io.StringIO()
        logs.configure("info", stream, readable=readable)
        structlog.get_logger("a").info(event, field=value)
        text = stream.getvalue()
        assert len(text.splitlines()) == 1
        assert text[:-1].isprintable() or " " in text
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", text[:-1])


def test_a_warning_of_python_is_logged(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure("info", stream := io.StringIO())
        warnings.warn("something is old", stacklevel=1)
    assert "something is old" in json.loads(stream.getvalue())["event"]
