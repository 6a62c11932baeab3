"""Accepted means kept: events go into the stream before the answer does."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from streamgauge.access import Caller
from streamgauge.capture.host_keys import HostKeys
from streamgauge.capture.properties import with_pseudonyms
from streamgauge.capture.publisher import Publisher
from streamgauge.capture.quota import Quota
from streamgauge.entry import Batch
from streamgauge.errors import ServerError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.ingest.items import Item
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.sharding import overflow_of, shard_of

PATIENCE = 1.5  # seconds Redis may take to answer
ATTEMPTS = 3
ANNOUNCE_SECONDS = 5.0
IDLE_MS = 24 * 3600 * 1000
GOODBYE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Placed:
    place: int  #: among the items of a request
    event: Event


class Intake:
    """Makes events of a caller's items, and puts them into the streams. One per server process."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError for an address that is none."""
        assert settings.redis_url is not None  # noqa: S101 - create_app looked
        self._shards = settings.shards
        self._quota = Quota(settings.tenant_events_per_second)
        self._keyring = HostKeys(settings)
        self._producer = secrets.token_bytes(16)
        self._stream = RedisStream(
            settings.redis_url,
            settings.stream_prefix,
            settings.generation,
            settings.shards,
            patience=PATIENCE,
        )
        self._publisher = Publisher(self._stream, lambda: time.time_ns() // 1_000_000, attempts=ATTEMPTS)

    async def take(self, caller: Caller, items: Sequence[Item]) -> list[str]:
        """Put events into the stream; returns the id of each.

        Raises ServerError when the stream does not take all of them: some may be in it then. SettingsError when the keyring
        cannot be used.
        """
        shards: dict[int, list[_Placed]] = {}
        events = [self._event(caller, item) for item in items]
        granted = self._quota.grant(caller.tenant, len(events))
        for place, event in enumerate(events):
            shard = overflow_of(self._shards)
            if place < granted:
                shard = shard_of(event.actor, event.session, event.key, self._producer, self._shards)
            shards.setdefault(shard, []).append(_Placed(place, event))
        ids = [""] * len(items)
        for sent in await asyncio.gather(
            *(self._send(shard, placed) for shard, placed in shards.items()), return_exceptions=True
        ):
            if isinstance(sent, BaseException):
                raise sent
            for place, event_id in sent:
                ids[place] = event_id
        return ids

    def _event(self, caller: Caller, item: Item) -> Event:
        keys = self._keyring.tenant(caller.tenant)
        session = None if item.session is None else keys.pseudonym("session", item.session).hex()
        about = caller.actor if item.actor is None else item.actor
        key = None if item.key is None else keys.event_id(item.name, item.key, about, item.session)
        actor = caller.actor if item.actor is None else keys.pseudonym("actor", item.actor)
        return Event(
            item.name, item.occurred_at, caller.tenant, actor, session, item.group, None, caller.source,
            with_pseudonyms(item.properties, partial(keys.pseudonym, "actor")), key,
        )  # fmt: skip

    async def _send(self, shard: int, placed: Sequence[_Placed]) -> list[tuple[int, str]]:
        payload = freeze([each.event for each in placed])
        lane = self._publisher.lane(shard)
        batch: Batch = lane.freeze(payload, len(placed))
        try:
            await self._publisher.send(shard, batch)
        finally:
            lane.settle(batch)
        names = [
            f"{lane.id.hex()}-{batch.first + number}" if each.event.key is None else each.event.key.hex()
            for number, each in enumerate(placed)
        ]
        return [(each.place, name) for each, name in zip(placed, names, strict=True)]

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            # Redis is away: there is more to say next time.
            with contextlib.suppress(ServerError):
                await self._publisher.announce()
                await self._publisher.renew(IDLE_MS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Announce the lanes meanwhile, and close them at the end."""
        announcing = asyncio.create_task(self._announce())
        try:
            yield
        finally:
            announcing.cancel()
            with contextlib.suppress(ServerError, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._publisher.announce(closed=True)
            await self._stream.aclose()
