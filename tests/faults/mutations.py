"""`./run faults --mutate`: take one safeguard away, in a temporary copy, and see that the proof misses it.

A mutation that no fault notices means that nothing proves the safeguard; the exit code is then 1. A text that is not found, or found
twice, is an error as well: then the mutation has to follow the source.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.faults.ground import ROOT

COPIED = ("app", "workers", "migrations", "tests", "benchmarks", "pyproject.toml")
SECONDS = 600
SEED = "1"


class Mutation(NamedTuple):
    """A safeguard: where it is, its text, what stands there without it, and the faults that have to notice."""

    name: str
    path: str
    text: str
    without: str
    faults: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "token",
        "workers/streamgauge_workers/queries.sql",
        "WHERE shard = $1 AND token = $2 RETURNING token, now() AS now",
        "WHERE shard = $1 AND $2::uuid IS NOT NULL RETURNING token, now() AS now",
        ("F5",),
    ),
    Mutation(
        "done",
        "workers/streamgauge_workers/delivery.py",
        "    if lane.done.covers(batch.first, batch.end):\n",
        "    if batch.n < 0:\n",
        ("F4", "F2"),
    ),
    Mutation(
        "overlap",
        "workers/streamgauge_workers/delivery.py",
        "    if lane.done.covers(batch.first, batch.end):\n"
        "        verdict.duplicates.append((entry_id, batch))\n"
        "    elif lane.done.overlaps(batch.first, batch.end):\n"
        "        verdict.conflicts.append((entry_id, batch))\n"
        "    else:\n"
        "        lane.done.add",
        "    if True:\n        lane.done.add",
        ("F4", "F2"),
    ),
    Mutation(
        "position",
        "workers/streamgauge_workers/applier.py",
        "        async with connection.transaction():\n"
        "            moved, now = await position.swap(connection, replace(position, entry_id=entries[-1][0]))\n",
        "        moved, now = await position.swap(connection, replace(position, entry_id=entries[-1][0]))\n"
        "        async with connection.transaction():\n",
        ("F1",),
    ),
    Mutation(
        "announcements",
        "app/streamgauge/capture/publisher.py",
        "        if (lane.next or lane.drops) and said != lane.said:\n",
        "        if lane.next < 0:\n",
        ("F12",),
    ),
    Mutation(
        "trim fence",
        "app/streamgauge/redis_scripts.py",
        "if run ~= ARGV[1] or mark ~= ARGV[2] then return false end",
        "",
        ("F10",),
    ),
    Mutation(
        "segment CRC",
        "app/streamgauge/capture/segment.py",
        "        if body is not None and crc32(body, seed) == checksum:\n",
        "        if body is not None and (seed, checksum):\n",
        ("F9",),
    ),
    Mutation(
        "fsync",
        "app/streamgauge/capture/segment_writer.py",
        "        os.fsync(self._file)\n",
        "        pass\n",
        ("F26",),
    ),
    Mutation(
        "quota",
        "app/streamgauge/capture/outbox.py",
        "            if shares.take(event.tenant):\n",
        "            if shares.take(event.tenant) or event:\n",
        ("F27",),
    ),
)


def apply(mutation: Mutation, root: Path) -> None:
    """Change the source below `root`. Raises LookupError unless its text is there exactly once."""
    path = root / mutation.path
    source = path.read_text("utf-8")
    found = source.count(mutation.text)
    if found != 1:
        raise LookupError(
            f"{mutation.name}: its text is {found} times in {mutation.path}: let it follow the source"
        )
    path.write_text(source.replace(mutation.text, mutation.without), "utf-8")


def run_all(names: list[str]) -> int:
    """Try every mutation, or the named ones; the exit code."""
    chosen = [each for each in MUTATIONS if not names or each.name in names]
    faults = tuple(dict.fromkeys(fault for each in chosen for fault in each.faults))
    print(f"with everything in its place: {', '.join(faults)} must pass", flush=True)
    if not chosen or _run(None, faults)[0] != 0:
        print("They do not: what a mutation changes could not be told")
        return 1
    unnoticed = []
    for mutation in chosen:
        print(f"without {mutation.name}: {', '.join(mutation.faults)} must fail", flush=True)
        if not _is_noticed(mutation):
            unnoticed.append(mutation.name)
            print(f"NOBODY MISSED IT: {mutation.name}", flush=True)
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} mutations were noticed")
    return 1 if unnoticed else 0


def _is_noticed(mutation: Mutation) -> bool:
    code, table = _run(mutation, mutation.faults)
    # A run that did not get as far as a table has noticed nothing.
    return code == 1 and "fault" in table


def _run(mutation: Mutation | None, faults: tuple[str, ...]) -> tuple[int, str]:
    """Provoke faults with a copy of the sources; the exit code, and what was printed."""
    with tempfile.TemporaryDirectory(prefix="sgm-", dir="/tmp") as directory:
        copy = Path(directory)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        if mutation is not None:
            apply(mutation, copy)
        paths = [str(copy / name) for name in ("app", "workers", "migrations")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(copy)])}
        command = [sys.executable, "-P", "-m", "tests.faults.run", "--seed", SEED, *faults]
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    print(done.stdout[-3000:], flush=True)
    return done.returncode, done.stdout
