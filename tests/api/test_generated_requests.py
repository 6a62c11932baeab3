"""Requests generated from the OpenAPI document: whatever is sent, the server answers, and as the document says.

`STREAMGAUGE_TESTS_FULL=1` generates more of them, boundary values included.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamgauge.access.store import create
from streamgauge.database import open_connection
from tests.integration.engine import generate, open_engine
from tests.integration.program import Program, free_port, given

PROGRAM = Path(sys.prefix) / "bin" / "schemathesis"
#: Boundary values of every parameter take two minutes: asked for with STREAMGAUGE_TESTS_FULL=1.
FULL = bool(os.environ.get("STREAMGAUGE_TESTS_FULL"))
EXAMPLES, PHASES = (25, "examples,coverage,fuzzing") if FULL else (3, "examples,fuzzing")
#: What has to hold of every answer. Not among them: that all that the document allows is accepted (a range may begin after its
#: end, an id may be nobody's), and that all it does not is refused (its texts are narrower than ours).
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth,use_after_free"


async def filled(redis_url: str, database_url: str) -> tuple[str, str]:
    """Keys of an admin of a tenant with events, and of an owner."""
    async with open_engine(
        redis_url, database_url, {"berlin": "Europe/Berlin", "kolkata": "Asia/Kolkata"}
    ) as engine:
        await engine.publish(generate(5, 200, ("berlin", "kolkata")))
        await engine.drain()
    connection = await open_connection(database_url)
    try:
        admin = await create(connection, "berlin", ["read", "write", "admin"])
        owner = await create(connection, None, ["platform"])
    finally:
        await connection.close()
    return admin.text, owner.text


@pytest.mark.timeout(900)
def test_no_generated_request_makes_the_server_fail(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    admin, owner = asyncio.run(filled(redis_url, database_url))
    port = free_port()
    limits = {
        f"STREAMGAUGE_{name}_PER_MINUTE": "10000000"
        for name in ("KEY_REQUESTS", "ADDRESS_REQUESTS", "ADDRESS_REFUSALS")
    }
    environment = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path), **limits)
    with Program("serve", "--port", str(port), log=tmp_path / "log", **environment) as server:
        server.until_ready(port)
        base = f"http://127.0.0.1:{port}"
        for key, chosen in ((admin, "--exclude-path-regex"), (owner, "--include-path-regex")):
            done = subprocess.run(
                [
                    str(PROGRAM), "run", f"{base}/api/v1/openapi.json", "--header", f"Authorization:Bearer {key}",
                    chosen, "^/api/v1/(tenants$|tenants/[^/]*$|deletions)", "--checks", CHECKS, "--max-examples", str(EXAMPLES),
                    "--generation-deterministic", "--no-color", "--phases", PHASES, "--request-timeout", "20",
                    "--continue-on-failure",
                ],
                capture_output=True, text=True, check=False, cwd=tmp_path, timeout=400,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
            assert "cases" in done.stdout
        assert server.stop() == 0
        assert {line["level"] for line in server.lines()} <= {"info", "warning"}
