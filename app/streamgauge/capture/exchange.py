"""One request and its response, as they pass between the server and the application: watched, never changed."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What nginx writes of a client that went away before it had an answer.
CLIENT_CLOSED_REQUEST: Final = 499
FAILED: Final = 500

#: By name, since neither Starlette nor trio is imported: the request was given up, nothing failed.
_GIVEN_UP = frozenset({"CancelledError", "Cancelled", "ClientDisconnect", "GeneratorExit"})


class Exchange:
    """Stands in for the server's `receive` and `send`, and remembers what passed."""

    __slots__ = (
        "_receive", "_send", "_start", "_timer", "began", "disconnected", "ended", "received", "sent", "status",
    )  # fmt: skip

    def __init__(self, receive: Receive, send: Send, timer: Callable[[], int]) -> None:
        """`timer` counts nanoseconds."""
        self._receive = receive
        self._send = send
        self._timer = timer
        self._start: Message | None = None
        self.received = 0  #: bytes of the request's body that the application read
        self.status = 0  #: of the response, once it has begun
        self.sent = 0  #: bytes of the response's body
        self.disconnected = False  #: the application was told that the client went away
        self.ended = 0  #: the timer when the server had taken the last byte; 0 before
        self.began = timer()

    async def receive(self) -> Message:
        """ASGI."""
        message = await self._receive()
        body = message.get("body")
        if body:
            self.received += len(body)
        elif message["type"] == "http.disconnect":
            self.disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """ASGI."""
        await self._send(message)  # and with it, waiting for a slow client
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body")
            if body:
                self.sent += len(body)
            if "more_body" not in message or not message["more_body"]:
                self.ended = self._timer()
        elif kind == "http.response.start":
            self.status = message.get("status", FAILED)
            self._start = message
        elif kind == "http.response.pathsend":  # a file that the server itself sends
            self.sent = self._declared()
            self.ended = self._timer()

    def end(self) -> None:
        """Nothing more will be sent: a response without a last byte ends now."""
        if not self.ended:
            self.ended = self._timer()

    def unanswered(self, failure: BaseException | None) -> int:
        """The status of a request without a response: 499 where the client gave up, 500 where the application did."""
        given_up = self.disconnected if failure is None else type(failure).__name__ in _GIVEN_UP
        return CLIENT_CLOSED_REQUEST if given_up else FAILED

    def _declared(self) -> int:
        """The length that the response's headers tell, or 0."""
        for name, value in (self._start or {}).get("headers", ()):
            if name.lower() == b"content-length" and value.isdigit():
                return int(value)
        return 0
