"""The API server. A domain or a dashboard adds its routes with `app.include_router`; what they need is in `app.state`.

app.state.settings      Settings
app.state.pool          connections to PostgreSQL
app.state.stream        the shard streams
app.state.registry      Prometheus metrics of this server
app.state.catalogue     what is declared
app.state.desk          what the read API answers from
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from streamgauge.access.tenancy import API_ROLE
from streamgauge.catalogue import load_catalogue
from streamgauge.database import open_pool
from streamgauge.errors import SettingsError
from streamgauge.limits.guarding import Limits, RateLimiting
from streamgauge.read import exposition, health, page, problems
from streamgauge.read.answer import Terms
from streamgauge.read.api import routes
from streamgauge.read.api.desk import Desk
from streamgauge.read.health import CheckSchema
from streamgauge.read.middleware import HeadAsGet, RequestMetrics, SafeHeaders
from streamgauge.read.pipeline import Pipeline
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings

APPLICATION_NAME = "streamgauge serve"
CONNECTIONS = 8
REDIS_PATIENCE = 2.0  # seconds
LIMITS_SECRET = "SELECT value FROM installation WHERE name = 'limits_secret'"  # noqa: S105 - where it is


def create_app(settings: Settings, check_schema: CheckSchema) -> FastAPI:
    """The application. It opens its connections when it starts and closes them when it stops.

    Args:
        settings: with the addresses of both servers.
        check_schema: raises SchemaError unless a connection's database is at this program's version.

    Raises:
        SettingsError: an address is missing.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise SettingsError("the server needs the addresses of PostgreSQL and Redis")
    app = FastAPI(
        title="Streamgauge",
        lifespan=_connections,
        # A redirect would be made from the Host header, and from http where a proxy speaks https: keys would follow it.
        redirect_slashes=False,
        version=version("streamgauge"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.settings = settings
    app.state.check_schema = check_schema
    app.state.catalogue = load_catalogue(settings)
    app.state.registry = exposition.process_registry()
    # The last one added is the outermost.
    app.state.limits = Limits(settings, app.state.registry)
    app.add_middleware(RateLimiting, limits=app.state.limits)
    app.add_middleware(HeadAsGet)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "RateLimit", "RateLimit-Policy", "Retry-After"],
        )
    app.add_middleware(RequestMetrics, registry=app.state.registry)
    app.add_middleware(SafeHeaders)
    problems.install(app)
    app.include_router(health.router)
    app.include_router(exposition.router)
    app.include_router(routes.router)
    app.include_router(page.router)
    return app


@asynccontextmanager
async def _connections(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    assert settings.database_url is not None  # noqa: S101 - create_app looked
    assert settings.redis_url is not None  # noqa: S101 - as above
    pool = await open_pool(
        settings.database_url,
        CONNECTIONS,
        role=API_ROLE,
        application_name=APPLICATION_NAME,
        statement_timeout=f"{settings.statement_seconds}s",
    )
    stream = RedisStream(
        settings.redis_url,
        settings.stream_prefix,
        settings.generation,
        settings.shards,
        patience=REDIS_PATIENCE,
    )
    app.state.pool, app.state.stream = pool, stream
    async with pool.acquire() as connection:
        app.state.limits.secret = bytes.fromhex(await connection.fetchval(LIMITS_SECRET))
    app.state.pipeline = Pipeline(pool, stream)
    app.state.desk = Desk.over(pool, Terms.of(settings, app.state.catalogue))
    collectors = [app.state.pipeline, exposition.PoolSize(pool)]
    for collector in collectors:
        app.state.registry.register(collector)
    try:
        yield
    finally:
        for collector in collectors:
            app.state.registry.unregister(collector)
        await app.state.pipeline.aclose()
        await stream.aclose()
        await app.state.limits.aclose()
        # Not close(): that waits for connections whose server may be hung. Requests have ended by now.
        pool.terminate()
