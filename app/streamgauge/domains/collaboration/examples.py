"""Answers as examples, for the OpenAPI document, which leaves nulls out: there are none."""

from typing import Any, Final

from streamgauge.people.documented import ACTOR

OTHER: Final = "01" + "2b7d40c98a1e4f35b6d2087c4e9fa153"

DRAFT: Final[dict[str, Any]] = {
    "id": "story-17",
    "views": 31,
    "shares": 2,
    "segments": 12,
    "contributors": 3,
    "ring_passes": 8,
    "held": True,
    "holder": {"id": ACTOR, "name": "Ada L."},
    "last_activity": "2026-11-21T09:03:10Z",
    "published": True,
    "published_at": "2026-11-19T16:20:00Z",
}
WRITER: Final[dict[str, Any]] = {
    "id": ACTOR,
    "name": "Ada L.",
    "drafts_created": 2,
    "drafts_contributed": 5,
    "segments": 21,
    "rings_held": 9,
    "mean_hold_time": 5400.125,
    "open_holds": 1,
    "complete": True,
}
BOARD: Final[dict[str, Any]] = {
    "metric": "momentum",
    "group": "5b",
    "days": 30,
    "participants": 24,
    "entries": [
        {"rank": 1, "id": OTHER, "name": "Grace H.", "score": 17.291},
        {"rank": 2, "id": ACTOR, "name": "You", "score": 12.0},
    ],
    "you": {"rank": 2, "id": ACTOR, "name": "You", "score": 12.0},
}
