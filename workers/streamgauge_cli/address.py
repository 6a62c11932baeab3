"""Where a server of ours is found from this machine, and whether it is ready."""

import asyncio

# How this machine reaches a server that listens on all addresses.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on  # nosec B104


def base_url(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    reachable = _LOOPBACK.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


async def is_ready(host: str, port: int) -> bool:
    """Whether the server answers `/health/ready` with 200."""
    reachable = _LOOPBACK.get(host, host)
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(reachable, port)
            try:
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]
