"""Whole templates for every way a request can be routed: on real FastAPI and Starlette applications."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi import Path as PathParameter
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from streamgauge.domains.web.routes import UNMATCHED
from tests.unit.asgi import App, Recorder, ask, watched

HIDDEN = "pia.secret"  # a value that must never become a route


async def plain(request: Request) -> Response:
    return PlainTextResponse("ok")


async def other(request: Request) -> Response:
    return PlainTextResponse("other")


def starlette(*routes: BaseRoute) -> Starlette:
    return Starlette(routes=routes)


def fastapi(*paths: str, **options: Any) -> FastAPI:
    """An application with a GET for each path."""
    app = FastAPI(**options)
    for path in paths:
        app.get(path)(endpoint())
    return app


def router(*paths: str, **options: Any) -> APIRouter:
    found = APIRouter(**options)
    for path in paths:
        found.get(path)(endpoint())
    return found


def endpoint() -> Callable[[], dict[str, bool]]:
    def answer() -> dict[str, bool]:
        return {"ok": True}

    return answer


async def route_of(app: App, path: str, method: str = "GET", expect: int = 200, **options: Any) -> object:
    """The recorded route of one request, through an application that is instrumented as a host would do it."""
    recorder = Recorder()
    if isinstance(app, FastAPI | Starlette) and app.middleware_stack is None:
        from streamgauge.capture.middleware import StreamgaugeMiddleware

        app.add_middleware(StreamgaugeMiddleware, gauge=recorder, exclude=())
        inside: App = app
    else:
        inside, _ = watched(app, recorder, exclude=())
    answer = await ask(inside, path, method, **options)
    assert answer.status == expect
    assert recorder.troubles == []
    assert HIDDEN not in str(recorder.route)
    return recorder.route


def both(path: str) -> list[Any]:
    return [
        pytest.param(lambda: fastapi(path), id="fastapi"),
        pytest.param(lambda: starlette(Route(path, plain)), id="starlette"),
    ]


@pytest.mark.parametrize("make", both("/users"))
async def test_a_plain_route_is_its_own_template(make: Callable[[], App]) -> None:
    assert await route_of(make(), "/users?token=pia.secret") == "/users"


@pytest.mark.parametrize("make", both("/users/{id}/posts/{post}"))
async def test_parameters_stay_names(make: Callable[[], App]) -> None:
    assert await route_of(make(), f"/users/{HIDDEN}/posts/7") == "/users/{id}/posts/{post}"


@pytest.mark.parametrize("make", both("/users/{id}/posts/{post}"))
async def test_two_parameters_of_one_value_are_told_apart(make: Callable[[], App]) -> None:
    assert await route_of(make(), "/users/7/posts/7") == "/users/{id}/posts/{post}"


@pytest.mark.parametrize("make", both("/files/{name:path}"))
async def test_a_path_convertor_takes_slashes_and_stays_as_written(make: Callable[[], App]) -> None:
    assert await route_of(make(), f"/files/a/b/{HIDDEN}.txt") == "/files/{name:path}"


@pytest.mark.parametrize("make", both("/orders/{number:int}"))
async def test_an_int_convertor_stays_as_written(make: Callable[[], App]) -> None:
    assert await route_of(make(), "/orders/007") == "/orders/{number:int}"


async def test_an_included_routers_prefix_is_part_of_the_template() -> None:
    app = fastapi()
    app.include_router(router("/items/{item}"), prefix="/api/v1")
    assert await route_of(app, "/api/v1/items/3") == "/api/v1/items/{item}"


async def test_a_routers_own_prefix_is_part_of_the_template() -> None:
    app = fastapi()
    app.include_router(router("/{item}", prefix="/items"))
    assert await route_of(app, "/items/3") == "/items/{item}"


async def test_prefixes_nest() -> None:
    outer = APIRouter(prefix="/api")
    middle = APIRouter(prefix="/v2")
    middle.include_router(router("/items/{item}", prefix="/shop"), prefix="/eu")
    outer.include_router(middle)
    app = fastapi()
    app.include_router(outer, prefix="/top")
    assert await route_of(app, "/top/api/v2/eu/shop/items/3") == "/top/api/v2/eu/shop/items/{item}"


async def test_a_prefix_has_parameters_of_its_own() -> None:
    app = fastapi()
    app.include_router(router("/lessons/{lesson}"), prefix="/schools/{school}/classes/{group}")
    found = await route_of(app, "/schools/7/classes/7/lessons/7")
    assert found == "/schools/{school}/classes/{group}/lessons/{lesson}"


async def test_a_router_included_twice_has_both_templates() -> None:
    shared = router("/items/{item}")
    for path, template in (("/v1/items/1", "/v1/items/{item}"), ("/v2/items/1", "/v2/items/{item}")):
        app = fastapi()
        app.include_router(shared, prefix="/v1")
        app.include_router(shared, prefix="/v2")
        assert await route_of(app, path) == template


async def test_a_starlette_route_in_an_included_router_has_its_prefix() -> None:
    inner = APIRouter()
    inner.add_route("/raw/{id}", plain)
    app = fastapi()
    app.include_router(inner, prefix="/api/{version}")
    assert await route_of(app, "/api/1/raw/1") == "/api/{version}/raw/{id}"


async def test_a_starlette_route_in_a_fastapi_application_is_found() -> None:
    app = fastapi("/items")
    app.add_route("/raw/{id}", plain)
    assert await route_of(app, "/raw/7") == "/raw/{id}"


SUB_APPLICATIONS = [
    pytest.param(lambda: fastapi("/items/{item}"), id="fastapi"),
    pytest.param(lambda: starlette(Route("/items/{item}", plain)), id="starlette"),
    pytest.param(lambda: Router([Route("/items/{item}", plain)]), id="router"),
    pytest.param(lambda: GZipMiddleware(starlette(Route("/items/{item}", plain))), id="inside middleware"),
]
PARENTS = [
    pytest.param(lambda path, app: mounted_in_fastapi(path, app), id="in fastapi"),
    pytest.param(lambda path, app: starlette(Mount(path, app)), id="in starlette"),
    pytest.param(lambda path, app: mounted_in_router(path, app), id="in an included router"),
]
Mounting = Callable[[str, ASGIApp], App]


def mounted_in_fastapi(path: str, app: ASGIApp) -> FastAPI:
    parent = fastapi("/items/{item}")
    parent.mount(path, app)
    return parent


def mounted_in_router(path: str, app: ASGIApp) -> FastAPI:
    inner = APIRouter()
    inner.mount(path, app)
    parent = fastapi("/items/{item}")
    parent.include_router(inner)
    return parent


@pytest.mark.parametrize("mount", PARENTS)
@pytest.mark.parametrize("make", SUB_APPLICATIONS)
async def test_a_mounts_path_is_part_of_the_template(make: Callable[[], ASGIApp], mount: Mounting) -> None:
    assert await route_of(mount("/shop", make()), "/shop/items/3") == "/shop/items/{item}"


@pytest.mark.parametrize("mount", PARENTS)
@pytest.mark.parametrize("make", SUB_APPLICATIONS)
async def test_a_mounts_path_has_parameters(make: Callable[[], ASGIApp], mount: Mounting) -> None:
    app = mount("/shops/{shop}/{branch}", make())
    assert await route_of(app, "/shops/7/7/items/7") == "/shops/{shop}/{branch}/items/{item}"


@pytest.mark.parametrize("mount", PARENTS)
@pytest.mark.parametrize("make", SUB_APPLICATIONS)
async def test_mounts_nest(make: Callable[[], ASGIApp], mount: Mounting) -> None:
    app = mount("/a/{x}", starlette(Mount("/b/{y:int}", mount("/c", make()))))
    assert await route_of(app, "/a/1/b/1/c/items/1") == "/a/{x}/b/{y:int}/c/items/{item}"


@pytest.mark.parametrize("mount", PARENTS[:2])  # FastAPI forbids it in a router
@pytest.mark.parametrize("make", SUB_APPLICATIONS)
async def test_a_mount_at_the_root_adds_nothing(make: Callable[[], ASGIApp], mount: Mounting) -> None:
    assert await route_of(mount("", make()), "/items/3") == "/items/{item}"


async def test_one_application_mounted_twice_has_both_templates() -> None:
    shared = starlette(Route("/items/{item}", plain))
    for path, template in (("/v1/items/1", "/v1/items/{item}"), ("/v2/items/1", "/v2/items/{item}")):
        app = starlette(Mount("/v1", shared), Mount("/v2", shared))
        assert await route_of(app, path) == template


async def test_the_parents_included_router_does_not_name_a_mounted_applications_route() -> None:
    # Newer FastAPI leaves what it chose for the outer application in the same scope.
    inner = APIRouter()
    inner.mount("/shop", fastapi("/items/{item}"))
    app = fastapi()
    app.include_router(inner, prefix="/eu/{country}")
    assert await route_of(app, "/eu/de/shop/items/3") == "/eu/{country}/shop/items/{item}"


@pytest.mark.parametrize("make", both("/users/{id}"))
async def test_head_on_a_get_route_has_its_template(make: Callable[[], App]) -> None:
    app = make()
    status = 405 if isinstance(app, FastAPI) else 200  # FastAPI does not answer HEAD by itself
    assert await route_of(app, "/users/7", "HEAD", status) == "/users/{id}"


@pytest.mark.parametrize("make", both("/users/{id}"))
async def test_a_method_not_allowed_has_the_routes_template(make: Callable[[], App]) -> None:
    assert await route_of(make(), "/users/7", "DELETE", 405) == "/users/{id}"


@pytest.mark.parametrize("make", both("/users/{id}"))
async def test_a_path_without_a_route_is_unmatched(make: Callable[[], App]) -> None:
    assert await route_of(make(), f"/wp-login/{HIDDEN}", expect=404) == UNMATCHED


@pytest.mark.parametrize("mount", PARENTS)
@pytest.mark.parametrize("make", SUB_APPLICATIONS)
async def test_a_path_without_a_route_inside_a_mount_is_unmatched(
    make: Callable[[], ASGIApp], mount: Mounting
) -> None:
    assert await route_of(mount("/shop", make()), f"/shop/{HIDDEN}", expect=404) == UNMATCHED


async def test_a_404_by_the_endpoint_has_the_routes_template() -> None:
    app = fastapi()

    @app.get("/items/{item}")
    def find(item: str) -> None:
        raise HTTPException(404)

    assert await route_of(app, f"/items/{HIDDEN}", expect=404) == "/items/{item}"


async def test_an_invalid_parameter_has_the_routes_template() -> None:
    app = fastapi()

    @app.get("/items/{item}")
    def find(item: Annotated[int, PathParameter(ge=1)]) -> int:
        return item

    assert await route_of(app, f"/items/{HIDDEN}", expect=422) == "/items/{item}"


@pytest.mark.parametrize("make", both("/users/{id}/"))
async def test_a_redirect_to_the_slash_has_the_template_it_leads_to(make: Callable[[], App]) -> None:
    assert await route_of(make(), f"/users/{HIDDEN}", expect=307) == "/users/{id}/"


@pytest.mark.parametrize("make", both("/users/{id}"))
async def test_a_redirect_from_the_slash_has_the_template_it_leads_to(make: Callable[[], App]) -> None:
    assert await route_of(make(), f"/users/{HIDDEN}/", expect=307) == "/users/{id}"


@pytest.mark.parametrize("mount", PARENTS)
@pytest.mark.parametrize("make", SUB_APPLICATIONS)
async def test_a_redirect_inside_a_mount_has_the_template_it_leads_to(
    make: Callable[[], ASGIApp], mount: Mounting
) -> None:
    assert await route_of(mount("/shop", make()), "/shop/items/3/", expect=307) == "/shop/items/{item}"


async def test_a_redirect_of_the_hosts_own_has_its_routes_template() -> None:
    app = starlette(Route("/old/{id}", lambda request: Response(status_code=307)))
    assert await route_of(app, "/old/7", expect=307) == "/old/{id}"


@pytest.mark.parametrize("make", both("/users/{id}"))
async def test_a_proxys_root_path_is_no_part_of_the_template(make: Callable[[], App]) -> None:
    assert await route_of(make(), "/users/7", root_path="/behind/proxy") == "/users/{id}"


async def test_a_root_path_of_the_application_is_no_part_of_the_template() -> None:
    app = fastapi("/users/{id}")
    app.root_path = "/behind"
    app.mount("/shop", fastapi("/items/{item}"))
    assert await route_of(app, "/users/7") == "/users/{id}"
    app = fastapi("/users/{id}")
    app.root_path = "/behind"
    app.mount("/shop", fastapi("/items/{item}"))
    assert await route_of(app, "/behind/shop/items/7") == "/shop/items/{item}"


@pytest.mark.parametrize("mount", PARENTS)
async def test_a_root_path_goes_before_mounts(mount: Mounting) -> None:
    app = mount("/shop/{x}", starlette(Route("/items/{item}", plain)))
    assert await route_of(app, "/shop/1/items/7", root_path="/v1") == "/shop/{x}/items/{item}"


@pytest.mark.parametrize("mount", PARENTS)
@pytest.mark.parametrize(("path", "status"), [("/app.css", 200), (f"/{HIDDEN}.js", 404)])
async def test_a_folder_of_files_is_one_template(
    mount: Mounting, path: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "app.css").write_text("body {}")
    app = mount("/assets", StaticFiles(directory=tmp_path))
    assert await route_of(app, "/assets" + path, expect=status) == "/assets/{path:path}"


async def test_a_mounted_application_without_routes_is_one_template() -> None:
    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("raw")(scope, receive, send)

    app = starlette(Mount("/legacy/{tenant}", raw))
    assert await route_of(app, f"/legacy/7/{HIDDEN}") == "/legacy/{tenant}/{path:path}"


async def test_a_mounted_application_that_hides_its_routes_is_one_template() -> None:
    inner = starlette(Route("/items/{item}", plain))

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    app = starlette(Mount("/shop", wrapper), Route("/items/{item}", plain))
    assert await route_of(app, "/shop/items/7") == "/shop/{path:path}"


async def test_a_frontend_folder_of_fastapi_is_one_template(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello")
    app = fastapi("/api/items")
    if not hasattr(app, "frontend"):
        pytest.skip("this FastAPI has no frontends")
    app.frontend("/shop", directory=tmp_path)
    assert await route_of(app, f"/shop/{HIDDEN}", headers=[("accept", "text/html")]) == "/shop/{path:path}"


async def test_routes_by_host_have_their_paths() -> None:
    app = starlette(
        Host("{tenant}.school.example", starlette(Route("/users/{id}", plain))),
        Host("shop.example", starlette(Mount("/v1", starlette(Route("/items/{item}", plain))))),
    )
    assert await route_of(app, "/users/7", headers=[("host", "pia.school.example")]) == "/users/{id}"
    app = starlette(Host("shop.example", starlette(Mount("/v1", starlette(Route("/items/{item}", plain))))))
    assert await route_of(app, "/v1/items/7", headers=[("host", "shop.example")]) == "/v1/items/{item}"
    app = starlette(Host("shop.example", starlette(Route("/items/{item}", plain))))
    assert await route_of(app, f"/{HIDDEN}", headers=[("host", "shop.example")], expect=404) == UNMATCHED


async def test_a_route_by_host_in_an_included_router_has_its_prefix() -> None:
    inner = APIRouter()
    inner.routes.append(Host("shop.example", fastapi("/items/{item}")))
    app = fastapi()
    app.include_router(inner, prefix="/eu")
    if not any(hasattr(route, "effective_route_contexts") for route in app.routes):
        pytest.skip("this FastAPI leaves such routes out")
    assert await route_of(app, "/eu/items/7", headers=[("host", "shop.example")]) == "/eu/items/{item}"


async def test_an_application_without_routing_is_unmatched() -> None:
    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("raw")(scope, receive, send)

    assert await route_of(raw, f"/{HIDDEN}") == UNMATCHED


@pytest.mark.parametrize("make", both("/schüler/{name}"))
async def test_encoded_and_unicode_paths_have_templates(make: Callable[[], App]) -> None:
    assert await route_of(make(), "/sch%C3%BCler/pia%2Esecret%20") == "/schüler/{name}"


@pytest.mark.parametrize("path", ["//users/7", "/users/7/../8", "/%00", "/%ff%fe", "/users/7%2F8", "/{id}"])
@pytest.mark.parametrize("make", both("/users/{id}"))
async def test_strange_paths_are_unmatched(make: Callable[[], App], path: str) -> None:
    assert await route_of(make(), path, expect=404) == UNMATCHED


async def test_class_based_endpoints_have_templates() -> None:
    class Users(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("ok")

    assert await route_of(starlette(Route("/users/{id}", Users)), "/users/7") == "/users/{id}"


async def test_one_endpoint_of_two_routes_has_both_templates() -> None:
    for mount in ("", "/shop"):
        for path in ("/a", "/b"):
            inner = starlette(Route("/a/{x}", plain), Route("/b/{x}", plain))
            app = starlette(Mount(mount, inner)) if mount else inner
            assert await route_of(app, f"{mount}{path}/1") == f"{mount}{path}/{{x}}"


class Around(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response


@pytest.mark.parametrize(
    "middleware",
    [
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(Around),
        Middleware(CORSMiddleware, allow_origins=["*"]),
    ],
    ids=["gzip", "BaseHTTPMiddleware", "CORS"],
)
async def test_middleware_inside_ours_changes_nothing(middleware: Middleware) -> None:
    app = FastAPI(middleware=[middleware])
    app.include_router(router("/items/{item}"), prefix="/api/{version}")
    app.mount("/shop", starlette(Route("/items/{item}", plain)))
    headers = [("accept-encoding", "gzip"), ("origin", "https://school.example")]
    assert await route_of(app, "/api/1/items/1", headers=headers) == "/api/{version}/items/{item}"


class Copying:
    """As the ASGI specification advises middleware that changes the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(dict(scope), receive, send)


