"""A tenant is deleted: nothing of it is left, nobody else notices, and the receipt says what was done, whatever happens meanwhile."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import zstandard

from streamgauge.access import audit
from streamgauge.access.keys import make_key
from streamgauge.database import Connection, open_pool
from streamgauge.entry import Batch
from streamgauge.errors import FrameError
from streamgauge.frame import freeze
from streamgauge.read.answer import answer
from streamgauge.stream import stream_key
from streamgauge.table import thaw
from streamgauge_workers import erased_log, erased_rows, erasure, event_log
from streamgauge_workers.deletion import SQL, Deletion, Tally
from streamgauge_workers.erasure import Erasure
from streamgauge_workers.rebuild import rebuild

from ..integration.engine import DAY, EVERY_KIND, Engine, Plain, event_of, generate, open_engine
from ..integration.program import Program, given

GONE = "delhi"
STAY = ("chatham", "york")
MARK = "MARKER"
ACTOR = b"\x01" + b"MARKERMARKERMARK"
KEYS = [b"MARKER-key-%05d" % number for number in range(8)]
HOLDS_TENANTS = (
    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE a.attname = 'tenant_id' "
    "AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
)


def marked(count: int, name: str = GONE) -> list[Plain]:
    """Events of the tenant that goes, each with texts, an actor and a session that no other tenant has."""
    now = int(time.time() * 1_000_000)
    return [
        {
            "name": f"{MARK}.happened" if number % 3 else "http.request", "at": now - number * 1_000_000, "tenant": name,
            "properties": {"http.route": f"/{MARK}/{number % 5}", "http.request.method": "GET", "duration": 5, MARK: f"{MARK} {number}"},
            "actor": ACTOR, "session": f"{MARK} session", "shard": number % 4, **({"key": KEYS[number]} if number < len(KEYS) else {}),
        }
        for number in range(count)
    ]  # fmt: skip


async def tenant_of(connection: Connection, name: str = GONE) -> int:
    found: int = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", name)
    return found


async def fill(engine: Engine) -> list[Plain]:
    """Rows in every table, of tenants that stay and of one that goes, in the same entries; returns the events that were applied."""
    connection = engine.connection
    before = [{**event, "key": None} for event in marked(8)]
    await connection.execute("UPDATE tenants SET name = 'later' WHERE name = $1", GONE)
    await engine.publish(before, 3)
    await engine.drain()  # rejected: there is no such tenant yet
    await connection.execute("UPDATE tenants SET name = $1 WHERE name = 'later'", GONE)
    applied = [*generate(7, 200, STAY, routes=12), *generate(8, 40, (GONE,)), *marked(40)]
    applied.sort(key=lambda event: event["at"])
    late = [
        {**event, "key": None, "at": event["at"] - 30 * DAY} for event in [*marked(6), *generate(9, 6, STAY)]
    ]
    repeated = [{**event, "at": event["at"] + 1} for event in marked(8)]
    lanes = {shard: engine.lane(shard) for shard in range(4)}
    await engine.publish([*applied, *late], 20, lanes)
    trusted = engine.lane(1)
    tenant_id = await tenant_of(connection)
    await connection.execute(
        "INSERT INTO imports (tenant_id, digest, lane, source, options) VALUES ($1, $2, $2, $3, '{}')", tenant_id, trusted.id, MARK,
    )  # fmt: skip
    history = [{**event, "key": None, "at": event["at"] - 40 * DAY} for event in marked(5)]
    await engine.send(1, trusted.freeze(freeze([event_of(event) for event in history]), len(history)))
    await engine.drain()
    await engine.publish(repeated, 20)
    # Refused whole: they overlap numbers that are done. One mixes tenants, one cannot be read, one is none of ours.
    mixed = freeze([event_of(event) for event in [*marked(2), *generate(9, 3, STAY)]])
    for payload, n in (
        (mixed, 300),
        (b"\x01\x00" + mixed[2:], 301),
        (freeze([event_of(generate(9, 1, STAY)[0])]), 302),
    ):
        await engine.send(2, Batch(lanes[2].id, lanes[2].born, 0, 0, n, payload))
    await engine.redis.xadd(stream_key(engine.settings.stream_prefix, 0, 3), {"x": f'{{"tenant":"{GONE}"}}'})
    await engine.drain()
    for name in (GONE, *STAY):
        owner = await tenant_of(connection, name)
        for statement in FILLING:
            await connection.execute(statement, owner, name, make_key().digest)
        for number in range(7):
            await audit.append_command(
                connection, owner, "keys.create", "/api/v1/keys", {"label": f"{name} {number}"}
            )
    assert (await engine.verified()).differences == []
    return [*applied, *history]


FILLING = (
    "INSERT INTO access_keys (key_id, digest, tenant_id, scopes, role) SELECT substr(md5($2), 1, 12), $3::bytea, $1, '{read}', 'analyst'",
    "INSERT INTO groups (tenant_id, group_id, name) SELECT $1, 'class', $2 WHERE $3::bytea IS NOT NULL",
    "INSERT INTO courses (tenant_id, course_id, name, parts) SELECT $1, 'course', $2, 0 WHERE $3::bytea IS NOT NULL",
    "INSERT INTO dead_letters_counted SELECT 0, $1, 'late', '2026-01-01', 0 WHERE $2 <> '' AND $3::bytea IS NOT NULL",
    "INSERT INTO group_members (tenant_id, group_id, actor) SELECT $1, 'class', '\\x01'::bytea || substring($3::bytea FOR 16) WHERE $2 <> ''",
)


async def asked(engine: Engine, ago: timedelta = timedelta(hours=1)) -> None:
    """What the API does when somebody deletes a tenant, some time ago."""
    async with engine.connection.transaction():
        await engine.connection.execute("UPDATE tenants SET status = 'deleting' WHERE name = $1", GONE)
        await engine.connection.execute(
            "INSERT INTO deletion_receipts (tenant, requested_by, requested_at) VALUES ($1, 'a test', now() - $2::interval)", GONE, ago
        )  # fmt: skip


@contextmanager
def small_steps() -> Iterator[None]:
    """Many transactions of few rows each, and no waiting."""
    with ExitStack() as stack:
        for module, name, value in (
            (erasure, "PAUSE", 0.0), (erasure, "EVERY", 0.05), (erasure, "MOST_AUDITS", 3), (erased_rows, "PAGES", 1),
            (erased_rows, "MOST_ROWS", 40), (erased_log, "MOST_EVENTS", 60),
        ):  # fmt: skip
            stack.enter_context(patch.object(module, name, value))
        yield


@asynccontextmanager
async def eraser(engine: Engine) -> AsyncIterator[Erasure]:
    pool = await open_pool(engine.database_url, 2, synchronous_commit="off")
    try:
        yield Erasure(pool, engine.settings, asyncio.Event())
    finally:
        await pool.close()


async def deleted(engine: Engine) -> dict[str, Any]:
    """Delete the tenant as one worker does; returns the receipt's content."""
    with small_steps():
        async with eraser(engine) as found:
            await found.turn()  # unless a worker of the test has done it already
    return await receipt(engine)


