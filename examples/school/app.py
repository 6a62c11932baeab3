"""A small school, measured. This file is all that measuring takes; what it records of its own is in `events.py` and `routes.py`."""

import os

from fastapi import Depends, FastAPI

from streamgauge import Settings, Streamgauge

from . import routes, together
from .events import EVENT_TYPES, PAGE_VIEWED
from .people import directory
from .sessions import Sessions, session_of, student_of


def measure() -> Streamgauge:
    """The school's gauge, configured by environment variables. Students and sessions leave the process as pseudonyms."""
    settings = Settings.from_environ(os.environ)
    return Streamgauge(settings, event_types=EVENT_TYPES, actor=student_of, session=session_of)


def create_app(gauge: Streamgauge, notice: str = "") -> FastAPI:
    """The school; `notice` is shown on its page. Tests give a `recording_gauge`."""
    sessions = Sessions()
    recognised = [Depends(sessions.recognise)]
    app = FastAPI(title="Example school", dependencies=recognised)
    app.state.sessions, app.state.notice = sessions, notice

    # Every request from here on, those of mounted applications included.
    gauge.instrument(app)
    # Where the school's pages say that they were looked at: POST /streamgauge/events. No other event is taken from them.
    app.include_router(gauge.router(accept=[PAGE_VIEWED.name]))

    # Where Streamgauge's server asks for the students' names, once both have been told a token.
    if gauge.settings.directory_token:
        app.include_router(directory(gauge.settings, sessions))

    app.include_router(routes.school)
    app.include_router(together.together)
    library = FastAPI(title="Library", dependencies=recognised)
    library.include_router(routes.books)
    app.mount("/library", library)
    return app
