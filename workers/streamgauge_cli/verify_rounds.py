"""Rounds of `streamgauge verify`: each one a snapshot of its own, compared as a whole.

Not only what changed since the last round: a row that somebody changes by hand is no less wrong for lying in a day that is over.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

from streamgauge.access import audit
from streamgauge.catalogue import load_catalogue
from streamgauge.database import Connection, open_connection
from streamgauge.settings import Settings
from streamgauge_cli.listening import stop_signals
from streamgauge_workers.installation import agree
from streamgauge_workers.suspicion import transient
from streamgauge_workers.verify import Verification, verify


@dataclass(frozen=True, slots=True)
class Round:
    """What one look at everything found."""

    result: Verification
    chains: list[audit.Chain]
    seconds: float

    @property
    def problems(self) -> int:
        """Differences, and chains of audits that are broken."""
        return len(self.result.differences) + sum(chain.broken_at is not None for chain in self.chains)

    def __str__(self) -> str:
        rows = sum(table.rows for table in self.result.tables)
        at = ", ".join(f"{shard} at {position}" for shard, position in self.result.positions.items())
        return (
            f"{self.result.events:,} events, {rows:,} rows compared, {self.problems:,} differences, {self.seconds:.1f} s; "
            f"shard {at or 'none'}"
        )


class Verifier:
    """Compares a database's tables with its event log."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self.settings = settings
        self.database_url = database_url

    async def round(self) -> Round:
        """Compare everything once. Raises ServerError when PostgreSQL cannot be reached."""
        began = time.monotonic()
        connection = await open_connection(self.database_url, application_name="streamgauge verify")
        try:
            await agree(connection, self.settings)
            return await self._compare(connection, began)
        finally:
            await connection.close()

    async def _compare(self, connection: Connection, began: float) -> Round:
        settings = self.settings
        result = await verify(
            connection,
            load_catalogue(settings),
            settings.cardinality_limit,
            timedelta(days=settings.max_lateness_days),
            settings.archive_dir,
        )
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            chains = await audit.check(connection)
        return Round(result, chains, time.monotonic() - began)

    async def go_on(self, every: float, rounds: int | None) -> Round | None:
        """Rounds until something differs, or so many are over, or a signal; tells of each. Returns the last whole one.

        A server that is away is waited for: it has changed nothing.
        """
        here, last, count, longest = asyncio.current_task(), None, 0, 0.0
        assert here is not None  # noqa: S101 - a coroutine that runs is some task's
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            here.cancel()

        with stop_signals(stop, stop):
            try:
                while rounds is None or count < rounds:
                    began = time.monotonic()
                    try:
                        last = await self.round()
                    except Exception as error:
                        if not count or not transient(error):
                            raise
                        print(
                            f"not verified, a server failed ({type(error).__name__}): trying again",
                            flush=True,
                        )
                    else:
                        count += 1
                        longest = max(longest, last.seconds)
                        print(f"round {count}: {last}", flush=True)
                        if last.problems or count == rounds:
                            break
                    await asyncio.sleep(max(began + every - time.monotonic(), 0.1))
            except asyncio.CancelledError:
                if not stopped:
                    raise
                here.uncancel()
        if last is None or not last.problems:
            print(f"{count} rounds, nothing differs; the longest held a snapshot for {longest:.1f} s")
        return last
