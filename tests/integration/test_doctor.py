"""`streamgauge doctor`: what it says about servers that are well, ill and away, and that it changes nothing."""

import asyncio
import json
import os
import shlex
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import pytest
import redis

from streamgauge.capture.pending import DropReason
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.capture.publisher import Publisher
from streamgauge.domains.operations.declarations import PROBE_TENANT
from streamgauge.entry import EntryId
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.outcomes import Reason
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import Backlog, History
from streamgauge_cli.doctor import diagnose
from streamgauge_local.ownership import Ownership, Record
from streamgauge_workers.diagnosis.checks import examine
from streamgauge_workers.diagnosis.findings import Finding
from streamgauge_workers.diagnosis.reasons import DROPS, MEANINGS
from streamgauge_workers.diagnosis.server_info import ServerInfo
from streamgauge_workers.diagnosis.snapshot import (
    Database,
    Machine,
    Redis,
    Refusals,
    Shard,
    Snapshot,
    Worker,
)
from tests.integration.program import Program, given

WORKER = UUID(int=1)
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
HISTORY = History("run", "birthmark:1")
AT = EntryId(1_000, 0)
CAUGHT_UP = Backlog(10, 10, None, False, 5_000)
SERVER = ServerInfo("Valkey", "8.1.0", "noeviction", 1 << 20, 1 << 30, 4 << 30, True, False, True, 0.0)
MACHINE = Machine(Path("/data"), {}, 10 << 30, Path("/data/keyring.json"), True, False, frozenset({"shop"}))


def shard(number: int, **changes: Any) -> Shard:
    return replace(Shard(number, number, AT, HISTORY, 0, NOW, WORKER, AT), **changes)


REDIS = Redis(SERVER, None, {0: HISTORY, 1: HISTORY}, dict.fromkeys(range(2), (CAUGHT_UP, CAUGHT_UP)))
DATABASE = Database(
    "18.1",
    0.0,
    False,
    None,
    None,
    shards=[shard(0), shard(1)],
    workers=[Worker(WORKER, "host", 7, 0.5)],
    tenants=[("shop", True)],
)
WELL = Snapshot(Settings(shards=2), MACHINE, REDIS, DATABASE)


def behind(seconds: float) -> Backlog:
    return Backlog(20, 20, AT, False, AT.milliseconds + round(seconds * 1000))


def with_redis(**changes: Any) -> Snapshot:
    return replace(WELL, redis=replace(REDIS, **changes))


def with_server(**changes: Any) -> Snapshot:
    return with_redis(info=replace(SERVER, **changes))


def with_database(**changes: Any) -> Snapshot:
    return replace(WELL, database=replace(DATABASE, **changes))


def lagging(before: float, after: float, **changes: Any) -> Snapshot:
    backlogs = {0: (behind(before), behind(after)), 1: (CAUGHT_UP, CAUGHT_UP)}
    return replace(
        with_redis(backlogs=backlogs), database=replace(DATABASE, shards=[shard(0, **changes), shard(1)])
    )


def bad(snapshot: Snapshot) -> list[Finding]:
    return [finding for finding in examine(snapshot) if finding.level != "ok"]


