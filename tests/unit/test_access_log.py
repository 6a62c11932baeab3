"""Access logs: the real one to the byte, every reason to refuse a line, files that are not what they seem."""

import gzip
import hashlib
import io
import os
import re
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.domains.web import log_line
from streamgauge.domains.web.access_log import (
    MAX_LINE,
    MAX_PATH,
    LogFormat,
    LogLine,
    Malformed,
    Reason,
    content_digest,
    parse_line,
    read_lines,
)
from streamgauge.errors import InputError

REAL_LOG = Path(__file__).parents[1] / "data" / "apache_combined_2015-05.log.gz"
COMMON = b'203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /users/7?tab=a HTTP/1.1" 200 512'
COMBINED = COMMON + b' "https://example.org/" "Browser/1.0 (a; b)"'


def request(request_line: bytes) -> bytes:
    return COMBINED.replace(b"GET /users/7?tab=a HTTP/1.1", request_line)


def parsed(line: bytes, format: LogFormat = "combined") -> LogLine:
    found = parse_line(line, format)
    assert isinstance(found, LogLine), found
    return found


def reason(line: bytes, format: LogFormat = "combined") -> Reason:
    found = parse_line(line, format)
    assert isinstance(found, Malformed), found
    return found.reason


# --- the real log -------------------------------------------------------------------------------------------


def test_the_real_log_gives_the_totals_that_independent_tools_gave() -> None:
    lines = [(number, parse_line(line, "combined")) for number, line in read_lines(REAL_LOG)]
    assert [(number, each) for number, each in lines if isinstance(each, Malformed)] == [
        (8_899, Malformed("unterminated_quote"))
    ]
    days: dict[date, list[LogLine]] = {}
    for _, each in lines:
        if isinstance(each, LogLine):
            days.setdefault(datetime.fromtimestamp(each.at_us // 10**6, UTC).date(), []).append(each)
    totals = {
        day.day: (
            len(each),
            len({(line.host, line.agent) for line in each}),
            len({line.host for line in each}),
            sum(line.bytes for line in each),
        )
        for day, each in days.items()
    }
    assert totals == {
        17: (1_632, 365, 341, 414_259_902),
        18: (2_893, 660, 627, 788_636_158),
        19: (2_896, 586, 561, 665_827_339),
        20: (2_578, 532, 505, 878_559_106),
    }
    requests = [line for each in days.values() for line in each]
    statuses = {200: 9_125, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3, 403: 2, 416: 2}
    assert Counter(line.status for line in requests) == statuses
    assert Counter(line.method for line in requests) == {"GET": 9_951, "HEAD": 42, "POST": 5, "OPTIONS": 1}


def test_a_referrer_in_escaped_bytes_is_unescaped() -> None:
    referrers = {
        line.referrer
        for _, raw in read_lines(REAL_LOG)
        if isinstance(line := parse_line(raw, "combined"), LogLine)
    }
    assert (
        "http://детройт-ылом.рф/".encode("cp1251") != b""
    )  # Cyrillic in a one-byte encoding, as that browser sent it
    assert b"http://\xe4\xe5\xe3\xf2\xff\xf0\xed\xee\xe5-\xec\xfb\xeb\xee.\xf0\xf4/" in referrers


# --- one line -----------------------------------------------------------------------------------------------


def test_every_field_of_a_combined_line_is_read() -> None:
    assert parsed(COMBINED) == LogLine(
        host=b"203.0.113.9",
        at_us=1_431_857_103_000_000,
        method="GET",
        target="/users/7?tab=a",
        path="/users/7",
        protocol="HTTP/1.1",
        status=200,
        bytes=512,
        referrer=b"https://example.org/",
        agent=b"Browser/1.0 (a; b)",
    )


def test_a_common_line_has_neither_referrer_nor_agent() -> None:
    assert parsed(COMMON, "common") == parsed(COMBINED)._replace(referrer=None, agent=None)


def test_a_dash_is_no_size_no_referrer_and_no_agent() -> None:
    line = parsed(COMMON.replace(b" 512", b" -") + b' "-" "-"')
    assert (line.bytes, line.referrer, line.agent) == (0, None, None)


def test_an_empty_user_and_an_ipv6_address_are_read() -> None:
    assert parsed(COMBINED.replace(b"203.0.113.9 - -", b'2001:db8::1 - ""')).host == b"2001:db8::1"


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        (b"17/May/2015:10:05:03 +0530", "2015-05-17T04:35:03"),
        (b"17/May/2015:10:05:03 -0330", "2015-05-17T13:35:03"),
        (b"01/Jan/2016:00:00:00 +1400", "2015-12-31T10:00:00"),
        (b"29/Feb/2016:23:59:59 -1200", "2016-03-01T11:59:59"),
    ],
)
def test_the_offset_in_the_log_is_honoured(stamp: bytes, utc: str) -> None:
    at_us = parsed(COMBINED.replace(b"17/May/2015:10:05:03 +0000", stamp)).at_us
    assert at_us == datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp() * 10**6


