"""`GET /pipeline`: how far behind the tables are, who works, what waits for somebody."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from streamgauge.read.api.asking import Asking, Sight, dumped
from streamgauge.read.api.version import SQL
from streamgauge.read.pipeline import PipelineState
from streamgauge.read.report import rfc3339

FRESH = 5  # seconds
LIVE_SECONDS = 15.0  # a worker silent for longer is not counted as one

router = APIRouter(tags=["pipeline"])


@router.get("/pipeline")
async def pipeline(asking: Annotated[Asking, Depends()]) -> Response:
    """Lag per shard, workers, dead letters, drops and losses of the whole installation."""
    # Before a connection is held: looking takes one of its own.
    state = await asking.request.app.state.pipeline.look()

    async def report(sight: Sight) -> bytes:
        workers = [dict(row) for row in await sight.connection.fetch(SQL["workers"])]
        leases = await sight.connection.fetch(SQL["leases"], sight.app_state.stream.generation)
        drops = {row["reason"]: row["events"] for row in await sight.connection.fetch(SQL["drops"])}
        return dumped(told(state, workers, {row["shard"]: bool(row["held"]) for row in leases}, drops))

    return await asking.respond(report, FRESH)


def told(
    state: PipelineState,
    workers: Sequence[Mapping[str, Any]],
    held: Mapping[int, bool],
    drops: Mapping[str, int],
) -> Mapping[str, Any]:
    """The report."""
    return {
        "scope": "installation",
        "answering": {"postgresql": state.database, "redis": state.streams},
        "shards": [
            {
                "shard": number,
                "position": str(position),
                "applied_at": _instant(state.applied_at.get(shard)),
                "lag_seconds": state.lag.get(shard),
                "held": held.get(number, False),
            }
            for shard, (number, position) in sorted(state.positions.items())
        ],
        "workers": [
            {
                "host": each["host"],
                "pid": each["pid"],
                "started_at": rfc3339(each["started_at"]),
                "seen_at": rfc3339(each["seen_at"]),
                "live": each["silent_seconds"] < LIVE_SECONDS,
            }
            for each in workers
        ],
        "outcomes": [
            {"outcome": outcome, "reason": reason or None, "events": events}
            for (outcome, reason), events in sorted(state.ledger.items())
        ],
        "dead_letters": {reason: letters for reason, (letters, _) in sorted(state.dead_letters.items())},
        "lost": {"known_lanes": state.lost[0], "forgotten_lanes": state.lost[1]},
        "dropped_before_sending": dict(drops),
    }


def _instant(second: float | None) -> str | None:
    return None if second is None else rfc3339(datetime.fromtimestamp(second, UTC))
