"""The names of the school's students, for those who may look at people: Streamgauge asks for them, and keeps none.

Its server is told where, and shows a token: STREAMGAUGE_DIRECTORY_URL=http://127.0.0.1:8401/streamgauge/directory and
STREAMGAUGE_DIRECTORY_TOKEN, the same for both.
"""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter

from streamgauge import Settings
from streamgauge.directory.host import router

from .sessions import Sessions


def directory(settings: Settings, sessions: Sessions) -> APIRouter:
    """Tells the names of students who are signed in. A school with a database would ask that."""

    def names(tenant: str) -> Mapping[str, str]:
        return (
            {student: name_of(student) for student in sessions.students} if tenant == settings.tenant else {}
        )

    def search(tenant: str, q: str, limit: int) -> Sequence[str]:
        found = [student for student, name in names(tenant).items() if q.casefold() in name.casefold()]
        return sorted(found)[:limit]

    return router(settings, names=names, search=search, token=settings.directory_token)


def name_of(student: str) -> str:
    """How a student is called: "ada-17" is Ada 17."""
    return student.replace("-", " ").title()
