"""From the stream to the tables, on real servers, against the dictionary oracle."""

import asyncio
import random
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from streamgauge.entry import Announcement, Batch
from streamgauge.errors import FencedError
from streamgauge.frame import freeze
from streamgauge.stream import History
from streamgauge.table import thaw
from streamgauge_workers.housekeeping import Housekeeping
from streamgauge_workers.lag import Lag
from streamgauge_workers.position import Position

from .engine import DAY, HOUR, Engine, Plain, event_of, generate, open_engine

PAST = 1_000_000 * 1_700_000_000


async def test_an_empty_stream_gives_empty_tables(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            await engine.until("SELECT count(*) = 5 FROM shards WHERE epoch = 1")
        await engine.check([])


@pytest.mark.parametrize(
    ("size", "shuffled", "duplicated", "workers"),
    [
        (500, False, False, 1),
        (1, True, False, 1),
        (7, True, True, 1),
        (50, True, True, 3),
        (1, False, True, 3),
    ],
)
async def test_any_order_batching_duplication_and_number_of_workers_gives_the_same_rows(
    redis_url: str, database_url: str, size: int, shuffled: bool, duplicated: bool, workers: int
) -> None:
    events = generate(1, 700)
    async with open_engine(redis_url, database_url) as engine:
        chosen = random.Random(size)
        order = list(events)
        if shuffled:
            chosen.shuffle(order)
        sent = await engine.publish(order[:400], size)
        async with engine.working(workers):
            sent += await engine.publish(order[400:], size)
            if duplicated:
                for shard, batch in chosen.sample(sent, min(len(sent), 60)):
                    await engine.send(shard, batch)
            await engine.drained()
            if duplicated:  # late, when everything has been applied
                late = chosen.sample(sent, min(len(sent), 20))
                for shard, batch in late:
                    await engine.send(shard, batch, batch)
                await engine.drained()
        # Equal to the oracle is equal to one another.
        await engine.check(events)
        assert (await engine.outcomes()) == {("applied", ""): 700}
        assert (await engine.transport()).lost == 0
        again = await engine.redelivered()
        assert again > 0 if duplicated else again == 0


async def test_actors_seen_on_several_shards_at_once_count_once(redis_url: str, database_url: str) -> None:
    events = generate(2, 600)
    for place, event in enumerate(events):
        event["shard"] = place % 4
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working(3):
            await engine.publish(events, 20)
            await engine.drained()
        await engine.check(events)


def keyed(event: Plain, key: int, at: int | None = None) -> Plain:
    return {
        **event,
        "key": key.to_bytes(16, "big"),
        "shard": key % 4,
        "at": event["at"] if at is None else at,
    }


async def test_keyed_events_count_once_across_lanes_batches_and_transactions(
    redis_url: str, database_url: str
) -> None:
    base = generate(3, 200)
    events = [keyed(event, number) for number, event in enumerate(base)]
    async with open_engine(redis_url, database_url) as engine:
        # Twice within one batch, then in other batches of the same lane, then in other lanes, then transactions later.
        await engine.publish([event for event in events for _ in range(2)], 64)
        await engine.publish(events, 9)
        await engine.drain()
        await engine.publish(events, 100)
        await engine.drain(3)
        await engine.check(events)
        assert await engine.outcomes() == {("applied", ""): 200, ("repeated_key", ""): 600}


async def test_of_repeated_keys_the_first_applied_wins_even_when_it_differs(
    redis_url: str, database_url: str
) -> None:
    first, second = (keyed(event, 8) for event in generate(4, 2))
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([first], 1)
        await engine.publish([second], 1)
        await engine.drain()
        await engine.check([first])


async def test_a_key_whose_first_copy_was_refused_is_still_free(redis_url: str, database_url: str) -> None:
    (event,) = generate(5, 1)
    late = keyed(event, 12, event["at"] - 30 * DAY)
    good = keyed(event, 12)
    bad = {**good, "session": "\0"}
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([late, bad, good, good], 4)  # in one batch
        await engine.publish([late], 1)
        await engine.publish([good], 1)
        await engine.drain()
        await engine.check([good])
        # A refused copy that comes after the applied one is a repetition: deduplication is before lateness.
        assert await engine.outcomes() == {
            ("applied", ""): 1, ("repeated_key", ""): 3, ("rejected", "invalid_text"): 1, ("dead_lettered", "late"): 1,
        }  # fmt: skip


@pytest.mark.parametrize(("seed", "workers"), [(1, 1), (2, 1), (3, 3)])
async def test_beyond_the_cardinality_limit_the_same_values_stay_in_any_order(
    redis_url: str, database_url: str, seed: int, workers: int
) -> None:
    events = generate(6, 600, routes=40)
    async with open_engine(redis_url, database_url, cardinality_limit=5) as engine:
        # So that both sides of the comparison keep the same values in every run.
        await engine.connection.execute(
            "UPDATE tenants SET cardinality_key = decode(repeat('ab', 16), 'hex')"
        )
        order = list(events)
        random.Random(seed).shuffle(order)
        for place, event in enumerate(order):
            event["shard"] = (place * seed) % 4
        for first in range(0, len(order), 150):
            await engine.publish(order[first : first + 150], 1 + seed * 10)
            await engine.drain(workers)
        rows = await engine.check(events)
        routes = Counter(
            (place.tenant, place.bucket)
            for place in {
                p._replace(dimensions=p.dimensions[:1])
                for p in rows
                if p.metric == "http.server.request.duration" and p.grouping == 1 and p.grain == "d"
                and p.dimensions[0] not in ("(none)", "(other)")
            }
        )  # fmt: skip
        assert max(routes.values()) == 5
        totals = sum(
            row.events for place, row in rows.items() if place[0] == "d" and place.metric == "events"
        )
        assert totals == len(events)


async def test_a_limit_of_one_with_evictions_in_every_batch_keeps_totals_exact(
    redis_url: str, database_url: str
) -> None:
    events = generate(7, 300, tenants=("delhi",), routes=200)
    async with open_engine(redis_url, database_url, cardinality_limit=1, batch_events=10) as engine:
        await engine.publish(events, 3)
        await engine.drain()
        await engine.check(events)


async def test_values_a_dimension_shares_with_uncounted_events_do_not_depend_on_batches(
    redis_url: str, database_url: str
) -> None:
    (event,) = [each for each in generate(8, 20, tenants=("delhi",)) if each["name"] == "http.request"][:1]
    events = [{**event, "shard": 0, "properties": {"http.route": f"/{each}"}} for each in range(3)]
    events += [
        {**event, "shard": 0, "name": "draft.sent", "properties": {"http.route": f"/x{each}"}}
        for each in range(9)
    ]
    async with open_engine(redis_url, database_url, cardinality_limit=3) as engine:
        await engine.publish(events, 1)
        await engine.drain()
        rows = await engine.check(events)
        routes = {
            p.dimensions[0] for p in rows if p.metric == "http.server.request.duration" and p.grouping == 1
        }
        assert routes == {"/0", "/1", "/2"}


async def test_events_of_an_unknown_tenant_are_rejected_and_counted(
    redis_url: str, database_url: str
) -> None:
    events = generate(9, 50)
    strangers = [{**event, "tenant": "nobody"} for event in generate(10, 20)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([*events, *strangers], 10)
        await engine.drain()
        await engine.check(events)
        assert (await engine.outcomes())["rejected", "unknown_tenant"] == 20
        assert (
            await engine.connection.fetchval("SELECT sum(events) FROM outcome_ledger WHERE tenant_id = 0")
            == 20
        )
        # Nobody's events become somebody's when a tenant of that name comes later.
        later = [{**event, "tenant": "nobody"} for event in generate(11, 10)]
        await engine.connection.execute(
            "WITH t AS (INSERT INTO tenants (name) VALUES ('nobody') RETURNING tenant_id) "
            "INSERT INTO tenant_time_zones (tenant_id, time_zone) SELECT tenant_id, 'UTC' FROM t"
        )
        engine.zones = {**engine.zones, "nobody": "UTC"}
        await engine.publish(later, 10)
        await engine.drain()
        await engine.check([*events, *later])


async def test_late_and_future_events_are_dead_letters_and_what_they_said_is_kept(
    redis_url: str, database_url: str
) -> None:
    events = generate(12, 30)
    late = [{**event, "at": event["at"] - 30 * DAY} for event in generate(13, 4)]
    future = [{**event, "at": int(time.time() * 1e6) + 2 * DAY} for event in generate(14, 3)]
    async with open_engine(redis_url, database_url) as engine:
        sent = await engine.publish([*late, *events, *future], 100)
        await engine.drain()
        for shard, batch in sent:
            await engine.send(shard, batch)
        await engine.drain()
        await engine.check(events)
        assert await engine.outcomes() == {
            ("applied", ""): 30,
            ("dead_lettered", "late"): 4,
            ("dead_lettered", "future"): 3,
        }
        kept = await engine.connection.fetch("SELECT reason, raw FROM dead_letters")
        said = [(row["reason"], thaw(row["raw"]).event(0)) for row in kept]
        sent_late = [("late", event_of(event)) for event in late]
        assert len(said) == 7
        assert all(each in said for each in [*sent_late, *(("future", event_of(event)) for event in future)])


async def test_a_dead_letter_with_a_property_name_that_jsonb_cannot_hold_harms_nobody(
    redis_url: str, database_url: str
) -> None:
    events = generate(15, 30)
    odd = [{**event, "at": event["at"] - 30 * DAY, "properties": {"a\0b": 1}} for event in generate(16, 4)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([*odd, *events], 100)
        await engine.drain()
        await engine.check(events)
        assert await engine.outcomes() == {("applied", ""): 30, ("rejected", "invalid_text"): 4}


async def test_long_texts_in_other_scripts_do_not_stop_a_batch(redis_url: str, database_url: str) -> None:
    chosen = random.Random(17)
    events = [each for each in generate(17, 60) if each["name"] == "http.request"]
    for event in events:
        # Random letters do not compress, so this is as large in an index as it looks.
        event["properties"]["http.route"] = "".join(chr(chosen.randrange(0x4E00, 0x9000)) for _ in range(682))
    long = [
        {
            **event,
            "properties": {
                "http.route": "".join(chr(chosen.randrange(0x4E00, 0x9000)) for _ in range(2_000))
            },
        }
        for event in events[:5]
    ]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([*events, *long], 20)
        await engine.drain()
        await engine.check(events)
        assert (await engine.outcomes())["rejected", "invalid_text"] == 5


CLOCKS = {
    "delhi": "Asia/Kolkata", "kathmandu": "Asia/Kathmandu", "chatham": "Pacific/Chatham", "howe": "Australia/Lord_Howe",
    "york": "America/New_York",
}  # fmt: skip


async def test_hours_and_days_are_the_tenants_own_through_every_change_of_its_clock(
    redis_url: str, database_url: str
) -> None:
    changes = [
        "2024-03-10 07:00",
        "2024-11-03 06:00",
        "2024-04-06 15:00",
        "2024-10-05 15:30",
        "2024-04-06 14:00",
        "2024-09-28 14:00",
    ]
    events: list[Plain] = []
    for text in changes:
        change = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000
        for tenant in CLOCKS:
            for minutes in range(-26 * 60, 26 * 60, 45):
                at = change + minutes * 60_000_000
                events.append(
                    {
                        "name": "lesson.read",
                        "at": at,
                        "tenant": tenant,
                        "properties": {},
                        "shard": minutes % 4,
                    }
                )
            for off in (-1, 0, 1):
                events.append(
                    {
                        "name": "lesson.read",
                        "at": change + off,
                        "tenant": tenant,
                        "properties": {},
                        "shard": 1,
                    }
                )
    async with open_engine(redis_url, database_url, CLOCKS) as engine:
        lanes = {shard: engine.lane(shard) for shard in range(4)}
        for lane in lanes.values():
            await engine.trust(lane)
        await engine.publish(events, 500, lanes)
        await engine.drain()
        rows = await engine.check(events)

        # A day of 23, 24 or 25 hours has as many rows, and Lord Howe's hour of 90 minutes is one of them.
        def hours(tenant: str, day: str, length: float) -> int:
            start = int(datetime.fromisoformat(day).timestamp())
            assert any(p.grain == "d" and p.tenant == tenant and p.bucket == start for p in rows)
            return sum(
                p.grain == "h" and p.tenant == tenant and start <= p.bucket < start + length * 3_600
                for p in rows
            )

        assert hours("york", "2024-03-10T00:00-05:00", 23) == 23
        assert hours("york", "2024-11-03T00:00-04:00", 25) == 25
        assert hours("howe", "2024-04-07T00:00+11:00", 24.5) == 24
        assert hours("delhi", "2024-04-06T00:00+05:30", 24) == 24


async def test_an_import_may_be_old_and_others_may_not(redis_url: str, database_url: str) -> None:
    old = [{**event, "at": PAST + place * HOUR} for place, event in enumerate(generate(18, 40))]
    async with open_engine(redis_url, database_url) as engine:
        trusted = {shard: engine.lane(shard, born=0) for shard in range(4)}
        for lane in trusted.values():
            await engine.trust(lane)
        await engine.publish(old, 10, trusted)
        await engine.publish(old, 10)
        await engine.drain()
        await engine.check(old)
        assert await engine.outcomes() == {("applied", ""): 40, ("dead_lettered", "late"): 40}


@pytest.mark.parametrize("how", ["FLUSHALL", "DEL"])
async def test_after_a_change_of_history_nothing_retained_is_lost_or_doubled(
    redis_url: str, database_url: str, how: str
) -> None:
    events = generate(19, 400)
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            sent = await engine.publish(events[:200], 10)
            await engine.drained()
            assert await engine.epochs() == [1, 1, 1, 1]
            if how == "FLUSHALL":
                await engine.redis.flushall()
            else:
                await engine.flush_stream(0, 1, 2, 3)
            # A producer that saw no answer sends again, and new events come: their ids may be anything.
            for shard, batch in sent[::2]:
                await engine.send(shard, batch)
            await engine.publish(events[200:], 10)
            await engine.until("SELECT bool_and(epoch = 2) FROM shards WHERE NOT overflow")
            await engine.drained()
        await engine.check(events)
        assert await engine.epochs() == [2, 2, 2, 2]


async def test_new_entries_with_smaller_ids_than_the_position_are_read(
    redis_url: str, database_url: str
) -> None:
    events = generate(20, 100)
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            await engine.publish(events[:50], 10)
            await engine.drained()
        await engine.flush_stream(0, 1, 2, 3)
        # As from a server whose clock is behind: the ids begin at 1-1.
        await engine.publish(events[50:], 10)
        key = "streamgauge:{0.%d}:events"
        for shard in range(4):
            entries: list[Any] = list(await engine.redis.xrange(key % shard) or [])
            await engine.redis.delete(key % shard)
            for number, (_, fields) in enumerate(entries, start=1):
                await engine.redis.xadd(key % shard, fields, id=f"1-{number}")
        async with engine.working():
            await engine.until("SELECT bool_and(epoch = 2) FROM shards WHERE NOT overflow")
            await engine.drained()
        await engine.check(events)


async def test_a_foreign_writer_fences_the_worker_which_recovers(redis_url: str, database_url: str) -> None:
    events = generate(21, 600)
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            for first in range(0, 600, 60):
                await engine.publish(events[first : first + 60], 5)
                await engine.connection.execute("UPDATE shards SET token = gen_random_uuid()")
            await engine.drained()
        await engine.check(events)


async def test_a_writer_with_an_old_token_is_refused(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(22, 10))
        await engine.drain()
        before = await Position.load(engine.connection, 0)
        await before.swap(engine.connection, before)
        with pytest.raises(FencedError, match="shard 0"):
            await before.swap(engine.connection, before)


async def test_two_workers_that_both_believe_to_own_every_shard_apply_everything_once(
    redis_url: str, database_url: str
) -> None:
    events = generate(23, 400)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:200], 3)
        async with engine.working():
            await engine.until("SELECT count(*) = 5 FROM leases")
            # The leases run out in PostgreSQL, as for a worker that was suspended, and another takes them all.
            await engine.connection.execute("DELETE FROM leases; DELETE FROM workers")
            async with engine.working():
                await engine.publish(events[200:], 3)
                await engine.drained()
        await engine.check(events)


async def test_lost_is_exactly_the_batches_that_were_never_sent(redis_url: str, database_url: str) -> None:
    events = generate(24, 100)
    for event in events:
        event["shard"] = 2
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(2)
        batches = [
            lane.freeze(freeze([event_of(e) for e in events[at : at + 10]]), 10) for at in range(0, 100, 10)
        ]
        for batch in batches:
            lane.settle(batch)
        missing = {1, 4, 9}  # the last one leaves no hole: only the announcement tells
        await engine.send(2, *[batch for place, batch in enumerate(batches) if place not in missing])
        await engine.drain()
        assert (await engine.transport()).lost == 0  # nothing was announced yet
        await engine.send(2, lane.announcement(closed=True))
        await engine.drain()
        ledger = await engine.transport()
        assert (ledger.announced, ledger.processed, ledger.pending, ledger.lost) == (100, 70, 0, 30)
        kept = [event for place, event in enumerate(events) if place // 10 not in missing]
        await engine.check(kept)
        # What turns up after all is taken back.
        await engine.send(2, batches[4], batches[9])
        await engine.drain()
        assert (await engine.transport()).lost == 10
        await engine.check(kept + events[40:50] + events[90:100])


async def test_a_batch_that_overlaps_what_is_done_is_a_dead_letter_and_not_counted_twice(
    redis_url: str, database_url: str
) -> None:
    events = [{**event, "shard": 0} for event in generate(25, 30)]
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(0)
        good = lane.freeze(freeze([event_of(event) for event in events[:20]]), 20)
        overlap = Batch(lane.id, lane.born, 0, 10, 20, freeze([event_of(event) for event in events[10:]]))
        await engine.send(0, good, overlap, overlap)
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 20, ("dead_lettered", "range_conflict"): 20}
        assert await engine.rows() == await engine.expected(events[:20])
        assert (await engine.verified()).differences == []


async def test_drops_are_the_greatest_announced_even_when_an_old_announcement_comes_late(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(1)
        old = Announcement(lane.id, lane.born, 0, 0, False, {"full": 3, "invalid": 1})
        new = Announcement(lane.id, lane.born, 0, 0, False, {"full": 5, "invalid": 1, "closed": 2})
        for announcement in (old, new, old, Announcement(lane.id, lane.born, 0, 0, True, {})):
            await engine.send(1, announcement)
            await engine.drain()
        drops = await engine.connection.fetchval("SELECT drops::text FROM lanes WHERE lane = $1", lane.id)
        assert drops == '{"full": 5, "closed": 2, "invalid": 1}'


async def housekeeping(engine: Engine, shard: int, **settings: int) -> Housekeeping:
    chosen = engine.settings
    for name, value in {"accepted_loss_seconds": 0, **settings}.items():
        object.__setattr__(chosen, name, value)
    return Housekeeping(shard, engine.stream, chosen, Lag(shard, engine.stream))


async def test_idle_lanes_are_forgotten_and_those_with_something_missing_are_listed(
    redis_url: str, database_url: str
) -> None:
    events = [{**event, "shard": 0} for event in generate(26, 60)]
    async with open_engine(redis_url, database_url) as engine:
        frames = [freeze([event_of(event) for event in events[at : at + 10]]) for at in range(0, 60, 10)]
        settled, holed, silent, young, trusted = (engine.lane(0) for _ in range(5))
        await engine.trust(trusted)
        await engine.send(0, settled.freeze(frames[0], 10), settled.announcement(closed=True))
        batches = [holed.freeze(frames[1], 10), holed.freeze(frames[2], 10)]
        await engine.send(0, batches[1], holed.announcement(closed=True))
        await engine.send(0, silent.freeze(frames[3], 10))  # killed before it announced anything
        await engine.send(0, young.freeze(frames[4], 10))
        await engine.send(0, trusted.freeze(frames[5], 10))
        await engine.drain()
        week = 9 * 86_400_000
        await engine.connection.execute(
            "UPDATE lanes SET touched = touched - $1 WHERE lane <> $2", week, young.id
        )
        position = await Position.load(engine.connection, 0)
        chores = await housekeeping(engine, 0)
        assert await chores.forget(engine.connection, position)
        left = {row["lane"] for row in await engine.connection.fetch("SELECT lane FROM lanes")}
        assert left == {young.id, trusted.id}
        listed = {
            row["lane"]: row["lost"]
            for row in await engine.connection.fetch("SELECT lane, lost FROM forgotten_lanes")
        }
        assert listed == {holed.id: 10, silent.id: 0}
        assert not await chores.forget(engine.connection, await Position.load(engine.connection, 0))
        with pytest.raises(FencedError):  # the token moved, so that nobody's cached lane comes back
            await position.swap(engine.connection, position)


async def test_an_old_lane_that_comes_back_is_a_stray_and_never_counted_lost(
    redis_url: str, database_url: str
) -> None:
    old = [{**event, "shard": 0, "at": event["at"] - 20 * DAY} for event in generate(27, 20)]
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(0, born=int(time.time() * 1000) - 30 * 86_400_000)
        lane.freeze(freeze([event_of(old[0])]), 1)
        await engine.send(
            0, lane.freeze(freeze([event_of(event) for event in old]), 20), lane.announcement(closed=True)
        )
        await engine.drain()
        ledger = await engine.transport()
        assert (ledger.processed, ledger.lost) == (20, 0)
        assert await engine.outcomes() == {("dead_lettered", "late"): 20}
        assert await engine.rows() == {}


async def test_trimming_removes_what_is_behind_the_position_and_nothing_else(
    redis_url: str, database_url: str
) -> None:
    events = [{**event, "shard": 0} for event in generate(28, 300)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:200], 2)
        await engine.drain()
        position = await Position.load(engine.connection, 0)
        await engine.publish(events[200:], 2)  # not applied
        waiting = 51
        before = await engine.stream.length(0)
        lagging = await housekeeping(engine, 0, trim_lag_seconds=600)
        assert await lagging.trim(engine.connection, position) == 0  # all of it is younger than the lag
        chores = await housekeeping(engine, 0, trim_lag_seconds=0)
        removed = await chores.trim(engine.connection, position)
        assert removed == before - waiting - 1  # the entry at the position itself may stay
        assert await engine.stream.first_id(0) == position.entry_id
        assert await chores.trim(engine.connection, position) == 0
        await engine.drain()
        await engine.check(events)


async def test_what_a_failover_of_postgresql_may_take_back_is_not_trimmed(
    redis_url: str, database_url: str
) -> None:
    now = 1_000.0
    events = [{**event, "shard": 0} for event in generate(28, 300)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:100], 1)
        await engine.drain()
        old = await Position.load(engine.connection, 0)
        chores = await housekeeping(engine, 0, trim_lag_seconds=0, accepted_loss_seconds=10)
        chores.clock = lambda: now
        assert await chores.trim(engine.connection, old) == 0  # nobody knows since when it has been there
        await engine.publish(events[100:], 1)
        await engine.drain()
        new = await Position.load(engine.connection, 0)
        now += 9
        assert await chores.trim(engine.connection, new) == 0
        now += 2
        assert await chores.trim(engine.connection, new) > 0
        assert (
            await engine.stream.first_id(0) == old.entry_id
        )  # what came behind it was applied only 2 seconds ago
        now += 9
        assert await chores.trim(engine.connection, new) > 0
        assert await engine.stream.first_id(0) == new.entry_id


