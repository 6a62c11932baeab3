"""`streamgauge archive`: days of the event log that were moved to Parquet."""

import asyncio

import typer

from streamgauge_cli import session

archive = typer.Typer(
    help="Archived days of the event log: list, run, check.", no_args_is_help=True, rich_markup_mode=None
)


@archive.command("list")
def list_archives() -> None:
    """Print every archive with what it holds."""
    asyncio.run(_list())


@archive.command("run")
def run() -> None:
    """Archive and drop what is due now, as workers do by themselves. Exits with 1 and the reason when something cannot be."""
    asyncio.run(_run())


@archive.command("check")
def check() -> None:
    """Read every file and compare it with its digest. Exits with 1 when one is missing or damaged."""
    asyncio.run(_check())


async def _list() -> None:
    from streamgauge.database import open_connection
    from streamgauge_workers.retention.archive import SQL, Archive

    async with session.servers(session.settings()) as endpoints:
        connection = await open_connection(endpoints.database_url)
        try:
            found = [Archive.of_row(row) for row in await connection.fetch(SQL["archives"])]
        finally:
            await connection.close()
    for each in found:
        state = "alone" if each.state == "archived" else "the log has them too"
        print(
            f"{each.applied_day}  shard {each.shard}  {each.events:>12,} events  {each.size:>14,} bytes  {each.file}  {state}"
        )
    print(
        f"{len(found):,} files, {sum(each.events for each in found):,} events, {sum(each.size for each in found):,} bytes"
    )


async def _run() -> None:
    from streamgauge.catalogue import load_catalogue
    from streamgauge.database import open_pool
    from streamgauge_workers.installation import agree
    from streamgauge_workers.retention.retention import Retention

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        pool = await open_pool(endpoints.database_url, 2)
        try:
            async with pool.acquire() as connection:
                await agree(connection, settings)
            left = await Retention(pool, settings, load_catalogue(settings), asyncio.Event()).turn()
        finally:
            await pool.close()
    for day in left:
        print(f"{day} was archived")
    print(f"{len(left):,} days left the event log; archives are in {settings.archive_dir}")


async def _check() -> None:
    from streamgauge.database import open_connection
    from streamgauge_workers.retention.archive import SQL, Archive

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        connection = await open_connection(endpoints.database_url)
        try:
            found = [Archive.of_row(row) for row in await connection.fetch(SQL["archives"])]
        finally:
            await connection.close()
    wrong = 0
    for each in found:
        problem = await asyncio.to_thread(each.problem, settings.archive_dir)
        wrong += problem is not None
        if problem is not None:
            print(f"{each.file} {problem}")
    if wrong:
        print(
            f"{wrong:,} of {len(found):,} files are not as they were written: restore them to {settings.archive_dir}"
        )
        raise typer.Exit(1)
    print(f"all {len(found):,} files are as they were written")
