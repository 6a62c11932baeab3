"""The note that local servers leave."""

import json
from pathlib import Path

import pytest

from streamgauge.capture.endpoints import local_redis_url
from streamgauge_local.ownership import Ownership, Record


def test_the_note_of_running_servers_tells_where_their_redis_is(tmp_path: Path) -> None:
    assert local_redis_url(tmp_path) is None
    with Ownership(tmp_path) as ownership:
        ownership.publish(Record(1, "up", "/sockets", ready=False))
        assert local_redis_url(tmp_path) is None
        ownership.publish(Record(1, "up", "/sockets", True, "unix:///sockets/valkey.sock?db=0"))
        assert local_redis_url(tmp_path) == "unix:///sockets/valkey.sock?db=0"
        ownership.withdraw()
        assert local_redis_url(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", "null", '{"redis_url": "", "ready": true}', '{"redis_url": 7, "ready": true}', '{"redis_url": "x"}',
     '{"redis_url": "redis://x", "ready": 1}', "\xff\xfe", json.dumps({"redis_url": "x" * 100_000, "ready": True})],
)  # fmt: skip
def test_a_note_that_is_none_is_as_good_as_no_note(tmp_path: Path, content: str) -> None:
    (tmp_path / "endpoints.json").write_text(content, "latin-1")
    assert local_redis_url(tmp_path) is None
