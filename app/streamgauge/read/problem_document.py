"""Problem details (RFC 9457) as the OpenAPI document tells them."""

from typing import Any

from streamgauge.read.problems import MEDIA_TYPE

SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {
            "type": "string",
            "description": "What is wrong, which limit there is, and what to change.",
        },
        "field": {"type": "string", "description": "The parameter or the question's field it is about."},
    },
}


def problem_response(description: str) -> dict[str, Any]:
    """A response that is a problem, for the document."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": SCHEMA}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: problem_response("A parameter cannot be used."),
    401: problem_response("No usable key."),
    403: problem_response("The key may not do this."),
    429: problem_response("Too many requests: `Retry-After` says when to come again."),
    503: problem_response("PostgreSQL does not answer in time."),
    # Beside documenting the rest, this keeps FastAPI from promising its own 422, which is a 400 here.
    "default": problem_response("Anything else that is wrong."),
}
