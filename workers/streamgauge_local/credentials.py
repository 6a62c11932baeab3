"""The keys of this machine's own tenants: made at the first start, kept beside the data, readable by their owner alone."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from streamgauge.access.keys import parse_key
from streamgauge.access.store import create, is_usable
from streamgauge.database import Connection, open_connection
from streamgauge.errors import SettingsError
from streamgauge_imports.tenants import require_tenant

FILE = "access.json"
LABEL = "made by streamgauge up"


class LocalKeys(NamedTuple):
    """A tenant's keys as texts: to open its dashboard, and to send its events."""

    read: str
    write: str


async def local_keys(
    database_url: str, data_dir: Path, tenant: str, time_zone: str | None = None
) -> LocalKeys:
    """The keys kept in the data directory for a tenant; it and they are made when missing, or when they are no longer accepted.

    Raises SettingsError when the file cannot be read or written, ServerError when the database cannot be reached.
    """
    path = data_dir / FILE
    known = _read(path)
    connection = await open_connection(database_url, application_name="streamgauge keys")
    try:
        await require_tenant(connection, tenant, time_zone)
        kept = known.get(tenant, {})
        keys = {
            scope: await _usable(connection, tenant, scope, kept.get(scope)) for scope in ("read", "write")
        }
    finally:
        await connection.close()
    if keys != kept:
        _write(path, {**known, tenant: keys})
    return LocalKeys(**keys)


async def _usable(connection: Connection, tenant: str, scope: str, kept: str | None) -> str:
    key = parse_key(kept) if isinstance(kept, str) else None
    if key is not None and await is_usable(connection, key, tenant):
        return key.text
    return (await create(connection, tenant, [scope], label=LABEL)).text


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            f"the keys in {path} cannot be read ({error.strerror}): check its owner and mode"
        ) from error
    except ValueError:
        return {}  # new ones are made; the old ones can be revoked
    usable = isinstance(known, dict) and all(isinstance(keys, dict) for keys in known.values())
    return known if usable else {}


def _write(path: Path, keys: dict[str, dict[str, str]]) -> None:
    try:
        # mkstemp makes it readable by its owner alone.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w") as file:
                json.dump(keys, file, indent=1)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise SettingsError(
            f"the keys in {path} cannot be written ({error.strerror}): check the folder"
        ) from error
