"""`streamgauge import`: history from files, every row once."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamgauge.errors import InputError
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
    (delivered,) = asyncio.run(_run([order], settings, file.name))
    result = delivered.result
    report(result, as_json=json)
    raise typer.Exit(exit_code(result))


_TENANT = typer.Option(
    help="Whose records they are; made when there is no such tenant. STREAMGAUGE_TENANT when left out.",
    show_default=False,
)
_TIME_ZONE = typer.Option(
    help="IANA time zone of the tenant's days, such as Europe/Berlin; UTC for a new tenant. An existing tenant keeps its own.",
    show_default=False,
)
_JSON = typer.Option("--json", help="Print the result as one JSON object.")


@imports.command("oulad")
def oulad(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Holds studentVle.csv, and vle.csv, assessments.csv, studentAssessment.csv; gzip, too."
        ),
    ],
    start: Annotated[
        str,
        typer.Option(help="The date of day 0, such as 2013-10-05: the dataset's days are counted from it."),
    ],
    tenant: Annotated[str | None, _TENANT] = None,
    time_zone: Annotated[str | None, _TIME_ZONE] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Import the Open University Learning Analytics Dataset, and wait until it is in the tables.

    Clicks become views of materials at noon of their day, results become submissions, and whoever appears in a course is enrolled.
    """
    began = time.monotonic()
    day = _date(start)
    settings, name = _prepared(tenant, time_zone)
    from streamgauge_imports.learning_orders import oulad_orders
    from streamgauge_imports.oulad_folder import find_folder

    found = find_folder(folder)
    for told in found.missing:
        typer.echo(told, err=True)
    orders = oulad_orders(found, settings, tenant=name, start=day, time_zone=time_zone)
    _bring(orders, settings, folder.name, began, as_json=json)


@imports.command("xapi")
def xapi(
    file: Annotated[
        Path, typer.Argument(help="Statements: one on each line, or a JSON list of them; plain or gzip.")
    ],
    tenant: Annotated[str | None, _TENANT] = None,
    time_zone: Annotated[str | None, _TIME_ZONE] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Import statements of the Experience API (xAPI), and wait until they are in the tables.

    Statements that mean no event are counted by reason. One that another one of the file voids is left out.
    """
    began = time.monotonic()
    settings, name = _prepared(tenant, time_zone)
    from streamgauge_imports.learning_orders import xapi_order
    from streamgauge_imports.text_files import examine_text

    order = xapi_order(examine_text(file), settings, tenant=name, time_zone=time_zone)
    _bring([order], settings, file.name, began, as_json=json)


@imports.command("csv")
def csv(
    file: Annotated[Path, typer.Argument(help="A table with a header, in UTF-8; plain or gzip.")],
    mapping: Annotated[
        Path, typer.Option(help="What its columns mean: a JSON or TOML file, see docs/imports.md.")
    ],
    tenant: Annotated[str | None, _TENANT] = None,
    time_zone: Annotated[str | None, _TIME_ZONE] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Import a table of events, and wait until they are in the tables.

    Rows that are no event are counted by reason, and the first ones listed with their column; all others are imported.
    """
    began = time.monotonic()
    settings, name = _prepared(tenant, time_zone)
    from streamgauge.catalogue import load_catalogue
    from streamgauge_imports.csv_mapping import load_mapping
    from streamgauge_imports.learning_orders import csv_order
    from streamgauge_imports.table_rows import picked
    from streamgauge_imports.text_files import examine_text

    found = load_mapping(mapping, load_catalogue(settings).event_types)
    table = examine_text(file)
    # Its header is looked at before a server is started for it.
    next(picked(table.path, found.columns, found.delimiter), None)
    order = csv_order(table, found, settings, tenant=name, time_zone=time_zone)
    _bring([order], settings, file.name, began, as_json=json)


def _prepared(tenant: str | None, time_zone: str | None) -> tuple[Settings, str]:
    """The settings and the tenant's name, once they are known to be usable. Raises InputError."""
    from streamgauge.summaries.zones import load_zone
    from streamgauge_imports.tenants import check_name

    settings = session.settings()
    name = settings.tenant if tenant is None else tenant
    check_name(name)
    if time_zone is not None:
        load_zone(time_zone)
    return settings, name


def _date(text: str) -> date:
    from streamgauge.summaries.calendar import FIRST_DATE, LAST_DATE

    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or not FIRST_DATE <= found <= LAST_DATE:
        raise InputError(
            f"--start is {text[:40]!r}: give a date of 1970 to 2100, such as 2013-10-05", "start"
        )
    return found


def _bring(orders: "list[Order]", settings: Settings, title: str, began: float, *, as_json: bool) -> None:
    """Carry out orders one after another, and tell their one account."""
    from streamgauge_cli.import_report import exit_code, report
    from streamgauge_imports.learning_orders import together
    from streamgauge_local.ownership import prepare_directory

    prepare_directory(settings.data_dir)
    orders[0] = replace(orders[0], spent=time.monotonic() - began)
    delivered = asyncio.run(_run(orders, settings, title))
    result = together([each.result for each in delivered])
    report(result, as_json=as_json)
    raise typer.Exit(exit_code(result))


async def _run(orders: "Sequence[Order]", settings: Settings, title: str) -> "list[Delivered]":
    from streamgauge_imports.importing import deliver
    from streamgauge_imports.progress import progress

    delivered = []
    async with session.servers(settings) as servers:
        for order in orders:
            with progress(title, order.rows) as shown:
                delivered.append(
                    await deliver(order, settings, servers.redis_url, servers.database_url, shown)
                )
    return delivered


def _routes_text(routes: Path | None) -> str | None:
    """The table of routes as text, once it is known to be one. Raises InputError."""
    if routes is None:
        return None
    from streamgauge.domains.web.routes import RouteTable

    RouteTable.load(routes)
    return routes.read_text("utf-8-sig")
