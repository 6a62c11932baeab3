"""Answers as examples, for the OpenAPI document."""

from typing import Any, Final

from streamgauge.people.documented import ACTOR, SESSION

_GROUPS: Final = [{"id": "5b", "name": "Class 5b", "kind": "class"}]
_PERIOD: Final = {"start": "2026-11-15T00:00:00+01:00", "end": "2026-11-21T09:41:00Z"}

LISTED: Final[dict[str, Any]] = {
    "period": _PERIOD,
    "precision": "hour",
    "actors": [
        {
            "id": ACTOR,
            "name": "Ada L.",
            "last_active": "2026-11-21T10:00:00+01:00",
            "groups": _GROUPS,
            "manages": [],
        }
    ],
    "next_cursor": "WyI5ZjE4NGIyYzYwN2EiLDE3NjM3MTU2MDAsMTdd",
}
PROFILE: Final[dict[str, Any]] = {
    "id": ACTOR,
    "name": "Ada L.",
    "period": _PERIOD,
    "complete": True,
    "covers_from": "2026-11-15T00:00:00+01:00",
    "first_seen": "2026-11-16T07:12:44.031000Z",
    "last_active": "2026-11-21T09:03:10.250400Z",
    "events": 51,
    "errors": 1,
    "average_duration": 18.204,
    "by_event": [
        {
            "name": "http.request",
            "events": 51,
            "errors": 1,
            "average_duration": 18.204,
            "last_at": "2026-11-21T09:03:10.250400Z",
        }
    ],
    "groups": _GROUPS,
    "manages": [],
    "damaged_entries": 0,
}
SESSIONS: Final[dict[str, Any]] = {
    "period": _PERIOD,
    "gap_minutes": 30,
    "complete": True,
    "covers_from": "2026-11-15T00:00:00+01:00",
    "sessions": [
        {
            "id": SESSION,
            "start": "2026-11-21T08:40:02.100000Z",
            "end": "2026-11-21T09:03:10.250400Z",
            "events": 17,
            "errors": 0,
            "routes": 5,
            "cut": False,
        }
    ],
    "damaged_entries": 0,
    "next_cursor": "WyI5ZjE4NGIyYzYwN2EiLDE3NjM3MTU2MDAsMTdd",
}
EVENTS: Final[dict[str, Any]] = {
    "events": [
        {
            "id": "2-5d0e8b7c6a594837261504f3e2d1c0b9-1207",
            "occurred_at": "2026-11-21T09:03:10.250400Z",
            "name": "http.request",
            "actor": {"id": ACTOR, "name": "Ada L.", "visitor": False},
            "session": SESSION,
            "group": "5b",
            "source": "server",
            "failed": False,
            "properties": {
                "http.route": "/courses/{course}",
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "duration": 18204,
            },
        }
    ],
    "complete": True,
    "covers_from": "2026-11-21T09:03:10.250400Z",
    "damaged_entries": 0,
    "next_cursor": "WyI5ZjE4NGIyYzYwN2EiLDE3NjM3MTU3OTAyNTA0MDAsMiwiNWQwZTgiLDEyMDdd",
}
