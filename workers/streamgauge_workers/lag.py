"""How far a shard's summaries are behind its stream, in seconds and in entries."""

from streamgauge.entry import EntryId
from streamgauge.stream import Backlog, StreamPort
from streamgauge_workers import metrics


class EntriesBehind:
    """Counts the entries behind a position without reading them.

    A stream knows how many entries were ever added to it. So once it is known how many of them a position covers, the
    rest is subtraction: added now - covered then - applied since. That number is known whenever nothing lies behind
    the position (it covers all that was added), or everything retained does (it covers all but that). Until one
    of the two has been seen, which may take a worker that starts with a backlog a while, the entries retained are
    an upper bound, and that is what is told.
    """

    def __init__(self) -> None:
        self.covered: int | None = None

    def applied(self, entries: int) -> None:
        """The position moved over so many entries."""
        if self.covered is not None:
            self.covered += entries

    def rewound(self) -> None:
        """The position moved in another way: what it covers has to be found out again."""
        self.covered = None

    def count(self, backlog: Backlog) -> int:
        """How many entries lie behind the position that `backlog` was measured from; see the class for when it is a bound."""
        if backlog.oldest is None:
            self.covered = backlog.added
        elif backlog.whole:
            self.covered = backlog.added - backlog.retained
        if self.covered is None:
            return backlog.retained
        return backlog.added - self.covered


class Lag:
    """One shard's lag, kept for the metrics of the worker that holds it."""

    def __init__(self, shard: int, stream: StreamPort, number: int | None = None) -> None:
        """`number` is the stream's within its generation; in the first one it is the shard's own."""
        self.shard = shard
        self.number = shard if number is None else number
        self.stream = stream
        self.entries = EntriesBehind()

    async def measure(self, position: EntryId) -> None:
        """Ask the stream and set both gauges. Raises ServerError when it cannot tell."""
        backlog = await self.stream.backlog(self.number, position)
        metrics.LAG_SECONDS.labels(self.shard).set(backlog.seconds)
        metrics.LAG_ENTRIES.labels(self.shard).set(self.entries.count(backlog))

    def caught_up(self) -> None:
        """A read found nothing behind the position."""
        metrics.LAG_SECONDS.labels(self.shard).set(0)
        metrics.LAG_ENTRIES.labels(self.shard).set(0)

    def forget(self) -> None:
        """The shard is another worker's from now on: its lag is told there, and not twice."""
        metrics.LAG_SECONDS.remove(self.shard)
        metrics.LAG_ENTRIES.remove(self.shard)
