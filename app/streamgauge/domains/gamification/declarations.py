"""The gamification domain's events, tallies and board. Points (XP) are whole numbers."""

from streamgauge.summaries.boards import Board, Points
from streamgauge.summaries.rollups import EVENT_NAME, EventType, Property, Rollup
from streamgauge.summaries.tallies import ACTOR, EVENT, Tally

XP, REASON = "xp", "reason"
MOST_XP = 1_000_000  # of one event

XP_EARNED = EventType(
    "xp.earned",
    "who gets points, and what for",
    {
        XP: Property(int, "how many points", least=0, most=MOST_XP),
        REASON: Property(str, "what they are for, such as a quest's name"),
    },
)
#: What brings points: the domain's own event, and learning's, which carries them for the session that ended.
EARNING = (XP_EARNED.name, "learning_session.ended")
#: What makes a local day active: everything of learning and of collaboration. Points given by others do not.
ACTIVE = (
    "learning_session.started", "learning_session.ended", "material.viewed", "material.completed", "lesson.progressed",
    "quiz.attempted", "assignment.submitted", "course.enrolled", "draft.created", "draft.viewed", "draft.shared", "draft.published",
    "segment.added", "ring.passed",
)  # fmt: skip
#: What achievements may count.
COUNTED = (
    "learning_session.ended", "material.completed", "quiz.attempted", "assignment.submitted", "draft.published", "segment.added",
    "ring.passed",
)  # fmt: skip

#: Points of everybody: one row per actor and local day. Sums: XP.
DAILY_XP = Tally("gamification.xp", EARNING, (ACTOR,), "day", sums=(XP,))
#: A journal of points: one row per event.
LEDGER = Tally("gamification.ledger", EARNING, (ACTOR, EVENT), "day", sums=(XP,), last=(XP, REASON))
#: Active days: one row per actor and local day; the first moment is when the day became active.
DAYS = Tally("gamification.days", ACTIVE, (ACTOR,), "day")
#: A journal of what achievements count: one row per event, by its name.
DEEDS = Tally("gamification.deeds", COUNTED, (ACTOR, EVENT_NAME, EVENT), "day")

BOARD = Board("xp", tuple(Points(name, XP) for name in EARNING))

EVENT_TYPES: tuple[EventType, ...] = (XP_EARNED,)
TALLIES: tuple[Tally, ...] = (DAILY_XP, LEDGER, DAYS, DEEDS)
ROLLUPS: tuple[Rollup, ...] = ()
BOARDS: tuple[Board, ...] = (BOARD,)
