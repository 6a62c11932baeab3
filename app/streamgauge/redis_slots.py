"""Which node of a Redis Cluster serves which keys, as one of its nodes told it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError

from streamgauge.redis_connections import Address

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
#: What a node says instead of a host it does not know: then it is the one that was asked.
_UNKNOWN: Final = "?"


@dataclass(slots=True)
class SlotMap:
    """Owners of slots. It may be out of date: only the node itself knows, and redirects who asks the wrong one."""

    #: First and last slot, and their primary.
    ranges: Sequence[tuple[int, int, Address]]
    #: Primaries and replicas.
    nodes: frozenset[Address]
    _moved: dict[int, Address] = field(default_factory=dict)

    @classmethod
    def read(cls, reply: Iterable[Sequence[Any]], asked: str) -> "SlotMap":
        """From the reply to CLUSTER SLOTS of the node on host `asked`."""
        ranges: list[tuple[int, int, Address]] = []
        nodes: set[Address] = set()
        for first, last, primary, *replicas in reply:
            address = address_of(primary[0], primary[1], asked)
            ranges.append((int(first), int(last), address))
            nodes |= {address, *(address_of(each[0], each[1], asked) for each in replicas)}
        return cls(ranges, frozenset(nodes))

    @property
    def primaries(self) -> list[Address]:
        """Every node that serves slots, each once."""
        return list(dict.fromkeys(address for _, _, address in self.ranges))

    def owner(self, key: str) -> Address | None:
        """Who serves a key; None when nobody does."""
        slot = key_slot(key.encode())
        if slot in self._moved:
            return self._moved[slot]
        for first, last, address in self.ranges:
            if first <= slot <= last:
                return address
        return None

    def move(self, key: str, to: Address) -> None:
        """A node said that the key's slot is another one's now."""
        self._moved[key_slot(key.encode())] = to


def redirected(error: AskError, asked: str) -> Address:
    """Where a redirection by the node on host `asked` leads."""
    return address_of(error.host, error.port, asked)


def address_of(host: bytes | str | None, port: int, asked: str) -> Address:
    """An address as the node on host `asked` tells it."""
    text = host.decode() if isinstance(host, bytes) else host
    return (text if text and text != _UNKNOWN else asked), int(port)
