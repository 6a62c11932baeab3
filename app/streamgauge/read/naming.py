"""How an error shows what was given, and what may have been meant."""

import difflib
from collections.abc import Collection

MOST_SHOWN = 80  # characters


def shown(given: object) -> str:
    """What was given, short enough for a message."""
    text = repr(given)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def near(given: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the nearest known one if there is one, and all that are known."""
    close = difflib.get_close_matches(given[:MOST_SHOWN], known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known are {', '.join(known)}"
