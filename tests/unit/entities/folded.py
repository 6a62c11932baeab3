"""What the pipeline makes of events, without servers: tallies and boards in memory, for tests of reports."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from streamgauge.catalogue import CATALOGUE
from streamgauge.entities.standings import Frame, MemoryStandings
from streamgauge.entities.tallies import MemoryTallies
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.summaries.boards import Place
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope
from streamgauge.summaries.rollups import Catalogue
from streamgauge.summaries.scoring import add_scores, score
from streamgauge.summaries.tallies import State, TallyKey, add_states
from streamgauge.summaries.tallying import tally
from streamgauge.table import thaw

TENANT = 1


@dataclass(frozen=True)
class Folded:
    """Rows of one tenant."""

    tallies: MemoryTallies
    standings: MemoryStandings
    calendar: Calendar

    def of(self, actors: Iterable[bytes] | None) -> MemoryTallies:
        """The rows of these actors alone; of everybody for None."""
        return MemoryTallies(self.tallies.rows, TENANT, None if actors is None else frozenset(actors))


def folded(
    events: Iterable[Event], zone: str = "UTC", catalogue: Catalogue = CATALOGUE, seed: int | None = None
) -> Folded:
    """Fold events of one tenant. An event with a key that was met before counts no more.

    With a `seed` they come in an order and in batches of its choosing, which must not matter.
    """
    scope = Scope(TENANT, Calendar([(None, zone)]))
    chosen, keys = list[Event](), set[bytes]()
    for event in events:
        if event.key is None or event.key not in keys:
            chosen.append(event)
            keys |= {event.key} if event.key is not None else set()
    edges = [0, len(chosen)]
    numbers = list(range(len(chosen)))
    if seed is not None:
        order = random.Random(seed)
        order.shuffle(numbers)
        edges = sorted({0, len(chosen), *(order.randrange(len(chosen) + 1) for _ in range(4))})
    states: dict[TallyKey, State] = {}
    scores: dict[Place, int] = {}
    for first, end in pairwise(edges):
        if first == end:
            continue
        table = thaw(freeze([chosen[number] for number in numbers[first:end]])).located(b"l" * 16, 0)
        # An event without a key is the same event wherever it is read.
        table = replace(table, number=np.array(numbers[first:end], np.int64))
        add_states(states, tally(table, [scope], catalogue.tallies))
        add_scores(scores, score(table, [scope], catalogue.boards))
    frames: dict[Frame, dict[bytes, int]] = {}
    for place, points in scores.items():
        frames.setdefault(Frame(place.board, place.timeframe, place.bucket), {})[place.actor] = points
    return Folded(MemoryTallies(states, TENANT), MemoryStandings(frames), scope.calendar)
