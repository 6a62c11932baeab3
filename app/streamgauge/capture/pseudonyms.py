"""Keyed pseudonyms, and the file that holds the keys: what is stored never says who somebody was.

Keys live in one file per host, outside Redis and PostgreSQL: who has the tables alone cannot try out names. A tenant has versioned
pseudonym keys, of which the newest is used, and one event key that never changes, since a repeated event must be recognised across
a rotation. Keyed BLAKE2b (RFC 7693) is a pseudorandom function, so a pseudonym is as good as random bits to anyone without the key.
"""

import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from streamgauge.errors import SettingsError
from streamgauge.event import DAILY

KEY_BYTES = 32
DIGEST_BYTES = 16
NEWEST_VERSION = 255  # one byte; 0 is DAILY
LEAST_SALT, MOST_SALT = 16, 64  # bytes

_PSEUDONYM, _VISITOR, _EVENT = b"sg pseudonym", b"sg daily", b"sg event"
_ADVICE = "restore it from its backup, or give another file with STREAMGAUGE_KEYRING"


@dataclass(frozen=True)
class TenantKeys:
    """One tenant's keys, as they are now."""

    tenant: str
    version: int  #: of `key`, 1 to 255
    key: bytes
    event_key: bytes

    def pseudonym(self, *parts: bytes | str) -> bytes:
        """The version byte and the 16-byte keyed digest of an identifier's parts, such as host and agent.

        Text stands for its UTF-8 bytes. Other parts, or the same bytes cut elsewhere, give another pseudonym.
        """
        return bytes((self.version,)) + _digest(self.key, _PSEUDONYM, parts)

    def event_id(
        self, name: str, key: bytes | str, actor: bytes | str | None = None, session: str | None = None
    ) -> bytes:
        """16 bytes that are the same whenever a caller's idempotency key is repeated.

        Args:
            name: the event's.
            key: the caller's, unique for the name and whoever it is about.
            actor, session: the caller's own identifiers, not pseudonyms: those change with the key's version. The actor is
                used, else the session, else neither.
        """
        about: tuple[bytes | str, bytes | str] = (b"", b"")
        if actor is not None:
            about = (b"actor", actor)
        elif session is not None:
            about = (b"session", session)
        return _digest(self.event_key, _EVENT, (self.tenant, name, *about, key))

    @cached_property
    def fingerprint(self) -> str:
        """Names the key in use without telling it: its version and 8 hexadecimal digits of its hash."""
        return f"{self.version}-{blake2b(self.key, digest_size=4, person=b'sg fingerprint').hexdigest()}"

    def __repr__(self) -> str:
        return f"TenantKeys({self.tenant!r}, {self.fingerprint})"


