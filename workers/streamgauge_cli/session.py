"""What the commands share: the settings they were called with, and servers for as long as they run."""

import contextlib
import os
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamgauge.settings import Settings

if TYPE_CHECKING:
    from streamgauge_local.stack import Endpoints

_data_dir: ContextVar[Path | None] = ContextVar("data_dir", default=None)


def set_data_dir(path: Path | None) -> None:
    """Remember the option `--data-dir` given before the command's name."""
    _data_dir.set(path)


def settings(**overrides: Any) -> Settings:
    """Settings from the environment, with the options given on the command line.

    Args:
        overrides: by field name; `None` means not given.

    Raises:
        SettingsError: a value cannot be used.
    """
    if overrides.get("data_dir") is None:
        overrides["data_dir"] = _data_dir.get()
    return Settings.from_environ(os.environ, **overrides)


@contextlib.asynccontextmanager
async def servers(wanted: Settings, *, check_schema: bool = True) -> AsyncIterator["Endpoints"]:
    """Servers for the command's duration: given ones, those of a running `streamgauge up`, or ones we start.

    A database we start is migrated. Others are looked at and left as they are, unless `check_schema` is off.

    Raises:
        SchemaError: a database that is not ours is at another version.
        ServerError: a server cannot be started.
    """
    from streamgauge_local.stack import open_stack
    from streamgauge_migrations import check, migrate

    async with open_stack(wanted, "command", prepare=migrate) as endpoints:
        if check_schema and not endpoints.database_is_ours:
            await check(endpoints.database_url)
        yield endpoints
