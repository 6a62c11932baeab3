"""Failures of our own: counted, and told to the log once a minute at most, since the host must not pay for them."""

import logging
import sys
import threading
import time
from typing import Final

from streamgauge.settings import without_password

LOGGER: Final = logging.getLogger("streamgauge")
LOG_SECONDS: Final = 60.0
MOST_NAMES: Final = 100  # further names are counted together
LONGEST_TEXT: Final = 300  # characters of what is logged
OTHERS: Final = "(other)"


class Counts:
    """Counters by name, of a bounded number of names."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self.reset()

    def reset(self) -> None:
        """Start at nothing; in a forked child, where another thread may have held the lock."""
        self._lock = threading.RLock()
        self._counts: dict[str, int] = {}

    def add(self, name: str) -> None:
        """Count one more of `name`."""
        with self._lock:
            known = name if name in self._counts or len(self._counts) < self._most else OTHERS
            self._counts[known] = self._counts.get(known, 0) + 1

    def shown(self) -> dict[str, int]:
        """A copy."""
        with self._lock:
            return dict(self._counts)


class Troubles:
    """What went wrong, how often, and what the last of it was."""

    def __init__(self) -> None:
        #: Failures by name.
        self.counts = Counts()
        #: Undeclared properties that were dropped, by `event.property`.
        self.stripped = Counts()
        self.last: str | None = None
        self._told: dict[str, float] = {}

    def reset(self) -> None:
        """In a forked child."""
        self.counts.reset()
        self.stripped.reset()
        self.last = None

    def meet(self, what: str, detail: str = "") -> None:
        """Count a failure and tell the log, unless it was told of one of the same name in the last minute. Never raises.

        Called where an exception is being handled, its type is told too: not its text, which may quote people's data.
        """
        self.counts.add(what)
        error = sys.exception()
        self.note(what, detail or ("" if error is None else type(error).__name__))

    def note(self, what: str, detail: str) -> None:
        """Tell the log, at most once a minute for each `what`, and keep it as the last thing that went wrong. Never raises."""
        try:
            text = f"{what}: {without_password(detail)}"[:LONGEST_TEXT] if detail else what
            self.last = text
            now = time.monotonic()
            if now - self._told.get(what, -LOG_SECONDS) < LOG_SECONDS:
                return
            if len(self._told) > MOST_NAMES:
                self._told.clear()
            # Before logging: a handler may track an event, and come back here.
            self._told[what] = now
            LOGGER.warning("%s", text)
            LOGGER.debug("%s", what, exc_info=sys.exception() is not None)
        except Exception:  # noqa: BLE001 - a host's log handler may fail; there is nobody left to tell
            return
