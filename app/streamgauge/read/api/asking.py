"""What every route does: find out the version, answer 304 or from what is kept, else read one snapshot and report."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.database import Connection
from streamgauge.read.answer import Terms, ask
from streamgauge.read.api.desk import Desk
from streamgauge.read.api.kept_answers import Kept, Key
from streamgauge.read.api.parameters import LONGEST_INSTANT, refuse_strangers
from streamgauge.read.api.tags import has, tag_of, tagged, unchanged
from streamgauge.read.api.version import Version
from streamgauge.read.date_range import parse_instant
from streamgauge.read.problems import Refusal
from streamgauge.read.query import parse_query
from streamgauge.read.report import Answer, rfc3339
from streamgauge.read.rows import Tenant, load_tenant

#: The grid of the clock for answers about hours and days: no zone's hour begins between its points.
QUARTER = 900  # seconds

Reader = Annotated[Caller, Depends(require("read"))]
Now = Annotated[
    str | None,
    Query(
        max_length=LONGEST_INSTANT,
        description="Answer as of this RFC 3339 instant instead of the present. Only with the scope `admin`.",
        examples=["2015-05-21T00:00:00Z"],
    ),
]


@dataclass(frozen=True, slots=True)
class Sight:
    """One snapshot of one tenant, at one instant: what a report is made from."""

    connection: Connection
    name: str
    tenant: Tenant
    terms: Terms
    now: int  #: Unix second

    async def ask(self, question: Mapping[str, Any]) -> Answer:
        """The answer to a question, exactly as `query` gives it for the same `now`. Raises InputError."""
        now = rfc3339(datetime.fromtimestamp(self.now, UTC))
        query = parse_query({**question, "tenant": self.name, "now": now}, self.terms.catalogue)
        return await ask(self.connection, self.tenant, query, self.terms)


Report = Callable[[Sight], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Asking:
    """One request of one caller. `now` is the Unix second it asks as of, None for the present."""

    request: Request
    caller: Caller
    desk: Desk
    now: int | None = None

    async def respond(self, asked: object, report: Report, grid: int = QUARTER) -> Response:
        """The response: 304 when the caller has this answer already.

        `asked` says which report this is and what of, in numbers and texts; `grid` for how many seconds the clock counts as the
        same. Equal `asked`, version and grid point mean equal bytes, so an answer's tag is made of these.
        """
        desk, tenant = self.desk, self.caller.tenant
        looked_up = await desk.versions.of(tenant)
        now = looked_up.clock // grid * grid if self.now is None else self.now

        def tag(version: Version) -> str:
            return tag_of(version.digest, now, asked, desk.fingerprint)

        async def compute() -> Kept:
            async with desk.snapshot(self.caller.tenant_id) as connection:
                # More may have been committed since the look-up: the tag is of what this snapshot sees.
                version = await desk.versions.read(connection, tenant)
                found = await load_tenant(connection, tenant)
                body = await report(Sight(connection, tenant, found, desk.terms, now))
            return Kept(tag(version), body)

        expected = tag(looked_up)
        if has(self.request, expected):
            return unchanged(expected)
        kept = await desk.kept.get(Key(tenant, expected), compute)
        return unchanged(kept.tag) if has(self.request, kept.tag) else tagged(kept.body, kept.tag)


async def asking(request: Request, caller: Reader) -> Asking:
    """A dependency of every route that reads. Raises InputError for unknown and repeated parameters."""
    refuse_strangers(request)
    return Asking(request, caller, request.app.state.desk)


async def asking_as_of(present: Annotated[Asking, Depends(asking)], now: Now = None) -> Asking:
    """The same for a route that can answer as of another instant. Raises Refusal unless the caller may say so."""
    if now is None:
        return present
    check_may_say_now(present.caller)
    return replace(present, now=int(parse_instant(now, "now").timestamp()))


def check_may_say_now(caller: Caller) -> None:
    """Raise Refusal for a caller that must ask as of the present."""
    if not caller.may("admin"):
        raise Refusal("now may only be given with a key that has the scope admin: leave it out", "now")


Ask = Annotated[Asking, Depends(asking)]
AskAsOf = Annotated[Asking, Depends(asking_as_of)]
