"""What a Redis or Valkey server says about itself."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from streamgauge.redis_nodes import RedisNodes

PATIENCE = 5.0  # seconds
SETTINGS = ("save", "appendfsync", "stop-writes-on-bgsave-error")
WEAKEST = ("always", "everysec", "no")  # of appendfsync, at the end


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
    #: Its last snapshot could not be written.
    snapshot_failed: bool = False
    #: And so it refuses writes (MISCONF), as the setting stop-writes-on-bgsave-error has it.
    refuses: bool = False
    #: The setting appendfsync; None when it does not tell.
    fsync: str | None = None
    #: Primaries of the cluster that did not answer, as host:port.
    silent: tuple[str, ...] = ()
    nodes: int = 1

    @classmethod
    def read(cls, info: Mapping[str, Any], configured: Mapping[str, str], ahead: float) -> "ServerInfo":
        """From INFO's fields and those settings that it tells."""
        save = configured.get("save")
        failed = str(info.get("rdb_last_bgsave_status", "ok")) != "ok"
        product = "Valkey" if "valkey_version" in info else "Redis"
        return cls(
            product,
            str(info.get("valkey_version") or info.get("redis_version", "?")),
            str(info.get("maxmemory_policy", "unknown")),
            int(info.get("used_memory", 0)),
            int(info.get("maxmemory", 0)),
            int(info.get("total_system_memory", 0)),
            bool(int(info.get("aof_enabled", 0))),
            str(info.get("aof_last_write_status", "ok")) != "ok",
            None if save is None else bool(save.strip()),
            ahead,
            failed,
            failed and bool((save or "").strip()) and configured.get("stop-writes-on-bgsave-error") == "yes",
            configured.get("appendfsync"),
        )


async def ask(redis_url: str, patience: float = PATIENCE) -> ServerInfo:
    """Ask a server about itself, or every primary of a cluster. Raises RedisError or OSError when none of them answers."""
    nodes = RedisNodes(redis_url, patience)
    try:
        primaries = await nodes.primaries()
        # Half of the time, so that one that hangs leaves the others some.
        asked = [asyncio.wait_for(_ask(nodes.client(each)), patience / 2) for each in primaries]
        told = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        await nodes.aclose()
    infos = [each for each in told if isinstance(each, ServerInfo)]
    if not infos:
        raise next(each for each in told if isinstance(each, BaseException))
    silent = tuple(
        f"{primary[0]}:{primary[1]}"
        for primary, each in zip(primaries, told, strict=True)
        if primary is not None and not isinstance(each, ServerInfo)
    )
    return replace(together(infos), silent=silent, nodes=len(primaries))


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
        snapshot_failed=any(each.snapshot_failed for each in infos),
        refuses=any(each.refuses for each in infos),
        fsync=max((each.fsync for each in infos if each.fsync), key=WEAKEST.index, default=None),
    )


async def _ask(client: Redis) -> ServerInfo:
    info = await client.info()
    before = time.time()
    seconds, microseconds = await client.time()
    ahead = seconds + microseconds / 1_000_000 - (before + time.time()) / 2
    try:
        found = await client.config_get(*SETTINGS)
        configured = {_text(name): _text(value) for name, value in found.items()}
    except ResponseError:  # managed servers forbid CONFIG
        configured = {}
    return ServerInfo.read(info, configured, ahead)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
