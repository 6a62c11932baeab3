"""Just enough of both wire protocols to know where one answer ends: RESP2, and PostgreSQL's messages from the server."""

from collections import deque

_COMMIT = b"COMMIT\0"


def resp_end(data: bytes | bytearray, at: int = 0) -> int | None:
    """Where the RESP value that begins at `at` ends; None while it is not all there. Raises ValueError for what is no RESP."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, head, end = data[at : at + 1], bytes(data[at + 1 : line]), line + 2
    if kind in (b"+", b"-", b":"):
        return end
    if kind == b"$":
        size = int(head)
        end += size + 2 if size >= 0 else 0
        return end if end <= len(data) else None
    if kind == b"*":
        for _ in range(max(int(head), 0)):
            found = resp_end(data, end)
            if found is None:
                return None
            end = found
        return end
    raise ValueError(f"not RESP: {bytes(data[at : at + 20])!r}")


class RedisTalk:
    """Follows one connection to Redis: which command each answer belongs to."""

    def __init__(self) -> None:
        self._asked: deque[bytes] = deque()
        self._up = bytearray()
        self._down = bytearray()

    def sent(self, data: bytes) -> None:
        """Bytes from the client."""
        self._up += data
        while self._up and (end := resp_end(self._up)) is not None:
            # *N, $LENGTH, NAME
            self._asked.append(bytes(self._up[:end]).split(b"\r\n", 3)[2].upper())
            del self._up[:end]

    def answers(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Whole answers among the bytes from the server, each with its command's name."""
        self._down += data
        found = []
        while self._down and (end := resp_end(self._down)) is not None:
            name = self._asked.popleft() if self._asked else b""
            found.append((name, bytes(self._down[:end])))
            del self._down[:end]
        return found


class PostgresTalk:
    """Follows one connection from PostgreSQL: where it says that a transaction is committed."""

    def __init__(self) -> None:
        self._down = bytearray()

    def answers(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Whole messages among the bytes from the server; the one that says so is named COMMIT, the others nothing."""
        self._down += data
        found = []
        while len(self._down) >= 5:
            end = 1 + int.from_bytes(self._down[1:5], "big")
            if len(self._down) < end:
                break
            message = bytes(self._down[:end])
            del self._down[:end]
            commit = message[:1] == b"C" and message[5:] == _COMMIT
            found.append((b"COMMIT" if commit else b"", message))
        return found

    def sent(self, data: bytes) -> None:
        """Bytes from the client: nothing of them is needed."""
