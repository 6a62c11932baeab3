"""The dashboard: a page and what it consists of, served as they are. It holds nobody's data; it asks the API with the reader's key."""

from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

#: Only this origin, and nothing written into the page itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """One file of the page."""

    content: bytes
    media_type: str
    tag: str


def _assets() -> dict[str, Asset]:
    """Every file by its path: what is not in this table cannot be asked for."""
    found: dict[str, Asset] = {}
    waiting: list[tuple[str, Traversable]] = [("", files("streamgauge.read") / "dashboard")]
    while waiting:
        path, folder = waiting.pop()
        for each in folder.iterdir():
            suffix = f".{each.name.rpartition('.')[2]}"
            if each.is_dir():
                waiting.append((f"{path}{each.name}/", each))
            elif suffix in _TYPES:
                content = each.read_bytes()
                found[path + each.name] = Asset(
                    content, _TYPES[suffix], f'"{sha256(content).hexdigest()[:32]}"'
                )
    return found


ASSETS = _assets()
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _answer(request, ASSETS["index.html"])


@router.get("/assets/{path:path}")
async def asset(request: Request, path: str) -> Response:
    """What the page consists of."""
    found = ASSETS.get(path)
    if found is None or path == "index.html":
        raise HTTPException(404, "there is no such file")
    return _answer(request, found)


def _answer(request: Request, found: Asset) -> Response:
    # Asked for again every time, so that an upgrade never mixes old and new modules; unchanged ones cost nothing.
    headers = {
        "ETag": found.tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    }
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
