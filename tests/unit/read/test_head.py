"""HEAD as GET without the body, on the ASGI level: clients of HTTP libraries would hide a body."""

from typing import Any

from starlette.types import Message, Receive, Scope, Send

from streamgauge.read.middleware import HeadAsGet


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its method, in two parts, and leaves a trace in the scope as a router does."""
    scope["route"] = "found"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": scope["method"].encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"end", "more_body": False})


async def call(method: str) -> tuple[list[Message], dict[str, Any]]:
    sent: list[Message] = []
    scope: dict[str, Any] = {"type": "http", "method": method}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await HeadAsGet(app)(scope, receive, send)
    return sent, scope


async def test_head_has_the_headers_of_get_and_no_byte_of_its_body() -> None:
    got, _ = await call("GET")
    assert [each.get("body") for each in got] == [None, b"GET", b"end"]
    head, scope = await call("HEAD")
    assert head[0] == got[0]
    assert [each["body"] for each in head[1:]] == [b"", b""]
    assert [each["more_body"] for each in head[1:]] == [True, False]
    # Whoever counts requests still sees the method that was sent, and the route that was found.
    assert (scope["method"], scope["route"]) == ("HEAD", "found")


async def test_other_methods_and_other_protocols_pass_untouched() -> None:
    posted, scope = await call("POST")
    assert posted[1]["body"] == b"POST"
    assert scope["route"] == "found"
    reached: list[Scope] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    lifespan: Scope = {"type": "lifespan"}
    await HeadAsGet(note)(lifespan, None, None)  # type: ignore[arg-type] # neither is used
    assert reached[0] is lifespan
