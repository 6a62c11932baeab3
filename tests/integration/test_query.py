"""Questions answered from tables that plain SQL has filled, compared with the requests these were filled from."""

import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import numpy as np
import orjson
import pytest
from pyroaring import BitMap

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection, open_connection
from streamgauge.errors import InputError, ServerError
from streamgauge.read import rows
from streamgauge.read.answer import answer
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.rollups import ANY
from streamgauge_cli import query as command
from streamgauge_cli import session

ZONE = "Asia/Kolkata"
NOW = "2024-05-01T12:00:00Z"
SHARDS = 4
SALTED = 1 << 31
#: A dimension's property -> the request's field.
FIELDS = {
    "http.route": "route", "http.request.method": "method", "http.response.status_code": "status", "url.path": "path", "error.type": "error",
    "event.name": "name",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a tenant in Kolkata, half an hour off the hours of UTC."""

    at: datetime
    route: str = "/"
    method: str = "GET"
    status: str = "200"
    path: str | None = None
    duration: int | None = None
    size: int | None = None
    actor: int | None = None
    shard: int = 0
    name: str = "http.request"
    error: str | None = None

    def local(self, grain: str) -> datetime:
        """The local start of its hour or day."""
        local = self.at.astimezone(ZoneInfo(ZONE)).replace(minute=0, second=0, microsecond=0)
        return local.replace(hour=0) if grain == "d" else local


@dataclass
class Tables:
    """A connection, and the tables of tenant `shop` to fill through it."""

    connection: Connection
    tenant_id: int = 0
    last_series: Counter[int] = field(default_factory=Counter)

    async def create(self) -> None:
        """The tenant and its shards."""
        self.tenant_id = await self.connection.fetchval(
            "INSERT INTO tenants (name) VALUES ('shop') RETURNING tenant_id"
        )
        await self.connection.execute(
            "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, $2)", self.tenant_id, ZONE
        )
        await self.connection.execute(
            "INSERT INTO shards (shard, generation, number, position_ms, applied_at) "
            "SELECT n, 0, n, 100 + n, '2024-05-01 11:59:00+00'::timestamptz + n * interval '1 s' FROM generate_series(0, 3) n"
        )

    async def fill(self, requests: Sequence[Request]) -> None:
        """Every row that a worker would have written for these requests."""
        if any(request.actor is not None and request.actor >= SALTED for request in requests):
            await self.connection.execute(
                "UPDATE tenants SET next_visitor = 4294967296 WHERE tenant_id = $1", self.tenant_id
            )
        for rollup in (each for each in CATALOGUE.rollups if each.event in (ANY, "http.request")):
            for place, grouping in enumerate(rollup.groupings):
                series: dict[tuple[int, tuple[str, ...]], list[Request]] = {}
                for request in requests:
                    values = tuple(getattr(request, FIELDS[name]) for name in grouping)
                    if None not in values:
                        series.setdefault((request.shard, values), []).append(request)
                for (shard, values), found in series.items():
                    self.last_series[shard] += 1
                    key = shard, self.last_series[shard], self.tenant_id
                    await self.connection.execute(
                        "INSERT INTO series (shard, series_id, tenant_id, metric, grouping, dimensions) "
                        "VALUES ($1, $2, $3, $4, $5, $6)", *key, rollup.metric, place, values,
                    )  # fmt: skip
                    for grain, table in (("h", "hourly_summary"), ("d", "daily_summary")):
                        await self._fill_rows(key, grain, table, found, bool(rollup.totals))

    async def _fill_rows(
        self, key: tuple[int, int, int], grain: str, table: str, requests: Sequence[Request],
        totals: bool,
    ) -> None:  # fmt: skip
        buckets: dict[datetime, list[Request]] = {}
        for request in requests:
            buckets.setdefault(request.local(grain), []).append(request)
        for bucket, found in buckets.items():
            observed = [number for request in found if (number := request.duration) is not None]
            sizes = [request.size for request in found if request.size is not None]
            await self.connection.execute(
                f"INSERT INTO {table} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", *key, bucket, len(found),
                sum(request.status >= "500" for request in found), len(observed), sum(observed),
                min(observed, default=None), max(observed, default=None),
                Histogram.of(np.array(observed, np.int64)).encode() if observed else None,
                ([sum(sizes)] if sizes else [None]) if totals else [],
            )  # fmt: skip
            ids = sorted({request.actor for request in found if request.actor is not None})
            for part in (1, 2):  # in two parts that overlap, as compaction may leave them
                if ids:
                    await self.connection.execute(
                        "INSERT INTO summary_members VALUES ($1, $2, $3, $4, $5, $6, $7)", *key, grain.encode(), bucket,
                        part, BitMap(ids if part == 1 else ids[::2]).serialize(),
                    )  # fmt: skip

    async def ask(
        self, metrics: str, date_range: object, limit: int = 1000, **more: object
    ) -> dict[str, Any]:
        """An answer, from its JSON."""
        question = {
            "tenant": "shop",
            "metrics": metrics.split(),
            "date_range": date_range,
            "now": NOW,
            **more,
        }
        found = await answer(
            self.connection, question, cardinality_limit=limit, max_lateness=timedelta(days=7)
        )
        parsed: dict[str, Any] = orjson.loads(found)
        return parsed

    async def rows(
        self, metrics: str, date_range: object, limit: int = 1000, **more: object
    ) -> dict[tuple[str, ...], list[Any]]:
        """An answer's metrics by dimensions."""
        found = await self.ask(metrics, date_range, limit, **more)
        return {tuple(row["dimensions"]): row["metrics"] for row in found["results"]}


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Tables]:
    connection = await open_connection(database_url)
    found = Tables(connection)
    await found.create()
    yield found
    await connection.close()


