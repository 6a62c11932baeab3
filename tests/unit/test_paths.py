"""Which requests are excluded or anonymous, against a slow and plain reading of the rules."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.paths import DEFAULT_ANONYMOUS, DEFAULT_EXCLUDE, path_set
from streamgauge.errors import InputError

SEGMENTS = st.text("ab.*", min_size=1, max_size=3)
ENTRIES = st.lists(SEGMENTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)) | SEGMENTS.map(
    lambda part: "*/" + part
)
PATHS = st.text("/ab.", max_size=12).map(lambda path: "/" + path)


def reading(entry: str, path: str) -> bool:
    """The rule, said as an expression that may take its time."""
    expression = ".*".join(map(re.escape, (entry.rstrip("/") or "/").split("*")))
    return re.fullmatch(expression + ("" if entry == "/" else "(?:/.*)?"), path, re.DOTALL) is not None


@given(st.lists(ENTRIES | st.just("/"), max_size=5), PATHS)
def test_a_path_is_in_the_set_when_an_entry_reads_so(entries: list[str], path: str) -> None:
    assert path_set(entries, "exclude")(path, "GET") == any(reading(entry, path) for entry in entries)


@given(ENTRIES.filter(lambda entry: "*" not in entry), PATHS)
def test_prefixes_end_where_segments_end(entry: str, rest: str) -> None:
    holds = path_set([entry], "exclude")
    assert holds(entry, "GET")
    assert holds(entry + rest, "GET")
    assert not holds(entry + "x" + rest, "GET")
    assert path_set([entry + "/"], "exclude")(entry, "GET")


@given(st.lists(ENTRIES, max_size=5), st.text(max_size=20), st.text(max_size=10))
def test_no_path_or_method_raises(entries: list[str], path: str, method: str) -> None:
    assert path_set([*entries, "OPTIONS", "/"], "exclude")(path, method) in (True, False)


@pytest.mark.parametrize(
    ("path", "method", "held"),
    [
        ("/health", "GET", True),
        ("/health/live", "GET", True),
        ("/healthy", "GET", False),
        ("/healthz", "HEAD", True),
        ("/metrics", "GET", True),
        ("/docs/oauth2-redirect", "GET", True),
        ("/redoc", "GET", True),
        ("/openapi.json", "GET", True),
        ("/static/app.css", "GET", True),
        ("/statics", "GET", False),
        ("/favicon.ico", "GET", True),
        ("/lessons", "OPTIONS", True),
        ("/lessons", "GET", False),
        ("/api/health", "GET", False),
        ("/", "GET", False),
    ],
)
def test_what_is_excluded_unless_told_otherwise(path: str, method: str, held: bool) -> None:
    assert path_set(DEFAULT_EXCLUDE, "exclude")(path, method) is held


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("/login", True),
        ("/api/v1/auth/callback", True),
        ("/api/token", True),
        ("/users/signup", True),
        ("/oauth2/authorize", True),
        ("/authors", False),
        ("/loginfo", False),
        ("/", False),
    ],
)
def test_what_is_anonymous_unless_told_otherwise(path: str, held: bool) -> None:
    assert path_set(DEFAULT_ANONYMOUS, "anonymous_paths")(path, "POST") is held


def test_the_home_page_alone_is_an_entry_too() -> None:
    holds = path_set(["/"], "exclude")
    assert holds("/", "GET")
    assert not holds("/lessons", "GET")


def test_an_empty_set_holds_nothing() -> None:
    assert not path_set([], "exclude")("/health", "OPTIONS")


@pytest.mark.parametrize("entry", ["health", "", "get", "https://x/y", 7, None, b"/x"])
def test_an_entry_that_is_none_is_refused_by_name(entry: str) -> None:
    with pytest.raises(InputError, match="anonymous_paths holds") as refused:
        path_set([entry], "anonymous_paths")
    assert refused.value.field == "anonymous_paths"


def test_a_text_instead_of_a_list_is_refused() -> None:
    with pytest.raises(InputError, match="give a list"):
        path_set("/health", "exclude")


def test_many_stars_on_a_long_path_take_no_time() -> None:
    # With an expression that tries every way this would outlast the suite.
    holds = path_set(["/" + "*a" * 30 + "*b"], "exclude")
    assert not holds("/" + "a" * 20_000, "GET")