def test_when_all_is_well_every_check_says_so() -> None:
    assert bad(WELL) == []
    assert {finding.check for finding in examine(WELL)} == {
        "settings", "capture", "keys", "disk", "redis", "redis memory", "redis persistence", "postgresql", "postgresql disk", "workers",
        "leases", "lag", "history", "dead letters", "losses", "partitions", "event log", "clocks",
        "tenants", "access", "drops", "event times",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("snapshot", "check", "level", "says", "advice"),
    [
        (replace(WELL, settings=Settings(host="192.0.2.1", shards=2)), "settings", "warning", "192.0.2.1", "proxy"),
        (replace(WELL, machine=replace(MACHINE, keyring_is_open=True)), "keys", "problem", "Others may read", "chmod 600"),
        (replace(WELL, machine=replace(MACHINE, free=1000)), "disk", "problem", "0 MiB free", "Free"),
        (replace(WELL, redis="no route"), "redis", "problem", "no route", "STREAMGAUGE_REDIS_URL"),
        (replace(WELL, database="no route"), "postgresql", "problem", "no route", "STREAMGAUGE_DATABASE_URL"),
        (with_server(version="7.0.0"), "redis", "problem", "too old", "Upgrade"),
        (with_redis(refused="maxmemory-policy is 'x'"), "redis", "problem", "as it is", "Maxmemory-policy"),
        (with_server(limit=0, used=3 << 30), "redis memory", "problem", "no limit", "maxmemory"),
        (with_server(used=900 << 20), "redis memory", "problem", "900 MiB of the 1,024 MiB", "Raise maxmemory"),
        (with_server(append_only=False), "redis persistence", "warning", "beyond its last snapshot", "appendonly yes"),
        (with_server(append_failed=True), "redis persistence", "problem", "could not write", "disk"),
        (with_database(read_only=True), "postgresql disk", "problem", "only reads", "primary"),
        (with_database(write_error="No space left on device"), "postgresql disk", "problem", "No space left", "Free"),
        (with_database(workers=[Worker(WORKER, "h", 1, 60.0)]), "workers", "problem", "60 s ago", "streamgauge worker"),
        (with_database(workers=[]), "workers", "problem", "none is known", "streamgauge worker"),
        (with_database(shards=[]), "shards", "warning", "ever run", "streamgauge worker"),
        (replace(WELL, settings=Settings(shards=3)), "shards", "problem", "knows 2 shards", "STREAMGAUGE_SHARDS=2"),
        (with_database(shards=[shard(0), shard(1, holder=uuid4())]), "leases", "warning", "shards 1;", "logs"),
        (with_database(shards=[shard(0, attempts=4), shard(1)]), "attempts", "problem", "4 times", "logs"),
        (lagging(20, 21), "lag", "problem", "21 seconds behind and does not move", "worker"),
        (lagging(20, 15, later=EntryId(2, 0)), "lag", "warning", "catching up", "Wait"),
        (lagging(20, 21, later=EntryId(2, 0)), "lag", "problem", "falls back", "another worker"),
        (with_redis(histories={0: HISTORY, 1: History("other", "m")}), "history", "warning", "shards 1 ", "counted twice"),
        (with_database(dead_letters=[Refusals("late", 1, NOW)]), "dead letters", "warning", "1 event was put aside as late", "import"),
        (with_database(rejected=[Refusals("unknown_tenant", 2000, NOW)]), "rejected", "warning", "2,000 events were rejected", "tenant"),
        (with_database(lost=3), "losses", "warning", "3 events announced", "crashed hosts"),
        (with_database(forgotten_lanes=1, lost_forgotten=9), "losses", "warning", "9 events of theirs", "forgotten_lanes"),
        (with_database(tenants=[]), "tenants", "warning", "no tenant", "import"),
        (with_database(tenants=[("a", True), ("b", False)]), "tenants", "warning", "applied for b", "prefix"),
        (with_database(tenants=[("a", False), ("b", False)]), "tenants", "warning", "ever counted; 2 tenants without any: a, b", "--probe"),
        (with_database(tenants=[("a", True), ("default", False)]), "tenants", "warning", "only for a, and never came for default", "TENANT=a"),
        (replace(WELL, settings=Settings(shards=2, tenant="acme")), "tenants", "warning", "never came for acme", "STREAMGAUGE_TENANT=shop"),
        (replace(WELL, settings=Settings(shards=2, enabled=False)), "capture", "warning", "STREAMGAUGE_ENABLED is false", "ENABLED=true"),
        (replace(WELL, settings=Settings(shards=2, capture_percent=0)), "capture", "warning", "measure nobody", "100"),
        (replace(WELL, machine=replace(MACHINE, keyring_tenants=None)), "keys", "problem", "damaged", "restore it"),
        (with_database(pseudonymous=["acme", "shop"]), "keys", "warning", "no keys of acme,", "another machine"),
        (with_database(keyless=["shop"]), "access", "warning", "opens the dashboard of shop", "keys create --tenant shop"),
        (with_database(drops=[("buffer_full", 1)]), "drops", "warning", "1 event was dropped by applications as buffer_full", "Redis is reachable"),
        (with_database(drops=[("undeclared_event", 9)]), "drops", "warning", "9 events were dropped", "EventType"),
        (with_database(drops=[("of_tomorrow", 2)]), "drops", "warning", "2 events were dropped by applications as of_tomorrow;", "gauge.status()"),
        (with_database(processed=200, late=3, future=1), "event times", "warning", "200 events, 2% too late were refused", "NTP"),
        (with_database(processed=10, late=1, future=9), "event times", "warning", "10% too late and 90% too ahead of time", "NTP"),
        (with_database(partition_tomorrow=False, applied_today=True), "partitions", "warning", "lacks", "create tables"),
        (with_database(log_oldest=32), "event log", "problem", "goes 32 days back, 30 are wanted", "archive run"),
        (with_database(log_oldest=2, log_bytes=51 << 30), "event log", "problem", "52,224 MiB, 51,200 MiB are allowed", "LOG_MAX_BYTES"),
        (with_database(log_oldest=1, log_bytes=51 << 30), "event log", "warning", "yesterday alone", "LOG_MAX_BYTES"),
        (replace(WELL, machine=replace(MACHINE, archive_free=1000)), "archive", "problem", "stay in PostgreSQL", "ARCHIVE_DIR"),
        (with_database(ahead=5.0), "clocks", "warning", "PostgreSQL is 5 seconds ahead", "NTP"),
        (with_server(ahead=-90.0), "clocks", "problem", "90 seconds ahead of that of Valkey", "NTP"),
    ],
)  # fmt: skip
def test_each_trouble_is_told_in_one_sentence_with_one_next_step(
    snapshot: Snapshot, check: str, level: str, says: str, advice: str
) -> None:
    (found,) = bad(snapshot)
    assert (found.check, found.level) == (check, level)
    assert says in found.says
    assert found.says.endswith((".", ")"))
    assert found.next is not None
    assert advice in found.next


