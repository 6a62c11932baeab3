"""Answers as examples, for the OpenAPI document."""

from typing import Any, Final

_LATENCY: Final = {"p50": 12.096, "p95": 80.384, "p99": 211.968}

# What is null is left out by the document's writer: `installation` here.
OF_TENANT: Final[dict[str, Any]] = {
    "scope": "tenant",
    "processing": {
        "postgresql_answers": True,
        "redis_answers": True,
        "lag_seconds": 0.04,
        "shards": 5,
        "unattended_shards": 0,
        "workers_live": 2,
    },
    "unavailable": {"installation": "it is told to owners of the platform"},
    "tenant": {
        "period_start": "2026-11-19T11:00:00+01:00",
        "period_end": "2026-11-20T11:00:00+01:00",
        "hours": 24,
        "time_zone": "Europe/Berlin",
        "requests": 4_000,
        "latency": _LATENCY,
        "routes": [
            {
                "route": "/lessons/{id}",
                "requests": 4_000,
                "errors": 8,
                "error_rate": 0.002,
                "latency": _LATENCY,
            }
        ],
        "routes_total": 1,
        "errors": {
            "count": 8,
            "rate": 0.002,
            "statuses": [{"status": "500", "errors": 8}],
            "types": [{"type": "TimeoutError", "requests": 8}],
        },
        "throughput": {
            "hour_start": "2026-11-20T09:00:00+01:00",
            "hour_end": "2026-11-20T10:00:00+01:00",
            "events": 540,
            "events_per_second": 0.15,
        },
        "active_users": 131,
        "active_users_are": "distinct",
        "drops": {
            "since": "2026-11-19T10:00:00Z",
            "rejected": {"invalid_value": 1},
            "dead_lettered": {"late": 2},
        },
    },
}
