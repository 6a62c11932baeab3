"""Each statement of a request judged by itself: what it becomes, for whoever sends it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, Field
from starlette.datastructures import State

from streamgauge.access import Caller
from streamgauge.ingest.items import Item, RejectedError, parse
from streamgauge.xapi.statements import RefusedError, Statement, id_of, read_statement
from streamgauge.xapi.voiding import Voided


class StatementResult(BaseModel):
    """What became of one statement, in the order of the request."""

    status: Literal["accepted", "voided", "rejected"] = Field(
        description="`voided`: left out, because another statement of this request takes it back."
    )
    id: str | None = Field(default=None, description="The statement's; made here when it came without one.")
    event_id: str | None = Field(
        default=None, description="Of the event it became; a voiding statement becomes none."
    )
    dropped_properties: list[str] | None = Field(
        default=None, description="Members that say something there is no place for."
    )
    reason: str | None = None
    field: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    result: StatementResult
    item: Item | None = None  #: None: nothing is to be sent


class Judge:
    """What a caller's statements become."""

    def __init__(self, state: State, caller: Caller, given: Sequence[Any]) -> None:
        """`state`: of the application, which has the vocabulary and the keyring. `given`: all statements of the request."""
        self._vocabulary, self._pseudonym_of = state.vocabulary, state.pseudonym_of
        self._lateness = timedelta(days=state.settings.max_lateness_days)
        self._caller = caller
        self._voided = Voided.among(given, given)
        self._now = datetime.now(UTC)

    def judge(self, given: Any) -> Judged:
        """One statement's result, and its event if it becomes one. Raises SettingsError when the keyring cannot be used."""
        statement_id = None
        try:
            statement_id = id_of(given) or str(uuid4())
            if self._voided.holds(given):
                return Judged(StatementResult(status="voided", id=statement_id))
            statement = read_statement(given)
            if not isinstance(statement, Statement):
                self._voided.check(statement)
                return Judged(StatementResult(status="accepted", id=statement_id))
            self._check_actor(statement.actor)
            item = self._item(statement, statement_id)
        except (RefusedError, RejectedError) as error:
            # Members of an event stand for those of the statement.
            field = {"occurred_at": "timestamp", "properties": "statement"}.get(error.field, error.field)
            return Judged(
                StatementResult(
                    status="rejected", id=statement_id, reason=error.reason, field=field, detail=error.detail
                )
            )
        left_out = [*statement.left_out, *item.undeclared] or None
        return Judged(StatementResult(status="accepted", id=statement_id, dropped_properties=left_out), item)

    def _check_actor(self, actor: str) -> None:
        own = self._caller.actor
        if own is None and self._caller.source == "browser":
            raise RejectedError(
                "invalid_identity",
                "actor",
                "a browser's key is in everybody's hands: it may speak for nobody by name",
            )
        if own is not None and own != self._pseudonym_of(self._caller.tenant, actor):
            raise RejectedError(
                "invalid_identity", "actor", "this key is one person's: send their statements alone"
            )

    def _item(self, statement: Statement, statement_id: str) -> Item:
        event = {
            "name": statement.name,
            "properties": statement.properties,
            "occurred_at": statement.occurred_at,
            "session": statement.session,
            "idempotency_key": statement_id,
        }
        return replace(parse(event, self._vocabulary, self._now, self._lateness), actor=statement.actor)
