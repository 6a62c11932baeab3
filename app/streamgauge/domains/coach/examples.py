"""An answer as an example, for the OpenAPI document."""

from typing import Any, Final

_LATENCY: Final = {"p50": 403.456, "p95": 1200.128, "p99": 2105.344}
_TOKENS: Final = {"input": 12_400, "output": 30_950}

OVERVIEW: Final[dict[str, Any]] = {
    "period_start": "2026-11-20T00:00:00+01:00",
    "period_end": "2026-11-21T00:00:00+01:00",
    "days": 1,
    "time_zone": "Europe/Berlin",
    "as_of": "2026-11-20T09:41:02.120000Z",
    "conversations_started": 40,
    "conversations_ended": 36,
    "conversations_resolved": 27,
    "conversations_escalated": 3,
    "resolution_rate": 0.75,
    "escalation_rate": 0.075,
    "messages": 120,
    "active_users": 31,
    "active_users_are": "distinct",
    "latency": _LATENCY,
    "ratings": {"count": 4, "mean": 4.25, "distribution": {"1": 0, "2": 0, "3": 1, "4": 1, "5": 2}},
    "tokens": _TOKENS,
    "currency": "EUR",
    "cost": 340_500,
    "models": [
        {
            "model": "example-model",
            "messages": 120,
            "latency": _LATENCY,
            "tokens": _TOKENS,
            "cost": 340_500,
        }
    ],
    "models_total": 1,
    "trend": [
        {
            "date": "2026-11-20",
            "conversations_started": 40,
            "conversations_ended": 36,
            "conversations_resolved": 27,
            "conversations_escalated": 3,
            "messages": 120,
            "active_users": 31,
            "p95_latency": 1200.128,
            "mean_rating": 4.25,
            "tokens": _TOKENS,
        }
    ],
}
