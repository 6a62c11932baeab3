"""Where the identity provider's public keys are read from: an address or a file. Blocks, so it belongs in a thread.

Of an address: within seconds, up to a size, without following redirects, through no proxy, its certificate checked.
"""

import io
import re
import socket
import ssl
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from streamgauge.errors import ServerError, SettingsError

DEADLINE: Final = 4.0  # seconds, for all of it
MOST_BYTES: Final = 256 * 1024  # of the keys
_HEADERS_BYTES = 64 * 1024  # of the answer before them
_SETTING = "STREAMGAUGE_JWT_JWKS"


def check_source(source: str) -> None:
    """Whether this is a place to read keys from. Raises SettingsError.

    Args:
        source: an https:// address, an http:// address of this machine, or the path of a file.
    """
    if "://" in source:
        _split(source)
    elif not source.strip() or "\0" in source:
        raise SettingsError(f"{_SETTING} is {source!r}: give an https:// address, or a file with a JWK set")


def read_source(source: str) -> bytes:
    """What is there now. Raises ServerError when it cannot be had in time, or is too large."""
    try:
        return _read_address(_split(source)) if "://" in source else _read_file(Path(source))
    # ValueError: what a socket closed meanwhile, a strange port or a strange header raise.
    except (OSError, HTTPException, ValueError) as error:
        raise ServerError(f"{_SETTING} cannot be read ({type(error).__name__}: {error})") from error


def _split(address: str) -> SplitResult:
    try:
        # urlsplit leaves out line breaks without a word; what is checked must be what is asked.
        found = urlsplit(address) if re.fullmatch("[!-~]+", address) else SplitResult("", "", "", "", "")
        _ = found.port
    except ValueError:
        found = SplitResult("", "", "", "", "")
    allowed = found.scheme == "https" or (found.scheme == "http" and _is_loopback(found.hostname or ""))
    if not allowed or not found.hostname or "@" in found.netloc or found.fragment:
        # Not shown: there may be a password in it.
        raise SettingsError(
            f"{_SETTING} is not an address keys can be trusted from: give https://..., without user, password or fragment "
            "(http:// for this machine alone, such as http://127.0.0.1:8080/keys)"
        )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _within_limit(file.read(MOST_BYTES + 1))


def _read_address(address: SplitResult) -> bytes:
    deadline = time.monotonic() + DEADLINE
    host = address.hostname or ""
    connection = (
        HTTPSConnection(host, address.port, timeout=DEADLINE, context=ssl.create_default_context())
        if address.scheme == "https"
        else HTTPConnection(host, address.port, timeout=DEADLINE)
    )
    with closing(connection):
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
        # It asks a socket for makefile() and nothing else.
        source: Any = _Limited(connection.sock, deadline)
        with closing(HTTPResponse(source, method="GET")) as response:
            response.begin()
            if response.status != 200:
                raise OSError(f"the answer's status is {response.status}; redirects are not followed")
            data = _within_limit(response.read(MOST_BYTES + 1))
            # A read of so many bytes says nothing about an end that came too early.
            if response.length:
                raise OSError(f"{response.length} bytes of the answer are missing")
            return data


def _within_limit(data: bytes) -> bytes:
    if len(data) > MOST_BYTES:
        raise OSError(f"it is larger than {MOST_BYTES} bytes")
    return data


class _Limited(io.RawIOBase):
    """What comes over a socket until a deadline, and up to a size.

    A socket's own timeout begins anew with every byte, so that a slow answer could take for ever.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__()
        self._socket = connected
        self._deadline = deadline
        self._left = MOST_BYTES + _HEADERS_BYTES

    def makefile(self, mode: str) -> io.BufferedReader:
        """What is read from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"it took longer than {DEADLINE:.0f} s")
        self._socket.settimeout(remaining)
        count = self._socket.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise OSError(f"it is larger than {MOST_BYTES} bytes")
        return count
