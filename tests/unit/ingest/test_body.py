"""What is sent as events: one, or a list of them."""

import pytest

from streamgauge.errors import InputError
from streamgauge.ingest.body import MOST_EVENTS, items_of


def test_one_event_or_a_list_of_them_is_what_can_be_sent() -> None:
    assert items_of({"name": "a.b"}) == [{"name": "a.b"}]
    assert items_of({"events": [1, 2]}) == [1, 2]
    assert len(items_of({"events": [{}] * MOST_EVENTS})) == MOST_EVENTS
    for wrong, field in (
        ([], "body"),
        ("x", "body"),
        ({"events": []}, "events"),
        ({"events": [{}] * (MOST_EVENTS + 1)}, "events"),
        ({"events": {"0": {}}}, "events"),
        ({"events": [{}], "tenant": "there"}, "tenant"),
    ):
        with pytest.raises(InputError) as refused:
            items_of(wrong)
        assert refused.value.field == field
