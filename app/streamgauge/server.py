"""The whole server: what reads, what takes events, and what administers tenants. `read` knows nothing of capture, so all meet here."""

from fastapi import FastAPI

from streamgauge.access.tokens import Tokens
from streamgauge.capture.host_keys import HostKeys
from streamgauge.dead_letters import routes as dead_letters
from streamgauge.domains.coach import routes as coach
from streamgauge.domains.collaboration import routes as collaboration
from streamgauge.domains.gamification import routes as gamification
from streamgauge.domains.learning import routes as learning
from streamgauge.ingest import routes as ingest
from streamgauge.people import routes as people
from streamgauge.read.health import CheckSchema
from streamgauge.read.server import create_app
from streamgauge.settings import Settings
from streamgauge.system import routes as system
from streamgauge.tenants import group_routes
from streamgauge.tenants import routes as tenants
from streamgauge.xapi import routes as xapi


def create_server(settings: Settings, check_schema: CheckSchema) -> FastAPI:
    """The application that `streamgauge serve` runs; see `create_app`."""
    app = create_app(settings, check_schema)
    keyring = HostKeys(settings)
    app.state.pseudonym_of = lambda tenant, external: keyring.tenant(tenant).pseudonym("actor", external)
    app.state.tokens = Tokens.from_settings(settings)
    app.include_router(ingest.router)
    people.install(app)
    app.include_router(tenants.router)
    app.include_router(group_routes.router)
    app.include_router(dead_letters.router)
    for each in (learning, gamification, collaboration, coach, system, xapi):
        app.include_router(each.router)
    return app
