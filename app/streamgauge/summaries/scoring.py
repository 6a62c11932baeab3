"""The pure fold of boards: events in, points out. The worker, `verify` and `rebuild` all use this one."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np

from streamgauge.summaries.boards import Board, Place
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope
from streamgauge.summaries.tallies import ALL_TIME
from streamgauge.table import Ints, Mask, Table


def score(table: Table, scopes: Sequence[Scope], boards: Sequence[Board]) -> dict[Place, int]:
    """What a table's accepted events add. `scopes[i]` is the tenant of code i of the tenant labels."""
    found: dict[Place, int] = {}
    days: dict[int, Ints] = {}
    for board in boards:
        points, rows = _points(table, board)
        for code in np.unique(table.tenant.codes[rows]).tolist():
            scope, own = scopes[code], rows[table.tenant.codes[rows] == code]
            if code not in days:
                days[code] = scope.calendar.day_starts(table.occurred_at)
            # By actor and day first: a timeframe has few days, a day may have many events.
            keys = np.stack([days[code][own], table.actor.codes[own].astype(np.int64)])
            cells, inverse = np.unique(keys, axis=1, return_inverse=True)
            sums = np.zeros(cells.shape[1], np.int64)
            np.add.at(sums, inverse, points[own])
            frames = {day: list(timeframes(scope.calendar, board, day)) for day in set(cells[0].tolist())}
            for day, actor, total in zip(*cells.tolist(), sums.tolist(), strict=True):
                for timeframe, bucket in frames[day]:
                    place = Place(scope.tenant_id, board.name, timeframe, bucket, table.actor.values[actor])
                    found[place] = found.get(place, 0) + total
    return found


def timeframes(calendar: Calendar, board: Board, day: int) -> Iterator[tuple[str, int]]:
    """The timeframes that the local day beginning at this second belongs to, with where they begin."""
    local = calendar.date_of(day)
    yield "day", day
    yield "week", calendar.day_start(local - timedelta(local.weekday()))
    yield "month", calendar.day_start(local.replace(day=1))
    yield "all", ALL_TIME
    for season in board.seasons:
        if season.first <= local <= season.last:
            yield f"season:{season.name}", calendar.day_start(season.first)


def add_scores(found: dict[Place, int], scores: Mapping[Place, int]) -> None:
    """Add scores to those found so far."""
    for place, points in scores.items():
        found[place] = found.get(place, 0) + points


def _points(table: Table, board: Board) -> tuple[Ints, Ints]:
    """Points of every row, and the rows of known actors that bring any event of the board."""
    points, scored = np.zeros(table.n, np.int64), np.zeros(table.n, np.bool_)
    for each in board.points:
        if each.event not in table.name.values:
            continue
        named: Mask = table.name.codes == table.name.values.index(each.event)
        if each.property is None:
            points[named] += each.weight
            scored |= named
            continue
        column = table.columns.get((each.property, "i"))
        if column is not None:
            carried = named[column.rows]
            rows = column.rows[carried]
            points[rows] += each.weight * column.values[carried]
            scored[rows] = True
    return points, np.flatnonzero(scored & (table.actor.codes >= 0))
