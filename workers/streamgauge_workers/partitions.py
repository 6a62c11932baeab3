"""Partitions made ahead of their time without keeping readers or writers out."""

from streamgauge.database import Connection
from streamgauge_workers.queries import SQL


async def attach(connection: Connection, parent: str, name: str, bounds: str) -> None:
    """Make a partition, unless it is there.

    A table made by itself and then attached takes a lock that lets reads and writes of the parent go on; CREATE TABLE ... PARTITION OF
    would wait for every reader, and everybody else for it. Names and bounds are the program's own.
    """
    if name in await names(connection, parent):
        return
    await connection.execute(f"CREATE TABLE IF NOT EXISTS {name} (LIKE {parent} INCLUDING ALL)")
    await connection.execute(f"ALTER TABLE {parent} ATTACH PARTITION {name} {bounds}")


async def names(connection: Connection, parent: str) -> set[str]:
    """The partitions of a table."""
    return {row["relname"] for row in await connection.fetch(SQL["partitions"], parent)}
