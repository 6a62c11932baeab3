"""Checks of this machine: settings, keys, disk."""

from collections.abc import Callable, Iterator

from streamgauge_workers.diagnosis.applications import capture
from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.snapshot import Database, Snapshot
from streamgauge_workers.diagnosis.spools import LEAST_FREE, spools
from streamgauge_workers.diagnosis.wording import capitalised, listed, megabytes

Findings = Iterator[Finding]

RESTORE = "restore it from its backup, or set STREAMGAUGE_KEYRING to where it is"


def settings(snapshot: Snapshot) -> Findings:
    """They could be read; who may reach the server."""
    given = snapshot.settings
    if given.host in ("127.0.0.1", "::1", "localhost"):
        yield ok("settings", f"The settings are usable; the server listens on {given.host}:{given.port}.")
    else:
        yield warning(
            "settings",
            f"The server listens on {given.host}, where other machines reach it.",
            "Put an authenticating proxy in front of it, or set STREAMGAUGE_HOST=127.0.0.1.",
        )


def keys(snapshot: Snapshot) -> Findings:
    """The keyring is there when pseudonyms are, and private."""
    machine = snapshot.machine
    if machine.keyring_is_open:
        yield problem(
            "keys",
            f"Others may read the keyring {machine.keyring}, and so undo pseudonyms.",
            f"chmod 600 {machine.keyring}",
        )
        return
    named = snapshot.database.pseudonymous if isinstance(snapshot.database, Database) else ()
    missing = [name for name in named if name not in (machine.keyring_tenants or ())]
    if not machine.keyring_exists and missing:
        yield warning(
            "keys",
            f"The database holds pseudonyms, but there is no keyring at {machine.keyring}: nobody can be found or erased by "
            "name here, and with a new one everybody would count as somebody new.",
            capitalised(f"{RESTORE}, before anything makes a new one"),
        )
    elif machine.keyring_exists and machine.keyring_tenants is None:
        yield problem(
            "keys",
            f"The keyring {machine.keyring} cannot be read or is damaged.",
            f"Run this as its owner. If it is damaged: {RESTORE}.",
        )
    elif missing:
        yield warning(
            "keys",
            f"The keyring {machine.keyring} holds no keys of {listed(missing)}, whose actors are in the database under "
            "pseudonyms: it is not the one these were made with.",
            capitalised(f"{RESTORE}, unless another machine has their keys"),
        )
    elif machine.keyring_exists:
        yield ok("keys", f"The keyring {machine.keyring} is there and private.")
    else:
        yield ok("keys", "There is no keyring yet; it is made when the first key is needed.")


def disk(snapshot: Snapshot) -> Findings:
    """Room below the data directory."""
    machine = snapshot.machine
    if machine.free < LEAST_FREE:
        yield problem(
            "disk",
            f"The disk of {machine.data_dir} has {megabytes(machine.free)} free.",
            "Free some, or move it with --data-dir.",
        )
    else:
        yield ok("disk", f"The disk of {machine.data_dir} has {megabytes(machine.free)} free.")


OF_THE_MACHINE: tuple[Callable[[Snapshot], Findings], ...] = (settings, capture, keys, disk, spools)
