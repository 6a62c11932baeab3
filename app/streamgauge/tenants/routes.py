"""`/api/v1/tenants`: what owners do with all of them, and admins with their own."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Path, Request

from streamgauge.access import Caller, audit
from streamgauge.read.problem_document import PROBLEMS, problem_response
from streamgauge.read.problems import Refusal
from streamgauge.tenants import store
from streamgauge.tenants.acting import After, Limit, TenantId, acting, asking, no_tenant
from streamgauge.tenants.bodies import documented, json_of
from streamgauge.tenants.records import NewTenant, Receipt, Tenant, TenantChange, Tenants

Admin = Annotated[Caller, Depends(asking("tenants"))]
Owner = Annotated[Caller, Depends(asking("platform"))]
_GOVERNED = ("status", "budgets")  # by the platform alone
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: problem_response("There is no such tenant, or it is not the caller's.")
}
_BODY: dict[int | str, dict[str, Any]] = {
    413: problem_response("The body is too long."),
    415: problem_response("The body is not sent as it has to be."),
}

router = APIRouter(prefix="/api/v1", tags=["tenants"], responses=PROBLEMS)


@router.get("/tenants", summary="Tenants that the caller administers")
async def list_tenants(request: Request, caller: Admin, after: After = None, limit: Limit = 20) -> Tenants:
    """An owner's are all tenants, by id and in pages; an admin's is their own."""
    async with acting(request, caller) as connection:
        # One more tells whether there are more.
        rows = await store.listed(connection, after, limit + 1)
    return Tenants(tenants=rows[:limit], next=rows[limit - 1].id if len(rows) > limit else None)


@router.post(
    "/tenants",
    summary="Make a tenant",
    status_code=201,
    responses={**_BODY, 409: problem_response("There is a tenant of that id.")},
    openapi_extra=documented(NewTenant),
)
async def make_tenant(
    request: Request, caller: Owner, new: Annotated[NewTenant, Depends(json_of(NewTenant))]
) -> Tenant:
    """Its id is what events carry, and stays; its first keys are made with `streamgauge keys create`."""
    try:
        async with acting(request, caller) as connection:
            await store.make(connection, new)
            await audit.append(connection, caller, "tenants.create", f"/tenants/{new.id}", new.model_dump())
            made = await store.found(connection, new.id)
    except store.ExistsError as error:
        raise HTTPException(409, str(error)) from None
    assert made is not None  # noqa: S101 - it was made in this transaction
    return made


@router.get("/tenants/{tenant}", summary="One tenant", responses=_UNKNOWN)
async def show_tenant(request: Request, caller: Admin, name: TenantId) -> Tenant:
    """Its name, time zone, policies and budgets, and whether it is suspended or being deleted."""
    async with acting(request, caller) as connection:
        found = await store.found(connection, name)
    if found is None:
        raise no_tenant()
    return found


@router.patch(
    "/tenants/{tenant}",
    summary="Change a tenant",
    responses={**_UNKNOWN, **_BODY},
    openapi_extra=documented(TenantChange),
)
async def change_tenant(
    request: Request,
    caller: Admin,
    name: TenantId,
    wanted: Annotated[TenantChange, Depends(json_of(TenantChange))],
) -> Tenant:
    """What is left out stays. Status and budgets are an owner's to change; a suspended tenant's credentials are refused with 403."""
    if caller.role != "owner":
        for field in _GOVERNED:
            if field in wanted.model_fields_set:
                raise Refusal(f"{field} is the platform's to change: leave it out", field)
    async with acting(request, caller) as connection:
        changed = await store.change(connection, name, wanted)
        if changed is None:
            raise no_tenant()
        detail = wanted.model_dump(mode="json", exclude_unset=True)
        await audit.append(connection, caller, "tenants.change", f"/tenants/{name}", detail)
    return changed


@router.delete("/tenants/{tenant}", summary="Delete a tenant", status_code=202, responses=_UNKNOWN)
async def delete_tenant(request: Request, caller: Owner, name: TenantId) -> Receipt:
    """Its credentials end now; a worker then deletes what is kept of it, and completes the receipt, which stays."""
    async with acting(request, caller) as connection:
        receipt = await store.leave(connection, name, caller.key_id)
        if receipt is None:
            raise no_tenant()
        await audit.append(
            connection, caller, "tenants.delete", f"/tenants/{name}", {"receipt": receipt.receipt_id}
        )
    return receipt


@router.get(
    "/deletions/{receipt}",
    summary="What became of a deletion",
    responses={404: problem_response("There is no such receipt.")},
)
async def show_receipt(
    request: Request,
    caller: Owner,
    receipt_id: Annotated[
        UUID,
        Path(
            alias="receipt",
            description="Of the answer to DELETE.",
            examples=["7b6bbcae-a644-4b55-a04d-bebe6e6a71fd"],
        ),
    ],
) -> Receipt:
    """Without `deleted_at` it is still under way."""
    async with acting(request, caller) as connection:
        found = await store.receipt(connection, receipt_id)
    if found is None:
        raise HTTPException(404, "there is no such receipt")
    return found
