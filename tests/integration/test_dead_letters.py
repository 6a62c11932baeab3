"""Dead letters: replayed exactly once whatever happens in between, discarded without harm to a ledger; shards that stop in time."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamgauge.capture.publisher import Lane
from streamgauge.dead_letters import replay as replaying
from streamgauge.dead_letters import store
from streamgauge.dead_letters.replay import Replay
from streamgauge.dead_letters.store import EVERYBODY, NOBODY, Wanted
from streamgauge.errors import ServerError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import thaw
from streamgauge_workers import dead_letters as kept
from streamgauge_workers import plausibility

from .engine import DAY, Engine, Plain, event_of, generate, open_engine
from .test_poison import holds, poisoned


@pytest.fixture
async def engine(redis_url: str, database_url: str) -> AsyncIterator[Engine]:
    """Three tenants, and nothing sent yet."""
    async with open_engine(redis_url, database_url) as opened:
        yield opened


async def replay(engine: Engine, wanted: Wanted, *, send: bool = True) -> Replay:
    """As command and API do it."""
    async with engine.connection.transaction():
        found = await replaying.prepare(engine.connection, engine.stream, EVERYBODY, wanted, 1_000)
        await replaying.request(engine.connection, found, "somebody")
    if send:
        await replaying.send(engine.stream, found)
    return found


async def states(engine: Engine) -> dict[tuple[str, str], int]:
    rows = await engine.connection.fetch(
        "SELECT reason, state, count(*)::int AS n FROM dead_letters GROUP BY 1, 2"
    )
    return {(row["reason"], row["state"]): row["n"] for row in rows}


def late(count: int, seed: int = 31) -> list[Plain]:
    return [{**event, "at": event["at"] - 30 * DAY} for event in generate(seed, count)]


async def make_tenant(engine: Engine, name: str) -> None:
    await engine.connection.execute(
        "WITH t AS (INSERT INTO tenants (name) VALUES ($1) RETURNING tenant_id) "
        "INSERT INTO tenant_time_zones (tenant_id, time_zone) SELECT tenant_id, 'UTC' FROM t",
        name,
    )
    engine.zones = {**engine.zones, name: "UTC"}


async def test_late_events_that_are_replayed_count_once_however_often_they_are_sent(engine: Engine) -> None:
    events, old = generate(30, 60), late(12)
    await engine.publish([*events, *old])
    await engine.drain()
    revision = "SELECT sum(revision)::int FROM tenants"
    before = await engine.connection.fetchval(revision)
    first = await replay(engine, Wanted(reason="late"))
    again = await replay(engine, Wanted(reason="late"))  # nobody has noticed yet that it was sent
    assert len(first.sending) == len(again.sending) == 12
    assert [each.lane for each in first.sending] == [each.lane for each in again.sending]
    await engine.drain()
    await replaying.send(engine.stream, first)  # and once more, when it is done
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected([*events, *old]))
    assert await engine.outcomes() == {("applied", ""): 72, ("dead_lettered", "late"): 12}
    assert await states(engine) == {("late", "replayed"): 12}
    assert await engine.connection.fetchval(revision) > before
    assert (await engine.verified()).differences == []
    third = await replay(engine, Wanted(reason="late"))
    assert (third.sending, set(third.unready.values())) == ([], {"it is replayed already"})


async def test_a_crash_between_trusting_and_sending_or_behind_it_changes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = late(8)
    await engine.publish(old)
    await engine.drain()
    await replay(engine, Wanted(reason="late"), send=False)  # the process ended before it sent anything
    await engine.drain()
    assert await states(engine) == {("late", "open"): 8}
    append = engine.stream.append_many

    async def dies(*arguments: Any) -> Any:
        await append(*arguments)
        raise ServerError("the reply was lost")

    with monkeypatch.context() as patched:
        patched.setattr(engine.stream, "append_many", dies)
        with pytest.raises(ServerError):  # the first stream has its entries, the others have none
            await replay(engine, Wanted(reason="late"))
    await replay(engine, Wanted(reason="late"))
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected(old))
    assert await states(engine) == {("late", "replayed"): 8}
    assert (await engine.verified()).differences == []


async def test_what_redis_lost_stays_open_and_can_be_replayed_again(engine: Engine) -> None:
    old = late(4)
    await engine.publish(old)
    await engine.drain()
    await replay(engine, Wanted(reason="late"))
    await engine.flush_stream(0, 1, 2, 3)
    await engine.drain()
    assert await states(engine) == {("late", "open"): 4}
    await replay(engine, Wanted(reason="late"))
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected(old))


async def test_events_of_an_unknown_tenant_count_once_it_is_there_and_they_are_replayed(
    engine: Engine,
) -> None:
    events = generate(33, 40)
    orphans = [{**event, "tenant": "nobody"} for event in generate(34, 15)]
    await engine.publish([*events, *orphans])
    await engine.drain()
    assert await states(engine) == {("unknown_tenant", "open"): 15}
    early = await replay(engine, Wanted(reason="unknown_tenant"))
    assert (early.sending, set(early.unready.values())) == (
        [], {"there is no tenant 'nobody': create it, then replay"},
    )  # fmt: skip
    await make_tenant(engine, "nobody")
    await replay(engine, Wanted(reason="unknown_tenant"))
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected([*events, *orphans]))
    assert await engine.outcomes() == {("applied", ""): 55, ("rejected", "unknown_tenant"): 15}
    assert (await engine.verified()).differences == []


async def test_a_replay_meets_the_keys_that_were_applied_meanwhile(engine: Engine) -> None:
    (event,) = generate(35, 1)
    key = bytes(range(16))
    await engine.publish([{**event, "key": key, "at": event["at"] - 30 * DAY}])
    await engine.drain()
    await engine.publish([{**event, "key": key}])  # sent anew by somebody who had given up
    await engine.drain()
    await replay(engine, Wanted(reason="late"))
    await engine.drain()
    assert await engine.outcomes() == {
        ("dead_lettered", "late"): 1, ("applied", ""): 1, ("repeated_key", ""): 1,
    }  # fmt: skip
    assert (await engine.rows()) == (await engine.expected([event]))


async def test_values_that_json_does_not_have_are_kept_to_the_bit_and_refused_again(engine: Engine) -> None:
    odd: list[dict[str, Any]] = [
        {"duration": -5, "ratio": 1e17}, {"ratio": float("nan")}, {"a\0b": "c\0d"}, {"duration": 2**62},
    ]  # fmt: skip
    (plain,) = generate(36, 1, ("delhi",))
    sent = [{**plain, "name": "http.request", "properties": each} for each in odd]
    await engine.publish(sent)
    await engine.drain()
    rows = await engine.connection.fetch("SELECT raw FROM dead_letters ORDER BY dead_letter_id")
    assert [repr(thaw(row["raw"]).event(0)) for row in rows] == [repr(event_of(each)) for each in sent]
    await replay(engine, Wanted(reason="invalid_value"))
    await engine.drain()
    assert await states(engine) == {
        ("invalid_value", "replayed"): 3, ("invalid_value", "open"): 3, ("invalid_text", "open"): 1,
    }  # fmt: skip
    assert (await engine.verified()).differences == []


async def test_what_poisoned_a_worker_is_applied_once_the_fault_is_mended(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [{**event, "name": "poison.event", "shard": 2} for event in generate(37, 5)]
    with monkeypatch.context() as patched:
        patched.setattr("streamgauge_workers.summariser.fold", poisoned(holds("poison.event")))
        await engine.publish(bad)
        await engine.drain()
    assert await states(engine) == {("poison", "open"): 1}
    await replay(engine, Wanted(reason="poison"))
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected(bad))
    assert await engine.outcomes() == {("applied", ""): 5, ("dead_lettered", "poison"): 5}
    assert (await engine.verified()).differences == []


async def test_undecodable_entries_are_replayed_only_when_they_can_be_read_and_the_longest_are_cut(
    engine: Engine,
) -> None:
    lane = engine.lane(0)
    (event,) = generate(38, 1)
    short = lane.freeze(freeze([event_of(event)]), 3)
    huge = lane.freeze(b"\1" + b"x" * kept.MOST_BYTES, 2)
    await engine.send(0, lane.freeze(b"\1garbage", 7), short, huge)
    await engine.redis.xadd("streamgauge:{0.0}:events", {b"hello": b"world"})
    await engine.drain()
    found = await replay(engine, Wanted(reason="undecodable"))
    assert [each.events for each in found.sending] == [1]  # what there really is in it
    assert len(found.unready) == 3
    rows = await engine.connection.fetch(
        "SELECT length(raw) AS kept, cut_from FROM dead_letters WHERE cut_from IS NOT NULL"
    )
    assert [tuple(row) for row in rows] == [(kept.MOST_BYTES, kept.MOST_BYTES + 1)]
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected([event]))
    assert (await engine.verified()).differences == []


async def test_a_conflict_is_replayed_only_when_somebody_has_chosen_it(engine: Engine) -> None:
    events = generate(39, 12)
    lane, twin = engine.lane(1), Lane(1, int(time.time() * 1_000))
    twin.id = lane.id  # a machine that was copied while it ran
    await engine.send(1, lane.freeze(freeze([event_of(each) for each in events[:4]]), 4))
    await engine.send(1, twin.freeze(freeze([event_of(each) for each in events[4:]]), 8))
    await engine.drain()
    (letter,) = await store.listed(engine.connection, NOBODY, Wanted(reason="range_conflict"), 10)
    assert (await replay(engine, Wanted(reason="range_conflict"))).sending == []
    assert len((await replay(engine, Wanted(ids=[letter["dead_letter_id"]]))).sending) == 1
    await engine.drain()
    assert (await engine.rows()) == (await engine.expected(events))
    assert (await engine.verified()).differences == []


async def test_discarding_removes_what_was_said_and_leaves_every_count(engine: Engine) -> None:
    await engine.publish(
        [*generate(40, 20), *late(6), *({**each, "tenant": "nobody"} for each in generate(41, 3))]
    )
    lane = engine.lane(0)
    await engine.send(0, lane.freeze(b"\1garbage", 7), lane.announcement(closed=True))
    await engine.drain()
    outcomes = await engine.outcomes()
    async with engine.connection.transaction():
        gone = await store.discard(engine.connection, EVERYBODY, Wanted(state="open"), 1_000, "somebody")
    assert len(gone) == 10
    row = await engine.connection.fetchrow(
        "SELECT count(raw) + count(event) + count(detail) AS held, count(*) AS rows, sum(events) AS events, min(decided_by) AS by FROM dead_letters"
    )
    assert row is not None
    assert tuple(row) == (0, 10, 16, "somebody")
    assert await engine.outcomes() == outcomes
    assert (await engine.verified()).differences == []
    nothing = await replay(engine, Wanted())
    assert (nothing.sending, set(nothing.unready.values())) == ([], {"it is discarded already"})


async def test_verify_misses_a_rejected_event_that_is_not_kept(engine: Engine) -> None:
    await engine.publish([{**each, "tenant": "nobody"} for each in generate(42, 3)])
    await engine.drain()
    await engine.connection.execute(
        "DELETE FROM dead_letters WHERE dead_letter_id = (SELECT min(dead_letter_id) FROM dead_letters)"
    )
    assert (await engine.verified()).differences == [
        "dead_letters tenant 0 unknown_tenant: 2 events, the event log gives 3"
    ]


async def test_a_flood_of_late_events_stops_its_shard_with_nothing_lost_until_it_is_allowed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plausibility, "FLOOR", 100)
    monkeypatch.setattr("streamgauge_workers.shard_worker.LOOK", 0.01)
    engine.settings = type(engine.settings)(lease_seconds=1, batch_events=50)
    good, flood = generate(43, 80), [{**event, "shard": 1} for event in late(600, 44)]
    others = [each for each in good if each["shard"] != 1]
    await engine.publish(others)
    await engine.publish(flood, 10)
    stopped = "SELECT EXISTS (SELECT FROM shard_stops WHERE shard = 1 AND allowed_until IS NULL)"
    async with engine.working():
        await engine.drained({0, 2, 3})
        await engine.until(stopped)
    at_stop = (await states(engine))[("late", "open")]
    assert at_stop < 100
    async with engine.working():  # neither a restart nor another worker goes on
        await engine.until("SELECT pg_sleep(0.3) IS NOT NULL")
    assert await states(engine) == {("late", "open"): at_stop}
    assert (await engine.rows()) == (await engine.expected(others))
    assert (await engine.verified()).differences == []
    assert await plausibility.allow(engine.connection, 1, 1.0, "somebody")
    assert not await plausibility.allow(engine.connection, 0, 1.0, "somebody")
    await engine.drain()
    assert await states(engine) == {("late", "open"): 600}
    assert await engine.outcomes() == {("applied", ""): len(others), ("dead_lettered", "late"): 600}
    await replay(engine, Wanted(reason="late"))
    await engine.drain()  # a replay is trusted: it does not count against the limit
    assert (await engine.rows()) == (await engine.expected([*others, *flood]))
    assert (await engine.verified()).differences == []


async def test_what_an_import_brings_in_never_stops_a_shard(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plausibility, "FLOOR", 10)
    lane = engine.lane(2)
    await engine.trust(lane)
    odd = [{**event, "session": "\0", "properties": {}} for event in generate(45, 30)]
    await engine.send(2, lane.freeze(freeze([event_of(each) for each in odd]), 30))
    await engine.drain()
    assert await states(engine) == {("invalid_text", "open"): 30}
    assert await plausibility.stopped(engine.connection) == []


async def test_another_limit_lifts_a_stop_and_the_same_one_does_not(engine: Engine) -> None:
    await engine.drain()
    judge = plausibility.Plausibility(2, 50)
    await judge.stop(engine.connection, plausibility.ImplausibleError(2, 1_000, {"late": 1_000}))
    with pytest.raises(plausibility.ImplausibleError, match="late 1000"):
        await plausibility.Plausibility(2, 50).consult(engine.connection)
    await plausibility.Plausibility(2, 80).consult(engine.connection)
    await plausibility.Plausibility(2, 50).consult(engine.connection)
    assert await engine.connection.fetchval("SELECT count(*) FROM shard_stops") == 0


async def test_a_dead_letter_of_an_older_version_is_replayed_as_well(engine: Engine) -> None:
    event = Event(
        "lesson.read",
        int(time.time() * 1e6) - 30 * DAY,
        "delhi",
        bytes([1]) * 17,
        properties={"duration": 5},
    )
    await engine.drain()
    await engine.connection.execute(
        """INSERT INTO dead_letters (shard, tenant_id, lane, number, content_id, reason, event)
        SELECT 0, tenant_id, decode(repeat('01', 16), 'hex'), 0, 'x', 'late', jsonb_build_object('name', 'lesson.read',
            'occurred_at', $1::bigint, 'tenant', 'delhi', 'actor', repeat('01', 17), 'session', null, 'group', null, 'device', null,
            'source', 'server', 'properties', '{"duration": 5}'::jsonb, 'key', null) FROM tenants WHERE name = 'delhi'""",
        event.occurred_at,
    )
    found = await replay(engine, Wanted(reason="late"))
    (sending,) = found.sending
    assert thaw(sending.records[0].payload).event(0) == event  # type: ignore[union-attr]  # the first one is the batch
    await engine.drain()
    assert await states(engine) == {("late", "replayed"): 1}
