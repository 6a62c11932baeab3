"""The whole server over real servers, asked without a network, with keys for its tenants."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
from fastapi import FastAPI

from streamgauge.access.roles import Role
from streamgauge.access.store import create
from streamgauge.event import Source
from streamgauge.server import create_server
from streamgauge_migrations import require_current
from tests.integration.engine import Engine, open_engine


@dataclass
class Api:
    """A server, and an engine that fills its tables."""

    engine: Engine
    app: FastAPI
    client: httpx.AsyncClient

    async def key(
        self,
        tenant: str | None,
        *scopes: str,
        role: Role | None = None,
        groups: Sequence[str] | None = None,
        actor: bytes | None = None,
        source: Source = "server",
        days: int | None = None,
    ) -> str:
        """A new key; an owner's without a tenant."""
        made = await create(
            self.engine.connection,
            tenant,
            scopes,
            role=role,
            groups=groups,
            actor=actor,
            source=source,
            expires_in_days=days,
        )
        return made.text

    async def get(self, path: str, key: str | None, **headers: str) -> httpx.Response:
        """GET /api/v1/..."""
        return await self.client.get(f"/api/v1/{path}", headers={**bearer(key), **headers})

    async def post(self, path: str, key: str | None, body: Any, **headers: str) -> httpx.Response:
        """POST /api/v1/... with JSON."""
        return await self.client.post(f"/api/v1/{path}", json=body, headers={**bearer(key), **headers})

    async def ask(self, method: str, path: str, key: str | None, **more: Any) -> httpx.Response:
        """Any other request to /api/v1/..."""
        return await self.client.request(method, f"/api/v1/{path}", headers=bearer(key), **more)


def bearer(key: str | None) -> dict[str, str]:
    """The header that carries a key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def open_api(
    redis_url: str, database_url: str, folder: Path, zones: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Api]:
    """A running server with tenants, whose keyring lies in `folder`."""
    async with open_engine(redis_url, database_url, zones, data_dir=folder, **settings) as engine:
        told = dataclasses.replace(engine.settings, redis_url=redis_url, database_url=database_url)
        app = create_server(told, require_current)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://streamgauge") as client:
                yield Api(engine, app, client)


def names(rows: Sequence[Any]) -> list[str]:
    """The first dimension of every row of an answer."""
    return [row["dimensions"][0] for row in rows]
