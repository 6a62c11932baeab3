"""Whether a server, or every primary of a cluster, can keep the contract; says what to change when not."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from streamgauge.errors import ServerError
from streamgauge.redis_connections import Address
from streamgauge.redis_nodes import RedisNodes
from streamgauge.redis_slots import SLOTS


async def check(nodes: RedisNodes) -> None:
    """Raise ServerError, naming what to change, unless the servers can keep the contract; and what redis-py raises."""
    primaries = await nodes.primaries()
    if nodes.is_cluster:
        await _check_cluster(nodes, primaries[0])
    for primary in primaries:
        try:
            await _check_node(nodes.client(primary))
        except ServerError as error:
            if primary is None:
                raise
            raise ServerError(f"node {primary[0]}:{primary[1]} of the Redis Cluster: {error}") from error


async def _check_cluster(nodes: RedisNodes, node: Address | None) -> None:
    reply = await _ask(nodes.client(node), "CLUSTER", "INFO")
    # redis-py makes a dictionary of it, or leaves it as text, depending on how it is asked.
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    check_cluster(dict(line.split(":", 1) for line in text.splitlines() if ":" in line))


async def _check_node(client: Redis) -> None:
    reply = await _ask(client, "INFO", "server", "replication", "memory")
    info = {key: _text(value) for key, value in reply.items()}
    check_version(info)
    if info.get("role", "master") != "master":
        raise ServerError("Redis is a replica: give the URL of the primary, since reads must see its history")
    check_policy(info.get("maxmemory_policy") or await _configured_policy(client))


def check_cluster(info: dict[str, str]) -> None:
    """Raise ServerError unless every slot of the cluster has a primary that works, by the fields of CLUSTER INFO."""
    missing = SLOTS - int(info.get("cluster_slots_assigned", "0"))
    if missing:
        raise ServerError(
            f"{missing} of the Redis Cluster's {SLOTS} slots belong to no node: finish its set-up "
            "(valkey-cli --cluster check, then --cluster fix)"
        )
    failed = int(info.get("cluster_slots_fail", "0")) + int(info.get("cluster_slots_pfail", "0"))
    if failed:
        raise ServerError(
            f"{failed} of the Redis Cluster's {SLOTS} slots belong to primaries that are down: bring them back, or let their "
            "replicas take over (CLUSTER FAILOVER)"
        )
    state = info.get("cluster_state", "unknown")
    if state != "ok":
        raise ServerError(
            f"the Redis Cluster is in state {state!r}, not 'ok': its nodes do not see enough of one another; look whether their "
            "bus ports are open, and try again in a few seconds when it has just started"
        )


def check_version(info: dict[str, str]) -> None:
    """Raise ServerError unless the server is Redis ≥ 7.0 or Valkey ≥ 7.2 (whose `redis_version` is 7.2.4)."""
    name, version = "Redis", info.get("redis_version", "0")
    least = (7, 0)
    if "valkey_version" in info:
        name, version, least = "Valkey", info["valkey_version"], (7, 2)
    found = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    if found < least:
        raise ServerError(f"{name} {version} is too old: Streamgauge needs Redis 7.0 or Valkey 7.2, or newer")


def check_policy(policy: str) -> None:
    """Raise ServerError unless the server refuses writes when it is full, rather than evict a whole shard."""
    if policy != "noeviction":
        raise ServerError(
            f"maxmemory-policy is {policy!r}, which may evict whole streams unread: set it to 'noeviction' "
            "(CONFIG SET maxmemory-policy noeviction, and the same in redis.conf or the provider's parameters)"
        )


async def _configured_policy(client: Redis) -> str:
    try:
        reply = await _ask(client, "CONFIG", "GET", "maxmemory-policy")
    except ResponseError:  # managed servers forbid CONFIG
        return "unknown"
    values = list(reply.values()) if isinstance(reply, dict) else reply[1:]
    return _text(values[0]) if values else "unknown"


async def _ask(client: Redis, *command: Any) -> Any:
    return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped in redis-py


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
