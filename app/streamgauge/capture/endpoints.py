"""Where the Redis is that `streamgauge up` runs on this machine."""

import json
from pathlib import Path
from typing import Any, Final

FILE: Final = "endpoints.json"
LARGEST: Final = 64 * 1024  # bytes; ours has a few hundred


def local_redis_url(data_dir: Path) -> str | None:
    """The address that the servers of a data directory wrote down when they were ready; None when none are running.

    It changes with every start, so look again when connecting fails. Servers that were killed leave the old one behind.
    """
    try:
        with (data_dir / FILE).open("rb") as file:
            record: Any = json.loads(file.read(LARGEST))
        url, ready = record["redis_url"], record["ready"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if ready is True and isinstance(url, str) and url else None
