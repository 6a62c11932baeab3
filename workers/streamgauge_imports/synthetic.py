"""Events that look like those of a web application, the same for the same seed on every machine.

One 64-bit word after another of PCG-64, whose stream NumPy promises never to change, is cut into choices by whole-number arithmetic;
durations are quantiles of a log-normal distribution, tabulated once. Totals are counted while the events are made.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.domains.web.declarations import BYTES, DURATION, METHOD, REQUEST, ROUTE, STATUS
from streamgauge.event import Event, Value
from streamgauge.sharding import shard_of
from streamgauge.summaries.calendar import Calendar
from streamgauge_imports.batches import VERSION, Batches, Frame
from streamgauge_imports.tenants import Zones

Words: TypeAlias = npt.NDArray[np.int64]

CHUNK = 8_192  # events made at once
WORDS = 4  # for one event
ACTORS_KEPT = 200_000
MICROSECONDS_A_DAY = 86_400_000_000

_NOUNS = ("lessons", "courses", "quizzes", "drafts", "classes", "learners", "teachers", "files", "messages", "badges",
          "goals", "reports", "groups", "notes", "reviews")  # fmt: skip
ROUTES = tuple(
    (method, f"/{noun}{rest}")
    for method, rest in (("GET", ""), ("GET", "/{id}"), ("POST", ""), ("PUT", "/{id}"))
    for noun in _NOUNS
)
OTHER_NAMES = ("page.viewed", "page.finished", "search.made", "note.written", "file.shared")
STATUSES, FAILURES = (200, 200, 200, 200, 200, 201, 304, 404), (500, 502, 503, 504)

# Of 1,000 choices: 70 % requests, 2 % of them failed; a tenth of the other events carry a caller's key.
_REQUESTS, _FAILED, _KEYED = 700, 20, 100
# Median 20 ms, and one in a thousand above 240 ms.
_LOG_NORMAL = NormalDist(math.log(20_000), 0.8)
_DURATIONS = tuple(round(math.exp(_LOG_NORMAL.inv_cdf((i + 0.5) / 4096))) for i in range(4096))
# The k-th route is asked for in proportion to 1/k, as a few routes are in every application.
_BY_USE = tuple(
    index for index in range(len(ROUTES)) for _ in range(max(240 // (index + 1), 1))
)  # fmt: skip


@dataclass
class Totals:
    """Exact totals of some requests, and of actors over events of any name. Durations in microseconds."""

    requests: int = 0
    errors: int = 0
    bytes: int = 0
    min_duration: int | None = None
    max_duration: int | None = None
    sum_duration: int = 0
    events: int = 0
    visitors: BitMap = field(default_factory=BitMap)
    actors: BitMap = field(default_factory=BitMap)

    def add(self, choices: "Choices", rows: npt.NDArray[np.bool_]) -> None:
        """Count some of the choices' events."""
        asked = rows & choices.is_request
        self.events += int(rows.sum())
        self.actors |= BitMap(choices.actor[rows].astype(np.uint32))
        if not asked.any():
            return
        durations = choices.duration[asked]
        self.requests += len(durations)
        self.errors += int((choices.status[asked] >= 500).sum())
        self.bytes += int(choices.bytes[asked].sum())
        self.sum_duration += int(durations.sum())
        least, most = int(durations.min()), int(durations.max())
        self.min_duration = least if self.min_duration is None else min(self.min_duration, least)
        self.max_duration = most if self.max_duration is None else max(self.max_duration, most)
        self.visitors |= BitMap(choices.actor[asked].astype(np.uint32))

    def as_json(self) -> dict[str, int | None]:
        """In JSON's types."""
        return {
            **{name: value for name, value in vars(self).items() if not isinstance(value, BitMap)},
            "visitors": len(self.visitors),
            "actors": len(self.actors),
        }


@dataclass(frozen=True)
class Choices:
    """What was chosen for a chunk of events, as columns."""

    at: Words
    actor: Words
    is_request: npt.NDArray[np.bool_]
    name: Words
    keyed: npt.NDArray[np.bool_]
    route: Words
    status: Words
    duration: Words
    bytes: Words


