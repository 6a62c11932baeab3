"""Settings that everybody who works on a database has to agree on, because what is stored depends on them."""

from streamgauge.database import Connection
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge_workers.queries import SQL

AGREED = ("max_lateness_days", "cardinality_limit")


async def agree(connection: Connection, settings: Settings) -> None:
    """Raise SettingsError unless these settings are what they were from the beginning; the first to ask writes them down."""
    for name in AGREED:
        mine = str(getattr(settings, name))
        stored = await connection.fetchval(SQL["installation"], name, mine)
        if stored != mine:
            variable = f"STREAMGAUGE_{name.upper()}"
            raise SettingsError(
                f"{variable} is {mine}, and {stored} in the database: what is stored depends on it, so it cannot change; "
                f"set {variable}={stored}"
            )
