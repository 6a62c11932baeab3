"""A program that holds servers open, for tests to kill: `python supervisor.py ROLE DATA_DIR`.

It prints one line of JSON when the servers are there, and ends when its standard input does.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import cast

from streamgauge.errors import StreamgaugeError
from streamgauge.settings import Settings
from streamgauge_local.stack import Role, open_stack


async def main(role: Role, data_dir: Path) -> None:
    """Hold the servers until standard input ends."""
    settings = Settings.from_environ(os.environ, data_dir=data_dir)
    async with open_stack(settings, role) as endpoints:
        told = {
            "source": endpoints.source,
            "redis_url": endpoints.redis_url,
            "database_url": endpoints.database_url,
            "details": endpoints.details,
        }
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    try:
        asyncio.run(main(cast("Role", sys.argv[1]), Path(sys.argv[2])))
    except StreamgaugeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
