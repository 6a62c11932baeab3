"""What a Redis or Valkey server says about itself."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

PATIENCE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The part of INFO that matters to us. Bytes; 0 for a limit means none."""

    product: str
    version: str
    policy: str
    used: int
    limit: int
    machine: int  #: memory of its machine; 0 when it does not tell
    append_only: bool
    append_failed: bool
    #: Whether it saves snapshots by itself; None when it does not tell.
    snapshots: bool | None
    ahead: float  #: seconds by which its clock is ahead of ours

    @classmethod
    def read(cls, info: Mapping[str, Any], save: str | None, ahead: float) -> "ServerInfo":
        """From INFO's fields and the setting `save`."""
        product = "Valkey" if "valkey_version" in info else "Redis"
        return cls(
            product,
            str(info.get("valkey_version") or info.get("redis_version", "?")),
            str(info.get("maxmemory_policy", "unknown")),
            int(info.get("used_memory", 0)),
            int(info.get("maxmemory", 0)),
            int(info.get("total_system_memory", 0)),
            bool(int(info.get("aof_enabled", 0))),
            "ok" not in {str(info.get("aof_last_write_status", "ok"))},
            None if save is None else bool(save.strip()),
            ahead,
        )


async def ask(redis_url: str) -> ServerInfo:
    """Ask a server about itself. Raises RedisError or OSError when it does not answer."""
    client = Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        info = await client.info()
        before = time.time()
        seconds, microseconds = await client.time()
        ahead = seconds + microseconds / 1_000_000 - (before + time.time()) / 2
        try:
            save = (await client.config_get("save")).get("save")
        except ResponseError:  # managed servers forbid CONFIG
            save = None
        return ServerInfo.read(info, save, ahead)
    finally:
        await client.aclose()
