"""One look at everything. It reads only, and what does not answer is noted, not raised."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from streamgauge.errors import ServerError
from streamgauge.logs import redacted
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge_workers.diagnosis.database_look import look_at_database
from streamgauge_workers.diagnosis.machine_look import compare_archives, look_at_machine
from streamgauge_workers.diagnosis.server_info import ask
from streamgauge_workers.diagnosis.snapshot import NOT_RUNNING, ArchiveFiles, Database, Redis, Shard, Snapshot
from streamgauge_workers.diagnosis.stream_look import StreamLook
from streamgauge_workers.diagnosis.unreachable import Unreachable, of_redis

PATIENCE = 3.0  # seconds for Redis, and as many for each question to its streams
#: The same for one node: of a cluster, one that hangs leaves the others time to answer.
NODE_PATIENCE = PATIENCE / 2
BETWEEN = 1.0  # seconds between the two looks that tell a growing lag from a shrinking one


async def take(settings: Settings, redis_url: str | None, database_url: str | None) -> Snapshot:
    """Look at everything. Raises nothing for servers that are away; None is the address of one that is not known."""
    # It connects with its first question, so an address that nobody has is never used.
    stream = RedisStream(
        redis_url or "", settings.stream_prefix, settings.generation, settings.shards, NODE_PATIENCE
    )
    try:
        redis, database = await asyncio.gather(_redis(redis_url, stream), look_at_database(database_url))
        if redis_url is not None and isinstance(redis, Redis) and isinstance(database, Database):
            look = StreamLook(redis_url, settings, stream)
            try:
                redis, database = await _behind(redis, database, look, database_url)
            finally:
                await look.aclose()
    finally:
        await stream.aclose()
    archives = ArchiveFiles()
    if isinstance(database, Database) and database.archives:
        archives = compare_archives(settings.archive_dir, database.archives)
    return Snapshot(settings, look_at_machine(settings), redis, database, archives)


async def _redis(redis_url: str | None, stream: RedisStream) -> Redis | Unreachable:
    if redis_url is None:
        return NOT_RUNNING
    try:
        async with asyncio.timeout(PATIENCE):
            info = await ask(redis_url, PATIENCE)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what there is to tell
        return of_redis(error)
    if info.silent:  # which is what there is to tell
        return Redis(info, None)
    try:
        async with asyncio.timeout(PATIENCE):
            await stream.check_server()
    except ServerError as error:
        return Redis(info, redacted(str(error)))
    except Exception as error:  # noqa: BLE001 - as above
        return of_redis(error)
    return Redis(info, None)


async def _behind(
    redis: Redis, database: Database, look: StreamLook, database_url: str | None
) -> tuple[Redis | Unreachable, Database | Unreachable]:
    """What lies behind the positions, looked at a second time when there is anything, to see where it goes."""
    try:
        async with asyncio.timeout(PATIENCE):
            histories = await look.histories(database.shards)
            first = await look.backlogs(database.shards)
            retired = await look.retired(database.retired)
        second = first
        if any(backlog.oldest is not None for backlog in first.values()):
            await asyncio.sleep(BETWEEN)
            again = await look_at_database(database_url)
            if isinstance(again, Unreachable):
                return redis, again
            database = replace(again, shards=_compared(database.shards, again.shards))
            async with asyncio.timeout(PATIENCE):
                second = await look.backlogs(database.shards)
        stuck = [
            each
            for each in database.shards
            if each.shard in second and second[each.shard].oldest is not None and each.later == each.position
        ]
        async with asyncio.timeout(PATIENCE):
            newer = await look.newer(stuck)
    except Exception as error:  # noqa: BLE001 - as above
        return of_redis(error), database
    pairs = {shard: (first[shard], second[shard]) for shard in first.keys() & second.keys()}
    found = replace(
        redis, histories=histories, backlogs=pairs, unread=dict(look.unread), newer=newer, retired=retired
    )
    return found, database


def _compared(before: Sequence[Shard], after: Sequence[Shard]) -> list[Shard]:
    """The shards as they are at the second look, with where they were at the first."""
    former = {each.shard: each for each in before}
    found = []
    for each in after:
        was = former.get(each.shard, each)
        moved = was.holder is not None and each.holder is not None and was.holder != each.holder
        found.append(replace(each, position=was.position, changed_hands=moved))
    return found
