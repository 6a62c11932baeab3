"""What wakes the sender up."""

import threading


class Bell:
    """Rung by anybody, heard by one thread.

    Ringing never waits: a lock that is only ever released takes no turn at anything, not even in a signal handler that interrupts
    another ringing (which `threading.Event` would not survive).
    """

    __slots__ = ("_silent",)

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """Wake the listener, or let its next wait end at once. Ringing twice is ringing once."""
        try:
            self._silent.release()
        except RuntimeError:  # it rings already
            return

    def wait(self, seconds: float) -> bool:
        """Wait until it rings, at most so long; whether it did. It is silent again then."""
        return self._silent.acquire(timeout=max(seconds, 0.0))
