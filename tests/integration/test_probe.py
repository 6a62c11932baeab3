"""`streamgauge doctor --probe`: one event through the whole path, and where it gets stuck."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from streamgauge.catalogue import CATALOGUE
from streamgauge.domains.operations.declarations import PROBE, PROBE_TENANT
from streamgauge.settings import Settings
from streamgauge_workers import probe as probing
from streamgauge_workers.probe import probe
from streamgauge_workers.verify import verify
from tests.integration.program import Program, free_port, given

HOPS = ["in the stream", "applied", "readable"]


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def until(connection: Any, query: str, *arguments: object) -> None:
    """Wait until a query is true."""
    deadline = time.monotonic() + 30
    while not await connection.fetchval(query, *arguments):
        assert time.monotonic() < deadline, f"still not true: {query}"
        await asyncio.sleep(0.02)


async def settled(connection: Any, events: int = 1) -> None:
    """Wait until so many probes are counted and every lane of theirs is closed."""
    lanes = "SELECT count(*) FILTER (WHERE closed) = $1 AND count(*) = $1 FROM lanes"
    await until(connection, lanes, events)


def doctor(log: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """`doctor --probe`, run to its end."""
    with Program("doctor", "--probe", *arguments, log=log, **environment) as program:
        return program.ended(), program.output


def test_the_probes_event_is_declared() -> None:
    assert CATALOGUE.event_type("probe.sent") is PROBE
    assert not PROBE.properties


async def test_with_a_worker_and_a_server_every_hop_is_told_in_milliseconds(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    port = free_port()
    urls = given(redis_url, database_url, STREAMGAUGE_PORT=str(port), STREAMGAUGE_DATA_DIR=str(tmp_path))
    with (
        Program("worker", "--port", "0", log=tmp_path / "worker", **urls),
        Program("serve", log=tmp_path / "serve", **urls) as server,
    ):
        await asyncio.to_thread(server.until_ready, port)
        code, said = await asyncio.to_thread(doctor, tmp_path / "one", "--json", **urls)
        found = json.loads(said)
        assert code == 0, said
        assert [each["hop"] for each in found["probe"]["hops"]] == HOPS
        assert 0 < found["probe"]["server_milliseconds"] < 60_000
        assert all(0 < each["milliseconds"] < 60_000 for each in found["probe"]["hops"])
        assert found["probe"]["arrived"] is True
        assert (
            found["probe"]["milliseconds"]
            >= sum(each["milliseconds"] for each in found["probe"]["hops"]) - 0.01
        )
        assert 0 <= found["probe"]["shard"] < 4
        await asyncio.to_thread(server.stop)
        code, said = await asyncio.to_thread(doctor, tmp_path / "two", **urls)
        assert code == 0, said
        for hop in HOPS:
            assert f" -> {hop} " in said
        assert f"No server is ready at http://127.0.0.1:{port}" in said
        await settled(connection, 2)
    assert await connection.fetch("SELECT name FROM tenants") == [(PROBE_TENANT,)]
    assert await connection.fetch("SELECT outcome, reason, sum(events) FROM outcome_ledger GROUP BY 1, 2") == [("applied", "", 2)]  # fmt: skip
    assert (await verify(connection, CATALOGUE, 1000)).differences == []
    assert await connection.fetchval('SELECT sum("end")::int FROM lanes') == 2


async def test_two_probes_at_once_each_see_their_own_event(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    settings = Settings(redis_url=redis_url, database_url=database_url)
    with Program("worker", "--port", "0", log=tmp_path / "worker", **given(redis_url, database_url)):
        await until(connection, "SELECT count(*) = 5 FROM leases")
        found = await asyncio.gather(*[probe(settings, redis_url, database_url) for _ in range(4)])
        assert [each.trouble for each in found] == [None] * 4
        await settled(connection, 4)


async def test_without_a_worker_it_says_so_soon_and_the_event_is_counted_when_one_comes(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    urls = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path))
    began = time.monotonic()
    code, said = await asyncio.to_thread(doctor, tmp_path / "log", **urls)
    assert time.monotonic() - began < 30  # a machine as busy as it likes; it is three seconds otherwise
    assert code == 1
    assert "PROBLEM  probe: The event is in the stream of shard" in said
    assert "no worker is running" in said
    assert "-> Run `streamgauge worker`" in said
    with Program("worker", "--port", "0", log=tmp_path / "worker", **urls):
        await settled(connection)
    assert (
        await connection.fetchval("SELECT sum(events)::int FROM outcome_ledger WHERE outcome = 'applied'")
        == 1
    )


async def test_a_worker_that_does_not_get_on_is_told_from_none(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PATIENCE", 0.5)
    settings = Settings(redis_url=redis_url, database_url=database_url, lease_seconds=300)
    urls = given(redis_url, database_url, STREAMGAUGE_LEASE_SECONDS="300")
    with Program("worker", "--port", "0", log=tmp_path / "worker", **urls) as worker:
        await until(connection, "SELECT count(*) = 5 FROM leases")
        worker.signal(signal.SIGSTOP)
        try:
            stuck = await probe(settings, redis_url, database_url)
            await connection.execute("DELETE FROM leases")
            unheld = await probe(settings, redis_url, database_url)
        finally:
            worker.signal(signal.SIGCONT)
    assert stuck.trouble is not None
    assert "although a worker reads this shard" in stuck.trouble.says
    assert list(stuck.hops) == ["in the stream"]
    assert unheld.trouble is not None
    assert "none reads this shard" in unheld.trouble.says


async def test_what_redis_says_when_it_refuses_is_told(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    urls = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path))
    with redis.Redis.from_url(redis_url) as admin:
        admin.config_set("maxmemory", "1")
        try:
            code, said = await asyncio.to_thread(doctor, tmp_path / "full", **urls)
        finally:
            admin.config_set("maxmemory", "0")
    assert code == 1
    assert "PROBLEM  probe: The event did not get into the stream: cannot append to Redis: it is full" in said
    urls["STREAMGAUGE_REDIS_URL"] = "redis://:hunter2@127.0.0.1:1/0"
    code, said = await asyncio.to_thread(doctor, tmp_path / "away", "--json", **urls)
    assert code == 1
    assert "hunter2" not in said
    found = json.loads(said)
    assert found["probe"] == {
        "shard": found["probe"]["shard"],
        "hops": [],
        "milliseconds": 0,
        "arrived": False,
        "server_milliseconds": None,
    }
    (told,) = [each for each in found["findings"] if each["check"] == "probe"]
    assert "did not get into the stream" in told["says"]


async def test_a_redis_that_hangs_or_a_database_that_is_away_ends_the_probe_in_plain_words(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "postgresql://me:hunter2@127.0.0.1:1/x"
    found = await probe(Settings(), redis_url, away)
    assert found.trouble is not None
    assert "PostgreSQL cannot be reached" in found.trouble.says
    assert "hunter2" not in found.trouble.says
    with redis.Redis.from_url(redis_url) as admin:
        admin.client_pause(3_000, all=True)
        monkeypatch.setattr(probing, "PATIENCE", 0.5)
        found = await probe(Settings(), redis_url, database_url)
    assert found.trouble is not None
    assert "answer in time" in found.trouble.says


async def test_an_event_that_is_refused_is_told_with_the_reason(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    monkeypatch.setattr(probing, "shard_of", lambda *_: 2)  # so that one shard holds good and bad
    monkeypatch.setattr(
        "streamgauge_workers.probe.time.time_ns", lambda: real() + 3_600 * 10**9
    )  # this host's clock is an hour ahead
    with Program("worker", "--port", "0", log=tmp_path / "worker", **given(redis_url, database_url)):
        found = await probe(Settings(), redis_url, database_url)
        monkeypatch.undo()
        monkeypatch.setattr(probing, "shard_of", lambda *_: 2)
        for _ in range(2):
            assert (await probe(Settings(), redis_url, database_url)).trouble is None
        monkeypatch.setattr("streamgauge_workers.probe._counted", nothing_counted)
        unread = await probe(Settings(), redis_url, database_url)
    assert unread.trouble is not None
    assert "answers do not count it" in unread.trouble.says
    assert found.trouble is not None
    assert "read and refused as future" in found.trouble.says


async def nothing_counted(*_: object) -> int:
    return 0


async def test_without_servers_nothing_is_sent_and_nothing_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code, said = await asyncio.to_thread(doctor, tmp_path / "log", STREAMGAUGE_DATA_DIR=str(data))
    assert code == 1
    assert "PROBLEM  probe: No event was sent" in said
    assert not data.exists()


async def test_without_the_option_nothing_is_sent(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    urls = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path))
    with Program("doctor", log=tmp_path / "log", **urls) as program:
        await asyncio.to_thread(program.ended)
        assert "probe" not in program.output.replace("--probe", "")
    assert await connection.fetchval("SELECT count(*) FROM tenants") == 0
    with redis.Redis.from_url(redis_url) as admin:
        assert admin.dbsize() == 0
