"""Salts that last a day: shared, private, destroyed."""

import json
import threading
from pathlib import Path

import pytest

from streamgauge.capture.pseudonyms import daily_pseudonym
from streamgauge.capture.visitors import DAY, DailySalts, Visitors
from streamgauge.event import DAILY, PSEUDONYM_BYTES

TODAY = 20_000  # days since 1970
NOON = TODAY * DAY + DAY // 2


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def at(day: int, second: int = 0) -> int:
    """Microseconds."""
    return ((TODAY + day) * DAY + second) * 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "salts.json"


def stored(path: Path) -> list[int]:
    return [int(day) - TODAY for day in json.loads(path.read_text())["salts"]]


def test_a_day_has_one_salt_and_the_next_day_another(path: Path) -> None:
    salts = DailySalts(path, Clock())
    one = salts.salt(at(0))
    assert one is not None
    assert len(one) == 32
    assert salts.salt(at(0, DAY - 1)) == one
    assert len({one, salts.salt(at(-1)), salts.salt(at(1))}) == 3


def test_processes_of_one_machine_share_them_through_a_file_nobody_else_may_read(path: Path) -> None:
    found: list[bytes | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(DailySalts(path, Clock()).salt(at(0)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_salt_is_destroyed_within_48_hours_after_its_day_began(path: Path) -> None:
    clock = Clock(TODAY * DAY)
    salts = DailySalts(path, clock)
    old = salts.salt(at(0))
    clock.now = (TODAY + 2) * DAY - 1
    assert not salts.forget()
    assert salts.salt(at(0)) == old
    clock.now = (TODAY + 2) * DAY
    assert salts.salt(at(0)) is None
    assert salts.forget()
    assert stored(path) == []
    assert old is not None
    assert old.hex() not in path.read_text()
    assert salts._salts == {}


def test_salts_of_processes_that_are_no_more_are_destroyed_by_one_without_visitors(path: Path) -> None:
    clock = Clock()
    DailySalts(path, clock).salt(at(0))
    clock.now += 3 * DAY
    waiting = DailySalts(path, clock)
    assert not waiting.forget()
    assert json.loads(path.read_text())["salts"] == {}


def test_where_no_visitor_ever_came_forgetting_makes_no_file(path: Path) -> None:
    assert not DailySalts(path, Clock()).forget()
    assert list(path.parent.iterdir()) == []


def test_a_process_that_makes_a_new_salt_destroys_the_old_ones_of_others(path: Path) -> None:
    DailySalts(path, Clock()).salt(at(0))
    DailySalts(path, Clock(NOON + 5 * DAY)).salt(at(5))
    assert stored(path) == [5]


def test_moments_of_destroyed_days_and_of_days_to_come_have_no_salt(path: Path) -> None:
    salts = DailySalts(path, Clock())
    assert [salts.salt(at(day)) is None for day in (-400, -2, -1, 0, 1, 2)] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"salts": {"x": "00"}}', '{"salts": {"20000": "00"}}', '{"salts": []}', "\xff"],
)
def test_a_damaged_file_is_left_alone_and_the_process_has_a_salt_of_its_own(path: Path, content: str) -> None:
    path.write_text(content, "latin-1")
    path.chmod(0o600)
    salts = DailySalts(path, Clock())
    one = salts.salt(at(0))
    assert one == salts.salt(at(0)) is not None
    assert "damaged" in (salts.failure or "")
    assert path.read_text("latin-1") == content


def test_a_file_that_others_may_read_is_not_used(path: Path) -> None:
    DailySalts(path, Clock()).salt(at(0))
    path.chmod(0o644)
    salts = DailySalts(path, Clock())
    one = salts.salt(at(0))
    assert one is not None
    assert one.hex() not in path.read_text()
    assert "may be read by others" in (salts.failure or "")


def test_without_a_folder_there_are_salts_all_the_same(tmp_path: Path) -> None:
    salts = DailySalts(tmp_path / "missing" / "salts.json", Clock())
    assert salts.salt(at(0)) is not None
    assert "cannot be locked" in (salts.failure or "")
    assert not (tmp_path / "missing").exists()


def test_a_visitor_is_known_for_a_day_by_address_and_agent(path: Path) -> None:
    visitors = Visitors(DailySalts(path, Clock()))
    one = visitors.pseudonym(("192.0.2.7", "Firefox"), at(0))
    assert one is not None
    assert (len(one), one[0]) == (PSEUDONYM_BYTES, DAILY)
    assert visitors.pseudonym(("192.0.2.7", "Firefox"), at(0, 80_000)) == one
    others = [
        visitors.pseudonym(("192.0.2.7", "Chrome"), at(0)),
        visitors.pseudonym(("192.0.2.8", "Firefox"), at(0)),
        visitors.pseudonym(("192.0.2.7", "Firefox"), at(-1)),
    ]
    assert len({one, *others}) == 4


def test_the_pseudonym_is_the_one_that_is_written_down(path: Path) -> None:
    salts = DailySalts(path, Clock())
    salt = salts.salt(at(0))
    assert salt is not None
    assert Visitors(salts).pseudonym(("192.0.2.7", ""), at(0)) == daily_pseudonym(
        salt, "visitor", "192.0.2.7", "-"
    )


def test_with_the_salt_the_addresses_are_forgotten_too(path: Path) -> None:
    clock = Clock()
    visitors = Visitors(DailySalts(path, clock))
    visitors.pseudonym(("192.0.2.7", "Firefox"), at(0))
    assert visitors._pseudonym.cache_info().currsize == 1
    clock.now += 2 * DAY
    visitors.forget()
    assert visitors._pseudonym.cache_info().currsize == 0
    assert visitors.pseudonym(("192.0.2.7", "Firefox"), at(0)) is None
