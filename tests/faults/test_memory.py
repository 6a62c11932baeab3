"""Growth is what remains when a start is left out."""

import os

import pytest

from tests.faults.memory import HOUR, MIB, Memory, children_of, family_bytes, own_bytes


def test_a_program_that_grows_by_a_mebibyte_a_minute_grows_by_sixty_an_hour() -> None:
    memory = Memory()
    for second in range(0, 600, 10):
        memory.sample("worker", second, int((50 + second / 60) * MIB))
    assert memory.growth("worker") == pytest.approx(60, rel=0.01)
    assert memory.table()["worker"]["most_mib"] == pytest.approx(59.8, abs=0.1)


def test_a_start_is_no_growth() -> None:
    memory = Memory()
    for second in range(100):
        memory.sample("worker", second, int((10 if second < 20 else 50) * MIB))
    assert memory.growth("worker") == pytest.approx(0, abs=1e-6)


def test_programs_that_have_ended_are_left_out() -> None:
    memory = Memory()
    memory.sample("worker", 0, own_bytes(2**22 + 1))
    assert memory.table() == {}
    assert memory.growth("worker") == 0
    assert HOUR == 3600


def test_a_process_is_measured_with_its_children() -> None:
    assert own_bytes(os.getpid()) > MIB
    assert family_bytes(os.getpid()) >= own_bytes(os.getpid())
    assert children_of(2**22 + 1) == []
