"""`streamgauge keys`: who may send events, and who may read answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from streamgauge.access import store
from streamgauge.access.keys import Key
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.database import Connection, open_connection
from streamgauge.errors import InputError
from streamgauge_cli import session

keys = typer.Typer(help="Keys of the API: create, list, revoke.", no_args_is_help=True, rich_markup_mode=None)


@keys.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Whose events it is about; made when there is no such tenant.")],
    read: Annotated[bool, typer.Option("--read", help="It may read answers.")] = False,
    write: Annotated[bool, typer.Option("--write", help="It may send events.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="It may read as of another moment, too.")] = False,
    browser: Annotated[
        bool,
        typer.Option("--browser", help="It will be seen by everybody: its events are marked as a browser's."),
    ] = False,
    actor: Annotated[
        str | None,
        typer.Option(help="Whom its events are about; only a pseudonym is kept.", show_default=False),
    ] = None,
    label: Annotated[str, typer.Option(help="A note for people.")] = "",
    expires_in_days: Annotated[
        int | None, typer.Option(help="When it ends by itself.", show_default=False)
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="IANA time zone of a new tenant; UTC.", show_default=False)
    ] = None,
) -> None:
    """Make a key and print it. It is not kept, so it cannot be shown again."""
    from streamgauge_imports.tenants import check_name, require_tenant

    scopes = [name for name, given in (("read", read), ("write", write), ("admin", admin)) if given]
    if not scopes:
        raise InputError("what may the key do? Give --read, --write or --admin", "scopes")
    if browser and scopes != ["write"]:
        raise InputError("a browser's key is seen by everybody: it may have --write alone", "browser")
    check_name(tenant)

    async def make() -> Key:
        async with _database() as connection:
            await require_tenant(connection, tenant, time_zone)
            pseudonym = None
            if actor is not None:
                pseudonym = Keyring(session.settings().keyring).tenant(tenant).pseudonym("actor", actor)
            return await store.create(
                connection,
                tenant,
                scopes,
                actor=pseudonym,
                source="browser" if browser else "server",
                label=label,
                expires_in_days=expires_in_days,
            )

    made = asyncio.run(make())
    typer.echo(made.text)
    typer.echo(
        f"A key of tenant {tenant} that may {' and '.join(scopes)}. Keep it: it is not shown again.", err=True
    )


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.", show_default=False)] = None,
) -> None:
    """Show all keys, without what proves that one has them."""

    async def look() -> list[store.Listed]:
        async with _database() as connection:
            return await store.listed(connection, tenant)

    found = asyncio.run(look())
    for each in found:
        state = "usable" if each.usable else "revoked" if each.revoked_at else "expired"
        about = ", about one actor" if each.has_actor else ""
        ends = f", ends {each.expires_at:%Y-%m-%d}" if each.expires_at else ""
        note = f"  {each.label}" if each.label else ""
        typer.echo(
            f"{each.key_id}  {each.tenant}  {'+'.join(each.scopes)}  {each.source}{about}  {state}{ends}{note}"
        )
    if not found:
        typer.echo("There are no keys: streamgauge keys create --tenant NAME --read", err=True)


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's name: its part between the underscores.")],
) -> None:
    """Make a key unusable. Servers refuse it within five seconds."""

    async def refuse() -> None:
        async with _database() as connection:
            await store.revoke(connection, key_id)

    asyncio.run(refuse())
    typer.echo(f"Key {key_id} is revoked.")


@contextlib.asynccontextmanager
async def _database() -> AsyncIterator[Connection]:
    async with session.servers(session.settings()) as endpoints:
        connection = await open_connection(endpoints.database_url, application_name="streamgauge keys")
        try:
            yield connection
        finally:
            await connection.close()
