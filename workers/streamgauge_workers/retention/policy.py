"""Which days leave the event log."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

NAME = "event_log_"
YESTERDAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LogDay:
    """A day of application and the bytes of its partition, indexes included."""

    day: date
    size: int

    @property
    def partition(self) -> str:
        """The partition's name."""
        return f"{NAME}{self.day:%Y%m%d}"


def day_of(partition: str) -> date | None:
    """The day of a partition's name; None for a table of another name."""
    text = partition.removeprefix(NAME)
    if text == partition or len(text) != 8 or not (text.isascii() and text.isdecimal()):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def due(days: Collection[LogDay], today: date, keep_days: int, most_bytes: int) -> list[LogDay]:
    """The days that leave the log, oldest first: those before the last `keep_days`, and the oldest until the rest has `most_bytes`.

    Today and yesterday never leave, and no day of a clock that was ahead: a transaction may still be writing to them.
    """
    left = sum(each.size for each in days)
    leaving = []
    for each in sorted(days, key=lambda each: each.day):
        if each.day >= today - YESTERDAY:
            break
        if each.day >= today - timedelta(days=keep_days) and left <= most_bytes:
            break
        leaving.append(each)
        left -= each.size
    return leaving


def expired(day: date, today: date, retentions: Mapping[str, int]) -> set[str]:
    """The tenants whose own retention is over for a day; `retentions` are days by name."""
    return {name for name, kept in retentions.items() if day < today - timedelta(days=kept)}
