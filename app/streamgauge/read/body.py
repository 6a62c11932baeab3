"""The body of a request, read within bounds of length and of time, however it is sent."""

import asyncio

from fastapi import HTTPException, Request

PATIENCE = 30.0  # seconds a body may take to arrive
_LONGEST_NUMBER = 18  # digits


async def read_body(request: Request, most_bytes: int, advice: str) -> bytes:
    """The whole body.

    Raises HTTPException 413 as soon as it is known to be longer than `most_bytes`, which `advice` says how to avoid, and 408 when
    it takes longer than PATIENCE.
    """
    too_large = HTTPException(413, f"the body is longer than {most_bytes} bytes: {advice}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > _LONGEST_NUMBER or int(announced) > most_bytes):
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(PATIENCE):
            # Counted as it comes: a chunked body announces nothing.
            async for part in request.stream():
                size += len(part)
                if size > most_bytes:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise HTTPException(
            408,
            f"the body did not arrive within {PATIENCE:.0f} seconds: send it at once",
            {"Connection": "close"},
        ) from None
    return b"".join(parts)
