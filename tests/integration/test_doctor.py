"""`streamgauge doctor`: what it says about servers that are well, ill and away, and that it changes nothing."""

import asyncio
import json
import os
import shlex
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import pytest
import redis
from redis.exceptions import BusyLoadingError, ClusterDownError, NoPermissionError

from streamgauge.capture.pending import DropReason
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.capture.publisher import Publisher
from streamgauge.domains.operations.declarations import PROBE_TENANT
from streamgauge.entry import EntryId
from streamgauge.errors import ServerError
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
from streamgauge_workers.diagnosis.sessions import Session
from streamgauge_workers.diagnosis.snapshot import (
    ArchiveFiles,
    Database,
    Hole,
    Machine,
    Redis,
    Refusals,
    Shard,
    Snapshot,
    Stop,
    Worker,
)
from streamgauge_workers.diagnosis.spool_look import Folder, SpoolDirectory
from streamgauge_workers.diagnosis.unreachable import Unreachable, of_postgresql, of_redis
from tests.integration.program import Program, given

WORKER = UUID(int=1)
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
HISTORY = History("run", "birthmark:1")
AT = EntryId(1_000, 0)
CAUGHT_UP = Backlog(10, 10, None, False, 5_000)
SERVER = ServerInfo(
    "Valkey", "8.1.0", "noeviction", 1 << 20, 1 << 30, 4 << 30, True, False, True, 0.0, fsync="always"
)
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


def lagging(before: float, after: float, *, redis_newer: bool = False, **changes: Any) -> Snapshot:
    backlogs = {0: (behind(before), behind(after)), 1: (CAUGHT_UP, CAUGHT_UP)}
    return replace(
        with_redis(backlogs=backlogs, newer=frozenset({0}) if redis_newer else frozenset()),
        database=replace(DATABASE, shards=[shard(0, **changes), shard(1)]),
    )


HOLE = Hole(1, "0123abcdef", 7, False, NOW, NOW)


def with_sessions(*sessions: Session) -> Snapshot:
    return with_database(sessions=sessions)


def holding(**changes: Any) -> Session:
    return replace(Session(7, "psql", "h", True, 3.0, 3.0, True), **changes)


def waiting(**changes: Any) -> Session:
    return replace(Session(8, "psql", "h", False, 3.0, 3.0, True, blocked_by=[7]), **changes)


def with_spools(*folders: Folder, **changes: Any) -> Snapshot:
    directory = SpoolDirectory(Path("/spool"), folders, **changes)
    return replace(WELL, machine=replace(MACHINE, spools=directory))


def left(**changes: Any) -> Folder:
    return replace(Folder(Path("/spool/a"), False, 3 << 20, 1.0, "streamgauge"), **changes)


def owned(**changes: Any) -> Folder:
    return replace(left(owned=True), **changes)


def with_archives(**changes: Any) -> Snapshot:
    return replace(WELL, archives=ArchiveFiles(3, **changes))


def bad(snapshot: Snapshot) -> list[Finding]:
    return [finding for finding in examine(snapshot) if finding.level != "ok"]


