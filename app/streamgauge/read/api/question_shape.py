"""What the body of `POST /query` looks like, for the OpenAPI document: the same limits as `parse_query` keeps."""

from collections.abc import Mapping
from typing import Any

from streamgauge.read.date_range import RELATIVE
from streamgauge.read.filters import COMBINATIONS, COMPARISONS, MOST_FILTERS
from streamgauge.read.query import MOST_DIMENSIONS, MOST_METRICS, MOST_RESULTS

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "curve": {
        "summary": "Requests, errors and latency of the last week, by day",
        "value": {
            "metrics": ["requests", "errors", "p95_duration"],
            "date_range": "7d",
            "dimensions": ["time:day"],
            "include": {"time_labels": True},
        },
    },
    "slowest": {
        "summary": "The ten slowest routes of today, among reading requests",
        "value": {
            "metrics": ["p95_duration", "requests"],
            "date_range": "day",
            "dimensions": ["http.route"],
            "filters": [["is", "http.request.method", ["GET"]]],
            "order_by": [["p95_duration", "desc"]],
            "pagination": {"limit": 10},
        },
    },
    "days": {
        "summary": "How often each event happened, and to how many, between two dates",
        "value": {
            "metrics": ["events", "actors"],
            "date_range": ["2015-05-17", "2015-05-20"],
            "dimensions": ["event.name"],
        },
    },
}

_NAMES = {"type": "array", "items": {"type": "string"}}

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "title": "Question",
    "required": ["metrics", "date_range"],
    "additionalProperties": False,
    "properties": {
        "metrics": {
            **_NAMES,
            "minItems": 1,
            "maxItems": MOST_METRICS,
            "description": "What is asked for; the order of the answer's numbers.",
        },
        "date_range": {
            "description": "A span that ends with the current day or hour, two dates (both included), or two instants at which "
            "hours of the tenant's time zone begin.",
            "anyOf": [
                {"type": "string", "enum": list(RELATIVE)},
                {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            ],
        },
        "dimensions": {
            **_NAMES,
            "maxItems": MOST_DIMENSIONS,
            "description": "What the answer is broken down by; at most one of them is `time` or `time:...`.",
        },
        "filters": {
            "type": "array",
            "items": {"type": "array"},
            "description": f"All must hold. `[operator, dimension, [values]]` with {', '.join(COMPARISONS)}; combined by "
            f"{', '.join(COMBINATIONS)} as `[operator, filters]`. Up to {MOST_FILTERS} comparisons.",
        },
        "order_by": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            "description": "Pairs of a metric or dimension that is asked for and `asc` or `desc`.",
        },
        "pagination": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST_RESULTS, "default": MOST_RESULTS},
                "offset": {"type": "integer", "minimum": 0, "maximum": 10**9, "default": 0},
            },
        },
        "include": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "time_labels": {"type": "boolean", "default": False},
                "total_rows": {"type": "boolean", "default": False},
            },
        },
        "now": {
            "type": "string",
            "format": "date-time",
            "description": "What relative ranges count from. Only with the scope `admin`.",
        },
        "tenant": {"type": "string", "description": "The key's own tenant; may be left out."},
    },
}

REQUEST_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": SCHEMA, "examples": EXAMPLES}},
}
