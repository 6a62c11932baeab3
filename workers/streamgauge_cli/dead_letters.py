"""`streamgauge dead-letters`: what was refused, and shards that stopped before they refused nearly everything."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.access import audit
from streamgauge.database import Connection, open_connection
from streamgauge.dead_letters import replay as replaying
from streamgauge.dead_letters import store
from streamgauge.dead_letters.records import KeptFor, opened
from streamgauge.dead_letters.store import EVERYBODY, MOST_AT_ONCE, State, Wanted, Whose
from streamgauge.errors import InputError, ServerError
from streamgauge.logs import printable
from streamgauge.redis_stream import RedisStream
from streamgauge.stream import StreamPort
from streamgauge.tenants.store import id_of
from streamgauge_cli import session
from streamgauge_workers import plausibility

if TYPE_CHECKING:
    from asyncpg import Record

_PATH = "/dead-letters"
dead_letters = typer.Typer(
    help="Dead letters: list, show, replay, discard; let a stopped shard go on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Ids = Annotated[list[int] | None, typer.Argument(help="Letters, by the number that `list` shows.")]
Reason = Annotated[KeptFor | None, typer.Option(help="Only those of this reason.", show_default=False)]
Tenant = Annotated[str | None, typer.Option(help="Only those of this tenant.", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="All that are open.")]


@dead_letters.command("list")
def list_letters(
    tenant: Tenant = None,
    reason: Reason = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
) -> None:
    """Show them, the newest first, without what they hold."""

    async def look() -> None:
        async with _database() as connection:
            found = await store.listed(
                connection, await _whose(connection, tenant), Wanted(reason, state), limit
            )
            stops = await plausibility.stopped(connection)
        for row in found:
            typer.echo(_line(row))
        if not found:
            typer.echo("There are none.", err=True)
        for stop in stops:
            typer.echo(
                f"Shard {stop['shard']} is stopped since {stop['stopped_at']:%Y-%m-%d %H:%M} UTC: {stop['refused']} of "
                f"{stop['processed']} events would have been refused. Look for the cause, then: streamgauge dead-letters allow "
                f"{stop['shard']}",
                err=True,
            )  # fmt: skip

    asyncio.run(look())


@dead_letters.command("show")
def show(letter: Annotated[int, typer.Argument(help="Its number, as `list` shows it.")]) -> None:
    """Show one with what it holds, as JSON."""

    async def look() -> None:
        async with _database() as connection, connection.transaction():
            rows = await store.listed(connection, EVERYBODY, Wanted(ids=[letter]), 1)
            if not rows:
                raise InputError(f"there is no dead letter {letter}", "id")
            held = await store.contents(connection, [letter])
            await audit.append_command(
                connection, rows[0]["tenant_id"] or 0, "dead_letters.read", f"{_PATH}/{letter}"
            )
        typer.echo(opened(rows[0], held[letter]).model_dump_json(indent=2))

    asyncio.run(look())


@dead_letters.command("replay")
def replay(
    letters: Ids = None,
    reason: Reason = None,
    tenant: Tenant = None,
    everything: Everything = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be sent.")] = False,
) -> None:
    """Send them through the stream again. Each counts once, however often that is done; workers make them `replayed`."""
    chosen = _chosen(letters, reason, tenant, everything)

    async def run() -> None:
        settings = session.settings()
        async with session.servers(settings) as endpoints:
            stream = RedisStream(
                endpoints.redis_url, settings.stream_prefix, settings.generation, settings.shards
            )
            connection = await open_connection(
                endpoints.database_url, application_name="streamgauge dead-letters"
            )
            try:
                whose = await _whose(connection, tenant)
                sent, events, unready = await _replay(connection, stream, whose, chosen, dry_run)
            finally:
                await connection.close()
                await stream.aclose()
        verb = "would be sent" if dry_run else "sent; workers count them now"
        typer.echo(f"{sent} letters with {events} events {verb}")
        for why, count in sorted(unready.items()):
            typer.echo(f"{count} stay as they are: {printable(why)}")

    asyncio.run(run())


@dead_letters.command("discard")
def discard(
    letters: Ids = None,
    reason: Reason = None,
    tenant: Tenant = None,
    everything: Everything = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what they hold, for good. That they were refused stays counted."""
    chosen = _chosen(letters, reason, tenant, everything)
    if not yes:
        typer.confirm("Remove what these dead letters hold?", abort=True)

    async def run() -> None:
        done = events = 0
        async with _database() as connection:
            whose = await _whose(connection, tenant)
            while True:
                async with connection.transaction():
                    found = await store.discard(connection, whose, chosen, MOST_AT_ONCE, audit.COMMAND)
                    await _audit(connection, "dead_letters.discard", found)
                done, events = done + len(found), events + sum(each["events"] for each in found)
                if len(found) < MOST_AT_ONCE:
                    break
        typer.echo(f"{done} letters with {events} events discarded")

    asyncio.run(run())