async def receipt(engine: Engine) -> dict[str, Any]:
    row = await engine.connection.fetchrow("SELECT deleted_at, content FROM deletion_receipts")
    assert row is not None
    assert row["deleted_at"] is not None
    found: dict[str, Any] = orjson.loads(row["content"])
    return found


Contents = dict[str, list[str]]


async def contents(connection: Connection, tenant_id: int) -> tuple[Contents, Contents]:
    """Every row of every table as text: of this tenant, and of all others. The event log and nobody's ledger apart."""
    mine: Contents = {}
    others: Contents = {}
    for (table,) in await connection.fetch(HOLDS_TENANTS):
        for found, condition in ((mine, "= $1"), (others, "IS DISTINCT FROM $1")):
            nobodys = "AND t.tenant_id > 0" if table == "outcome_ledger" else ""
            rows = await connection.fetch(
                f"SELECT t::text FROM {table} t WHERE tenant_id {condition} {nobodys} ORDER BY 1", tenant_id
            )
            found[table] = [row[0] for row in rows]
    others["verifications"] = []  # every look at the tables adds some
    # Their bytes change where they hold the tenant's events: looked at below.
    others["dead_letters"] = [
        row
        for row in others["dead_letters"]
        if not any(reason in row for reason in ("range_conflict", "undecodable", "unknown_tenant"))
    ]
    for table in ("lanes", "forgotten_lanes", "installation", "schema_migrations"):
        columns = "to_jsonb(t) - 'trusted'"
        others[table] = [
            row[0] for row in await connection.fetch(f"SELECT ({columns})::text FROM {table} t ORDER BY 1")
        ]
    return mine, others


