"""`/api/v1/gamification/…`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from streamgauge.domains.gamification import leaderboard as boards
from streamgauge.domains.gamification.declarations import BOARD
from streamgauge.domains.gamification.leaderboard import Leaderboard
from streamgauge.domains.gamification.progress import GamificationProgress, progress
from streamgauge.domains.gamification.supportive import (
    SupportiveLeaderboard,
    checked_limit,
    presented,
)
from streamgauge.entities.view import ActorParameter, DaysParameter, Enter, GroupParameter
from streamgauge.errors import InputError
from streamgauge.people.documented import ACTOR, NOT_THERE, answers
from streamgauge.read.problem_document import PROBLEMS, problem_response
from streamgauge.summaries.boards import Timeframe

router = APIRouter(prefix="/api/v1/gamification", tags=["gamification"], responses=PROBLEMS)

_NO_GROUP: Final[dict[int | str, dict[str, Any]]] = {
    404: problem_response(
        "There is no such group, or it may not be seen: nothing tells the one from the other."
    )
}
DEFAULT_TIMEFRAME: Final = "week"
_PROGRESS: Final[dict[str, Any]] = {
    "id": ACTOR,
    "xp": 340,
    "level": {"level": 3, "xp_into": 40, "xp_to_next": 260},
    "trend": [{"date": "2026-11-20", "xp": 90}, {"date": "2026-11-21", "xp": 0}],
    "achievements": [
        {
            "name": "first-quiz",
            "title": "First quiz attempted",
            "reached": 1,
            "target": 1,
            "awarded_at": "2026-11-02T08:15:00Z",
        },
        {"name": "xp-1000", "title": "1,000 points", "reached": 340, "target": 1000, "awarded_at": None},
    ],
    "streak": {
        "current": 8,
        "longest": 12,
        "freezes": 1,
        "active_today": False,
        "last_active": "2026-11-20",
    },
}


def _entry(rank: int, name: str, score: int) -> dict[str, Any]:
    return {"rank": rank, "name": name, "score": score, "is_you": name == boards.YOU, "id": None}


_LEADERBOARD: Final[dict[str, Any]] = {
    "metric": BOARD.name,
    "timeframe": "week",
    "season": None,
    "starts": "2026-11-16",
    "supportive": False,
    "participants": 28,
    "entries": [_entry(1, "Ada L.", 420), _entry(2, "user_4f21ab", 390)],
    "you": {
        "rank": 9,
        "score": 140,
        "percentile": 70.37,
        "to_next_rank": 11,
        "above": [_entry(7, "user_90ce17", 155), _entry(8, "user_b3d402", 150)],
        "below": [_entry(10, "user_61fe08", 140), _entry(11, "user_07aa3c", 95)],
    },
}


@router.get(
    "/progress",
    summary="Somebody's points, level, achievements and streak",
    response_model=GamificationProgress,
    responses={**answers(_PROGRESS), **NOT_THERE},
)
async def progress_of(entrance: Enter, actor: ActorParameter = None, days: DaysParameter = 30) -> Response:
    """One's own, or those of an actor whom one may see: points by local day, the level they make, achievements with the times of the events
    that satisfied them, and the streak of active days in the tenant's time zone.

    Of events up to the end of today where the tenant is. What comes late is counted where it belongs, so a date of an achievement can move back.
    """
    if actor is None:
        if entrance.caller.actor is None:
            raise InputError("actor is needed: this key is nobody's own", "actor")
        actor = entrance.caller.actor.hex()
    async with entrance.view("gamification.read", actor=actor, days=days) as view:
        report = await progress(view.tallies, bytes.fromhex(actor), days, view.tenant.calendar, view.now)
    return entrance.respond(report)


@router.get(
    "/leaderboard",
    summary="Who has gathered how many points",
    response_model=Leaderboard | SupportiveLeaderboard,
    responses={**answers(_LEADERBOARD), **_NO_GROUP},
)
async def leaderboard_of(
    request: Request,
    entrance: Enter,
    timeframe: Annotated[
        Timeframe | None,
        Query(
            description="`day`, `week` (from Monday), `month` or `all`: the one it is where the tenant is. `week` unless a season is asked for."
        ),
    ] = None,
    metric: Annotated[
        str, Query(max_length=100, description="A declared board.", examples=[BOARD.name])
    ] = BOARD.name,
    group: GroupParameter = None,
    limit: Annotated[
        int, Query(ge=1, le=100, description="How many at most; 10 in supportive mode.", examples=[10])
    ] = 10,
    season: Annotated[
        str | None,
        Query(max_length=100, description="A season that the board declares, instead of a timeframe."),
    ] = None,
    supportive: Annotated[
        bool,
        Query(
            description="Show ten and compare nobody: no ranks, percentiles or neighbours of who is not among them."
        ),
    ] = False,
) -> Response:
    """The first of a board, and one's own rank, percentile, distance to the next rank and neighbours.

    Everybody may see the tenant's board, and members those of their groups, whose members are ranked among themselves. Ids are shown of those alone
    whom one may see. Scores are read from summaries that are kept up to date: an event counts as soon as it is applied.
    """
    checked_limit(limit, supportive=supportive)
    if timeframe is not None and season is not None:
        raise InputError("season and timeframe exclude each other: leave one of them out", "season")
    board = boards.board_named(request.app.state.catalogue.boards, metric)
    async with entrance.view(
        "gamification.leaderboard",
        group=group,
        metric=metric,
        timeframe=timeframe,
        season=season,
        limit=limit,
    ) as view:
        calendar, viewer = view.tenant.calendar, view.caller.actor
        if season is not None:
            frame = boards.season_frame(board, season, calendar)
        else:
            frame = view.frame(board.name, timeframe or DEFAULT_TIMEFRAME)
        among = None if group is None else await view.members(group)
        standings = await view.standings(frame, among)
        reading = await boards.read(standings, frame, viewer, limit)
    # Asked when the snapshot is closed: a directory may take its time.
    names = await view.names(reading.actors)
    audience = boards.Audience(viewer, view.actors, names)
    report = presented(reading, frame, calendar, audience, supportive=supportive)
    return entrance.respond(report)
