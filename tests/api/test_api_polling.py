"""Polling the read API: unchanged answers cost nothing, changed ones are never withheld, equal questions are answered once."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx2 as httpx
import pytest

from streamgauge.read.api import asking, version
from streamgauge.read.api.kept_answers import KeptAnswers
from streamgauge.server import create_server
from streamgauge_migrations import require_current
from tests.api.server import Api, bearer, open_api
from tests.integration.engine import Plain, generate
from tests.integration.statements import Statements, heard

ZONES = {"kolkata": "Asia/Kolkata", "berlin": "Europe/Berlin"}
REPORTS = ("summary", "dashboard", "timeseries", "breakdown", "aggregate", "ledger", "realtime")
OTHERS = ("catalogue", "pipeline", "openapi.json")
COUNT = "aggregate?metrics=events&date_range=all"


@pytest.fixture
def statements() -> Any:
    with heard() as found:
        yield found


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock's grid passes no point within a test, but for those that say so."""
    monkeypatch.setattr(asking, "QUARTER", 10**8)
    monkeypatch.setattr("streamgauge.read.api.realtime.BUCKET", 10**8)
    monkeypatch.setattr(asking.Asking.respond, "__defaults__", (10**8,))


@pytest.fixture
async def api(
    redis_url: str, database_url: str, tmp_path: Path, statements: Statements
) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        yield opened


async def filled(api: Api, count: int = 100) -> list[Plain]:
    """Events of both tenants, applied."""
    events = generate(7, count, tuple(ZONES))
    await api.engine.publish(events)
    await api.engine.drain()
    return events


async def look_again() -> None:
    """Wait until a version is not remembered any more."""
    await asyncio.sleep(1.2 * version.REMEMBERED)


