"""Typed calls for the collaboration domain's events."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from streamgauge.capture.identity import Identifier, text_of
from streamgauge.domains.collaboration.declarations import (
    CREATED,
    DRAFT,
    FROM,
    PUBLISHED,
    RING_PASSED,
    SEGMENT_ADDED,
    SHARED,
    TO,
    VIEWED,
)

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge
    from streamgauge.capture.pending import Ticket


class About(TypedDict, total=False):
    """What every call takes, as `Streamgauge.track` does: who did it, when, and the key by which a repetition is known."""

    actor: Identifier | None
    session: Identifier | None
    group: Identifier | None
    idempotency_key: str | None
    occurred_at: datetime | int | None
    tenant: str | None


class Collaboration:
    """What `gauge.collaboration` is. No call blocks or raises; each returns whether the event was accepted, or why not.

    Drafts are named by an identifier of the application's, which is stored as it is: up to 512 characters, without a slash, can be asked
    for. Never name one after a person.
    """

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge

    def draft_created(self, draft: Identifier, **about: Unpack[About]) -> "Ticket":
        """Record that the actor began a draft. It gives nobody the ring: pass it to whoever writes first."""
        return self._record(CREATED.name, draft, about)

    def draft_viewed(self, draft: Identifier, **about: Unpack[About]) -> "Ticket":
        """Record that the actor, or somebody unknown, read a draft."""
        return self._record(VIEWED.name, draft, about)

    def draft_shared(self, draft: Identifier, **about: Unpack[About]) -> "Ticket":
        """Record that the actor showed a draft to others."""
        return self._record(SHARED.name, draft, about)

    def draft_published(self, draft: Identifier, **about: Unpack[About]) -> "Ticket":
        """Record that a draft was finished. Whoever has its ring has it no more."""
        return self._record(PUBLISHED.name, draft, about)

    def segment_added(self, draft: Identifier, **about: Unpack[About]) -> "Ticket":
        """Record that the actor wrote a segment of a draft."""
        return self._record(SEGMENT_ADDED.name, draft, about)

    def ring_passed(
        self,
        draft: Identifier,
        *,
        to: Identifier,
        from_: Identifier | None = None,
        **about: Unpack[About],
    ) -> "Ticket":
        """Record that a draft's ring was passed on, by the actor.

        Args:
            to: who has it from now on, as the application knows them. It leaves the process as a keyed pseudonym only.
            from_: who had it, where that is not the actor; likewise.
        """
        given = about.get("actor") if from_ is None else from_
        return self._record(RING_PASSED.name, draft, about, {TO: to, FROM: given})

    def _record(
        self, name: str, draft: Identifier, about: About, more: dict[str, Any] | None = None
    ) -> "Ticket":
        # What is no identifier goes as it is, to be refused with everything else that is wrong with an event.
        properties = {DRAFT: text_of(draft) or draft, **(more or {})}
        return self._gauge.record(name, properties, **about)