def requests_of(seed: int, count: int = 300, salted: bool = False) -> list[Request]:
    chance = random.Random(seed)
    start = datetime(2024, 4, 26, 18, 30, tzinfo=UTC)  # the 27th begins in Kolkata
    return [
        Request(
            at=start + timedelta(seconds=chance.randrange(4 * 86_400)),
            route=chance.choice(["/", "/cart", "/item/{id}"]),
            method=chance.choice(["GET", "POST"]),
            status=chance.choice(["200", "200", "304", "404", "500"]),
            path=chance.choice([None, "/item/1", "/item/2", "/cart"]),
            duration=chance.choice([None, chance.randrange(10**7)]),
            size=chance.choice([None, chance.randrange(10**6)]),
            actor=chance.choice([None, chance.randrange(1, 40) + (SALTED if salted else 0)]),
            shard=chance.randrange(SHARDS),
        )
        for _ in range(count)
    ]


DAYS = ["2024-04-27", "2024-04-30"]


def counted(
    requests: Sequence[Request], key: Callable[[Request], tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    return dict(Counter(map(key, requests)))


@pytest.mark.parametrize("grain", ["time:day", "time:hour"])
async def test_counts_and_visitors_of_every_bucket_equal_a_recount(tables: Tables, grain: str) -> None:
    requests = requests_of(1, salted=True)
    await tables.fill(requests)
    found = await tables.rows("requests visitors bytes", DAYS, dimensions=[grain])
    expected: dict[tuple[str, ...], list[Request]] = {key: [] for key in found}
    for request in requests:
        expected[(request.local(grain[5]).isoformat(),)].append(request)
    assert len(found) == {"time:day": 4, "time:hour": 96}[grain]
    for key, inside in expected.items():
        sizes = [request.size for request in inside if request.size is not None]
        visitors = {request.actor for request in inside} - {None}
        assert found[key] == [len(inside), len(visitors), sum(sizes) if sizes or not inside else None]


async def test_breakdowns_equal_a_recount_over_all_stripes(tables: Tables) -> None:
    requests = requests_of(2)
    await tables.fill(requests)
    dimensions = ["http.route", "http.response.status_class", "http.request.method"]
    found = await tables.rows("requests", DAYS, dimensions=dimensions)
    assert {key: row[0] for key, row in found.items()} == counted(
        requests, lambda request: (request.route, f"{request.status[0]}xx", request.method)
    )
    assert await tables.rows("events", DAYS, dimensions=["event.name"]) == {("http.request",): [300]}


async def test_durations_equal_a_recount_within_the_stated_error(tables: Tables) -> None:
    requests = requests_of(3)
    await tables.fill(requests)
    names = "min_duration avg_duration max_duration p50_duration p90_duration p95_duration p99_duration"
    times = sorted(request.duration for request in requests if request.duration is not None)
    found = await tables.rows(names, DAYS)
    least, mean, greatest, *quantiles = found[()]
    assert (least, greatest) == (times[0] / 1000, times[-1] / 1000)
    assert mean == pytest.approx(sum(times) / len(times) / 1000, abs=0.0005)
    for share, value in zip((50, 90, 95, 99), quantiles, strict=True):
        assert value == pytest.approx(times[ceil(share * len(times) / 100) - 1] / 1000, rel=0.00782)


async def test_a_range_of_hours_takes_its_whole_days_from_daily_rows_and_its_edges_from_hourly_ones(
    tables: Tables,
) -> None:
    requests = requests_of(4)
    await tables.fill(requests)
    first, last = "2024-04-27T22:00:00+05:30", "2024-04-30T03:00:00+05:30"
    inside = [
        request
        for request in requests
        if datetime.fromisoformat(first) <= request.at < datetime.fromisoformat(last)
    ]
    question: dict[str, Any] = {"filters": [["is", "http.route", ["/cart", "/"]]]}
    kept = [request for request in inside if request.route in ("/cart", "/")]
    daily = {(request.local("d"), request.actor) for request in kept if request.actor is not None}
    found = await tables.rows("requests visitors sum_daily_visitors", [first, last], **question)
    assert found == {(): [len(kept), len({actor for _, actor in daily}), len(daily)]}
    # Daily rows of whole days are used, and no others: without them those days are missing.
    await tables.connection.execute("DELETE FROM daily_summary")
    edges = [request for request in kept if request.local("d").day in (27, 30)]
    assert await tables.rows("requests", [first, last], **question) == {(): [len(edges)]}


async def test_requests_without_a_path_are_left_out_and_counted(tables: Tables) -> None:
    requests = requests_of(5)
    await tables.fill(requests)
    found = await tables.ask(
        "requests", DAYS, dimensions=["url.path"], filters=[["is", "http.request.method", ["GET"]]]
    )
    with_path = [request for request in requests if request.path is not None]
    assert {row["dimensions"][0]: row["metrics"][0] for row in found["results"]} == Counter(
        request.path for request in with_path if request.method == "GET"
    )
    assert found["meta"]["left_out"] == {"dimensions": ["url.path"], "events": 300 - len(with_path)}
    assert "left_out" not in (await tables.ask("requests", DAYS, dimensions=["http.route"]))["meta"]


@pytest.mark.parametrize(
    "filters",
    [
        [["is", "http.route", ["/cart"]], ["is", "http.response.status_code", [404, 500]]],
        [["is", "http.route", ["/cart", "/"]], ["is", "http.route", ["/cart"]]],
        [["or", [["is", "http.route", ["/cart"]], ["contains", "url.path", ["1"]]]]],
        [["not", ["is", "http.response.status_class", ["2xx"]]], ["is_not", "http.request.method", ["POST"]]],
    ],
)
async def test_filters_keep_what_they_say(tables: Tables, filters: list[Any]) -> None:
    requests = requests_of(6)
    await tables.fill(requests)

    def passes(part: list[Any], request: Request) -> bool:
        operator, *rest = part
        if operator == "or":
            return any(passes(inner, request) for inner in rest[0])
        if operator == "not":
            return not passes(rest[0], request)
        name, values = rest[0], [str(value) for value in rest[1]]
        value = f"{request.status[0]}xx" if name.endswith("class") else getattr(request, FIELDS[name])
        return {
            "is": value in values, "is_not": value not in values, "contains": any(text in value for text in values)
        }[operator]  # fmt: skip

    needs_path = "url.path" in str(filters)
    kept = [
        request
        for request in requests
        if (request.path is not None or not needs_path) and all(passes(part, request) for part in filters)
    ]
    assert (await tables.rows("requests", DAYS, filters=filters))[()] == [len(kept)]
    assert kept


async def test_values_are_kept_or_merged_by_rank_over_all_stripes_together(tables: Tables) -> None:
    day = datetime(2024, 4, 28, tzinfo=ZoneInfo(ZONE))
    ranks = {"/a": 5, "/b": 1, "/c": 9, "/d": 3}
    requests = [
        Request(day + timedelta(hours=shard, days=days), route, shard=shard, actor=actor)
        for actor, (route, shard) in enumerate(
            (("/a", 0), ("/b", 0), ("/b", 1), ("/c", 1), ("/d", 2), ("(other)", 2))
        )
        for days in (0, 1)
    ]
    await tables.fill(requests)
    await tables.connection.executemany(
        "INSERT INTO dimension_values VALUES ($1, $2, 'http.route', $3, $4, $5)",
        [
            (request.shard, tables.tenant_id, request.local("d"), ranks[request.route], request.route)
            for request in requests
            if request.route in ranks
        ],
    )
    await tables.connection.execute(
        "INSERT INTO dimension_overflow VALUES (2, $1, 'http.route', $2), (1, $1, 'http.route', $2), (1, $1, 'url.path', $2)",
        tables.tenant_id, day,
    )  # fmt: skip
    one = ["2024-04-28", "2024-04-28"]
    merged = {("/b",): [2, 2], ("/d",): [1, 1], ("(other)",): [3, 3]}
    assert await tables.rows("requests visitors", one, limit=2, dimensions=["http.route"]) == merged
    hours = await tables.rows("requests", one, limit=2, dimensions=["time:hour", "http.route"])
    assert hours[("2024-04-28T00:00:00+05:30", "(other)")] == [1]
    assert hours[("2024-04-28T01:00:00+05:30", "(other)")] == [1]
    assert sum(row[0] for (_, route), row in hours.items() if route == "(other)") == 3
    filters = [["is", "http.route", ["/a", "/b"]]]
    assert await tables.rows("requests", one, limit=2, filters=filters) == {(): [2]}
    assert await tables.rows("requests", one, limit=2, filters=[["is", "http.route", ["(other)"]]]) == {
        (): [3]
    }
    # On the next day no stripe alone had too many: together they have, and how many stripes there are must not matter.
    both = await tables.ask("requests", ["2024-04-28", "2024-04-29"], limit=2, dimensions=["http.route"])
    assert {row["dimensions"][0]: row["metrics"] for row in both["results"]} == {
        "/b": [4],
        "/d": [2],
        "(other)": [6],
    }
    (told,) = both["meta"]["approximations"]
    assert (told["dimension"], told["days"], told["last_day"]) == ("http.route", 2, "2024-04-29")
    roomy = await tables.ask("requests", ["2024-04-29", "2024-04-29"], limit=4, dimensions=["http.route"])
    assert len(roomy["results"]) == 5
    assert roomy["meta"]["approximations"] == []


async def test_salted_visitors_of_several_days_are_answered_by_day(tables: Tables) -> None:
    requests = requests_of(7, salted=True)
    await tables.fill(requests)
    found = await tables.ask("visitors", DAYS)
    daily = {(request.local("d"), request.actor) for request in requests if request.actor is not None}
    assert found["results"][0]["metrics"] == [len(daily)]
    assert found["query"]["metrics"] == ["sum_daily_visitors"]
    assert list(found["meta"]["metric_warnings"]) == ["visitors"]


async def test_everything_reaches_from_the_first_day_to_the_last(tables: Tables) -> None:
    await tables.fill(requests_of(8))
    found = await tables.ask("requests", "all", dimensions=["time:day"])
    assert found["query"]["date_range"] == ["2024-04-27T00:00:00+05:30", "2024-05-01T00:00:00+05:30"]
    assert sum(row["metrics"][0] for row in found["results"]) == 300
    assert found["meta"]["time_zone"] == ZONE
    assert found["meta"]["as_of"] == "2024-05-01T11:59:03Z"


async def test_a_tenant_without_rows_has_zeros(tables: Tables) -> None:
    found = await tables.ask("requests error_rate visitors p50_duration", "all")
    assert found["results"] == [{"dimensions": [], "metrics": [0, None, 0, None]}]
    assert found["meta"]["verification"]["state"] == "unverified"


async def test_the_time_zone_in_force_is_told_and_earlier_days_keep_theirs(tables: Tables) -> None:
    await tables.connection.execute(
        "INSERT INTO tenant_time_zones VALUES ($1, '2024-04-29 00:00+00', 'Europe/Berlin'), "
        "($1, '2999-01-01 00:00+00', 'UTC')", tables.tenant_id,
    )  # fmt: skip
    found = await tables.ask("requests", ["2024-04-27", "2024-04-30"])
    assert found["meta"]["time_zone"] == "Europe/Berlin"
    assert found["query"]["date_range"] == ["2024-04-27T00:00:00+05:30", "2024-05-01T00:00:00+02:00"]


async def test_without_now_the_databases_clock_decides(tables: Tables) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    question = {"tenant": "shop", "metrics": ["requests"], "date_range": "day"}
    found = orjson.loads(
        await answer(tables.connection, question, cardinality_limit=9, max_lateness=timedelta(days=7))
    )
    assert datetime.fromisoformat(found["query"]["now"]) - before < timedelta(minutes=1)
    assert found["meta"]["final"] is False


POSITIONS = {str(shard): [100 + shard, 0] for shard in range(SHARDS)}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("SELECT 1", "verified"),
        ("UPDATE tenants SET revision = 1", "stale"),
        ("UPDATE shards SET position_seq = 1 WHERE shard = 2", "stale"),
        ("UPDATE verifications SET differences = 1", "differences"),
        ("UPDATE verifications SET first_day = '2024-04-28'", "unverified"),
        ("UPDATE verifications SET last_day = '2024-04-29'", "unverified"),
        ("UPDATE verifications SET positions = '{\"0\": \"100-0\", \"1\": \"101-0\", \"2\": \"102-0\", \"3\": \"103-0\"}'",
         "verified"),
    ],
)  # fmt: skip
async def test_the_ranges_verification_is_told_with_what_it_is_worth(
    tables: Tables, change: str, state: str
) -> None:
    await tables.fill(requests_of(9))
    await tables.connection.execute(
        "INSERT INTO verifications VALUES ($1, '2024-05-01 10:00+00', 0, '2024-04-27', '2024-04-30', $2, 0)",
        tables.tenant_id, orjson.dumps(POSITIONS).decode(),
    )  # fmt: skip
    await tables.connection.execute(change)
    found = (await tables.ask("requests", "30d"))["meta"][
        "verification"
    ]  # wider than the days that have rows
    assert found["state"] == state
    assert found["verified_at"] == (None if state == "unverified" else "2024-05-01T10:00:00Z")


