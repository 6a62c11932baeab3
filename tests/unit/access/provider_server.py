"""A real web server that publishes a provider's keys, or does what no provider should."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """A provider's server, which answers as it is told."""

    daemon_threads = True
    answer: Answer
    over = Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that goes away is what some of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    """Passes requests on to the test."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(answer: Answer, certificate: Path | None = None) -> Iterator[str]:
    """A real server on this machine, and the address of its keys."""
    server = Server(("127.0.0.1", 0), Handler)
    server.answer = answer
    server.over = Event()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        scheme = "http" if certificate is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}/keys?of=school"
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def endless(handler: Handler) -> None:
    """Ten megabytes, or as many as are taken."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(10 * 1024 * 1024))
    handler.end_headers()
    with suppress(OSError):
        for _ in range(160):
            handler.wfile.write(b" " * 65536)
