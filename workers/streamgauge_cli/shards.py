"""`streamgauge shards`: the streams, who reads them, and how many there are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.settings import Settings
from streamgauge_cli import session

if TYPE_CHECKING:
    from streamgauge.database import Connection
    from streamgauge.redis_stream import RedisStream
    from streamgauge_workers.generations import Generation

shards = typer.Typer(help="The streams: who reads them, and how many there are.", rich_markup_mode=None)


@shards.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """Show every generation of streams, with the position, lag and worker of each shard."""
    if context.invoked_subcommand is None:
        asyncio.run(_show())


@shards.command("change")
def change(number: Annotated[int, typer.Argument(help="How many shards there are to be.")]) -> None:
    """Begin another generation of streams with that many shards. Workers that run read it at once, beside the older ones."""

    async def begin() -> "Generation":
        from streamgauge_workers import generations

        async with _opened() as (_, connection, _):
            return await generations.change(connection, number)

    made = asyncio.run(begin())
    typer.echo(
        f"Generation {made.generation} has {made.shards} shards, and workers are about to read it. Now:"
    )
    typer.echo(
        f"  1. set STREAMGAUGE_GENERATION={made.generation} and STREAMGAUGE_SHARDS={made.shards} for every process, and restart them,\n"
        "     applications and servers in any order and at any time: the older generation is read as well\n"
        "  2. when nothing is sent to the older one any more: streamgauge shards retire"
    )


@shards.command("retire")
def retire(
    generation: Annotated[
        int | None, typer.Argument(help="Which one; the oldest that is read.", show_default=False)
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if something of it is unread, or may still come.")
    ] = False,
) -> None:
    """End the reading of an older generation and delete its streams. What they have counted stays."""

    async def end() -> tuple[int, list[str]]:
        from streamgauge_workers import generations, retirement

        async with _opened() as (settings, connection, stream):
            chosen = generations.chosen(await generations.listed(connection), generation)
            async with _of(stream, chosen) as own:
                return chosen.generation, await retirement.retire(connection, own, chosen, settings, force)

    number, given_up = asyncio.run(end())
    for each in given_up:
        typer.echo(f"given up: {each}")
    typer.echo(f"Generation {number} is retired.")


@shards.command("reopen")
def reopen(generation: Annotated[int, typer.Argument(help="Which one.")]) -> None:
    """Have a retired generation read again, because somebody still sends to it. Nothing counts twice."""

    async def again() -> None:
        from streamgauge_workers import generations

        async with _opened() as (_, connection, _):
            await generations.reopen(connection, generation)

    asyncio.run(again())
    typer.echo(f"Generation {generation} is read again.")


async def _show() -> None:
    from streamgauge_workers import generations

    async with _opened() as (_, connection, stream):
        known = await generations.listed(connection)
        for each in known:
            async with _of(stream, each) as own:
                await _show_one(connection, own, each, newest=each is known[-1])
    if not known:
        typer.echo("There are none yet: the first worker makes them.")


async def _show_one(
    connection: "Connection", stream: "RedisStream", generation: "Generation", newest: bool
) -> None:
    from streamgauge_workers import retirement

    state = "to be sent to" if newest else "read until it is retired"
    if generation.retired_at is not None:
        state = f"retired on {generation.retired_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"generation {generation.generation}: {generation.shards} shards, {state}")
    for each in await retirement.look(connection, stream, generation.generation):
        if generation.retired_at is None:
            held = each.holder or "nobody"
            name = "overflow" if each.overflow else f"stream {each.number:>2}"
            typer.echo(
                f"  shard {each.shard:>4} = {name:<9}  position {each.position!s:>20}  {each.seconds:8.1f} s behind  {held}"
            )
        elif each.entries:
            typer.echo(
                f"  shard {each.shard:>4} = stream {each.number:>2}  holds {each.entries:,} entries that nobody reads: "
                f"streamgauge shards reopen {generation.generation}"
            )


@contextlib.asynccontextmanager
async def _of(stream: "RedisStream", generation: "Generation") -> "AsyncIterator[RedisStream]":
    """The streams of a generation."""
    own = stream.of_generation(generation.generation, generation.shards)
    try:
        yield own
    finally:
        await own.aclose()


@contextlib.asynccontextmanager
async def _opened() -> "AsyncIterator[tuple[Settings, Connection, RedisStream]]":
    from streamgauge.database import open_connection
    from streamgauge.redis_stream import RedisStream

    settings = session.settings()
    async with session.servers(settings) as endpoints:
        stream = RedisStream(
            endpoints.redis_url, settings.stream_prefix, settings.generation, settings.shards
        )
        connection = await open_connection(endpoints.database_url, application_name="streamgauge shards")
        try:
            yield settings, connection, stream
        finally:
            await connection.close()
            await stream.aclose()
