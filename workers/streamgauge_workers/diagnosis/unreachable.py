"""Why a server did not answer, and what to do about it: refused, hung, still starting, full of connections, or not letting us in."""

from typing import NamedTuple

import asyncpg
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MaxConnectionsError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from streamgauge.logs import redacted

HUNG = "there is no answer in time; it hangs, its machine is overloaded, or a firewall swallows what is sent to it"
STARTING = "it is starting, stopping or recovering"
LET_IN = "Correct user and password in {variable}, or give that user the rights it needs."


class Unreachable(NamedTuple):
    """`why` completes "does not answer: "; `next` is what to do, None where starting it is the only advice."""

    why: str
    next: str | None = None


def of_redis(error: BaseException) -> Unreachable:
    """What an error in asking Redis means."""
    found = _chain(error)
    if any(isinstance(each, (TimeoutError, RedisTimeoutError)) for each in found):
        return Unreachable(
            HUNG,
            "Look at its process, its log and its machine (swap, disk, CPU). Applications keep events in memory and files "
            "(STREAMGAUGE_CAPTURE_MODE) meanwhile.",
        )
    text, said = _text(error), " ".join(str(each) for each in found)
    if any(isinstance(each, BusyLoadingError) for each in found):
        return Unreachable("it is still loading its data", "Wait; its log says how far it is.")
    if any(isinstance(each, ClusterDownError) for each in found):
        return Unreachable(
            f"the cluster is down ({text})",
            "Bring the primaries that are away back, or let their replicas take over (CLUSTER FAILOVER TAKEOVER).",
        )
    refused = (AuthenticationError, AuthorizationError, NoPermissionError)
    if any(isinstance(each, refused) for each in found) or "NOAUTH" in said:
        return Unreachable(f"it does not let us in ({text})", LET_IN.format(variable="STREAMGAUGE_REDIS_URL"))
    full = "max number of clients" in said or any(isinstance(each, MaxConnectionsError) for each in found)
    if full:
        return Unreachable("it takes no more connections", "Raise its maxclients, or look who holds so many.")
    if any(isinstance(each, ResponseError) and str(each).startswith("BUSY") for each in found):
        return Unreachable(
            "a script keeps it busy", "SCRIPT KILL ends a script that has written nothing yet."
        )
    return Unreachable(text)


def of_postgresql(error: BaseException) -> Unreachable:
    """What an error in asking PostgreSQL means."""
    found = _chain(error)
    if any(isinstance(each, TimeoutError) for each in found):
        return Unreachable(
            HUNG,
            "Look at its process, its log and its machine (disk, swap, CPU). Events wait in Redis meanwhile, as long as that has room.",
        )
    text = _text(error)
    if any(isinstance(each, asyncpg.CannotConnectNowError) for each in found):
        return Unreachable(f"{STARTING} ({text})", "Wait; its log says how far it is.")
    if any(isinstance(each, asyncpg.TooManyConnectionsError) for each in found):
        return Unreachable(
            f"it takes no more connections ({text})",
            "Raise its max_connections or the user's CONNECTION LIMIT, or run fewer workers and servers.",
        )
    if any(isinstance(each, asyncpg.InvalidAuthorizationSpecificationError) for each in found):
        return Unreachable(
            f"it does not let us in ({text})", LET_IN.format(variable="STREAMGAUGE_DATABASE_URL")
        )
    if any(isinstance(each, asyncpg.InvalidCatalogNameError) for each in found):
        return Unreachable(
            text, "Create that database, then run `streamgauge migrate`; or correct STREAMGAUGE_DATABASE_URL."
        )
    return Unreachable(text)


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from."""
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found:
        found.append(step)
        step = step.__cause__
    return found


def _text(error: BaseException) -> str:
    return redacted(str(error) or type(error).__name__).rstrip(".")
