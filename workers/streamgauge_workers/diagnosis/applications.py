"""Checks of what applications send, and who sees it: why a dashboard is empty though every server is well."""

from collections.abc import Callable, Iterator
from shlex import quote

from streamgauge.domains.operations.declarations import PROBE_TENANT
from streamgauge.settings import Settings
from streamgauge_workers.diagnosis.findings import Finding, ok, told, warning
from streamgauge_workers.diagnosis.reasons import DROPS
from streamgauge_workers.diagnosis.snapshot import Database, Snapshot
from streamgauge_workers.diagnosis.wording import capitalised, counted, listed

Findings = Iterator[Finding]

MOST_MISTIMED = 0.01  # share of a day's events


def capture(snapshot: Snapshot) -> Findings:
    """Whether applications with these settings record anything."""
    given = snapshot.settings
    if not given.enabled:
        yield warning(
            "capture",
            "STREAMGAUGE_ENABLED is false: applications with these settings record nothing.",
            "Set STREAMGAUGE_ENABLED=true and restart them.",
        )
    elif given.capture_percent == 0:
        yield warning(
            "capture",
            "STREAMGAUGE_CAPTURE_PERCENT is 0: applications with these settings measure nobody.",
            "Set it to 100, or to the share of actors that is wanted, and restart them.",
        )
    elif given.capture_percent < 100:
        yield told(
            "capture",
            f"STREAMGAUGE_CAPTURE_PERCENT is {given.capture_percent}: applications with these settings measure that share of "
            "their actors, and all counts are of these.",
            "To measure everybody set it to 100 and restart them.",
        )
    else:
        yield ok("capture", f"Applications with these settings measure everybody, for tenant {given.tenant}.")


def drops(snapshot: Snapshot) -> Findings:
    """What applications say that they did not send."""
    found = _database(snapshot).drops
    days = snapshot.settings.max_lateness_days + 1
    for reason, events in found:
        meaning = next((meaning for known, meaning in DROPS.items() if known == reason), None)
        verb = "was" if events == 1 else "were"
        why = f" ({meaning.means})" if meaning else ""
        says = f"{counted(events, 'event')} {verb} dropped by applications as {reason}{why}; in the last {days} days."
        advice = capitalised(meaning.fix) if meaning else "Look at `gauge.status()` in the application."
        # Somebody asked for it.
        level = told if reason == "sampled_out" else warning
        yield level("drops", says, advice)
    if not found:
        yield ok("drops", "No application announced that it dropped an event.")


DEMO_TENANT = "demo-school"  # whose events `streamgauge up` makes by itself


def tenants(snapshot: Snapshot) -> Findings:
    """Whose dashboards are empty because nothing came."""
    known, own = _tenants(snapshot), snapshot.settings.tenant
    if not known:
        yield warning(
            "tenants",
            "There is no tenant yet, so nothing can be counted.",
            f"Make one (`streamgauge keys create --tenant {quote(own)} --read`), import a log (`streamgauge import access-log FILE --tenant NAME`) "
            "or make events (`streamgauge load`).",
        )
        return
    filled = [name for name, has_events in known.items() if has_events]
    empty = [name for name in known if name not in filled]
    if not filled:
        yield warning(
            "tenants",
            f"No event was ever counted; {counted(len(empty), 'tenant')} without any: {listed(empty)}.",
            "Add `gauge.instrument(app)` to an application that has this STREAMGAUGE_REDIS_URL, STREAMGAUGE_STREAM_PREFIX and "
            "tenant. `streamgauge doctor --probe` tells whether the path from there works.",
        )
        return
    # Where only the default is known, the name may be set on the applications' hosts alone.
    if own in empty or (own not in known and own != Settings.tenant):
        others = [name for name in filled if name != DEMO_TENANT]
        yield warning(
            "tenants",
            f"Events come only for {listed(filled)}, and never came for {own}, which STREAMGAUGE_TENANT names here.",
            f"Set STREAMGAUGE_TENANT={quote(others[0])} where events are made for it, and open its dashboard with a key of that tenant."
            if others
            else "That is the example's demo traffic; add `gauge.instrument(app)` to your own application.",
        )
        empty = [name for name in empty if name != own]
        filled = []
    if empty:
        yield warning(
            "tenants",
            f"No event was ever applied for {listed(empty)}.",
            "Look whether its producers run, use this Redis and prefix, and spell the tenant so.",
        )
    elif filled:
        yield ok("tenants", f"{counted(len(known), 'tenant')}, all with events.")


def access(snapshot: Snapshot) -> Findings:
    """Tenants whose dashboard nobody can open."""
    known = _tenants(snapshot)
    keyless = [name for name in _database(snapshot).keyless if name in known]
    if keyless:
        yield warning(
            "access",
            f"No key opens the dashboard of {listed(keyless)}.",
            f"`streamgauge keys create --tenant {quote(keyless[0])} --read` makes one.",
        )
    elif known:
        yield ok("access", "Every tenant has a key that opens its dashboard.")


def event_times(snapshot: Snapshot) -> Findings:
    """Whether the clocks of the hosts that make events agree with PostgreSQL's, as far as their events tell."""
    database = _database(snapshot)
    wrong = []
    for what, events in (("late", database.late), ("ahead of time", database.future)):
        if database.processed and events / database.processed >= MOST_MISTIMED:
            wrong.append(f"{events / database.processed:.0%} too {what}")
    if wrong:
        yield warning(
            "event times",
            f"Of the last day's {counted(database.processed, 'event')}, {' and '.join(wrong)} were refused.",
            "Set the clocks of the hosts that make them (NTP); times are UTC. Import history with `streamgauge import`.",
        )
    else:
        yield ok("event times", "The clocks of the hosts that make events seem to be right.")


def _tenants(snapshot: Snapshot) -> dict[str, bool]:
    """Whether each tenant has events; without the one that probes are sent for."""
    return {name: has for name, has in _database(snapshot).tenants if name != PROBE_TENANT}


def _database(snapshot: Snapshot) -> Database:
    assert isinstance(snapshot.database, Database)  # noqa: S101 - a check of the tables
    return snapshot.database


#: These need the tables alone.
OF_APPLICATIONS: tuple[Callable[[Snapshot], Findings], ...] = (tenants, access, drops, event_times)
