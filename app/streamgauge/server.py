"""The whole server: what reads, and what takes events. `read` knows nothing of capture, so both meet here."""

from fastapi import FastAPI

from streamgauge.ingest import routes as ingest
from streamgauge.read.health import CheckSchema
from streamgauge.read.server import create_app
from streamgauge.settings import Settings


def create_server(settings: Settings, check_schema: CheckSchema) -> FastAPI:
    """The application that `streamgauge serve` runs; see `create_app`."""
    app = create_app(settings, check_schema)
    app.include_router(ingest.router)
    return app
