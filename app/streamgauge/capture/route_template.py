"""The template of the route that took a request, such as `/users/{id}`: whole, bounded by the host's code, never its raw path.

Routers tell which route they chose, but not from where: prefixes of included routers and mounts are missing in what they leave in
the request's scope. Where that does not suffice, the routes are walked once, and the chosen endpoint is looked up among them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streamgauge.domains.web.routes import UNMATCHED

#: What a mounted application without routes of its own answers for: a folder of files, or any ASGI application.
ANYTHING: Final = "/{path:path}"
#: True as an attribute of an endpoint: its requests are not counted.
UNCOUNTED: Final = "streamgauge_uncounted"
_MOST_ROUTES, _MOST_DEPTH, _MOST_KEPT = 20_000, 20, 64
_REDIRECTS = frozenset({307, 308})


class Leaf(NamedTuple):
    """A route with everything in front of it."""

    template: str
    #: What each mount on the way makes of the path, and at last the route.
    patterns: tuple[re.Pattern[str], ...]
    #: None: all.
    methods: frozenset[str] | None
    endpoint: object

    def serves(self, path: str) -> bool:
        """Whether it is this route's path."""
        rest = path
        for pattern in self.patterns[:-1]:
            match = pattern.match(rest)
            if match is None:
                return False
            rest = "/" + match["path"]
        return self.patterns[-1].match(rest) is not None


class RouteTree:
    """Every route below a list of routes, in the order they are tried in."""

    def __init__(self, routes: Sequence[object]) -> None:
        self._routes = routes
        self._grow()

    def of_endpoint(self, endpoint: object, path: str) -> str | None:
        """The template of the route with that endpoint that serves the path."""
        if len(self._routes) != self._count:
            self._grow()
        leaves = self._leaves.get(id(endpoint))
        if leaves is None and id(endpoint) not in self._strangers:
            # A route that came later, inside a router. Looked for once: the walk is long.
            self._grow()
            leaves = self._leaves.get(id(endpoint))
            if leaves is None and len(self._strangers) < _MOST_ROUTES:
                self._strangers[id(endpoint)] = endpoint
        served = next((leaf for leaf in leaves or () if leaf.serves(path)), None)
        if served is None:
            # An application that hides its routes: which one it chose cannot be told.
            served = next((leaf for leaf in self._opaque if leaf.serves(path)), None)
        return served.template if served else None

    def find(self, path: str, method: str) -> Leaf | None:
        """The first route that serves the path, if possible with the method."""
        if len(self._routes) != self._count:
            self._grow()
        other = None
        for leaf in self._order:
            if leaf.serves(path):
                if leaf.methods is None or method in leaf.methods:
                    return leaf
                other = other or leaf
        return other

    def _grow(self) -> None:
        self._count = len(self._routes)
        self._order: list[Leaf] = []
        self._opaque: list[Leaf] = []
        self._leaves: dict[int, list[Leaf]] = {}
        self._strangers: dict[int, object] = {}
        self._walk(self._routes, "", (), 0)
        for leaf in self._order:
            self._leaves.setdefault(id(leaf.endpoint), []).append(leaf)

    def _walk(
        self, routes: Sequence[object], prefix: str, mounts: tuple[re.Pattern[str], ...], depth: int
    ) -> None:
        for route in _unfolded(routes):
            if depth > _MOST_DEPTH or len(self._order) >= _MOST_ROUTES:
                return
            pattern, path = getattr(route, "path_regex", None), getattr(route, "path", None)
            if isinstance(pattern, re.Pattern) and isinstance(path, str):
                patterns = (*mounts, pattern)
                if hasattr(route, "methods"):
                    self._add(prefix + path, patterns, route, getattr(route, "endpoint", None))
                elif inner := _inner(route):
                    self._walk(inner, prefix + path, patterns, depth + 1)
                elif hasattr(route, "routes"):
                    self._add(prefix + path + ANYTHING, patterns, route, getattr(route, "app", None))
                    self._opaque.append(self._order[-1])
            elif inner := _inner(route):  # by the request's host: it leaves the path alone
                self._walk(inner, prefix, mounts, depth + 1)

    def _add(
        self, template: str, patterns: tuple[re.Pattern[str], ...], route: object, endpoint: object
    ) -> None:
        methods = getattr(route, "methods", None)
        self._order.append(Leaf(template, patterns, frozenset(methods) if methods else None, endpoint))