def test_when_all_is_well_every_check_says_so() -> None:
    assert bad(WELL) == []
    assert {finding.check for finding in examine(WELL)} == {
        "settings", "capture", "keys", "disk", "redis", "redis memory", "redis persistence", "postgresql", "postgresql disk", "workers",
        "leases", "lag", "history", "dead letters", "losses", "partitions", "event log", "clocks",
        "tenants", "access", "drops", "event times", "locks", "postgresql durability",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("snapshot", "check", "level", "says", "advice"),
    [
        (replace(WELL, settings=Settings(host="192.0.2.1", shards=2)), "settings", "warning", "192.0.2.1", "proxy"),
        (replace(WELL, machine=replace(MACHINE, keyring_is_open=True)), "keys", "problem", "Others may read", "chmod 600"),
        (replace(WELL, machine=replace(MACHINE, free=1000)), "disk", "problem", "0 MiB free", "Free"),
        (replace(WELL, redis=Unreachable("no route")), "redis", "problem", "no route", "STREAMGAUGE_REDIS_URL"),
        (replace(WELL, database=Unreachable("no route")), "postgresql", "problem", "no route", "STREAMGAUGE_DATABASE_URL"),
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
        (lagging(20, 21), "lag", "problem", "21 seconds behind and does not move, though", "shard read again"),
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
        (with_server(silent=("10.0.0.1:7001",), nodes=3), "redis", "problem", "1 of the 3 primaries", "CLUSTER FAILOVER"),
        (with_server(used=2 << 30), "redis memory", "problem", "is full and refuses", "Raise maxmemory"),
        (with_server(snapshot_failed=True, refuses=True), "redis persistence", "problem", "MISCONF", "BGSAVE"),
        (with_server(append_only=False, snapshot_failed=True), "redis persistence", "warning", "could not be written, either", "appendonly"),
        (with_server(fsync="no"), "redis persistence", "warning", "appendfsync no", "everysec"),
        (with_database(fsync=False), "postgresql durability", "warning", "with fsync = off:", "Set fsync = on"),
        (with_database(fsync=False, full_pages=False), "postgresql durability", "warning", "full_page_writes", "and full_page_writes = on"),
        (with_sessions(holding(open=63.0, locked=("lanes",))), "locks", "problem", "open for 63 seconds, has locked lanes;", "terminate_backend(7)"),
        (with_sessions(holding(), waiting(since=6.0)), "locks", "warning", "keeps 1 session (psql) waiting for up to 6 seconds", "terminate_backend(7)"),
        (with_sessions(holding(), waiting(name="streamgauge worker 1", since=6.0)), "locks", "problem", "Session 7", "terminate_backend(7)"),
        (with_sessions(waiting(since=6.0)), "locks", "warning", "Session 7 keeps", "terminate_backend(7)"),
        (with_sessions(holding(name="streamgauge worker 1", since=40.0)), "zombies", "warning", "40 seconds ago (7 on h)", "terminate_backend(7)"),
        (with_sessions(holding(open=7_300.0, name="streamgauge verify")), "vacuum", "warning", "streamgauge verify on h) is open for 2 hours", "`verify`"),
        (with_database(workers=[*DATABASE.workers, Worker(uuid4(), "far", 9, 90.0)]), "workers", "warning", "far:9 90 seconds ago", "its log"),
        (with_database(shards=[shard(0), shard(1, changed_hands=True)]), "leases", "warning", "Shards 1 went", "fenced_total"),
        (with_redis(retired={3: 12}), "shards", "problem", "Generation 3 is retired, and its streams hold 12 entries", "shards reopen 3"),
        (with_redis(histories={0: HISTORY}, backlogs={0: (CAUGHT_UP, CAUGHT_UP)}, unread={1: "down"}), "lag", "problem", "shards 1 cannot", "nodes"),
        (lagging(20, 21, redis_newer=True), "lag", "problem", "newer version", "newer version"),
        (with_database(lost=7, holes=[HOLE]), "losses", "warning", "(so far): 7 of lane 0123abcd of shard 1 (begun 2025-06-01 12:00 UTC", "spooled"),
        (with_spools(left(age=70.0)), "spool", "warning", "3 MiB wait in 1 spool of processes that ended, for 70 seconds", "SPOOL_DIR=/spool"),
        (with_spools(left(newer=True)), "spool", "warning", "newer version", "newer version"),
        (with_spools(left(damaged=17)), "spool", "warning", "17 bytes in a", "disk"),
        (with_spools(left(prefix="staging")), "spool", "warning", "STREAMGAUGE_STREAM_PREFIX: staging", "of its own"),
        (with_spools(owned(age=11.0)), "spool", "warning", "Redis does not take them", "log"),
        (with_spools(owned(age=110.0, durable=True)), "spool", "warning", "of durable events, for 110 seconds", "workers keep up"),
        (with_spools(owned(bytes=250 << 20)), "spool", "problem", "250 MiB of the 256 MiB", "SPOOL_BYTES"),
        (with_spools(read_only=True), "spool", "problem", "read-only", "writable"),
        (with_spools(free=1 << 20), "spool", "problem", "has 1 MiB free", "STREAMGAUGE_SPOOL_DIR"),
        (with_spools(closed=2), "spool", "warning", "2 spools below /spool", "user"),
        (with_archives(missing=["a.parquet"]), "archive", "problem", "1 archived file of the event log cannot be found", "archive check"),
        (with_archives(altered=["a.parquet", "b.parquet"]), "archive", "problem", "a.parquet, b.parquet", "backup"),
        (with_archives(is_here=False), "archive", "warning", "3 files should be in it", "mount"),
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


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ({"stops": [Stop(0, NOW, 9, 9, {"late": 9})]}, "it was stopped"),
        ({"workers": [], "shards": [shard(0, holder=None)]}, "no worker that is alive holds it"),
        ({"sessions": [waiting(name="streamgauge worker 1", since=6.0)]}, "workers wait for a lock"),
        ({"sessions": [waiting(name="streamgauge worker 1", since=6.0, blocked_by=[])]}, "6 seconds into one step"),
        ({"sessions": [waiting(name="psql", since=6.0, blocked_by=[])]}, "cannot commit, or cannot read"),
        ({"sessions": [waiting(name="psql", since=6.0)]}, "cannot commit, or cannot read"),
    ],
)  # fmt: skip
def test_a_lag_that_does_not_move_is_told_with_what_keeps_it(database: dict[str, Any], says: str) -> None:
    snapshot = lagging(20, 21)
    assert isinstance(snapshot.database, Database)
    found = examine(replace(snapshot, database=replace(snapshot.database, **database)))
    (lag,) = [each for each in found if each.check == "lag"]
    assert lag.level == "problem"
    assert says in lag.says


