"""Typed calls for the coach domain's events."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict, Unpack

from streamgauge.capture.identity import Identifier, text_of
from streamgauge.domains.coach import declarations as coach

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge
    from streamgauge.capture.pending import Ticket


class About(TypedDict, total=False):
    """Whom an event is about, and when it was: as `Streamgauge.track` takes it, and like there the request's where left out."""

    actor: Identifier | None
    session: Identifier | None
    group: Identifier | None
    idempotency_key: str | None
    occurred_at: datetime | int | None
    tenant: str | None


class Coach:
    """What `gauge.coach` is. No call blocks or raises; each returns whether the event was accepted, or why not.

    There is no argument for what was said, and there will be none. Conversations are named by an identifier of the application's, which
    is stored as it is: never name one after a person or a topic.
    """

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge

    def conversation_started(self, conversation: Identifier, **about: Unpack[About]) -> "Ticket":
        """Somebody turned to the assistant."""
        return self._record(coach.CONVERSATION_STARTED.name, conversation, {}, about)

    def conversation_ended(
        self, conversation: Identifier, *, resolved: bool, **about: Unpack[About]
    ) -> "Ticket":
        """A conversation is over.

        Args:
            resolved: whether it settled what it was about.
        """
        return self._record(coach.CONVERSATION_ENDED.name, conversation, {coach.RESOLVED: resolved}, about)

    def message_exchanged(
        self,
        conversation: Identifier,
        *,
        model: str,
        latency_us: int,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        **about: Unpack[About],
    ) -> "Ticket":
        """The assistant answered a question.

        Args:
            model: as it was asked for by name; prices are declared by these names.
            latency_us: microseconds from the question to the end of the answer, up to a day.
            input_tokens, output_tokens: up to 10,000,000 each; None where they are not known, which then count as none.
        """
        given = {
            coach.MODEL: model,
            coach.DURATION: latency_us,
            coach.INPUT_TOKENS: input_tokens,
            coach.OUTPUT_TOKENS: output_tokens,
        }
        return self._record(coach.MESSAGE_EXCHANGED.name, conversation, given, about)

    def feedback_rated(self, conversation: Identifier, *, rating: int, **about: Unpack[About]) -> "Ticket":
        """Somebody rated the assistant, from 1 (bad) to 5 (good); every rating counts, also of the same conversation."""
        return self._record(coach.FEEDBACK_RATED.name, conversation, {coach.RATING: rating}, about)

    def conversation_escalated(self, conversation: Identifier, **about: Unpack[About]) -> "Ticket":
        """A human had to take over."""
        return self._record(coach.CONVERSATION_ESCALATED.name, conversation, {}, about)

    def _record(
        self, name: str, conversation: Identifier, properties: Mapping[str, object], about: About
    ) -> "Ticket":
        # What is no identifier goes as it is, to be refused with everything else that is wrong with an event.
        given = {coach.CONVERSATION: text_of(conversation) or conversation, **properties}
        told = {key: value for key, value in given.items() if value is not None}
        return self._gauge.record(name, told, **about)
