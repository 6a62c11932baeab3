"""Who is who. In memory and without passwords: copy the measuring, not this."""

import secrets
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request, Response

COOKIE: Final = "school_session"
MOST: Final = 1_000


class Sessions:
    """The students who are signed in, by a secret in a cookie."""

    def __init__(self) -> None:
        self._students: dict[str, str] = {}

    def begin(self, student: str, response: Response) -> None:
        """Sign a student in; the oldest session ends when there are too many."""
        while len(self._students) >= MOST:
            del self._students[next(iter(self._students))]
        secret = secrets.token_urlsafe()
        self._students[secret] = student
        response.set_cookie(COOKIE, secret, httponly=True, samesite="lax")

    @property
    def students(self) -> frozenset[str]:
        """Who is signed in."""
        return frozenset(self._students.values())

    async def recognise(self, request: Request) -> None:
        """Put the student, or None, where `student_of` finds it."""
        request.state.student = self._students.get(request.cookies.get(COOKIE, ""))


def student_of(request: Request) -> str | None:
    """Who a request is from. Streamgauge asks after the response, when `recognise` has been there."""
    return getattr(request.state, "student", None)


def session_of(request: Request) -> str | None:
    """The session a request belongs to. It leaves this process as a keyed digest, never as it is."""
    return request.cookies.get(COOKIE)


async def signed_in(request: Request) -> str:
    """The student. Raises HTTPException 401 without one."""
    student = student_of(request)
    if student is None:
        raise HTTPException(401, "Sign in first: POST /login.")
    return student


Student = Annotated[str, Depends(signed_in)]
