"""`GET /realtime`: who is there, and what just happened."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pyroaring import BitMap

from streamgauge.read.api.asking import Asking, Sight, dumped
from streamgauge.read.api.version import SQL
from streamgauge.read.report import Answer, rfc3339

WINDOW = 300  # seconds
BUCKET = 10  # seconds: how finely it is known when somebody was there
MOST_SHOWN = 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

router = APIRouter(tags=["live"])


@dataclass(frozen=True, slots=True)
class Activity:
    """One event. `actor` tells people apart without naming anybody."""

    occurred_at: str
    name: str
    actor: str | None
    group: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Realtime:
    """The last five minutes, the newest events, and how many there were today."""

    as_of: str | None
    window: Mapping[str, Any]
    actors: int
    activities: tuple[Activity, ...]
    events_today: int
    today: str
    time_zone: str


@router.get("/realtime")
async def realtime(asking: Annotated[Asking, Depends()]) -> Response:
    """Distinct actors of the last five minutes (by ten seconds), the ten newest events, events since local midnight."""

    async def report(sight: Sight) -> bytes:
        start, end = window(sight.now)
        connection, tenant_id = sight.connection, sight.tenant.tenant_id
        present = await connection.fetch(SQL["present"], tenant_id, start, end)
        stripes = await connection.fetch(SQL["activities"], tenant_id)
        today = await sight.ask({"metrics": ["events"], "date_range": "day"})
        return dumped(
            seen(
                (start, end),
                [bytes(row["members"]) for row in present],
                [orjson.loads(row["activities"]) for row in stripes],
                today,
            )
        )

    return await asking.respond(report, BUCKET)


def window(now: int) -> tuple[int, int]:
    """The buckets that count, as Unix seconds: the current one, and those of the five minutes before it."""
    current = now // BUCKET * BUCKET
    return current - WINDOW, current + BUCKET


def seen(
    period: tuple[int, int], present: Iterable[bytes], stripes: Iterable[Sequence[Any]], today: Answer
) -> Realtime:
    """The report, stripes merged."""
    members = BitMap.union(BitMap(), *map(BitMap.deserialize, present))
    newest = sorted((each for stripe in stripes for each in stripe), key=lambda each: -each["at"])[
        :MOST_SHOWN
    ]
    start, end = (rfc3339(datetime.fromtimestamp(second, UTC)) for second in period)
    return Realtime(
        today.meta["as_of"],
        {"start": start, "end": end, "seconds": WINDOW, "grain_seconds": BUCKET},
        len(members),
        tuple(_activity(each) for each in newest),
        int(today.results[0].metrics[0] or 0) if today.results else 0,
        today.query["date_range"][0][:10],
        today.meta["time_zone"],
    )


def _activity(stored: Mapping[str, Any]) -> Activity:
    at = EPOCH + timedelta(microseconds=stored["at"])
    return Activity(
        rfc3339(at), stored["name"], handle(stored["actor"]), stored["group"], stored["properties"]
    )


def handle(pseudonym: str | None) -> str | None:
    """A short name for a pseudonym: enough to tell ten events apart, too little to find anybody by."""
    return None if pseudonym is None else f"user_{blake2b(pseudonym.encode(), digest_size=3).hexdigest()}"
