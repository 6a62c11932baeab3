"""What every route does: find out the version, answer 304 or from what is kept, else read one snapshot and report."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any

import orjson
from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.database import Connection, Pool
from streamgauge.errors import InputError
from streamgauge.read.answer import Terms, ask
from streamgauge.read.api.kept_answers import KeptAnswers
from streamgauge.read.api.version import Versions
from streamgauge.read.date_range import parse_instant
from streamgauge.read.naming import near
from streamgauge.read.query import parse_query
from streamgauge.read.report import Answer, rfc3339
from streamgauge.read.rows import Tenant, load_tenant, snapshot

#: The grid of the clock that answers about hours and days are of: no zone's hour begins between its points.
QUARTER = 900  # seconds
PATIENCE = 5.0  # seconds a request waits for a connection
HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}

NowParameter = Annotated[
    str | None,
    Query(
        description="Answer as of this RFC 3339 instant. Only with the scope admin.",
        examples=["2015-05-21T00:00:00Z"],
    ),
]


@dataclass(frozen=True)
class Sight:
    """One snapshot of one tenant, at one instant: what a report is made from."""

    connection: Connection
    tenant: Tenant
    terms: Terms
    now: int  #: Unix second
    app_state: Any

    async def ask(self, question: Mapping[str, Any]) -> Answer:
        """The answer to a question, exactly as `query` gives it. Raises InputError."""
        given = {
            "now": rfc3339(datetime.fromtimestamp(self.now, UTC)),
            **question,
            "tenant": self.tenant_name,
        }
        return await ask(self.connection, self.tenant, parse_query(given, self.terms.catalogue), self.terms)

    tenant_name: str = ""


Report = Callable[[Sight], Awaitable[bytes]]


class Asking:
    """One request of one caller; a dependency of every route that reads."""

    def __init__(
        self, request: Request, caller: Annotated[Caller, Depends(require("read"))], now: NowParameter = None
    ) -> None:
        refuse_strangers(request)
        self.request = request
        self.caller = caller
        self.given_now = None
        if now is not None:
            if not caller.may("admin"):
                raise HTTPException(403, "now may only be given with the scope admin: leave it out")
            self.given_now = int(parse_instant(now, "now").timestamp())

    @staticmethod
    def terms(state: Any) -> Terms:
        """What this server's answers depend on beside the rows."""
        return Terms.of(state.settings, state.catalogue)

    async def respond(self, report: Report, grid: int = QUARTER) -> Response:
        """The response: 304 when the caller has this answer already. `grid`: seconds for which the clock counts as the same."""
        state = self.request.app.state
        version = await _versions(state).of(self.caller.tenant)
        now = version.clock // grid * grid if self.given_now is None else self.given_now
        terms = self.terms(state)
        depends = [
            version.digest, str(now), self.request.url.path, str(sorted(self.request.query_params.multi_items())),
            str(terms.cardinality_limit), str(terms.max_lateness),
        ]  # fmt: skip
        tag = f'"{blake2b(chr(10).join(depends).encode(), digest_size=16).hexdigest()}"'
        headers = {**HEADERS, "ETag": tag}
        if _has(self.request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)

        async def compute() -> bytes:
            pool: Pool = state.pool
            async with pool.acquire(timeout=PATIENCE) as connection, snapshot(connection):
                tenant = await load_tenant(connection, self.caller.tenant)
                return await report(Sight(connection, tenant, terms, now, state, self.caller.tenant))

        body = await _kept(state).get((self.caller.tenant, tag), compute)
        return Response(body, headers=headers, media_type="application/json")


def refuse_strangers(request: Request) -> None:
    """Raise InputError for a query parameter that the route does not have, or one that is given twice."""
    known = sorted(_names(request.scope["route"].dependant))
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise InputError(f"{name[:80]!r} is no parameter here: {near(name, known)}", name[:80])
        if given.count(name) > 1:
            raise InputError(f"{name} is given twice: give it once", name)


def dumped(found: Any) -> bytes:
    """JSON of models, answers and instants."""
    return orjson.dumps(found)


def from_answer(answer: Answer) -> Mapping[str, Any]:
    """An answer as it is within another JSON object."""
    return {"results": answer.results, "meta": answer.meta, "query": answer.query}


def texts(given: str, field: str) -> Sequence[str]:
    """A list of names separated by commas. Raises InputError when one is empty."""
    found = [part.strip() for part in given.split(",")]
    if not all(found):
        raise InputError(f"{field} is {given[:80]!r}: give names separated by commas", field)
    return found


def _names(dependant: Any) -> set[str]:
    return {each.alias for each in dependant.query_params}.union(
        *(_names(each) for each in dependant.dependencies)
    )


def _has(given: str, tag: str) -> bool:
    """Whether If-None-Match names the tag (RFC 9110, section 13.1.2: compared weakly)."""
    return given.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in given.split(",")}


def _versions(state: Any) -> Versions:
    if not hasattr(state, "versions"):
        state.versions = Versions(state.pool)
    found: Versions = state.versions
    return found


def _kept(state: Any) -> KeptAnswers:
    if not hasattr(state, "kept_answers"):
        state.kept_answers = KeptAnswers()
    found: KeptAnswers = state.kept_answers
    return found
