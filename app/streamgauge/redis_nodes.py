"""The one place to get at Redis: a single server, or the nodes of a Redis Cluster, of which the URL names any.

Whether it is a cluster is asked of the server, once. Commands go to the node that serves their key. A node that does not serve it
says so instead of carrying the command out, so that following it sends nothing twice; that is all that is ever sent again here.
redis-py's own client of clusters sends again after TRYAGAIN, and ASKING on another connection than the command it is for.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio import Connection, Redis
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError

from streamgauge.redis_connections import PATIENCE, Address, check_url, host_of, new_connection, pool_to
from streamgauge.redis_slots import SlotMap, redirected

#: Redirections that are followed for one command: a move, and a slot that is just moving on from there, with room to spare.
MOST_REDIRECTIONS: Final = 4

Command = Sequence[Any]


class RedisNodes:
    """Clients of the servers behind one URL, made when first needed, and anew in a forked child.

    All methods raise what redis-py raises: RedisError, or OSError when there is no connection.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        """`url` as redis-py takes it; `patience`: seconds a server may take to answer. Raises SettingsError."""
        check_url(url)
        self._url = url
        self._host = host_of(url)
        self._patience = patience
        self._cluster: bool | None = None
        self._map: SlotMap | None = None
        #: Nodes that may be asked for the map, those that failed last at the end; None is where the URL leads.
        self._sources: list[Address | None] = [None]
        self._clients: dict[Address | None, Redis] = {}
        self._inherited: list[dict[Address | None, Redis]] = []
        self._process = os.getpid()

    async def command(self, key: str, *command: Any) -> Any:
        """The reply to a command on this key."""
        return (await self.commands(key, [command]))[0]

    async def commands(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands on one key, sent in one round trip. Raises the first error among them."""
        replies: list[Any] = [None] * len(commands)
        places, address, asking = list(range(len(commands))), await self.owner(key), False
        for _ in range(1 + MOST_REDIRECTIONS):
            async with self._suspecting(address):
                found = await self._send(address, [commands[place] for place in places], asking)
            for place, reply in zip(places, found, strict=True):
                replies[place] = reply
            places = [place for place in places if isinstance(replies[place], AskError)]
            if not places:
                break
            address, asking = self.follow(key, replies[places[0]], address)
        for reply in replies:
            if isinstance(reply, ClusterDownError):
                self.forget()
            if isinstance(reply, RedisError):
                raise reply
        return replies

    async def owner(self, key: str) -> Address | None:
        """The node that serves a key, as far as is known; None: where the URL leads. Raises ClusterDownError when there is none."""
        known = self._map.owner(key) if self._map is not None else None
        if known is None and self._cluster is not False:
            await self.look()
            known = self._map.owner(key) if self._map is not None else None
            if known is None and self._map is not None:
                raise ClusterDownError("its slot has no primary")
        return known

    def follow(self, key: str, error: AskError, asked: Address | None) -> tuple[Address, bool]:
        """Where the node at `asked` redirects a command on this key to, and whether to say ASKING there."""
        address = redirected(error, self._host if asked is None else asked[0])
        if not isinstance(error, MovedError):
            return address, True
        if self._map is None:  # it has become a cluster
            self._cluster = None
        else:
            self._map.move(key, address)
        return address, False

    def connection(self, address: Address | None, socket_timeout: float | None = None) -> Connection:
        """A connection of the caller's own, not connected yet. `socket_timeout`: seconds an answer may take."""
        return new_connection(self._url, self._patience, to=address, socket_timeout=socket_timeout)

    def client(self, address: Address | None) -> Redis:
        """A client of one node; None: where the URL leads."""
        if self._process != os.getpid():
            # A forked child must not write into its parent's connections, and neither close them nor let them be
            # collected: that would unregister them from the event loop the two still share in the kernel.
            self._inherited.append(self._clients)
            self._clients, self._process = {}, os.getpid()
        if address not in self._clients:
            pool = pool_to(self._url, self._patience, to=address, socket_timeout=self._patience)
            self._clients[address] = Redis.from_pool(pool)
        return self._clients[address]

    async def primaries(self) -> list[Address | None]:
        """The nodes that serve keys, asked for anew; of a single server [None]."""
        await self.look()
        return [None] if self._map is None else [*self._map.primaries]

    @property
    def is_cluster(self) -> bool:
        """Whether the server was found to be a cluster's node."""
        return bool(self._cluster)

    def forget(self, failed: Address | None = None) -> None:
        """The map may be wrong: ask for it before the next command, and `failed` last of all."""
        self._map = None
        if failed in self._sources:
            self._sources.remove(failed)
            self._sources.append(failed)

    async def look(self) -> None:
        """Ask whether this is a cluster, and who serves what in it."""
        trouble: Exception = ConnectionError("no node of the cluster knows who serves what")
        for source in list(self._sources):
            try:
                if await self._look_at(source):
                    return
            except (RedisError, OSError) as error:
                trouble = error
        raise trouble

    async def aclose(self) -> None:
        """Close all clients. It can be used again."""
        if self._process == os.getpid():
            clients, self._clients = self._clients, {}
            for client in clients.values():
                await client.aclose()

    async def _look_at(self, source: Address | None) -> bool:
        # On the client's own connection: it is needed next, at least by a single server.
        client = self.client(source)
        if source is None and not await _is_in_cluster(client):
            self._cluster, self._map, self._sources = False, None, [None]
            return True
        reply = await _ask(client, "CLUSTER", "SLOTS")
        if not reply:  # a node that was taken out, or that is not in yet
            return False
        self._cluster, self._map = True, SlotMap.read(reply, self._host if source is None else source[0])
        rest = [each for each in self._sources if each in self._map.nodes]
        self._sources = [*rest, *(self._map.nodes - set(rest)), None]
        await self._part()
        return True

    async def _part(self) -> None:
        """Close the idle connections to nodes that are no more, and to where the URL leads, which has an address by now."""
        for address, client in list(self._clients.items()):
            if address is None or address not in self._sources:
                await client.connection_pool.disconnect(inuse_connections=False)

    async def _send(self, address: Address | None, commands: Sequence[Command], asking: bool) -> list[Any]:
        if len(commands) == 1 and not asking:
            try:
                return [await _ask(self.client(address), *commands[0])]
            except ResponseError as error:
                return [error]
        async with self.client(address).pipeline(transaction=False) as pipeline:
            for command in commands:
                if asking:
                    pipeline.execute_command("ASKING")
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
        return replies[1::2] if asking else replies

    @asynccontextmanager
    async def _suspecting(self, address: Address | None) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError):
            if self._map is not None:
                self.forget(address)
            raise


async def _is_in_cluster(client: Redis) -> bool:
    try:
        info = await _ask(client, "INFO", "cluster")
    except ResponseError:  # an application may have been given no right but to append
        with suppress(ResponseError):
            return bool(await _ask(client, "CLUSTER", "SLOTS"))
        return False
    return bool(int(info.get("cluster_enabled", 0)))


async def _ask(client: Redis, *command: Any) -> Any:
    return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped in redis-py
