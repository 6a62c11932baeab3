"""A directory asked over HTTP: the host's. Bounded in time and bytes, and it follows nobody elsewhere."""

import asyncio
import http.client
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from streamgauge.errors import SettingsError, StreamgaugeError

PATIENCE: Final = 2.0  # seconds for one answer
MOST_BYTES: Final = 1024 * 1024  # of one answer
MOST_ASKED: Final = 200  # actors of one question
LONGEST_NAME: Final = 200  # characters
LONGEST_EXTERNAL: Final = 512  # characters
AT_ONCE: Final = 8  # questions; further ones wait for their turn
_PART: Final = 64 * 1024


class DirectoryError(StreamgaugeError):
    """The directory did not answer as it should. The message names nobody."""


class HttpDirectory:
    """Asks `POST {url}` for names and `POST {url}/search` for external identifiers; see `streamgauge.directory.host`."""

    def __init__(self, url: str, token: str, patience: float = PATIENCE) -> None:
        """Raises SettingsError for an address that is not https:// and not of this machine, or a token that no header can hold."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        host = parts.hostname or ""
        if (
            parts.scheme not in ("https", "http")
            or (parts.scheme == "http" and not _is_loopback(host))
            or not host
            or port == 0
            or parts.username is not None
            or parts.query
            or parts.fragment
            or not url.isascii()
            or not url.isprintable()
            or " " in url
        ):
            raise SettingsError(
                "STREAMGAUGE_DIRECTORY_URL must be an https:// address, or an http:// one of this machine, without user, query or fragment"
            )
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise SettingsError(
                "STREAMGAUGE_DIRECTORY_TOKEN must be given with STREAMGAUGE_DIRECTORY_URL, as ASCII without spaces"
            )
        self._secure, self._host, self._port = parts.scheme == "https", host, port
        self._path = parts.path.rstrip("/")
        self._token = token
        self._patience = patience
        self._asking = asyncio.Semaphore(AT_ONCE)
        # Apart from everybody else's threads: a directory that hangs must not keep the rest of the server waiting.
        self._threads = ThreadPoolExecutor(AT_ONCE, "directory")

    async def names(self, tenant: str, pseudonyms: Sequence[bytes]) -> Mapping[bytes, str]:
        """See `Directory.names`. Raises DirectoryError."""
        found: dict[bytes, str] = {}
        for first in range(0, len(pseudonyms), MOST_ASKED):
            asked = {each.hex(): each for each in pseudonyms[first : first + MOST_ASKED]}
            answer = await self._ask("", {"tenant": tenant, "actors": list(asked)})
            names = answer.get("names")
            if not isinstance(names, dict):
                raise DirectoryError('the directory\'s answer holds no {"names": {...}}')
            # Names of others than those asked for are none of ours.
            found.update(
                (pseudonym, names[key]) for key, pseudonym in asked.items() if _is_name(names.get(key))
            )
        return found

    async def search(self, tenant: str, q: str, limit: int) -> Sequence[str]:
        """See `Directory.search`. Raises DirectoryError."""
        answer = await self._ask("/search", {"tenant": tenant, "q": q, "limit": limit})
        found = answer.get("external_ids")
        if not isinstance(found, list):
            raise DirectoryError('the directory\'s answer holds no {"external_ids": [...]}')
        return [each for each in found if isinstance(each, str) and 0 < len(each) <= LONGEST_EXTERNAL][:limit]

    async def _ask(self, path: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        body = orjson.dumps(question)
        exchange = _Exchange(self._connection())
        post = partial(self._post, exchange, self._path + path, body)
        try:
            async with asyncio.timeout(self._patience), self._asking:
                content = await asyncio.get_running_loop().run_in_executor(self._threads, post)
        except TimeoutError:
            exchange.interrupt()
            raise DirectoryError(f"the directory did not answer within {self._patience:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise DirectoryError(f"the directory cannot be asked ({type(error).__name__})") from None
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise DirectoryError("the directory's answer is not JSON") from None
        if not isinstance(answer, dict):
            raise DirectoryError("the directory's answer is no JSON object")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=self._patience)

    def _post(self, exchange: "_Exchange", path: str, body: bytes) -> bytes:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        with exchange as connection:
            connection.request("POST", path or "/", body, headers)
            with connection.getresponse() as answer:
                # A redirect too: the token and the question are for this address alone.
                if answer.status != 200:
                    raise DirectoryError(f"the directory answered with status {answer.status}")
                return _read(answer)


class _Exchange:
    """A connection for one question, which another thread can end."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._socket: socket.socket | None = None
        self._over = False

    def __enter__(self) -> http.client.HTTPConnection:
        self._connection.connect()
        # Kept: the connection forgets it as soon as an answer of unknown length begins.
        self._socket = self._connection.sock
        if self._over:
            self.interrupt()
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        """Let the thread that waits for an answer nobody waits for any more come back."""
        self._over = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _read(answer: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    while part := answer.read1(_PART):
        content += part
        if len(content) > MOST_BYTES:
            raise DirectoryError(f"the directory's answer is longer than {MOST_BYTES} bytes")
    return bytes(content)


def _is_name(given: object) -> bool:
    return (
        isinstance(given, str)
        and 0 < len(given) <= LONGEST_NAME
        and given.isprintable()
        and given.strip() != ""
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
