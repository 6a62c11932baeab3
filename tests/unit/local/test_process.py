"""What people are told when a server they did not stop has ended."""

import sys
from pathlib import Path

from streamgauge_local.process import Process


async def ended(log: Path, says: str) -> str:
    process = Process("server", [sys.executable, "-c", f"print({says!r}); raise SystemExit(3)"], log)
    assert await process.wait(10)
    return process.ending("PostgreSQL") or ""


async def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    told = await ended(tmp_path / "postgres.log", "FATAL: could not write to file: No space left on device")
    assert told.startswith(f"PostgreSQL ended with exit code 3 because the disk of {tmp_path} is full.")
    assert "free some space and start again, or give --data-dir" in told
    assert told.endswith("No space left on device")


async def test_another_end_shows_what_the_server_wrote(tmp_path: Path) -> None:
    assert (
        await ended(tmp_path / "postgres.log", "FATAL: bad luck")
        == "PostgreSQL ended with exit code 3:\nFATAL: bad luck"
    )


async def test_a_running_server_has_no_ending(tmp_path: Path) -> None:
    process = Process("server", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    assert process.ending("PostgreSQL") is None
    await process.stop()
