"""What is asked of the summaries for the overview: each question as `POST /api/v1/query` takes it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from streamgauge.domains.coach.declarations import EVENT_NAMES, MODEL, RATING, RESOLVED
from streamgauge.summaries.calendar import FIRST_DATE, Calendar
from streamgauge.summaries.rollups import EVENT_NAME

Question = Mapping[str, Any]

LATENCIES: Final = ("p50_coach_latency", "p95_coach_latency", "p99_coach_latency")
TOKENS: Final = ("coach_input_tokens", "coach_output_tokens")
TOTALS: Final = ("coach_messages", *LATENCIES, *TOKENS, "coach_endings", "avg_coach_rating")
BY_MODEL: Final = ("coach_messages", *LATENCIES, *TOKENS)
BY_DAY: Final = ("coach_messages", "p95_coach_latency", *TOKENS, "coach_endings", "avg_coach_rating")

_DAY: Final = "time:day"
_OURS: Final = [["is", EVENT_NAME, list(EVENT_NAMES)]]


def last_days(calendar: Calendar, now: int, days: int) -> tuple[str, str]:
    """The first and the last of so many local dates, today being the last; none before 1970."""
    today = calendar.date_of(now)
    room = today - FIRST_DATE
    first: date = today - min(timedelta(days - 1), room)
    return first.isoformat(), today.isoformat()


def questions(period: tuple[str, str]) -> Mapping[str, Question]:
    """The questions about a period of local dates, by the part of the overview that they are for."""
    asked: Mapping[str, Question] = {
        "totals": {"metrics": TOTALS},
        "users": {"metrics": ["actors"], "filters": _OURS},
        "events": {"metrics": ["events"], "dimensions": [EVENT_NAME], "filters": _OURS},
        "endings": {"metrics": ["coach_endings"], "dimensions": [RESOLVED]},
        "ratings": {"metrics": ["coach_ratings"], "dimensions": [RATING]},
        "models": {"metrics": BY_MODEL, "dimensions": [MODEL], "include": {"total_rows": True}},
        "days": {"metrics": BY_DAY, "dimensions": [_DAY]},
        "users_by_day": {"metrics": ["actors"], "dimensions": [_DAY], "filters": _OURS},
        "events_by_day": {"metrics": ["events"], "dimensions": [_DAY, EVENT_NAME], "filters": _OURS},
        "endings_by_day": {"metrics": ["coach_endings"], "dimensions": [_DAY, RESOLVED]},
    }
    return {part: {**question, "date_range": list(period)} for part, question in asked.items()}
