"""All routes about people."""

from fastapi import APIRouter, FastAPI

from streamgauge.people import actors, events, search
from streamgauge.people.desk import people_of
from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)
for each in (actors, search, events):
    router.include_router(each.router)


def install(app: FastAPI) -> None:
    """Add the routes. The application's settings, catalogue and registry have to be in its state.

    Raises SettingsError for a directory that cannot be asked.
    """
    people_of(app)
    app.include_router(router)
