"""What a host calls: identity, declarations, drops, and that nothing of it ever raises."""

import enum
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamgauge
from streamgauge.capture.context import RequestContext, current
from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.pending import ACCEPTED, Pending, Ticket
from streamgauge.errors import SettingsError
from streamgauge.frame import freeze
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import EventType, Property
from streamgauge.testing import RecordingGauge, recording_gauge

from .sending import LESSON

NAME = LESSON.name


@pytest.fixture
def gauge() -> RecordingGauge:
    return recording_gauge(event_types=[LESSON], tenant="school")


def only(gauge: RecordingGauge) -> Pending:
    (found,) = gauge.pending
    return found


def reason(ticket: Ticket) -> str | None:
    return ticket.reason


def test_an_event_is_accepted_with_what_it_was_given(gauge: RecordingGauge) -> None:
    ticket = gauge.track(
        NAME,
        actor="ada",
        session="s1",
        group="4b",
        idempotency_key="k",
        tenant="other",
        percent=40,
        passed=True,
    )
    assert ticket is ACCEPTED
    found = only(gauge)
    assert (found.name, found.tenant, found.actor, found.session, found.group, found.key) == (
        NAME, "other", "ada", "s1", "4b", "k",
    )  # fmt: skip
    assert found.properties == {"percent": 40, "passed": True}
    assert found.source == "server"
    assert abs(found.occurred_at - datetime.now(UTC).timestamp() * 1e6) < 60e6


def test_what_is_not_given_is_the_gauges_own_and_then_the_settings() -> None:
    with recording_gauge(event_types=[LESSON], actor="service", session="boot") as gauge:
        gauge.track(NAME)
        assert (only(gauge).tenant, only(gauge).actor, only(gauge).session) == ("default", "service", "boot")
        assert gauge.identity.tenant == "default"


def test_inside_a_request_an_event_inherits_its_tenant_actor_and_session(gauge: RecordingGauge) -> None:
    token = current.set(RequestContext(gauge, {"type": "http"}, "t1", lambda _: "ada", "s1"))
    try:
        gauge.track(NAME)
        gauge.track(NAME, actor="bob", tenant="t2")
    finally:
        current.reset(token)
    gauge.track(NAME)
    assert [(each.tenant, each.actor, each.session) for each in gauge.pending] == [
        ("t1", "ada", "s1"),
        ("t2", "bob", "s1"),
        ("school", None, None),
    ]


def test_a_request_whose_actor_is_not_known_leaves_room_for_the_gauges_own() -> None:
    def fail(_: object) -> str:
        raise KeyError("user")

    with recording_gauge(event_types=[LESSON], actor="service") as gauge:
        token = current.set(RequestContext(gauge, {"type": "http"}, actor=fail))
        gauge.track(NAME)
        current.reset(token)
        assert only(gauge).actor == "service"
        assert gauge.status()["troubles"] == {"actor_failed": 1}


def test_functions_given_to_the_gauge_are_not_asked_without_a_request() -> None:
    def never(_: object) -> str:
        raise AssertionError

    with recording_gauge(event_types=[LESSON], actor=never, session=never, tenant=never) as gauge:
        assert gauge.track(NAME)
        assert (only(gauge).tenant, only(gauge).actor, only(gauge).session) == ("default", None, None)
        assert gauge.identity.tenant is never


def test_whole_numbers_and_uuids_are_identifiers_too(gauge: RecordingGauge) -> None:
    class Number(int):
        def __str__(self) -> str:
            return "user seven"

    gauge.track(NAME, actor=7, session=UUID(int=5), group=Number(7))
    assert (only(gauge).actor, only(gauge).session, only(gauge).group) == ("7", str(UUID(int=5)), "7")


@pytest.mark.parametrize(
    "given",
    [
        {"actor": ""}, {"actor": "x" * 513}, {"actor": True}, {"actor": 1.5}, {"actor": b"ada"}, {"actor": object()},
        {"session": ""}, {"session": "x" * 513}, {"session": []}, {"group": ""}, {"group": "a\0"}, {"group": "\ud800"},
        {"group": "x" * 513}, {"tenant": ""}, {"tenant": "x" * 101}, {"tenant": "\0"}, {"tenant": 7}, {"tenant": []},
        {"idempotency_key": ""}, {"idempotency_key": 7}, {"idempotency_key": "x" * 2_049},
    ],
)  # fmt: skip
def test_an_identity_that_cannot_be_one_is_refused(gauge: RecordingGauge, given: dict[str, Any]) -> None:
    assert reason(gauge.track(NAME, **given)) == "invalid_identity"
    assert gauge.drops == {"invalid_identity": 1}


def test_the_longest_identities_are_taken(gauge: RecordingGauge) -> None:
    assert gauge.track(NAME, actor="é" * 512, session="\ud800\0", group="x" * 512, tenant="x" * 100)


