"""What a scenario is: a name of the list, a sentence, and what it does to an arena."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.arena import Arena, Row, open_arena
from tests.faults.ground import Ground

Deed = Callable[[Arena], Awaitable[Row]]


@dataclass(frozen=True)
class Scenario:
    """A fault that can be provoked.

    `quick`: among those of every test run. `may_lose`: Redis itself loses what it has taken; everywhere else a loss is one, even told.
    """

    name: str
    title: str
    quick: bool
    deed: Deed
    may_lose: bool = False

    async def run(self, ground: Ground, seed: int, full: bool = False, slack: float = 1.0) -> Row:
        """Provoke it, and judge. Whatever fails makes the row bad; nothing is raised but what ends the whole run."""
        began, tails = time.monotonic(), ""
        try:
            async with open_arena(ground, self.name, seed, full, slack) as arena:
                try:
                    row = await self.deed(arena)
                except Exception:
                    tails = arena.tails() + await arena.activity()
                    raise
        except (AssertionError, Exception) as error:  # noqa: BLE001 - the table is to have all of its rows
            row = Row(self.name, troubles=[f"{type(error).__name__}: {error}{tails}"])
        if row.verdict.told and not self.may_lose:
            row.troubles.append(
                f"{row.verdict.told} events are lost, though told: nothing may be lost by this"
            )
        row.seconds = time.monotonic() - began
        return row


def scenario(
    name: str, title: str, quick: bool = False, may_lose: bool = False
) -> Callable[[Deed], Scenario]:
    """Make a function a scenario."""
    return lambda deed: Scenario(name, title, quick, deed, may_lose)
