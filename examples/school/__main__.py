"""python -m examples.school [--host HOST] [--port PORT] [--demo-traffic]"""

import argparse
import logging
from threading import Thread

import uvicorn

from . import traffic
from .app import create_app, measure


def main() -> None:
    """Serve the school until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m examples.school", description="The example school.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8401)
    parser.add_argument("--demo-traffic", action="store_true", help=traffic.NOTICE)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    notice = traffic.NOTICE if given.demo_traffic else ""
    config = uvicorn.Config(
        create_app(measure(), notice),
        host=given.host,
        port=given.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=3,
    )
    if given.demo_traffic:
        host = f"[{given.host}]" if ":" in given.host else given.host
        # A daemon: it ends with the school, in the middle of whatever it does.
        Thread(target=traffic.use, args=(f"http://{host}:{given.port}",), daemon=True).start()
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
