"""`streamgauge migrate`: the schema."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from streamgauge.settings import Settings
from streamgauge_cli import session
from streamgauge_migrations import check, versions
from streamgauge_migrations import migrate as apply


async def migrate(
    check_only: Annotated[
        bool,
        typer.Option("--check", help="Only tell: exit 1 when the database is behind, or cannot be used."),
    ] = False,
) -> None:
    """Bring the database to the version this program needs.

    Each migration is applied whole or not at all. Running it twice, or in several places at once, is fine.
    """
    async with _database(session.settings()) as database_url:
        done: list[str] = []
        if check_only:
            await check(database_url)
        else:
            done = await apply(database_url)
    for version in done:
        typer.echo(f"Applied {version}.")
    typer.echo(f"The database is at version {versions()[-1].version}, which this program needs.")


@contextlib.asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The address of the database: the given one, the running one's, or a local one's started for it."""
    if settings.database_url is not None:
        # Redis is not needed, so none is started for it.
        yield settings.database_url
        return
    from streamgauge_local.stack import open_stack

    # Not through `session.servers`: that migrates what it starts, and then there is nothing to tell.
    async with open_stack(settings, "command") as endpoints:
        yield endpoints.database_url
