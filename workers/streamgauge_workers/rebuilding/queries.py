"""A rebuild's named queries, and the summaries' own over the shadow's tables."""

import re

from streamgauge.sql import named_queries
from streamgauge_workers.queries import SQL as WORKERS

SQL = named_queries("streamgauge_workers", "rebuilding.sql")
SHADOWED = re.compile(
    r"(?<![\w.])(\{grain\}_summary|hourly_summary|summary_members|tally_rows|board_scores|board_levels|series|dimension_values|dimension_overflow)\b"
)
_USED = (
    "admissions_load", "admissions_overflowed", "admissions_store", "admissions_remove", "overflow_store", "series_load", "series_last",
    "series_store", "series_of_value", "hourly_of_series", "summary_load", "summary_store", "summary_remove", "members_load",
    "members_store", "members_remove", "tallies_add", "scores_add", "levels_add",
)  # fmt: skip
#: What a summariser asks, of the shadow instead of the tables that everybody reads.
SHADOW_SQL = {name: SHADOWED.sub(r"shadow_\1", WORKERS[name]) for name in _USED}
