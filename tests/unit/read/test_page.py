"""What the page consists of, and how it is served."""

import re
from hashlib import sha256
from importlib.resources import files

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from streamgauge.read import page

FOLDER = files("streamgauge.read") / "dashboard"


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page.router)
    return TestClient(app)


def test_other_peoples_files_are_unchanged() -> None:
    lines = (FOLDER / "vendor" / "CHECKSUMS").read_text("utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    vendored = {each.name for each in (FOLDER / "vendor").iterdir() if each.name.endswith((".js", ".css"))}
    assert listed.keys() == vendored
    for name, digest in listed.items():
        assert sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() == digest, name


def test_every_file_that_a_file_asks_for_is_served(client: TestClient) -> None:
    waiting, seen = ["index.html"], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        reply = client.get("/" if path == "index.html" else f"/assets/{path}")
        assert reply.status_code == 200, path
        if not path.startswith("vendor/"):
            folder = path.rpartition("/")[0]
            for asked in re.findall(r'(?:from|href=|src=)\s*"([^"#:]+)"', reply.text):
                parts = (
                    [] if asked.startswith("assets/") or not folder else folder.split("/")
                ) + asked.removeprefix("assets/").split("/")
                resolved: list[str] = []
                for part in parts:
                    if part == "..":
                        resolved.pop()
                    elif part != ".":
                        resolved.append(part)
                waiting.append("/".join(resolved))
    assert len(seen) == len(page.ASSETS)


def test_the_page_allows_scripts_and_styles_of_its_own_files_only(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    html = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"<style|style=|<script>|\son\w+=", html)


def test_an_unchanged_file_is_304(client: TestClient) -> None:
    tag = client.get("/assets/main.js").headers["etag"]
    again = client.get("/assets/main.js", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "../page.py",
        "..%2Fpage.py",
        "vendor/../../page.py",
        "nothing.js",
        "index.html",
        "vendor/uplot.LICENSE",
        "",
    ],
)
def test_nothing_else_can_be_asked_for(client: TestClient, path: str) -> None:
    assert client.get(f"/assets/{path}").status_code == 404
