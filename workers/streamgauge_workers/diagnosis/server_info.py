"""What a Redis or Valkey server says about itself."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from streamgauge.redis_nodes import RedisNodes

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
    """Ask a server about itself, or every primary of a cluster. Raises RedisError or OSError when one does not answer."""
    nodes = RedisNodes(redis_url, PATIENCE)
    try:
        return together([await _ask(nodes.client(primary)) for primary in await nodes.primaries()])
    finally:
        await nodes.aclose()


def together(infos: Sequence[ServerInfo]) -> ServerInfo:
    """What to say of several primaries: the fullest one's memory, and the worst of the rest."""
    fullest = max(infos, key=lambda each: each.used / (each.limit or each.machine or math.inf))
    saving = [each.snapshots for each in infos]
    return replace(
        fullest,
        append_only=all(each.append_only for each in infos),
        append_failed=any(each.append_failed for each in infos),
        snapshots=None if None in saving else all(saving),
        ahead=max((each.ahead for each in infos), key=abs),
    )


async def _ask(client: Redis) -> ServerInfo:
    info = await client.info()
    before = time.time()
    seconds, microseconds = await client.time()
    ahead = seconds + microseconds / 1_000_000 - (before + time.time()) / 2
    try:
        found = await client.config_get("save")
        save = next((_text(value) for name, value in found.items() if _text(name) == "save"), None)
    except ResponseError:  # managed servers forbid CONFIG
        save = None
    return ServerInfo.read(info, save, ahead)


def _text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
