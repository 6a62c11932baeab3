"""Rows read one by one, as frames; those that become no event are told."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from streamgauge.event import Event
from streamgauge_imports.batches import Batches, Frame
from streamgauge_imports.facts import Facts, RejectedRows
from streamgauge_imports.text_files import TextFile

#: For every event the number of its row, and the event with its shard.
Made: TypeAlias = Iterator[tuple[int, tuple[int, Event]]]
Make: TypeAlias = Callable[[Facts, RejectedRows], Made]


def framed(
    make: Make,
    facts: Facts,
    files: Iterable[TextFile],
    shards: int,
    batch: int,
    rejects: Path,
    summary: dict[str, Any],
) -> Iterator[Frame]:
    """The frames of what `make` makes, always the same ones.

    By its end `summary` has `rows` (events and rejected rows), `kinds` (events by name), and what was rejected. Raises InputError when
    one of the files was written to meanwhile: what they hold would no longer be what the import is known by.
    """
    batches = Batches(shards, batch)
    watched = list(files)
    number = 0
    with RejectedRows(rejects) as told:
        for number, (shard, event) in make(facts, told):
            frame = batches.add(shard, event, number)
            if frame is not None:
                yield _unchanged(frame, watched)
    for frame in batches.rest(number):
        yield _unchanged(frame, watched)
    kinds = facts.kinds
    summary.update(
        told.summary(), rows=kinds.total() + told.counts.total(), kinds=dict(sorted(kinds.items()))
    )


def _unchanged(frame: Frame, files: Iterable[TextFile]) -> Frame:
    # Asked after the frame's rows were read, before they are sent.
    for file in files:
        file.require_unchanged()
    return frame
