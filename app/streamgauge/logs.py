"""Logs of the processes: one JSON object per line on standard error, and readable lines where that is a terminal.

What the standard library's loggers say (uvicorn, asyncio) goes the same way. Nobody's data get in: addresses lose their passwords,
bytes and long hexadecimal texts (pseudonyms, keys) are left out, so is what PostgreSQL quotes of rows and arguments, and
requests are not logged at all.
"""

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streamgauge.settings import without_password

LONGEST_TEXT = 1_000  # characters of one value
MOST_ITEMS = 50  # of one list or object
DEEPEST = 4  # levels of nesting
MOST_FRAMES = 8  # of a traceback, the innermost

_ORDER = ("time", "level", "logger", "event")
_HIDDEN = (
    # PostgreSQL and asyncpg quote rows and arguments: whole events, pseudonyms, keys.
    (re.compile(r"\n?\b(DETAIL|CONTEXT|STATEMENT): .*", re.DOTALL), ""),
    (re.compile(r"(invalid input for query argument \$\d+): .*", re.DOTALL), r"\1"),
    (re.compile(r"\b(?:b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\")"), "<bytes>"),
    (re.compile(r"\bsg_[0-9a-z]{12}_[A-Za-z0-9_-]{20,}"), "<key>"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"), "<token>"),
    (re.compile(r"(?:\\x|\b)(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{24,}\b"), "<hex>"),
)
#: Everything that could move a cursor, end a line or turn text around.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def configure(level: str, stream: TextIO | None = None, *, readable: bool | None = None) -> None:
    """Send all logs of this process to `stream`. Calling it again replaces what was configured before.

    Args:
        level: the lowest level to write: debug, info, warning or error.
        stream: standard error when left out.
        readable: lines for people instead of JSON; by default when `stream` is a terminal.
    """
    target = sys.stderr if stream is None else stream
    for_people = target.isatty() if readable is None else readable
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _flatten_exception,
        _clean,
        _in_order,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[
                *shared,
                _for_people if for_people else structlog.processors.JSONRenderer(),
            ],
            use_get_message=True,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # A request's line holds its address and whatever was put into its query.
    logging.getLogger("uvicorn.access").disabled = True


def redacted(text: str) -> str:
    """The text without passwords, keys, pseudonyms and quoted rows, cut to LONGEST_TEXT characters."""
    text = without_password(text[: 4 * LONGEST_TEXT])
    for pattern, replacement in _HIDDEN:
        text = pattern.sub(replacement, text)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def printable(text: str) -> str:
    """The text with control characters as escapes, so that it stays on its line and leaves the terminal alone."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _flatten_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the error's type and text and the places it came through: no source lines, no values."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else None
    if isinstance(given, tuple):
        error = given[1]
    elif given is True:
        error = sys.exc_info()[1]
    event.pop("exc_text", None)
    event.pop("stack_info", None)
    if error is not None:
        event["error"] = type(error).__name__
        event["detail"] = str(error)
        frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
        event["frames"] = [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def _module(file: str) -> str:
    """The file's last two parts: where a program is installed is nobody's business."""
    return "/".join(file.replace("\\", "/").split("/")[-2:])


def _clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # uvicorn gives its messages a second time, with colours in them.
    event.pop("color_message", None)
    return {
        name: value if name.startswith("_") else _cleaned(value, DEEPEST) for name, value in event.items()
    }


def _cleaned(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth > 0 and isinstance(value, Mapping):
        return {
            redacted(str(name)): _cleaned(each, depth - 1) for name, each in list(value.items())[:MOST_ITEMS]
        }
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(each, depth - 1) for each in list(value)[:MOST_ITEMS]]
    return redacted(str(value))


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The usual fields first; structlog's own, which begin with `_`, are dropped."""
    first = {name: event[name] for name in _ORDER if name in event}
    return first | {
        name: value for name, value in event.items() if name not in first and not name.startswith("_")
    }


def _for_people(_: WrappedLogger, __: str, event: EventDict) -> str:
    """One line: time of day, level, what happened, then the rest."""
    time, level = str(event.pop("time", ""))[11:19], str(event.pop("level", ""))
    event.pop("logger", None)
    head = f"{time} {level:<7} {event.pop('event', '')}"
    rest = "  ".join(f"{name}={value}" for name, value in event.items())
    return printable(f"{head}  {rest}".rstrip())
