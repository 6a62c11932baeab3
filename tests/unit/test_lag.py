"""The number of entries behind a position, without reading them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.entry import BEGINNING, Batch, EntryId
from streamgauge.memory_stream import MemoryStream
from streamgauge_workers import metrics
from streamgauge_workers.lag import EntriesBehind, Lag


def batch(first: int) -> Batch:
    return Batch(b"L" * 16, 1, 0, first, 1, b"payload")


@given(
    st.lists(st.tuples(st.sampled_from(["add", "apply", "trim", "rewind"]), st.integers(1, 5)), max_size=40)
)
@settings(max_examples=60, deadline=None)
async def test_the_count_is_exact_from_the_first_moment_it_can_be_and_a_bound_before(
    steps: list[tuple[str, int]],
) -> None:
    stream, behind = MemoryStream(clock=lambda: 1_000), EntriesBehind()
    position, sent = BEGINNING, 0
    for action, number in steps:
        ids = [entry_id for entry_id, _ in stream.nodes[0].items]
        ahead = [entry_id for entry_id in ids if entry_id > position]
        if action == "add":
            await stream.append_many(0, [batch(sent + each) for each in range(number)])
            sent += number
        elif action == "apply" and ahead:
            position = ahead[:number][-1]
            behind.applied(len(ahead[:number]))
        elif action == "trim":
            stream.nodes[0].items = [item for item in stream.nodes[0].items if item[0] >= position]
        elif action == "rewind":
            # Another worker's position, about which nothing is known.
            position = ids[min(number, len(ids)) - 1] if ids else BEGINNING
            behind.rewound()
        backlog = await stream.backlog(0, position)
        true = len([entry_id for entry_id, _ in stream.nodes[0].items if entry_id > position])
        told = behind.count(backlog)
        if behind.covered is not None:
            assert told == true
        else:
            assert told >= true
        if true == 0 or backlog.whole:
            assert told == true


async def test_a_worker_that_starts_in_the_middle_of_a_backlog_tells_at_most_what_is_retained() -> None:
    stream, behind = MemoryStream(clock=lambda: 1_000), EntriesBehind()
    ids = await stream.append_many(0, [batch(first) for first in range(10)])
    assert behind.count(await stream.backlog(0, ids[3])) == 10
    behind.applied(6)
    assert behind.count(await stream.backlog(0, ids[9])) == 0
    await stream.append_many(0, [batch(first) for first in range(10, 14)])
    assert behind.count(await stream.backlog(0, ids[9])) == 4


async def test_a_worker_that_starts_in_front_of_everything_retained_counts_exactly_at_once() -> None:
    stream, behind = MemoryStream(clock=lambda: 1_000), EntriesBehind()
    ids = await stream.append_many(0, [batch(first) for first in range(10)])
    assert behind.count(await stream.backlog(0, BEGINNING)) == 10
    behind.applied(4)
    assert behind.count(await stream.backlog(0, ids[3])) == 6


async def test_the_lag_in_seconds_is_the_age_of_the_oldest_entry_and_not_of_the_position() -> None:
    clock = [1_000]
    stream = MemoryStream(clock=lambda: clock[0])
    first = await stream.append(0, batch(0))
    clock[0] = 3_600_000
    await stream.append(0, batch(1))
    clock[0] += 2_500
    lag = Lag(0, stream)
    await lag.measure(first)
    assert told("streamgauge_lag_seconds") == 2.5
    assert told("streamgauge_lag_entries") == 2  # a bound: this worker has not been caught up yet
    await lag.measure(EntryId(3_600_000, 0))
    assert (told("streamgauge_lag_seconds"), told("streamgauge_lag_entries")) == (0, 0)
    lag.forget()
    assert told("streamgauge_lag_seconds") is None


def told(name: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, {"shard": "0"})