@pytest.mark.parametrize("path", REPORTS)
async def test_an_unchanged_poll_is_304_and_asks_for_the_version_alone(
    api: Api, statements: Statements, path: str
) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    first = await api.get(path, key)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    assert "authorization" in first.headers["vary"].lower()
    assert len(await statements.asked()) > 3
    tag = first.headers["etag"]
    desk = api.app.state.desk
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        # Nothing is kept that it could come from.
        api.app.state.desk = dataclasses.replace(desk, kept=KeptAnswers())
        await look_again()
        await statements.clear()
        again = await api.get(path, key, **{"if-none-match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "private, no-cache"
        assert "authorization" in again.headers["vary"].lower()
        assert await statements.asked() == [version.SQL["version"]]
    # Who comes without the tag gets the kept answer: no report's SQL either.
    api.app.state.desk = desk
    await look_again()
    await statements.clear()
    kept = await api.get(path, key)
    assert (kept.status_code, kept.content, kept.headers["etag"]) == (200, first.content, tag)
    assert await statements.asked() == [version.SQL["version"]]


@pytest.mark.parametrize("path", OTHERS)
async def test_what_depends_on_no_events_is_304_without_any_statement(
    api: Api, statements: Statements, path: str
) -> None:
    key = await api.key("berlin", "read")
    first = await api.get(path, key)
    await filled(api)
    await statements.clear()
    again = await api.get(path, key, **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert await statements.asked() == []
    assert first.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("path", [*REPORTS, *OTHERS])
async def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    key = bearer(await api.key("berlin", "read"))
    got = await api.client.get(f"/api/v1/{path}", headers=key)
    head = await api.client.head(f"/api/v1/{path}", headers=key)
    assert (head.status_code, head.content) == (200, b"")
    counting = {"ratelimit"}  # the requests
    assert {name: head.headers[name] for name in head.headers.keys() - counting} == {
        name: got.headers[name] for name in got.headers.keys() - counting
    }
    tagged = {**key, "if-none-match": got.headers["etag"]}
    assert (await api.client.head(f"/api/v1/{path}", headers=tagged)).status_code == 304
    assert (await api.client.head(f"/api/v1/{path}")).status_code == 401


CHANGES = {
    "a transaction of any shard": "UPDATE shards SET token = gen_random_uuid() WHERE shard = 2",
    "another revision": "UPDATE tenants SET revision = revision + 1 WHERE name = 'berlin'",
    "a time zone from now on": "INSERT INTO tenant_time_zones SELECT tenant_id, now(), 'UTC' FROM tenants WHERE name = 'berlin'",
    "a verification": "INSERT INTO verifications SELECT tenant_id, now(), 0, NULL, NULL, '{}', 0 FROM tenants WHERE name = 'berlin'",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_an_answer_depends_on_changes_its_tag(api: Api, change: str) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    tags = {path: (await api.get(path, key)).headers["etag"] for path in REPORTS}
    await api.engine.connection.execute(CHANGES[change])
    await look_again()
    for path, tag in tags.items():
        reply = await api.get(path, key, **{"if-none-match": tag})
        assert reply.status_code == 200, path
        assert reply.headers["etag"] != tag


async def test_another_setting_catalogue_or_program_gives_another_tag(api: Api) -> None:
    key = await api.key("berlin", "read")
    tag = (await api.get("summary", key)).headers["etag"]
    told = api.app.state.settings
    for changed in ({"cardinality_limit": 77}, {"max_lateness_days": 3}):
        app = create_server(dataclasses.replace(told, **changed), require_current)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                headers = {**bearer(key), "if-none-match": tag}
                assert (await client.get("/api/v1/summary", headers=headers)).status_code == 200
    with patch("streamgauge.read.api.desk.version", lambda _: "99"):
        app = create_server(told, require_current)
        async with app.router.lifespan_context(app):
            assert app.state.desk.fingerprint != api.app.state.desk.fingerprint


async def test_equal_versions_mean_equal_bytes_in_every_process(api: Api) -> None:
    await filled(api)
    key = bearer(await api.key("berlin", "read"))
    app = create_server(api.app.state.settings, require_current)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as other:
            for path in (*REPORTS, "catalogue"):
                one = await api.client.get(f"/api/v1/{path}", headers=key)
                two = await other.get(f"/api/v1/{path}", headers=key)
                assert one.headers["etag"] == two.headers["etag"]
                assert one.content == two.content


async def test_new_events_are_told_within_a_moment(api: Api) -> None:
    events = await filled(api)
    key = await api.key("berlin", "read")
    tag = (await api.get(COUNT, key)).headers["etag"]
    await api.engine.publish([{**events[0], "tenant": "berlin"}])
    await api.engine.drain()
    await look_again()
    reply = await api.get(COUNT, key, **{"if-none-match": tag})
    assert reply.status_code == 200
    assert reply.json()["results"][0]["metrics"] == [sum(each["tenant"] == "berlin" for each in events) + 1]


async def test_a_tag_is_of_what_was_read_even_when_more_was_committed_since_the_version_was_looked_up(
    api: Api, database_url: str
) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    await api.get("realtime", key)  # looks the version up
    other = await asyncpg.connect(database_url)
    await other.execute(
        "UPDATE daily_summary SET count = count + 5; UPDATE shards SET token = gen_random_uuid()"
    )
    await other.close()
    # Within the moment for which the old version is remembered, but read from the new rows.
    early = await api.get(COUNT, key)
    await look_again()
    late = await api.get(COUNT, key)
    assert early.content == late.content
    assert early.headers["etag"] == late.headers["etag"]
    assert (await api.get(COUNT, key, **{"if-none-match": early.headers["etag"]})).status_code == 304


async def test_who_has_the_newest_answer_is_told_so_even_where_an_older_version_is_remembered(
    api: Api, statements: Statements
) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    desk = api.app.state.desk
    older = await desk.versions.of("berlin")
    await api.engine.connection.execute("UPDATE shards SET token = gen_random_uuid()")
    await look_again()
    newest = await api.get(COUNT, key)
    with patch.object(version.Versions, "of", return_value=older):
        again = await api.get(COUNT, key, **{"if-none-match": newest.headers["etag"]})
    assert (again.status_code, again.headers["etag"]) == (304, newest.headers["etag"])


async def test_tenants_that_are_alike_in_everything_have_tags_and_answers_of_their_own(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(redis_url, database_url, tmp_path, {"one": "UTC", "two": "UTC"}) as api:
        keys = {tenant: await api.key(tenant, "read") for tenant in ("one", "two")}
        for path in REPORTS:
            tags = {(await api.get(path, key)).headers["etag"] for key in keys.values()}
            assert len(tags) == 2, path
        # Even if their tags were the same, what is kept for the one would not be given to the other.
        with patch.object(asking, "tag_of", lambda *_: '"same"'):
            for _ in range(2):
                for tenant, key in keys.items():
                    assert (await api.get(COUNT, key)).json()["query"]["tenant"] == tenant


async def test_the_clocks_grid_makes_another_version(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    answer: dict[int, set[tuple[str, str]]] = {}
    for grid in (10**8, 10**7 + 1, 10**8):
        with patch.object(asking.Asking.respond, "__defaults__", (grid,)):
            reply = await api.get("timeseries", key)
            answer.setdefault(grid, set()).add((reply.headers["etag"], reply.json()["query"]["now"]))
    assert [len(found) for found in answer.values()] == [1, 1]
    assert answer[10**8] != answer[10**7 + 1]


async def test_equal_questions_asked_together_are_answered_once(api: Api, statements: Statements) -> None:
    await filled(api)
    keys = [await api.key("berlin", "read") for _ in range(4)]
    await api.get("dashboard", keys[0])
    alone = None
    for number in (1, 40):
        await api.engine.connection.execute("UPDATE shards SET token = gen_random_uuid()")
        await look_again()
        await asyncio.gather(*(api.get("catalogue", key) for key in keys))  # so that all keys are known
        await statements.clear()
        replies = await asyncio.gather(*(api.get("dashboard", keys[each % 4]) for each in range(number)))
        assert len({reply.content for reply in replies}) == 1
        asked = await statements.asked()
        alone = alone or len(asked)
        assert len(asked) == alone > 20
    # Two looks at the version: before the answer, and within its snapshot.
    assert len(statements.about(asked, "tenant_time_zones z WHERE z.tenant_id")) == 2


async def test_the_version_is_looked_up_once_however_many_poll(api: Api, statements: Statements) -> None:
    key = await api.key("berlin", "read")
    tags = {path: (await api.get(path, key)).headers["etag"] for path in REPORTS}
    desk = api.app.state.desk
    await statements.clear()
    with patch.object(version, "REMEMBERED", 60.0):
        api.app.state.desk = dataclasses.replace(desk, versions=version.Versions(desk.pool))
        for _ in range(5):
            await asyncio.gather(
                *(
                    api.get(path, key, **{"if-none-match": tag})
                    for path, tag in tags.items()
                    for _ in range(5)
                )
            )
        assert await statements.asked() == [version.SQL["version"]]


async def test_when_the_first_of_those_who_ask_goes_away_the_others_still_get_their_answer(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    await api.get("catalogue", key)
    asked = [asyncio.create_task(api.get("dashboard", key)) for _ in range(3)]
    while not api.app.state.desk.kept._asking:  # noqa: ASYNC110 - nothing tells when an answer is begun
        await asyncio.sleep(0)
    asked[0].cancel()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(replies[0], asyncio.CancelledError)
    assert [reply.status_code for reply in replies[1:] if isinstance(reply, httpx.Response)] == [200, 200]


async def test_parameters_that_mean_the_same_share_an_answer_and_others_do_not(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "read")

    async def tag(path: str) -> str:
        reply = await api.get(path, key)
        assert reply.status_code == 200
        return str(reply.headers["etag"])

    assert await tag("summary") == await tag("summary?hours=24") != await tag("summary?hours=25")
    assert await tag("timeseries?date_range=7d&interval=auto") == await tag("timeseries")
    assert await tag("aggregate?filters=%5B%5D") == await tag("aggregate?filters=%5B%20%5D")
    assert await tag("aggregate?metrics=requests,%20errors") == await tag("aggregate?metrics=requests,errors")
    assert await tag("breakdown?limit=2") != await tag("breakdown?limit=3")
    assert await tag("aggregate?metrics=requests") != await tag("timeseries?metrics=requests")


async def test_what_is_kept_stays_within_its_bound(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "read")
    kept = KeptAnswers(most_bytes=40_000)
    api.app.state.desk = dataclasses.replace(api.app.state.desk, kept=kept)
    for hours in range(1, 60):
        assert (await api.get(f"summary?hours={hours}", key)).status_code == 200
        assert kept.size <= 40_000
    assert kept.size > 30_000


ORIGIN = "https://app.example.org"


async def test_listed_origins_may_read_answers_and_their_tags_and_no_others(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(
        redis_url, database_url, tmp_path, ZONES, cors_origins=f"{ORIGIN}, https://b.example"
    ) as api:
        key = await api.key("berlin", "read")
        good = await api.get("summary", key, origin=ORIGIN)
        assert good.headers["access-control-allow-origin"] == ORIGIN
        assert "etag" in good.headers["access-control-expose-headers"].lower()
        assert "access-control-allow-credentials" not in good.headers
        for origin in ("https://evil.example", f"{ORIGIN}.evil.example", "http://app.example.org", "null"):
            other = await api.get("summary", key, origin=origin)
            assert "access-control-allow-origin" not in other.headers
        for reply in (good, other, await api.get("summary", key)):
            varies = {each.strip().lower() for each in reply.headers["vary"].split(",")}
            assert {"authorization", "origin"} <= varies
        unchanged = await api.get("summary", key, origin=ORIGIN, **{"if-none-match": good.headers["etag"]})
        assert unchanged.status_code == 304
        assert unchanged.headers["access-control-allow-origin"] == ORIGIN
        refused = await api.get("summary?hours=0", key, origin=ORIGIN)
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        asks = {
            "origin": ORIGIN,
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization,if-none-match",
        }
        preflight = await api.client.options("/api/v1/summary", headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        deletes = await api.client.options(
            "/api/v1/summary", headers={**asks, "access-control-request-method": "DELETE"}
        )
        assert deletes.status_code == 400


async def test_without_listed_origins_nothing_is_said_about_them(api: Api) -> None:
    key = await api.key("berlin", "read")
    reply = await api.get("summary", key, origin=ORIGIN)
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert "origin" not in reply.headers["vary"].lower()
