"""Writing in turns, and a coach to ask: what the domains `collaboration` and `coach` are for."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from streamgauge.integrations.fastapi import Tracker

from .sessions import Student

MODEL = "example-model"
LATENCY_US = 420_000

together = APIRouter()
Name = Annotated[str, Field(min_length=1, max_length=40)]


class Turn(BaseModel):
    """Who is to write next."""

    to: Name


class Question(BaseModel):
    """A question to the coach, of which nothing but whether the answer helped is recorded."""

    conversation: Name
    helpful: bool


@together.post("/drafts/{draft}", status_code=204)
async def create_draft(draft: str, student: Student, gauge: Tracker) -> None:
    """Who begins a draft has the ring: the right to write."""
    gauge.collaboration.draft_created(draft=draft)
    gauge.collaboration.ring_passed(draft=draft, to=student)


@together.post("/drafts/{draft}/segments", status_code=204)
async def add_segment(draft: str, student: Student, gauge: Tracker) -> None:
    """What was written stays here: that it was is all that is recorded."""
    gauge.collaboration.segment_added(draft=draft)


@together.post("/drafts/{draft}/ring", status_code=204)
async def pass_ring(draft: str, student: Student, turn: Turn, gauge: Tracker) -> None:
    """Both students leave this process as pseudonyms."""
    gauge.collaboration.ring_passed(draft=draft, to=turn.to)


@together.post("/coach/questions", status_code=204)
async def ask_coach(student: Student, question: Question, gauge: Tracker) -> None:
    """A whole conversation at once. Neither question nor answer is recorded."""
    name = question.conversation
    gauge.coach.conversation_started(conversation=name)
    gauge.coach.message_exchanged(
        conversation=name, model=MODEL, latency_us=LATENCY_US, input_tokens=120, output_tokens=260
    )
    gauge.coach.feedback_rated(conversation=name, rating=5 if question.helpful else 2)
    gauge.coach.conversation_ended(conversation=name, resolved=question.helpful)
