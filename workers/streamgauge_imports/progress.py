"""How far a command is, on standard error: a bar on a terminal, else a line every few seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

EVERY = 5.0  # seconds between lines


class Progress(Protocol):
    """Is told how far the work is."""

    def update(self, read: int, applied: int) -> None:
        """`read` rows have been read, `applied` of their events are in the tables."""
        ...


class Lines:
    """For logs and pipes."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._began = self._told_at = time.monotonic()

    def update(self, read: int, applied: int) -> None:
        """See `Progress.update`."""
        now = time.monotonic()
        if now - self._told_at >= EVERY:
            self._told_at = now
            rate = applied / (now - self._began)
            print(
                f"{self._title}: {read:,} of {self._total:,} read, {applied:,} applied, {rate:,.0f}/s",
                file=sys.stderr,
                flush=True,
            )


class Bar:
    """For people."""

    def __init__(self, bar: "RichProgress", task: "TaskID") -> None:
        self._bar = bar
        self._task = task

    def update(self, read: int, applied: int) -> None:
        """See `Progress.update`."""
        self._bar.update(self._task, completed=applied)


@contextmanager
def progress(title: str, total: int) -> Iterator[Progress]:
    """Show progress towards `total` rows for as long as the context lasts."""
    if not sys.stderr.isatty():
        yield Lines(title, total)
        return
    # Importing it takes longer than a short command.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Bar(bar, bar.add_task(title, total=total))