@pytest.mark.parametrize(
    ("request_line", "method", "target", "path"),
    [
        (b"GET / HTTP/1.0", "GET", "/", "/"),
        (b"GET /a?b#c HTTP/2.0", "GET", "/a?b#c", "/a"),
        (b"GET /a#b?c HTTP/2", "GET", "/a#b?c", "/a"),
        (b"GET //x/%2e%2E/%00?q HTTP/1.1", "GET", "//x/%2e%2E/%00?q", "//x/%2e%2E/%00"),
        (b"OPTIONS * HTTP/1.0", "OPTIONS", "*", "*"),
        (b"CONNECT example.org:443 HTTP/1.1", "CONNECT", "example.org:443", ""),
        (b"GET http://example.org/a/b?c HTTP/1.1", "GET", "http://example.org/a/b?c", "/a/b"),
        (b"GET http://example.org?c HTTP/1.1", "GET", "http://example.org?c", "/"),
        (b"QUERY /search HTTP/1.1", "QUERY", "/search", "/search"),
        (b"PROPFIND /a HTTP/1.1", "_OTHER", "/a", "/a"),
        (b"get /a HTTP/1.1", "_OTHER", "/a", "/a"),
        (rb"GET /caf\xc3\xa9 HTTP/1.1", "GET", "/café", "/café"),
        ("GET /café HTTP/1.1".encode(), "GET", "/café", "/café"),
        (rb"GET /a\"b\\c HTTP/1.1", "GET", '/a"b\\c', '/a"b\\c'),
        (rb"GET /a\qb HTTP/1.1", "GET", r"/a\qb", r"/a\qb"),
        (rb"GET /a\x00b\tc\xc2\x85 HTTP/1.1", "GET", "/a\ufffdb\ufffdc\ufffd", "/a\ufffdb\ufffdc\ufffd"),
        (rb"GET /a\xff\xfe HTTP/1.1", "GET", "/a\ufffd\ufffd", "/a\ufffd\ufffd"),
    ],
)
def test_targets_of_every_form_give_their_path(
    request_line: bytes, method: str, target: str, path: str
) -> None:
    line = parsed(request(request_line))
    assert (line.method, line.target, line.path) == (method, target, path)


