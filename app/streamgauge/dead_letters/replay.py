"""Sending dead letters again, so that each counts once however often it is tried.

A letter's lane derives from what the letter is, so that the same letter always takes the same numbers: a second replay, or one after a
crash between sending and noticing, makes duplicates and no more. The lane is written into the letter's row before anything is sent,
which makes workers trust it: its events may be late. The worker that applies it sets the letter's state in the same transaction, so a
letter is `replayed` if and only if its events are in the event log, and one that Redis lost is open still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asyncpg import Record

from streamgauge.capture.publisher import DeterministicLane
from streamgauge.database import Connection
from streamgauge.dead_letters.content import frame_of, read
from streamgauge.dead_letters.readiness import World, unready
from streamgauge.dead_letters.store import SQL, Wanted, Whose, contents, listed
from streamgauge.entry import Record as Sendable
from streamgauge.outcomes import WHOLE
from streamgauge.sharding import shard_of
from streamgauge.stream import StreamPort
from streamgauge.table import Table

MOST_BYTES = 4 * 1024 * 1024  # of frames sent in one round trip, about
ELSEWHERE = "it was sent before the number of shards changed; wait until the old generation is retired"


@dataclass(frozen=True, slots=True)
class Sending:
    """One letter on its way: its stream's number, its batch and the end of its lane."""

    letter: Record
    number: int
    lane: bytes
    records: tuple[Sendable, Sendable]
    events: int
    size: int  #: bytes


@dataclass(slots=True)
class Replay:
    """What is to be sent, and why the others are not."""

    sending: list[Sending] = field(default_factory=list)
    unready: dict[int, str] = field(default_factory=dict)  #: by the letter's id
    letters: list[Record] = field(default_factory=list)  #: all that were found


async def prepare(
    connection: Connection, stream: StreamPort, whose: Whose, wanted: Wanted, limit: int
) -> Replay:
    """Find letters and what would be sent of them; nothing is changed. They stay locked until the transaction ends."""
    replay = Replay(letters=await listed(connection, whose, wanted, limit, lock=True))
    ids = [letter["dead_letter_id"] for letter in replay.letters]
    held = await contents(connection, ids)
    frames = {
        letter["dead_letter_id"]: frame_of(letter, held[letter["dead_letter_id"]])
        for letter in replay.letters
    }
    tables = {each: None if frame is None else read(frame) for each, frame in frames.items()}
    world = await _world(connection, replay.letters, tables)
    places = await _places(connection, replay.letters)
    elsewhere = await connection.fetchval(SQL["others_read"], stream.generation)
    for each in set(wanted.ids or ()).difference(ids):
        replay.unready[each] = "there is no such dead letter"
    for letter in replay.letters:
        each = letter["dead_letter_id"]
        frame, table = frames[each], tables[each]
        if letter["state"] != "open":
            replay.unready[each] = f"it is {letter['state']} already"
        elif why := unready(letter["reason"], table, world, by_id=wanted.ids is not None):
            replay.unready[each] = why
        elif frame is not None and table is not None:
            sending = _sending(letter, frame, table, stream, places)
            if elsewhere and letter["replay_lane"] not in (None, sending.lane):
                replay.unready[each] = ELSEWHERE
            else:
                replay.sending.append(sending)
    return replay


async def request(connection: Connection, replay: Replay, by: str) -> None:
    """Let workers trust what is going to be sent. Commit before `send`, or they might not."""
    ids = [each.letter["dead_letter_id"] for each in replay.sending]
    await connection.execute(SQL["request"], ids, [each.lane for each in replay.sending], by)


async def send(stream: StreamPort, replay: Replay) -> None:
    """Send it. After a ServerError some of it may have been sent: ask for the same replay again."""
    waiting: dict[int, list[Sending]] = {}
    for each in replay.sending:
        group = waiting.setdefault(each.number, [])
        group.append(each)
        if sum(one.size for one in group) >= MOST_BYTES:
            await _append(stream, each.number, waiting.pop(each.number))
    for number, group in waiting.items():
        await _append(stream, number, group)


async def _append(stream: StreamPort, number: int, group: Sequence[Sending]) -> None:
    await stream.append_many(number, [record for each in group for record in each.records])


def _sending(
    letter: Record, frame: bytes, table: Table, stream: StreamPort, places: Mapping[int, tuple[int, int]]
) -> Sending:
    generation, number = places.get(letter["shard"], (stream.generation, letter["shard"] % stream.shards))
    if generation != stream.generation:
        # Where its actor's events are by now. Of a whole entry's many actors only the sums care, not the place.
        number = number % stream.shards if letter["reason"] in WHOLE else _shard_of(letter, table, stream)
    source = (b"dead letter", letter["content_id"], b"%d" % stream.generation)
    lane = DeterministicLane(number, source, generation=stream.generation)
    batch = lane.freeze(frame, table.n)
    return Sending(letter, number, lane.id, (batch, lane.announcement(closed=True)), table.n, len(frame))


def _shard_of(letter: Record, table: Table, stream: StreamPort) -> int:
    event = table.event(0)
    return shard_of(event.actor, event.session, event.key, letter["content_id"], stream.shards)


async def _places(connection: Connection, letters: Sequence[Record]) -> dict[int, tuple[int, int]]:
    rows = await connection.fetch(SQL["streams"], list({letter["shard"] for letter in letters}))
    return {row["shard"]: (row["generation"], row["number"]) for row in rows}


async def _world(
    connection: Connection, letters: Sequence[Record], tables: Mapping[int, Table | None]
) -> World:
    now: datetime = await connection.fetchval("SELECT now()")
    names: set[Any] = set()
    for letter in letters:
        # Of a tenant's own letters nothing has to be known: they go with their tenant.
        table = tables[letter["dead_letter_id"]]
        if letter["tenant_id"] is None and table is not None:
            names.update(table.tenant.values)
    micros = int(now.timestamp()) * 1_000_000 + now.microsecond
    if not names:
        return World(micros)
    there = await connection.fetch(SQL["tenants_there"], list(names))
    gone = await connection.fetch(SQL["tenants_gone"], list(names))
    return World(
        micros, frozenset(row["name"] for row in there), {row["tenant"]: row["again"] for row in gone}
    )