@pytest.mark.parametrize("field", ["tenant", "actor", "session", "group", "key"])
def test_what_the_middleware_offers_is_held_to_the_same_identities(gauge: RecordingGauge, field: str) -> None:
    pending = Pending("http.request", 1, "t", None, None, None, None, "server", {})
    assert gauge.offer(pending) is ACCEPTED
    for wrong in ("", "x" * 3_000, 7):
        given: dict[str, Any] = {field: wrong}
        assert reason(gauge.offer(pending._replace(**given))) == "invalid_identity"


def test_an_event_nobody_declared_is_refused_and_named_in_the_log(
    gauge: RecordingGauge, caplog: pytest.LogCaptureFixture
) -> None:
    assert reason(gauge.track("lesson.progresed", percent=1)) == "undeclared_event"
    assert gauge.status()["last_error"] == "undeclared_event: no event type 'lesson.progresed' is declared"
    assert "lesson.progresed" in caplog.text


@pytest.mark.parametrize(
    "properties",
    [
        {"percent": "40"}, {"percent": 40.0}, {"percent": True}, {"percent": 2**53 + 1}, {"percent": -(2**53) - 1},
        {"score": float("nan")}, {"score": float("inf")}, {"score": "1"}, {"score": True}, {"score": 2**60},
        {"passed": 1}, {"passed": "true"}, {"lesson": 7}, {"lesson": "a\0b"}, {"lesson": "x" * 2_049},
        {"lesson": "é" * 1_025}, {"lesson": "\ud800"}, {"lesson": b"l"}, {"percent": [1]}, {"lesson": {}},
    ],
)  # fmt: skip
def test_a_declared_property_of_another_kind_refuses_the_event_and_the_log_tells_no_value(
    gauge: RecordingGauge, properties: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert reason(gauge.track(NAME, **properties)) == "invalid_property"
    (name,) = properties
    assert gauge.status()["last_error"].startswith(f"invalid_property: {NAME}: property {name!r} ")
    assert "xxxx" not in caplog.text
    assert gauge.pending == []


class Level(enum.IntEnum):
    HIGH = 3


class Subject(str, enum.Enum):  # noqa: UP042 - whose text is not its value
    MATHS = "maths"


def test_values_of_the_declared_kinds_arrive_as_exactly_these(gauge: RecordingGauge) -> None:
    gauge.track(NAME, percent=Level.HIGH, lesson=Subject.MATHS, score=2, passed=False)
    gauge.track(NAME, percent=HTTPStatus.OK, lesson="é" * 1_024, score=-0.5)
    one, two = (each.properties for each in gauge.pending)
    assert one == {"percent": 3, "lesson": "maths", "score": 2.0, "passed": False}
    assert [type(value) for value in one.values()] == [int, str, float, bool]
    assert (two["percent"], type(two["percent"]), two["score"]) == (200, int, -0.5)


def test_a_property_that_is_none_is_not_given(gauge: RecordingGauge) -> None:
    gauge.track(NAME, percent=None, lesson="l")
    assert only(gauge).properties == {"lesson": "l"}
    assert gauge.status()["stripped"] == {}


def test_an_undeclared_property_costs_no_event_whatever_its_name_is(gauge: RecordingGauge) -> None:
    given: dict[Any, Any] = {"percent": 1, 7: "seven", None: 1}
    assert gauge.record(NAME, given)
    assert only(gauge).properties == {"percent": 1}
    assert gauge.status()["stripped"] == {f"{NAME}.7": 1, f"{NAME}.None": 1}


def test_undeclared_properties_are_dropped_and_counted_by_name_up_to_a_number_of_names(
    gauge: RecordingGauge,
) -> None:
    gauge.track(NAME, percent=1, email="ada@example.org")
    gauge.track(NAME, email="ada@example.org")
    assert [each.properties for each in gauge.pending] == [{"percent": 1}, {}]
    assert gauge.status()["stripped"] == {f"{NAME}.email": 2}
    for number in range(300):
        gauge.record(NAME, {f"p{number}" + "x" * 500: 1})
    stripped = gauge.status()["stripped"]
    assert len(stripped) <= 101
    assert sum(stripped.values()) == 302
    assert max(map(len, stripped)) < 200
    assert "ada@" not in str(gauge.status())


@pytest.mark.parametrize("name", ["name", "self", "properties", "source"])
def test_a_property_may_be_called_like_something_of_ours(name: str) -> None:
    declared = EventType("a.b", "", {name: Property(str, "")})
    with recording_gauge(event_types=[declared]) as gauge:
        properties: dict[str, Any] = {name: "x"}
        assert gauge.track("a.b", **properties)
        assert only(gauge).properties == {name: "x"}


def test_a_moment_is_now_or_one_with_a_time_zone_or_microseconds(gauge: RecordingGauge) -> None:
    moment = datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    gauge.track(NAME, occurred_at=moment)
    gauge.track(NAME, occurred_at=1_709_188_200_123_456)
    assert [each.occurred_at for each in gauge.pending] == [1_709_188_200_123_456] * 2


class Nowhere(tzinfo):
    """A time zone that does not know how far it is from UTC."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 1, 1),
        datetime(2024, 1, 1, tzinfo=Nowhere()),
        -1,
        2**63,
        True,
        1.5,
        "2024-01-01",
        datetime(2101, 1, 1, tzinfo=UTC),
    ],
)
def test_a_moment_that_cannot_be_placed_is_refused(gauge: RecordingGauge, moment: Any) -> None:
    assert reason(gauge.track(NAME, occurred_at=moment)) == "invalid_property"


def test_a_disabled_gauge_does_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    with Streamgauge(Settings(enabled=False, catalogue="nowhere:NOTHING"), event_types=[LESSON]) as gauge:
        assert not gauge.enabled
        assert reason(gauge.track(NAME, actor="ada")) == "disabled"
        pending = Pending("http.request", 1, "t", None, None, None, None, "server", {})
        assert reason(gauge.offer(pending)) == "disabled"
        assert reason(gauge.requests.record("/", method="GET", status=200, duration_us=1)) == "disabled"
        assert gauge.flush(0)
        assert gauge.status()["dropped"] == {"disabled": 3}
        assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_a_gauge_that_is_only_made_touches_neither_files_nor_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    gauge = Streamgauge(Settings(redis_url="redis://127.0.0.1:1"))
    gauge.status()
    assert gauge.close(0)
    assert (threading.active_count(), list(tmp_path.iterdir())) == (before, [])


def test_without_settings_those_of_the_environment_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_TENANT", "from-the-environment")
    monkeypatch.setenv("STREAMGAUGE_ENABLED", "false")
    gauge = Streamgauge()
    assert (gauge.settings.tenant, gauge.enabled) == ("from-the-environment", False)


def test_requests_that_no_middleware_sees_are_recorded_with_typed_arguments(gauge: RecordingGauge) -> None:
    ticket = gauge.requests.record(
        route="/reports/{id}", method="GET", status=503, duration_us=1_234, error_type="TimeoutError", actor=7
    )
    assert ticket
    assert gauge.requests is gauge.requests
    (event,) = gauge.of("http.request")
    assert event.properties == {
        "http.route": "/reports/{id}",
        "http.request.method": "GET",
        "http.response.status_code": 503,
        "duration": 1_234,
        "error.type": "TimeoutError",
    }
    assert gauge.is_about(event, "7")


def test_names_with_dots_can_be_tracked_and_recorded(gauge: RecordingGauge) -> None:
    properties: dict[str, Any] = {"http.route": "/a"}
    assert gauge.track("http.request", **properties)
    assert gauge.record("http.request", {"http.route": "/a"}, source="browser")
    assert [(each.properties, each.source) for each in gauge.pending] == [
        ({"http.route": "/a"}, "server"),
        ({"http.route": "/a"}, "browser"),
    ]


def test_a_signal_handler_may_track_in_the_middle_of_tracking(tmp_path: Path) -> None:
    with Streamgauge(
        Settings(data_dir=tmp_path, buffer_events=1_000_000, buffer_bytes=2**30), event_types=[LESSON]
    ) as gauge:
        before = signal.signal(signal.SIGALRM, lambda *_: handled.append(bool(gauge.track(NAME, percent=1))))
        handled: list[bool] = []
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        tracked = 0
        try:
            while len(handled) < 100:
                tracked += bool(gauge.track(NAME, percent=2))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert all(handled)
        assert gauge.status()["accepted"] == tracked + len(handled)


def test_making_a_gauge_and_refusing_events_loads_no_client_of_redis_until_that_is_announced(
    tmp_path: Path,
) -> None:
    program = (
        "import sys; from streamgauge import *; gauge = Streamgauge(Settings(redis_url='redis://127.0.0.1:1'))\n"
        "gauge.track('no.such'); print('redis' in sys.modules); gauge.close(); print('fastapi' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.split() == ["False", "False"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from([NAME, "http.request", "", "x" * 5_000, 7, None]),
    st.dictionaries(st.sampled_from(["lesson", "percent", "score", "passed", "other", ""]), VALUES),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("actor", "session", "group", "tenant", "idempotency_key", "occurred_at"), VALUES
        ),
    ),
)
def test_no_argument_whatever_makes_it_raise_and_what_is_accepted_can_be_sent(
    name: Any, properties: dict[str, Any], given: dict[str, Any]
) -> None:
    with recording_gauge(event_types=[LESSON]) as gauge:
        ticket = gauge.track(name, **given, **properties)
        accepted = len(gauge.events)
        assert bool(ticket) == (accepted == 1)
        assert sum(gauge.drops.values()) == 1 - accepted
        if ticket.reason is None:
            freeze(gauge.events)
        else:
            assert ticket.reason in gauge.drops


class Hostile(str):
    """A text whose every method fails."""

    def __len__(self) -> int:
        raise ZeroDivisionError

    def __eq__(self, _: object) -> bool:
        raise ZeroDivisionError

    __hash__ = str.__hash__

    def isascii(self) -> bool:
        raise ZeroDivisionError

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class Unhashable(str):
    __hash__ = None  # type: ignore[assignment]  # on purpose


@pytest.mark.parametrize("hostile", [Hostile("x"), Unhashable("x")], ids=["hostile", "unhashable"])
@pytest.mark.parametrize(
    "where", ["name", "actor", "session", "group", "tenant", "idempotency_key", "lesson"]
)
def test_objects_that_fail_at_every_touch_do_not_reach_the_host(
    gauge: RecordingGauge, hostile: Any, where: str
) -> None:
    ticket = gauge.track(hostile) if where == "name" else gauge.track(NAME, **{where: hostile})
    assert isinstance(ticket, Ticket)
    assert sum(gauge.drops.values()) + len(gauge.pending) == 1


def test_a_defect_of_ours_is_counted_and_not_raised(
    gauge: RecordingGauge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("ada@example.org")

    monkeypatch.setattr(gauge, "_take", broken)
    assert reason(gauge.track(NAME)) == "unsendable"
    assert reason(gauge.offer(Pending("a.b", 1, "t", None, None, None, None, "server", {}))) == "unsendable"
    assert gauge.status()["troubles"] == {"track_failed": 1, "offer_failed": 1}
    assert gauge.drops == {"unsendable": 2}
    assert "track_failed: ZeroDivisionError" in caplog.text
    assert "ada@" not in caplog.text


class Broken(logging.Handler):
    def emit(self, _: logging.LogRecord) -> None:
        raise ZeroDivisionError


class Tracking(logging.Handler):
    def __init__(self, gauge: Streamgauge) -> None:
        super().__init__()
        self.gauge = gauge

    def emit(self, _: logging.LogRecord) -> None:
        self.gauge.track("no.such")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("streamgauge")
    before = list(found.handlers)
    yield found
    found.handlers = before


def test_a_log_handler_that_fails_or_tracks_events_itself_does_no_harm(
    gauge: RecordingGauge, logger: logging.Logger
) -> None:
    logger.handlers = [Tracking(gauge), Broken()]
    assert reason(gauge.track("also.none")) == "undeclared_event"
    assert gauge.drops == {"undeclared_event": 2}


def test_troubles_are_logged_once_a_minute_each_and_counted_always(
    gauge: RecordingGauge, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for _ in range(3):
        gauge.trouble("middleware_failed")
    gauge.trouble("actor_failed")
    assert [record.getMessage() for record in caplog.records] == ["middleware_failed", "actor_failed"]
    now[0] += 61
    gauge.trouble("middleware_failed")
    assert len(caplog.records) == 3
    assert gauge.status()["troubles"] == {"middleware_failed": 4, "actor_failed": 1}
    for number in range(500):
        gauge.trouble(f"{number}")
    assert len(gauge.status()["troubles"]) <= 101


@pytest.mark.parametrize(
    "wrong",
    [
        EventType("a.b", "", {"x": Property(list, "")}),
        EventType("", ""),
        EventType("a\nb", ""),
        EventType("x" * 201, ""),
        EventType("a.b", "", {"x" * 201: Property(int, "")}),
        EventType("http.request", "something else"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_told_when_the_gauge_is_made(wrong: EventType) -> None:
    with pytest.raises(SettingsError, match="event type"):
        recording_gauge(event_types=[wrong])


def test_a_type_that_is_in_the_catalogue_and_given_again_is_the_same_type() -> None:
    gauge = recording_gauge(event_types=[LESSON, LESSON])
    assert gauge.event_types[NAME] is LESSON
    assert "http.request" in gauge.event_types


def test_a_wrong_catalogue_is_told_when_the_gauge_is_made() -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_CATALOGUE"):
        Streamgauge(Settings(catalogue="nowhere:X"))


def test_everything_a_host_needs_is_exported_lazily() -> None:
    assert set(streamgauge.__all__) <= set(dir(streamgauge))
    for name in streamgauge.__all__:
        assert getattr(streamgauge, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        streamgauge.nothing  # noqa: B018 - the look-up is what is tested
