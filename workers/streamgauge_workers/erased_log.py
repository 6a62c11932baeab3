"""A tenant's events in the event log, and in entries that were refused whole: blanked in place.

An entry mixes tenants, and its row stands for numbers of a lane that are done: it can neither be deleted nor shortened without the
transport ledger or another tenant paying for it. So its frame is frozen again with the tenant's events blanked (`blanking`), and they
get the outcome `erased`: lane, numbers and `n` stay, every other event keeps its bits and its outcome, and `verify` still recounts
everything that is left. Their counts go from the tenant's ledger, which is deleted, to nobody's (tenant 0) `erased`, in the
transaction that rewrites them: processed = applied + ... + erased holds at any time.

What was refused before the tenant was there, or after it was deleted, is entered for nobody already: it keeps its outcome and loses
its content as well.

Keys of the tenant's applied events are forgotten with them. They are keyed digests, so nothing but these events says whose they are;
keys whose events are in the log no more cannot be found, and are dropped with their period.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import zstandard
from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.errors import FrameError, NewerFrameError
from streamgauge.event import Event
from streamgauge.event_log.entries import digest
from streamgauge.frame import freeze
from streamgauge.outcomes import APPLIED, CODES, ERASED, NOBODYS
from streamgauge.table import Mask, Table, thaw
from streamgauge_workers import event_log
from streamgauge_workers.blanking import NOTHING, blank, refreeze
from streamgauge_workers.deletion import SQL, Deletion, count_of

MOST_EVENTS = 32_768  # of one transaction, about
BEFORE_ALL = (b"", -1)
_ENTERED_FOR_NOBODY = np.array(
    [code for code, outcome in CODES.items() if outcome.reason in NOBODYS], np.uint8
)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """An entry without a tenant's events."""

    tenants: list[int]
    first_at: datetime
    last_at: datetime
    outcomes: bytes | None
    digest: bytes
    payload: bytes
    keys: list[bytes]  #: of what was erased
    erased: int  #: events that get that outcome
    blanked: int  #: events that lost their content


def rewrite(
    entry: Record | Mapping[str, Any], tenant: str, tenant_id: int, instead: int = ERASED
) -> Rewritten | None:
    """The entry without the events of the tenant, which get the outcome `instead`; None when it holds none.

    Raises FrameError for an entry that cannot be read and is not the tenant's alone.
    """
    try:
        table = event_log.read(entry)
    except NewerFrameError:
        raise
    except FrameError:
        if entry["tenants"] != [tenant_id]:
            raise
        # Nothing of it stays, so nothing of it has to be read.
        table = thaw(freeze([Event(NOTHING, 0, tenant)] * entry["n"]))
    gone = _of(table, tenant)
    if not gone.any():
        return None
    codes = np.zeros(table.n, np.uint8)
    if entry["outcomes"] is not None and len(entry["outcomes"]) == table.n:
        codes = np.frombuffer(entry["outcomes"], np.uint8).copy()
    keys = [
        key
        for row, key in zip(table.key_rows.tolist(), table.keys, strict=True)
        if gone[row] and codes[row] == APPLIED
    ]
    owned = gone & ~np.isin(codes, _ENTERED_FOR_NOBODY)
    codes[owned] = instead
    left = blank(table, gone, entry["applied_at"])
    payload, outcomes = refreeze(left), codes.tobytes() if codes.any() else None
    return Rewritten(
        sorted({*entry["tenants"], 0} - {tenant_id}),
        event_log.instant(int(left.occurred_at.min())),
        event_log.instant(int(left.occurred_at.max())),
        outcomes,
        digest(payload, outcomes),
        zstandard.ZstdCompressor(level=event_log.COMPRESSION_LEVEL).compress(payload),
        keys,
        int(owned.sum()),
        int(gone.sum()),
    )