async def logged(connection: Connection, without: str) -> list[Any]:
    """Every event of the log but those of a tenant or blanked: place, all that it says, outcome."""
    found = []
    for row in await connection.fetch("SELECT * FROM event_log ORDER BY applied_day, shard, lane, first"):
        table = event_log.read(row)
        assert table.n == row["n"]
        outcomes = row["outcomes"] or bytes(table.n)
        for place in range(table.n):
            event = table.event(place)
            if event.tenant not in (without, ""):
                found.append(
                    (
                        row["shard"],
                        row["lane"],
                        row["first"] + place,
                        row["applied_at"],
                        event,
                        outcomes[place],
                    )
                )
    return found


async def places(connection: Connection) -> list[Any]:
    """What the log's rows stand for: days, lanes and numbers."""
    rows = await connection.fetch(
        "SELECT applied_day, shard, lane, first, n, applied_at FROM event_log ORDER BY 1, 2, 3, 4"
    )
    return [tuple(row) for row in rows]


async def entered(engine: Engine) -> int:
    """How many events the ledger has to tell of: all numbers of lanes that are done, and what no lane counts."""
    refused: int = await engine.connection.fetchval(
        "SELECT coalesce(sum(events), 0)::int FROM dead_letters WHERE reason = 'range_conflict' OR lane IS NULL"
    )
    return refused + (await engine.transport()).processed


QUESTIONS = [
    {"metrics": ["events"], "date_range": "all", "dimensions": ["event.name", "time:day"]},
    {"metrics": ["requests", "visitors"], "date_range": "all", "dimensions": ["http.route"]},
]


async def answers(engine: Engine, now: str) -> list[bytes]:
    """What other tenants are answered, to the byte."""
    return [
        await answer(
            engine.connection,
            {"tenant": tenant, "now": now, **question},
            cardinality_limit=engine.settings.cardinality_limit,
            max_lateness=timedelta(days=engine.settings.max_lateness_days),
            catalogue=engine.catalogue,
        )
        for tenant in STAY
        for question in QUESTIONS
    ]


