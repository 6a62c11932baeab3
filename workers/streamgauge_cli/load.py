"""`streamgauge load`: synthetic events whose totals are known."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from streamgauge.errors import InputError
from streamgauge_cli import session

if TYPE_CHECKING:
    from streamgauge_imports.importing import Delivered
    from streamgauge_imports.orders import Load

EVENTS_PER_ACTOR_AND_DAY = 10
AHEAD = timedelta(minutes=5)  # what workers accept
LONGEST_RUN = 20_000  # days
MOST_ACTORS, MOST_EVENTS = 100_000_000, 1_000_000_000


def load(
    tenant: Annotated[str, typer.Option(help="Whose events they become; made when there is no such tenant.")],
    actors: Annotated[
        int, typer.Option(min=1, max=MOST_ACTORS, help="How many actors to choose from.")
    ] = 1000,
    days: Annotated[int, typer.Option(min=1, max=LONGEST_RUN, help="How many days they spread over.")] = 7,
    rate: Annotated[
        int, typer.Option(min=0, help="Events per second that are sent; 0: as fast as possible.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Other seeds give other events.")] = 0,
    events: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_EVENTS,
            help=f"How many; {EVENTS_PER_ACTOR_AND_DAY} for each actor and day.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="When the last day ends, as 2026-03-01T12:00:00+01:00 (UTC without an offset); now. The same "
            "seed and options give the same events only with the same end.",
            show_default=False,
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="IANA time zone of a new tenant; UTC.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the totals on one line.")] = False,
) -> None:
    """Make events, 70 % of them requests, and wait until they are in the tables. Prints their exact totals as JSON.

    Running the same again, with the printed `until`, changes nothing.
    """
    from streamgauge_imports.orders import Load
    from streamgauge_imports.tenants import check_name

    check_name(tenant)
    end = read_until(until, datetime.now(UTC))
    count = events or actors * days * EVENTS_PER_ACTOR_AND_DAY
    wanted = Load(tenant, actors, days, count, rate, seed, end)
    delivered = asyncio.run(_run(wanted, time_zone))
    told = {
        **wanted.as_json(),
        "time_zone": delivered.tenant.time_zone,
        **delivered.summary,
        "result": delivered.result.as_json(),
    }
    typer.echo(orjson.dumps(told, option=0 if json else orjson.OPT_INDENT_2))
    raise typer.Exit(0 if delivered.result.accounted else 1)


def read_until(text: str | None, now: datetime) -> datetime:
    """The given end, or `now`, in UTC and whole seconds. Raises InputError for what is no time, or lies ahead."""
    if text is None:
        return now.replace(microsecond=0)
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"--until is {text!r}: give a time such as 2026-03-01T12:00:00+01:00", "until"
        ) from None
    end = (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
    if end > now + AHEAD:
        raise InputError(
            f"--until is {text!r}, in the future: events may be at most five minutes ahead", "until"
        )
    return end


async def _run(wanted: "Load", time_zone: str | None) -> "Delivered":
    from streamgauge_imports.importing import deliver
    from streamgauge_imports.orders import load_order
    from streamgauge_imports.progress import progress
    from streamgauge_local.ownership import prepare_directory

    settings = session.settings()
    prepare_directory(settings.data_dir)
    order = load_order(wanted, settings, time_zone)
    async with session.servers(settings) as servers:
        with progress("load", wanted.events) as shown:
            return await deliver(order, settings, servers.redis_url, servers.database_url, shown)
