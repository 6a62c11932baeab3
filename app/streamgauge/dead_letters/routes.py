"""`/api/v1/dead-letters`: an admin's own tenant's; an owner's are those of no tenant."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from streamgauge.access import Caller, audit
from streamgauge.dead_letters import replay as replaying
from streamgauge.dead_letters import store
from streamgauge.dead_letters.records import (
    DeadLetter,
    DeadLetters,
    Discarded,
    KeptFor,
    OneDeadLetter,
    Requested,
    Several,
    opened,
    requested,
    shown,
)
from streamgauge.dead_letters.store import State, Wanted, Whose
from streamgauge.people import cursors
from streamgauge.people.documented import Cursor
from streamgauge.read.api.parameters import LONGEST_INSTANT
from streamgauge.read.date_range import parse_instant
from streamgauge.read.problem_document import PROBLEMS, problem_response
from streamgauge.tenants.acting import acting, asking
from streamgauge.tenants.bodies import documented, json_of

_PATH = "/dead-letters"
_LARGEST = 2**62
Admin = Annotated[Caller, Depends(asking("tenants"))]
Letter = Annotated[int, Path(alias="id", ge=1, lt=_LARGEST, description="A dead letter's id.", examples=[17])]
Chosen = Annotated[Several, Depends(json_of(Several))]
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: problem_response("There is no such dead letter, or it is not the caller's.")
}
_DECIDED: dict[int | str, dict[str, Any]] = {
    **_UNKNOWN,
    409: problem_response("It is not open any more, or cannot be replayed now."),
}
_BODY: dict[int | str, dict[str, Any]] = {
    413: problem_response("The body is too long."),
    415: problem_response("The body is not sent as it has to be."),
}

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"], responses=PROBLEMS)


@router.get("", summary="Dead letters")
async def list_letters(
    request: Request,
    caller: Admin,
    reason: Annotated[
        KeptFor | None, Query(description="Only those of this reason.", examples=["late"])
    ] = None,
    state: Annotated[State | None, Query(description="Only those in this state.", examples=["open"])] = None,
    since: Annotated[
        str | None,
        Query(
            alias="from",
            max_length=LONGEST_INSTANT,
            description="Refused from this RFC 3339 instant on.",
            examples=["2026-01-01T00:00:00Z"],
        ),
    ] = None,
    to: Annotated[
        str | None,
        Query(
            max_length=LONGEST_INSTANT,
            description="Refused before this RFC 3339 instant.",
            examples=["2026-02-01T00:00:00Z"],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.", examples=[20])] = 20,
    cursor: Cursor = None,
) -> DeadLetters:
    """What was refused, the newest first, without what it held: an admin's own tenant's; an owner's are those of no tenant."""
    question = ["dead letters", caller.tenant, reason, state, since, to]
    before = None if cursor is None else cursors.decode(question, cursor, (int,))[0]
    start, end = (
        None if text is None else parse_instant(text, field) for text, field in ((since, "from"), (to, "to"))
    )
    wanted = Wanted(reason, state, start, end, before=before)
    async with acting(request, caller) as connection:
        rows = await store.listed(connection, _whose(caller), wanted, limit + 1)
    following = cursors.encode(question, [rows[limit - 1]["dead_letter_id"]]) if len(rows) > limit else None
    return DeadLetters(dead_letters=[DeadLetter(**shown(row)) for row in rows[:limit]], next_cursor=following)


@router.post(
    "/replay",
    summary="Replay several dead letters",
    status_code=202,
    responses=_BODY,
    openapi_extra=documented(Several),
)
async def replay_several(request: Request, caller: Admin, chosen: Chosen) -> Requested:
    """Sends the newest open ones of a reason through the stream again; each counts once, however often it is asked for.

    Those that would be refused again are left, and told. What is late counts now, which makes a new revision of the tenant's history.
    """
    done = await _replay(request, caller, Wanted(chosen.reason, "open"), chosen.limit, chosen.model_dump())
    return requested(done)


