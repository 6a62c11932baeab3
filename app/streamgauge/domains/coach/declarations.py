"""The coach domain's events and summaries. Names follow OpenTelemetry's conventions for generative AI; durations are microseconds.

What was said has no place here: besides numbers, an event names a conversation and a model, and nothing else.
"""

from streamgauge.summaries.boards import Board
from streamgauge.summaries.rollups import Dimension, EventType, Property, Rollup
from streamgauge.summaries.tallies import Tally

CONVERSATION = "conversation.id"
RESOLVED = "resolved"
MODEL = "gen_ai.request.model"
DURATION = "duration"
INPUT_TOKENS, OUTPUT_TOKENS = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
RATING = "rating"

LONGEST_LATENCY = 86_400 * 1_000_000  # microseconds
MOST_TOKENS = 10_000_000  # of one message, in either direction
LEAST_RATING, MOST_RATING = 1, 5

_CONVERSATION = {CONVERSATION: Property(str, "which conversation, by an id that says nothing about it")}

CONVERSATION_STARTED = EventType(
    "conversation.started", "how often the assistant is asked for", _CONVERSATION
)
CONVERSATION_ENDED = EventType(
    "conversation.ended",
    "how many conversations settle what they were about",
    {**_CONVERSATION, RESOLVED: Property(bool, "whether it settled what it was about")},
)
MESSAGE_EXCHANGED = EventType(
    "message.exchanged",
    "how fast the assistant answers, and what it costs",
    {
        **_CONVERSATION,
        MODEL: Property(str, "the model that was asked"),
        DURATION: Property(
            int, "from the question to the end of the answer", "us", least=0, most=LONGEST_LATENCY
        ),
        INPUT_TOKENS: Property(int, "how much was put in", "{token}", least=0, most=MOST_TOKENS),
        OUTPUT_TOKENS: Property(int, "how much came out", "{token}", least=0, most=MOST_TOKENS),
    },
)
FEEDBACK_RATED = EventType(
    "feedback.rated",
    "how satisfied people are with the assistant",
    {
        **_CONVERSATION,
        RATING: Property(int, "from 1, bad, to 5, good", least=LEAST_RATING, most=MOST_RATING),
    },
)
CONVERSATION_ESCALATED = EventType(
    "conversation.escalated", "how often a human has to take over", _CONVERSATION
)

EVENT_TYPES: tuple[EventType, ...] = (
    CONVERSATION_STARTED, CONVERSATION_ENDED, MESSAGE_EXCHANGED, FEEDBACK_RATED, CONVERSATION_ESCALATED,
)  # fmt: skip
EVENT_NAMES = tuple(each.name for each in EVENT_TYPES)

MESSAGES = Rollup(
    "coach.message", MESSAGE_EXCHANGED.name, (Dimension(MODEL),), ((), (MODEL,)), value=DURATION,
    totals=(INPUT_TOKENS, OUTPUT_TOKENS), histogram=True,
)  # fmt: skip
ENDINGS = Rollup(
    "coach.conversation.end", CONVERSATION_ENDED.name, (Dimension(RESOLVED),), ((), (RESOLVED,)), actors=False
)  # fmt: skip
RATINGS = Rollup(
    "coach.rating", FEEDBACK_RATED.name, (Dimension(RATING),), ((), (RATING,)), value=RATING, actors=False
)
ROLLUPS: tuple[Rollup, ...] = (MESSAGES, ENDINGS, RATINGS)
TALLIES: tuple[Tally, ...] = ()
BOARDS: tuple[Board, ...] = ()
