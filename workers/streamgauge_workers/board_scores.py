"""Scores of boards in the tables, and how many participants have scores of which size: what a rank is found by without counting all.

A score's row belongs to no stripe. It is added to under the shard's token all the same, so it counts exactly once; rows are met in one
order by everybody, so two shards that add to one actor wait for each other and never for ever.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from streamgauge.database import Connection
from streamgauge.summaries.boards import Place
from streamgauge.summaries.histogram import buckets_of
from streamgauge_workers.queries import SQL

Level = tuple[int, str, str, int, int]


async def add(
    connection: Connection, shard: int, scores: Mapping[Place, int], queries: Mapping[str, str] = SQL
) -> int:
    """Add to scores; returns how many rows that were."""
    # The query tells an actor that is new on the board by `xmax`: a row that was updated bears the transaction that locked it.
    rows = [(*place, points) for place, points in sorted(scores.items())]
    if not rows:
        return 0
    changed = await connection.fetch(queries["scores_add"], *map(list, zip(*rows, strict=True)))
    levels: Counter[Level] = Counter()
    after = np.array([row["score"] for row in changed], np.int64)
    before = after - np.array([scores[Place(*row[:5])] for row in changed], np.int64)
    for row, old, new in zip(changed, buckets_of(before).tolist(), buckets_of(after).tolist(), strict=True):
        board: tuple[int, str, str, int] = row[:4]
        if not row["entered"]:
            levels[*board, old] -= 1
        levels[*board, new] += 1
    moved = sorted((*level, participants) for level, participants in levels.items() if participants)
    if moved:
        await connection.execute(queries["levels_add"], shard, *map(list, zip(*moved, strict=True)))
    return len(rows)
