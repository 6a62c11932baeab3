"""What ADL's verbs and types of activity are among our events."""

import re
from collections.abc import Mapping
from typing import Final

from streamgauge.domains.learning import declarations as learning

_VERBS: Final = re.compile(r"https?://(?:adlnet\.gov/expapi|w3id\.org/xapi/adl)/verbs/([a-z]+)")
#: "submitted" is none of ADL's verbs; Activity Streams has it.
_OTHER_VERBS: Final = {
    "http://activitystrea.ms/schema/1.0/submit": "submitted",
    "http://activitystrea.ms/submit": "submitted",
}
_ACTIVITIES: Final = re.compile(r"https?://adlnet\.gov/expapi/activities/([A-Za-z.-]+)")
_OTHER_ACTIVITIES: Final = {"https://w3id.org/xapi/cmi5/activitytype/course": "course"}
#: Of these, "completed" means a lesson that is done; of a course it follows from its lessons; of anything else, a material.
LESSONS: Final = frozenset({"lesson", "module"})
CMI5_SESSION: Final = "https://w3id.org/xapi/cmi5/context/extensions/sessionid"

EVENT_OF: Final[Mapping[str, str]] = {
    "initialized": learning.SESSION_STARTED.name,
    "launched": learning.SESSION_STARTED.name,
    "terminated": learning.SESSION_ENDED.name,
    "experienced": learning.MATERIAL_VIEWED.name,
    "completed": learning.MATERIAL_COMPLETED.name,  # or LESSON_PROGRESSED, by the type of the activity
    "progressed": learning.LESSON_PROGRESSED.name,
    **dict.fromkeys(("answered", "attempted", "passed", "failed", "scored"), learning.QUIZ_ATTEMPTED.name),
    "registered": learning.COURSE_ENROLLED.name,
    "submitted": learning.ASSIGNMENT_SUBMITTED.name,
}
#: What the activity is called in each event.
OBJECT_OF: Final = {
    learning.MATERIAL_VIEWED.name: learning.MATERIAL,
    learning.MATERIAL_COMPLETED.name: learning.MATERIAL,
    learning.LESSON_PROGRESSED.name: learning.LESSON,
    learning.QUIZ_ATTEMPTED.name: learning.QUIZ,
    learning.ASSIGNMENT_SUBMITTED.name: learning.ASSIGNMENT,
    learning.COURSE_ENROLLED.name: learning.COURSE,
}
WITH_SCORE: Final = (learning.QUIZ_ATTEMPTED.name, learning.ASSIGNMENT_SUBMITTED.name)


def verb_of(iri: str) -> str:
    """The name of one of ADL's verbs; empty for another's."""
    match = _VERBS.fullmatch(iri)
    return match[1] if match else _OTHER_VERBS.get(iri, "")


def type_of(iri: str) -> str:
    """The name of one of ADL's types of activity; another's whole IRI."""
    match = _ACTIVITIES.fullmatch(iri)
    return match[1] if match else _OTHER_ACTIVITIES.get(iri, iri)
