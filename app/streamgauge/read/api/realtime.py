"""`GET /realtime`: who is there, and what just happened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson
import structlog
from fastapi import APIRouter
from fastapi.responses import Response
from pyroaring import BitMap

from streamgauge.read.api.asking import Ask, Sight
from streamgauge.read.api.version import SQL
from streamgauge.read.report import Answer, rfc3339
from streamgauge.summaries.calendar import Interval

WINDOW = 300  # seconds
BUCKET = 10  # seconds: how finely it is known when somebody was there
MOST_SHOWN = 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 253_402_300_800_000_000  # microseconds from 1970 to the end of 9999
log = structlog.get_logger(__name__)

router = APIRouter(tags=["live"])


@dataclass(frozen=True, slots=True)
class Window:
    """The time that counts as now; `grain_seconds`: how finely it moves."""

    start: str
    end: str
    seconds: int
    grain_seconds: int


@dataclass(frozen=True, slots=True)
class Activity:
    """One event. `actor` tells people apart without naming anybody; of its properties a few declared ones."""

    occurred_at: str
    name: str
    actor: str | None
    group: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Realtime:
    """Distinct actors of the window, the newest events first, and how many events `today` has, the tenant's local date.

    `damaged_parts`: how many stored parts of the live view could not be read and are left out.
    """

    as_of: str | None
    window: Window
    actors: int
    activities: tuple[Activity, ...]
    events_today: int
    today: str
    time_zone: str
    damaged_parts: int


@router.get("/realtime", summary="Who is there, and what just happened", response_model=Realtime)
async def realtime(asking: Ask) -> Response:
    """Distinct actors of the last five minutes, the ten newest events, and the number of events since local midnight.

    The five minutes move by ten seconds and end with the current ten; events that come later than that are not among them.
    """

    async def report(sight: Sight) -> bytes:
        period = window(sight.now)
        present = await sight.connection.fetch(SQL["present"], sight.tenant.tenant_id, *period)
        stripes = await sight.connection.fetch(SQL["activities"], sight.tenant.tenant_id)
        today = await sight.ask({"metrics": ["events"], "date_range": "day"})
        parts = [bytes(row["members"]) for row in present]
        found = seen(period, parts, [_stripe(row["activities"]) for row in stripes], today)
        if found.damaged_parts:
            log.warning("damaged live view", tenant=sight.name, parts=found.damaged_parts)
        return orjson.dumps(found)

    return await asking.respond(["realtime"], report, BUCKET)


def window(now: int) -> Interval:
    """The buckets that count, as Unix seconds: the current one is the last of them."""
    end = now // BUCKET * BUCKET + BUCKET
    return Interval(end - WINDOW, end)


def seen(period: Interval, present: Iterable[bytes], stripes: Iterable[Any], today: Answer) -> Realtime:
    """The report: bitmaps of actors, each stripe's newest activities and the day's count in, stripes merged out.

    What is damaged is left out and counted: a live view of the rest is better than none.
    """
    parts = [_bitmap(part) for part in present]
    bitmaps = [part for part in parts if part is not None]
    entries: list[Any] = [
        each for stripe in stripes for each in (stripe if isinstance(stripe, list) else [None])
    ]
    newest = sorted((each for each in entries if _is_activity(each)), key=lambda each: -each["at"])
    start, end = (rfc3339(datetime.fromtimestamp(second, UTC)) for second in period)
    return Realtime(
        as_of=today.meta["as_of"],
        window=Window(start, end, WINDOW, BUCKET),
        actors=len(BitMap.union(BitMap(), *bitmaps)),
        activities=tuple(_activity(each) for each in newest[:MOST_SHOWN]),
        events_today=int(today.results[0].metrics[0] or 0),
        today=today.query["date_range"][0][:10],
        time_zone=today.meta["time_zone"],
        damaged_parts=len(parts) - len(bitmaps) + len(entries) - len(newest),
    )


def _bitmap(part: bytes) -> BitMap | None:
    try:
        return BitMap.deserialize(part)
    except (ValueError, IndexError):
        return None


def _stripe(text: str) -> Any:
    """A row's activities; None for a text that cannot be read."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_activity(stored: Any) -> bool:
    if not isinstance(stored, dict) or type(stored.get("at")) is not int or not 0 <= stored["at"] < LATEST:
        return False
    texts = (stored.get("actor", 0), stored.get("group", 0))
    return (
        isinstance(stored.get("name"), str)
        and all(text is None or isinstance(text, str) for text in texts)
        and isinstance(stored.get("properties"), dict)
    )


def _activity(stored: Mapping[str, Any]) -> Activity:
    at = rfc3339(EPOCH + timedelta(microseconds=stored["at"]))
    return Activity(at, stored["name"], handle(stored["actor"]), stored["group"], stored["properties"])


def handle(pseudonym: str | None) -> str | None:
    """A short name for a pseudonym: enough to tell ten events apart, too little to find anybody by."""
    return None if pseudonym is None else f"user_{blake2b(pseudonym.encode(), digest_size=3).hexdigest()}"
