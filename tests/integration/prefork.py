"""A server that loads the application of `host.py` and then forks, as gunicorn does with `--preload`.

python -m tests.integration.prefork SOCKET WORKERS
"""

import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from tests.integration.host import app, gauge


def serve(listener: socket.socket, workers: int) -> None:
    """Fork so many servers, pass on SIGTERM, and wait for their end."""
    gauge.track("visit.checked", user="parent", where="before the fork")
    children = [_fork(listener) for _ in range(workers)]

    def stop(number: int, frame: FrameType | None) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        os.waitpid(child, 0)


def _fork(listener: socket.socket) -> int:
    child = os.fork()
    if child == 0:
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])
        sys.exit()
    return child


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