@router.post(
    "/discard", summary="Discard several dead letters", responses=_BODY, openapi_extra=documented(Several)
)
async def discard_several(request: Request, caller: Admin, chosen: Chosen) -> Discarded:
    """Removes what the newest open ones of a reason hold. That they were refused stays counted."""
    return await _discard(request, caller, Wanted(chosen.reason, "open"), chosen.limit, chosen.model_dump())


@router.get("/{id}", summary="One dead letter", responses=_UNKNOWN)
async def show_letter(request: Request, caller: Admin, letter_id: Letter) -> OneDeadLetter:
    """With the event that it holds; of a whole entry, what kind of events are in it. That it was read is audited."""
    async with acting(request, caller) as connection:
        rows = await store.listed(connection, _whose(caller), Wanted(ids=[letter_id]), 1)
        if not rows:
            raise _no_letter()
        held = await store.contents(connection, [letter_id])
        await audit.append(connection, caller, "dead_letters.read", f"{_PATH}/{letter_id}")
    return opened(rows[0], held[letter_id], caller.people)


@router.post("/{id}/replay", summary="Replay a dead letter", status_code=202, responses=_DECIDED)
async def replay_letter(request: Request, caller: Admin, letter_id: Letter) -> Requested:
    """Sends it through the stream again; it is `replayed` once a worker has applied it, and counts once, however often it is asked for."""
    done = await _replay(request, caller, Wanted(ids=[letter_id]), 1, {})
    if not done.letters:
        raise _no_letter()
    if done.unready:
        raise HTTPException(409, f"dead letter {letter_id} is not replayed: {done.unready[letter_id]}")
    return requested(done)


@router.post("/{id}/discard", summary="Discard a dead letter", responses=_DECIDED)
async def discard_letter(request: Request, caller: Admin, letter_id: Letter) -> Discarded:
    """Removes what it holds. That it was refused stays counted."""
    done = await _discard(request, caller, Wanted(ids=[letter_id]), 1, {})
    if not done.letters:
        async with acting(request, caller) as connection:
            if not await store.listed(connection, _whose(caller), Wanted(ids=[letter_id]), 1):
                raise _no_letter()
        raise HTTPException(409, f"dead letter {letter_id} is not open any more")
    return done


async def _replay(
    request: Request, caller: Caller, wanted: Wanted, limit: int, detail: Mapping[str, Any]
) -> replaying.Replay:
    stream = request.app.state.stream
    async with acting(request, caller) as connection:
        replay = await replaying.prepare(connection, stream, _whose(caller), wanted, limit)
        if replay.sending:
            await replaying.request(connection, replay, caller.key_id)
            ids = [each.letter["dead_letter_id"] for each in replay.sending]
            await audit.append(connection, caller, "dead_letters.replay", _PATH, {**detail, **_counted(ids)})
    # Behind the commit: a worker that reads it must find that its lane is trusted.
    await replaying.send(stream, replay)
    return replay


async def _discard(
    request: Request, caller: Caller, wanted: Wanted, limit: int, detail: Mapping[str, Any]
) -> Discarded:
    async with acting(request, caller) as connection:
        found = await store.discard(connection, _whose(caller), wanted, limit, caller.key_id)
        if found:
            ids = [letter["dead_letter_id"] for letter in found]
            await audit.append(connection, caller, "dead_letters.discard", _PATH, {**detail, **_counted(ids)})
    return Discarded(letters=len(found), events=sum(letter["events"] for letter in found))


def _counted(ids: list[int]) -> dict[str, Any]:
    return {"letters": len(ids), "ids": ids[:100]}


def _whose(caller: Caller) -> Whose:
    return Whose(tenant_id=caller.tenant_id or None)


def _no_letter() -> HTTPException:
    return HTTPException(404, "there is no such dead letter")
