"""An access log gets into the tables whole and once, or the command says why not."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
import zstandard
from pyroaring import BitMap

from streamgauge.capture.pseudonyms import Keyring
from streamgauge.errors import InputError, ServerError, SettingsError
from streamgauge.settings import Settings
from streamgauge_imports import shipment
from streamgauge_imports.accounting import Result
from streamgauge_imports.batches import Frame
from streamgauge_imports.importing import deliver
from streamgauge_imports.log_frames import AccessLog, Signature, examine
from streamgauge_imports.orders import access_log_order
from streamgauge_imports.progress import Lines
from streamgauge_imports.shipment import Shipment

LINE = '{host} - - [{at} +0000] "{request}" {status} {size} "-" "{agent}"'
BEGIN = datetime(2020, 2, 28, 23, 30, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, database_url: str) -> Settings:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    return Settings(redis_url, database_url, tmp_path / "data", lease_seconds=1)


def line(
    host: str = "192.0.2.1",
    at: datetime = BEGIN,
    request: str = "GET /a?secret=1 HTTP/1.1",
    status: int = 200,
    size: int = 10,
    agent: str = "Mozilla/5.0",
) -> str:
    return LINE.format(
        host=host, at=f"{at:%d/%b/%Y:%H:%M:%S}", request=request, status=status, size=size, agent=agent
    )


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def many(count: int, hosts: int = 50) -> list[str]:
    return [
        line(f"198.51.100.{i % hosts}", BEGIN + timedelta(seconds=i), f"GET /p{i % 7} HTTP/1.1", size=i)
        for i in range(count)
    ]


async def run(
    path: Path, settings: Settings, tenant: str = "shop", time_zone: str | None = None, **more: Any
) -> Result:
    log = examine(path, more.get("format", "combined"))
    order = access_log_order(log, settings, tenant=tenant, time_zone=time_zone, **more)
    assert settings.redis_url is not None
    assert settings.database_url is not None
    shown = Lines("import", order.rows)
    return (await deliver(order, settings, settings.redis_url, settings.database_url, shown)).result


async def fetch(settings: Settings, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def metrics(settings: Settings) -> list[tuple[Any, ...]]:
    """Every summary row, stripes merged."""
    return [
        tuple(row.values())
        for view in ("hourly_metrics", "daily_metrics")
        for row in await fetch(settings, f"SELECT * FROM {view} ORDER BY tenant, metric, dimensions, bucket")
    ]


async def requests(settings: Settings) -> int:
    query = "SELECT sum(count) AS n FROM daily_metrics WHERE metric = 'http.server.request.duration' AND dimensions = '{}'"
    return int((await fetch(settings, query))[0]["n"] or 0)


async def visitors(settings: Settings) -> int:
    rows = await fetch(
        settings,
        "SELECT members FROM summary_members JOIN series USING (shard, series_id) "
        "WHERE grain = 'd' AND metric = 'http.server.request.duration' AND dimensions = '{}'",
    )
    return len(BitMap.union(BitMap(), *[BitMap.deserialize(row["members"]) for row in rows]))


async def test_every_row_is_accounted_for(tmp_path: Path, settings: Settings) -> None:
    result = await run(write(tmp_path / "log", *many(300), "", "not a request", line()), settings)
    assert (result.read, result.applied, result.duplicate) == (303, 301, 0)
    assert result.rejected == {"blank": 1, "missing_field": 1}
    assert result.rejected_lines == [(301, "blank"), (302, "missing_field")]
    assert result.accounted
    assert await requests(settings) == 301
    (lost,) = await fetch(
        settings, 'SELECT bool_and(closed) AS closed, sum("end") AS ended FROM lanes WHERE trusted'
    )
    assert (lost["closed"], lost["ended"]) == (True, 301)


async def test_identical_lines_are_requests_of_their_own(tmp_path: Path, settings: Settings) -> None:
    assert (await run(write(tmp_path / "log", *[line()] * 3), settings)).applied == 3
    assert await requests(settings) == 3
    assert await visitors(settings) == 1


async def test_the_same_file_again_changes_nothing(tmp_path: Path, settings: Settings) -> None:
    log = write(tmp_path / "log", *many(500), "broken")
    await run(log, settings)
    before = await metrics(settings)
    revisions = "SELECT revision FROM tenants"
    assert (await fetch(settings, revisions))[0]["revision"] == 1
    with redis.Redis.from_url(settings.redis_url or "") as client:
        sent = [client.xlen(key) for key in client.keys("*:events")]
        result = await run(log, settings)
        assert [client.xlen(key) for key in client.keys("*:events")] == sent, "it published something"
    assert (result.read, result.applied, result.duplicate) == (501, 0, 500)
    assert result.rejected == {"missing_field": 1}
    assert result.finished_before is not None
    assert result.accounted
    assert await metrics(settings) == before
    assert (await fetch(settings, revisions))[0]["revision"] == 1


async def test_a_log_and_its_gzip_are_the_same_file(tmp_path: Path, settings: Settings) -> None:
    log = write(tmp_path / "log", *many(20))
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    await run(log, settings)
    assert (await run(packed, settings)).duplicate == 20
    assert await requests(settings) == 20


async def test_other_tenants_import_the_same_file_for_themselves(tmp_path: Path, settings: Settings) -> None:
    log = write(tmp_path / "log", *many(20))
    assert (await run(log, settings, "one")).applied == (await run(log, settings, "other")).applied == 20
    actors = await fetch(settings, "SELECT tenant_id, pseudonym FROM actors")
    assert len({row["pseudonym"] for row in actors}) == len(actors), "tenants share no pseudonym"


async def test_visitors_are_host_and_agent_and_hosts_in_the_common_format(
    tmp_path: Path, settings: Settings
) -> None:
    lines = [line("192.0.2.1", agent="A"), line("192.0.2.1", agent="B"), line("192.0.2.2", agent="A")]
    await run(write(tmp_path / "combined", *lines), settings)
    assert await visitors(settings) == 3
    common = write(tmp_path / "common", *[each.split(' "-"')[0] for each in lines])
    assert (await run(common, settings, format="common")).applied == 3
    assert await visitors(settings) == 5


async def test_no_address_agent_or_query_is_stored(tmp_path: Path, settings: Settings) -> None:
    broken = 'SECRET-HOST - - [nonsense] "SECRET-REQUEST'
    log = write(tmp_path / "log", line("SECRET-HOST", agent="SECRET-AGENT"), *[broken] * 12)
    secrets = (b"SECRET", b"secret=1")
    result = await run(log, settings)
    assert result.rejected_file is not None
    kept = [Path(result.rejected_file).read_bytes()]
    for row in await fetch(settings, "SELECT payload FROM event_log"):
        kept.append(zstandard.ZstdDecompressor().decompress(row["payload"]))
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    for table in await fetch(settings, tables):
        for row in await fetch(settings, f"SELECT t::text AS text FROM {table['relname']} t"):
            kept.append(row["text"].encode())
    with redis.Redis.from_url(settings.redis_url or "") as client:
        for key in client.keys("*"):
            kept.append(client.dump(key))
    assert len(kept) > 20
    assert not [text for text in kept for secret in secrets if secret in text]


async def test_routes_name_requests_by_their_template(tmp_path: Path, settings: Settings) -> None:
    log = write(
        tmp_path / "log",
        line(request="GET /users/1?a=b HTTP/1.1"),
        line(request="GET /users/2 HTTP/1.1"),
        line(request="GET /other HTTP/1.1"),
    )
    await run(log, settings, routes="/users/{id}\n")
    rows = await fetch(
        settings,
        "SELECT dimensions, count FROM daily_metrics "
        "WHERE metric = 'http.server.request.duration' AND cardinality(dimensions) = 4 ORDER BY dimensions",
    )
    assert [(row["dimensions"], row["count"]) for row in rows] == [
        (["/users/{id}", "GET", "200", "/users/1"], 1),
        (["/users/{id}", "GET", "200", "/users/2"], 1),
        (["__unmatched__", "GET", "200", "/other"], 1),
    ]


async def test_days_are_those_of_the_tenants_time_zone_which_it_keeps(
    tmp_path: Path, settings: Settings
) -> None:
    log = write(
        tmp_path / "log", line(at=datetime(2020, 5, 1, 18, 29, 59)), line(at=datetime(2020, 5, 1, 18, 30))
    )
    await run(log, settings, time_zone="Asia/Kolkata")
    days = await fetch(settings, "SELECT DISTINCT bucket FROM daily_summary ORDER BY bucket")
    assert [f"{row['bucket']:%d %H:%M}" for row in days] == ["30 18:30", "01 18:30"]
    with pytest.raises(InputError, match=r"has the time zone 'Asia/Kolkata', not 'UTC'.*--time-zone"):
        await run(log, settings, time_zone="UTC")
    more = write(tmp_path / "more", line())
    assert (await run(more, settings)).applied == 1
    with pytest.raises(InputError, match="did you mean 'Europe/Berlin'"):
        await run(more, settings, "new", "Europe/Berln")
    assert len(await fetch(settings, "SELECT * FROM tenants")) == 1


async def test_an_import_that_was_cut_short_is_finished_by_running_it_again(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(settings, shards=2)
    monkeypatch.setattr("streamgauge_imports.orders.batch_size", lambda shards: 3_000)
    log = write(tmp_path / "log", *many(12_000), "broken", *many(25_000, 40))
    send, frames = Shipment.send, [0]

    async def fail(shipment: Shipment, group: list[Frame]) -> None:
        for frame in group:
            await send(shipment, [frame])
            frames[0] += 1
            if frames[0] == 2:
                # What was sent is in the tables, so that the next run finds rows that are done.
                while shipment.applied < shipment.published:
                    await shipment._wait()
                raise ServerError("pulled the plug")

    monkeypatch.setattr(Shipment, "send", fail)
    with pytest.raises(ServerError, match="plug"):
        await run(log, few)
    monkeypatch.setattr(Shipment, "send", send)
    (begun,) = await fetch(few, "SELECT finished_at, counts FROM imports")
    assert (begun["finished_at"], begun["counts"]) == (None, "{}")
    with pytest.raises(InputError, match=r"begun on .* not finished.*--routes was not given.*same"):
        await run(log, few, routes="/p1")
    with pytest.raises(SettingsError, match="STREAMGAUGE_SHARDS is 4, and 2 in the database"):
        await run(log, settings)
    result = await run(log, few)
    assert (result.read, result.applied, result.duplicate) == (37_001, 31_000, 6_000)
    assert result.accounted
    assert await requests(few) == 37_000
    whole = replace(few, data_dir=tmp_path / "data")
    await run(log, whole, "control")
    rows = await metrics(few)
    assert [row[1:] for row in rows if row[0] == "shop"] == [row[1:] for row in rows if row[0] == "control"]


async def test_frames_that_are_sent_twice_count_once_and_are_told(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Shipment.send

    async def twice(shipment: Shipment, group: list[Frame]) -> None:
        await send(shipment, group)
        for frame in group:
            shipment.sent[frame.shard] -= frame.n
        await send(shipment, group)

    monkeypatch.setattr(Shipment, "send", twice)
    result = await run(write(tmp_path / "log", *many(100)), settings)
    assert (result.applied, result.redelivered, await requests(settings)) == (100, 100, 100)


async def test_a_resumed_import_with_another_key_is_refused(tmp_path: Path, settings: Settings) -> None:
    log = write(tmp_path / "log", *many(10))
    await run(log, settings)
    await fetch(settings, "UPDATE imports SET finished_at = NULL RETURNING 1")
    Keyring(settings.keyring).rotate("shop")
    with pytest.raises(InputError, match="keyring"):
        await run(log, settings)


async def test_events_ahead_of_time_are_dead_lettered_and_told(tmp_path: Path, settings: Settings) -> None:
    log = write(tmp_path / "log", line(at=datetime.now(UTC) + timedelta(days=2)), line(size=2**50), line())
    result = await run(log, settings)
    assert (result.applied, result.dead_lettered, result.rejected) == (1, {"future": 1}, {"invalid_value": 1})
    assert result.accounted
    again = await run(log, settings)
    assert (again.duplicate, again.dead_lettered, again.accounted) == (3, {}, True)


async def test_many_malformed_lines_are_listed_in_a_file_by_number_and_reason(
    tmp_path: Path, settings: Settings
) -> None:
    lines = [each for pair in zip(many(30), ["bad"] * 30, strict=True) for each in pair]
    result = await run(write(tmp_path / "my log", *lines), settings)
    assert len(result.rejected_lines) == 10
    assert result.rejected_file is not None
    listed = Path(result.rejected_file)
    assert listed.parent == settings.data_dir / "logs"
    assert listed.name.startswith("rejected-my_log-")
    assert listed.stat().st_mode & 0o777 == 0o600
    expected = ["line\treason", *(f"{number}\tmissing_field" for number in range(2, 61, 2))]
    assert listed.read_text().splitlines() == expected


async def test_a_file_without_a_request_is_not_remembered_as_imported(
    tmp_path: Path, settings: Settings
) -> None:
    result = await run(write(tmp_path / "log", "one", "two"), settings)
    assert (result.read, result.applied, result.rejected) == (2, 0, {"missing_field": 2})
    assert result.accounted
    assert not await fetch(settings, "SELECT * FROM imports")


@pytest.mark.parametrize(("content", "told"), [
    (b"", "empty"),
    (b"\0\1\2" * 1000, "not text"),
    (gzip.compress(b"\n".join(each.encode() for each in many(50)))[:-20], "ends too early"),
    (line().split(' "-"')[0].encode() + b"\n", "--format common"),
])  # fmt: skip
async def test_a_file_that_cannot_be_imported_leaves_no_trace(
    tmp_path: Path, settings: Settings, content: bytes, told: str
) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    with pytest.raises(InputError, match=told):
        await run(log, settings)
    assert not await fetch(settings, "SELECT * FROM tenants")


async def test_a_line_of_ten_megabytes_is_one_malformed_line(tmp_path: Path, settings: Settings) -> None:
    result = await run(write(tmp_path / "log", line(), "x" * 10_000_000, line()), settings)
    assert (result.applied, result.rejected, result.rejected_lines) == (2, {"too_long": 1}, [(2, "too_long")])


async def test_a_log_that_grows_while_it_is_imported_is_refused_unsent(
    tmp_path: Path, settings: Settings
) -> None:
    path = write(tmp_path / "log", *many(10))
    log = examine(path, "combined")
    with path.open("a") as file:
        file.write(line() + "\n")
    order = access_log_order(log, settings, tenant="shop")
    with pytest.raises(InputError, match="written to while it was imported"):
        await deliver(order, settings, settings.redis_url or "", settings.database_url or "", Lines("", 0))
    assert not await fetch(settings, "SELECT * FROM lanes")


async def test_a_list_of_malformed_lines_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, settings: Settings
) -> None:
    (settings.data_dir / "logs").rmdir()
    with pytest.raises(ServerError, match=r"rejected-log-.*cannot be written \(No such file or directory\)"):
        await run(write(tmp_path / "log", line(), *["bad"] * 11), settings)


@pytest.mark.parametrize("name", ["", " shop", "a" * 101, "a\nb", "a\0"])
async def test_a_tenants_name_that_cannot_be_is_refused(
    tmp_path: Path, settings: Settings, name: str
) -> None:
    with pytest.raises(InputError, match="1 to 100 printable characters"):
        await run(write(tmp_path / "log", line()), settings, name)


async def test_a_redis_that_may_evict_is_refused_before_anything_is_stored(
    tmp_path: Path, settings: Settings
) -> None:
    with redis.Redis.from_url(settings.redis_url or "") as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(ServerError, match="noeviction"):
                await run(write(tmp_path / "log", line()), settings)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert not await fetch(settings, "SELECT * FROM tenants")


async def test_a_worker_that_runs_already_is_used_and_one_that_stands_still_is_told(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(
        settings,
        "INSERT INTO workers (worker_id, host, pid, seen_at) "
        "VALUES (gen_random_uuid(), 'elsewhere', 1, now() + interval '1 hour') RETURNING 1",
    )
    monkeypatch.setattr(shipment, "PATIENCE", 0.3)
    log = write(tmp_path / "log", *many(10))
    with pytest.raises(ServerError, match=r"0 of 10 events .*streamgauge doctor"):
        await run(log, settings)
    assert len(await fetch(settings, "SELECT * FROM workers")) == 1
    # Once it has been silent for longer than a lease, one of our own takes its place.
    await fetch(settings, "UPDATE workers SET seen_at = now() - interval '1 hour' RETURNING 1")
    monkeypatch.setattr(shipment, "PATIENCE", 60.0)
    result = await run(log, settings)
    assert (result.applied, result.redelivered) == (10, 10)


async def test_publishing_waits_for_workers_that_are_behind(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(settings, shards=1, batch_events=1_000)
    ahead: list[int] = []
    send = Shipment.send

    async def watched(shipment: Shipment, group: list[Frame]) -> None:
        await send(shipment, group)
        ahead.append(shipment.published - shipment.applied)

    monkeypatch.setattr(Shipment, "send", watched)
    monkeypatch.setattr("streamgauge_imports.orders.batch_size", lambda shards: 100)
    assert (await run(write(tmp_path / "log", *many(20_000)), slow)).applied == 20_000
    # A group of frames may go before the next look, and one frame more than it has room for.
    assert max(ahead) <= 2 * 1_000 + 500 + 100


def test_frames_are_made_in_little_memory(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = write(tmp_path / "log", *many(count))
        log = AccessLog(
            path, Signature.of(path), "combined", Keyring(tmp_path / "keyring.json").tenant("shop"), None, 2, 500,
            tmp_path / "rejects",
        )  # fmt: skip
        tracemalloc.start()
        try:
            assert sum(frame.n for frame in log.frames({})) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < peak(4_000) * 1.5


def test_the_reading_process_does_not_outlive_a_command_that_is_killed(tmp_path: Path) -> None:
    path = write(tmp_path / "log", *many(60_000))
    program = f"""
import asyncio, pathlib, sys
from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge_imports.log_frames import AccessLog, Signature
from streamgauge_imports.preparing import prepared
path = pathlib.Path({str(path)!r})
log = AccessLog(path, Signature.of(path), "combined", TenantKeys("shop", 1, b"k" * 32, b"e" * 32), None, 1, 500,
                path.with_name("rejects"))
async def main():
    async with prepared(log) as frames:
        async for group in frames.groups(1):
            print(group[0].n, flush=True)
            await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "500\n"
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        assert len(children) == 1
        command.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{children[0]}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{children[0]}")


async def test_an_import_that_is_cancelled_ends_its_reader_and_its_worker(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def stuck(shipment: Shipment, group: list[Frame]) -> None:
        await shipment._attendance.ensure()
        reached.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Shipment, "send", stuck)
    task = asyncio.create_task(run(write(tmp_path / "log", *many(60_000)), settings))
    await asyncio.wait_for(reached.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text().split() or not [
        pid
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if b"streamgauge_imports" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert not await fetch(settings, "SELECT FROM leases WHERE expires_at > now()")
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "worker"]
