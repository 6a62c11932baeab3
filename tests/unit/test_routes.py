"""Route templates: the same route that FastAPI and Starlette would choose, in the file's order."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.routing import Match, Route

from streamgauge.domains.web import routes
from streamgauge.domains.web.routes import UNMATCHED, RouteTable
from streamgauge.errors import InputError

TABLE = """
# the shop
/
/users/me
/users/{id}
/files/{path:path}       # everything below
GET,DELETE /orders/{number:int}
POST /orders/{anything}
/orders/{anything}/at/{when:float}
/things/{key:uuid}
/a.b/{x}-{y}
"""


@pytest.fixture
def table() -> RouteTable:
    return RouteTable.parse(TABLE)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/users/me", "/users/me"),
        ("/users/7", "/users/{id}"),
        ("/users/7/", None),
        ("/users/", None),
        ("/users/7/posts", None),
        ("/files/", "/files/{path:path}"),
        ("/files/a/b/c.txt", "/files/{path:path}"),
        ("/files", None),
        ("/orders/12", "/orders/{number:int}"),
        ("/orders/12/at/1.5", "/orders/{anything}/at/{when:float}"),
        ("/orders/12/at/-1", None),
        ("/things/123e4567-e89b-12d3-a456-426614174000", "/things/{key:uuid}"),
        ("/things/123", None),
        ("/a.b/1-2", "/a.b/{x}-{y}"),
        ("/aXb/1-2", None),
        ("*", None),
        ("", None),
    ],
)
def test_a_path_gets_the_template_it_fits_entirely(
    table: RouteTable, path: str, template: str | None
) -> None:
    assert table.match(path) == template
    assert table.route(path) == (template or UNMATCHED)


def test_the_first_match_in_the_files_order_wins_even_over_a_plain_path() -> None:
    assert RouteTable.parse("/users/{id}\n/users/me").match("/users/me") == "/users/{id}"
    assert RouteTable.parse("/users/me\n/users/{id}").match("/users/me") == "/users/me"
    assert RouteTable.parse("/{a}\n/{b}").match("/x") == "/{a}"
    assert RouteTable.parse("/me\n/{a}\n/me").match("/me") == "/me"


def test_a_route_that_serves_the_method_goes_first_and_another_still_names_the_request(
    table: RouteTable,
) -> None:
    assert table.match("/orders/12", "GET") == "/orders/{number:int}"
    assert table.match("/orders/12", "HEAD") == "/orders/{number:int}"
    assert table.match("/orders/12", "POST") == "/orders/{anything}"
    assert table.match("/orders/12", "PUT") == "/orders/{number:int}"
    assert table.match("/orders/new", "GET") == "/orders/{anything}"
    assert table.match("/users/7", "_OTHER") == "/users/{id}"


def test_a_route_for_get_serves_head() -> None:
    assert (
        RouteTable.parse("POST /users/{id}\nGET /users/{name}").match("/users/7", "HEAD") == "/users/{name}"
    )


def test_percent_encoding_is_undone_before_matching() -> None:
    table = RouteTable.parse("/café\n/users/{id}\n/files/{path:path}")
    assert table.match("/caf%C3%A9") == "/café"
    assert table.match("/users/a%20b") == "/users/{id}"
    assert table.match("/users/a%2Fb") is None
    assert table.match("/files/a%2Fb") == "/files/{path:path}"
    assert table.match("/users/%zz%ff") == "/users/{id}"


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    st.lists(
        st.sampled_from(["users", "me", "7", "1.5", "files", "orders", "at", "a.b", "x-y", ""]), max_size=5
    ),
)
def test_starlette_itself_would_choose_the_same_route(method: str, segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    chosen = partial = None
    for line in TABLE.splitlines():
        *methods, template = re.sub("#.*", "", line).split() or [""]
        if not template:
            continue
        route = Route(template, Response(), methods=methods[0].split(",") if methods else None)
        match, _ = route.matches({"type": "http", "path": path, "method": method})
        if match is Match.FULL and chosen is None:
            chosen = template
        if match is Match.PARTIAL and partial is None:
            partial = template
    assert RouteTable.parse(TABLE).match(path, method) == (chosen or partial)


def test_templates_are_listed_once_in_the_files_order() -> None:
    table = RouteTable.parse("GET /b/{x}\n/a\nPOST /b/{x}")
    assert table.templates == ("/b/{x}", "/a")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("users/{id}", "must begin with a slash"),
        ("/users/{id:integer}", "'integer' is not a convertor"),
        ("/users/{id}/{id}", "'id' appears twice"),
        ("/users/{id", "a brace"),
        ("/users/id}", "a brace"),
        ("/users/{}", "a brace"),
        ("/users/{a b}", "is too much|must begin"),
        ("/users/{a}{b}", "two parameters touch"),
        ("FETCH /users", "'FETCH' is not a method"),
        ("GET,/users", "must begin with a slash"),
        ("GET, POST /users", "'/users' is too much"),
        ("GET /users extra", "'extra' is too much"),
    ],
)
def test_a_line_that_is_no_route_is_named_by_its_number(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        RouteTable.parse(f"# first\r\n/fine\r\n{line}\r\n", "shop.txt")
    assert str(refused.value).startswith("shop.txt, line 3: ")


def test_a_table_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "routes.txt"
    file.write_bytes(b"\xef\xbb\xbf/caf\xc3\xa9/{x}\r\n")
    assert RouteTable.load(file).match("/café/1") == "/café/{x}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n", "has no route"),
        (b"/a\n/b\n/caf\xe9\n", "line 3: not UTF-8"),
        (b"/a\n" * 400_000, "over 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "routes.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        RouteTable.load(file)
    assert "routes.txt" in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="cannot be read"):
            RouteTable.load(path)


def test_the_memory_of_answers_is_bounded(table: RouteTable) -> None:
    for number in range(routes._PATHS_KEPT + 500):
        assert table.match(f"/users/{number}") == "/users/{id}"
    assert table._find.cache_info().currsize == routes._PATHS_KEPT
