"""`verify` finds every changed value, says in which table, and names the row."""

import asyncio
import itertools
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap

from streamgauge.database import Connection, open_connection
from streamgauge.summaries.histogram import Histogram
from streamgauge_local.stack import Stack
from streamgauge_workers.verify import Verification

from .engine import DAY, ZONES, Engine, generate, open_engine
from .program import Program, given

Flip = Callable[[Connection], Awaitable[None]]
#: (flip, tables that must differ, what the first difference of the first of them must say)
Case = tuple[Flip, set[str], str]

HOUR_ROW = (
    "(SELECT ctid FROM hourly_summary WHERE histogram IS NOT NULL ORDER BY shard, series_id, bucket LIMIT 1)"
)
DAY_ROW = "(SELECT ctid FROM daily_summary ORDER BY shard, series_id, bucket LIMIT 1)"
NAMED = r"tenant (delhi|york|chatham) metric \S+ \[.*\] at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"


def sql(statement: str) -> Flip:
    async def flip(connection: Connection) -> None:
        assert not (await connection.execute(statement)).endswith(" 0"), "the flip met no row"

    return flip


async def one_bucket(connection: Connection) -> None:
    row = await connection.fetchrow(f"SELECT ctid, histogram FROM hourly_summary WHERE ctid = {HOUR_ROW}")
    assert row is not None
    known = Histogram.decode(row["histogram"])
    moved = Histogram((known.buckets + 1).astype(np.uint16), known.counts)
    await connection.execute(
        f"UPDATE hourly_summary SET histogram = $1 WHERE ctid = {HOUR_ROW}", moved.encode()
    )


def member(change: Callable[[bytes], bytes], grain: str) -> Flip:
    async def flip(connection: Connection) -> None:
        key = await connection.fetchrow(
            "SELECT shard, series_id, bucket, part, members FROM summary_members WHERE grain = $1 ORDER BY 1, 2, 3, 4 LIMIT 1", grain.encode(),
        )  # fmt: skip
        assert key is not None
        await connection.execute(
            "UPDATE summary_members SET members = $1 WHERE shard = $2 AND series_id = $3 AND bucket = $4 AND part = $5 AND grain = $6",
            change(key["members"]), *list(key.values())[:4], grain.encode(),
        )  # fmt: skip

    return flip


def one_more(members: bytes) -> bytes:
    return (BitMap.deserialize(members) | BitMap([4_000_000_000])).serialize()


