"""IANA time zones from the pinned ``tzdata`` package, as exact changes of the offset from UTC.

The machine's own zone files are never read and zoneinfo's global search path stays as the host set it:
two workers on different machines must put an event into the same hour.
"""

import difflib
import importlib.resources
from datetime import UTC, datetime
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from streamgauge.errors import InputError

DAY = 86_400  # seconds
# Under half of the shortest time any zone keeps an offset from 1969 to 2102 (a week: Recife, October 2000;
# Gaza, 2040). A test compares the result with every change that the zone files list.
_PROBE_STEP = 3 * DAY


@cache
def zone_names() -> frozenset[str]:
    """Every name of the pinned zone data, links included."""
    listed = (importlib.resources.files("tzdata") / "zones").read_text(encoding="utf-8")
    return frozenset(listed.split())


@cache
def load_zone(name: str) -> ZoneInfo:
    """The zone of that name.

    Only listed names are opened, so a name can never lead out of the package's folder.
    Raises InputError when there is no such zone.
    """
    if name not in zone_names():
        near = difflib.get_close_matches(name[:64], zone_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "use an IANA name such as 'Europe/Berlin' or 'UTC'."
        raise InputError(f"Unknown time zone {name[:64]!r}: {hint}", field="zone")
    file = importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
    with file.open("rb") as stream:
        return ZoneInfo.from_file(stream, key=name)


def offset_at(name: str, second: int) -> int:
    """Seconds to add to UTC for the zone's wall clock at a Unix second."""
    offset = datetime.fromtimestamp(second, load_zone(name)).utcoffset()
    assert offset is not None  # noqa: S101 - an aware datetime has an offset; this tells the type checker
    return offset.days * DAY + offset.seconds


def year_start(year: int) -> int:
    """The Unix second at which a year begins in UTC."""
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


@lru_cache(maxsize=8192)
def offset_changes(name: str, year: int) -> tuple[int, ...]:
    """The instants of one UTC year at which the zone's offset changes.

    Changes of the abbreviation alone are left out. The year's first second belongs to it, the next year's
    does not.
    """
    changes: list[int] = []
    second, offset = year_start(year) - 1, offset_at(name, year_start(year) - 1)
    last = year_start(year + 1) - 1
    while second < last:
        probe = min(second + _PROBE_STEP, last)
        while offset_at(name, probe) != offset:
            changed = _first_change(name, second, probe, offset)
            second, offset = changed, offset_at(name, changed)
            changes.append(second)
        second = probe
    return tuple(changes)


def _first_change(name: str, before: int, after: int, offset: int) -> int:
    """Bisect to the second: ``offset`` holds at ``before`` and no longer at ``after``."""
    while after - before > 1:
        middle = (before + after) // 2
        if offset_at(name, middle) == offset:
            before = middle
        else:
            after = middle
    return after