@dataclass(frozen=True)
class Synthetic:
    """Synthetic events of one tenant: a `Source`. `until` is in microseconds since 1970; they end just before."""

    keys: TenantKeys
    zones: Zones
    identity: str  #: of this load; callers' keys begin with it, so that another load's are other ones
    seed: int
    actors: int
    days: int
    events: int
    until: int
    shards: int
    batch: int

    def options(self) -> dict[str, object]:
        """See `Source.options`."""
        return {
            "version": VERSION, "seed": self.seed, "actors": self.actors, "days": self.days, "events": self.events,
            "until": self.until, "key": self.keys.fingerprint, "shards": self.shards, "batch": self.batch,
        }  # fmt: skip

    def frames(self, summary: dict[str, Any]) -> Iterator[Frame]:
        """The events in the order of their time. `summary` gets their totals: overall, by local day, by name."""
        batches = Batches(self.shards, self.batch)
        tally = _Tally(Calendar(self.zones))
        known: dict[int, tuple[str, bytes, int]] = {}
        read = 0
        for start, choices in self.choices():
            tally.add(choices)
            for read, event, shard in self._events(start, choices, known):
                frame = batches.add(shard, event, read)
                if frame is not None:
                    yield frame
        yield from batches.rest(read)
        summary.update(tally.as_json(), rows=self.events)

    def choices(self) -> Iterator[tuple[int, Choices]]:
        """The number of each chunk's first event, and what was chosen for its events."""
        generator = np.random.PCG64(self.seed)
        step = self.days * MICROSECONDS_A_DAY // self.events
        for start in range(0, self.events, CHUNK):
            n = min(CHUNK, self.events - start)
            # Without their sign bit, so that remainders are those of whole numbers of 0 or more.
            words = (generator.random_raw(n * WORDS) >> np.uint64(1)).astype(np.int64).reshape(n, WORDS)
            begin = self.until - step * self.events + step * np.arange(start, start + n)
            yield start, _choose(words, begin, step, self.actors)

    def _events(
        self, start: int, choices: Choices, known: dict[int, tuple[str, bytes, int]]
    ) -> Iterator[tuple[int, Event, int]]:
        tenant, keys = self.keys.tenant, self.keys
        columns = (
            choices.at, choices.actor, choices.is_request, choices.name, choices.keyed, choices.route, choices.status,
            choices.duration, choices.bytes,
        )  # fmt: skip
        rows = zip(*[column.tolist() for column in columns], strict=True)
        for number, (at, who, is_request, other, keyed, route, status, duration, size) in enumerate(
            rows, start
        ):
            found = known.get(who)
            if found is None:
                if len(known) >= ACTORS_KEPT:
                    known.clear()
                pseudonym = keys.pseudonym(f"actor {who}")
                found = known[who] = (
                    f"actor {who}",
                    pseudonym,
                    shard_of(pseudonym, None, None, b"", self.shards),
                )
            actor, pseudonym, shard = found
            if is_request:
                method, template = ROUTES[route]
                properties: dict[str, Value] = {
                    ROUTE: template, METHOD: method, STATUS: status, DURATION: duration, BYTES: size,
                }  # fmt: skip
                event = Event(REQUEST.name, at, tenant, pseudonym, properties=properties)
            else:
                name = OTHER_NAMES[other]
                key = keys.event_id(name, f"{self.identity} {number}", actor) if keyed else None
                event = Event(name, at, tenant, pseudonym, key=key)
            yield number + 1, event, shard


class _Tally:
    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._overall = Totals()
        self._days: dict[int, Totals] = {}
        self._names: Counter[str] = Counter()

    def add(self, choices: Choices) -> None:
        self._overall.add(choices, np.ones(len(choices.at), np.bool_))
        starts = self._calendar.day_starts(choices.at)
        for start in np.unique(starts).tolist():
            self._days.setdefault(start, Totals()).add(choices, starts == start)
        for index, count in enumerate(np.bincount(choices.name[~choices.is_request]).tolist()):
            self._names[OTHER_NAMES[index]] += count
        self._names[REQUEST.name] += int(choices.is_request.sum())

    def as_json(self) -> dict[str, Any]:
        return {
            "totals": self._overall.as_json(),
            "by_day": {
                self._calendar.date_of(start).isoformat(): totals.as_json()
                for start, totals in sorted(self._days.items())
            },
            "by_name": {name: count for name, count in sorted(self._names.items()) if count},
        }


def _choose(words: Words, begin: Words, step: int, actors: int) -> Choices:
    first, second, third, fourth = words.T
    failed = third % 1000 < _FAILED
    ordinary = np.array(STATUSES)[(third >> 12) % len(STATUSES)]
    broken = np.array(FAILURES)[(third >> 12) % len(FAILURES)]
    return Choices(
        at=begin + (first >> 20) % step,
        actor=second % actors,
        is_request=first % 1000 < _REQUESTS,
        name=(third >> 16) % len(OTHER_NAMES),
        keyed=(third >> 24) % 1000 < _KEYED,
        route=np.array(_BY_USE)[(third >> 36) % len(_BY_USE)],
        status=np.where(failed, broken, ordinary),
        duration=np.array(_DURATIONS)[fourth % len(_DURATIONS)],
        bytes=(fourth >> 12) % 65_536,
    )