@pytest.mark.parametrize("letter", [b"a", rb"\xc3\xa9"])
def test_a_path_over_the_limit_is_cut_and_says_so_while_its_request_counts(letter: bytes) -> None:
    line = parsed(request(b"GET /" + letter * 3_000 + b"?q HTTP/1.1"))
    assert line.path.endswith("…")
    assert MAX_PATH - 3 < len(line.path.encode()) <= MAX_PATH
    assert line.target.startswith(line.path[:-1])
    whole = parsed(request(b"GET /" + b"a" * (MAX_PATH - 1) + b"?q HTTP/1.1")).path
    assert whole == "/" + "a" * (MAX_PATH - 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "blank"),
        (b" \t\r", "blank"),
        (COMBINED.replace(b"Browser", b"Brow\0ser"), "not_text"),
        (COMBINED.replace(b"Browser", b"Brow\x1bser"), "not_text"),
        (COMBINED.replace(b"203.0.113.9", b"caf\xc3\xa9"), "not_text"),
        (COMBINED.replace(b"Browser", b"B" * MAX_LINE), "too_long"),
        (b"hello", "missing_field"),
        (b"a b c", "missing_field"),
        (COMBINED.replace(b"- - [", b"- ["), "missing_field"),
        (COMBINED.replace(b" 200 512", b" 200"), "missing_field"),
        (COMBINED.replace(b' "GET', b" GET"), "missing_field"),
        (COMMON, "missing_field"),
        (COMMON + b' "-"', "missing_field"),
        (COMMON + b" - -", "missing_field"),
        (COMBINED.replace(b"- -", b"- John Smith"), "extra_field"),
        (b"example.org:80 " + COMBINED, "extra_field"),
        (COMBINED + b' "1.2.3.4"', "extra_field"),
        (COMBINED + b" ", "extra_field"),
        (COMBINED[:-1], "unterminated_quote"),
        (COMBINED[:-1] + b'\\"', "unterminated_quote"),
        (COMBINED[:70], "unterminated_quote"),
        (COMBINED.replace(b"17/May", b"31/Feb"), "bad_time"),
        (COMBINED.replace(b"May", b"Mai"), "bad_time"),
        (COMBINED.replace(b"10:05:03", b"24:05:03"), "bad_time"),
        (COMBINED.replace(b"10:05:03", b"10:05:60"), "bad_time"),
        (COMBINED.replace(b"+0000", b"+0060"), "bad_time"),
        (COMBINED.replace(b" +0000", b""), "bad_time"),
        (COMBINED.replace(b"2015", b"1969"), "bad_time"),
        (COMBINED.replace(b"2015", b"2101"), "bad_time"),
        (COMBINED.replace(b"2015", b"0000"), "bad_time"),
        (request(b"-"), "bad_request_line"),
        (request(b""), "bad_request_line"),
        (request(rb"\x16\x03\x01\x02"), "bad_request_line"),
        (request(b"GET /"), "bad_request_line"),
        (request(b"GET /a b HTTP/1.1"), "bad_request_line"),
        (request(b"GET  / HTTP/1.1"), "bad_request_line"),
        (request(b"GET a HTTP/1.1"), "bad_request_line"),
        (request(b"GET * HTTP/1.1"), "bad_request_line"),
        (request(b"G(T / HTTP/1.1"), "bad_request_line"),
        (request(b"GET / http/1.1"), "bad_request_line"),
        (request(b"CONNECT example.org HTTP/1.1"), "bad_request_line"),
        (COMBINED.replace(b" 200 ", b" 099 "), "bad_status"),
        (COMBINED.replace(b" 200 ", b" 600 "), "bad_status"),
        (COMBINED.replace(b" 200 ", b" - "), "bad_status"),
        (COMBINED.replace(b" 512 ", b" -1 "), "bad_size"),
        (COMBINED.replace(b" 512 ", b" 1.5 "), "bad_size"),
        (COMBINED.replace(b" 512 ", b" " + b"9" * 19 + b" "), "bad_size"),
    ],
)
def test_a_line_that_is_no_request_is_refused_with_its_reason(line: bytes, expected: Reason) -> None:
    assert reason(line) == expected


def test_a_combined_line_is_too_much_for_the_common_format() -> None:
    assert reason(COMBINED, "common") == "extra_field"


