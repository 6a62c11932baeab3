"""What the school records beside its requests: names, properties, and what each is kept for.

Nothing else can be recorded: a property that is not declared here is left out and counted. Who it is about is not a property.
"""

from streamgauge import EventType, Property

LESSON_PROGRESSED = EventType(
    "lesson.progressed",
    purpose="seeing which lessons are finished, and where students stop",
    properties={
        "lesson": Property(str, "which lesson"),
        "percent": Property(int, "how much of it is done", "%"),
    },
)
QUIZ_ATTEMPTED = EventType(
    "quiz.attempted",
    purpose="finding quizzes that are too hard, or too easy",
    properties={
        "quiz": Property(str, "which quiz"),
        "score": Property(int, "points reached, of 100"),
        "passed": Property(bool, "whether they were enough"),
    },
)
PAGE_VIEWED = EventType(
    "page.viewed",
    purpose="seeing which pages are looked at; sent by the pages themselves",
    properties={"page": Property(str, "which page, by name and not by address")},
)

EVENT_TYPES = (LESSON_PROGRESSED, QUIZ_ATTEMPTED, PAGE_VIEWED)
