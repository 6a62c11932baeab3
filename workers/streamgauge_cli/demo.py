"""The example school that `streamgauge up` starts beside the server. An installation from a wheel has none."""

import ipaddress
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge_cli.address import base_url

#: A tenant of its own: demo traffic must not be among anybody's figures.
TENANT = "demo-school"
PACKAGE = "examples.school"
ADVICE = "--port (the example school's follows it), or leave the school out with --no-demo"
#: The clone this program runs from, if it does.
ROOT = Path(__file__).resolve().parents[2]
_HIGHEST_PORT = 65_535


def is_there(root: Path = ROOT) -> bool:
    """Whether there is an example to start."""
    return root.joinpath(*PACKAGE.split("."), "__main__.py").is_file()


def port_of(settings: Settings) -> int:
    """The port above the server's. Raises SettingsError when it is none, or the worker's."""
    port = settings.port + 1
    if port > _HIGHEST_PORT:
        raise SettingsError(
            f"The example school would be at port {port}, which is none: choose another with {ADVICE}"
        )
    if port == settings.worker_port:
        raise SettingsError(
            f"STREAMGAUGE_WORKER_PORT is {port}, where the example school goes: choose another for either, or give --no-demo"
        )
    return port


def host_of(settings: Settings) -> str:
    """Where it listens: never where others could reach it, since it lets everybody in."""
    host = settings.host
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    return host if loopback else "127.0.0.1"


def directory(settings: Settings) -> dict[str, str]:
    """Where the server asks for the names of the example's people, and what it shows there: made anew at every start."""
    return {
        "STREAMGAUGE_DIRECTORY_URL": f"{base_url(host_of(settings), port_of(settings))}/streamgauge/directory",
        "STREAMGAUGE_DIRECTORY_TOKEN": secrets.token_urlsafe(32),
    }


def command(settings: Settings) -> list[str]:
    """What starts it, demo traffic included."""
    where = ["--host", host_of(settings), "--port", str(port_of(settings))]
    return [sys.executable, "-P", "-m", PACKAGE, *where, "--demo-traffic"]


def environment(others: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """What the server and the worker are given, with its own tenant, and where it is."""
    path = os.pathsep.join(filter(None, (str(root), others.get("PYTHONPATH"))))
    return {**others, "STREAMGAUGE_TENANT": TENANT, "PYTHONPATH": path}
