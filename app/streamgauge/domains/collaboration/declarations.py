"""The collaboration domain's events and tallies. A draft is written in turns; the ring is the token of the turn."""

from streamgauge.summaries.boards import Board
from streamgauge.summaries.rollups import EVENT_NAME, EventType, Property, Rollup
from streamgauge.summaries.tallies import ACTOR, EVENT, Tally

DRAFT = "draft.id"
FROM, TO = "from", "to"

_DRAFT = {DRAFT: Property(str, "which draft")}

CREATED = EventType("draft.created", "who begins which draft", _DRAFT)
VIEWED = EventType("draft.viewed", "which drafts are read", _DRAFT)
SHARED = EventType("draft.shared", "which drafts are shown to others", _DRAFT)
PUBLISHED = EventType("draft.published", "which drafts are finished, and when", _DRAFT)
SEGMENT_ADDED = EventType("segment.added", "who writes how much of which draft", _DRAFT)
RING_PASSED = EventType(
    "ring.passed",
    "whose turn it is, and for how long",
    {
        **_DRAFT,
        FROM: Property(str, "who had the turn; the event's actor when left out", identity=True),
        TO: Property(str, "who has it next; nobody known when left out", identity=True),
    },
)

#: Who does one of these has contributed to the draft. Viewing, sharing, publishing and passing the ring on are no contributions.
CONTRIBUTING = (CREATED.name, SEGMENT_ADDED.name)

EVENT_TYPES: tuple[EventType, ...] = (CREATED, VIEWED, SHARED, PUBLISHED, SEGMENT_ADDED, RING_PASSED)

#: What happened to every draft, whoever did it: one row per draft and kind of event.
DRAFTS = Tally("collaboration.drafts", tuple(each.name for each in EVENT_TYPES), (DRAFT, EVENT_NAME))
#: Who did what for which draft: one row per draft, actor, kind of event and local day.
WORK = Tally("collaboration.work", CONTRIBUTING, (DRAFT, ACTOR, EVENT_NAME), "day")
#: Who contributed to which draft, by whatever: one row per draft, actor and local day, so that drafts are counted once.
CONTRIBUTIONS = Tally("collaboration.contributions", CONTRIBUTING, (DRAFT, ACTOR), "day")
#: Who got the ring of which draft: one row per holder (hexadecimal), draft and local day. Its rows are no actor's, who passes it on.
HOLDERS = Tally("collaboration.holders", (RING_PASSED.name,), (TO, DRAFT), "day")
#: A journal of turns, a row for each event that ends one; what a pass says is who has the turn from then on.
TURNS = Tally(
    "collaboration.turns", (RING_PASSED.name, PUBLISHED.name), (DRAFT, EVENT_NAME, EVENT), last=(TO,)
)

TALLIES: tuple[Tally, ...] = (DRAFTS, WORK, CONTRIBUTIONS, HOLDERS, TURNS)
ROLLUPS: tuple[Rollup, ...] = ()
BOARDS: tuple[Board, ...] = ()
