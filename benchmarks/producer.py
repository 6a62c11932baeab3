"""An application that tracks events at a steady rate with the real gauge, and notes when it tracked each marker.

    python -m benchmarks.producer --rate 1000 --seconds 30 --file FILE

The events are those of `mix`, given to the gauge as a host gives them. One in twenty is a marker instead.
"""

import argparse
import json
import os
import random
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import mix
from streamgauge import EventType, Property, Settings, Streamgauge

#: Each is tracked by an actor of its own, so that together they pass through all shards.
MARKERS = tuple(f"marker{number}.tracked" for number in range(8))
TENANT = mix.tenant(0)
SHARE = 0.05
EVENTS = (
    *(
        EventType(f"item{number}.done", "the mix", {"score": Property(int, "a number")})
        for number in range(mix.OTHERS)
    ),
    *(EventType(name, "to see when it is visible") for name in MARKERS),
)


def produce(gauge: Streamgauge, rate: int, seconds: float) -> dict[str, Any]:
    """Track for so long; when the markers were tracked, in monotonic nanoseconds, and the rate that was kept."""
    count = round(rate * seconds)
    chance = random.Random(2)
    tracked: dict[str, list[int]] = {name: [] for name in MARKERS}
    # Made before, so that only tracking is done in time.
    events = list(islice(mix.events(count, 0, 1), count))
    began = time.monotonic()
    late = 0.0
    for number, event in enumerate(events):
        ahead = began + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        late = max(late, -ahead)
        if chance.random() < SHARE:
            name = chance.choice(MARKERS)
            tracked[name].append(time.monotonic_ns())
            gauge.track(name, actor=f"actor of {name}", tenant=TENANT)
        else:
            assert event.actor is not None  # noqa: S101 - those of the mix have one
            key = None if event.key is None else event.key.hex()
            gauge.record(
                event.name,
                dict(event.properties),
                actor=event.actor.hex(),
                idempotency_key=key,
                tenant=event.tenant,
            )
    return {
        "tracked": tracked,
        "events_per_second": count / (time.monotonic() - began),
        "latest_by_ms": late * 1000,
    }


def main() -> None:
    """Produce, and write what was noted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    gauge = Streamgauge(Settings.from_environ(os.environ), event_types=EVENTS)
    noted = produce(gauge, options.rate, options.seconds)
    gauge.flush(30.0)
    noted["status"] = gauge.status()
    gauge.close()
    options.file.write_text(json.dumps(noted), "utf-8")


if __name__ == "__main__":
    main()
