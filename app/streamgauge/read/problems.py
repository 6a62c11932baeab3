"""Errors as problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from streamgauge.errors import InputError, ServerError, StreamgaugeError
from streamgauge.logs import redacted
from streamgauge.read.middleware import SAFE_HEADERS

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1  # when PostgreSQL or Redis was away

log = structlog.get_logger(__name__)


class Refusal(HTTPException):
    """403: the caller may not say this; `field` is what may not be said."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(403, detail)
        self.field = field


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    """A response that says what is wrong; `more` are members beside those of the RFC."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    # The answer to an unexpected error passes no middleware any more.
    return JSONResponse({**body, **more}, status, SAFE_HEADERS, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of the application with problem details."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StreamgaugeError, _ours)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for it alone
    more = {"field": error.field} if isinstance(error, Refusal) else {}
    response = problem(error.status_code, str(error.detail), **more)
    response.headers.update(error.headers or {})
    return response


def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    # Without the values given: they may be anybody's data.
    errors = [
        {"field": ".".join(map(str, each["loc"][1:] or each["loc"])), "detail": str(each["msg"])}
        for each in error.errors()
    ]
    first = errors[0]
    return problem(
        400, f"{first['field']} cannot be used: {first['detail']}", field=first["field"], errors=errors
    )


def _ours(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, InputError):
        return problem(400, str(error), **({"field": error.field} if error.field else {}))
    if isinstance(error, ServerError):
        log.warning("request failed", error=type(error).__name__, detail=str(error))
        response = problem(503, redacted(str(error)))
        response.headers["Retry-After"] = str(RETRY_SECONDS)
        return response
    # A file's path or a setting may be in it.
    log.error("request failed", error=type(error).__name__, detail=str(error))
    return _unexpected(request, error)


def _gone(_: Request, __: Exception) -> JSONResponse:
    # Whoever sent half a body and left: nobody reads this, but it is counted, and it is no mistake of ours.
    return problem(400, "the body ended too early")


def _unexpected(_: Request, __: Exception) -> JSONResponse:
    # The server logs the error itself; what it says is not for strangers.
    return problem(500, "something went wrong here: the server's log says what")
