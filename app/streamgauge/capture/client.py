"""The other end of a request: what it says of itself, and what tells visitors apart who have no identity."""

from collections.abc import Mapping
from typing import Any

from streamgauge.capture.agents import MOST_BYTES, Agent, agent


def agent_of(headers: Mapping[bytes, bytes]) -> Agent:
    """What the user agent says, of a request's headers by their names in small letters."""
    return agent(headers.get(b"user-agent", b"")[:MOST_BYTES])


def visitor_of(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], said: Agent
) -> tuple[str, str] | None:
    """Address and user agent, to be made a pseudonym for a day; only for requests without an actor.

    None for known bots, without an address, and for who asks not to be known: Global Privacy Control, Do Not Track.
    """
    if said.bot or headers.get(b"sec-gpc") == b"1" or headers.get(b"dnt") == b"1":
        return None
    client = scope.get("client")
    return (client[0], said.text) if client and client[0] else None
