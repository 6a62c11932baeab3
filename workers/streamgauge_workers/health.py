"""Whether a worker does its work: it renews its leases, its loops run, every shard is looked after, Redis answers."""

import asyncio

from streamgauge.errors import StreamgaugeError
from streamgauge.logs import redacted
from streamgauge.sql import named_queries
from streamgauge_workers.worker import Worker

PATIENCE = 3.0  # seconds for both servers to answer

SQL = named_queries("streamgauge_workers", "health.sql")


async def missing(worker: Worker) -> dict[str, str]:
    """What keeps the worker from its work, and why, without secrets; empty when all is well."""
    if worker.stopping.is_set():
        return {"worker": "it is stopping"}
    reasons: dict[str, str] = {}
    ended = sorted(shard for shard, (_, task) in worker.tasks.items() if task.done())
    if ended:
        reasons["loops"] = f"those of shards {ended} have ended"
    for name, asking in (("leases", _leases(worker)), ("redis", _redis(worker))):
        try:
            async with asyncio.timeout(PATIENCE):
                reason = await asking
        except TimeoutError:
            reason = f"no answer within {PATIENCE:.0f} seconds"
        except Exception as error:  # noqa: BLE001 - whatever it is, the work is not done
            reason = redacted(str(error) if isinstance(error, StreamgaugeError | OSError) else repr(error))
        if reason is not None:
            reasons[name] = reason
    return reasons


async def _leases(worker: Worker) -> str | None:
    async with worker.pool.acquire() as connection:
        beats = await connection.fetchval(
            SQL["worker_beats"], worker.leases.worker_id, worker.settings.lease_seconds
        )
        unattended = await connection.fetch(SQL["shards_unattended"])
    if not beats:
        return f"not renewed for {worker.settings.lease_seconds} seconds"
    if unattended:
        return f"nobody holds shards {[row['shard'] for row in unattended]}"
    return None


async def _redis(worker: Worker) -> str | None:
    await worker.stream.length(0)
    return None
