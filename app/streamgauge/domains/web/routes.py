"""Route templates for requests that come without one: the ``--routes FILE`` of an access log's import.

One template per line, as FastAPI and Starlette write them, optionally behind the methods it serves::

    # comments and blank lines are skipped
    /users/{id}
    GET,HEAD /files/{path:path}
    /orders/{number:int}    # so are comments at the end
"""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from streamgauge.errors import InputError

#: The route of a request that no template matches.
UNMATCHED: Final = "__unmatched__"

_METHODS = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY"]
)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?\}")
#: Starlette's convertors, without capturing groups.
_CONVERTORS = {
    "str": "[^/]+",
    "path": ".*",
    "int": "[0-9]+",
    "float": r"[0-9]+(?:\.[0-9]+)?",
    "uuid": "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
}
_MAX_FILE = 1 << 20  # bytes
_PATHS_KEPT = 4_096


class _Route(NamedTuple):
    template: str
    #: Methods served; none means all.
    methods: frozenset[str]
    #: None when the template is a plain path.
    pattern: str | None


class _Order:
    """Routes in their order: plain paths by look-up, templates in one expression of alternatives."""

    def __init__(self, routes: Sequence[_Route]) -> None:
        self._plain: dict[str, int] = {}
        self._templates = [route.template for route in routes]
        self._positions: list[int] = []
        for position, route in enumerate(routes):
            if route.pattern is None:
                self._plain.setdefault(route.template, position)
            else:
                self._positions.append(position)
        patterns = [f"({route.pattern})" for route in routes if route.pattern is not None]
        self._match = re.compile("|".join(patterns)).fullmatch if patterns else None

    def find(self, path: str) -> str | None:
        found = self._plain.get(path, len(self._templates))
        match = self._match(path) if self._match else None
        if match is not None and match.lastindex is not None:
            found = min(found, self._positions[match.lastindex - 1])
        return self._templates[found] if found < len(self._templates) else None


class RouteTable:
    """Finds the first template, in the file's order, that serves a path."""

    def __init__(self, routes: Sequence[_Route]) -> None:
        named = frozenset[str]().union(*(route.methods for route in routes))
        self._any = _Order(routes)
        self._all_methods = _Order([route for route in routes if not route.methods])
        self._by_method = {
            method: _Order([route for route in routes if not route.methods or method in route.methods])
            for method in named
        }
        #: The templates, in order, each once: declared values of the dimension http.route.
        self.templates = tuple(dict.fromkeys(route.template for route in routes))
        self._find = lru_cache(_PATHS_KEPT)(self._search)

    @classmethod
    def parse(cls, text: str, name: str = "routes") -> "RouteTable":
        """Read a table; ``name`` stands for it in messages. Raises InputError naming the wrong line."""
        routes: list[_Route] = []
        for number, line in enumerate(text.split("\n"), start=1):
            words = re.sub(r"(^|\s)#.*", "", line).split()
            if not words:
                continue
            try:
                routes.append(_route(words))
            except ValueError as wrong:
                raise InputError(f"{name}, line {number}: {wrong}", field="routes") from wrong
        if not routes:
            raise InputError(
                f"{name} has no route: write one template per line, such as /users/{{id}}.", field="routes"
            )
        return cls(routes)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "RouteTable":
        """Read a table from a UTF-8 file of at most 1 MiB. Raises InputError when that cannot be done."""
        name = Path(path)
        try:
            with name.open("rb") as file:
                content = file.read(_MAX_FILE + 1)
        except OSError as failure:
            raise InputError(
                f"{name} cannot be read: {failure.strerror or failure}.", field="routes"
            ) from failure
        if len(content) > _MAX_FILE:
            raise InputError(
                f"{name} is over {_MAX_FILE} bytes: give a list of route templates.", field="routes"
            )
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as failure:
            line = content.count(b"\n", 0, failure.start) + 1
            raise InputError(
                f"{name}, line {line}: not UTF-8, save it as UTF-8.", field="routes"
            ) from failure
        return cls.parse(text, str(name))

    def match(self, path: str, method: str | None = None) -> str | None:
        """The first template that serves ``path``, or None.

        Percent-encoding is undone first, as an ASGI server does it. With a method, a route that serves it
        goes before one that does not; the latter still names the request, as Starlette lets it answer 405.
        """
        return self._find(path, method)

    def route(self, path: str, method: str | None = None) -> str:
        """As ``match``, with ``__unmatched__`` in place of None."""
        return self._find(path, method) or UNMATCHED

    def _search(self, path: str, method: str | None) -> str | None:
        decoded = unquote(path) if "%" in path else path
        found = None
        if method is not None:
            found = self._by_method.get(method, self._all_methods).find(decoded)
        return found or self._any.find(decoded)


def _route(words: list[str]) -> _Route:
    if len(words) > 2:
        raise ValueError(f"{words[2]!r} is too much: write [METHODS ]/template.")
    *methods, template = words
    if not template.startswith("/"):
        raise ValueError(f"the template {template!r} must begin with a slash.")
    served = methods[0].split(",") if methods else []
    for method in served:
        if method not in _METHODS:
            raise ValueError(
                f"{method!r} is not a method: use {', '.join(sorted(_METHODS))}, joined by commas."
            )
    if "GET" in served:
        served.append("HEAD")  # as Starlette does
    return _Route(template, frozenset(served), _pattern(template))


def _pattern(template: str) -> str | None:
    parts: list[str] = []
    names: set[str] = set()
    at = 0
    for parameter in _PARAMETER.finditer(template):
        name, convertor = parameter[1], parameter[2] or "str"
        if convertor not in _CONVERTORS:
            raise ValueError(f"{convertor!r} is not a convertor: use one of {', '.join(_CONVERTORS)}.")
        if name in names:
            raise ValueError(f"the parameter {name!r} appears twice in {template!r}.")
        names.add(name)
        if at and at == parameter.start():
            raise ValueError(f"two parameters touch in {template!r}: put something between them.")
        parts += [_literal(template, at, parameter.start()), _CONVERTORS[convertor]]
        at = parameter.end()
    literal = _literal(template, at, len(template))
    return "".join([*parts, literal]) if names else None


def _literal(template: str, start: int, end: int) -> str:
    text = template[start:end]
    if "{" in text or "}" in text:
        raise ValueError(f"a brace in {template!r} is no parameter: write {{name}} or {{name:convertor}}.")
    return re.escape(text)
