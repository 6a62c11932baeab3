"""Promises about archives as files, and about seals."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from streamgauge.errors import ArchiveError
from streamgauge.event import Event
from streamgauge.event_log.entries import digest
from streamgauge.frame import freeze
from streamgauge.outcomes import APPLIED, ERASED, LATE
from streamgauge.ranges import Ranges
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures
from streamgauge.table import thaw
from streamgauge_workers.canonical import RowName
from streamgauge_workers.log_source import entry_of
from streamgauge_workers.retention import seal
from streamgauge_workers.retention.archive_file import ArchiveWriter, entries_of, sha256_of, tally_of
from streamgauge_workers.retention.expiry import Removal
from streamgauge_workers.retention.seal import Seal

from .event_strategies import BATCHES

DAY = date(2026, 10, 1)
LANE = b"l" * 16


def row_of(
    payload: bytes, n: int, outcomes: bytes | None = None, first: int = 0, lane: bytes = LANE
) -> dict[str, Any]:
    """A row of the event log."""
    return {
        "applied_day": DAY, "shard": 3, "applied_at": datetime(2026, 10, 1, 4, 5, 6, 789, UTC), "lane": lane, "first": first, "n": n,
        "tenants": [1, 2], "outcomes": outcomes, "digest": digest(payload, outcomes), "payload": zstandard.compress(payload),
    }  # fmt: skip


def write(path: Path, *rows: Mapping[str, Any]) -> None:
    writer = ArchiveWriter(path)
    found = [entry_of(row, "log") for row in rows]
    writer.add([(row, each.table, each.outcomes) for row, each in zip(rows, found, strict=True)])
    writer.finish()


@given(st.lists(BATCHES, min_size=1, max_size=3))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_entry_comes_back_as_it_was(tmp_path: Path, batches: list[list[Event]]) -> None:
    rows = [row_of(freeze(batch), len(batch), first=1_000 * place) for place, batch in enumerate(batches)]
    write(tmp_path / "a.parquet", *rows)
    found = [row for page in entries_of(tmp_path / "a.parquet") for row in page]
    assert found == rows
    assert sum(tally_of(tmp_path / "a.parquet").values()) == sum(len(batch) for batch in batches)


@pytest.mark.parametrize("lane", [b"l" * 15 + b"\0", b"l" + bytes(15), bytes(16), b"\0" * 15 + b"l"])
def test_nulls_of_a_lane_are_kept(tmp_path: Path, lane: bytes) -> None:
    event = Event("a.b", 1_790_000_000_000_000, "york", actor=b"\1" + bytes(16), key=b"k" * 15 + b"\0")
    rows = [row_of(freeze([event, event]), 2, bytes([APPLIED, APPLIED]), lane=lane)]
    write(tmp_path / "a.parquet", *rows)
    assert [row for page in entries_of(tmp_path / "a.parquet") for row in page] == rows
    with duckdb.connect() as connection:
        connection.execute(f"SELECT DISTINCT lane, actor, event_id FROM '{tmp_path}/a.parquet'")
        assert connection.fetchall() == [(lane, event.actor, event.key)]


def test_any_program_reads_events_with_their_outcomes(tmp_path: Path) -> None:
    given_events = [
        Event("a.b", 1_790_000_000_123_456, "york", actor=b"\x01" * 17, session="s", group="g", device="d", properties={"x": 'é"', "y": 1, "z": True, "w": 1.5}),
        Event("a.c", 2**62, "delhi", key=b"k" * 16, properties={"x": float("nan")}),
    ]  # fmt: skip
    write(tmp_path / "a.parquet", row_of(freeze(given_events), 2, bytes([APPLIED, LATE]), first=7))
    with duckdb.connect() as connection:
        connection.execute(
            "SELECT tenant, name, occurred_at::VARCHAR, hex(actor), session, group_id, device, source, event_id, properties->>'$.x', outcome, reason, number, n "
            f"FROM '{tmp_path}/a.parquet' ORDER BY number"
        )
        one, other = connection.fetchall()
    assert one == (
        "york",
        "a.b",
        "2026-09-21 14:13:20.123456+00",
        "01" * 17,
        "s",
        "g",
        "d",
        "server",
        None,
        'é"',
        "applied",
        None,
        7,
        2,
    )
    assert other[:2] == ("delhi", "a.c")
    assert other[8:] == (b"k" * 16, None, "dead_lettered", "late", 8, 2)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    writer = ArchiveWriter(path)
    row = row_of(freeze([Event("a.b", 1, "york")]), 1)
    entry = entry_of(row, "log")
    writer.add([(row, entry.table, entry.outcomes)])
    assert not path.exists()
    written = writer.finish()
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]
    assert (written.size, written.sha256) == (path.stat().st_size, sha256_of(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_leftovers_of_a_crash_are_in_nobodys_way(tmp_path: Path) -> None:
    row = row_of(freeze([Event("a.b", 1, "york")]), 1)
    for name in (".a.parquet.rows", ".a.parquet.rows.wal", ".a.parquet.partial", "a.parquet"):
        (tmp_path / name).write_bytes(b"half a file")
    write(tmp_path / "a.parquet", row)
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]
    assert list(entries_of(tmp_path / "a.parquet")) == [[row]]


def test_what_is_no_archive_is_refused_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ArchiveError, match=r"a\.parquet cannot be read"):
        tally_of(path)
    with pytest.raises(ArchiveError, match=r"a\.parquet cannot be read"):
        list(entries_of(path))


def test_what_is_taken_out_leaves_its_place_and_nothing_else() -> None:
    both = [
        Event("a.b", 5, "york", properties={"x": "secret"}, key=b"k" * 16),
        Event("a.c", 6, "delhi", properties={"x": "kept"}),
    ]
    row = row_of(freeze(both), 2)
    removal = Removal({"york": 1}, ERASED)
    left, table, outcomes = removal.applied((row, thaw(freeze(both)), np.zeros(2, np.uint8)))
    assert (outcomes.tolist(), table.n, removal.keys, removal.events) == (
        [ERASED, APPLIED],
        2,
        [b"k" * 16],
        1,
    )
    assert entry_of(left, "archive").table.event(1) == both[1]
    assert b"secret" not in zstandard.decompress(left["payload"])
    assert b"york" not in zstandard.decompress(left["payload"])


def sealed() -> Seal:
    measures = Measures(
        3, 1, 2, 2**70, 1, 2**47, Histogram.of(np.array([1, 500], np.int64)), BitMap([1, 2**31]), (None, 7)
    )
    rows = {
        RowName("h", 2, "m", 1, ("/a", "é\0"), 1_790_000_000): measures,
        RowName("d", 1, "n", 0, (), -5): Measures(1),
    }
    found = Seal(lanes={LANE: Ranges([(0, 5), (9, 12)])}, rows=rows)
    found.counts.update({(3_600, 2, APPLIED): 3, (3_600, 0, ERASED): 2, (7_200, 1, LATE): 1})
    return found


def test_a_seal_comes_back_as_it_was() -> None:
    again = seal.read(*sealed().encoded())
    assert (again.counts, again.rows) == (sealed().counts, sealed().rows)
    assert {lane: list(ranges) for lane, ranges in again.lanes.items()} == {LANE: [(0, 5), (9, 12)]}


@pytest.mark.parametrize("part", range(3))
def test_a_seal_that_was_changed_is_found(part: int) -> None:
    columns = list(sealed().encoded())
    other = Seal().encoded()
    columns[part] = other[part]
    counts, lanes, summaries, digest = columns
    assert isinstance(counts, str)
    assert isinstance(lanes, bytes)
    assert isinstance(summaries, bytes)
    assert isinstance(digest, bytes)
    with pytest.raises(ArchiveError, match="digest"):
        seal.read(counts, lanes, summaries, digest)


def test_a_tenant_leaves_a_seal_and_its_events_stay_counted() -> None:
    left = sealed().without(2, ERASED)
    assert left.counts == {(3_600, 0, ERASED): 5, (7_200, 1, LATE): 1}
    assert {name.tenant_id for name in left.rows} == {1}