async def payload(connection: Connection) -> None:
    row = await connection.fetchrow("SELECT ctid, payload FROM event_log ORDER BY shard, lane, first LIMIT 1")
    assert row is not None
    changed = bytearray(row["payload"])
    changed[len(changed) // 2] ^= 1
    await connection.execute(
        "UPDATE event_log SET payload = $1 WHERE payload = $2", bytes(changed), row["payload"]
    )


async def outcomes(connection: Connection) -> None:
    row = await connection.fetchrow(
        "SELECT lane, first, n, outcomes FROM event_log WHERE outcomes IS NOT NULL LIMIT 1"
    )
    assert row is not None
    changed = bytearray(row["outcomes"])
    changed[changed.index(6)] = 0
    await connection.execute(
        "UPDATE event_log SET outcomes = $1 WHERE lane = $2 AND first = $3",
        bytes(changed),
        row["lane"],
        row["first"],
    )


digest = sql(
    "UPDATE event_log SET digest = decode(repeat('00', 16), 'hex') WHERE lane = (SELECT min(lane) FROM event_log) AND first = 0"
)

CASES: dict[str, Case] = {
    "daily_summary.sum": (sql(f"UPDATE daily_summary SET sum = sum - 1 WHERE ctid = {DAY_ROW}"), {"daily_summary"}, NAMED + ": sum is"),
    "hourly_summary.tenant_id": (
        sql(f"UPDATE hourly_summary SET tenant_id = tenant_id % 3 + 1 WHERE ctid = {HOUR_ROW}"), {"hourly_summary"}, r"tenant|shard",
    ),
    "hourly_summary.bucket": (
        sql(f"UPDATE hourly_summary SET bucket = bucket - interval '300 days' WHERE ctid = {HOUR_ROW}"), {"hourly_summary"}, NAMED,
    ),
    "one bucket of a histogram": (one_bucket, {"hourly_summary.histogram"}, NAMED),
    "a histogram of garbage": (
        sql(f"UPDATE hourly_summary SET histogram = '\\x0907' WHERE ctid = {HOUR_ROW}"), {"hourly_summary.histogram"}, NAMED,
    ),
    "a histogram in disorder": (
        sql(f"UPDATE hourly_summary SET histogram = '\\x010200090003000102' WHERE ctid = {HOUR_ROW}"), {"hourly_summary.histogram"}, NAMED,
    ),
    "no histogram": (
        sql(f"UPDATE hourly_summary SET histogram = NULL WHERE ctid = {HOUR_ROW}"), {"hourly_summary.histogram"}, NAMED,
    ),
    "a member more of an hour": (member(one_more, "h"), {"summary_members (hourly_summary)"}, NAMED + ": 1 too many, 0 missing"),
    "a member more of a day": (member(one_more, "d"), {"summary_members (daily_summary)"}, NAMED + ": 1 too many, 0 missing"),
    "a set of garbage": (member(lambda _: b"\7garbage", "h"), {"summary_members (hourly_summary)"}, NAMED),
    "a set of nothing": (member(lambda _: b"", "d"), {"summary_members (daily_summary)"}, NAMED),
    "a row that is missing": (sql(f"DELETE FROM daily_summary WHERE ctid = {DAY_ROW}"), {"daily_summary"}, NAMED + " is missing"),
    "a row too many": (
        sql("INSERT INTO hourly_summary SELECT shard, series_id, tenant_id, bucket + interval '900 days', 1, 0, 0, 0, NULL, NULL, NULL "
            f"FROM hourly_summary WHERE ctid = {HOUR_ROW}"),
        {"hourly_summary"}, NAMED + " is there, though no event belongs to it",
    ),
    "a row of no series": (
        sql("INSERT INTO hourly_summary VALUES (0, 999999, 1, now(), 1, 0, 0, 0, NULL, NULL, NULL)"), {"hourly_summary"}, "no event belongs to it",
    ),
    "a row of no tenant": (
        sql("INSERT INTO daily_summary VALUES (0, 999999, 999999, now(), 1, 0, 0, 0, NULL, NULL, NULL)"), {"daily_summary"}, "no event belongs to it",
    ),
    "an actor's id given twice": (
        sql("UPDATE actors SET actor_id = (SELECT max(actor_id) FROM actors WHERE tenant_id = 1) WHERE tenant_id = 1 AND actor_id = "
            "(SELECT min(actor_id) FROM actors WHERE tenant_id = 1)"),
        {"actors", "summary_members (hourly_summary)", "summary_members (daily_summary)"}, "gave id",
    ),
    "outcome_ledger.events": (
        sql("UPDATE outcome_ledger SET events = events + 1 WHERE outcome = 'applied' AND tenant_id = 1 AND shard = 0"), {"outcome_ledger"},
        r"outcome_ledger tenant 1 hour \S+ applied",
    ),
    "a ledger row too many": (
        sql("INSERT INTO outcome_ledger VALUES (0, 1, '2020-01-01', 'rejected', 'invalid_text', 2)"), {"outcome_ledger"}, "invalid_text",
    ),
    "lanes.done": (
        sql("UPDATE lanes SET done = done + '{[5000,5001)}' WHERE shard = 1"), {"lanes"}, r"lanes shard 1 lane [0-9a-f]{32}",
    ),
}  # fmt: skip


def differing(result: Verification) -> dict[str, list[str]]:
    return {table.table: table.differences for table in result.tables if table.differences}


@pytest.fixture(scope="module")
def filled_template(stack: Stack, database_template: str) -> str:
    """The name of a database with applied, late and repeated events of every tenant, all tables filled."""

    async def fill() -> None:
        connection = await open_connection(stack.database_url_of("postgres"))
        await connection.execute(f"CREATE DATABASE filled_template TEMPLATE {database_template}")
        await connection.close()
        events = generate(1, 150)
        late = [{**event, "at": event["at"] - 30 * DAY} for event in generate(2, 8)]
        # Of a domain that keeps rows of people, and scores.
        for name, properties in (
            ("lesson.progressed", {"course.id": "python", "lesson.id": "loops", "percent": 40}),
            ("xp.earned", {"xp": 5}),
        ):
            events += [{**event, "name": name, "properties": properties} for event in generate(3, 20)]
        for event in [*events, *late]:
            # A tenant's rows in one stripe: a row of the table is then a row of the result.
            event["shard"] = list(ZONES).index(event["tenant"])
        async with open_engine(stack.redis_url, stack.database_url_of("filled_template")) as engine:
            await engine.redis.flushall()
            await engine.publish([*events, *late], 40)
            await engine.drain()
            result = await engine.verified()
            assert result.differences == []
            assert all(table.rows for table in result.tables), [
                (table.table, table.rows) for table in result.tables
            ]
            await engine.connection.execute("DELETE FROM verifications")

    asyncio.run(fill())
    return "filled_template"


_numbers = itertools.count(1)


@pytest.fixture
async def filled_url(stack: Stack, filled_template: str) -> AsyncIterator[str]:
    """A copy of the filled database."""
    connection = await open_connection(stack.database_url_of("postgres"))
    name = f"filled_{next(_numbers)}"
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {filled_template} STRATEGY file_copy")
    yield stack.database_url_of(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.mark.parametrize("case", CASES)
async def test_one_changed_value_is_found_in_its_table_and_its_row_is_named(
    redis_url: str, filled_url: str, case: str
) -> None:
    flip, tables, words = CASES[case]
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        await flip(engine.connection)
        found = differing(await engine.verified())
        assert set(found) == tables
        assert any(re.search(words, each) for table in tables for each in found[table]), found
        # A row under another name is missing from one place and too much in the other.
        if len(tables) == 1:
            assert len(found[min(tables)]) == (
                2 if case in ("hourly_summary.tenant_id", "hourly_summary.bucket") else 1
            )


async def test_every_measure_of_a_row_is_compared(redis_url: str, filled_url: str) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        for column in ("count", "errors", "observed", "sum", "min", "max"):
            change = f"UPDATE hourly_summary SET {column} = {column} %s 1 WHERE ctid = {HOUR_ROW}"
            await engine.connection.execute(change % "+")
            ((table, (difference,)),) = differing(await engine.verified()).items()
            assert table == "hourly_summary"
            assert re.fullmatch(
                f"hourly_summary {NAMED}: {column} is \\d+, the event log gives \\d+", difference
            )
            await engine.connection.execute(change % "-")
        assert differing(await engine.verified()) == {}


async def test_a_changed_pseudonym_is_named(redis_url: str, filled_url: str) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        old = await engine.connection.fetchval("SELECT min(pseudonym) FROM actors WHERE tenant_id = 1")
        await engine.connection.execute(
            "UPDATE actors SET pseudonym = $1 WHERE tenant_id = 1 AND pseudonym = $2", b"\1" + bytes(16), old
        )
        found = differing(await engine.verified())
        assert old.hex() in found["actors"][0]
        # Whoever it was is missing from the sets as well; nothing else is touched.
        assert set(found) == {"actors", "summary_members (hourly_summary)", "summary_members (daily_summary)"}


@pytest.mark.parametrize("flip", [payload, outcomes, digest])
async def test_a_changed_entry_of_the_event_log_is_named(redis_url: str, filled_url: str, flip: Flip) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        await flip(engine.connection)
        found = differing(await engine.verified())
        # What it held can no longer be counted, so that rows of other tables differ too; but the culprit is one.
        assert len(found["event_log"]) == 1
        assert re.search(
            r"event_log \S+ shard \d lane [0-9a-f]{32} first \d+: its payload", found["event_log"][0]
        )


async def test_a_lost_entry_of_the_event_log_is_noticed_by_its_lane(redis_url: str, filled_url: str) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        await engine.connection.execute("DELETE FROM event_log WHERE shard = 1 AND first = 0")
        found = differing(await engine.verified())
        assert {"lanes", "outcome_ledger", "hourly_summary", "daily_summary"} <= set(found)


async def test_a_deleted_lane_is_named_while_it_is_too_young_to_be_forgotten(
    redis_url: str, filled_url: str
) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        await engine.connection.execute("DELETE FROM lanes WHERE shard = 1")
        found = differing(await engine.verified())
        assert set(found) == {"lanes"}
        assert all(re.search(r"lanes shard 1 lane [0-9a-f]{32} is missing", each) for each in found["lanes"])
        await engine.connection.execute(
            "UPDATE event_log SET applied_at = applied_at - interval '9 days' WHERE shard = 1"
        )
        assert "lanes" not in differing(await engine.verified())


@pytest.mark.parametrize("bound", ["first_at", "last_at"])
async def test_the_times_that_event_queries_skip_by_are_compared(
    redis_url: str, filled_url: str, bound: str
) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        change = f"UPDATE event_log SET {bound} = {bound} + interval '1 second' WHERE shard = 0 AND first = 0"
        await engine.connection.execute(change)
        ((table, (difference,)),) = differing(await engine.verified()).items()
        assert table == "event_log"
        assert "its events lie between" in difference


async def test_the_result_is_kept_for_the_tenants(redis_url: str, filled_url: str) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        await engine.verified()
        await engine.connection.execute(f"DELETE FROM daily_summary WHERE ctid = {DAY_ROW}")
        await engine.verified()
        rows = await engine.connection.fetch(
            "SELECT differences, first_day IS NOT NULL AS covered FROM verifications WHERE tenant_id = 1 ORDER BY verified_at"
        )
        assert [tuple(row) for row in rows] == [(0, True), (1, True)]


async def test_verify_looks_at_one_moment_while_a_worker_goes_on(redis_url: str, database_url: str) -> None:
    events = generate(3, 600)
    async with open_engine(redis_url, database_url, cardinality_limit=5) as engine:
        async with engine.working():
            for first in range(0, 600, 60):
                await engine.publish(events[first : first + 60], 5)
                assert (await engine.verified()).differences == []
            await engine.drained()
        await engine.check(events)


async def command(engine: Engine, *arguments: str) -> tuple[int, str]:
    environment = {
        **os.environ, "STREAMGAUGE_REDIS_URL": engine.redis_url, "STREAMGAUGE_DATABASE_URL": engine.database_url,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamgauge_cli.main", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_command_exits_with_1_when_anything_differs(redis_url: str, filled_url: str) -> None:
    async with open_engine(redis_url, filled_url, zones={}) as engine:
        await engine.connection.execute(
            f"UPDATE hourly_summary SET count = count + 1 WHERE ctid = {HOUR_ROW}"
        )
        code, output = await command(engine, "verify")
        assert code == 1, output
        assert re.search(NAMED + r": count is \d+, the event log gives \d+", output)
        await engine.connection.execute(
            f"UPDATE hourly_summary SET count = count - 1 WHERE ctid = {HOUR_ROW}"
        )
        code, output = await command(engine, "verify")
        assert (code, "everything equals what the event log gives" in output) == (0, True), output


async def test_rounds_go_on_beside_traffic_rebuilds_and_a_killed_worker_until_a_row_is_changed(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    events = generate(41, 400)
    urls = given(redis_url, database_url, STREAMGAUGE_LEASE_SECONDS="1")
    async with open_engine(redis_url, database_url) as engine:
        with (
            ExitStack() as stack,
            Program("worker", "--port", "0", log=tmp_path / "killed", **urls) as first,
            Program("verify", "--continuous", "--every", "0", log=tmp_path / "verify", **urls) as rounds,
        ):

            async def until(count: int) -> None:
                await asyncio.to_thread(
                    rounds.until, lambda: f"round {count}: " in rounds.output, f"round {count}"
                )

            for start in range(0, 400, 100):
                await engine.publish(events[start : start + 100], 10)
                if start == 100:
                    await engine.drained()
                    first.signal(signal.SIGKILL)
                    stack.enter_context(Program("worker", "--port", "0", log=tmp_path / "next", **urls))
                if start == 200:
                    code, output = await command(engine, "rebuild")
                    assert code == 0, output
            await engine.drained()
            code, output = await command(engine, "rebuild", "events")
            assert (code, "workers waited" in output) == (0, True), output
            count = rounds.output.count("round ")
            await until(count + 2)
            assert "400 events" in rounds.output
            assert " 0 differences" in rounds.output
            await engine.connection.execute(
                f"UPDATE hourly_summary SET count = count + 1 WHERE ctid = {HOUR_ROW}"
            )
            before = rounds.output.count("round ")
            assert await asyncio.to_thread(rounds.ended) == 1
        assert rounds.output.count("round ") <= before + 2
        assert re.search(NAMED + r": count is \d+, the event log gives \d+", rounds.output), rounds.output


async def test_rounds_end_cleanly_when_they_are_told_to(
    redis_url: str, filled_url: str, tmp_path: Path
) -> None:
    urls = given(redis_url, filled_url)
    with Program(
        "verify", "--continuous", "--rounds", "2", "--every", "0", log=tmp_path / "two", **urls
    ) as two:
        assert await asyncio.to_thread(two.ended) == 0, two.output
    assert "2 rounds, nothing differs; the longest held a snapshot for" in two.output
    assert re.search(
        r"round 2: \d+ events, [\d,]+ rows compared, 0 differences, [\d.]+ s; shard 0 at \d+-\d+", two.output
    )
    with Program("verify", "--continuous", "--every", "0", log=tmp_path / "on", **urls) as on:
        await asyncio.to_thread(on.until, lambda: "round 1: " in on.output, "round 1")
        on.signal(signal.SIGINT)
        assert await asyncio.to_thread(on.ended) == 0, on.output
    assert "rounds, nothing differs" in on.output
    with Program("verify", "--rounds", "2", log=tmp_path / "wrong", **urls) as wrong:
        assert await asyncio.to_thread(wrong.ended) == 2
    assert "--continuous" in wrong.output