async def erase(connection: Connection, deletion: Deletion, shard: int) -> AsyncIterator[int]:
    """Rewrite a shard's entries; yields after every transaction how many entries it changed.

    They are read and rewritten before the token is taken, so that the shard's worker waits for the writing alone.
    """
    for row in await connection.fetch(SQL["log_days"], shard):
        last = BEFORE_ALL
        while page := await connection.fetch(
            SQL["log_page"], row["applied_day"], shard, *last, deletion.tenant_id, MOST_EVENTS
        ):
            last = page[-1]["lane"], page[-1]["first"]
            # Beside the event loop, which renews leases and drives the shards.
            changed, damaged = await asyncio.to_thread(_rewritten, page, deletion)
            if changed or damaged:
                yield await _store(connection, deletion, shard, changed, damaged)


def _rewritten(
    page: Sequence[Record], deletion: Deletion
) -> tuple[list[tuple[Record, Rewritten]], list[str]]:
    changed, damaged = [], []
    for entry in page:
        try:
            found = rewrite(entry, deletion.tenant, deletion.tenant_id)
        except NewerFrameError:
            raise
        except FrameError:
            if deletion.tenant_id in entry["tenants"]:
                damaged.append(f"{entry['applied_day']} lane {entry['lane'].hex()} first {entry['first']}")
            continue
        if found is not None:
            changed.append((entry, found))
    return changed, damaged


async def _store(
    connection: Connection,
    deletion: Deletion,
    shard: int,
    changed: Sequence[tuple[Record, Rewritten]],
    damaged: Sequence[str],
) -> int:
    entries = 0
    erased: Counter[datetime] = Counter()
    keys: list[bytes] = []
    async with deletion.step(connection, shard) as tally:
        for old, new in changed:
            stored = await connection.fetchval(
                SQL["log_rewrite"], old["applied_day"], shard, old["lane"], old["first"], old["digest"],
                new.tenants, new.first_at, new.last_at, new.outcomes, new.digest, new.payload,
            )  # fmt: skip
            if stored is None:
                continue  # somebody else was here between reading and writing, and has counted it
            entries += 1
            tally.rewritten(1, new.blanked)
            keys += new.keys
            if new.erased:
                erased[old["applied_at"].replace(minute=0, second=0, microsecond=0)] += new.erased
        if keys:
            tally.removed("event_keys", count_of(await connection.execute(SQL["keys_forget"], shard, keys)))
        if erased:
            await connection.execute(SQL["ledger_erased"], shard, list(erased), list(erased.values()))
        if damaged:
            known = tally.left.setdefault("damaged_entries", [])
            known += [name for each in damaged if (name := f"shard {shard} {each}") not in known]
    return entries


async def erase_letters(connection: Connection, deletion: Deletion) -> AsyncIterator[int]:
    """Take the tenant's events out of entries that were refused whole; yields after every transaction 1.

    One that cannot be read loses its bytes if they name the tenant, and is kept as a count.
    """
    last = 0
    while letters := await connection.fetch(SQL["letters_whole"], last):
        last = letters[-1]["dead_letter_id"]
        for letter in letters:
            raw = cleaned(letter["raw"], letter["lane"] is not None, deletion.tenant)
            if raw == letter["raw"]:
                continue
            async with deletion.step(connection, letter["shard"]) as tally:
                stored = await connection.fetchval(
                    SQL["letter_rewrite"], letter["dead_letter_id"], raw, letter["raw"]
                )
                tally.dead_letters_rewritten += stored is not None
            yield 1


def cleaned(raw: bytes, framed: bool, tenant: str) -> bytes | None:
    """The bytes of a refused entry without the tenant's events; None: nothing of them can be kept. `framed`: they may be a frame."""
    if framed:
        try:
            table = thaw(raw)
        except FrameError:
            pass
        else:
            gone = _of(table, tenant)
            return refreeze(blank(table, gone, event_log.EPOCH)) if gone.any() else raw
    # As orjson writes it, and as other programs may.
    names = {orjson.dumps(tenant), json.dumps(tenant).encode()}
    named = any(name in raw or name.hex().encode() in raw for name in names)
    return None if named else raw


def _of(table: Table, tenant: str) -> Mask:
    return np.array([name == tenant for name in table.tenant.values], np.bool_)[table.tenant.codes]
