"""The router for events of the host's own pages, the lifespan and the dependency."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from streamgauge import EventType, Property, Streamgauge
from streamgauge.capture.context import current
from streamgauge.errors import SettingsError
from streamgauge.integrations.fastapi import MOST_BYTES, MOST_EVENTS, Tracker, lifespan, router, tracker
from streamgauge.testing import RecordingGauge, recording_gauge
from tests.unit.asgi import BROWSER, ask, scope_of

PAGE = EventType(
    "page.viewed",
    "use of pages",
    {"title": Property(str, "which page"), "seconds": Property(int, "how long")},
)
LESSON = EventType("lesson.completed", "progress", {"percent": Property(int, "how far")})
URL = "/streamgauge/events"


def gauge_of(**options: Any) -> RecordingGauge:
    return recording_gauge(event_types=(PAGE, LESSON), **options)


def host(gauge: Streamgauge, instrument: bool = True, **options: Any) -> TestClient:
    """An application that knows who asks by a header."""

    async def authenticate(request: Request) -> None:
        request.state.user = request.headers.get("x-user")

    app = FastAPI()
    if instrument:
        gauge.instrument(app, **options)
    app.include_router(router(gauge, ["page.viewed"]), dependencies=[Depends(authenticate)])
    return TestClient(app)


async def user(request: Request) -> str | None:
    found: str | None = request.state.user
    return found


@pytest.mark.parametrize("instrument", [True, False])
@pytest.mark.parametrize("actor", [user, lambda request: request.state.user], ids=["async", "sync"])
def test_a_pages_event_is_of_whoever_the_host_says(actor: Any, instrument: bool) -> None:
    gauge = gauge_of(actor=actor, tenant=lambda request: "north", session=lambda request: "s1")
    client = host(gauge, instrument)
    answer = client.post(
        URL, json={"name": "page.viewed", "properties": {"title": "Fractions"}}, headers={"x-user": "ada"}
    )
    assert (answer.status_code, answer.json()) == (202, {"events": [{"accepted": True, "reason": None}]})
    pending = [each for each in gauge.pending if each.name == "page.viewed"]
    assert [(each.actor, each.tenant, each.session, each.source) for each in pending] == [
        ("ada", "north", "s1", "browser")
    ]
    assert pending[0].properties == {"title": "Fractions"}
    assert current.get() is None


async def test_the_router_leaves_no_context_behind() -> None:
    gauge = gauge_of(actor="ada")
    app = FastAPI()
    app.include_router(router(gauge, ["page.viewed"]))
    answer = await ask(
        app, URL, "POST", b'{"name": "page.viewed"}', headers=[("content-type", "application/json")]
    )
    assert answer.status == 202
    assert current.get() is None


# What brings them


def names_of(gauge: RecordingGauge) -> list[str]:
    return [each.name for each in gauge.pending]


@pytest.mark.parametrize(
    "actor", ["ada", user, lambda request: request.state.user], ids=["constant", "async", "sync"]
)
def test_what_brings_events_is_no_request_of_the_application(actor: Any) -> None:
    gauge = gauge_of(actor=actor)
    client = host(gauge)
    client.post(URL, json={"name": "page.viewed"}, headers={"x-user": "ada"})
    assert [(each.name, each.actor) for each in gauge.pending] == [("page.viewed", "ada")]
    client.get("/elsewhere")
    assert names_of(gauge) == ["page.viewed", "http.request"]


@pytest.mark.parametrize(
    "content", [b"{", b'{"name": ""}', b"x" * (MOST_BYTES + 1)], ids=["400", "422", "413"]
)
def test_what_fails_to_bring_events_is_none_either(content: bytes) -> None:
    gauge = gauge_of()
    client = host(gauge)
    assert client.post(URL, content=content, headers={"content-type": "application/json"}).status_code >= 400
    assert client.post(URL + "/", json={}, follow_redirects=False).status_code == 307
    assert client.get(URL).status_code == 405
    assert gauge.pending == []


def nested(gauge: RecordingGauge, how: str) -> tuple[FastAPI, str]:
    """The application with the router somewhere in it, and where that is."""
    own = router(gauge, ["page.viewed"], prefix="/gauge")
    app, inner = FastAPI(), FastAPI()
    if how == "included":
        outer = APIRouter(prefix="/api")
        outer.include_router(own, prefix="/v1")
        app.include_router(outer)
        return app, "/api/v1/gauge/events"
    inner.include_router(own, prefix="/v1")
    app.mount("/shops/{shop}", inner)
    return app, "/shops/7/v1/gauge/events"


@pytest.mark.parametrize("how", ["included", "mounted"])
@pytest.mark.parametrize("between", ["nothing", "a copy of the scope", "a refusal"])
async def test_wherever_the_router_is_its_requests_are_not_counted(how: str, between: str) -> None:
    gauge = gauge_of(actor=lambda request: "ada")
    inner, path = nested(gauge, how)
    inner.add_api_route("/gauge/events", lambda: None, methods=["POST"])

    class Between:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if between == "a refusal" and scope["path"].endswith("/gauge/events"):
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body"})
                return
            await self.app(dict(scope) if between == "a copy of the scope" else scope, receive, send)

    inner.add_middleware(Between)
    gauge.instrument(inner)
    json_body = {"headers": [("content-type", "application/json")]}
    for root_path in ("", "/behind"):
        await ask(inner, path, "POST", b'{"name": "page.viewed"}', root_path=root_path, **json_body)
    assert names_of(gauge) == ([] if between == "a refusal" else ["page.viewed"] * 2)
    assert {each.actor for each in gauge.pending} <= {"ada"}
    # A path of the host's own that is called the same is not the router's.
    gauge.clear()
    await ask(inner, "/gauge/events", "POST")
    assert names_of(gauge) == ["http.request"]


async def test_a_gauge_around_a_mounted_application_does_not_count_them_either() -> None:
    outer, gauge = gauge_of(), gauge_of()
    app, inner = FastAPI(), FastAPI()
    inner.include_router(router(gauge, ["page.viewed"]))
    gauge.instrument(inner)
    app.mount("/inner", inner)
    outer.instrument(app)
    await ask(
        app,
        "/inner" + URL,
        "POST",
        b'{"name": "page.viewed"}',
        headers=[("content-type", "application/json")],
    )
    assert (names_of(outer), names_of(gauge)) == ([], ["page.viewed"])


def test_what_the_host_tracks_meanwhile_is_of_the_requests_actor() -> None:
    gauge = gauge_of(actor=user)

    def authenticate(request: Request) -> None:
        request.state.user = "ada"
        gauge.track("lesson.completed", percent=1)

    app = FastAPI()
    app.include_router(router(gauge, ["page.viewed"]), dependencies=[Depends(authenticate)])
    gauge.instrument(app)
    TestClient(app).post(URL, json={"name": "page.viewed"})
    assert sorted((each.name, each.actor) for each in gauge.pending) == [
        ("lesson.completed", "ada"),
        ("page.viewed", "ada"),
    ]


async def test_a_page_that_is_left_in_the_middle_of_it_is_no_failure_of_the_hosts() -> None:
    gauge = gauge_of()
    app = FastAPI()
    app.include_router(router(gauge, ["page.viewed"]))
    sent: list[Any] = []
    messages = iter(
        [{"type": "http.request", "body": b'{"na', "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(URL, "POST", headers=[("content-type", "application/json")]), receive, send)
    assert sent[0]["status"] == 400
    assert gauge.pending == []


# Visitors


def visitors(
    *headers: tuple[str, str], instrument: bool = True, **options: Any
) -> list[tuple[str, str] | None]:
    """Whose the event of a page is, and a usual request's."""
    gauge = gauge_of(**options.pop("gauge", {}))
    client = host(gauge, instrument, **options)
    client.post(URL, json={"name": "page.viewed"}, headers=[("user-agent", BROWSER), *headers])
    client.get("/elsewhere", headers=[("user-agent", BROWSER), *headers])
    return [each.visitor for each in gauge.pending]


