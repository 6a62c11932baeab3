"""What a benchmark leaves behind: figures together with what they were measured on."""

import json
import math
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine(*packages: str) -> dict[str, Any]:
    """Where it ran: cores, load when it began, Python, versions of packages."""
    return {
        "cores": os.cpu_count(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in ("streamgauge", *packages)},
    }


def percentiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    """Percentiles of times, in milliseconds; NaN of nothing."""
    if len(nanoseconds) < 2:
        return dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "slowest_ms"), math.nan)
    cuts = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    found = {f"p{each}_ms": cuts[each - 1] / 1e6 for each in (50, 95, 99)} | {
        "slowest_ms": max(nanoseconds) / 1e6
    }
    return {name: round(value, 2) for name, value in found.items()}


def keep(result: dict[str, Any], file: Path) -> None:
    """Write figures to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
