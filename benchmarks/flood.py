"""An application of one tenant that tracks as many events as it is told to, or as it can, with the real gauge.

python -m benchmarks.flood --rate 10000 --seconds 60 --file FILE [--quota EVENTS]
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from streamgauge import EventType, Property, Settings, Streamgauge

TENANT = "flood"
NAME = "flood.item_done"
EVENT = EventType(NAME, "to be in others' way", {"score": Property(int, "a number")})
SLICE = 0.005  # seconds; what is due is tracked in one go


def flood(gauge: Streamgauge, rate: int, seconds: float) -> dict[str, Any]:
    """Track for so long, so many a second, or, for 0, as many as it takes; what came of it."""
    began = time.monotonic()
    tracked = accepted = 0
    while (passed := time.monotonic() - began) < seconds:
        due = round(passed * rate) - tracked if rate else 200
        for _ in range(due):
            accepted += bool(
                gauge.track(NAME, actor=f"actor {tracked % 5_000}", tenant=TENANT, score=tracked % 100)
            )
            tracked += 1
        if rate:
            time.sleep(SLICE)
    return {"tracked": tracked, "accepted": accepted, "events_per_second": accepted / seconds}


def main() -> None:
    """Track, and write what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=10_000, help="events a second; 0: as many as it takes")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--quota", type=int, default=5_000, help="events a second; 0: none")
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    settings = Settings.from_environ(os.environ, tenant_events_per_second=options.quota)
    gauge = Streamgauge(settings, event_types=[EVENT])
    noted = flood(gauge, options.rate, options.seconds)
    noted["status"] = gauge.status()
    gauge.close(30.0)
    options.file.write_text(json.dumps(noted), "utf-8")


if __name__ == "__main__":
    main()
