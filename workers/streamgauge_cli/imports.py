"""`streamgauge import`: history from files, every row once."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamgauge.settings import Settings
from streamgauge_cli import session

if TYPE_CHECKING:
    from streamgauge_imports.importing import Delivered, Order

# Typer reads the choices from a Literal; those of the log's own module are the same ones.
Format = Literal["combined", "common"]

imports = typer.Typer(
    name="import", help="Import history from files.", no_args_is_help=True, rich_markup_mode=None
)


@imports.callback()
def _group() -> None:
    """Import history from files. Importing the same file twice changes nothing."""


@imports.command("access-log")
def access_log(
    file: Annotated[Path, typer.Argument(help="The log, plain or gzip. It must be complete: a rotated one.")],
    tenant: Annotated[str, typer.Option(help="Whose requests they are; made when there is no such tenant.")],
    format: Annotated[
        Format, typer.Option(help="Apache's combined format, or NCSA's common one, which has no user agent.")
    ] = "combined",
    time_zone: Annotated[
        str | None,
        typer.Option(
            help="IANA time zone of the tenant's days, such as Europe/Berlin; UTC for a new tenant. An "
            "existing tenant keeps its own.",
            show_default=False,
        ),
    ] = None,
    routes: Annotated[
        Path | None,
        typer.Option(help="Route templates, one per line, such as /users/{id}.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Import the requests of an access log, and wait until they are in the tables.

    Addresses and user agents are not stored: a visitor is a pseudonym made of them with the tenant's key.
    Lines that are no request are counted by reason. An import that was cut short is finished by running it again.
    """
    from streamgauge.summaries.zones import load_zone
    from streamgauge_imports.log_frames import examine
    from streamgauge_imports.tenants import check_name

    began = time.monotonic()
    # Everything that can be wrong with what was given is told before a server is started for it.
    check_name(tenant)
    if time_zone is not None:
        load_zone(time_zone)
    table = _routes_text(routes)
    log = examine(file, format)

    from streamgauge_cli.import_report import exit_code, report
    from streamgauge_imports.orders import access_log_order
    from streamgauge_local.ownership import prepare_directory

    settings = session.settings()
    prepare_directory(settings.data_dir)
    order = access_log_order(
        log, settings, tenant=tenant, time_zone=time_zone, format=format, routes=table,
        spent=time.monotonic() - began,
    )  # fmt: skip
    result = asyncio.run(_run(order, settings, file.name)).result
    report(result, as_json=json)
    raise typer.Exit(exit_code(result))


async def _run(order: "Order", settings: Settings, title: str) -> "Delivered":
    from streamgauge_imports.importing import deliver
    from streamgauge_imports.progress import progress

    async with session.servers(settings) as servers:
        with progress(title, order.rows) as shown:
            return await deliver(order, settings, servers.redis_url, servers.database_url, shown)


def _routes_text(routes: Path | None) -> str | None:
    """The table of routes as text, once it is known to be one. Raises InputError."""
    if routes is None:
        return None
    from streamgauge.domains.web.routes import RouteTable

    RouteTable.load(routes)
    return routes.read_text("utf-8-sig")
