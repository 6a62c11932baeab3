"""Waiting for something, and not for ever; and being asked to stop waiting."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

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


def run(measuring: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run a measurement. SIGTERM ends it as Ctrl-C does: in order, with everything it started."""

    async def measure() -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await measuring

    try:
        return asyncio.run(measure())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
