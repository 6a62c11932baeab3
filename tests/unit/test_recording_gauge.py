"""What the tests of a host get: a gauge without servers that does to events what the real one does."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.pending import Pending
from streamgauge.capture.pseudonyms import Keyring, daily_pseudonym
from streamgauge.event import PSEUDONYM_BYTES
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings
from streamgauge.testing import recording, recording_gauge

from .sending import LESSON, PATIENCE, arrived, sending

NAME = LESSON.name


def test_events_are_recorded_at_once_with_pseudonyms_as_they_would_be_sent() -> None:
    with recording_gauge(event_types=[LESSON]) as gauge:
        gauge.track(NAME, actor="ada", session="secret", group="4b", idempotency_key="k", percent=1)
        (event,) = gauge.events
        assert event.actor is not None
        assert len(event.actor) == PSEUDONYM_BYTES
        assert (event.group, event.properties) == ("4b", {"percent": 1})
        assert (gauge.is_about(event, "ada"), gauge.is_about(event, "bob")) == (True, False)
        assert event.session is not None
        assert len(event.session) == 34
        assert event.key is not None
        assert len(event.key) == 16
        assert "secret" not in repr(event)
        assert gauge.pending[0].session == "secret"


def test_events_are_found_by_name_and_forgotten_when_asked() -> None:
    with recording_gauge(event_types=[LESSON]) as gauge:
        gauge.track(NAME)
        gauge.requests.record("/", method="GET", status=200, duration_us=1)
        gauge.track("no.such")
        assert [event.name for event in gauge.events] == [NAME, "http.request"]
        assert [event.name for event in gauge.of("http.request")] == ["http.request"]
        assert gauge.drops == {"undeclared_event": 1}
        gauge.clear()
        assert (gauge.events, gauge.drops) == ([], {})


def test_the_same_identifiers_give_the_same_pseudonyms_in_every_run_and_tenants_differ() -> None:
    found = []
    for tenant in ("a", "a", "b"):
        with recording_gauge(event_types=[LESSON], tenant=tenant) as gauge:
            gauge.track(NAME, actor="ada", idempotency_key="k")
            found.append((gauge.events[0].actor, gauge.events[0].key))
    assert found[0] == found[1] != found[2]


def test_it_makes_of_an_event_what_the_real_gauge_makes_of_it(tmp_path: Path) -> None:
    visit = Pending(
        "http.request", 1, "t", None, "s", None, "mobile", "server", {"http.route": "/"}, "k", ("192.0.2.7", "agent")
    )  # fmt: skip
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path) as real, recording_gauge(event_types=[LESSON]) as gauge:
        now = Streamgauge(Settings(enabled=False))
        assert not now.enabled
        for each in (real, gauge):
            calls: list[dict[str, Any]] = [
                {
                    "actor": "ada",
                    "session": 5,
                    "group": "g",
                    "idempotency_key": "k",
                    "percent": 1,
                    "other": 2,
                },
                {"tenant": "t2", "score": 1},
                {"percent": "x"},
            ]
            for call in calls:
                each.track(NAME, occurred_at=1_700_000_000_000_000, **call)
            each.offer(visit)
        assert real.flush(PATIENCE)
        keys = Keyring(tmp_path / "keyring.json")
        sent = arrived(stream).events
        assert len(sent) == len(gauge.events) == 3
        for mine, theirs in zip(gauge.events, sent, strict=True):
            for field in ("name", "occurred_at", "tenant", "group", "device", "source", "properties"):
                assert getattr(mine, field) == getattr(theirs, field)
        assert sent[0].actor == keys.tenant("default").pseudonym("actor", "ada")
        assert sent[0].session == keys.tenant("default").pseudonym("session", "5").hex()
        assert sent[0].key == keys.tenant("default").event_id(NAME, "k", "ada", "5")
        assert sent[2].key == keys.tenant("t").event_id("http.request", "k", None, "s")
        assert sent[2].actor is None  # of 1970: the salt of that day is destroyed
        assert real.status()["dropped"] == gauge.drops == {"invalid_property": 1}
        assert real.status()["stripped"] == gauge.status()["stripped"] == {f"{NAME}.other": 1}


def test_visitors_have_a_daily_pseudonym() -> None:
    with recording_gauge() as gauge:
        day = 86_400_000_000
        for moment in (0, day - 1, day):
            gauge.offer(
                Pending(
                    "http.request",
                    moment,
                    "t",
                    None,
                    None,
                    None,
                    None,
                    "server",
                    {},
                    None,
                    ("192.0.2.7", "x"),
                )
            )
        one, same, other = (event.actor for event in gauge.events)
        assert one == same != other
        assert one is not None
        assert one[0] == 0
        assert one != daily_pseudonym(b"0" * 32, "visitor", "192.0.2.7", "x")


def test_it_needs_no_thread_no_file_and_no_client_of_redis(tmp_path: Path) -> None:
    program = (
        "import sys, threading; from streamgauge.testing import recording_gauge\n"
        "with recording_gauge() as gauge:\n"
        "    gauge.requests.record('/', method='GET', status=200, duration_us=1, actor='a')\n"
        "    assert len(gauge.events) == 1 and gauge.flush(0)\n"
        "print(threading.active_count(), 'redis' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (shown.stdout.split(), shown.stderr) == (["1", "False"], "")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_one_takes_no_more() -> None:
    gauge = recording_gauge(event_types=[LESSON])
    assert gauge.close()
    assert gauge.track(NAME).reason == "closed"


def test_threads_may_record() -> None:
    with recording_gauge(event_types=[LESSON]) as gauge:
        threads = [threading.Thread(target=lambda: [gauge.track(NAME) for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gauge.status()["accepted"] == len(gauge.events) == 2_000


def test_what_went_wrong_while_it_records_is_the_records(tmp_path: Path) -> None:
    with Streamgauge(Settings(data_dir=tmp_path), event_types=[LESSON]) as gauge:
        with recording(gauge) as record:
            gauge.track(LESSON.name, unheard=1)
            gauge.trouble("actor_failed")
            assert (
                gauge.status()["stripped"]
                == record.troubles.stripped.shown()
                == {f"{LESSON.name}.unheard": 1}
            )
        assert (gauge.status()["stripped"], gauge.status()["troubles"]) == ({}, {})


def test_a_gauge_made_elsewhere_records_for_a_while_and_sends_again_afterwards(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path) as gauge:
        with recording(gauge) as record:
            gauge.track(NAME, percent=1)
            gauge.track("no.such")
            assert [event.properties for event in record.of(NAME)] == [{"percent": 1}]
            assert record.drops == {"undeclared_event": 1}
        gauge.track(NAME, percent=2)
        assert gauge.flush(PATIENCE)
        assert gauge.status()["dropped"] == {}
    assert [event.properties for event in arrived(stream).events] == [{"percent": 2}]


PLUGGED = """
import pytest
from streamgauge import EventType
pytest_plugins = ["streamgauge.pytest_plugin"]

def test_plain(recording_gauge):
    recording_gauge.requests.record("/", method="GET", status=200, duration_us=1)
    assert len(recording_gauge.of("http.request")) == 1
    assert not recording_gauge.track("quiz.tried")

class TestOwn:
    @pytest.fixture
    def streamgauge_event_types(self):
        return [EventType("quiz.tried", "of the quiz")]

    def test_own(self, recording_gauge):
        assert recording_gauge.track("quiz.tried")
"""


def test_the_pytest_plugin_gives_one_to_every_test(tmp_path: Path) -> None:
    (tmp_path / "test_host.py").write_text(PLUGGED)
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 passed" in shown.stdout, shown.stdout + shown.stderr


@pytest.mark.parametrize("field", ["capture_percent", "tenant"])
def test_fields_of_the_settings_can_be_given(field: str) -> None:
    given: dict[str, Any] = {"capture_percent": 0} if field == "capture_percent" else {"tenant": "school"}
    with recording_gauge(event_types=[LESSON], **given) as gauge:
        assert bool(gauge.track(NAME)) == (field == "tenant")
