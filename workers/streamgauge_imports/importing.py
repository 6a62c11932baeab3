"""Brings a source's events into the tables, all of them and once, however often it is begun."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from streamgauge.database import Connection, open_connection
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge_imports import registry
from streamgauge_imports.accounting import Decided, Result, account, decided, repeated
from streamgauge_imports.attendance import Attendance
from streamgauge_imports.batches import Source
from streamgauge_imports.preparing import Prepared, prepared
from streamgauge_imports.progress import Progress
from streamgauge_imports.shipment import Shipment
from streamgauge_imports.tenants import Tenant, require_tenant
from streamgauge_workers import generations

APPLICATION_NAME = "streamgauge import"


@dataclass(frozen=True)
class Order:
    """What to bring in, for whom."""

    tenant: str
    time_zone: str | None  #: None: the tenant's own, or UTC for a new one
    kind: str  #: of source, as the table of imports names it
    digest: bytes  #: identity of the content
    rows: int  #: about how many there are, for progress
    source: Callable[[Tenant], Source]
    rate: int = 0  #: events per second at most, 0 for no limit
    spent: float = 0.0  #: seconds it took to examine the content, which count


@dataclass(frozen=True)
class Delivered:
    """What came of an order: the account, and the source's own summary, of an earlier run if that had finished."""

    result: Result
    summary: Mapping[str, Any]
    tenant: Tenant


async def deliver(
    order: Order, settings: Settings, redis_url: str, database_url: str, progress: Progress
) -> Delivered:
    """Carry out an order: publish its frames, wait until they are applied, account for every row.

    Raises InputError for a tenant, zone or options that do not fit, ServerError when a server cannot serve or no worker gets
    on. In both cases the same order can be given again.
    """
    async with AsyncExitStack() as stack:
        stream = RedisStream(redis_url, settings.stream_prefix, settings.generation, settings.shards)
        stack.push_async_callback(stream.aclose)
        await stream.check_server()
        connection = await open_connection(database_url, application_name=APPLICATION_NAME)
        stack.push_async_callback(connection.close)
        shards = await generations.to_send_to(connection, settings)
        tenant = await require_tenant(connection, order.tenant, order.time_zone)
        source = order.source(tenant)
        options = {"generation": settings.generation, "time_zone": tenant.time_zone, **source.options()}
        found = await registry.begin(connection, tenant, order.digest, order.kind, options)
        if found.finished_at is not None:
            return Delivered(repeated(found), found.counts["summary"], tenant)
        attendance = await stack.enter_async_context(
            Attendance(settings, redis_url, database_url, connection)
        )
        shipment = Shipment(found.lane, stream, shards, connection, attendance, settings, progress)
        result, summary = await _run(order, found, source, shipment, connection)
        return Delivered(result, summary, tenant)


async def _run(
    order: Order, found: registry.Import, source: Source, shipment: Shipment, connection: Connection
) -> tuple[Result, Mapping[str, Any]]:
    began = time.monotonic()
    seen = await shipment.look()
    before = await decided(connection, found, shipment.shards)
    async with prepared(source) as frames:
        await _publish(frames, shipment, order.rate)
    summary = frames.summary
    if not shipment.published:
        await registry.forget(connection, found.lane)
        return account(before, before, summary), summary
    redelivered = await shipment.settle() - seen
    after = await decided(connection, found, shipment.shards)
    result = account(before, after, summary)
    await registry.finish(connection, found.lane, _counts(account(Decided(), after, summary), summary))
    seconds = order.spent + time.monotonic() - began
    return replace(result, redelivered=redelivered, seconds=seconds), summary


async def _publish(frames: Prepared, shipment: Shipment, rate: int) -> None:
    began = 0.0
    async for group in frames.groups(1 if rate else shipment.most_ahead // 4):
        # From the first frame on: the time it took to start is no credit to be spent in a burst.
        began = began or time.monotonic()
        if rate:
            await asyncio.sleep(began + shipment.published / rate - time.monotonic())
        await shipment.send(group)


def _counts(result: Result, summary: Mapping[str, Any]) -> dict[str, object]:
    """What the database keeps of a finished import, over all its runs; a later one repeats from it."""
    return {
        "applied": result.applied,
        "duplicate": result.duplicate,
        "rejected": result.rejected,
        "dead_lettered": result.dead_lettered,
        "summary": summary,
    }
