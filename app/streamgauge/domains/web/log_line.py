"""One line of an Apache or NCSA access log, ``common`` or ``combined``: a request, or why it is none.

Strict on structure, because a line guessed at would count as a request that never was: every field must be
there, nothing may follow, each quote must close. Apache's and nginx's escapes inside quotes (``\\"``,
``\\\\``, ``\\t``, ``\\xHH``) are undone.
"""

import re
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

LogFormat = Literal["common", "combined"]

#: Why a line is not a request.
Reason = Literal[
    "blank",  # nothing but spaces; counted, so that lines = requests + malformed always adds up
    "not_text",  # NUL or another control character that servers escape, or a host that is not ASCII
    "too_long",  # over MAX_LINE bytes
    "missing_field",  # the line ends early, or a field does not begin as it must
    "extra_field",  # more than the format has: another format was meant, or a user name has a space
    "unterminated_quote",  # a quoted field never closes: a cut line
    "bad_time",  # not like [17/May/2015:10:05:03 +0000], no such day, or outside 1970 to 2100
    "bad_request_line",  # "-" of a timeout, the bytes of a TLS handshake, no protocol, a space in the target
    "bad_status",  # not 100 to 599
    "bad_size",  # neither digits (18 at most) nor -
]
#: Bytes of the longest line that is read.
MAX_LINE: Final = 65_536
#: Bytes in UTF-8 of the longest path. A longer one is cut and ends in an ellipsis: its request still counts.
MAX_PATH: Final = 2_048
#: The method of requests with none of the methods that OpenTelemetry knows.
OTHER_METHOD: Final = "_OTHER"

Octets = bytes  # LogLine has a field named bytes


class LogLine(NamedTuple):
    """One request as its server logged it."""

    #: The client's address or name.
    host: Octets
    #: UTC, microseconds since 1970; the log's own offset is honoured.
    at_us: int
    #: As OpenTelemetry has it: a known method, else ``_OTHER``.
    method: str
    #: As requested, query included. Bytes that are not UTF-8 and control characters are replaced by U+FFFD.
    target: str
    #: Without scheme, host, query, fragment; percent-encoding stays. ``*`` for OPTIONS *, empty for CONNECT.
    path: str
    protocol: str
    #: 100 to 599.
    status: int
    #: Size of the response; 0 where the log has ``-``.
    bytes: int
    #: Unescaped; None where the log has ``-`` and in the common format.
    referrer: Octets | None
    #: Unescaped; None where the log has ``-`` and in the common format.
    agent: Octets | None


class Malformed(NamedTuple):
    """A line that is not a request in the given format."""

    reason: Reason


_METHODS = {
    name.encode(): name
    for name in ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
}
_MONTHS = {
    b"Jan": 1, b"Feb": 2, b"Mar": 3, b"Apr": 4, b"May": 5, b"Jun": 6,
    b"Jul": 7, b"Aug": 8, b"Sep": 9, b"Oct": 10, b"Nov": 11, b"Dec": 12,
}  # fmt: skip
_PROTOCOLS = {
    b"HTTP/1.1": "HTTP/1.1",
    b"HTTP/1.0": "HTTP/1.0",
    b"HTTP/2.0": "HTTP/2.0",
    b"HTTP/3.0": "HTTP/3.0",
}
_SECONDS = {b"%02d" % second: second * 1_000_000 for second in range(60)}
_STATUSES = {b"%d" % status: status for status in range(100, 600)}
_END_US = int(datetime(2101, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

_WORD = rb"[^\x00-\x20\x7f]+"
_TIME = rb"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):([0-5]\d) ([+-]\d{4})\]"
_METHOD, _PROTOCOL = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)", rb"(HTTP/\d(?:\.\d)?)"
# Printable ASCII without quote and backslash, the path also without ? and #, and not too long: most targets.
_TARGET = rb"((/[!$->@-\[\]-~]{0,%d})(?:[?#][!#-\[\]-~]*)?)" % (MAX_PATH - 1)
_QUOTED = rb'"([^"\\\x00-\x08\x0a-\x1f\x7f]*(?:\\[^\x00-\x08\x0a-\x1f\x7f][^"\\\x00-\x08\x0a-\x1f\x7f]*)*)"'
_START = rb"([!-~]+) %b %b %b " % (_WORD, _WORD, _TIME) + rb'"%b %b %b" ' % (_METHOD, _TARGET, _PROTOCOL)
_END = rb"([1-5]\d\d) (\d{1,18}|-)"
# A well-formed line in one match; the groups after the size are None in the common format.
_WELL_FORMED = {
    "common": re.compile(_START + _END + rb"(\0)?(\0)?").fullmatch,
    "combined": re.compile(_START + _END + b" " + _QUOTED + b" " + _QUOTED).fullmatch,
}

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BRACKETED_TIME = re.compile(_TIME)
_QUOTED_FIELD = re.compile(_QUOTED)
_REQUEST_LINE = re.compile(_METHOD + b" ([^ ]+) " + _PROTOCOL)
_SIZE = re.compile(rb"\d{1,18}|-")
_AUTHORITY = re.compile(r"[^/?#@]+:\d{1,5}")
_SCHEME_AND_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\abfnrtv]))')
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

