"""`/api/v1/collaboration/…`."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import Response

from streamgauge.domains.collaboration import examples
from streamgauge.domains.collaboration.drafts import DraftReport, RingHolder, draft_report, read_draft
from streamgauge.domains.collaboration.leaderboard import (
    CollaborationBoard,
    Placer,
    Readers,
    board_report,
    scored,
)
from streamgauge.domains.collaboration.scores import Metric
from streamgauge.domains.collaboration.writers import WriterReport, read_writer, writer_report
from streamgauge.entities.stored import StoredTallies
from streamgauge.entities.view import Enter, GroupParameter, LimitParameter, View
from streamgauge.people.desk import refuse_zeros
from streamgauge.people.documented import NOT_THERE, ActorId, answers
from streamgauge.people.sight import parse_id
from streamgauge.read.problem_document import PROBLEMS, problem_response

LONGEST_DRAFT: Final = 512  # characters
ACTION: Final = "collaboration.read"  # as the audit log calls it

router = APIRouter(prefix="/api/v1/collaboration", tags=["collaboration"], responses=PROBLEMS)
_NO_DRAFT: dict[int | str, dict[str, Any]] = {
    404: problem_response(
        "There is no such draft, or it may not be seen: nothing tells the one from the other."
    )
}
_NO_GROUP: dict[int | str, dict[str, Any]] = {
    404: problem_response(
        "There is no such group, or it may not be seen: nothing tells the one from the other."
    )
}


@router.get(
    "/drafts/{id}",
    summary="What happened to a draft",
    response_model=DraftReport,
    responses={**answers(examples.DRAFT), **_NO_DRAFT},
)
async def draft(
    entrance: Enter,
    id: Annotated[
        str,
        Path(
            max_length=LONGEST_DRAFT,
            description="The draft's id, as the application names it. One with a slash cannot be asked for.",
            examples=["story-17"],
        ),
    ],
) -> Response:
    """Views, shares, segments, contributors and passes of the ring of one draft, whoever they are of; who has the ring, and whether it is published.

    A member may ask for drafts that it created, wrote a segment of, or was ever passed the ring of; an analyst who is limited to groups for
    those of which that is true of one of their members; other analysts and admins for all. Having viewed, shared, published or passed
    on a draft is not enough.
    """
    refuse_zeros(id=id)
    async with entrance.view(ACTION) as view:
        found = await read_draft(view.everybody(), id)
    if found is None or not found.involves(view.actors):
        raise HTTPException(404, "there is no such draft")
    holder = None
    if found.holder is not None and (view.actors is None or found.holder in view.actors):
        names = await view.names([found.holder])
        holder = RingHolder(found.holder.hex(), names[found.holder])
    return entrance.respond(draft_report(found, holder))


@router.get(
    "/users/{id}",
    summary="A user's part in drafts",
    response_model=WriterReport,
    responses={**answers(examples.WRITER), **NOT_THERE},
)
async def user(entrance: Enter, id: ActorId) -> Response:
    """Drafts created and contributed to, segments written, rings held, and the true mean time of holding one, from pass to pass."""
    pseudonym = parse_id(id)
    async with entrance.view(ACTION, actor=id) as view:
        writer = await read_writer(view.tallies, view.everybody(), pseudonym)
    names = await view.names([pseudonym])
    return entrance.respond(writer_report(writer, id, names[pseudonym], view.now))


@router.get(
    "/leaderboard",
    summary="Who contributes most",
    response_model=CollaborationBoard,
    responses={**answers(examples.BOARD), **_NO_GROUP},
)
async def leaderboard(
    entrance: Enter,
    metric: Annotated[Metric, Query(description="Which score.", examples=["momentum"])] = "collaboration",
    group: GroupParameter = None,
    days: Annotated[
        int | None,
        Query(
            ge=1,
            le=365,
            description="Only these local days back from now, today included; all when left out.",
            examples=[30],
        ),
    ] = None,
    limit: LimitParameter = 10,
) -> Response:
    """Users of the tenant, or of a group, by score; of equal scores the smaller id first. Ids only of those whom the caller may see.

    - `collaboration`: 3 for each segment written, 2 for each ring held, 1 for each draft contributed to.
    - `consistency`: 5 for each draft created, 2 for each contributed to.
    - `momentum`: 1 for each segment written and 5 for each draft created, each local day's (of the tenant's time zone) times
      2^(-age of the day in days / 7): today's whole, those of a week ago half. Computed in 2^-32 points, each day's weight rounded
      down; a day counts nothing once it is 225 days old.

    To contribute to a draft is to create it or to write a segment of it; a draft counts once (for `momentum`, as created, once a day). A
    ring is held once for each time it is passed to somebody. A group's board is of those who are in it without managing it.
    """
    async with entrance.view(ACTION, group=group, metric=metric, days=days, limit=limit) as view:
        readers = await _readers(view, group)
        order = await scored(readers, metric, days, view.tenant.calendar, view.now)
    names = await view.names([each.actor for each in order[:limit]])
    placer = Placer(view.caller.actor, view.actors, names)
    return entrance.respond(board_report(order, metric, group, days, limit, placer))


async def _readers(view: View, group: str | None) -> Readers:
    if group is None:
        return Readers(view.everybody(), view.everybody())
    members = await view.members(group)
    return Readers(StoredTallies(view.connection, view.tenant.tenant_id, members), view.everybody(), members)