def test_who_has_no_actor_is_the_same_visitor_as_for_the_middleware() -> None:
    assert visitors() == [("testclient", BROWSER)] * 2
    assert visitors(gauge={"actor": user}) == [("testclient", BROWSER)] * 2
    gauge = gauge_of()
    client = host(gauge)
    client.post(URL, json={"name": "page.viewed"})
    client.get("/elsewhere")
    page, request = gauge.events
    assert page.actor is not None
    assert page.actor == request.actor


def test_without_the_middleware_who_has_no_actor_is_a_visitor_too() -> None:
    assert visitors(instrument=False) == [("testclient", BROWSER)]


def test_who_has_an_actor_is_no_visitor() -> None:
    assert visitors(("x-user", "ada"), gauge={"actor": user})[0] is None
    assert visitors(gauge={"actor": "ada"}) == [None, None]


@pytest.mark.parametrize("instrument", [True, False])
@pytest.mark.parametrize(
    "header", [("sec-gpc", "1"), ("dnt", "1"), ("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1)")]
)
def test_who_asks_not_to_be_known_or_is_no_person_is_no_visitor(
    header: tuple[str, str], instrument: bool
) -> None:
    assert set(visitors(header, instrument=instrument)) == {None}


@pytest.mark.parametrize("actor", [None, user])
def test_pages_of_an_anonymous_path_have_no_visitor(actor: Any) -> None:
    assert visitors(gauge={"actor": actor}, anonymous_paths=["/streamgauge"])[0] is None


