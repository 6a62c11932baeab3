"""Nothing is lost and nothing counted twice, fault by fault: the quick ones of `./run faults`, with real processes and servers."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.faults.ground import Ground, open_ground
from tests.faults.scenarios import SCENARIOS

SEED = 5
#: A probe has ten seconds (I5) on a machine of its own; this one runs other suites.
SLACK = 3.0
FULL = os.environ.get("STREAMGAUGE_TESTS_FULL") == "1"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """PostgreSQL for all of them. Started in the main thread, as `tether` wants it."""
    with asyncio.Runner() as runner:
        opened = open_ground()
        found = runner.run(opened.__aenter__())
        try:
            yield found
        finally:
            runner.run(opened.__aexit__(None, None, None))


@pytest.mark.timeout(3_600 if FULL else 240)
@pytest.mark.parametrize("name", [name for name, each in SCENARIOS.items() if each.quick or FULL])
async def test_nothing_is_lost_or_counted_twice_when(ground: Ground, name: str) -> None:
    row = await SCENARIOS[name].run(ground, SEED, FULL, SLACK)
    assert row.troubles == []
    assert row.fired >= 1
    assert (row.verdict.lost, row.verdict.doubled) == (0, 0)
    assert row.verdict.acked > 0


def test_every_fault_of_the_list_is_built() -> None:
    assert {name.rstrip("bd") for name in SCENARIOS} == {f"F{number}" for number in range(1, 29)}
