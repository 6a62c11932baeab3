"""`GET /pipeline`: how far behind the tables are, who works, what waits for somebody."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import orjson
from fastapi import APIRouter
from fastapi.responses import Response

from streamgauge.read.api.asking import Ask
from streamgauge.read.api.tags import by_content
from streamgauge.read.pipeline import PipelineState
from streamgauge.read.report import rfc3339

router = APIRouter(tags=["pipeline"])


@dataclass(frozen=True, slots=True)
class Shard:
    """One stripe: the last entry that is applied, how old the oldest one is that is not, and whether a worker holds its lease."""

    shard: int
    position: str
    applied_at: str | None
    lag_seconds: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process; `live` unless it has been silent for longer than a lease lasts."""

    host: str
    pid: int
    started_at: str
    seen_at: str
    live: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Events by what became of them, over all time and all tenants."""

    outcome: str
    reason: str | None
    events: int


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """The state of the whole installation. What does not answer is left out: see `answering`."""

    scope: Literal["installation"]
    answering: Mapping[str, bool]
    lag_seconds: float | None
    workers_live: int
    shards: tuple[Shard, ...]
    workers: tuple[Worker, ...]
    outcomes: tuple[Outcome, ...]
    dead_letters: Mapping[str, int]
    lost: Mapping[str, int]
    dropped_before_sending: Mapping[str, int]


@router.get("/pipeline", summary="How far behind the answers are", response_model=PipelineReport)
async def pipeline(asking: Ask) -> Response:
    """Lag and position of every shard, workers, dead letters by reason, losses and drops: of the whole installation.

    Looked at anew at most every five seconds.
    """
    state = asking.request.app.state
    found = await state.pipeline.look()
    return by_content(asking.request, orjson.dumps(told(found, state.settings.lease_seconds)))


def told(state: PipelineState, lease_seconds: float) -> PipelineReport:
    """The report."""
    workers = tuple(
        Worker(
            each.host, each.pid, rfc3339(each.started_at), rfc3339(each.seen_at), each.silent < lease_seconds
        )
        for each in state.workers
    )
    shards = tuple(
        Shard(shard, str(position), _instant(state.applied_at.get(shard)), state.lag.get(shard), shard in state.held)
        for shard, (_, _, position) in sorted(state.positions.items())
    )  # fmt: skip
    return PipelineReport(
        scope="installation",
        answering={"postgresql": state.database, "redis": state.streams},
        lag_seconds=max(state.lag.values(), default=None),
        workers_live=sum(each.live for each in workers),
        shards=shards,
        workers=workers,
        outcomes=tuple(
            Outcome(outcome, reason or None, events)
            for (outcome, reason), events in sorted(state.ledger.items())
        ),
        dead_letters={reason: letters for reason, (letters, _) in sorted(state.dead_letters.items())},
        lost={"known_lanes": state.lost[0], "forgotten_lanes": state.lost[1]},
        dropped_before_sending=dict(sorted(state.drops.items())),
    )


def _instant(second: float | None) -> str | None:
    return None if second is None else rfc3339(datetime.fromtimestamp(second, UTC))
