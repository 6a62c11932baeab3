"""Whose request it is, by its address: the connection's other end, or what trusted proxies say of it.

X-Forwarded-For is a list that everybody on the way appends to, and that the client itself may have begun. So it is read from the right:
each entry was written by the hop to the right of it, and is believed as far as that one is trusted.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from starlette.types import Scope

from streamgauge.errors import SettingsError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: Who comes through a Unix socket, or from where nobody can tell.
NO_ADDRESS: Final = "local"
_VARIABLE = "STREAMGAUGE_TRUSTED_PROXIES"
_HEADER = b"x-forwarded-for"
#: What one customer usually gets of IPv6 (RFC 6177): within it, addresses cost nothing.
_CUSTOMER_BITS = 64
_MAPPED = IPv6Network("::ffff:0:0/96")
# [address]:port, [address], or a dotted address with a port. An IPv6 address without brackets has no port.
_WITH_PORT = re.compile(r"\[([^][]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks in a list separated by commas; an address is a network of one. Raises SettingsError."""
    return tuple(_parse_network(part.strip()) for part in text.split(",") if part.strip())


def client_address(scope: Scope, networks: Sequence[Network]) -> str:
    """The address of whoever made a request, as text in its one usual form, without port and zone.

    The first address from the right that is none of a trusted proxy. An entry that is no address ends the walk: the proxy that passed it
    on is then the client. NO_ADDRESS where there is none.
    """
    client = scope.get("client")
    found = _parse_address(client[0]) if client else None
    if found is None:
        return NO_ADDRESS
    if not _trusted(found, networks):
        return str(found)
    lines = [value for name, value in scope["headers"] if name == _HEADER]
    for entry in reversed(b",".join(lines).decode("latin-1").split(",")):
        forwarded = _parse_address(entry)
        if forwarded is None:
            break
        found = forwarded
        if not _trusted(found, networks):
            break
    return str(found)


def bucket_of(address: str) -> str:
    """What an address counts as where requests are counted: of IPv6 its /64."""
    parsed = _parse_address(address)
    return (
        str(ip_network((parsed, _CUSTOMER_BITS), strict=False)) if parsed and parsed.version == 6 else address
    )


def _parse_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"{_VARIABLE} holds {text!r}: give addresses or networks such as 10.0.0.0/8, separated by commas ({error})"
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        assert mapped is not None  # noqa: S101 - it is in that network
        network = IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen))
    if network.prefixlen == 0:
        raise SettingsError(
            f"{_VARIABLE} holds {text!r}, which is everybody: every client could then choose its address; give your proxies' own"
        )
    return network


def _parse_address(text: str) -> Address | None:
    """An address as proxies write it; None for anything else."""
    text = text.strip(" \t")
    if with_port := _WITH_PORT.fullmatch(text):
        text = with_port[1] or with_port[2] or ""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _trusted(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
