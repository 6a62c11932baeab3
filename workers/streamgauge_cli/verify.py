"""`streamgauge verify`: prove the tables from the event log."""

from datetime import timedelta
from typing import Annotated

import typer

from streamgauge_cli import session

SHOWN = 20  # differences printed per table


async def verify(
    everything: Annotated[
        bool, typer.Option("--all", help=f"Print every difference, not the first {SHOWN} per table.")
    ] = False,
) -> None:
    """Recompute every summary, set, histogram, ledger and lane from the event log and compare; look through the audit log's chains.

    Says which range the log covers and how each table fared. Exits with 1, naming the rows, when anything differs. Reads one
    snapshot: the pipeline may go on meanwhile.
    """
    from streamgauge.access import audit
    from streamgauge.catalogue import load_catalogue as catalogue
    from streamgauge.database import open_connection
    from streamgauge_workers.installation import agree
    from streamgauge_workers.verify import verify as compare

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        connection = await open_connection(endpoints.database_url)
        try:
            await agree(connection, settings)
            lateness = timedelta(days=settings.max_lateness_days)
            result = await compare(connection, catalogue(settings), settings.cardinality_limit, lateness)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                chains = await audit.check(connection)
        finally:
            await connection.close()
    print(f"event log: {result.entries:,} entries, {result.events:,} events")
    if result.applied_from and result.applied_to and result.occurred_from and result.occurred_to:
        print(
            f"  applied  {result.applied_from:%Y-%m-%d %H:%M:%S} to {result.applied_to:%Y-%m-%d %H:%M:%S} UTC"
        )
        print(
            f"  occurred {result.occurred_from:%Y-%m-%d %H:%M:%S} to {result.occurred_to:%Y-%m-%d %H:%M:%S} UTC"
        )
    for table in result.tables:
        verdict = f"{len(table.differences):,} differences" if table.differences else "equal"
        print(f"{table.table:34} {table.rows:>10,} rows  {verdict}")
        for difference in table.differences if everything else table.differences[:SHOWN]:
            print(f"    {difference}")
    for chain in chains:
        whose = f"audit log of tenant {chain.tenant_id}" if chain.tenant_id else "audit log of the platform"
        verdict = (
            f"unbroken, ends with {chain.head.hex()}"
            if chain.broken_at is None
            else f"BROKEN: {chain.problem}"
        )
        print(f"{whose:34} {chain.entries:>10,} rows  {verdict}")
    if any(chain.broken_at is not None for chain in chains):
        print(
            "The audit log was changed by somebody who may write to the database: compare it with a backup."
        )
        raise typer.Exit(1)
    if result.differences:
        print(
            f"{len(result.differences):,} differences. `streamgauge rebuild` fills summaries from the event log anew."
        )
        raise typer.Exit(1)
    print("everything equals what the event log gives")
