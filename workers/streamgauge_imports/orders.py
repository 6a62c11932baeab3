"""The orders that the commands give: an access log's, and a load's."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import blake2b

import orjson

from streamgauge.capture.pseudonyms import Keyring
from streamgauge.domains.web.access_log import LogFormat
from streamgauge.settings import Settings
from streamgauge_imports.batches import batch_size
from streamgauge_imports.importing import Order
from streamgauge_imports.log_frames import AccessLog, LogFile
from streamgauge_imports.synthetic import Synthetic


def access_log_order(
    log: LogFile,
    settings: Settings,
    *,
    tenant: str,
    time_zone: str | None = None,
    format: LogFormat = "combined",
    routes: str | None = None,
    spent: float = 0.0,
) -> Order:
    """Import a log that was examined.

    Args:
        settings: its data directory has a folder `logs`, where the list of malformed lines goes when they are many.
        tenant, time_zone: see `Order`.
        format: of the log.
        routes: text of a table of routes.
        spent: seconds it took to examine the log.
    """
    name = re.sub(r"[^\w.-]", "_", log.path.name)[:100]
    rejects = settings.data_dir.absolute() / "logs" / f"rejected-{name}-{log.digest.hex()[:8]}.tsv"
    return Order(
        tenant, time_zone, "access-log", log.digest, log.lines,
        lambda found: AccessLog(
            log.path.absolute(), log.signature, format, Keyring(settings.keyring).tenant(found.name), routes,
            settings.shards, batch_size(settings.shards), rejects,
        ),
        spent=spent,
    )  # fmt: skip


@dataclass(frozen=True)
class Load:
    """What makes synthetic events the same ones again. `until` is in whole seconds; `rate` 0 is as fast as possible."""

    tenant: str
    actors: int
    days: int
    events: int
    rate: int
    seed: int
    until: datetime

    def as_json(self) -> dict[str, str | int]:
        """In JSON's types."""
        return {**asdict(self), "until": self.until.isoformat()}


def load_order(load: Load, settings: Settings, time_zone: str | None = None) -> Order:
    """Make synthetic events and send them."""
    digest = blake2b(orjson.dumps(load.as_json(), option=orjson.OPT_SORT_KEYS), digest_size=32).digest()
    return Order(
        load.tenant, time_zone, "load", digest, load.events,
        lambda found: Synthetic(
            Keyring(settings.keyring).tenant(found.name), found.zones, digest.hex(), load.seed, load.actors, load.days,
            load.events, int(load.until.timestamp()) * 1_000_000, settings.shards,
            batch_size(settings.shards, load.rate),
        ),
        rate=load.rate,
    )  # fmt: skip
