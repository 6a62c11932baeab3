"""Ends the reading of a generation of streams, when nothing of it is unread and nobody sends to it any more."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.entry import EntryId
from streamgauge.errors import ServerError
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge_workers import generations
from streamgauge_workers.generations import Generation
from streamgauge_workers.queries import SQL

#: A lane silent for max_lateness and this is forgotten (rule P10): what it could still send is refused for its age.
MARGIN = timedelta(days=1)
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Status:
    """One shard, how far it is, and what speaks against retiring it."""

    shard: int
    number: int
    position: EntryId  #: 0-0 when the stream that is there is another than the one it was read in
    holder: str | None  #: host and process of its worker
    entries: int  #: behind the position; all that the stream holds, when there are any
    seconds: float  #: since the oldest of them was added
    silent: timedelta | None  #: since one of its lanes was heard of; None: it has none
    overflow: bool = False  #: whether it is its generation's overflow

    def objections(self, settings: Settings) -> list[str]:
        """What would be lost, or might still come, if nobody read it any more."""
        found = []
        if self.entries:
            found.append(f"shard {self.shard} has entries that are not read yet, up to {self.entries:,}")
        quiet = timedelta(days=settings.max_lateness_days) + MARGIN
        if self.silent is not None and self.silent < quiet:
            hours = self.silent.total_seconds() / 3600
            found.append(
                f"shard {self.shard} was sent to {hours:.1f} hours ago, and {quiet.days} days must pass"
            )
        return found


async def look(connection: Connection, stream: RedisStream, generation: int) -> list[Status]:
    """Every shard of a generation; `stream` is of it. Raises ServerError when Redis cannot tell."""
    return [
        await _status(row, stream) for row in await connection.fetch(SQL["generation_status"], generation)
    ]


async def retire(
    connection: Connection,
    stream: RedisStream,
    generation: Generation,
    settings: Settings,
    force: bool = False,
) -> list[str]:
    """Retire a generation and delete its streams; returns what was given up with `force`, and raises it as ServerError without.

    Its rows stay, with everything they have counted. What stops half-way can be done again after `reopen`.
    """
    given_up = await _objections(connection, stream, generation, settings)
    if given_up and not force:
        raise ServerError(f"generation {generation.generation} cannot be retired yet: {'; '.join(given_up)}")
    await generations.mark_retired(connection, generation.generation)
    await _released(connection, generation, settings)
    for status in await look(connection, stream, generation.generation):
        # Something may have come since: it is looked at in the moment of deleting.
        if not await stream.remove(status.number, None if force else status.position):
            await generations.reopen(connection, generation.generation)
            raise ServerError(
                f"generation {generation.generation} is not retired: shard {status.shard} was sent to meanwhile; its senders must "
                "be restarted with the newer generation first"
            )
    await connection.execute(SQL["generation_release"], generation.generation)
    return given_up


async def _objections(
    connection: Connection, stream: RedisStream, generation: Generation, settings: Settings
) -> list[str]:
    statuses = await look(connection, stream, generation.generation)
    return [each for status in statuses for each in status.objections(settings)]


async def _released(connection: Connection, generation: Generation, settings: Settings) -> None:
    """Wait until no worker holds a shard of it: one that does would make its stream anew."""
    for _ in range(int((2 * settings.lease_seconds + 5) / LOOK_SECONDS)):
        if not await connection.fetchval(SQL["generation_held"], generation.generation):
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise ServerError(
        f"workers still hold shards of generation {generation.generation}, which is read no more: look at their logs, then run "
        f"`streamgauge shards reopen {generation.generation}` and try again"
    )


async def _status(row: Record, stream: RedisStream) -> Status:
    position = EntryId(row["position_ms"], row["position_seq"])
    history = await stream.history(row["number"])
    if history is None or (row["run_id"], row["birthmark"]) != (history.run_id, history.birthmark):
        position = EntryId(0, 0)
    backlog = await stream.backlog(row["number"], position)
    entries = 0 if backlog.oldest is None else backlog.retained
    holder = None if row["host"] is None else f"{row['host']}:{row['pid']}"
    return Status(
        row["shard"],
        row["number"],
        position,
        holder,
        entries,
        backlog.seconds,
        row["silent"],
        row["overflow"],
    )
