"""A recount of an access log in the combined format: DuckDB reads and groups, no code of the project."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

# One line, whole: host, two names, time, request, status, bytes, referrer, agent. A quoted field may hold escaped quotes.
_LINE = r'^(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"$'
_FIELDS = "['host', 'identity', 'login', 'at', 'request', 'status', 'bytes', 'referrer', 'agent']"


@dataclass
class Counts:
    """What a stretch of the log amounts to."""

    requests: int = 0
    bytes: int = 0
    visitors: int = 0  #: distinct pairs of host and agent
    hosts: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass
class Log:
    """The whole log. Days are `YYYY-MM-DD`, hours `YYYY-MM-DD HH`, both UTC; paths are without their query."""

    total: Counts
    days: dict[str, Counts]
    hours: dict[str, Counts]
    paths: dict[str, Counts]
    malformed: list[int]  #: line numbers, from 1


def read(path: Path) -> Log:
    """Recount a log, gzipped or not."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE lines AS SELECT row_number() OVER () AS number, line FROM read_csv(?, header = false, "
        "columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '', all_varchar = true, parallel = false)",
        [str(path)],
    )
    connection.execute(
        f"CREATE TABLE parsed AS SELECT number, regexp_extract(line, ?, {_FIELDS}) AS f FROM lines WHERE regexp_matches(line, ?)",
        [_LINE, _LINE],
    )
    connection.execute(
        "CREATE TABLE requests AS SELECT f.host AS host, f.agent AS agent, f.status::int AS status, "
        "coalesce(try_cast(f.bytes AS bigint), 0) AS bytes, strptime(f.at, '%d/%b/%Y:%H:%M:%S %z')::timestamp AS moment, "
        "regexp_extract(f.request, '^\\S+ ([^? ]*)', 1) AS path FROM parsed"
    )
    return Log(
        _counts(connection, "'all'")["all"],
        _counts(connection, "strftime(moment, '%Y-%m-%d')"),
        _counts(connection, "strftime(moment, '%Y-%m-%d %H')"),
        _counts(connection, "path"),
        [row[0] for row in connection.execute("SELECT number FROM lines ANTI JOIN parsed USING (number) ORDER BY 1").fetchall()],
    )  # fmt: skip


def _counts(connection: duckdb.DuckDBPyConnection, by: str) -> dict[str, Counts]:
    found = {
        row[0]: Counts(*row[1:])
        for row in connection.execute(
            f"SELECT {by} AS k, count(*), sum(bytes)::bigint, count(DISTINCT (host, agent)), count(DISTINCT host) "
            "FROM requests GROUP BY k"
        ).fetchall()
    }
    for key, status, count in connection.execute(
        f"SELECT {by} AS k, status, count(*) FROM requests GROUP BY k, status"
    ).fetchall():
        found[key].statuses[status] = count
    return found
