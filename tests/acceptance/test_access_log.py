"""The real log through the real command: its published figures come out, whatever happens on the way."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pyroaring import BitMap

LOG = Path(__file__).parents[1] / "data" / "apache_combined_2015-05.log.gz"
DURATION = "http.server.request.duration"
# Of the log's well-formed lines, computed with independent tools: requests, visitors (host and agent), bytes.
DAYS = {
    "2015-05-17": (1_632, 365, 414_259_902),
    "2015-05-18": (2_893, 660, 788_636_158),
    "2015-05-19": (2_896, 586, 665_827_339),
    "2015-05-20": (2_578, 532, 878_559_106),
}
HOSTS = [341, 627, 561, 505]
STATUSES = {"200": 9_125, "304": 445, "404": 213, "301": 164, "206": 45, "500": 3, "403": 2, "416": 2}
VISITORS = 1_861
SUMMARIES = (
    "hourly_summary",
    "daily_summary",
    "summary_members",
    "series",
    "actors",
    "outcome_ledger",
    "event_log",
    "lanes",
)
SECONDS = 60.0


class Command:
    """`streamgauge` over given servers."""

    def __init__(self, redis_url: str, database_url: str, data_dir: Path) -> None:
        self.database_url = database_url
        self._environment = {
            **os.environ,
            "STREAMGAUGE_REDIS_URL": redis_url,
            "STREAMGAUGE_DATABASE_URL": database_url,
            "STREAMGAUGE_DATA_DIR": str(data_dir),
            "STREAMGAUGE_SHARDS": "4",
            "STREAMGAUGE_LEASE_SECONDS": "1",
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "streamgauge_cli.main", *arguments],
            env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, exit_code: int = 0) -> tuple[str, str]:
        with self.start(*arguments) as process:
            output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == exit_code, (output, errors)
        return output, errors

    def imported(self, *more: str, tenant: str = "apache") -> dict[str, Any]:
        output, _ = self.run("import", "access-log", str(LOG), "--tenant", tenant, "--json", *more)
        found: dict[str, Any] = json.loads(output)
        return found

    def fetch(self, query: str) -> list[asyncpg.Record]:
        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return await connection.fetch(query)
            finally:
                await connection.close()

        return asyncio.run(ask())


@pytest.fixture
def command(redis_url: str, database_url: str, tmp_path: Path) -> Command:
    return Command(redis_url, database_url, tmp_path / "data")


def figures(command: Command, tenant: str = "apache") -> dict[str, tuple[int, int, int]]:
    """Requests, visitors and bytes of each day, by SQL over the tables."""
    found: dict[str, list[int]] = {}
    for measure in ("count", "totals[1]"):
        for row in command.fetch(
            f"SELECT (bucket AT TIME ZONE 'UTC')::date::text AS day, sum(r.{measure})::bigint AS total FROM daily_summary r "
            "JOIN series s USING (shard, series_id) JOIN tenants t ON t.tenant_id = s.tenant_id "
            f"WHERE t.name = '{tenant}' AND metric = '{DURATION}' AND dimensions = '{{}}' GROUP BY 1 ORDER BY 1"
        ):
            found.setdefault(row["day"], []).append(row["total"])
    sets = members(command, tenant)
    return {day: (requests, len(sets[day]), size) for day, (requests, size) in found.items()}


def members(command: Command, tenant: str = "apache") -> dict[str, BitMap]:
    """The visitors of each day."""
    sets: dict[str, BitMap] = {}
    for row in command.fetch(
        "SELECT (bucket AT TIME ZONE 'UTC')::date::text AS day, members FROM summary_members JOIN series s USING (shard, series_id) "
        f"JOIN tenants t ON t.tenant_id = s.tenant_id WHERE t.name = '{tenant}' AND grain = 'd' AND metric = '{DURATION}' "
        "AND dimensions = '{}'"
    ):
        sets[row["day"]] = sets.get(row["day"], BitMap()) | BitMap.deserialize(row["members"])
    return sets


def test_the_logs_published_figures_come_out_and_twice_changes_nothing(command: Command) -> None:
    result = command.imported()
    assert (result["read"], result["applied"], result["duplicate"]) == (10_000, 9_999, 0)
    assert result["rejected"] == {"unterminated_quote": 1}
    assert result["rejected_lines"] == [[8899, "unterminated_quote"]]
    assert (result["dead_lettered"], result["accounted"]) == ({}, True)
    assert figures(command) == DAYS
    assert len(BitMap.union(BitMap(), *members(command).values())) == VISITORS
    statuses = command.fetch(
        "SELECT dimensions[3] AS status, sum(count)::int AS count FROM daily_metrics "
        f"WHERE metric = '{DURATION}' AND cardinality(dimensions) = 3 GROUP BY 1"
    )
    assert {row["status"]: row["count"] for row in statuses} == STATUSES
    rows = {table: command.fetch(f"SELECT * FROM {table} t ORDER BY t::text") for table in SUMMARIES}
    again = command.imported()
    assert (again["read"], again["applied"], again["duplicate"]) == (10_000, 0, 9_999)
    assert again["accounted"]
    for table in SUMMARIES:
        assert rows[table] == command.fetch(f"SELECT * FROM {table} t ORDER BY t::text"), table
    output, _ = command.run("import", "access-log", str(LOG), "--tenant", "apache")
    assert "Already imported on 20" in output
    assert "line 8,899: unterminated_quote" in output


def test_an_import_killed_in_the_middle_and_run_again_is_exact(command: Command) -> None:
    command.imported(tenant="control")

    async def stop_in_the_middle() -> "tuple[int, list[str]]":
        connection = await asyncpg.connect(command.database_url)
        process = command.start("import", "access-log", str(LOG), "--tenant", "apache")
        try:
            # One shard cannot go on while this is held, so that the others get done and it does not.
            async with connection.transaction():
                await connection.execute("SELECT 1 FROM shards WHERE shard = 2 FOR NO KEY UPDATE")
                deadline = time.monotonic() + SECONDS
                while time.monotonic() < deadline:
                    done = await connection.fetchval(
                        "SELECT coalesce(sum(n), 0)::int FROM event_log "
                        "WHERE lane = (SELECT lane FROM imports WHERE finished_at IS NULL)"
                    )
                    if done > 0:
                        break
                    await asyncio.sleep(0.05)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                process.send_signal(signal.SIGKILL)
                process.communicate()
            return done, children
        finally:
            process.kill()
            process.communicate()
            await connection.close()

    done, children = asyncio.run(stop_in_the_middle())
    assert 0 < done < 9_999
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert figures(command) != DAYS
    result = command.imported()
    assert (result["read"], result["applied"] + result["duplicate"]) == (10_000, 9_999)
    assert 0 < result["applied"] <= 9_999 - done
    assert result["rejected"] == {"unterminated_quote": 1}
    assert result["accounted"]
    assert figures(command) == DAYS
    for view in ("hourly_metrics", "daily_metrics"):
        one, other = (
            command.fetch(
                f"SELECT metric, dimensions, bucket, count, errors, observed, sum, min, max FROM {view} "
                f"WHERE tenant = '{tenant}' ORDER BY metric, dimensions, bucket"
            )
            for tenant in ("apache", "control")
        )
        assert one == other


def test_in_the_common_format_visitors_are_hosts(command: Command, tmp_path: Path) -> None:
    common = tmp_path / "common.log"
    lines = gzip.decompress(LOG.read_bytes()).splitlines()
    lines.pop(8898)
    common.write_bytes(b"".join(re.sub(rb' "[^"]*" "[^"]*"$', b"", line) + b"\n" for line in lines))
    arguments = "import", "access-log", str(common), "--tenant", "apache", "--json"
    result = json.loads(command.run(*arguments, "--format", "common")[0])
    assert (result["applied"], result["rejected"]) == (9_999, {})
    found = figures(command)
    assert [each[1] for each in found.values()] == HOSTS
    assert [(each[0], each[2]) for each in found.values()] == [(each[0], each[2]) for each in DAYS.values()]


def test_what_is_given_wrongly_is_told_in_a_line_without_a_trace(command: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.log.gz"
    broken.write_bytes(LOG.read_bytes()[:-1000])
    for arguments, told in (
        ((str(tmp_path),), "is a folder"),
        ((str(broken),), "ends too early"),
        ((str(tmp_path / "none.log"),), "does not exist"),
        ((str(LOG), "--format", "common"), "--format combined"),
        ((str(LOG), "--time-zone", "Mars"), "Unknown time zone 'Mars'"),
        ((str(LOG), "--routes", str(tmp_path / "none")), "cannot be read"),
    ):
        output, errors = command.run("import", "access-log", *arguments, "--tenant", "apache", exit_code=2)
        assert output == ""
        assert told in errors
        assert errors.startswith("streamgauge: ")
        assert errors.count("\n") == 1
    assert not command.fetch("SELECT * FROM tenants")


def test_a_load_told_by_the_command_is_in_the_tables(command: Command) -> None:
    arguments = (
        "load",
        "--tenant",
        "school",
        "--actors",
        "50",
        "--days",
        "2",
        "--seed",
        "3",
        "--events",
        "1000",
        "--json",
    )
    told = json.loads(command.run(*arguments)[0])
    assert told["result"]["applied"] == told["totals"]["events"] == 1_000
    (row,) = command.fetch(
        "SELECT sum(count)::int AS requests, sum(errors)::int AS errors, sum(sum)::bigint AS duration FROM daily_metrics "
        f"WHERE metric = '{DURATION}' AND dimensions = '{{}}'"
    )
    totals = told["totals"]
    assert tuple(row.values()) == (totals["requests"], totals["errors"], totals["sum_duration"])
    again = json.loads(command.run(*arguments, "--until", told["until"])[0])
    assert again["result"]["duplicate"] == 1_000
    assert again["totals"] == totals