class RouteTemplates:
    """Finds templates for one instrumented application."""

    def __init__(self, app: object) -> None:
        self._app = app
        self._trees: dict[int, tuple[object, RouteTree]] = {}

    def of(self, scope: Mapping[str, Any], status: int, root_path: str) -> str | None:
        """The template of an answered request, `__unmatched__` when no route took it; None when its route is `UNCOUNTED`.

        Args:
            scope: as the application left it.
            status: of the response: a redirect to a path with or without its last slash belongs to the route it leads to.
            root_path: the scope's before the application.
        """
        if getattr(scope.get("endpoint"), UNCOUNTED, None) is True:
            return None
        if "app_root_path" not in scope:  # else there was a mount
            route = scope.get("route")
            if route is not None:
                # Newer FastAPI leaves the routers' prefixes out of the route's own path and keeps the whole here.
                whole = scope["fastapi"].get("effective_route_context") if "fastapi" in scope else None
                chosen = whole if whole is not None and whole.original_route is route else route
                path: object = getattr(chosen, "path", None)
                if isinstance(path, str) and path:
                    return path if type(path) is str else str.__str__(path)
        return self._search(scope, status, root_path)

    def _search(self, scope: Mapping[str, Any], status: int, root_path: str) -> str | None:
        router = scope.get("router")
        if router is None:
            # Nothing was routed, or in a copy of the scope that a middleware made.
            tree = self._tree(self._app)
            return _template(tree.find(within(scope["path"], root_path), scope["method"]) if tree else None)
        path = within(scope["path"], scope.get("app_root_path", scope.get("root_path", "")))
        tree, endpoint = self._tree(router), scope.get("endpoint")
        found = tree.of_endpoint(endpoint, path) if tree and endpoint is not None else None
        if found is None and tree and status in _REDIRECTS:
            toggled = path.rstrip("/") if path.endswith("/") else path + "/"
            return _template(tree.find(toggled, scope["method"]))
        return found or _frontend(scope, path) or UNMATCHED

    def _tree(self, app: object) -> RouteTree | None:
        kept = self._trees.get(id(app))
        if kept is None:
            routes = _routes(app)
            if not routes:
                return None
            if len(self._trees) >= _MOST_KEPT:
                self._trees.clear()
            kept = self._trees[id(app)] = (app, RouteTree(routes))
        return kept[1]


def _template(leaf: Leaf | None) -> str | None:
    if leaf is None:
        return UNMATCHED
    return None if getattr(leaf.endpoint, UNCOUNTED, None) is True else leaf.template


def within(path: str, root_path: str) -> str:
    """The path below `root_path`, as Starlette sees it; the whole path where it is not below."""
    if root_path and path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest[0] == "/":
            return rest
    return path


def _frontend(scope: Mapping[str, Any], path: str) -> str | None:
    """Of a folder of files that FastAPI serves below a fixed path (`app.frontend`)."""
    file = scope["fastapi"].get("frontend_path") if "fastapi" in scope else None
    if not isinstance(file, str) or "app_root_path" in scope or not path.endswith(file):
        return None
    return path[: len(path) - len(file)].rstrip("/") + ANYTHING


def _unfolded(routes: Sequence[object]) -> Iterator[object]:
    """Routes, with those of included routers in their place."""
    for route in routes:
        unfold = getattr(route, "effective_route_contexts", None)
        if unfold is None:
            yield route
        else:
            yield from (getattr(each, "starlette_route", None) or each for each in unfold())


def _inner(route: object) -> Sequence[object]:
    """The routes of a mount's or host's application."""
    return getattr(route, "routes", None) or _routes(getattr(route, "app", None))


def _routes(app: object) -> Sequence[object]:
    """The routes of an application, which may be inside middleware."""
    for _ in range(_MOST_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, Sequence) and not isinstance(routes, str):
            return routes
        app = getattr(app, "app", None)
        if app is None:
            break
    return ()
