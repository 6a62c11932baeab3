"""`streamgauge tenants`: schools and organisations, and the groups in them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from streamgauge.access import audit
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.database import Connection, open_connection
from streamgauge.errors import InputError
from streamgauge.tenants import groups as members
from streamgauge.tenants import store
from streamgauge.tenants.bodies import validated
from streamgauge.tenants.records import NewTenant, Tenant, TenantChange
from streamgauge_cli import session

tenants = typer.Typer(
    help="Tenants: create, list, change, suspend, resume, delete; their groups.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="The tenant's id: what its events carry.")]


@tenants.command("create")
def create(
    name: Name,
    display_name: Annotated[str, typer.Option(help="What people read.")] = "",
    time_zone: Annotated[str, typer.Option(help="IANA time zone of its hours and days.")] = "UTC",
) -> None:
    """Make a tenant."""

    async def make() -> None:
        async with _database() as connection:
            tenant_id = await store.make(
                connection, NewTenant(id=name, name=display_name, time_zone=time_zone)
            )
            await audit.append_command(connection, 0, "tenants.create", f"/tenants/{name}")
        typer.echo(
            f"Tenant {name} is there, number {tenant_id}. Now its keys: streamgauge keys create --tenant {name} --read"
        )

    asyncio.run(make())


@tenants.command("list")
def list_tenants() -> None:
    """Show all tenants."""

    async def look() -> list[Tenant]:
        async with _database() as connection:
            return await store.listed(connection, limit=1_000_000)

    found = asyncio.run(look())
    for each in found:
        following = each.next_time_zone
        zone = each.time_zone + (
            f", {following.time_zone} from {following.effective_from:%Y-%m-%d %H:%M} UTC" if following else ""
        )
        typer.echo(f"{each.id}  {each.name}  {zone}  {each.status}")
    if not found:
        typer.echo("There are no tenants: streamgauge tenants create NAME", err=True)


@tenants.command("change")
def change(
    name: Name,
    display_name: Annotated[str | None, typer.Option(help="What people read.", show_default=False)] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(help="From the first whole hour at least ten minutes ahead.", show_default=False),
    ] = None,
    retention_days: Annotated[
        int | None,
        typer.Option(help="Days its single events are kept; recorded, not applied yet.", show_default=False),
    ] = None,
    people: Annotated[
        bool | None,
        typer.Option(help="Whether others may read rows about its people over the API.", show_default=False),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(
            help="Requests to the API, all its credentials together; 0: no budget.", show_default=False
        ),
    ] = None,
) -> None:
    """Change what a tenant is called, its time zone, its policies and its budget."""
    given: dict[str, object] = {
        "name": display_name,
        "time_zone": time_zone,
        "retention_days": retention_days,
    }
    if people is not None:
        given["policies"] = {"people": people}
    if requests_per_minute is not None:
        given["budgets"] = {"requests_per_minute": requests_per_minute or None}
    wanted = {field: value for field, value in given.items() if value is not None}
    if not wanted:
        raise InputError(
            "what is to be different? Give --display-name, --time-zone or another option", "tenant"
        )
    asyncio.run(_change(name, validated(TenantChange, wanted)))


@tenants.command("suspend")
def suspend(name: Name) -> None:
    """Refuse its credentials, until `resume`. What its applications capture is still counted."""
    asyncio.run(_change(name, TenantChange(status="suspended")))


@tenants.command("resume")
def resume(name: Name) -> None:
    """Accept its credentials again."""
    asyncio.run(_change(name, TenantChange(status="active")))


@tenants.command("delete")
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End its credentials, and let a worker delete what is kept of it. The receipt tells what became of it."""
    if not yes:
        typer.confirm(f"Delete tenant {name} and everything that is kept of it?", abort=True)

    async def leave() -> None:
        async with _database() as connection:
            receipt = await store.leave(connection, name, audit.COMMAND)
            if receipt is None:
                raise _unknown(name)
            await audit.append_command(
                connection, 0, "tenants.delete", f"/tenants/{name}", {"receipt": receipt.receipt_id}
            )
        typer.echo(f"Tenant {name} is being deleted by the workers; receipt {receipt.receipt_id}")

    asyncio.run(leave())


@tenants.command("groups")
def groups(
    name: Name,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with the columns group, name, kind, actor, role; without it they are shown."
        ),
    ] = None,
) -> None:
    """Show a tenant's groups, or set those that a file holds: each is afterwards as in the file."""

    async def put(given: list[members.NamedGroup]) -> None:
        keys = Keyring(session.settings().keyring)
        async with _database() as connection:
            tenant_id = await _number(connection, name)
            pseudonym = keys.tenant(name).pseudonym
            done = await members.put(
                connection, tenant_id, given, lambda external: pseudonym("actor", external)
            )
            await audit.append_command(
                connection, tenant_id, "groups.put", f"/tenants/{name}/groups", done.model_dump()
            )
        typer.echo(
            f"{done.groups} groups: {done.added} people added, {done.changed} changed, {done.removed} removed"
        )

    async def show() -> None:
        async with _database() as connection:
            found = await members.listed(
                connection, await _number(connection, name), limit=members.MOST_GROUPS
            )
        for each in found:
            typer.echo(
                f"{each.id}  {each.name}  {each.kind}  {each.members} members, {each.managers} managers"
            )
        if not found:
            typer.echo(f"Tenant {name} has no groups: streamgauge tenants groups {name} FILE.csv", err=True)

    asyncio.run(show() if file is None else put(_read(file)))


def _read(path: Path) -> list[members.NamedGroup]:
    try:
        return members.read_csv(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "file") from error


async def _change(name: str, wanted: TenantChange) -> None:
    async with _database() as connection:
        changed = await store.change(connection, name, wanted)
        if changed is None:
            raise _unknown(name)
        detail = wanted.model_dump(mode="json", exclude_unset=True)
        await audit.append_command(
            connection, await _number(connection, name), "tenants.change", f"/tenants/{name}", detail
        )
    typer.echo(f"Tenant {name}: {changed.name}, {changed.time_zone}, {changed.status}")


async def _number(connection: Connection, name: str) -> int:
    tenant_id = await store.id_of(connection, name)
    if tenant_id is None:
        raise _unknown(name)
    return tenant_id


def _unknown(name: str) -> InputError:
    return InputError(f"there is no tenant {name!r}: `streamgauge tenants list` shows them all", "tenant")


@contextlib.asynccontextmanager
async def _database() -> AsyncIterator[Connection]:
    """A connection in one transaction: what is done and its line in the audit log hold together, or neither does."""
    async with session.servers(session.settings()) as endpoints:
        connection = await open_connection(endpoints.database_url, application_name="streamgauge tenants")
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()
