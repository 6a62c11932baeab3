"""Waiting for something, and not for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 120.0  # seconds; only a failure takes so long


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, patience: float = PATIENCE, step: float = 0.05
) -> float:
    """Wait until a condition holds; the seconds it took. Raises TimeoutError that says `what` was waited for."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > patience:
            raise TimeoutError(f"waited {patience:.0f} seconds in vain until {what}")
        await asyncio.sleep(step)
    return time.monotonic() - began
