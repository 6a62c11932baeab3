"""`/api/v1/tenants/{tenant}/groups`: classes and teams of the caller's own tenant."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import Response

from streamgauge.access import Caller, audit
from streamgauge.errors import InputError
from streamgauge.limits.bodies import decode_json, read_body
from streamgauge.read.problem_document import PROBLEMS, problem_response
from streamgauge.tenants import groups
from streamgauge.tenants.acting import After, Limit, TenantId, acting, asking, no_tenant
from streamgauge.tenants.bodies import CSV, JSON, MOST_BYTES, documented, json_of, media_type, validated
from streamgauge.tenants.groups import Group, GroupChanges, GroupContent, Groups, NamedGroup, SeveralGroups
from streamgauge.tenants.records import LONGEST_ID

Admin = Annotated[Caller, Depends(asking("admin"))]
GroupId = Annotated[
    str,
    Path(alias="group", min_length=1, max_length=LONGEST_ID, description="A group's id.", examples=["7b"]),
]
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: problem_response("There is no such group, or the tenant is not the caller's.")
}
_BODY: dict[int | str, dict[str, Any]] = {
    413: problem_response("The body is too long."),
    415: problem_response("The body is not sent as it has to be."),
}

router = APIRouter(
    prefix="/api/v1/tenants/{tenant}/groups", tags=["tenants"], responses={**PROBLEMS, **_UNKNOWN}
)


async def own(caller: Admin, name: TenantId) -> Caller:
    """A dependency that gives the admin of the tenant in the path; anybody else's is not there."""
    if caller.tenant != name:
        raise no_tenant()
    return caller


Own = Annotated[Caller, Depends(own)]


async def several(request: Request) -> list[NamedGroup]:
    """A dependency that gives the groups of a body, JSON or CSV."""
    given = media_type(request, JSON, CSV)
    body = await read_body(request, MOST_BYTES, "send fewer groups at once")
    if given == JSON:
        return validated(SeveralGroups, decode_json(body)).groups
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the body is not UTF-8: byte {error.start}", "body") from None
    return await asyncio.to_thread(groups.read_csv, text)


@router.get("", summary="A tenant's groups")
async def list_groups(request: Request, caller: Own, after: After = None, limit: Limit = 20) -> Groups:
    """By id and in pages, with how many members and managers each has."""
    async with acting(request, caller) as connection:
        rows = await groups.listed(connection, caller.tenant_id, after, limit + 1)
    return Groups(groups=rows[:limit], next=rows[limit - 1].id if len(rows) > limit else None)


@router.put("", summary="Set several groups", responses=_BODY, openapi_extra=documented(SeveralGroups, CSV))
async def put_groups(
    request: Request, caller: Own, given: Annotated[list[NamedGroup], Depends(several)]
) -> GroupChanges:
    """Each group given is afterwards as given; others stay. As JSON, or as CSV with the columns group, name, kind, actor, role.

    The same twice changes nothing. Either all of it holds, or nothing.
    """
    return await _put(request, caller, given)


@router.get("/{group}", summary="One group")
async def show_group(request: Request, caller: Own, group_id: GroupId) -> Group:
    """Its name and kind, and how many members and managers it has."""
    async with acting(request, caller) as connection:
        found = await groups.found(connection, caller.tenant_id, group_id)
    if found is None:
        raise _no_group()
    return found


@router.put("/{group}", summary="Set one group", responses=_BODY, openapi_extra=documented(GroupContent))
async def put_group(
    request: Request,
    caller: Own,
    group_id: GroupId,
    content: Annotated[GroupContent, Depends(json_of(GroupContent))],
) -> GroupChanges:
    """Afterwards it has this name and kind, and these members and managers alone."""
    return await _put(request, caller, [NamedGroup(id=group_id, **content.model_dump())])


@router.delete("/{group}", summary="Remove a group", status_code=204)
async def remove_group(request: Request, caller: Own, group_id: GroupId) -> Response:
    """Its people stay; analysts who were limited to it see nobody through it any more."""
    async with acting(request, caller) as connection:
        if not await groups.remove(connection, caller.tenant_id, group_id):
            raise _no_group()
        await audit.append(connection, caller, "groups.remove", f"/tenants/{caller.tenant}/groups/{group_id}")
    return Response(status_code=204)


async def _put(request: Request, caller: Caller, given: list[NamedGroup]) -> GroupChanges:
    pseudonym_of = request.app.state.pseudonym_of
    async with acting(request, caller) as connection:
        done = await groups.put(
            connection, caller.tenant_id, given, lambda external: pseudonym_of(caller.tenant, external)
        )
        # Of people only their number: whom an identifier stands for is not for the log.
        detail = {**done.model_dump(), "ids": [group.id for group in given][:100]}
        await audit.append(connection, caller, "groups.put", f"/tenants/{caller.tenant}/groups", detail)
    return done


def _no_group() -> HTTPException:
    return HTTPException(404, "there is no such group")
