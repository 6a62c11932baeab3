"""A look at this machine: its data directory, its keys, its spools and archives."""

import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from streamgauge.settings import Settings
from streamgauge_workers.diagnosis.snapshot import ArchiveFiles, Machine
from streamgauge_workers.diagnosis.spool_look import look_at_spools


def look_at_machine(settings: Settings) -> Machine:
    """The data directory and the keys."""
    directory = settings.data_dir.expanduser().absolute()
    sizes: dict[str, int] = {}
    if directory.is_dir():
        sizes = {entry.name: _size(entry) for entry in sorted(directory.iterdir()) if entry.is_dir()}
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    keyring = settings.keyring.expanduser().absolute()
    exists = keyring.is_file()
    is_open = exists and bool(stat.S_IMODE(keyring.stat().st_mode) & 0o077)
    held = _tenants_of(keyring) if exists and not is_open else frozenset()
    archive = settings.archive_dir.expanduser().absolute()
    free = shutil.disk_usage(existing).free
    spools = look_at_spools(settings.spool_dir.expanduser().absolute(), existing)
    return Machine(directory, sizes, free, keyring, exists, is_open, held, archive, _free(archive), spools)


def _free(directory: Path) -> int | None:
    """Bytes free where a directory is, or would be made."""
    try:
        return shutil.disk_usage(next(path for path in (directory, *directory.parents) if path.exists())).free
    except OSError:
        return None


def _tenants_of(keyring: Path) -> frozenset[str] | None:
    """Whose keys a keyring holds; the keys themselves are not looked at."""
    try:
        return frozenset(json.loads(keyring.read_bytes())["tenants"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _size(directory: Path) -> int:
    total = 0
    # Unlike rglob, walk passes over a directory that is gone when its turn comes: servers are at work here.
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # gone meanwhile, or another user's
                continue
    return total


def compare_archives(directory: Path, archives: Mapping[str, int]) -> ArchiveFiles:
    """Whether the files of these names (with their bytes) are there; what they hold is not read."""
    directory = directory.expanduser().absolute()
    if not os.access(directory, os.R_OK | os.X_OK):
        return ArchiveFiles(len(archives), is_here=False)
    missing, altered = [], []
    for name, size in archives.items():
        try:
            if (directory / name).stat().st_size != size:
                altered.append(name)
        except OSError:
            missing.append(name)
    return ArchiveFiles(len(archives), True, missing, altered)