def test_a_redis_without_a_limit_is_fine_while_it_uses_little_of_its_machine() -> None:
    assert bad(with_server(limit=0)) == bad(with_server(limit=0, machine=0)) == []


def test_without_a_keyring_stored_pseudonyms_are_worth_a_warning_and_an_empty_database_is_not() -> None:
    machine = replace(MACHINE, keyring_exists=False, keyring_tenants=frozenset())
    assert bad(replace(WELL, machine=machine)) == []
    (found,) = bad(replace(with_database(pseudonymous=["shop"]), machine=machine))
    assert (found.check, found.level) == ("keys", "warning")
    assert "count as somebody new" in found.says


def test_sampling_is_told_with_how_to_end_it_and_is_nothing_to_worry_about() -> None:
    sampled = replace(
        with_database(drops=[("sampled_out", 40)]), settings=Settings(shards=2, capture_percent=10)
    )
    assert bad(sampled) == []
    told = {finding.check: finding for finding in examine(sampled) if finding.next}
    assert told.keys() == {"capture", "drops"}
    assert "PERCENT is 10" in told["capture"].says
    assert "40 events were dropped by applications as sampled_out" in told["drops"].says
    assert all("to 100" in (each.next or "") or "=100" in (each.next or "") for each in told.values())


def test_the_tenant_of_probes_is_nobody_elses_business() -> None:
    probed = [("shop", True), (PROBE_TENANT, True)]
    assert bad(with_database(tenants=probed, keyless=[PROBE_TENANT])) == []
    assert "1 tenant," in next(
        each.says for each in examine(with_database(tenants=probed)) if each.check == "tenants"
    )
    (found,) = bad(with_database(tenants=[("shop", False), (PROBE_TENANT, True)]))
    assert "No event was ever counted" in found.says
    (found,) = bad(with_database(tenants=[(PROBE_TENANT, True)]))
    assert "There is no tenant yet" in found.says