_MINUTES_KEPT = 4_096
_minutes: dict[tuple[bytes, bytes], int] = {}


def parse_line(line: bytes, format: LogFormat) -> LogLine | Malformed:
    """Read one line, without its line end. Never raises: what is no request is ``Malformed``."""
    match = _WELL_FORMED[format](line) if len(line) <= MAX_LINE else None
    if match is None:
        return _parse_slowly(line, format)
    host, minute, second, zone, method, target, path, protocol, status, size, referrer, agent = match.groups()
    minute_us = _minutes.get((minute, zone))
    if minute_us is None:
        minute_us = _minute_us(minute, zone)
        if minute_us is None:
            return Malformed("bad_time")
    text = target.decode("ascii")
    if agent is not None and b"\\" in line:
        referrer, agent = _unescaped(referrer), _unescaped(agent)
    # tuple.__new__ skips the named tuple's constructor, a tenth of the time this function takes.
    return tuple.__new__(
        LogLine,
        (
            host,
            minute_us + _SECONDS[second],
            _METHODS.get(method, OTHER_METHOD),
            text,
            text if len(path) == len(target) else text[: len(path)],
            _PROTOCOLS.get(protocol) or protocol.decode("ascii"),
            _STATUSES[status],
            0 if size == b"-" else int(size),
            None if referrer == b"-" else referrer,
            None if agent == b"-" else agent,
        ),
    )


def _parse_slowly(line: bytes, format: LogFormat) -> LogLine | Malformed:
    """Take the line apart field by field: for the rarer targets, and to name what is wrong."""
    if len(line) > MAX_LINE:
        return Malformed("too_long")
    if not line.strip():
        return Malformed("blank")
    if _CONTROL.search(line):
        return Malformed("not_text")
    fields = _split(line, format)
    if isinstance(fields, Malformed):
        return fields
    minute_us = _minute_us(fields.minute, fields.zone)
    if minute_us is None:
        return Malformed("bad_time")
    request = _request(fields.request)
    if request is None:
        return Malformed("bad_request_line")
    if fields.status not in _STATUSES:
        return Malformed("bad_status")
    if not _SIZE.fullmatch(fields.size):
        return Malformed("bad_size")
    return LogLine(
        fields.host,
        minute_us + _SECONDS[fields.second],
        *request,
        _STATUSES[fields.status],
        0 if fields.size == b"-" else int(fields.size),
        None if fields.referrer == b"-" else fields.referrer,
        None if fields.agent == b"-" else fields.agent,
    )


class _Fields(NamedTuple):
    host: bytes
    minute: bytes
    second: bytes
    zone: bytes
    request: bytes
    status: bytes
    size: bytes
    referrer: bytes
    agent: bytes


