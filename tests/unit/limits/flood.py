"""A process that asks for one limit all the time: python -m tests.unit.limits.flood URL PER_MINUTE BURST SECONDS

It says that it is ready, reads when to start, and prints how often it was allowed, how often refused, and whether Redis was ever away.
"""

import asyncio
import sys
import time

from streamgauge.limits.rate import Asked, Rates

TOGETHER = 8


async def flood(url: str, per_minute: int, burst: int, seconds: float) -> tuple[int, int, bool]:
    """Allowed, refused, and whether it was without Redis."""
    # What is looked at is the limit: a machine that is busy with the tests must not look like a Redis that is away.
    rates, allowed, refused, alone = Rates(url, "flood", patience=30), 0, 0, False
    await rates.take(Asked("warm-up", 60, 1, 0))
    print("ready", flush=True)
    start = float(await asyncio.to_thread(sys.stdin.readline))

    async def ask() -> None:
        nonlocal allowed, refused, alone
        while time.time() < start + seconds:
            verdict = await rates.take(Asked("one", per_minute, burst))
            allowed, refused = allowed + verdict.allowed, refused + (not verdict.allowed)
            alone |= rates.local
            # Enough to be refused most of the time, and not all that the machine can do.
            await asyncio.sleep(0.002)

    await asyncio.sleep(start - time.time())
    await asyncio.gather(*(ask() for _ in range(TOGETHER)))
    await rates.aclose()
    return allowed, refused, alone


if __name__ == "__main__":
    given = sys.argv[1:]
    print(*asyncio.run(flood(given[0], int(given[1]), int(given[2]), float(given[3]))))
