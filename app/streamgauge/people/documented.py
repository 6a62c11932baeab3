"""What the OpenAPI document says about the routes here beside their answers."""

from typing import Annotated, Any, Final

from fastapi import Path, Query

from streamgauge.people import cursors
from streamgauge.people.sight import ID_LENGTH
from streamgauge.read.problem_document import problem_response

ACTOR: Final = "01" + "5f2c9a7be04d4f6b8a1c3e5d7f90b2a4"
SESSION: Final = "01" + "c41d8e2fa3b54c6790817263544d5e6f"


NOT_THERE: Final[dict[int | str, dict[str, Any]]] = {
    404: problem_response(
        "There is no such actor, or it may not be seen: nothing tells the one from the other."
    )
}


def answers(example: Any) -> dict[int | str, dict[str, Any]]:
    """The example of an answer."""
    return {200: {"content": {"application/json": {"example": example}}}}


ActorId = Annotated[
    str,
    Path(
        description=f"An actor's id: {ID_LENGTH} hexadecimal digits, as answers show it.",
        max_length=200,
        examples=[ACTOR],
    ),
]
Days = Annotated[
    int,
    Query(ge=1, le=365, description="Local days back from now, today included.", examples=[30]),
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=cursors.LONGEST,
        description="`next_cursor` of the answer that this one goes on from; with the same other parameters.",
    ),
]
