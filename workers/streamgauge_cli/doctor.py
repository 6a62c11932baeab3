"""`streamgauge doctor`: why is the dashboard empty?"""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from streamgauge.domains.operations.declarations import PROBE_TENANT
from streamgauge.errors import SettingsError
from streamgauge.logs import printable
from streamgauge.settings import Settings
from streamgauge_cli import session
from streamgauge_cli.address import base_url, is_ready
from streamgauge_local.ownership import Ownership
from streamgauge_workers.diagnosis.applications import capture
from streamgauge_workers.diagnosis.checks import examine
from streamgauge_workers.diagnosis.findings import Finding, ok, problem
from streamgauge_workers.diagnosis.look import take
from streamgauge_workers.diagnosis.machine import disk, keys, settings
from streamgauge_workers.diagnosis.machine_look import look_at_machine
from streamgauge_workers.diagnosis.snapshot import NOT_RUNNING, Snapshot
from streamgauge_workers.diagnosis.spools import spools
from streamgauge_workers.diagnosis.wording import megabytes
from streamgauge_workers.probe import Probe, probe

MARKS = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}


async def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of lines for people.")
    ] = False,
    with_probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help=f"Send one event through the whole path, for the tenant {PROBE_TENANT}, and tell how long each hop took.",
        ),
    ] = False,
) -> None:
    """Say in plain words what is wrong, if anything, and what to do next. Exit code 1 when there is a problem.

    Without --probe it only looks: it changes nothing and starts nothing.
    """
    probed: Probe | None = None
    try:
        wanted = session.settings()
        findings = await diagnose(wanted)
        if with_probe:
            probed, found = await follow_event(wanted)
            findings += found
    except SettingsError as error:
        findings = [problem("settings", f"{error}.", "Correct it in the environment or on the command line.")]
    if as_json:
        shown = summary(findings) | ({"probe": probed.as_dict()} if probed else {})
        typer.echo(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(printable(f"{MARKS[finding.level]} {finding.check}: {finding.says}"))
            if finding.next:
                typer.echo(printable(f"          -> {finding.next}"))
        typer.echo(conclusion(findings))
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


async def diagnose(wanted: Settings) -> list[Finding]:
    """Every finding on the servers that are given or running; without any, on what is here."""
    redis_url, database_url = addresses(wanted)
    if redis_url is None and database_url is None:
        return nothing_runs(wanted)
    return examine(await take(wanted, redis_url, database_url))


async def follow_event(wanted: Settings) -> tuple[Probe | None, list[Finding]]:
    """Send the probe's event; returns what became of it, and the same in words. None when there is nowhere to send it."""
    redis_url, database_url = addresses(wanted)
    if redis_url is None or database_url is None:
        return None, [
            problem("probe", "No event was sent: it takes Redis and PostgreSQL.", "Start them, or give both.")
        ]
    probed = await probe(wanted, redis_url, database_url)
    if probed.trouble is not None:
        return probed, [problem("probe", probed.trouble.says, probed.trouble.next)]
    hops = "".join(f" -> {name} {each:.1f} ms" for name, each in probed.hops.items())
    found = [
        ok("probe", f"One event took {probed.milliseconds:.1f} ms through shard {probed.shard}: made{hops}.")
    ]
    began = time.perf_counter()
    if await is_ready(wanted.host, wanted.port):
        probed.server = (time.perf_counter() - began) * 1000
        says = f"The server at {base_url(wanted.host, wanted.port)} is ready; it said so in {probed.server:.1f} ms."
    else:
        says = f"No server is ready at {base_url(wanted.host, wanted.port)}, so answers were read from PostgreSQL alone."
    return probed, [*found, ok("probe", says)]


def addresses(wanted: Settings) -> tuple[str | None, str | None]:
    """Addresses of Redis and PostgreSQL: given ones, else those of what runs over the data directory."""
    if wanted.redis_url is not None and wanted.database_url is not None:
        return wanted.redis_url, wanted.database_url
    redis_url, database_url = running_servers(wanted.data_dir)
    return wanted.redis_url or redis_url, wanted.database_url or database_url


def running_servers(data_dir: Path) -> tuple[str | None, str | None]:
    """Addresses of the Redis and the PostgreSQL that another process runs over the data directory."""
    directory = data_dir.expanduser().absolute()
    # Looking must not leave lock files where nothing ever ran.
    if not os.access(directory / "endpoints.json", os.R_OK):
        return None, None
    with Ownership(directory) as ownership:
        record = ownership.read()
    if record is None or not record.ready:
        return None, None
    return record.redis_url or None, record.database_url or None


def nothing_runs(wanted: Settings) -> list[Finding]:
    """What can be told without servers."""
    snapshot = Snapshot(wanted, look_at_machine(wanted), NOT_RUNNING, NOT_RUNNING)
    machine = snapshot.machine
    if any(name in machine.sizes for name in ("postgres", "valkey")):
        sizes = ", ".join(f"{name} {megabytes(size)}" for name, size in machine.sizes.items())
        plan = f"`./run` starts Valkey and PostgreSQL over the data in {machine.data_dir} ({sizes})."
    else:
        plan = f"`./run` makes {machine.data_dir} and starts a new Valkey and PostgreSQL in it."
    return [
        *settings(snapshot),
        *capture(snapshot),
        problem(
            "servers",
            "Nothing runs here: no servers were given, and no `streamgauge up` is running.",
            f"{plan} Or give STREAMGAUGE_REDIS_URL and STREAMGAUGE_DATABASE_URL.",
        ),
        *keys(snapshot),
        *disk(snapshot),
        *spools(snapshot),
    ]


def summary(findings: list[Finding]) -> dict[str, object]:
    """All of it, for programs."""
    levels = [finding.level for finding in findings]
    return {
        "problems": levels.count("problem"),
        "warnings": levels.count("warning"),
        "findings": [finding.as_dict() for finding in findings],
    }


def conclusion(findings: list[Finding]) -> str:
    """The last line."""
    levels = [finding.level for finding in findings]
    if problems := levels.count("problem"):
        return f"{problems} problem{'s' if problems > 1 else ''}: begin with the first one."
    warnings = levels.count("warning")
    return (
        f"It works; {warnings} thing{'s' if warnings > 1 else ''} to look at." if warnings else "All is well."
    )