def test_a_visitors_page_is_sampled_with_its_requests() -> None:
    for percent in (1, 50, 99):
        assert len(visitors(gauge={"capture_percent": percent})) in (0, 2)


def test_nobody_can_speak_for_another() -> None:
    gauge = gauge_of(actor=user)
    answer = host(gauge).post(
        URL, json={"name": "page.viewed", "actor": "eve", "tenant": "south"}, headers={"x-user": "ada"}
    )
    assert answer.status_code == 422
    assert sorted(each["loc"][-1] for each in answer.json()["detail"]) == ["actor", "tenant"]
    assert gauge.of("page.viewed") == []


def test_a_page_may_name_its_session_and_its_key() -> None:
    gauge = gauge_of(session="of the gauge")
    event = {"name": "page.viewed", "session": "tab 1", "idempotency_key": "k1"}
    host(gauge).post(URL, json=event)
    pending = gauge.pending[0]
    assert (pending.session, pending.key) == ("tab 1", "k1")


def test_each_event_of_a_batch_has_its_own_outcome() -> None:
    gauge = gauge_of()
    events = [
        {"name": "page.viewed", "properties": {"seconds": 3}},
        {"name": "lesson.completed", "properties": {"percent": 100}},  # declared, but not for pages
        {"name": "page.viewed", "properties": {"seconds": "three"}},
        {"name": "page.viewed", "properties": {"undeclared": 1, "title": None}},
    ]
    answer = host(gauge).post(URL, json={"events": events})
    assert answer.status_code == 202
    assert [(each["accepted"], each["reason"]) for each in answer.json()["events"]] == [
        (True, None),
        (False, "not_accepted"),
        (False, "invalid_property"),
        (True, None),
    ]
    assert [event.properties for event in gauge.of("page.viewed")] == [{"seconds": 3}, {}]
    assert gauge.of("lesson.completed") == []


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        ({"events": []}, 422, ["events"]),
        ({"events": [{"name": "page.viewed"}] * (MOST_EVENTS + 1)}, 422, ["events"]),
        ({"events": [{"name": "page.viewed"}, {}]}, 422, ["events", 1, "name"]),
        ({"events": {"name": "page.viewed"}}, 422, ["events"]),
        ({"name": "page.viewed", "properties": {"title": ["a"]}}, 422, ["properties", "title"]),
        ({"name": "page.viewed", "properties": [1]}, 422, ["properties"]),
        ({"name": "page.viewed", "occurred_at": 0}, 422, ["occurred_at"]),
        ({"name": ""}, 422, ["name"]),
        ({"name": 7}, 422, ["name"]),
        ([], 422, []),
        (7, 422, []),
    ],
)
def test_what_is_wrong_is_named(content: object, status: int, field: list[object]) -> None:
    gauge = gauge_of()
    answer = host(gauge).post(URL, json=content)
    assert answer.status_code == status
    found = answer.json()["detail"][0]["loc"]
    assert found[: len(field) + 1] == ["body", *field]
    assert gauge.of("page.viewed") == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": NaN}', b"\xff", b"[" * 2000])
def test_what_is_no_json_is_400(content: bytes) -> None:
    answer = host(gauge_of()).post(URL, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "JSON" in answer.json()["detail"]


def test_a_large_body_is_refused() -> None:
    def sized(size: int) -> bytes:
        empty = len(json.dumps({"name": "page.viewed", "properties": {"title": ""}}))
        return json.dumps({"name": "page.viewed", "properties": {"title": "x" * (size - empty)}}).encode()

    client = host(gauge_of())
    headers = {"content-type": "application/json"}
    assert client.post(URL, content=sized(MOST_BYTES), headers=headers).status_code == 202
    assert client.post(URL, content=sized(MOST_BYTES + 1), headers=headers).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_another_sites_page_could_send_unasked_is_refused(kind: str) -> None:
    gauge = gauge_of()
    answer = host(gauge).post(URL, content=b'{"name": "page.viewed"}', headers={"content-type": kind})
    assert answer.status_code == 415
    assert gauge.of("page.viewed") == []


def test_the_hosts_authentication_stands_in_front() -> None:
    def deny() -> None:
        raise HTTPException(401)

    gauge = gauge_of()
    app = FastAPI()
    gauge.instrument(app)
    app.include_router(gauge.router(accept=["page.viewed"], prefix="/gauge"), dependencies=[Depends(deny)])
    assert TestClient(app).post("/gauge/events", json={"name": "page.viewed"}).status_code == 401
    assert gauge.of("page.viewed") == []


def test_only_declared_events_can_be_accepted() -> None:
    with pytest.raises(SettingsError, match=r"accept names page\.left"):
        router(gauge_of(), ["page.viewed", "page.left"])
    with pytest.raises(SettingsError, match="give a list"):
        router(gauge_of(), "page.viewed")


def test_a_disabled_gauge_drops_what_pages_send() -> None:
    gauge = gauge_of(enabled=False)
    answer = host(gauge).post(URL, json={"name": "page.viewed"})
    assert (answer.status_code, answer.json()["events"][0]["reason"]) == (202, "disabled")


def test_the_interface_is_documented() -> None:
    client = host(gauge_of())
    described = client.get("/openapi.json").json()["paths"][URL]["post"]
    shapes = described["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert shapes[0]["required"] == ["name"]
    assert shapes[1]["properties"]["events"]["maxItems"] == MOST_EVENTS
    assert "202" in described["responses"]


class SigningOff(RecordingGauge):
    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def sign_off(self, timeout: float = 0) -> bool:
        self.order.append("sign off")
        return True


def test_the_lifespan_goes_around_the_hosts_own() -> None:
    gauge = SigningOff()

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, int]]:
        gauge.order.append("start")
        yield {"answer": 42}
        gauge.order.append("end")

    app = FastAPI(lifespan=lifespan(gauge, own))

    @app.get("/")
    def answer(request: Request) -> int:
        found: int = request.state.answer
        return found

    with TestClient(app) as client:
        assert client.get("/").json() == 42
    assert gauge.order == ["start", "end", "sign off"]


def test_the_lifespan_needs_none_of_the_hosts() -> None:
    gauge = SigningOff()
    with TestClient(FastAPI(lifespan=gauge.lifespan())):
        pass
    assert gauge.order == ["sign off"]


def test_a_lifespan_that_fails_fails_as_before() -> None:
    gauge = SigningOff()

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    with pytest.raises(RuntimeError, match="no database"), TestClient(FastAPI(lifespan=lifespan(gauge, own))):
        pass
    assert gauge.order == ["sign off"]


def tracking() -> FastAPI:
    app = FastAPI()

    @app.post("/track")
    def track(gauge: Tracker) -> bool:
        return bool(gauge.track("lesson.completed", percent=100))

    return app


def test_the_dependency_is_the_applications_gauge() -> None:
    gauge = gauge_of(actor="ada")
    app = tracking()
    gauge.instrument(app)
    assert TestClient(app).post("/track").json() is True
    (event,) = gauge.of("lesson.completed")
    assert gauge.is_about(event, "ada")


def test_a_mounted_application_has_the_gauge_it_is_mounted_under() -> None:
    gauge = gauge_of()
    app = FastAPI()
    app.mount("/shop", tracking())
    gauge.instrument(app)
    assert TestClient(app).post("/shop/track").json() is True
    assert len(gauge.of("lesson.completed")) == 1


def test_without_a_gauge_events_go_nowhere_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "streamgauge"):
        assert TestClient(tracking()).post("/track").json() is False
    assert "gauge.instrument(app)" in caplog.text


def test_the_dependency_is_written_out_too() -> None:
    app = FastAPI()
    gauge = gauge_of()
    gauge.instrument(app)

    @app.get("/same")
    def same(given: Annotated[Streamgauge, Depends(tracker)]) -> bool:
        return given is gauge

    assert TestClient(app).get("/same").json() is True