async def assert_gone(engine: Engine, tenant_id: int) -> None:
    """Nothing anywhere says anything about the tenant; its name is in the receipt alone."""
    connection = engine.connection
    mine, _ = await contents(connection, tenant_id)
    assert {table: rows for table, rows in mine.items() if rows} == {}
    for row in await connection.fetch("SELECT payload, tenants FROM event_log"):
        payload = zstandard.ZstdDecompressor().decompress(row["payload"])
        assert MARK.encode() not in payload
        assert GONE.encode() not in payload
        assert tenant_id not in row["tenants"]
    for (raw,) in await connection.fetch("SELECT raw FROM dead_letters WHERE raw IS NOT NULL"):
        assert MARK.encode() not in raw
        assert GONE.encode() not in raw
        assert GONE.encode().hex().encode() not in raw
    everything = await connection.fetch(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for (table,) in everything:
        if table != "deletion_receipts":
            wanted = [MARK, MARK.encode().hex(), *([GONE] if table != "series" else [])]
            for text in wanted:
                query = f"SELECT count(*) FROM {table} t WHERE position($1 in t::text) > 0"
                assert await connection.fetchval(query, text) == 0, (table, text)


async def test_nothing_of_a_deleted_tenant_is_left_and_nothing_of_the_others_changes(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND, cardinality_limit=5) as engine:
        events = await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        mine, others = await contents(engine.connection, tenant_id)
        assert {table for table, rows in mine.items() if not rows} == set()
        log, where = await logged(engine.connection, GONE), await places(engine.connection)
        rows, transport, outcomes = await engine.rows(), await engine.transport(), await engine.outcomes()
        keys = await engine.connection.fetchval("SELECT count(*)::int FROM event_keys")
        assert keys == len(KEYS)
        [chain] = [each for each in await audit.check(engine.connection) if each.tenant_id == tenant_id]
        now = datetime.now(UTC).isoformat()
        await asked(engine)
        assert (await engine.verified()).differences == []
        shown = await answers(engine, now)
        content = await deleted(engine)
        assert await answers(engine, now) == shown
        assert (await engine.verified()).differences == []
        await assert_gone(engine, tenant_id)
        assert (await contents(engine.connection, tenant_id))[1] == others
        assert await logged(engine.connection, GONE) == log
        assert await places(engine.connection) == where
        assert await engine.rows() == {place: row for place, row in rows.items() if place.tenant != GONE}
        stay = [event for event in events if event["tenant"] != GONE]
        assert await engine.rows() == await engine.expected(stay)
        assert await engine.transport() == transport
        assert sum((await engine.outcomes()).values()) == sum(outcomes.values()) == await entered(engine)
        assert (await engine.outcomes())["erased", ""] == (40 + 40 + 5) + 6 + 8  # applied, late, repeated
        assert (await engine.outcomes())["rejected", "unknown_tenant"] == 8
        assert await engine.connection.fetchval("SELECT count(*) FROM event_keys") == 0
        expected = {table: len(found) for table, found in mine.items()}
        assert content["rows"] == {**expected, "event_keys": keys}
        assert content["event_log"]["events"] == (40 + 40 + 5) + 6 + 8 + 8
        assert content["audit"] == {"entries": 7, "head": chain.head.hex()}
        assert (
            content["dead_letters_rewritten"] == 3 + 8
        )  # entries refused whole, and events from before it was there
        assert content["left"].keys() == {"backups", "database", "redis", "keyring", "hosts", "receipt"}


async def test_what_other_tenants_had_in_a_refused_entry_is_kept(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await fill(engine)
        query = "SELECT dead_letter_id, lane, raw, reason, events FROM dead_letters WHERE reason IN ('undecodable', 'range_conflict', 'poison') ORDER BY 1"
        before = await engine.connection.fetch(query)
        await asked(engine)
        await deleted(engine)
        after = await engine.connection.fetch(query)
        kinds: Counter[str] = Counter()
        for old, new in zip(before, after, strict=True):
            assert (old["reason"], old["events"], old["lane"]) == (new["reason"], new["events"], new["lane"])
            try:
                table = thaw(old["raw"])
            except FrameError:
                assert new["raw"] is None
                kinds["unreadable"] += 1
                continue
            kinds["readable"] += 1
            left = thaw(new["raw"])
            for row in range(table.n):
                assert (
                    left.event(row).tenant == ""
                    if table.event(row).tenant == GONE
                    else left.event(row) == table.event(row)
                )
        assert kinds == {"readable": 2, "unreadable": 2}


ADDED = (
    "CREATE TABLE notes (note_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id bigint NOT NULL, note text)",
    "CREATE TABLE remarks (tenant_id int NOT NULL, group_id text, FOREIGN KEY (tenant_id, group_id) REFERENCES groups)",
    "CREATE TABLE \"Odd name\" (shard smallint, tenant_id int, day date) PARTITION BY RANGE (day)",
    "CREATE TABLE odd_one PARTITION OF \"Odd name\" FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE TABLE odd_two PARTITION OF \"Odd name\" FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    "INSERT INTO notes (tenant_id, note) SELECT t.tenant_id, repeat('x', 500) FROM tenants t, generate_series(1, 100)",
    "INSERT INTO remarks SELECT tenant_id, group_id FROM groups",
    "INSERT INTO \"Odd name\" SELECT s.shard, t.tenant_id, d::date FROM tenants t, shards s, generate_series('2026-01-20'::date, '2026-02-10', '1 day') d",
)  # fmt: skip


async def test_a_table_that_is_added_later_is_not_forgotten(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await fill(engine)
        for statement in ADDED:
            await engine.connection.execute(statement)
        tenant_id = await tenant_of(engine.connection)
        _, others = await contents(engine.connection, tenant_id)
        await asked(engine)
        content = await deleted(engine)
        await assert_gone(engine, tenant_id)
        assert (await contents(engine.connection, tenant_id))[1] == others
        assert (content["rows"]["notes"], content["rows"]["remarks"], content["rows"]['"Odd name"']) == (
            100,
            1,
            5 * 22,  # an overflow stream beside the four
        )


GUARDS = (
    """CREATE FUNCTION holds_token() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT xmin::text FROM shards WHERE shard = coalesce(NEW.shard, OLD.shard)) <> (txid_current() % 4294967296)::text THEN
            RAISE 'without the token of its shard: %', TG_TABLE_NAME;
        END IF;
        RETURN coalesce(NEW, OLD);
    END $$""",
    """CREATE FUNCTION is_last() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM hourly_summary h WHERE h.shard = OLD.shard AND h.series_id = OLD.series_id)
        OR EXISTS (SELECT FROM daily_summary h WHERE h.shard = OLD.shard AND h.series_id = OLD.series_id)
        OR EXISTS (SELECT FROM summary_members h WHERE h.shard = OLD.shard AND h.series_id = OLD.series_id) THEN
            RAISE 'its id is still in use';
        END IF;
        RETURN OLD;
    END $$""",
    "CREATE TRIGGER is_last BEFORE DELETE ON series FOR EACH ROW EXECUTE FUNCTION is_last()",
)


async def test_every_row_of_a_shard_is_written_under_its_token_and_series_go_last(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await fill(engine)
        for statement in GUARDS:
            await engine.connection.execute(statement)
        sharded = await engine.connection.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'shard' "
            "WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname NOT IN ('shards', 'leases')"
        )
        assert len(sharded) > 10
        for (table,) in sharded:
            await engine.connection.execute(
                f"CREATE TRIGGER holds_token BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION holds_token()"
            )
        await asked(engine)
        await deleted(engine)


class DiedError(Exception):
    """The worker was killed here."""


async def test_a_deletion_that_dies_at_any_step_ends_with_the_same_receipt_and_verifies_in_between(
    redis_url: str, database_url: str
) -> None:
    """The n-th life dies in its n-th transaction, just before the commit."""
    step = Deletion.step
    lives, done = 0, 0

    @asynccontextmanager
    async def dying(self: Deletion, connection: Connection, shard: int | None = None) -> AsyncIterator[Tally]:
        nonlocal done
        async with step(self, connection, shard) as tally:
            yield tally
            done += 1
            if done == lives:
                raise DiedError

    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND, cardinality_limit=5) as engine:
        events = await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        mine, others = await contents(engine.connection, tenant_id)
        keys = await engine.connection.fetchval("SELECT count(*)::int FROM event_keys")
        await asked(engine)
        with small_steps(), patch.object(Deletion, "step", dying):
            complete = False
            while not complete:
                lives, done = lives + 1, 0
                assert lives < 100
                async with eraser(engine) as found:
                    complete = await found.turn() == 1
                assert (await engine.verified()).differences == []
                assert [chain for chain in await audit.check(engine.connection) if chain.problem] == []
        assert lives > 10
        content = await receipt(engine)
        assert content["rows"] == {**{table: len(rows) for table, rows in mine.items()}, "event_keys": keys}
        assert content["event_log"]["events"] == (40 + 40 + 5) + 6 + 8 + 8
        assert content["audit"]["entries"] == 7
        assert (
            content["dead_letters_rewritten"] == 3 + 8
        )  # entries refused whole, and events from before it was there
        assert (await contents(engine.connection, tenant_id))[1] == others
        await assert_gone(engine, tenant_id)
        assert await engine.rows() == await engine.expected(
            [event for event in events if event["tenant"] != GONE]
        )


async def test_a_killed_worker_is_followed_by_another_that_completes_the_deletion(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    urls = given(redis_url, database_url, STREAMGAUGE_LEASE_SECONDS="1", STREAMGAUGE_DATA_DIR=str(tmp_path))
    async with open_engine(redis_url, database_url) as engine:
        events = await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        mine, _ = await contents(engine.connection, tenant_id)
        await asked(engine)
        begun = "SELECT EXISTS (SELECT FROM deletion_receipts WHERE content -> 'event_log' -> 'events' IS NOT NULL)"
        with Program("worker", "--port", "0", log=tmp_path / "one", **urls) as first:
            await engine.until(begun)
            first.process.kill()
            first.ended()
        assert (
            await engine.connection.fetchval(
                "SELECT count(*) FROM deletion_receipts WHERE deleted_at IS NULL"
            )
            == 1
        )
        assert (await engine.verified()).differences == []
        with Program("worker", "--port", "0", log=tmp_path / "two", **urls):
            more = generate(20, 60, STAY)
            await engine.publish([*more, *marked(20)], 10)
            await engine.until("SELECT EXISTS (SELECT FROM deletion_receipts WHERE deleted_at IS NOT NULL)")
            await engine.drained()
        await assert_gone(engine, tenant_id)
        assert (await receipt(engine))["rows"].items() >= {
            "hourly_summary": len(mine["hourly_summary"]),
            "series": len(mine["series"]),
        }.items()
        assert await engine.rows() == await engine.expected(
            [*[event for event in events if event["tenant"] != GONE], *more]
        )
        assert (await engine.verified()).differences == []


async def test_beside_live_traffic_of_all_tenants_the_others_lose_and_double_nothing(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        events = await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        others = generate(11, 400, STAY)
        with small_steps():
            async with engine.working(2):

                async def go_on() -> None:
                    for first in range(0, 400, 20):
                        batch: list[Plain] = [
                            *others[first : first + 20],
                            *({**each, "key": None} for each in marked(8)),
                        ]
                        await engine.publish(batch, 7)
                        await asyncio.sleep(0.02)

                going = asyncio.create_task(go_on())
                await asyncio.sleep(0.1)
                await asked(engine)
                await engine.until(
                    "SELECT EXISTS (SELECT FROM deletion_receipts WHERE deleted_at IS NOT NULL)"
                )
                await going
                await engine.drained()
        await assert_gone(engine, tenant_id)
        assert (await engine.outcomes())["rejected", "tenant_deleted"] > 0
        assert await engine.rows() == await engine.expected(
            [*[event for event in events if event["tenant"] != GONE], *others]
        )
        assert (await engine.verified()).differences == []
        assert sum((await engine.outcomes()).values()) == await entered(engine)


async def test_a_worker_that_knew_the_tenant_counts_none_of_its_events_once_the_token_was_moved(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        tenant_id = await tenant_of(engine.connection)
        with (
            patch("streamgauge_workers.tenants.Tenants.REFRESH_SECONDS", 1e9),
            patch.object(erasure, "EVERY", 1e9),
        ):
            async with engine.working():
                await engine.publish(marked(20), 5)
                await engine.drained()
                await asked(engine)
                await deleted(engine)
                await engine.publish(marked(30), 5)
                await engine.drained()
        assert await engine.outcomes() == {("erased", ""): 20, ("rejected", "tenant_deleted"): 30}
        await assert_gone(engine, tenant_id)
        assert (await engine.verified()).differences == []


async def test_late_events_are_refused_by_a_reason_of_their_own_and_leave_no_content(
    redis_url: str, database_url: str
) -> None:
    late = [{**event, "at": event["at"] - 30 * DAY} for event in marked(4)]
    strange = [{**event, "tenant": "nobody", "properties": {}} for event in generate(3, 5)]
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        tenant_id = await tenant_of(engine.connection)
        await engine.publish(marked(7), 5)
        await engine.drain()
        await asked(engine)
        with patch.object(Erasure, "run", idle):
            await engine.publish(marked(6), 5)  # the same keys, which are remembered still
            await engine.drain()
        assert (await engine.outcomes())["rejected", "tenant_deleted"] == 6
        assert (await engine.verified()).differences == []
        await deleted(engine)
        await engine.publish([*generate(4, 20, STAY), *marked(10), *late, *strange], 50)
        await engine.drain()
        assert await engine.outcomes() == {
            ("erased", ""): 7, ("rejected", "tenant_deleted"): 6 + 10 + 4, ("rejected", "unknown_tenant"): 5, ("applied", ""): 20,
        }  # fmt: skip
        refused = await engine.connection.fetch("SELECT tenant_id FROM outcome_ledger WHERE reason <> ''")
        assert {row["tenant_id"] for row in refused} == {0}
        await assert_gone(engine, tenant_id)
        assert await engine.connection.fetchval("SELECT count(*) FROM event_keys") == 0
        assert (await engine.verified()).differences == []


async def idle(_: Erasure) -> None:
    """A worker that deletes nothing."""


async def test_a_tenant_of_the_same_name_made_again_starts_from_nothing(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await fill(engine)
        stay = await engine.rows()
        old = await engine.connection.fetchval("SELECT lane FROM imports")
        first_id = await tenant_of(engine.connection)
        await asked(engine)
        await deleted(engine)
        await engine.make_tenants({GONE: "Asia/Kolkata"})
        tenant_id = await tenant_of(engine.connection)
        assert tenant_id != first_id
        mine, _ = await contents(engine.connection, tenant_id)
        assert {table for table, rows in mine.items() if rows} == {"tenants", "tenant_time_zones"}
        created = await engine.connection.fetchval(
            "SELECT (extract(epoch FROM created_at) * 1000000)::bigint FROM tenants WHERE name = $1", GONE
        )
        # Of the old one: what a host still held, and the rest of its import. Then the new one's, with keys that were used before.
        held = [{**event, "at": created - 1 - place} for place, event in enumerate(marked(12))]
        again = [{**event, "at": created + place, "actor": ACTOR} for place, event in enumerate(marked(12))]
        import_lane = engine.lane(1)
        import_lane.id = old
        import_lane.next = 5
        rest = import_lane.freeze(freeze([event_of({**event, "key": None}) for event in held[:4]]), 4)
        await engine.send(1, rest)
        await engine.publish([*held, *again], 6)
        history = engine.lane(2)
        await engine.connection.execute(
            "INSERT INTO imports (tenant_id, digest, lane, source, options) VALUES ($1, $2, $2, 'file', '{}')",
            tenant_id,
            history.id,
        )
        brought = [{**event, "key": None, "at": event["at"] - 40 * DAY, "shard": 2} for event in marked(3)]
        await engine.send(2, history.freeze(freeze([event_of(event) for event in brought]), 3))
        await engine.drain()
        assert (await engine.outcomes())["rejected", "tenant_deleted"] == 12 + 4
        found = await engine.rows()
        engine.zones = {GONE: "Asia/Kolkata"}
        expected = await engine.expected([*again, *brought])
        assert {place: row for place, row in found.items() if place.tenant == GONE} == expected
        assert {p: r for p, r in found.items() if p.tenant != GONE} == {
            p: r for p, r in stay.items() if p.tenant != GONE
        }
        assert (await engine.verified()).differences == []


async def test_the_stream_read_again_after_a_deletion_brings_nothing_back(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        await asked(engine)
        await deleted(engine)
        before = await engine.rows(), await engine.outcomes()
        await engine.connection.execute(
            "UPDATE shards SET position_ms = 0, position_seq = 0, token = gen_random_uuid()"
        )
        await engine.drain()
        assert (await engine.rows(), await engine.outcomes()) == before
        assert await engine.redelivered() > 100
        await assert_gone(engine, tenant_id)


async def test_a_rebuild_between_two_steps_leaves_the_deleted_tenant_out(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine:
        events = await fill(engine)
        await asked(engine)
        await rebuild(engine.connection, engine.connection, [], engine.settings.cardinality_limit)
        tenant_id = await tenant_of(engine.connection)
        assert (
            await engine.connection.fetchval(
                "SELECT count(*) FROM hourly_summary WHERE tenant_id = $1", tenant_id
            )
            == 0
        )
        assert (await engine.verified()).differences == []
        await deleted(engine)
        await rebuild(engine.connection, engine.connection, [], engine.settings.cardinality_limit)
        assert await engine.rows() == await engine.expected(
            [event for event in events if event["tenant"] != GONE]
        )
        assert (await engine.verified()).differences == []


async def test_the_tenant_itself_stays_until_servers_have_forgotten_its_keys(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        await asked(engine, timedelta(0))
        with small_steps():
            async with eraser(engine) as found:
                assert not await found.turn()
                # A server that has not noticed yet writes once more.
                await audit.append_command(engine.connection, tenant_id, "read", "/api/v1/actors")
                await engine.connection.execute(
                    "INSERT INTO groups (tenant_id, group_id) VALUES ($1, 'new')", tenant_id
                )
                await engine.connection.execute(
                    "UPDATE deletion_receipts SET requested_at = now() - interval '1 hour'"
                )
                assert await found.turn()
        await assert_gone(engine, tenant_id)
        assert (await receipt(engine))["audit"]["entries"] == 8
        assert [each.problem for each in await audit.check(engine.connection) if each.problem] == []


async def test_a_damaged_entry_is_blanked_if_it_was_the_tenants_alone_and_named_in_the_receipt_if_not(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await engine.publish([{**event, "shard": 0} for event in marked(5)])
        await engine.publish([{**event, "shard": 1} for event in [*generate(1, 5, STAY), *marked(5)]])
        await engine.drain()
        await engine.connection.execute(
            "UPDATE event_log SET payload = payload || '\\x00', digest = sha256('')"
        )
        await asked(engine)
        content = await deleted(engine)
        assert content["event_log"] == {"entries": 1, "events": 5}
        [named] = content["left"]["damaged_entries"]
        assert named.startswith("shard 1 ")
        assert (await engine.outcomes())["erased", ""] == 5
        row = await engine.connection.fetchrow("SELECT * FROM event_log WHERE shard = 0")
        assert row is not None
        assert {event_log.read(row).event(place).tenant for place in range(5)} == {""}


async def test_deletions_asked_for_twice_are_completed_together_and_others_are_left_alone(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await engine.publish(generate(5, 50))
        await engine.drain()
        # A receipt alone deletes nobody: the tenant has to be marked as well.
        await engine.connection.execute(
            "INSERT INTO deletion_receipts (tenant, requested_by, requested_at) VALUES ('york', 'a test', now() - interval '1 day')"
        )
        await asked(engine)
        await asked(engine)
        with small_steps():
            async with eraser(engine) as found:
                assert await found.turn() == 1
                assert not await found.turn()
        rows = await engine.connection.fetch(
            "SELECT tenant, deleted_at IS NOT NULL AS done FROM deletion_receipts ORDER BY 1, 2"
        )
        assert [tuple(row) for row in rows] == [(GONE, True), (GONE, True), ("york", False)]
        names = await engine.connection.fetch("SELECT name FROM tenants ORDER BY 1")
        assert [row["name"] for row in names] == ["chatham", "york"]


async def test_a_deletion_that_cannot_go_on_does_not_hold_up_another(
    redis_url: str, database_url: str
) -> None:
    step = Deletion.step

    def failing(self: Deletion, connection: Connection, shard: int | None = None) -> Any:
        if self.tenant == GONE:
            raise DiedError
        return step(self, connection, shard)

    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await engine.publish(generate(6, 50))
        await engine.drain()
        await asked(engine, timedelta(hours=2))
        await engine.connection.execute("UPDATE tenants SET status = 'deleting' WHERE name = 'york'")
        await engine.connection.execute(
            "INSERT INTO deletion_receipts (tenant, requested_by, requested_at) SELECT 'york', 'a test', now() - interval '1 hour'"
        )
        with small_steps():
            async with eraser(engine) as found:
                with patch.object(Deletion, "step", failing):
                    assert await found.turn() == 1
                names = await engine.connection.fetch("SELECT name FROM tenants ORDER BY 1")
                assert [row["name"] for row in names] == ["chatham", GONE]
                assert await found.turn() == 1
        assert (await engine.verified()).differences == []


async def test_a_row_that_comes_at_the_last_moment_is_found_before_the_tenant_goes(
    redis_url: str, database_url: str
) -> None:
    shorten = Erasure._shorten_audit

    async def writing(self: Erasure, connection: Connection, deletion: Deletion) -> bool:
        await connection.execute(
            "INSERT INTO dimension_overflow VALUES (0, $1, 'late', now())", deletion.tenant_id
        )
        return await shorten(self, connection, deletion)

    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND) as engine:
        await engine.publish(marked(5))
        await engine.drain()
        tenant_id = await tenant_of(engine.connection)
        await asked(engine)
        with small_steps():
            async with eraser(engine) as found:
                with patch.object(Erasure, "_shorten_audit", writing):
                    assert await found.turn() == 0
                assert await tenant_of(engine.connection) == tenant_id
                assert await found.turn() == 1
        await assert_gone(engine, tenant_id)
        assert (await receipt(engine))["rows"]["dimension_overflow"] == 1


async def test_two_workers_at_it_at_once_count_everything_once(redis_url: str, database_url: str) -> None:
    """Which takes turns is only to save work: here nobody does."""
    no_turns = {**SQL, "deletion_turn": "SELECT $1::int > 0"}
    async with open_engine(redis_url, database_url, catalogue=EVERY_KIND, cardinality_limit=5) as engine:
        await fill(engine)
        tenant_id = await tenant_of(engine.connection)
        mine, _ = await contents(engine.connection, tenant_id)
        await asked(engine)
        with small_steps(), patch.object(erasure, "SQL", no_turns):
            async with eraser(engine) as one, eraser(engine) as other:
                await asyncio.gather(one.turn(), other.turn())
        content = await receipt(engine)
        assert content["rows"] == {**{table: len(rows) for table, rows in mine.items()}, "event_keys": 8}
        assert content["event_log"]["events"] == (40 + 40 + 5) + 6 + 8 + 8
        await assert_gone(engine, tenant_id)
        assert (await engine.verified()).differences == []
