"""What is read, before it becomes an answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.read.rows import SQL
from streamgauge.sql import named_queries
from streamgauge.summaries.histogram import Histogram

VALUES = st.lists(st.integers(0, 2**40), min_size=1, max_size=30)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(VALUES, st.sampled_from([1, 255, 256, 65_536, 2**33])), min_size=1, max_size=5))
def test_histograms_behind_each_other_merge_as_they_would_one_by_one(
    parts: list[tuple[list[int], int]],
) -> None:
    expected = Histogram(np.array([], np.uint16), np.array([], np.int64))
    encoded = b""
    for values, times in parts:
        once = Histogram.of(np.array(values, np.int64))
        part = Histogram(once.buckets, once.counts * times)  # larger counts are encoded in more bytes
        expected.merge(part)
        encoded += part.encode()
    assert Histogram.union(encoded) == expected


def test_every_query_is_named_once_and_stands_alone() -> None:
    assert set(SQL) == {
        "tenant", "shards", "extent", "verification", "overflow", "excess", "measures", "members", "events",
    }  # fmt: skip
    assert all(text.startswith(("SELECT", "WITH")) and ";" not in text for text in SQL.values())


def test_a_query_named_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Folder:
        def joinpath(self, _: str) -> "Folder":
            return self

        def read_text(self, _: str) -> str:
            return "-- one: first\nSELECT 1\n\n-- one: again\nSELECT 2\n"

    monkeypatch.setattr("streamgauge.sql.files", lambda _: Folder())
    with pytest.raises(ValueError, match="twice"):
        named_queries("anything")
