"""Named places where a test may make a process fail: killed, stopped, or told that something went wrong there.

Nothing happens unless STREAMGAUGE_FAILPOINTS is set when the process starts, so this costs one look at an empty dictionary.

    STREAMGAUGE_FAILPOINTS=commit.before=kill@3,commit.after=stop

An action is `kill` (SIGKILL), `stop` (SIGSTOP), `raise` (OSError) or `sleep:SECONDS`; `@N` waits for the Nth time the place is
reached, and then acts once. Without it the place always acts.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "STREAMGAUGE_FAILPOINTS"
#: Every place, in the order in which they are reached: from a worker's read to what it does behind a commit.
PLACES: Final = (
    "batch.read", "commit.swapped", "commit.judged", "commit.logged", "commit.summarised", "commit.entered", "commit.stored",
    "commit.before", "commit.after", "trim.before", "trim.after", "acknowledge.before", "acknowledge.after", "lease.taken",
    "history.changed", "spool.written", "spool.synced", "spool.sent", "spool.adopted",
    "archive.written", "archive.recorded", "archive.detached", "archive.dropped", "archive.rewritten", "archive.replaced",
)  # fmt: skip
_ACTIONS: Final = ("kill", "stop", "raise", "sleep")


def parse(text: str) -> dict[str, tuple[str, int]]:
    """What a variable's text asks for: an action and a number of times by place. Raises ValueError for what it does not know."""
    wanted: dict[str, tuple[str, int]] = {}
    for part in filter(None, text.split(",")):
        place, _, rest = part.strip().partition("=")
        action, _, times = rest.partition("@")
        if place not in PLACES or action.partition(":")[0] not in _ACTIONS:
            raise ValueError(
                f"{VARIABLE} holds {part!r}: give PLACE=ACTION[@N] with one of {', '.join(PLACES)}"
            )
        wanted[place] = action, int(times or 0)
    return wanted


class Failpoints:
    """The places that act, and how often each was reached."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.wanted = parse(environ.get(VARIABLE, ""))
        self.reached: Counter[str] = Counter()

    def action(self, place: str) -> str | None:
        """What to do here, this time."""
        if place not in self.wanted:
            return None
        self.reached[place] += 1
        action, times = self.wanted[place]
        return action if times in {0, self.reached[place]} else None


_failpoints = Failpoints(os.environ)


def reach(place: str) -> None:
    """Say that the process got this far. Raises OSError where that was asked for."""
    if _failpoints.wanted and (action := _failpoints.action(place)) is not None:
        _act(place, action)


async def pass_through(place: str) -> None:
    """The same in a coroutine: sleeping lets others go on."""
    if _failpoints.wanted and (action := _failpoints.action(place)) is not None:
        name, _, seconds = action.partition(":")
        if name == "sleep":
            await asyncio.sleep(float(seconds))
        else:
            _act(place, name)


def _act(place: str, action: str) -> None:
    name, _, seconds = action.partition(":")
    if name == "sleep":
        time.sleep(float(seconds))
    elif name == "raise":
        raise OSError(f"asked to fail at {place}")
    else:
        # To this thread and not to the process: that would be stopped through any other one, and we would go on for a moment.
        signal.raise_signal(signal.SIGKILL if name == "kill" else signal.SIGSTOP)