@pytest.mark.parametrize(
    "fine",
    [
        with_spools(owned(age=9.0), owned(age=90.0, durable=True), left(age=50.0), owned(bytes=200 << 20)),
        with_sessions(holding(open=800.0, since=800.0), waiting(since=4.0)),
        with_sessions(holding(open=9_000.0, holds_back=False)),
        with_sessions(waiting(name="streamgauge worker 1", since=40.0, blocked_by=())),
        with_sessions(holding(name="streamgauge worker 1", since=9.0)),
        with_sessions(holding(open=4.0, locked=("lanes",))),
        with_database(workers=[*DATABASE.workers, Worker(uuid4(), "far", 9, 1_000.0)]),
        with_server(snapshot_failed=True),
    ],
)
def test_what_soon_ends_by_itself_or_ended_long_ago_is_not_told(fine: Snapshot) -> None:
    assert bad(fine) == []


def test_whoever_waits_himself_is_not_named_as_the_one_that_others_wait_for() -> None:
    chain = [holding(), waiting(since=9.0), waiting(pid=9, since=9.0, blocked_by=[8])]
    (found,) = bad(with_sessions(*chain))
    assert "Session 7" in found.says


@pytest.mark.parametrize(
    ("snapshot", "check", "advice"),
    [
        (with_server(fsync="everysec"), "redis persistence", "CAPTURE_MODE=durable"),
        (with_database(synchronous="off"), "postgresql durability", "synchronous_commit = on"),
        (replace(with_spools(read_only=True, free=1), settings=Settings(shards=2, capture_mode="memory")), "spool", "MODE=disk"),
    ],
)  # fmt: skip
def test_what_somebody_may_have_chosen_is_told_and_is_nothing_to_worry_about(
    snapshot: Snapshot, check: str, advice: str
) -> None:
    assert bad(snapshot) == []
    (told,) = [finding for finding in examine(snapshot) if finding.check == check]
    assert advice in (told.next or "")


@pytest.mark.parametrize(
    ("explain", "error", "why", "advice"),
    [
        (of_redis, BusyLoadingError("loading"), "still loading", "Wait"),
        (of_redis, ClusterDownError("CLUSTERDOWN"), "cluster is down", "CLUSTER FAILOVER"),
        (of_redis, NoPermissionError("no rights to INFO"), "does not let us in (no rights to INFO)", "REDIS_URL"),
        (of_redis, redis.ConnectionError("max number of clients reached"), "no more connections", "maxclients"),
        (of_redis, redis.ResponseError("BUSY a script"), "keeps it busy", "SCRIPT KILL"),
        (of_redis, ServerError("slow"), "slow", None),
        (of_postgresql, asyncpg.CannotConnectNowError("starting up"), "starting, stopping or recovering", "Wait"),
        (of_postgresql, asyncpg.InvalidPasswordError("wrong"), "does not let us in (wrong)", "DATABASE_URL"),
        (of_postgresql, ConnectionRefusedError("refused"), "refused", None),
    ],
)  # fmt: skip
def test_each_way_of_not_answering_has_a_next_step_of_its_own(
    explain: Callable[[BaseException], Unreachable], error: Exception, why: str, advice: str | None
) -> None:
    for raised in (error, caused_by(error)):
        found = explain(raised)
        assert why in found.why or raised is not error
        assert (found.next is None) if advice is None else advice in (found.next or "")
        assert explain(raised).why


def caused_by(error: Exception) -> Exception:
    """As it comes when it was translated on its way."""
    outer = ServerError("cannot be reached")
    outer.__cause__ = error
    return outer


def test_every_refusal_that_is_kept_is_told_with_the_command_for_it() -> None:
    for reason in MEANINGS.keys() - {"tenant_deleted"}:
        (found,) = bad(with_database(dead_letters=[Refusals(reason, 3, NOW)]))
        assert "`streamgauge dead-letters " in (found.next or ""), reason
        assert reason in (found.next or "") or reason == "range_conflict"


def test_how_often_a_history_was_replaced_is_told_beside_that_it_is_well() -> None:
    snapshot = with_database(shards=[shard(0), shard(1, epoch=4)])
    assert bad(snapshot) == []
    (found,) = [finding for finding in examine(snapshot) if finding.check == "history"]
    assert found.says.endswith("so far, by shard: 1 (4).")


def test_an_overflow_stream_is_none_of_the_shards_that_settings_count() -> None:
    assert bad(with_database(shards=[shard(0), shard(1), shard(2, overflow=True)])) == []


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
    found = examine(replace(WELL, redis=Unreachable("away")))
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
    monkeypatch.setattr("streamgauge_workers.diagnosis.look.BETWEEN", 0.05)
    monkeypatch.setattr("streamgauge_workers.diagnosis.lagging.LAG_FINE", 0.01)
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
