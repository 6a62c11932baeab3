"""`streamgauge tenants` and the roles of `streamgauge keys`, as somebody at a terminal uses them."""

import asyncio
import os
import re
import sys
from pathlib import Path
from unittest.mock import patch

import asyncpg
import pytest

from streamgauge_cli.main import main
from tests.integration.program import given


def test_the_commands_make_change_and_leave_tenants_and_say_so_in_the_audit_log(
    redis_url: str, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path))

    def run(*arguments: str, code: int = 0) -> str:
        # In this process: starting twenty would take longer than all they do.
        with (
            patch.dict(os.environ, environment),
            patch.object(sys, "argv", ["streamgauge", *arguments]),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        said = "".join(capsys.readouterr())
        assert (ended.value.code or 0) == code, said
        return said

    assert "Tenant lima is there" in run("tenants", "create", "lima", "--time-zone", "America/Lima")
    assert "there is a tenant 'lima' already" in run("tenants", "create", "lima", code=2)
    run("tenants", "change", "lima", "--display-name", "Colegio", "--time-zone", "Europe/Madrid")
    assert re.search(
        r"lima  Colegio  America/Lima, Europe/Madrid from 20..-..-.. ..:00 UTC  active",
        run("tenants", "list"),
    )
    run("tenants", "change", "lima", "--no-people", "--requests-per-minute", "90")
    assert "retention_days cannot be used" in run(
        "tenants", "change", "lima", "--retention-days", "0", code=2
    )
    assert "what is to be different" in run("tenants", "change", "lima", code=2)
    people = tmp_path / "people.csv"
    people.write_text("group,name,kind,actor,role\n7b,Class 7b,class,ann,member\n7b,,,teacher,manager\n")
    assert "1 groups: 2 people added, 0 changed, 0 removed" in run("tenants", "groups", "lima", str(people))
    assert "7b  Class 7b  class  1 members, 1 managers" in run("tenants", "groups", "lima")

    limited = run("keys", "create", "--tenant", "lima", "--read", "--group", "7b")
    run("keys", "create", "--tenant", "lima", "--read", "--role", "member", "--actor", "ann")
    run("keys", "create", "--owner")
    listed = run("keys", "list")
    assert re.search(r"  lima  analyst of 7b  read  server  usable", listed)
    assert re.search(r"  lima  member  read  server, about one actor  usable", listed)
    assert re.search(r"  \(platform\)  owner  platform  server  usable", listed)
    for wrong, told in (
        (("--owner", "--tenant", "lima"), "--owner for a key of the platform"),
        (("--tenant", "lima", "--read", "--role", "member"), "needs the actor"),
        (("--tenant", "lima", "--write", "--group", "7b"), "an analyst alone is limited"),
        (("--tenant", "lima", "--read", "--role", "king"), "choose one of"),
    ):
        assert told in run("keys", "create", *wrong, code=2)
    found = re.search(r"sg_([0-9a-z]{12})_", limited)
    assert found is not None
    run("keys", "revoke", found[1])

    assert "suspended" in run("tenants", "suspend", "lima")
    assert "is being deleted by the workers; receipt" in run("tenants", "delete", "lima", "--yes")
    assert "there is no tenant 'nowhere'" in run("tenants", "delete", "nowhere", "--yes", code=2)
    said = run("verify")
    assert re.search(r"audit log of the platform +3 rows  unbroken, ends with [0-9a-f]{64}", said)
    assert re.search(r"audit log of tenant 1 +7 rows  unbroken", said)

    kept = asyncio.run(tampered(database_url))
    assert "command line" in kept
    assert "ann" not in kept
    assert "BROKEN: entry 1 was changed" in run("verify", code=1)


async def tampered(database_url: str) -> str:
    """What the audit log held before a line of it was changed."""
    connection = await asyncpg.connect(database_url)
    try:
        kept = "\n".join(row["entry"] for row in await connection.fetch("SELECT entry FROM audit_log"))
        await connection.execute(
            "UPDATE audit_log SET entry = replace(entry, 'lima', 'oslo') WHERE tenant_id = 0 AND sequence = 1"
        )
        return kept
    finally:
        await connection.close()
