"""The example school is used while Redis and PostgreSQL fail in turn: nobody notices, and every event is accounted for."""

import pytest
from benchmarks import outage

SECONDS, RATE, PEOPLE = 2.0, 60, 4
# The least there is: so little that an outage of two seconds fills it.
BUFFER_EVENTS = 100


# Starting everything, and five faults with their recoveries, on a busy machine.
@pytest.mark.timeout(400)
async def test_no_request_fails_and_every_event_arrives_or_is_announced_as_dropped() -> None:
    result = await outage.measure(SECONDS, RATE, PEOPLE, BUFFER_EVENTS, ephemeral=True)
    assert result["wrong"] == []
    faults = result["faults"]
    assert list(faults) == ["none", "Redis stopped", "Redis hung", "Redis full", "PostgreSQL stopped"]
    for told in faults.values():
        assert told["requests"] >= SECONDS * RATE
        events = told["events"]
        assert events["accepted"] + sum(events["dropped"].values()) > told["requests"]
        assert events["processed"] == events["accepted"] > 0
    # The faults were real: the application had to keep events until its buffer was full.
    for name in ("Redis stopped", "Redis hung", "Redis full"):
        assert faults[name]["waiting"] == BUFFER_EVENTS
        assert faults[name]["events"]["dropped"].keys() == {"buffer_full"}
    # The streams keep them while PostgreSQL is away.
    assert faults["none"]["events"]["dropped"] == faults["PostgreSQL stopped"]["events"]["dropped"] == {}
    assert result["announced"] == result["events"]["dropped"]
