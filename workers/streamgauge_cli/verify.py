"""`streamgauge verify`: prove the tables from the event log."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.errors import InputError
from streamgauge_cli import session

if TYPE_CHECKING:
    from streamgauge_cli.verify_rounds import Round

SHOWN = 20  # differences printed per table
EVERY = 60.0  # seconds


async def verify(
    everything: Annotated[
        bool, typer.Option("--all", help=f"Print every difference, not the first {SHOWN} per table.")
    ] = False,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Go on in rounds until something differs, or Ctrl-C.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(min=0, help=f"Seconds from one round's beginning to the next's. (default: {EVERY:g})"),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="End after so many rounds.")] = None,
) -> None:
    """Recompute every summary, set, histogram, ledger and lane from the event log and compare; look through the audit log's chains.

    Says which range the log covers and how each table fared. Exits with 1, naming the rows, when anything differs. Reads one
    snapshot: the pipeline may go on meanwhile. PostgreSQL vacuums nothing that is newer than the snapshot while it is read, so
    leave time between rounds.
    """
    if not continuous and (every, rounds) != (None, None):
        raise InputError("--every and --rounds belong to --continuous: give that as well", "--continuous")
    from streamgauge_cli.verify_rounds import Verifier

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        verifier = Verifier(settings, endpoints.database_url)
        if continuous:
            last = await verifier.go_on(EVERY if every is None else every, rounds)
            if last is None or not last.problems:
                return
        else:
            last = await verifier.round()
    _report(last, everything)
    if last.problems:
        raise typer.Exit(1)
    print("everything equals what the event log gives")


def _report(found: "Round", everything: bool) -> None:
    result, chains = found.result, found.chains
    print(f"event log: {result.entries:,} entries, {result.events:,} events")
    if result.applied_from and result.applied_to and result.occurred_from and result.occurred_to:
        print(
            f"  applied  {result.applied_from:%Y-%m-%d %H:%M:%S} to {result.applied_to:%Y-%m-%d %H:%M:%S} UTC"
        )
        print(
            f"  occurred {result.occurred_from:%Y-%m-%d %H:%M:%S} to {result.occurred_to:%Y-%m-%d %H:%M:%S} UTC"
        )
    for origin, days in result.days.items():
        print(f"  {len(days):,} days by {origin}: {min(days)} to {max(days)}")
    for file, problem in result.archives.items():
        print(f"  archive {file} {problem}: checked by its seal")
    if result.unchecked:
        print(
            f"  not checked, being declared after days of which only seals are left: {', '.join(result.unchecked)}"
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
    if result.differences:
        print(
            f"{len(result.differences):,} differences. `streamgauge rebuild` fills summaries from the event log anew."
        )
