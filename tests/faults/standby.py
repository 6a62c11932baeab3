"""A second PostgreSQL that follows the ground's, and may be promoted."""

from pathlib import Path

import asyncpg

from streamgauge_local import binaries
from streamgauge_local.postgres import LocalPostgres
from streamgauge_local.process import Process
from tests.faults.ground import Ground, until

_FOLLOWS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


class Standby(LocalPostgres):
    """PostgreSQL over a copy of the ground's data, that says of itself that it is a standby."""

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() in ("standby", "ready")

    async def _create_database(self) -> None:
        """It has what the primary has."""

    async def promote(self) -> None:
        """Let it take what is written. Raises AssertionError when it does not."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            assert await connection.fetchval("SELECT pg_promote(true, 60)"), "the standby was not promoted"
        finally:
            await connection.close()


async def follow(ground: Ground, directory: Path, database: str) -> Standby:
    """A standby without which no commit to `database` is answered from now on."""
    data = directory / "standby"
    sockets = directory / "q"
    program = binaries.probe_postgres(next(iter(binaries.postgres_candidates())))
    copying = Process(
        "pg_basebackup",
        [
            str(program.path.parent / "pg_basebackup"), "-D", str(data), "-X", "stream", "-R", "-c", "fast", "--no-sync",
            "-d", ground.postgres.url("postgres"),
        ],
        directory / "copy.log",
    )  # fmt: skip
    try:
        await copying.wait(60)
        assert copying.exit_code == 0, copying.output()
    finally:
        await copying.stop()
    standby = Standby(data, sockets, directory / "standby.log", ephemeral=True)
    await standby.start()
    await ground.execute(
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        # Stronger than what the server was started with.
        f"ALTER DATABASE {database} SET synchronous_commit = 'on'",
        "SELECT pg_reload_conf()",
    )
    connection = await asyncpg.connect(ground.postgres.url("postgres"))
    try:

        async def in_step() -> bool:
            return bool(await connection.fetchval(_FOLLOWS))

        await until(in_step, "the standby follows")
    finally:
        await connection.close()
    return standby


async def alone_again(ground: Ground) -> None:
    """The ground's PostgreSQL as it was, on its own."""
    await ground.postgres.start()
    await ground.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