def test_every_declared_reason_is_tested() -> None:
    refusals = test_a_line_that_is_no_request_is_refused_with_its_reason
    marks = getattr(refusals, "pytestmark")  # noqa: B009 - pytest adds it, which mypy cannot know
    assert {expected for _, expected in marks[0].args[1]} == set(get_args(Reason))


def test_more_minutes_than_are_remembered_are_read_right() -> None:
    start = datetime(2015, 1, 1, tzinfo=UTC)
    for index in range(6_000):
        at = start + timedelta(minutes=index)
        stamp = at.strftime("%d/%b/%Y:%H:%M:%S +0000").encode()
        assert parsed(COMBINED.replace(b"17/May/2015:10:05:03 +0000", stamp)).at_us == at.timestamp() * 10**6
    assert len(log_line._minutes) <= log_line._MINUTES_KEPT


# --- any line -----------------------------------------------------------------------------------------------

FORMATS = st.sampled_from(get_args(LogFormat))
_PIECES = re.findall(rb'[^ "\[\]:/]+|[ "\[\]:/]', COMBINED)


@given(st.binary(max_size=300), FORMATS)
def test_any_bytes_are_a_request_or_malformed(line: bytes, format: LogFormat) -> None:
    assert isinstance(parse_line(line, format), LogLine | Malformed)


@given(st.lists(st.sampled_from(_PIECES) | st.binary(max_size=3), max_size=60).map(b"".join), FORMATS)
def test_shuffled_pieces_of_a_line_are_a_request_or_malformed(line: bytes, format: LogFormat) -> None:
    assert isinstance(parse_line(line, format), LogLine | Malformed)


@given(st.integers(0, len(COMBINED)), st.integers(0, 6), st.binary(max_size=4), FORMATS)
def test_what_a_damaged_line_still_gives_was_in_it(
    at: int, removed: int, inserted: bytes, format: LogFormat
) -> None:
    line = COMBINED[:at] + inserted + COMBINED[at + removed :]
    found = parse_line(line, format)
    if isinstance(found, LogLine):
        assert line.startswith(found.host + b" ")
        assert b" %d " % found.status in line
        assert found.bytes == 0 or str(found.bytes).encode() in line
        assert 0 <= found.at_us < 4_133_980_800 * 10**6
        assert len(found.path.encode()) <= MAX_PATH
        assert found.path in found.target
        assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", found.target + found.path)
        for quoted in (found.referrer, found.agent):
            assert quoted is None or quoted in line or b"\\" in line


def escaped(raw: bytes) -> bytes:
    """As Apache writes a header: quote, backslash, control characters and bytes over 0x7E escaped."""
    named = {b'"'[0]: b'\\"', b"\\"[0]: b"\\\\", 9: b"\\t", 10: b"\\n"}
    return b"".join(
        named.get(each) or (b"%c" % each if 32 <= each < 127 else b"\\x%02x" % each) for each in raw
    )


HEADERS = st.binary(max_size=40).filter(lambda raw: raw != b"-")
METHODS = st.sampled_from([b"GET", b"POST", b"BREW", b"OPTIONS", b"CONNECT"])
TARGETS = st.text(st.characters(codec="ascii", min_codepoint=33), max_size=30).map(
    lambda text: f"/{text}".encode()
)


@given(HEADERS, HEADERS, METHODS, TARGETS, st.integers(100, 599), st.integers(0, 10**18 - 1))
def test_what_a_server_escapes_comes_back_as_it_was(
    referrer: bytes, agent: bytes, method: bytes, target: bytes, status: int, size: int
) -> None:
    line = b'::1 - - [17/May/2015:10:05:03 +0000] "%b %b HTTP/1.1" %d %d "%b" "%b"'
    whole = line % (method, escaped(target), status, size, escaped(referrer), escaped(agent))
    found = parsed(whole)
    assert (found.referrer, found.agent, found.status, found.bytes) == (referrer, agent, status, size)
    assert found.target == target.decode().replace("\x7f", "\ufffd")
    assert log_line._parse_slowly(whole, "combined") == found, "both ways of reading agree"


