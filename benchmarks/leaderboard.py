"""How long the server takes to find somebody's rank among a million.

    python -m benchmarks.leaderboard [--participants 1000000] [--asks 400] [--json FILE]

A board of that many participants is written into PostgreSQL, once with scores that are spread and once with few different ones, so that tens
of thousands are equal. Then it is asked as the route asks: a snapshot of the tenant as the API's role, the top page of 10, the rank of somebody
chosen at random, the neighbours, and the answer as JSON; a request's authentication and transport are apart. The floor is measured in turns with it
on the same connection: the round trip of `SELECT 1`; afterwards the naive way to a rank: counting everybody who has more. Everything runs on this
machine, so the database and the asking share its cores, also with whatever else runs there: `processor` is the processor time of a report, of both
together, which waiting for others is no part of.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks import record
from benchmarks.installation import TENANT, Installation
from benchmarks.patience import run
from benchmarks.record import percentiles
from streamgauge.access.tenancy import API_ROLE
from streamgauge.database import Connection, Pool, open_pool
from streamgauge.domains.gamification.leaderboard import Audience, leaderboard, read
from streamgauge.entities.standings import Frame
from streamgauge.entities.stored_standings import StoredStandings
from streamgauge.read.api.realtime import handle
from streamgauge.read.connections import lent_snapshot
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.histogram import buckets_of
from streamgauge.table import Ints

BAR: Final = 20.0  # milliseconds, for 95 % of the answers
PAGE: Final = 10
SHARDS: Final = 4
CHUNK: Final = 100_000
WARM_UP: Final = 20  # asks that are told apart: connections learn their statements, caches fill
NAIVE_EVERY: Final = 10
CALENDAR: Final = Calendar([(None, "UTC")])
_DAY: Final = CALENDAR.day_start(date(2026, 11, 16))
#: What scores are like, and the frame they are in.
SPREAD, TIED = "spread", "tied"
FRAMES: Final = {SPREAD: Frame("xp", "week", _DAY), TIED: Frame("xp", "day", _DAY)}
NAIVE: Final = """
SELECT count(*) FROM board_scores
WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score > $5
"""


def scores_of(kind: str, participants: int) -> Ints:
    """Points, always the same ones.

    spread: log-normal around 400, in steps of 5, as many small amounts add up; tied: 20 different ones.
    """
    chance = np.random.default_rng(1)
    if kind == TIED:
        return chance.integers(1, 21, participants) * 50
    return (np.exp(chance.normal(6.0, 1.0, participants)) / 5).astype(np.int64) * 5


def actors_of(participants: int) -> list[bytes]:
    """Different pseudonyms in no order."""
    drawn = np.random.default_rng(2).bytes(16 * participants)
    return [b"\1" + drawn[16 * place : 16 * place + 16] for place in range(participants)]


async def fill(
    connection: Connection, tenant_id: int, frame: Frame, actors: Sequence[bytes], scores: Ints
) -> None:
    """Write a board, and how many have scores of which size, in stripes as workers do."""
    place = (tenant_id, frame.board, frame.timeframe, datetime.fromtimestamp(frame.bucket, UTC))
    points = scores.tolist()
    for first in range(0, len(actors), CHUNK):
        rows = zip(actors[first : first + CHUNK], points[first : first + CHUNK], strict=True)
        await connection.copy_records_to_table("board_scores", records=[(*place, *row) for row in rows])
    for shard in range(SHARDS):
        levels, counts = np.unique(buckets_of(scores[shard::SHARDS]), return_counts=True)
        await connection.copy_records_to_table(
            "board_levels",
            records=[(shard, *place, *row) for row in zip(levels.tolist(), counts.tolist(), strict=True)],
        )


async def answer(pool: Pool, tenant_id: int, frame: Frame, actor: bytes) -> tuple[int, bytes]:
    """What the route does between who asks and what is sent: nanoseconds, and the answer."""
    began = time.perf_counter_ns()
    async with lent_snapshot(pool, tenant_id) as connection:
        reading = await read(StoredStandings(connection, tenant_id), frame, actor, PAGE)
    names = {each: str(handle(each.hex())) for each in reading.actors}
    body = orjson.dumps(leaderboard(reading, frame, CALENDAR, Audience(actor, frozenset({actor}), names)))
    return time.perf_counter_ns() - began, body


async def ask(
    pool: Pool, tenant_id: int, frame: Frame, actors: Sequence[bytes], scores: Ints, asks: int
) -> dict[str, Any]:
    """Ask many times, and measure the floor in turns with it; then count naively. Raises SystemExit for a rank that is wrong."""
    chance = random.Random(3)
    reports, floor, naive, spent = list[int](), list[int](), list[int](), list[int]()
    async with pool.acquire() as connection:
        server = connection.get_server_pid()
    for _ in range(WARM_UP + asks):
        place = chance.randrange(len(actors))
        before = processor_time(server)
        took, _body = await answer(pool, tenant_id, frame, actors[place])
        spent.append(processor_time(server) - before)
        reports.append(took)
        async with lent_snapshot(pool, tenant_id) as connection:
            began = time.perf_counter_ns()
            await connection.fetchval("SELECT 1")
            floor.append(time.perf_counter_ns() - began)
    # Afterwards: a server that has just counted for long gets less of the processor, and what is asked next would pay for it.
    for _ in range(max(asks // NAIVE_EVERY, 2)):
        place = chance.randrange(len(actors))
        _, body = await answer(pool, tenant_id, frame, actors[place])
        async with lent_snapshot(pool, tenant_id) as connection:
            began = time.perf_counter_ns()
            ahead = await connection.fetchval(NAIVE, tenant_id, *frame, int(scores[place]))
            naive.append(time.perf_counter_ns() - began)
        check(orjson.loads(body), int(scores[place]), ahead, len(actors))
    found = {
        "report": percentiles(reports[WARM_UP:]),
        "floor": percentiles(floor),
        "naive": percentiles(naive),
    }
    return {
        **found,
        "processor": percentiles(spent[WARM_UP:]),
        "first_report_ms": round(reports[0] / 1e6, 2),
        "asks": asks,
        "different_scores": len(np.unique(scores)),
        "most_equal": int(np.unique(scores, return_counts=True)[1].max()),
        "p50_times_floor": round(found["report"]["p50_ms"] / found["floor"]["p50_ms"], 1),
        "naive_p50_times_report": round(found["naive"]["p50_ms"] / found["report"]["p50_ms"], 1),
        "within_bar": found["report"]["p95_ms"] <= BAR,
    }


def processor_time(pid: int) -> int:
    """Nanoseconds that this process and PostgreSQL's (`pid`) were running: what a busy machine does not make longer.

    Where Linux does not tell, this process's alone.
    """
    try:
        other = int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0])
    except OSError:
        other = 0
    return time.process_time_ns() + other


def check(found: dict[str, Any], score: int, ahead: int, participants: int) -> None:
    """An answer agrees with the count of those who have more. Raises SystemExit."""
    own = found["you"]
    if own["score"] != score or own["rank"] <= ahead or found["participants"] != participants:
        raise SystemExit(f"a wrong rank: {own}, with {ahead} of {participants} ahead")


async def measure(participants: int, asks: int, *, ephemeral: bool = False) -> dict[str, Any]:
    """Times of all kinds of scores."""
    machine = record.machine("asyncpg", "numpy", "orjson")
    actors = actors_of(participants)
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(Installation(ephemeral=ephemeral))
        scores = {kind: scores_of(kind, participants) for kind in FRAMES}
        async with installation.database() as connection:
            tenant_id = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", TENANT)
            began = time.monotonic()
            for kind, frame in FRAMES.items():
                await fill(connection, tenant_id, frame, actors, scores[kind])
            # What autovacuum does by itself, sooner.
            await connection.execute("VACUUM ANALYZE board_scores, board_levels")
            filled = time.monotonic() - began
            size = await connection.fetchval("SELECT pg_total_relation_size('board_scores')")
        pool = await open_pool(installation.postgres.url(), 1, role=API_ROLE)
        stack.push_async_callback(pool.close)
        found = {
            kind: await ask(pool, tenant_id, frame, actors, scores[kind], asks)
            for kind, frame in FRAMES.items()
        }
        return {
            "participants": participants,
            "page": PAGE,
            "scores": found,
            "bar_p95_ms": BAR,
            "filled_in_seconds": round(filled, 1),
            "board_scores_bytes": size,
            "servers": installation.details,
            **machine,
        }


def show(result: dict[str, Any]) -> None:
    """Print figures for people."""
    print(f"{result['participants']:,} participants, page of {result['page']}; in ms")
    print(
        f"{result['servers']}; {result['cores']} cores, load {result['load_average']}; {result['versions']}"
    )
    for kind, found in result["scores"].items():
        print(
            f"{kind}: {found['different_scores']:,} different scores, up to {found['most_equal']:,} equal; {found['asks']} asks"
        )
        for name in ("report", "processor", "floor", "naive"):
            shown = "   ".join(f"{figure} {value}" for figure, value in found[name].items())
            print(f"  {name:<10}{shown}")
        print(
            f"  report: {found['p50_times_floor']} x floor; naive: {found['naive_p50_times_report']} x report"
        )
    verdict = {kind: found["within_bar"] for kind, found in result["scores"].items()}
    print(f"bar: p95 <= {BAR:.0f} ms; within: {verdict}", flush=True)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--participants", type=int, default=1_000_000)
    parser.add_argument("--asks", type=int, default=400, help="asks measured for each kind of scores")
    parser.add_argument(
        "--json", type=Path, default=record.RESULTS / "leaderboard.json", help="file to write"
    )
    options = parser.parse_args()
    if options.participants < 1 or options.asks < NAIVE_EVERY:
        parser.error(f"--participants is 1 or more, and --asks {NAIVE_EVERY} or more")
    result = run(measure(options.participants, options.asks))
    record.keep(result, options.json)
    show(result)
    sys.exit(0 if all(each["within_bar"] for each in result["scores"].values()) else 1)


if __name__ == "__main__":
    main()
