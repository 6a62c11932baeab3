"""How findings put numbers and names into words."""

SHOWN = 5  # names in one sentence


def counted(number: int, noun: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str]) -> str:
    """The first few of them."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def megabytes(size: int) -> str:
    """Of bytes, in MiB."""
    return f"{size / 1024 / 1024:,.0f} MiB"


def capitalised(text: str) -> str:
    """As a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def duration(seconds: float) -> str:
    """`40 seconds`, `3 minutes`, `5 hours`, `2 days`."""
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return counted(int(seconds // size), name)
    return counted(int(seconds), "second")