async def test_an_unknown_tenant_is_named(tables: Tables) -> None:
    with pytest.raises(InputError, match="tenant 'shoop' is not known") as raised:
        await tables.ask("requests", "7d", tenant="shoop")
    assert raised.value.field == "tenant"


async def test_another_tenants_rows_are_never_counted(tables: Tables) -> None:
    await tables.fill(requests_of(10, 20))
    other = Tables(tables.connection, last_series=tables.last_series)
    other.tenant_id = await tables.connection.fetchval(
        "INSERT INTO tenants (name) VALUES ('b') RETURNING tenant_id"
    )
    await tables.connection.execute(
        "INSERT INTO tenant_time_zones VALUES ($1, '-infinity', $2)", other.tenant_id, ZONE
    )
    await other.fill(requests_of(11, 30))
    assert (await tables.rows("requests events", DAYS))[()] == [20, 20]
    assert (await tables.rows("requests events", DAYS, tenant="b"))[()] == [30, 30]


async def test_an_answer_is_one_snapshot_whatever_is_committed_meanwhile(
    tables: Tables, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables.fill(requests_of(12, 20))
    load_tenant = rows.load_tenant

    async def and_then_another_commits(connection: Connection, name: str) -> rows.Tenant:
        found = await load_tenant(connection, name)
        other = await asyncpg.connect(database_url)
        await other.execute(
            "UPDATE daily_summary SET count = count + 1000; UPDATE shards SET applied_at = now()"
        )
        await other.close()
        return found

    monkeypatch.setattr("streamgauge.read.answer.load_tenant", and_then_another_commits)
    found = await tables.ask("requests", DAYS)
    assert found["results"][0]["metrics"] == [20]
    assert found["meta"]["as_of"] == "2024-05-01T11:59:03Z"


async def test_reading_cannot_write(tables: Tables) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with rows.snapshot(tables.connection) as connection:
            await connection.execute("DELETE FROM series")


async def test_a_question_that_takes_too_long_says_what_to_narrow(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TIMEOUT", 1)
    with pytest.raises(ServerError, match="narrow date_range"):
        async with rows.snapshot(tables.connection) as connection:
            await connection.execute("SELECT pg_sleep(5)")


async def test_a_question_with_too_many_cells_says_what_to_narrow(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables.fill(requests_of(13, 40))
    monkeypatch.setattr(rows, "MOST_CELLS", 5)
    with pytest.raises(InputError, match="more than 5 combinations"):
        await tables.ask("requests", DAYS, dimensions=["http.route", "time:hour"])


async def test_equal_rows_give_equal_bytes_whatever_their_stripes(tables: Tables, database_url: str) -> None:
    requests = requests_of(14, 120, salted=True)
    question = {
        "tenant": "shop", "metrics": ["visitors", "requests", "p95_duration", "avg_bytes"], "date_range": DAYS,
        "dimensions": ["http.route", "time:week"], "now": NOW,
    }  # fmt: skip
    answers = []
    for shards in (4, 1):
        await tables.connection.execute("TRUNCATE series, hourly_summary, daily_summary, summary_members")
        await tables.fill(
            [_moved(request, shards) for request in reversed(requests)] if shards == 1 else requests
        )
        answers.append(
            await answer(tables.connection, question, cardinality_limit=9, max_lateness=timedelta(days=7))
        )
    assert answers[0] == answers[1]


def _moved(request: Request, shards: int) -> Request:
    return Request(
        request.at, request.route, request.method, request.status, request.path, request.duration, request.size,
        request.actor, request.shard % shards,
    )  # fmt: skip


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """The command with this test's database for its servers."""

    @asynccontextmanager
    async def servers(wanted: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(database_url=database_url)

    monkeypatch.setattr(session, "servers", servers)


async def test_the_command_prints_one_object_and_a_newline(
    tables: Tables, command_line: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    await tables.fill(requests_of(15, 10))
    text = orjson.dumps({"tenant": "shop", "metrics": ["requests"], "date_range": DAYS}).decode()
    file = tmp_path / "question.json"
    file.write_text(text)
    for given in (text, "-", f"@{file}"):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        await command.query(given)
        printed = capfd.readouterr().out
        assert orjson.loads(printed)["results"] == [{"dimensions": [], "metrics": [10]}]
        assert printed.count("\n") == 1


@pytest.mark.parametrize("given", ["@/nowhere/at.all", "@.", "@a\0b"])
def test_a_file_that_cannot_be_read_is_named(given: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        command.read_question(given)


async def test_a_mistake_is_told_before_any_server_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(session, "servers")
    with pytest.raises(InputError, match="not JSON"):
        await command.query("{")