@pytest.mark.parametrize(
    ("path", "method", "expect", "template"),
    [
        ("/api/1/items/1", "GET", 200, "/api/{version}/items/{item}"),
        ("/api/1/items/1", "DELETE", 200, "/api/{version}/items/{number}"),
        ("/shop/items/1", "GET", 200, "/shop/items/{item}"),
        (f"/{HIDDEN}", "GET", 404, UNMATCHED),
    ],
)
async def test_middleware_that_copies_the_scope_hides_no_route(
    path: str, method: str, expect: int, template: str
) -> None:
    app = FastAPI(middleware=[Middleware(Copying)])
    inner = router("/items/{item}")
    inner.delete("/items/{number}")(endpoint())
    app.include_router(inner, prefix="/api/{version}")
    app.mount("/shop", starlette(Route("/items/{item}", plain)))
    assert await route_of(app, path, method, expect) == template


async def test_a_request_refused_before_routing_has_the_template_it_asked_for() -> None:
    class Refusing(Copying):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Response(status_code=401)(scope, receive, send)

    app = Starlette(routes=[Route("/users/{id}", plain)], middleware=[Middleware(Refusing)])
    assert await route_of(app, f"/users/{HIDDEN}", expect=401) == "/users/{id}"


@pytest.mark.parametrize("mount", PARENTS)
async def test_routes_added_after_the_first_request_are_found(mount: Mounting) -> None:
    inner = starlette(Route("/items/{item}", plain))
    app, recorder = watched(mount("/shop", inner))
    await ask(app, "/shop/items/3")
    inner.routes.append(Route("/late/{id}", other))
    await ask(app, "/shop/late/3")
    assert [event.properties["http.route"] for event in recorder.events] == [
        "/shop/items/{item}",
        "/shop/late/{id}",
    ]


@pytest.mark.parametrize("mount", PARENTS)
async def test_an_instrumented_sub_application_tells_the_whole_template(mount: Mounting) -> None:
    inner, recorder = watched(starlette(Route("/items/{item}", plain)))
    await ask(mount("/shops/{shop}", inner), "/shops/7/items/7")
    assert recorder.route == "/shops/{shop}/items/{item}"


async def test_routes_that_contain_themselves_do_no_harm() -> None:
    loop = Router([Route("/items/{item}", plain)])
    loop.routes.append(Mount("/again", loop))
    app, recorder = watched(starlette(Mount("/shop", loop)))
    assert (await ask(app, "/shop/again/items/7")).status == 200
    assert recorder.route == "/shop/again/items/{item}"
    assert recorder.troubles == []