def _split(line: bytes, format: LogFormat) -> _Fields | Malformed:
    words = line.split(b" ", 3)
    if len(words) < 4 or not all(words):
        return Malformed("missing_field")
    host, _, _, rest = words
    if not host.isascii():
        return Malformed("not_text")
    if not rest.startswith(b"["):
        return Malformed("extra_field" if b" [" in rest else "missing_field")
    time = _BRACKETED_TIME.match(rest)
    if time is None:
        return Malformed("bad_time")
    request, rest = _next_quoted(rest[time.end() :])
    if isinstance(request, Malformed):
        return request
    words = rest.split(b" ", 3)
    if len(words) < 3 or words[0] or not words[1] or not words[2]:
        return Malformed("missing_field")
    _, status, size, *more = words
    rest = b" " + more[0] if more else b""
    quoted: list[bytes] = []
    for _ in range(2 if format == "combined" else 0):
        field, rest = _next_quoted(rest)
        if isinstance(field, Malformed):
            return field
        quoted.append(_unescaped(field))
    if rest:
        return Malformed("extra_field")
    referrer, agent = quoted or (b"-", b"-")
    return _Fields(host, time[1], time[2], time[3], request, status, size, referrer, agent)


def _next_quoted(rest: bytes) -> tuple[bytes | Malformed, bytes]:
    if not rest.startswith(b' "'):
        return Malformed("missing_field"), rest
    field = _QUOTED_FIELD.match(rest, 1)
    if field is None:
        return Malformed("unterminated_quote"), rest
    return field[1], rest[field.end() :]


def _minute_us(minute: bytes, zone: bytes) -> int | None:
    """Microseconds of ``17/May/2015:10:05`` at ``+0200``; None when 1970 to 2100 has no such minute."""
    month, ahead = _MONTHS.get(minute[3:6], 0), int(zone[1:3]) * 60 + int(zone[3:5])
    if ahead > 24 * 60 or int(zone[3:5]) > 59:
        return None
    try:
        day, year, hour = int(minute[:2]), int(minute[7:11]), int(minute[12:14])
        local = datetime(year, month, day, hour, int(minute[15:17]), tzinfo=UTC)
    except ValueError:
        return None
    seconds = int(local.timestamp()) - (-ahead if zone.startswith(b"-") else ahead) * 60
    if not 0 <= seconds * 1_000_000 < _END_US:
        return None
    if len(_minutes) >= _MINUTES_KEPT:
        _minutes.clear()
    return _minutes.setdefault((minute, zone), seconds * 1_000_000)


def _request(line: bytes) -> tuple[str, str, str, str] | None:
    """Method, target, path and protocol of a request line; None when it is none (RFC 9112, section 3)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return None
    target = _UNPRINTABLE.sub("\ufffd", _unescaped(match[2]).decode("utf-8", "replace"))
    path = _path(match[1], target)
    return (
        path
        if path is None
        else (_METHODS.get(match[1], OTHER_METHOD), target, path, match[3].decode("ascii"))
    )


def _path(method: bytes, target: str) -> str | None:
    if not target.startswith("/"):
        if method == b"CONNECT":
            return "" if _AUTHORITY.fullmatch(target) else None
        if method == b"OPTIONS" and target == "*":
            return target
        server = _SCHEME_AND_HOST.match(target)
        if server is None:
            return None
        target = target[server.end() :]
    path = target.partition("?")[0].partition("#")[0] or "/"
    encoded = path.encode()
    if len(encoded) > MAX_PATH:
        path = encoded[: MAX_PATH - 3].decode("utf-8", "ignore") + "…"
    return path


def _unescaped(quoted: bytes) -> bytes:
    return _ESCAPE.sub(_unescape, quoted)


def _unescape(escape: re.Match[bytes]) -> bytes:
    return bytes((int(escape[1], 16),)) if escape[1] else _LETTERS.get(escape[2], escape[2])
