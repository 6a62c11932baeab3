"""Who the local PostgreSQL runs as: it refuses to run as root."""

import os
import pwd
from pathlib import Path

from streamgauge_local import tether

_UNPRIVILEGED = ("postgres", "nobody")


def identities_for(data_dir: Path) -> list[str]:
    """What to try, best first: the owner of existing data has to stay its owner.

    An ordinary user runs servers as itself. Root uses a user namespace, and where that is forbidden (many
    containers) an unprivileged user.
    """
    if os.geteuid() != 0:
        # A user without a name (`docker run --user 1234`) gets one in a user namespace.
        return [tether.SAME if _has_name(os.geteuid()) else tether.NAMESPACE]
    if data_dir.exists() and (owner := data_dir.stat()).st_uid != 0:
        return [f"{owner.st_uid}:{owner.st_gid}"]
    return [tether.NAMESPACE, *(entry for name in _UNPRIVILEGED if (entry := _entry_of(name)))]


def describe(identity: str) -> str:
    """The identity in words, for messages."""
    if identity in (tether.SAME, tether.NAMESPACE):
        return "this user" if identity == tether.SAME else "this user in a user namespace"
    user = int(identity.split(":")[0])
    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"user {user}"


def is_another_user(identity: str) -> bool:
    """Whether files have to be given away for it."""
    return identity not in (tether.SAME, tether.NAMESPACE)


def give_to(path: Path, identity: str) -> None:
    """Make the user of `identity` the owner of `path` and all below it."""
    user, group = (int(number) for number in identity.split(":"))
    os.chown(path, user, group)
    for entry in path.rglob("*"):
        os.chown(entry, user, group, follow_symlinks=False)


def closed_directory(path: Path, identity: str) -> Path | None:
    """The first directory above `path` that the user of `identity` may not pass; None when there is none."""
    if not is_another_user(identity):
        return None
    user, group = (int(number) for number in identity.split(":"))
    for directory in reversed(path.resolve().parents):
        status = directory.stat()
        shift = 6 if status.st_uid == user else 3 if status.st_gid == group else 0
        if not (status.st_mode >> shift) & 0o1:
            return directory
    return None


def _has_name(user: int) -> bool:
    try:
        return bool(pwd.getpwuid(user).pw_name)
    except KeyError:
        return False


def _entry_of(name: str) -> str | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return f"{entry.pw_uid}:{entry.pw_gid}"