class Keyring:
    """The keys of every tenant, in one file that nobody but its owner may read. Safe between processes."""

    def __init__(self, path: Path) -> None:
        """Nothing is read until a tenant's keys are asked for."""
        self.path = path
        self._known: dict[str, TenantKeys] = {}

    def tenant(self, name: str) -> TenantKeys:
        """A tenant's keys, made and stored before they are returned when there are none yet.

        Raises SettingsError when the file is damaged, may be read by others, or cannot be read or written.
        """
        if name not in self._known:
            found = self._read().get(name)
            self._known[name] = _parse(name, found, self.path) if found is not None else self._make(name)
        return self._known[name]

    def names(self) -> frozenset[str]:
        """The tenants that have keys in the file. Raises SettingsError as `tenant` does."""
        return frozenset(self._read())

    def rotate(self, name: str) -> TenantKeys:
        """Give a tenant a new pseudonym key, under the next version. Its actors are new ones from then on.

        Raises SettingsError as `tenant` does, and when all 255 versions are used.
        """
        with self._locked():
            tenants = self._read()
            entry = tenants.setdefault(name, _entry())
            version = _parse(name, entry, self.path).version + 1
            if version > NEWEST_VERSION:
                raise SettingsError(f"tenant {name!r} has used all {NEWEST_VERSION} key versions")
            entry["keys"][str(version)] = secrets.token_hex(KEY_BYTES)
            entry["current"] = version
            self._write(tenants)
        self._known[name] = _parse(name, entry, self.path)
        return self._known[name]

    def _make(self, name: str) -> TenantKeys:
        with self._locked():
            tenants = self._read()  # another process may have been first
            if name not in tenants:
                tenants[name] = _entry()
                self._write(tenants)
        return _parse(name, tenants[name], self.path)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable("read", error) from error
        if mode & 0o077:
            raise SettingsError(
                f"the keyring {self.path} may be used by others (mode {mode:04o}): chmod 600 it; if others had access, its "
                "pseudonyms are no secret to them"
            )
        try:
            tenants = json.loads(content)["tenants"]
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"the keyring {self.path} is damaged: {_ADVICE}") from error
        if not isinstance(tenants, dict):
            raise SettingsError(f"the keyring {self.path} is damaged: {_ADVICE}")
        return tenants

    def _write(self, tenants: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the file in one step: readers see the old or the new keys, also after a power cut."""
        content = json.dumps({"tenants": tenants}, indent=1, sort_keys=True).encode() + b"\n"
        try:
            # mkstemp makes it readable by its owner alone.
            descriptor, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            except BaseException:
                os.unlink(temporary)
                raise
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._unusable("written", error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock beside the file: the file itself is replaced, and a lock on it would be replaced too."""
        try:
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable("locked", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _unusable(self, doing: str, error: OSError) -> SettingsError:
        absent = isinstance(error, FileNotFoundError) and not self.path.parent.is_dir()
        missing = f": the folder {self.path.parent} does not exist" if absent else ""
        return SettingsError(
            f"the keyring {self.path} cannot be {doing} ({error.strerror}){missing}; make it so, or set STREAMGAUGE_KEYRING"
        )


def daily_pseudonym(salt: bytes, *parts: bytes | str) -> bytes:
    """A visitor known for one day: version byte 0 and a 16-byte digest keyed with a salt of 16 to 64 random bytes.

    Once the salt is destroyed nothing links it to its parts, or to the same visitor's other days. Raises SettingsError for a
    salt of another length.
    """
    if not LEAST_SALT <= len(salt) <= MOST_SALT:
        raise SettingsError(f"a daily salt has {LEAST_SALT} to {MOST_SALT} bytes, not {len(salt)}")
    return bytes((DAILY,)) + _digest(salt, _VISITOR, parts)


def _digest(key: bytes, purpose: bytes, parts: tuple[bytes | str, ...]) -> bytes:
    encoded = []
    for part in parts:
        # A host may hand us text that is not Unicode; that must not fail.
        octets = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        # Lengths in front, so that no two sequences of parts read alike when joined.
        encoded += [b"%d:" % len(octets), octets]
    return blake2b(b"".join(encoded), digest_size=DIGEST_BYTES, key=key, person=purpose).digest()


def _entry() -> dict[str, Any]:
    return {
        "current": 1,
        "keys": {"1": secrets.token_hex(KEY_BYTES)},
        "event_key": secrets.token_hex(KEY_BYTES),
    }


def _parse(name: str, entry: Any, path: Path) -> TenantKeys:
    try:
        version = entry["current"]
        key, event_key = bytes.fromhex(entry["keys"][str(version)]), bytes.fromhex(entry["event_key"])
        if type(version) is not int or not 1 <= version <= NEWEST_VERSION:
            raise ValueError(f"version {version!r}")
        if len(key) != KEY_BYTES or len(event_key) != KEY_BYTES:
            raise ValueError("a key's length")
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"the keyring {path} is damaged where it holds tenant {name!r}: {_ADVICE}"
        ) from error
    return TenantKeys(name, version, key, event_key)
