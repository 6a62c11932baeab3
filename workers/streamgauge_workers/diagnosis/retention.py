"""Checks of the event log's size and age, and of the disk its archives are written to."""

from collections.abc import Iterator

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.snapshot import Database, Snapshot
from streamgauge_workers.diagnosis.spools import LEAST_FREE
from streamgauge_workers.diagnosis.wording import counted, listed, megabytes

SPARE_DAYS = 1  # until a day that is due is archived
CHECK = "`streamgauge archive check`, which reads every file whole"
LOOK = "Look for `event log not archived` in the workers' logs, and run `streamgauge archive run`, which says why"


def event_log(snapshot: Snapshot) -> Iterator[Finding]:
    """Whether days leave the event log when they should."""
    database, settings = snapshot.database, snapshot.settings
    assert isinstance(database, Database)  # noqa: S101 - checks of tables are asked of a database alone
    size, most = database.log_bytes, settings.log_max_bytes
    if database.log_oldest > settings.log_retention_days + SPARE_DAYS:
        yield problem(
            "event log",
            f"The event log goes {counted(database.log_oldest, 'day')} back, {settings.log_retention_days} are wanted: archiving "
            "fails or no worker runs, and the disk of PostgreSQL fills up.",
            f"{LOOK}.",
        )
    elif size > most and database.log_oldest > SPARE_DAYS:
        yield problem(
            "event log",
            f"The event log has {megabytes(size)}, {megabytes(most)} are allowed: archiving fails or does not keep up.",
            f"{LOOK}; or raise STREAMGAUGE_LOG_MAX_BYTES.",
        )
    elif size > most:
        yield warning(
            "event log",
            f"Today and yesterday alone have {megabytes(size)} of event log, {megabytes(most)} are allowed; days that are being "
            "written cannot be archived.",
            "Raise STREAMGAUGE_LOG_MAX_BYTES, or send fewer events.",
        )
    else:
        yield ok(
            "event log",
            f"The event log has {megabytes(size)} and goes {counted(database.log_oldest, 'day')} back.",
        )


def archive(snapshot: Snapshot) -> Iterator[Finding]:
    """Room for archives, and that those are there which alone hold days of the event log."""
    machine, files = snapshot.machine, snapshot.archives
    if not files.is_here:
        yield warning(
            "archive",
            f"The directory of archives {machine.archive_dir} is not on this machine, or not for this user to read; {counted(files.count, 'file')} should be in it.",
            "Run this where workers run, or mount the directory that they share (STREAMGAUGE_ARCHIVE_DIR) here.",
        )
    if files.missing:
        yield problem(
            "archive",
            f"{counted(len(files.missing), 'archived file')} of the event log cannot be found in {machine.archive_dir}: "
            f"{listed(list(files.missing))}. Summaries are not touched by that, but nobody can recount or rebuild these days.",
            f"Put them back from the backup, or mount the right directory; then {CHECK}.",
        )
    if files.altered:
        yield problem(
            "archive",
            f"{counted(len(files.altered), 'archived file')} of the event log changed in size: {listed(list(files.altered))}.",
            f"Restore them from the backup, look at the disk, then {CHECK}.",
        )
    if machine.archive_free is not None and machine.archive_free < LEAST_FREE:
        yield problem(
            "archive",
            f"The disk of the archive {machine.archive_dir} has {megabytes(machine.archive_free)} free: days of the event log "
            "will stay in PostgreSQL.",
            "Free some, or set STREAMGAUGE_ARCHIVE_DIR to a larger disk and move the files there.",
        )
