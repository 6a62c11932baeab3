"""`streamgauge keys`: who may send events, and who may read answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from streamgauge.access import audit, store
from streamgauge.access.keys import Key
from streamgauge.access.roles import ROLES
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.database import Connection, open_connection
from streamgauge.errors import InputError
from streamgauge_cli import session

keys = typer.Typer(help="Keys of the API: create, list, revoke.", no_args_is_help=True, rich_markup_mode=None)


@keys.command("create")
def create(
    tenant: Annotated[
        str | None,
        typer.Option(help="Whose events it is about; made when there is no such tenant.", show_default=False),
    ] = None,
    read: Annotated[bool, typer.Option("--read", help="It may read answers.")] = False,
    write: Annotated[bool, typer.Option("--write", help="It may send events.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="It may read as of another moment, too.")] = False,
    owner: Annotated[
        bool, typer.Option("--owner", help="It may make, change and delete tenants; it is of none.")
    ] = False,
    role: Annotated[
        str | None,
        typer.Option(
            help="member (sees --actor's own data), analyst or admin; it follows from the rest.",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="An analyst is limited to this group; may be repeated.", show_default=False),
    ] = None,
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

    asked = (("read", read), ("write", write), ("admin", admin), ("platform", owner))
    scopes = [name for name, given in asked if given]
    if not scopes:
        raise InputError("what may the key do? Give --read, --write, --admin or --owner", "scopes")
    if (tenant is None) != owner:
        raise InputError(
            "give --tenant NAME, or --owner for a key of the platform, which is of no tenant", "tenant"
        )
    if role is not None and role not in ROLES:
        raise InputError(f"role is {role!r}: choose one of {', '.join(ROLES)}", "role")
    if browser and scopes != ["write"]:
        raise InputError("a browser's key is seen by everybody: it may have --write alone", "browser")
    if tenant is not None:
        check_name(tenant)

    async def make() -> Key:
        async with _database() as connection, connection.transaction():
            tenant_id = 0
            if tenant is not None:
                tenant_id = (await require_tenant(connection, tenant, time_zone)).tenant_id
            pseudonym = None
            if actor is not None and tenant is not None:
                pseudonym = Keyring(session.settings().keyring).tenant(tenant).pseudonym("actor", actor)
            made = await store.create(
                connection,
                tenant,
                scopes,
                role=role,
                groups=group,
                actor=pseudonym,
                source="browser" if browser else "server",
                label=label,
                expires_in_days=expires_in_days,
            )
            detail = {"scopes": scopes, "role": role, "groups": group, "expires_in_days": expires_in_days}
            await audit.append_command(connection, tenant_id, "keys.create", f"/keys/{made.key_id}", detail)
            return made

    made = asyncio.run(make())
    typer.echo(made.text)
    whose = "the platform" if tenant is None else f"tenant {tenant}"
    typer.echo(f"A key of {whose} that may {' and '.join(scopes)}. Keep it: it is not shown again.", err=True)


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
        limited = "" if each.groups is None else f" of {', '.join(each.groups) or 'no group'}"
        typer.echo(
            f"{each.key_id}  {each.tenant or '(platform)'}  {each.role}{limited}  {'+'.join(each.scopes)}  {each.source}{about}  "
            f"{state}{ends}{note}"
        )
    if not found:
        typer.echo("There are no keys: streamgauge keys create --tenant NAME --read", err=True)


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's name: its part between the underscores.")],
) -> None:
    """Make a key unusable. Servers refuse it within five seconds."""

    async def refuse() -> None:
        async with _database() as connection, connection.transaction():
            tenant_id = await store.revoke(connection, key_id)
            await audit.append_command(connection, tenant_id, "keys.revoke", f"/keys/{key_id}")

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
