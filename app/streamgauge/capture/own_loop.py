"""The event loop of the sender's thread."""

import asyncio
import os
import selectors
import socket
import sys
import time
from typing import Any


class OwnLoop(asyncio.SelectorEventLoop):
    """A loop that needs no further threads: asyncio asks for addresses in some, which a process that ends no longer starts."""

    def __init__(self) -> None:
        self._own_selector = selectors.DefaultSelector()
        super().__init__(self._own_selector)

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """See `AbstractEventLoop.getaddrinfo`."""
        return socket.getaddrinfo(host, port, **options)

    def disown(self) -> None:
        """In a forked child: the kernel shares an epoll instance between the two, and what is done to it is felt by the parent.

        Were a connection of the parent's collected here, it would be unregistered there too, and the parent would never hear from
        Redis again.
        """
        if sys.platform == "linux" and isinstance(self._own_selector, selectors.EpollSelector):
            try:
                nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nothing, self._own_selector.fileno(), inheritable=False)
                os.close(nothing)
            except (OSError, ValueError):  # closed already
                return


def loop_time(monotonic: float) -> float:
    """The running loop's time for one of `time.monotonic`."""
    return asyncio.get_running_loop().time() + monotonic - time.monotonic()
