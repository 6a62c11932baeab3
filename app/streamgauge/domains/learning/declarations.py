"""The learning domain's events and tallies. Durations are microseconds; scores and points are whole numbers."""

from streamgauge.summaries.rollups import EVENT_NAME, Dimension, EventType, Property, Rollup
from streamgauge.summaries.tallies import ACTOR, EVENT, Tally

COURSE, LESSON, MATERIAL, QUIZ, ASSIGNMENT = (
    "course.id", "lesson.id", "material.id", "quiz.id", "assignment.id",
)  # fmt: skip
MATERIAL_TYPE = "material.type"
DURATION = "duration"
XP = "xp"
PERCENT = "percent"
SCORE, MAX_SCORE = "score", "max_score"
VIEWS = "views"

MOST_XP = 1_000_000  # of one event
MOST_SCORE = 1_000_000
MOST_VIEWS = 1_000_000
LONGEST_SESSION = 7 * 86_400 * 1_000_000  # microseconds

_COURSE = Property(str, "which course it belongs to")
_SCORE = Property(int, "points reached", least=0, most=MOST_SCORE)
_MAX_SCORE = Property(int, "points there were to reach", least=1, most=MOST_SCORE)
_MATERIAL = {
    MATERIAL: Property(str, "which material"),
    MATERIAL_TYPE: Property(str, "what kind of material, such as video or page"),
    COURSE: _COURSE,
}

SESSION_STARTED = EventType("learning_session.started", "when people sit down to learn", {COURSE: _COURSE})
SESSION_ENDED = EventType(
    "learning_session.ended",
    "how long people learn, and the points they get for it",
    {
        COURSE: _COURSE,
        DURATION: Property(int, "how long it was", "us", least=0, most=LONGEST_SESSION),
        XP: Property(int, "points for it", least=0, most=MOST_XP),
    },
)
MATERIAL_VIEWED = EventType(
    "material.viewed",
    "which materials are used",
    {
        **_MATERIAL,
        VIEWS: Property(
            int, "how many views this event stands for; 1 when left out", least=1, most=MOST_VIEWS
        ),
    },
)
MATERIAL_COMPLETED = EventType("material.completed", "which materials are worked through", _MATERIAL)
LESSON_PROGRESSED = EventType(
    "lesson.progressed",
    "how far people are in which lesson",
    {
        COURSE: _COURSE,
        LESSON: Property(str, "which lesson"),
        PERCENT: Property(int, "how far the lesson is done", "%", least=0, most=100),
    },
)
QUIZ_ATTEMPTED = EventType(
    "quiz.attempted",
    "how well people do in which quiz",
    {QUIZ: Property(str, "which quiz"), COURSE: _COURSE, SCORE: _SCORE, MAX_SCORE: _MAX_SCORE},
    within=((SCORE, MAX_SCORE),),
)
ASSIGNMENT_SUBMITTED = EventType(
    "assignment.submitted",
    "what is handed in, and whether in time",
    {
        ASSIGNMENT: Property(str, "which assignment"),
        COURSE: _COURSE,
        SCORE: _SCORE,
        MAX_SCORE: _MAX_SCORE,
    },
    within=((SCORE, MAX_SCORE),),
)
COURSE_ENROLLED = EventType("course.enrolled", "who takes which course", {COURSE: _COURSE})

EVENT_TYPES = (
    SESSION_STARTED, SESSION_ENDED, MATERIAL_VIEWED, MATERIAL_COMPLETED, LESSON_PROGRESSED, QUIZ_ATTEMPTED, ASSIGNMENT_SUBMITTED,
    COURSE_ENROLLED,
)  # fmt: skip
_NAMES = tuple(each.name for each in EVENT_TYPES)

#: What everybody did on each local day: one row per actor, day and kind of event. Sums: duration, XP, views.
ACTIVITY = Tally("learning.activity", _NAMES, (ACTOR, EVENT_NAME), "day", sums=(DURATION, XP, VIEWS))
#: When in the week people learn: one row per actor and local hour.
HOURS = Tally("learning.hours", _NAMES, (ACTOR,), "hour")
#: How far everybody is in every lesson: what the last event said, by its time and then by its id.
LESSONS = Tally("learning.lessons", (LESSON_PROGRESSED.name,), (ACTOR, COURSE, LESSON), last=(PERCENT,))
#: Use of materials: one row per actor, material, kind of event and local day. Sums: views.
MATERIALS = Tally(
    "learning.materials",
    (MATERIAL_VIEWED.name, MATERIAL_COMPLETED.name),
    (MATERIAL, ACTOR, EVENT_NAME),
    "day",
    sums=(VIEWS,),
    last=(MATERIAL_TYPE, COURSE),
)
#: A journal of attempts.
ATTEMPTS = Tally(
    "learning.attempts",
    (QUIZ_ATTEMPTED.name,),
    (ACTOR, QUIZ, EVENT),
    "day",
    sums=(SCORE, MAX_SCORE),
    last=(SCORE, MAX_SCORE, COURSE),
)
#: Everything handed in: the first moment is when, the last event says how good.
SUBMISSIONS = Tally(
    "learning.submissions",
    (ASSIGNMENT_SUBMITTED.name,),
    (ACTOR, ASSIGNMENT),
    last=(SCORE, MAX_SCORE, COURSE),
)
ENROLMENTS = Tally("learning.enrolments", (COURSE_ENROLLED.name,), (ACTOR, COURSE))

TALLIES = (ACTIVITY, HOURS, LESSONS, MATERIALS, ATTEMPTS, SUBMISSIONS, ENROLMENTS)

#: For the query API and dashboards of the whole tenant.
SESSION_DURATION = Rollup(
    "learning.session.duration", SESSION_ENDED.name, (Dimension(COURSE),), ((), (COURSE,)), value=DURATION, totals=(XP,),
    histogram=True,
)  # fmt: skip
ROLLUPS = (SESSION_DURATION,)
BOARDS = ()