async def test_a_worker_trims_by_itself(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge_workers.housekeeping.EVERY", 0.05)
    events = generate(29, 300)
    async with open_engine(redis_url, database_url, trim_lag_seconds=0, accepted_loss_seconds=0) as engine:
        async with engine.working():
            for first in range(0, 300, 100):
                await engine.publish(events[first : first + 100], 1)
                await engine.drained()
            for _ in range(300):
                if max([await engine.stream.length(shard) for shard in range(4)]) <= 1:
                    break
                await asyncio.sleep(0.01)
        assert [await engine.stream.length(shard) for shard in range(4)] == [1, 1, 1, 1]
        await engine.check(events)


async def test_a_trim_for_another_history_removes_nothing(redis_url: str, database_url: str) -> None:
    events = [{**event, "shard": 0} for event in generate(30, 40)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 2)
        await engine.drain()
        position = await Position.load(engine.connection, 0)
        assert position.history is not None
        chores = await housekeeping(engine, 0, trim_lag_seconds=0)
        for other in (
            History("another", position.history.birthmark),
            History(position.history.run_id, "birthmark:0"),
        ):
            object.__setattr__(position, "history", other)
            assert await chores.trim(engine.connection, position) == 0
        assert await engine.stream.length(0) == 21


async def test_a_worker_that_starts_again_goes_on_where_it_was(redis_url: str, database_url: str) -> None:
    events = generate(31, 300)
    async with open_engine(redis_url, database_url, batch_events=20) as engine:
        for first in range(0, 300, 50):
            await engine.publish(events[first : first + 50], 4)
            async with engine.working():
                await asyncio.sleep(0.03)  # stopped somewhere in the middle
        await engine.drain()
        await engine.check(events)
        assert await engine.epochs() == [1, 1, 1, 1]


async def test_sets_of_many_parts_are_compacted_and_stay_exact(redis_url: str, database_url: str) -> None:
    base = generate(32, 1, tenants=("delhi",))[0]
    events = [
        {
            **base,
            "actor": b"\1" + number.to_bytes(16, "big"),
            "shard": 0,
            "properties": {},
            "name": "draft.sent",
        }
        for number in range(60)
    ]
    async with open_engine(redis_url, database_url, batch_events=1) as engine:
        await engine.publish(events, 1)
        await engine.drain()
        rows = await engine.check(events)
        assert {len(row.actors) for row in rows.values()} == {60}
        parts = await engine.connection.fetchval(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM summary_members GROUP BY series_id, grain, bucket) AS p"
        )
        assert 1 < parts <= 16
