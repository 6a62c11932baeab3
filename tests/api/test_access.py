"""Who gets in: keys of the API."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from hmac import compare_digest
from pathlib import Path
from unittest.mock import patch

import pytest

from streamgauge.access import callers, store
from streamgauge.access.keys import make_key, parse_key
from streamgauge.errors import InputError, ServerError
from streamgauge.logs import redacted
from streamgauge_local.credentials import FILE, local_keys
from tests.api.server import Api, open_api
from tests.integration.program import Program, given


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, {"here": "UTC", "there": "UTC"}) as opened:
        yield opened


async def test_a_revoked_key_is_refused_within_five_seconds_by_a_server_that_knew_it(api: Api) -> None:
    key = await api.key("here", "read")
    assert (await api.get("catalogue", key)).status_code == 200
    parsed = parse_key(key)
    assert parsed is not None
    await store.revoke(api.engine.connection, parsed.key_id)
    began = time.monotonic()
    while (await api.get("catalogue", key)).status_code == 200:
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.2)


async def test_a_known_key_is_not_looked_up_for_every_request(api: Api) -> None:
    key = await api.key("here", "read")
    await api.get("catalogue", key)
    with patch.object(callers.Callers, "_ask", side_effect=AssertionError("asked the database")):
        assert (await api.get("catalogue", key)).status_code == 200


async def test_secrets_are_compared_in_constant_time(api: Api) -> None:
    key = await api.key("here", "read")
    with patch.object(callers, "compare_digest", wraps=compare_digest) as compared:
        await api.get("catalogue", key)
        await api.get("catalogue", make_key().text)
    assert compared.call_count == 2


async def test_without_the_database_nobody_gets_in(api: Api) -> None:
    with patch.object(callers.Callers, "_ask", side_effect=ServerError("PostgreSQL does not answer")):
        reply = await api.get("catalogue", make_key().text)
    assert reply.status_code == 503


async def test_the_database_holds_digests_and_no_key(api: Api) -> None:
    key = await api.key("here", "read", "write")
    rows = await api.engine.connection.fetch("SELECT access_keys::text AS row FROM access_keys")
    parsed = parse_key(key)
    assert parsed is not None
    assert len(rows) == 1
    assert parsed.digest.hex() in rows[0]["row"]
    assert parsed.secret not in rows[0]["row"]


def test_a_key_in_a_log_line_is_hidden() -> None:
    key = make_key().text
    assert key not in redacted(f"request with {key} failed")


async def test_keys_of_unknown_tenants_and_scopes_are_not_made(api: Api) -> None:
    for tenant, scopes, field in (
        ("nowhere", ["read"], "tenant"),
        ("here", ["owner"], "scopes"),
        ("here", [], "scopes"),
    ):
        with pytest.raises(InputError) as refused:
            await store.create(api.engine.connection, tenant, scopes)
        assert refused.value.field == field


async def test_local_keys_are_kept_closed_to_others_and_made_anew_when_they_are_refused(
    api: Api, database_url: str, tmp_path: Path
) -> None:
    first = await local_keys(database_url, tmp_path, "here")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert await local_keys(database_url, tmp_path, "here") == first
    assert (await api.get("catalogue", first.read)).status_code == 200
    await api.engine.connection.execute("UPDATE access_keys SET revoked_at = now()")
    second = await local_keys(database_url, tmp_path, "here")
    assert second.read != first.read
    # A tenant that is not there yet is made; the others' keys stay.
    other = await local_keys(database_url, tmp_path, "new one")
    assert (await api.get("catalogue", other.read)).status_code == 200
    assert await local_keys(database_url, tmp_path, "here") == second


def test_the_command_makes_lists_and_revokes_keys(
    redis_url: str, database_url: str, tmp_path: Path, api: Api
) -> None:
    environment = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path))

    def run(*arguments: str, code: int = 0) -> str:
        with Program("keys", *arguments, log=tmp_path / "log", **environment) as program:
            assert program.ended() == code, program.output
            return program.output

    said = run(
        "create", "--tenant", "fresh", "--read", "--label", "for the wall", "--actor", "ada@example.org"
    )
    key = re.search(r"sg_([0-9a-z]{12})_[A-Za-z0-9_-]{43}", said)
    assert key is not None
    listed = run("list")
    assert f"{key[1]}  fresh  analyst  read  server, about one actor  usable  for the wall" in listed
    assert key[0] not in listed
    assert "revoked" in run("revoke", key[1])
    assert f"{key[1]}  fresh  analyst  read  server, about one actor  revoked" in run(
        "list", "--tenant", "fresh"
    )
    assert "Give --read" in run("create", "--tenant", "fresh", code=2)
    assert "--write alone" in run("create", "--tenant", "fresh", "--read", "--browser", code=2)
    assert "there is no key" in run("revoke", "nope", code=2)
