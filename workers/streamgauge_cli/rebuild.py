"""`streamgauge rebuild`: fill rollups from the event log."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge_cli import session

if TYPE_CHECKING:
    from streamgauge_imports.progress import Progress


async def rebuild(
    rollups: Annotated[
        list[str] | None, typer.Argument(help="Rollups to fill, by metric; all if none is named.")
    ] = None,
) -> None:
    """Recompute summaries from the event log and its archives, while the workers go on.

    The rows are replaced in one transaction, which is all that workers wait for; interrupted before it, nothing is changed. One rebuild
    at a time. While it reads the log, PostgreSQL cannot vacuum what is newer: on a large log run it when there is little traffic.
    """
    from streamgauge.catalogue import load_catalogue as catalogue
    from streamgauge.database import open_connection
    from streamgauge_imports.progress import progress
    from streamgauge_workers.installation import agree
    from streamgauge_workers.queries import SQL
    from streamgauge_workers.rebuild import rebuild as fill

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        connection = await open_connection(endpoints.database_url, application_name="streamgauge rebuild")
        aside = await open_connection(endpoints.database_url, application_name="streamgauge rebuild")
        try:
            await agree(connection, settings)
            covered = await connection.fetchrow(SQL["log_range"])
            with progress("rebuild", covered["events"] if covered else 0) as bar:
                told = Told(bar)
                rebuilt = await fill(
                    connection, aside, rollups or [], settings.cardinality_limit, catalogue(settings),
                    settings.archive_dir, told,
                )  # fmt: skip
        finally:
            await connection.close()
            await aside.close()
    for shard in rebuilt:
        print(f"shard {shard.shard}: {shard.events:,} events")
    print(
        f"rebuilt {', '.join(rollups or ['all rollups'])} from {sum(shard.events for shard in rebuilt):,} events; "
        f"workers waited {told.waited * 1000:,.0f} ms, while the last {told.rest:,} events were taken in"
    )


class Told:
    """Passes on how far a rebuild is."""

    def __init__(self, bar: "Progress") -> None:
        self.bar = bar
        self.events = self.rest = 0
        self.waited = 0.0

    def taken(self, events: int) -> None:
        """See `streamgauge_workers.rebuild.Listener`."""
        self.events += events
        self.bar.update(self.events, self.events)

    def placed(self, seconds: float, events: int) -> None:
        """See `streamgauge_workers.rebuild.Listener`."""
        self.waited, self.rest = seconds, events