# --- files --------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_line_ends_of_either_kind_and_a_last_line_without_one_are_read(tmp_path: Path) -> None:
    log = write(tmp_path / "log", b"a\r\nb\n\n c \nlast")
    assert list(read_lines(log)) == [(1, b"a"), (2, b"b"), (3, b""), (4, b" c "), (5, b"last")]


def test_gzip_is_known_by_its_content_and_members_may_follow_each_other(tmp_path: Path) -> None:
    packed = write(tmp_path / "access.log", gzip.compress(b"a\nb\n") + gzip.compress(b"c\n"))
    plain = write(tmp_path / "access.log.gz", b"a\nb\nc\n")
    assert list(read_lines(packed)) == list(read_lines(plain)) == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert (
        content_digest(packed)
        == content_digest(plain)
        == hashlib.blake2b(b"a\nb\nc\n", digest_size=32).digest()
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_of_ten_megabytes_is_too_long_and_never_held(tmp_path: Path, pack: type[bytes]) -> None:
    log = write(tmp_path / "log", pack(COMBINED + b"\n" + b"x" * 10_000_000 + b"\r\n" + COMBINED))
    tracemalloc.start()
    try:
        lines = [(number, parse_line(line, "combined")) for number, line in read_lines(log)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == [(1, parsed(COMBINED)), (2, Malformed("too_long")), (3, parsed(COMBINED))]
    assert peak < 2_500_000


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_read_and_one_byte_more_is_too_long(
    tmp_path: Path, end: bytes
) -> None:
    fill = b"y" * (MAX_LINE - len(COMBINED))
    longest = COMBINED.replace(b"Browser", b"Browser" + fill)
    log = write(
        tmp_path / "log", longest + b"\n" + longest.replace(b"Browser", b"Browsers") + b"\n" + longest + end
    )
    assert [type(parse_line(line, "combined")) for _, line in read_lines(log)] == [
        LogLine,
        Malformed,
        LogLine,
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(os.urandom(100_000))[:50_000], "ends too early"),
        (gzip.compress(b"a\n")[:-6] + b"123456", "damaged gzip"),
        (gzip.compress(b"a\n")[:5], "ends too early"),
        (b"BZh91AY", "bzip2: unpack it first"),
        (b"\x28\xb5\x2f\xfd\x24", "Zstandard"),
    ],
)
def test_a_file_that_cannot_be_read_whole_says_what_to_change(
    tmp_path: Path, content: bytes, message: str
) -> None:
    log = write(tmp_path / "strange.log", content)
    with pytest.raises(InputError, match=message) as refused:
        list(read_lines(log))
    assert "strange.log" in str(refused.value)
    with pytest.raises(InputError, match=message):
        content_digest(log)


@pytest.mark.parametrize(
    "content", [b"\x7fELF\0\0\n" * 9, COMBINED.decode().encode("utf-16"), gzip.compress(b"\0\n\1")]
)
def test_a_binary_file_is_refused_as_a_whole(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="is not text"):
        list(read_lines(write(tmp_path / "log", content)))


def test_one_damaged_line_does_not_make_a_log_binary(tmp_path: Path) -> None:
    log = write(tmp_path / "log", b"\0\0\0\n" + COMMON + b"\n")
    assert [parse_line(line, "common") for _, line in read_lines(log)] == [
        Malformed("not_text"),
        parsed(COMMON, "common"),
    ]


def test_folders_pipes_missing_and_forbidden_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "none", "does not exist"), (pipe, "pipe")):
        for read in (lambda path: list(read_lines(path)), content_digest):
            with pytest.raises(InputError, match=message):
                read(path)

    def refuse(path: Path) -> io.FileIO:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(io, "FileIO", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        content_digest(REAL_LOG)
