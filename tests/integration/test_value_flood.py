"""An attacker, or a mistake, that sends ever new dimension values: rows stay within their budget, and no total is touched.

`STREAMGAUGE_TESTS_FULL=1` sends a million of them; otherwise it is fifty thousand.
"""

import os
import time

from tests.integration.engine import Plain, open_engine

VALUES = 1_000_000 if os.environ.get("STREAMGAUGE_TESTS_FULL") else 50_000
LIMIT = 100
SHARDS = 4


def flood(begin: int, count: int, at: int) -> list[Plain]:
    """Requests to as many routes, of one hour of one tenant."""
    return [
        {
            "name": "http.request",
            "at": at,
            "tenant": "delhi",
            "shard": number % SHARDS,
            "properties": {
                "http.route": f"/{number}",
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "duration": number,
            },
        }
        for number in range(begin, begin + count)
    ]


async def test_ever_new_values_take_a_bounded_number_of_rows_and_leave_totals_exact(
    redis_url: str, database_url: str
) -> None:
    hour = 3_600_000_000
    at = (time.time_ns() // 1_000 // hour - 30) * hour  # yesterday: one local day, whatever the time is now
    async with open_engine(redis_url, database_url, cardinality_limit=LIMIT) as engine:
        for begin in range(0, VALUES, 50_000):
            await engine.publish(flood(begin, min(50_000, VALUES - begin), at), size=5_000)
            await engine.drain()
        rows = await engine.connection.fetchrow(
            "SELECT count(*) AS rows, count(DISTINCT s.dimensions) AS values, sum(d.count)::bigint AS events, sum(d.sum)::bigint AS sum "
            "FROM series s JOIN daily_summary d USING (shard, series_id) "
            "WHERE s.metric = 'http.server.request.duration' AND s.grouping = 1"
        )
        assert rows is not None
        assert rows["events"] == VALUES
        assert rows["sum"] == VALUES * (VALUES - 1) // 2
        # Of every stripe its smallest, and (other).
        assert LIMIT < rows["values"] <= rows["rows"] <= SHARDS * (LIMIT + 1)
        kept = await engine.connection.fetchval(
            "SELECT count(*) FROM dimension_values WHERE dimension = 'http.route'"
        )
        assert kept <= SHARDS * (LIMIT + 1)
        assert await engine.outcomes() == {("applied", ""): VALUES}
