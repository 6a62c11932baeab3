"""Ids of actors for a shadow, while the shards' workers give out ids as well."""

from dataclasses import dataclass

from streamgauge.database import Connection
from streamgauge_workers.actors import ActorIds
from streamgauge_workers.deletion import take
from streamgauge_workers.queries import SQL
from streamgauge_workers.rebuilding.queries import SQL as REBUILDING

NOBODY = -1


@dataclass(slots=True)
class Tokens:
    """Whether the transaction under way holds the shards' tokens."""

    held: bool = False


class KnownActors(ActorIds):
    """One shard's actors, as they are by now and not as they were in the log's snapshot.

    Who applied an entry stored its actors with it, so there is nothing to give out unless the dictionary was damaged. Then the missing
    ones are stored in a transaction of their own that holds the shard's token (rule P5): the snapshot lasts too long to keep others
    waiting for its rows.
    """

    def __init__(self, shard: int, tokens: Tokens) -> None:
        super().__init__(shard)
        self.tokens = tokens

    async def _learn(
        self, connection: Connection, aside: Connection, missing: list[tuple[int, bytes]]
    ) -> None:
        if self.tokens.held:
            await super()._learn(connection, aside, missing)
            return
        by_tenant: dict[int, list[bytes]] = {}
        for tenant_id, pseudonym in missing:
            by_tenant.setdefault(tenant_id, []).append(pseudonym)
        for tenant_id, pseudonyms in by_tenant.items():
            for row in await aside.fetch(SQL["actors_load"], tenant_id, pseudonyms):
                self.known[tenant_id, row["pseudonym"]] = row["actor_id"]
        if lacking := [pair for pair in missing if pair not in self.known]:
            await self._mend(aside, lacking)

    async def _mend(self, aside: Connection, lacking: list[tuple[int, bytes]]) -> None:
        async with aside.transaction():
            await take(aside, self.shard)
            staying = {row["tenant_id"] for row in await aside.fetch(REBUILDING["tenants_staying"])}
            # Rows of a tenant that is going are left out in the end; nothing of it may be stored any more.
            self.known.update({pair: NOBODY for pair in lacking if pair[0] not in staying})
            if wanted := [pair for pair in lacking if pair[0] in staying]:
                await super()._learn(aside, aside, wanted)