@dead_letters.command("allow")
def allow(
    shard: Annotated[int, typer.Argument(help="A shard that stopped.")],
    hours: Annotated[float, typer.Option(min=0.01, max=168, help="For how long.")] = 1.0,
) -> None:
    """Let a stopped shard go on for a while, whatever share of its events is refused; then the limit holds again."""

    async def run() -> None:
        async with _database() as connection, connection.transaction():
            if not await plausibility.allow(connection, shard, hours, audit.COMMAND):
                raise InputError(
                    f"shard {shard} is not stopped: `streamgauge dead-letters list` names those that are",
                    "shard",
                )
            await audit.append_command(
                connection, 0, "dead_letters.allow", f"/shards/{shard}", {"hours": hours}
            )
        typer.echo(f"Shard {shard} goes on within seconds, and refuses without limit for {hours:g} hours")

    asyncio.run(run())


async def _replay(
    connection: Connection, stream: StreamPort, whose: Whose, chosen: Wanted, dry_run: bool
) -> tuple[int, int, Counter[str]]:
    """In portions, from the newest on; what is refused again meanwhile gets a newer number, and is not met twice."""
    sent = events = 0
    unready: Counter[str] = Counter()
    while True:
        async with connection.transaction():
            portion = await replaying.prepare(connection, stream, whose, chosen, MOST_AT_ONCE)
            if not dry_run:
                await replaying.request(connection, portion, audit.COMMAND)
                await _audit(connection, "dead_letters.replay", [each.letter for each in portion.sending])
        if not dry_run:
            try:
                await replaying.send(stream, portion)
            except ServerError as error:
                raise ServerError(
                    f"{error}; {sent} letters were sent before: give the same command again"
                ) from error
        sent, events = sent + len(portion.sending), events + sum(each.events for each in portion.sending)
        unready.update(portion.unready.values())
        if chosen.ids or len(portion.letters) < MOST_AT_ONCE:
            return sent, events, unready
        chosen = store.behind(chosen, portion.letters)


def _chosen(
    letters: list[int] | None, reason: KeptFor | None, tenant: str | None, everything: bool
) -> Wanted:
    if letters and (reason or tenant or everything):
        raise InputError("give either numbers of letters, or --reason, --tenant or --all", "id")
    if not (letters or reason or tenant or everything):
        raise InputError("which ones? Give numbers of letters, --reason, --tenant or --all", "id")
    if letters and len(letters) > MOST_AT_ONCE:
        raise InputError(f"{len(letters)} letters are given: up to {MOST_AT_ONCE} at once", "id")
    return Wanted(ids=letters) if letters else Wanted(reason, "open")


async def _whose(connection: Connection, tenant: str | None) -> Whose:
    if tenant is None:
        return EVERYBODY
    tenant_id = await id_of(connection, tenant)
    if tenant_id is None:
        raise InputError(
            f"there is no tenant {tenant!r}: `streamgauge tenants list` shows them all", "tenant"
        )
    return Whose(tenant_id=tenant_id)


async def _audit(connection: Connection, action: str, letters: Iterable["Record"]) -> None:
    """One line for each tenant whose letters these are."""
    of: dict[int, list[int]] = {}
    for letter in letters:
        of.setdefault(letter["tenant_id"] or 0, []).append(letter["dead_letter_id"])
    for tenant_id, ids in sorted(of.items()):
        await audit.append_command(
            connection, tenant_id, action, _PATH, {"letters": len(ids), "ids": ids[:100]}
        )


def _line(row: "Record") -> str:
    detail = "" if row["detail"] is None else f"  {printable(row['detail'])[:120]}"
    asked = "  replay asked for" if row["state"] == "open" and row["requested_at"] is not None else ""
    return (
        f"{row['dead_letter_id']}  {row['at']:%Y-%m-%d %H:%M:%S} UTC  {printable(row['tenant'] or '(no tenant)')}  {row['reason']}  "
        f"{row['events']} events  {row['state']}{asked}{detail}"
    )


@contextlib.asynccontextmanager
async def _database() -> AsyncIterator[Connection]:
    async with session.servers(session.settings()) as endpoints:
        connection = await open_connection(
            endpoints.database_url, application_name="streamgauge dead-letters"
        )
        try:
            yield connection
        finally:
            await connection.close()
