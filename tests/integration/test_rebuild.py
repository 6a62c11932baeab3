"""`rebuild` fills summaries from the event log: after damage, after a new declaration, while workers run."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import open_connection
from streamgauge.domains.web.declarations import DURATION_METRIC
from streamgauge.errors import FencedError, InputError, ServerError
from streamgauge.summaries.rollups import Dimension, Rollup
from streamgauge_workers import rebuild as rebuilding
from streamgauge_workers.position import Position
from streamgauge_workers.rebuild import Rebuilt, rebuild
from streamgauge_workers.rebuilding.shadow import Shadow

from .engine import Engine, Plain, generate, open_engine

TABLES = ("hourly_summary", "daily_summary", "summary_members")


async def rebuilt(engine: Engine, *metrics: str) -> list[Rebuilt]:
    """Rebuild, with connections of its own."""
    connection, aside = await open_connection(engine.database_url), await open_connection(engine.database_url)
    try:
        return await rebuild(
            connection, aside, list(metrics), engine.settings.cardinality_limit, engine.catalogue
        )
    finally:
        await connection.close()
        await aside.close()


@contextmanager
def at(step: str, meanwhile: Callable[[], Awaitable[object]]) -> Iterator[None]:
    """Do something once, just before a step of the next rebuild: `_catch_up` or `_take_place`."""
    real = getattr(rebuilding, step)
    left = [meanwhile]

    async def stepped(*arguments: Any) -> None:
        if left:
            await left.pop()()
        await real(*arguments)

    with patch.object(rebuilding, step, stepped):
        yield
    assert not left, "the rebuild never came so far"


async def content(engine: Engine, metric: str | None = None) -> dict[str, list[Any]]:
    """Every byte of the summaries, of one metric or of all but one."""
    return {
        table: await engine.connection.fetch(
            f"SELECT r.* FROM {table} r JOIN series s USING (shard, series_id) WHERE s.metric = $1 OR $1 IS NULL ORDER BY r::text", metric
        )
        for table in TABLES
    }  # fmt: skip


async def broken(engine: Engine) -> None:
    for statement in (
        "UPDATE hourly_summary SET count = count + 7, histogram = NULL WHERE series_id % 3 = 0",
        "UPDATE hourly_summary SET histogram = '\\x0907' WHERE series_id % 5 = 0",
        "UPDATE daily_summary SET sum = 0, min = NULL WHERE series_id % 2 = 0",
        "DELETE FROM hourly_summary WHERE series_id % 7 = 1",
        "DELETE FROM summary_members WHERE series_id % 4 = 0",
        "UPDATE summary_members SET members = '\\x00' WHERE series_id % 4 = 1",
        (
            "INSERT INTO daily_summary SELECT shard, series_id, tenant_id, bucket + interval '900 days', 1, 0, 0, 0, NULL, NULL, NULL, '{}' "
            "FROM daily_summary WHERE series_id = 2"
        ),
    ):
        await engine.connection.execute(statement)


@pytest.mark.parametrize("limit", [1_000, 5])
async def test_broken_summaries_are_right_again_after_a_rebuild(
    redis_url: str, database_url: str, limit: int
) -> None:
    events = generate(1, 500, routes=20)
    async with open_engine(redis_url, database_url, cardinality_limit=limit) as engine:
        await engine.publish(events, 50)
        await engine.drain()
        await broken(engine)
        await engine.connection.execute("DELETE FROM dimension_values WHERE shard = 2 AND rank % 2 = 0")
        # A row of no series at all.
        await engine.connection.execute(
            "INSERT INTO hourly_summary SELECT shard, 999999, tenant_id, bucket, 1, 0, 0, 0 FROM hourly_summary LIMIT 1"
        )
        assert (await engine.verified()).differences
        found = await rebuilt(engine)
        assert [each.shard for each in found] == [0, 1, 2, 3, 4]
        assert sum(each.events for each in found) == 500
        await engine.check(events)
        await rebuilt(engine)
        await engine.check(events)


async def test_what_was_refused_stays_out_of_a_rebuild(redis_url: str, database_url: str) -> None:
    events = generate(2, 60)
    keyed = [{**event, "key": bytes([place % 20]) * 16, "shard": 0} for place, event in enumerate(events)]
    late = [{**event, "at": event["at"] - 40 * 86_400_000_000} for event in events[:10]]
    strangers = [{**event, "tenant": "nobody"} for event in events[:10]]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([*keyed, *late, *strangers], 100)
        await engine.drain()
        before = await engine.rows()
        found = await rebuilt(engine)
        assert sum(each.events for each in found) == 20
        assert await engine.rows() == before == await engine.expected(keyed[:20])


async def test_rebuilding_one_rollup_leaves_the_bytes_of_the_others_alone(
    redis_url: str, database_url: str
) -> None:
    events = generate(3, 400, routes=20)
    async with open_engine(redis_url, database_url, cardinality_limit=5) as engine:
        await engine.publish(events, 50)
        await engine.drain()
        others = {metric: await content(engine, metric) for metric in ("events",)}
        await engine.connection.execute(
            "DELETE FROM hourly_summary USING series s WHERE hourly_summary.shard = s.shard AND hourly_summary.series_id = s.series_id AND s.metric = $1",
            DURATION_METRIC,
        )
        await rebuilt(engine, DURATION_METRIC)
        assert {metric: await content(engine, metric) for metric in others} == others
        await engine.check(events)


async def test_a_rebuild_while_workers_run_loses_and_doubles_nothing(
    redis_url: str, database_url: str
) -> None:
    events = generate(4, 600)
    async with open_engine(redis_url, database_url, cardinality_limit=5) as engine:
        await engine.publish(events[:200], 20)
        await engine.drain()
        await broken(engine)
        async with engine.working(2):

            async def go_on() -> None:
                for first in range(200, 600, 40):
                    await engine.publish(events[first : first + 40], 5)
                    await asyncio.sleep(0.02)

            going = asyncio.create_task(go_on())
            await rebuilt(engine)
            await rebuilt(engine, DURATION_METRIC)
            await rebuilt(engine)
            await going
            await engine.drained()
        await engine.check(events)


async def test_events_wait_for_the_repair_of_a_damaged_row_and_are_not_dead_lettered(
    redis_url: str, database_url: str
) -> None:
    events = generate(10, 300)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:200], 10)
        await engine.drain()
        await engine.connection.execute(
            "UPDATE daily_summary SET histogram = '\\x0907' WHERE shard IN (0, 1) AND histogram IS NOT NULL"
        )
        await engine.connection.execute("UPDATE summary_members SET members = '\\x00' WHERE shard = 2")
        async with engine.working():
            await engine.publish(events[200:], 10)
            await engine.drained({3})
            await asyncio.sleep(0.5)  # many tries
            assert await engine.connection.fetchval("SELECT count(*) FROM dead_letters") == 0
            await rebuilt(engine)
            await engine.drained()
        await engine.check(events)


OWN = Rollup(
    metric="quiz.score", event="lesson.read", value="duration",
    dimensions=(Dimension("http.route"),), groupings=((), ("http.route",)),
)  # fmt: skip


@pytest.mark.parametrize("limit", [1_000, 3])
async def test_a_rollup_of_ones_own_is_filled_by_a_rebuild_and_then_kept_up_to_date(
    redis_url: str, database_url: str, limit: int
) -> None:
    events = generate(5, 400)
    async with open_engine(redis_url, database_url, cardinality_limit=limit) as engine:
        await engine.publish(events[:300], 50)
        await engine.drain()
        engine.catalogue = CATALOGUE.extended(OWN)
        await rebuilt(engine, OWN.metric)
        rows: list[Plain] = events[:300]
        found = await engine.check(rows)
        assert any(place.metric == OWN.metric and place.grouping == 1 for place in found)
        await engine.publish(events[300:], 50)
        await engine.drain()
        await engine.check(events)


async def test_an_unknown_rollup_is_an_error_that_lists_the_known_ones(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine:
        with pytest.raises(InputError, match=r"'nothing'.*events"):
            await rebuilt(engine, "nothing")


async def test_a_rebuild_bumps_the_revision_of_every_tenant(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(6, 20))
        await engine.drain()
        before = await engine.connection.fetchval("SELECT min(revision) FROM tenants")
        await rebuilt(engine)
        assert await engine.connection.fetchval("SELECT min(revision) FROM tenants") > before


async def test_a_rebuild_moves_the_token_so_that_a_workers_caches_are_dropped(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(9, 20))
        await engine.drain()
        known = [await Position.load(engine.connection, shard) for shard in range(4)]
        await rebuilt(engine, DURATION_METRIC)
        for position in known:
            with pytest.raises(FencedError):
                await position.swap(engine.connection, position)


async def test_a_rebuild_that_fails_changes_nothing(redis_url: str, database_url: str) -> None:
    events = generate(7, 100)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 10)
        await engine.drain()
        before = await content(engine)
        await engine.connection.execute(
            "UPDATE event_log SET digest = decode(repeat('00', 16), 'hex') WHERE shard = 0"
        )
        with pytest.raises(Exception, match="digest"):
            await rebuilt(engine)
        assert await content(engine) == before


async def test_events_of_a_tenant_that_is_gone_are_named_and_not_dropped(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(8, 60), 10)
        await engine.drain()
        before = await content(engine)
        await engine.connection.execute("UPDATE tenants SET name = 'renamed' WHERE name = 'york'")
        assert any(
            "tenant 'york', which is not there" in each for each in (await engine.verified()).differences
        )
        with pytest.raises(InputError, match="tenant 'york', which is not there"):
            await rebuilt(engine)
        assert await content(engine) == before


@pytest.mark.parametrize("metrics", [(), (DURATION_METRIC,), (OWN.metric,)], ids=["all", "one", "a new one"])
async def test_workers_go_on_while_a_rebuild_reads_and_everything_they_apply_is_in_it(
    redis_url: str, database_url: str, metrics: tuple[str, ...]
) -> None:
    """What they apply meanwhile brings series, actors, dimension values and a tenant that the rebuild has not met."""
    events = generate(11, 300, tenants=("delhi", "york"), routes=12)
    later = generate(12, 150, routes=40)
    for place, event in enumerate(later):
        number = 40 + place % 60
        event |= {"actor": bytes([1, number]) + bytes(15), "shard": number % 4}
    last = generate(13, 80, routes=60)
    async with open_engine(redis_url, database_url, cardinality_limit=5) as engine:
        engine.catalogue = CATALOGUE.extended(OWN) if OWN.metric in metrics else CATALOGUE
        async with engine.working():
            await engine.publish(events, 20)
            await engine.drained()
            await engine.connection.execute(
                "DELETE FROM daily_summary d USING series s WHERE (s.shard, s.series_id) = (d.shard, d.series_id) AND s.metric = ANY($1)",
                metrics or [rollup.metric for rollup in engine.catalogue.rollups],
            )

            async def go_on(more: list[Plain]) -> None:
                await engine.publish(more, 20)
                # Would wait in vain if the rebuild held a token.
                await engine.drained()

            with at("_catch_up", lambda: go_on(later)), at("_take_place", lambda: go_on(last)):
                await rebuilt(engine, *metrics)
        await engine.check(events + later + last)
        # Not only once read, where stripes' values are cut: no row is kept of a value that its own stripe turned away.
        assert await engine.connection.fetch(
            "SELECT s.metric, s.dimensions FROM daily_summary d JOIN series s USING (shard, series_id) WHERE s.grouping = 1 AND s.metric = $1 "
            "AND s.dimensions[1] NOT IN ('(other)', '(none)') AND NOT EXISTS (SELECT FROM dimension_values v WHERE v.dimension = 'http.route' "
            "AND (v.shard, v.tenant_id, v.day, v.value) = (d.shard, d.tenant_id, d.bucket, s.dimensions[1]))", OWN.metric,
        ) == []  # fmt: skip
        await engine.publish(generate(14, 40))
        await engine.drain()
        assert (await engine.verified()).differences == []


async def test_readers_see_all_of_the_old_rows_or_all_of_the_new_ones(
    redis_url: str, database_url: str
) -> None:
    events = generate(15, 200)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 20)
        await engine.drain()
        engine.catalogue = CATALOGUE.extended(OWN)
        query = "SELECT count(*) FROM hourly_summary JOIN series USING (shard, series_id) WHERE metric = $1"
        seen: list[int] = []
        real = Shadow.take_place

        async def take_place(shadow: Shadow, connection: Any) -> None:
            await real(shadow, connection)
            assert await connection.fetchval(query, OWN.metric) > 0
            seen.append(await engine.connection.fetchval(query, OWN.metric))

        with patch.object(Shadow, "take_place", take_place):
            await rebuilt(engine, OWN.metric)
        assert seen == [0]
        await engine.check(events)


async def test_a_rebuild_that_is_cut_off_leaves_the_old_rows_and_nothing_else(
    redis_url: str, database_url: str
) -> None:
    events = generate(16, 120)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 10)
        await engine.drain()
        await broken(engine)
        before = await content(engine)
        real = Shadow.take_place

        async def cut_off(shadow: Shadow, connection: Any) -> None:
            await real(shadow, connection)
            await engine.connection.execute(
                "SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()")
            )
            await connection.fetchval("SELECT 1")

        with (
            patch.object(Shadow, "take_place", cut_off),
            pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)),
        ):
            await rebuilt(engine)
        assert await content(engine) == before
        await engine.until("SELECT NOT EXISTS (SELECT FROM pg_class WHERE relname ~ '^shadow_')")
        await rebuilt(engine)
        assert not await engine.connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_class WHERE relname ~ '^shadow_')"
        )
        await engine.check(events)


async def test_a_second_rebuild_is_refused_while_one_is_under_way(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(17, 40))
        await engine.drain()

        async def second() -> None:
            with pytest.raises(ServerError, match="another rebuild of this database is under way"):
                await rebuilt(engine)

        with at("_take_place", second):
            await rebuilt(engine)
        await rebuilt(engine)


async def test_actors_that_the_dictionary_lost_get_ids_again(redis_url: str, database_url: str) -> None:
    events = generate(18, 150)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:100], 10)
        await engine.drain()
        await engine.connection.execute("DELETE FROM actors WHERE actor_id % 2 = 0")
        async with engine.working():

            async def go_on() -> None:
                await engine.publish(events[100:], 10)
                await engine.drained()

            with at("_take_place", go_on):
                await rebuilt(engine)
        await engine.check(events)


async def test_a_tenant_that_is_deleted_meanwhile_gets_no_rows(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(19, 90), 10)
        await engine.drain()
        query = "SELECT count(*) FROM {} JOIN tenants USING (tenant_id) WHERE name = 'york'"
        delete = "UPDATE tenants SET status = 'deleting' WHERE name = 'york'"
        with at("_take_place", lambda: engine.connection.execute(delete)):
            await rebuilt(engine)
        for table in TABLES:
            assert await engine.connection.fetchval(query.format(table)) == 0
        assert (await engine.verified()).differences == []


async def test_time_zones_that_change_meanwhile_refuse_the_rebuild(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(20, 40), 10)
        await engine.drain()
        before = await content(engine)
        change = "UPDATE tenant_time_zones SET time_zone = 'Asia/Tokyo' WHERE time_zone = 'Asia/Kolkata'"
        with (
            at("_take_place", lambda: engine.connection.execute(change)),
            pytest.raises(
                ServerError, match=r"tenant 'delhi' was given other time zones.*nothing was changed"
            ),
        ):
            await rebuilt(engine)
        assert await content(engine) == before


async def test_a_shard_that_somebody_holds_is_waited_for_and_the_others_are_let_go_meanwhile(
    redis_url: str, database_url: str
) -> None:
    events = generate(21, 120)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 10)
        await engine.drain()
        await broken(engine)
        before = await content(engine)
        holder = await open_connection(database_url)
        held = holder.transaction()

        async def hold() -> None:
            await held.start()
            await holder.execute("SELECT FROM shards WHERE shard = 3 FOR UPDATE")

        with patch.object(rebuilding, "LONGEST_WAIT", "50ms"), patch.object(rebuilding, "MOST_TRIES", 2):
            with (
                at("_take_place", hold),
                pytest.raises(ServerError, match="held a shard for longer than 50ms"),
            ):
                await rebuilt(engine)
            assert await content(engine) == before

            async def let_go() -> None:
                # The first try is over by then: its locks are gone, its rows as well.
                asyncio.get_running_loop().call_later(
                    0.1, lambda: released.append(asyncio.ensure_future(held.rollback()))
                )

            released: list[Any] = []
            with at("_take_place", let_go), patch.object(rebuilding, "MOST_TRIES", 50):
                found = await rebuilt(engine)
            await released[0]
        await holder.close()
        assert sum(each.events for each in found) == 120
        await engine.check(events)
