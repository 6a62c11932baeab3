"""Stand-ins for `streamgauge serve` and `streamgauge worker`, put in their places by PYTHONPATH.

STAND_IN says how they misbehave: `worker-dies`, `serve-dies`, `serve-hangs` (never ready), `deaf` (both ignore SIGTERM).
"""

import http.server
import os
import signal
import sys
import time
import types

MODE = os.environ.get("STAND_IN", "")


def serve() -> None:
    """Answer every request with 200 and the addresses it was given."""
    settle("serve")
    if MODE == "serve-hangs":
        time.sleep(600)
    address = (os.environ["STREAMGAUGE_HOST"], int(os.environ["STREAMGAUGE_PORT"]))
    with http.server.HTTPServer(address, Answer) as server:
        server.serve_forever()


def worker() -> None:
    """Wait to be stopped."""
    settle("worker")
    time.sleep(600)


def settle(name: str) -> None:
    """Behave as told."""
    print(f"{name} begins", flush=True)
    if f"{name}-dies" == MODE:
        time.sleep(1)
        print("the last words", flush=True)
        sys.exit(7)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "deaf" else stop)


def stop(*_: object) -> None:
    """End as asked."""
    print("stopped as asked", flush=True)
    sys.exit(0)


class Answer(http.server.BaseHTTPRequestHandler):
    """200 for everything."""

    def do_GET(self) -> None:
        """Say which servers we were given."""
        body = f"{os.environ['STREAMGAUGE_REDIS_URL']}\n{os.environ['STREAMGAUGE_DATABASE_URL']}\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


for command in (serve, worker):
    module = types.ModuleType(f"streamgauge_cli.{command.__name__}")
    setattr(module, command.__name__, command)
    sys.modules[module.__name__] = module