def test_of_an_unknown_tenant_the_cure_names_the_configured_one_when_that_is_missing() -> None:
    rejected = [Refusals("unknown_tenant", 5, NOW)]
    (found,) = bad(with_database(rejected=rejected))
    assert "`streamgauge keys create --tenant default --read`" in (found.next or "")
    (found,) = bad(replace(with_database(rejected=rejected), settings=Settings(shards=2, tenant="shop")))
    assert "`streamgauge keys create --tenant NAME --read`" in (found.next or "")


def test_few_events_at_wrong_times_are_dead_letters_and_no_clock_that_is_wrong() -> None:
    assert bad(with_database(processed=1000, late=5, future=4)) == []


def test_every_reason_for_a_drop_has_a_meaning_and_a_fix() -> None:
    assert set(get_args(DropReason)) == DROPS.keys()
    assert all(meaning.means and meaning.fix for meaning in DROPS.values())


def test_a_database_at_another_version_hides_what_its_tables_would_say() -> None:
    findings = examine(
        with_database(refused="the database lacks migration 0002_x: run `streamgauge migrate`")
    )
    assert [finding.check for finding in findings if finding.level == "problem"] == ["postgresql"]
    assert "tenants" not in {finding.check for finding in findings}


def test_without_redis_the_tables_are_judged_all_the_same() -> None:
    found = examine(replace(WELL, redis="away"))
    assert {"workers", "tenants", "losses"} <= {finding.check for finding in found}
    assert "lag" not in {finding.check for finding in found}


def test_every_reason_for_a_refusal_has_a_meaning_and_a_fix() -> None:
    assert set(get_args(Reason)) - {""} == MEANINGS.keys()
    assert all(meaning.means and meaning.fix for meaning in MEANINGS.values())


# Real servers


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


def settings(redis_url: str, database_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, database_url=database_url, data_dir=tmp_path / "data")


async def contents(connection: Any) -> dict[str, int]:
    """Rows of every table."""
    names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for (name,) in names}


