"""Which requests are not counted, and which are counted without asking who they are from."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from streamgauge.errors import InputError

#: What only machines ask for, or what says nothing about use.
DEFAULT_EXCLUDE: Final = (
    "OPTIONS",
    "/health", "/healthz", "/livez", "/readyz",
    "/metrics",
    "/docs", "/redoc", "/openapi.json",
    "/static", "/favicon.ico",
)  # fmt: skip
#: Where people prove who they are: nothing here may depend on, or tell of, the outcome.
DEFAULT_ANONYMOUS: Final = (
    "*/auth", "*/oauth", "*/oauth2", "*/sso", "*/token",
    "*/login", "*/logout", "*/signin", "*/signout", "*/sign-in", "*/sign-out",
    "*/register", "*/signup", "*/sign-up",
    "*/password", "*/forgot-password", "*/reset-password", "*/password-reset",
)  # fmt: skip

_SEGMENT = re.compile(r"\*/[^*/]+")
_METHOD = re.compile(r"[A-Z]{2,20}")


#: (path, method) -> whether a request is among them.
Holds = Callable[[str, str], bool]


def path_set(entries: Iterable[str], field: str) -> Holds:
    """A function that tells whether a request's path or method is among the entries.

    An entry is one of:
        `/path`: this path and everything below it. `/health` holds `/health/live`, not `/healthy`; `/` is the home page alone.
        `*/path`: with a `*` in it, which stands for any text, slashes and nothing included: `*/login`, `/api/*/internal`.
        `OPTIONS`: a method, in capitals.

    Raises InputError, naming `field`, for what is none of these.
    """
    if isinstance(entries, str):
        raise InputError(f"{field} is {entries!r}: give a list of paths, such as ['/health'].", field=field)
    given = list(entries)
    for entry in given:
        if not isinstance(entry, str) or not (entry.startswith(("/", "*")) or _METHOD.fullmatch(entry)):
            raise InputError(
                f"{field} holds {entry!r}: give a path that begins with a slash, such as /health, or a star, such as "
                "*/login, or a method in capitals.",
                field=field,
            )
    methods = frozenset(entry for entry in given if entry[0] not in "/*")
    paths = [entry.rstrip("/") or "/" for entry in given if entry not in methods]
    plain = [path for path in paths if "*" not in path]
    segments = [path for path in paths if _SEGMENT.fullmatch(path)]
    starred = [_pattern(path) for path in paths if "*" in path and path not in segments]
    # Asked twice for every request: only what can be true is looked at.
    parts: list[Holds] = []
    if plain or methods:
        parts.append(_below(frozenset(plain), methods))
    if segments:
        parts.append(_with_segment(frozenset(path[2:] for path in segments)))
    if starred:
        match = re.compile("|".join(starred), re.DOTALL).match
        parts.append(lambda path, _: match(path) is not None)
    return parts[0] if len(parts) == 1 else lambda path, method: any(part(path, method) for part in parts)


def _below(paths: frozenset[str], methods: frozenset[str]) -> Holds:
    prefixes = tuple(path + "/" for path in paths if path != "/")
    return lambda path, method: path in paths or path.startswith(prefixes) or method in methods


def _with_segment(segments: frozenset[str]) -> Holds:
    """Of `*/segment`, the usual entry with a star: one look at the path's segments serves them all."""
    found_none = segments.isdisjoint
    return lambda path, _: not found_none(path.split("/"))


def _pattern(path: str) -> str:
    """An expression whose time is linear in the path's length for each star: the earliest place serves best but at the end."""
    first, *between, last = map(re.escape, path.split("*"))
    return first + "".join(f"(?>.*?{part})" for part in between if part) + rf".*?{last}(?:/|\Z)"
