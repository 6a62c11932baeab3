"""The gamification domain's events and summaries."""

from streamgauge.summaries.boards import Board
from streamgauge.summaries.rollups import EventType, Rollup
from streamgauge.summaries.tallies import Tally

EVENT_TYPES: tuple[EventType, ...] = ()
TALLIES: tuple[Tally, ...] = ()
ROLLUPS: tuple[Rollup, ...] = ()
BOARDS: tuple[Board, ...] = ()