async def test_a_fresh_database_without_a_worker_is_told_so_and_nothing_is_written_anywhere(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute("INSERT INTO shards (shard, generation, number) VALUES (0, 0, 0)")
    before = await contents(connection)
    found = {
        finding.check: finding for finding in await diagnose(settings(redis_url, database_url, tmp_path))
    }
    assert found["workers"].level == "problem"
    assert found["tenants"].level == "warning"
    assert (found["redis"].level, found["postgresql"].level, found["clocks"].level) == ("ok", "ok", "ok")
    assert await contents(connection) == before
    with redis.Redis.from_url(redis_url) as admin:
        assert admin.dbsize() == 0
    assert not (tmp_path / "data").exists()


async def test_a_backlog_that_nobody_reads_is_a_lag_that_does_not_move(
    redis_url: str,
    database_url: str,
    tmp_path: Path,
    connection: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge_workers.diagnosis.snapshot.BETWEEN", 0.05)
    monkeypatch.setattr("streamgauge_workers.diagnosis.pipeline.LAG_FINE", 0.01)
    await connection.execute(
        "INSERT INTO shards (shard, generation, number) SELECT n, 0, n FROM generate_series(0, 3) n"
    )
    stream = RedisStream(redis_url, "streamgauge", 0, 4)
    await Publisher(stream, lambda: 1).publish(2, b"payload", 1)
    await stream.aclose()
    await asyncio.sleep(0.05)
    lag = [
        finding
        for finding in await diagnose(settings(redis_url, database_url, tmp_path))
        if finding.check == "lag"
    ]
    assert [finding.level for finding in lag] == ["problem"]
    assert lag[0].says.startswith("Shard 2 is")
    assert "does not move" in lag[0].says


async def test_what_workers_leave_behind_is_found(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    tenant = await connection.fetchval("INSERT INTO tenants (name) VALUES ('shop') RETURNING tenant_id")
    await connection.execute(
        "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, 'UTC')", tenant
    )
    stream = RedisStream(redis_url, "streamgauge", 0, 4)
    publisher = Publisher(stream, lambda: time.time_ns() // 1_000_000)
    now = time.time_ns() // 1_000
    events = [Event("http.request", now, "shop"), Event("http.request", now - 30 * 86_400 * 10**6, "shop")]
    await publisher.publish(1, freeze([*events, Event("http.request", now, "nobody")]), 3)
    publisher.lane(1).drops.update({"buffer_full": 4, "sampled_out": 2})
    publisher.lane(3).drops.update({"buffer_full": 3})
    await publisher.announce(closed=True)
    with Program("worker", "--port", "0", log=tmp_path / "log", **given(redis_url, database_url)) as worker:
        while await connection.fetchval("SELECT count(*) FROM outcome_ledger") < 3:
            assert worker.process.poll() is None, worker.output
            await asyncio.sleep(0.05)
        running = await diagnose(settings(redis_url, database_url, tmp_path))
        await asyncio.to_thread(worker.stop)
    assert [finding.says for finding in running if finding.level == "problem"] == []
    assert {finding.check for finding in running if finding.level == "ok"} >= {
        "workers", "leases", "lag", "history", "losses", "tenants", "partitions", "clocks",
    }  # fmt: skip
    told = {finding.check: finding.says for finding in running if finding.level == "warning"}
    assert "1 event was put aside as late" in told["dead letters"]
    assert "1 event was rejected as unknown_tenant" in told["rejected"]
    assert "7 events were dropped by applications as buffer_full" in told["drops"]
    assert "33% too late" in told["event times"]
    assert "No key opens the dashboard of shop" in told["access"]
    with redis.Redis.from_url(redis_url) as admin:
        admin.flushall()
    stopped = {
        finding.check: finding.level
        for finding in await diagnose(settings(redis_url, database_url, tmp_path))
    }
    assert (stopped["history"], stopped["workers"]) == ("warning", "problem")
    await stream.aclose()


async def test_only_a_valid_key_that_may_read_opens_a_dashboard(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute("INSERT INTO tenants (name) SELECT 't' || n FROM generate_series(1, 6) n")
    await connection.execute(
        "INSERT INTO access_keys (key_id, digest, tenant_id, scopes, expires_at, revoked_at, role) "
        "SELECT lpad(tenant_id::text, 12, '0'), decode(repeat('00', 32), 'hex'), tenant_id, "
        "  CASE WHEN name IN ('t1') THEN ARRAY['write'] WHEN name = 't2' THEN ARRAY['admin'] ELSE ARRAY['write', 'read'] END, "
        "  CASE WHEN name = 't3' THEN now() - interval '1 hour' WHEN name = 't4' THEN now() + interval '1 hour' END, "
        "  CASE WHEN name = 't5' THEN now() END, 'admin' FROM tenants WHERE name <> 't6'"
    )
    found = await diagnose(settings(redis_url, database_url, tmp_path))
    (told,) = [finding.says for finding in found if finding.check == "access"]
    assert told == "No key opens the dashboard of t1, t3, t5, t6."


async def test_the_command_that_is_advised_against_a_dashboard_without_a_key_makes_one(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute(
        "WITH made AS (INSERT INTO tenants (name) VALUES ('corner shop') RETURNING tenant_id) "
        "INSERT INTO tenant_time_zones (tenant_id, time_zone) SELECT tenant_id, 'UTC' FROM made"
    )
    wanted = settings(redis_url, database_url, tmp_path)

    async def access() -> Finding:
        return next(finding for finding in await diagnose(wanted) if finding.check == "access")

    _, advised, _ = ((await access()).next or "").split("`")
    assert shlex.split(advised)[0] == "streamgauge"
    with Program(
        *shlex.split(advised)[1:], log=tmp_path / "log", **given(redis_url, database_url)
    ) as program:
        assert await asyncio.to_thread(program.ended) == 0, program.output
    assert (await access()).level == "ok"


async def test_a_keyring_that_lacks_the_tenants_of_stored_actors_is_told(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute(
        "INSERT INTO tenants (name, next_actor, next_visitor) VALUES ('shop', 9, 2147483648), ('acme', 2, 2147483648), "
        "('visited', 1, 2147483999)"
    )
    wanted = settings(redis_url, database_url, tmp_path)
    wanted.data_dir.mkdir()

    async def keys() -> Finding:
        return next(finding for finding in await diagnose(wanted) if finding.check == "keys")

    assert "there is no keyring" in (await keys()).says
    Keyring(wanted.keyring).tenant("shop")
    assert "holds no keys of acme," in (await keys()).says
    Keyring(wanted.keyring).tenant("acme")
    assert (await keys()).level == "ok"
    wanted.keyring.write_text("nonsense")
    assert "damaged" in (await keys()).says


async def test_an_evicting_redis_and_a_database_of_another_version_are_problems(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute("INSERT INTO schema_migrations VALUES ('9999_tomorrow', 'x')")
    with redis.Redis.from_url(redis_url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = await diagnose(settings(redis_url, database_url, tmp_path))
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
    problems = {finding.check: finding.next or "" for finding in found if finding.level == "problem"}
    assert problems.keys() == {"redis", "postgresql"}
    assert "allkeys-lru" in problems["redis"]
    assert "9999_tomorrow" in problems["postgresql"]


def run(*arguments: str, log: Path, **environment: str) -> tuple[int, str]:
    with Program("doctor", *arguments, log=log, **environment) as program:
        return program.ended(), program.output


def test_servers_that_are_down_are_told_without_their_passwords(tmp_path: Path) -> None:
    down = given("redis://:hunter2@127.0.0.1:1/0", "postgresql://me:hunter2@127.0.0.1:1/x")
    code, said = run(log=tmp_path / "log", **down)
    assert code == 1
    assert "PROBLEM  redis: Redis does not answer" in said
    assert "PROBLEM  postgresql: PostgreSQL does not answer" in said
    assert "2 problems" in said
    assert "hunter2" not in said
    assert "Traceback" not in said


def test_a_setting_that_cannot_be_used_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    code, said = run(log=tmp_path / "log", STREAMGAUGE_PORT="many")
    assert code == 1
    assert "PROBLEM  settings: STREAMGAUGE_PORT is 'many'" in said


def test_when_nothing_runs_it_says_what_run_would_do_and_starts_and_makes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code, said = run("--json", log=tmp_path / "log", STREAMGAUGE_DATA_DIR=str(data))
    found = {finding["check"]: finding for finding in json.loads(said)["findings"]}
    assert (code, json.loads(said)["problems"]) == (1, 1)
    assert "`./run` makes" in found["servers"]["next"]
    assert not data.exists()
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "base").write_bytes(bytes(3 << 20))
    (data / "keyring.json").write_text('{"tenants": {}}')
    (data / "keyring.json").chmod(0o600)
    code, said = run(log=tmp_path / "log", STREAMGAUGE_DATA_DIR=str(data))
    assert code == 1
    assert "postgres 3 MiB" in said
    assert "is there and private" in said
    assert sorted(path.name for path in data.iterdir()) == ["keyring.json", "postgres"]


def test_servers_of_a_running_up_are_found_by_the_data_directory(stack: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with Ownership(data) as ownership:
        urls = {"redis_url": stack.redis_url, "database_url": stack.database_url}
        ownership.publish(Record(os.getpid(), "up", str(tmp_path), ready=True, **urls))
        _, said = run(log=tmp_path / "log", STREAMGAUGE_DATA_DIR=str(data))
    assert "evicts nothing" in said
    assert "run `streamgauge migrate`" in said
