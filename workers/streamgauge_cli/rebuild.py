"""`streamgauge rebuild`: fill rollups from the event log."""

from typing import Annotated

import typer

from streamgauge_cli import session

TRIES = 10  # a worker may commit in the moment of taking over


async def rebuild(
    rollups: Annotated[
        list[str] | None, typer.Argument(help="Rollups to fill, by metric; all if none is named.")
    ] = None,
) -> None:
    """Recompute summaries from the event log, one shard at a time, while the workers go on with the others."""
    from streamgauge.catalogue import load_catalogue as catalogue
    from streamgauge.database import open_connection
    from streamgauge.errors import FencedError
    from streamgauge_workers.installation import agree
    from streamgauge_workers.rebuild import rebuild as fill

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        connection = await open_connection(endpoints.database_url)
        aside = await open_connection(endpoints.database_url)
        try:
            await agree(connection, settings)
            for attempt in range(1, TRIES + 1):
                try:
                    rebuilt = await fill(
                        connection, aside, rollups or [], settings.cardinality_limit, catalogue(settings)
                    )
                    break
                except FencedError:
                    if attempt == TRIES:
                        raise
        finally:
            await connection.close()
            await aside.close()
    for shard in rebuilt:
        print(f"shard {shard.shard}: {shard.events:,} events")
    print(
        f"rebuilt {', '.join(rollups or ['all rollups'])} from {sum(shard.events for shard in rebuilt):,} events"
    )
