"""`./run faults [--full] [--seed N] [NAME...]`: provoke faults, print what came of each; `--mutate`: see that the proof can fail.

`./run faults soak [--hours 8] [--seed N]`: all of them at random over one installation that goes on working.

Exits with 0 only if nothing was lost or doubled, and every fault fired.
"""

import argparse
import asyncio
import secrets
import signal
import sys
from pathlib import Path

from benchmarks import record

from tests.faults.arena import Row, open_arena
from tests.faults.ground import open_ground
from tests.faults.scenarios import SCENARIOS
from tests.faults.soak import open_soak

COLUMNS = ("fault", "fired", "acked", "counted", "duplicates", "lost", "doubled", "seconds")
CHECK_SECONDS = 240.0  # between two looks at a soak's books
WIDTHS = (6, 7, 8, 8, 11, 6, 8, 8)


def main(arguments: list[str]) -> int:
    """Run what was asked for; the exit code."""
    given = _parser().parse_args(arguments)
    if given.mutate:
        from tests.faults.mutations import run_all

        return run_all(given.names)
    if given.names == ["soak"]:
        return asyncio.run(_soak(given.seed, given.hours, given.json, given.keep))
    unknown = [name for name in given.names if name not in SCENARIOS]
    if unknown:
        print(f"No such fault: {', '.join(unknown)}. There are {', '.join(SCENARIOS)}.", file=sys.stderr)
        return 2
    names = given.names or [name for name, each in SCENARIOS.items() if given.full or each.quick]
    print(
        f"seed {given.seed}: ./run faults {'--full ' if given.full else ''}--seed {given.seed} {' '.join(names)}"
    )
    return 0 if asyncio.run(_run(names, given.seed, given.full, given.keep)) else 1


async def _run(names: list[str], seed: int, full: bool, keep: Path | None) -> bool:
    _print_head()
    good = True
    async with open_ground(keep) as ground:
        for name in names:
            row = await SCENARIOS[name].run(ground, seed, full)
            _print(row)
            good &= row.good
    return good


async def _soak(seed: int, hours: float, json: Path, keep: Path | None) -> int:
    print(f"seed {seed}: ./run faults soak --hours {hours:g} --seed {seed}", flush=True)
    async with (
        open_ground(keep) as ground,
        open_arena(ground, "soak", seed, full=True) as arena,
        open_soak(arena) as soak,
    ):
        result = await soak.run(hours * 3600, min(CHECK_SECONDS, hours * 1200))
    found = {**record.machine("asyncpg", "redis"), **result.as_json()}
    record.keep(found, json)
    for name, times in sorted(result.faults.items()):
        print(f"{name:<36}{times:4d} times, going again after {result.recovery[name]:5.1f} s at most")
    for part, figures in result.memory.items():
        print(f"{part:<20}" + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
    _print_head()
    _print(result.row)
    return 0 if result.row.good else 1


def _print_head() -> None:
    titles = "".join(f"{column:>{width}}" for column, width in zip(COLUMNS, WIDTHS, strict=True))
    print(titles, " drops by reason", flush=True)


def _print(row: Row) -> None:
    found = row.verdict
    cells = (
        row.fault,
        row.fired,
        found.acked,
        found.counted,
        found.duplicates,
        found.lost,
        found.doubled,
        f"{row.seconds:.1f}",
    )
    drops = {**found.drops, **({"announced gap": found.told} if found.told else {})}
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(drops.items())) or "-"
    print(
        "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)),
        f" {reasons}",
        flush=True,
    )
    for trouble in [*row.notes, *row.troubles]:
        print(f"       {trouble}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("./run faults", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="faults, such as F1; all of the quick ones if left out"
    )
    parser.add_argument("--full", action="store_true", help="every fault, at the counts of the list")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeat a run's choices")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs and ledgers here")
    parser.add_argument("--hours", type=float, default=8.0, help="how long a soak goes on")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=record.RESULTS / "soak.json", help="what a soak leaves"
    )
    parser.add_argument(
        "--mutate", action="store_true", help="remove the safeguards one by one: each has to be missed"
    )
    return parser


if __name__ == "__main__":
    # Told to end, leave every context: the servers go with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
