"""`/api/v1/coach/…`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from streamgauge.domains.coach import examples
from streamgauge.domains.coach.overview import CoachOverview
from streamgauge.domains.coach.overview import overview as overview_of
from streamgauge.domains.coach.prices import VARIABLE, Prices
from streamgauge.domains.coach.questions import last_days, questions
from streamgauge.people.documented import Days, answers
from streamgauge.read.api.asking import AskAsOf, Sight
from streamgauge.read.problem_document import PROBLEMS


@asynccontextmanager
async def _prices(app: FastAPI) -> AsyncIterator[None]:
    # When the server starts: prices that cannot be read stop it, instead of every request.
    app.state.coach_prices = Prices.from_environ({VARIABLE: app.state.settings.coach_prices})
    yield


router = APIRouter(prefix="/api/v1/coach", tags=["coach"], responses=PROBLEMS, lifespan=_prices)


@router.get(
    "/overview",
    summary="How the assistant does",
    response_model=CoachOverview,
    responses={
        **answers(examples.OVERVIEW),
        304: {"description": "The answer whose ETag was given as If-None-Match still holds."},
    },
)
async def overview(asking: AskAsOf, days: Days = 30) -> Response:
    """Conversations, messages, active users, latency, ratings, resolution, escalation, tokens and cost of the last local days.

    Of the whole tenant. Every figure is what `POST /api/v1/query` answers for the same dates, or follows from such answers. Costs come
    from prices that the installation declares (STREAMGAUGE_COACH_PRICES), in whole micro-units of one currency: per model the period's
    tokens times their prices, rounded half to even once. Nothing that was said is known here.
    """
    prices: Prices = asking.request.app.state.coach_prices

    async def report(sight: Sight) -> bytes:
        asked = questions(last_days(sight.tenant.calendar, sight.now, days))
        found = {part: await sight.ask(question) for part, question in asked.items()}
        return orjson.dumps(overview_of(found, prices))

    return await asking.respond(["coach", days, prices.plain()], report)
