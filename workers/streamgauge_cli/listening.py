"""Taking a port, and being asked to stop: what `serve` and `worker` share."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator

from streamgauge.errors import StreamgaugeError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int, advice: str) -> socket.socket:
    """A listening socket. Raises StreamgaugeError when it cannot be had; `advice` is how to choose another port."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        reason = (
            "it is taken by another program"
            if error.errno == errno.EADDRINUSE
            else (error.strerror or str(error))
        )
        raise StreamgaugeError(
            f"cannot listen on port {port} of {host}: {reason}; choose another with {advice}"
        ) from error


@contextlib.contextmanager
def stop_signals(first: Callable[[], None], again: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM call `first`, and from the second one on `again`."""
    loop = asyncio.get_running_loop()
    received = 0

    def receive() -> None:
        nonlocal received
        received += 1
        (first if received == 1 else again)()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, receive)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
