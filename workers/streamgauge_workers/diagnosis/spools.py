"""Checks of the spools on this machine: events that wait in files, and what keeps them there."""

from collections.abc import Iterator

from streamgauge.settings import Settings
from streamgauge_workers.diagnosis.findings import Finding, ok, problem, told, warning
from streamgauge_workers.diagnosis.snapshot import Snapshot
from streamgauge_workers.diagnosis.spool_look import Folder, SpoolDirectory
from streamgauge_workers.diagnosis.wording import counted, duration, listed, megabytes

Findings = Iterator[Finding]

LEAST_FREE = 512 * 1024 * 1024  # bytes
#: Seconds after which files of a process that ended should have been adopted by another: those look every 30 seconds.
ADOPTED = 60.0
#: Seconds that events may wait for Redis without being worth a word.
WAITED = 10.0
#: Seconds that a durable file takes until it is ended, committed, acknowledged and removed, beside the accepted loss.
ACKNOWLEDGED = 90.0
NEARLY_FULL = 0.9  # of STREAMGAUGE_SPOOL_BYTES


def spools(snapshot: Snapshot) -> Findings:
    """Files below STREAMGAUGE_SPOOL_DIR; only those on this machine are seen."""
    directory, settings = snapshot.machine.spools, snapshot.settings
    if directory is None:
        return
    found = [*_directory(directory, settings), *_left(directory, settings), *_kept(directory, settings)]
    yield from found
    if settings.capture_mode == "memory":
        yield told(
            "spool",
            "STREAMGAUGE_CAPTURE_MODE is memory: while Redis is away, applications with these settings keep what their buffers "
            "hold, and lose it when they end by force.",
            "Set STREAMGAUGE_CAPTURE_MODE=disk and restart them, if that is too little.",
        )
    elif not found:
        yield ok("spool", f"No event waits in files below {directory.path} for longer than it should.")


def _directory(directory: SpoolDirectory, settings: Settings) -> Findings:
    if settings.capture_mode != "memory":
        if directory.read_only:
            yield problem(
                "spool",
                f"{directory.path} is on a file system that is read-only: while Redis is away, events are dropped (spool_failed).",
                "Mount it writable, look at the disk (the kernel may have done this after an error), or set STREAMGAUGE_SPOOL_DIR.",
            )
        elif directory.free is not None and directory.free < LEAST_FREE:
            yield problem(
                "spool",
                f"The disk of {directory.path} has {megabytes(directory.free)} free: while Redis is away, events will be dropped.",
                "Free some, or set STREAMGAUGE_SPOOL_DIR to another local disk.",
            )
    if directory.closed:
        yield warning(
            "spool",
            f"{counted(directory.closed, 'spool')} below {directory.path} cannot be looked into by this user.",
            "Run this as the user that the application runs as.",
        )


def _left(directory: SpoolDirectory, settings: Settings) -> Findings:
    """Files of processes that are no more."""
    left = [each for each in directory.folders if not each.owned]
    newer = [each for each in left if each.newer]
    if newer:
        yield warning(
            "spool",
            f"{_of(newer)} of a newer version than this program: {_names(newer)}. An older application does not adopt them.",
            "Start an application of the newer version with this STREAMGAUGE_SPOOL_DIR; it sends them.",
        )
    if damaged := sum(each.damaged for each in left):
        yield warning(
            "spool",
            f"{damaged:,} bytes in {_names([each for each in left if each.damaged])} belong to no whole event: a process was killed "
            "while it wrote, or the disk failed.",
            "Start the application: what is whole is sent, and events that are missing are told as losses, by number. If nothing "
            "was killed, look at the disk.",
        )
    others = [each for each in left if each.prefix not in (None, settings.stream_prefix)]
    if others:
        yield warning(
            "spool",
            f"{_of(others)} for streams of another STREAMGAUGE_STREAM_PREFIX: {listed(sorted({str(each.prefix) for each in others}))}.",
            "Start an application with that prefix, or give each installation a STREAMGAUGE_SPOOL_DIR of its own.",
        )
    waiting = [each for each in left if not each.newer and each not in others and each.age > ADOPTED]
    if waiting:
        yield warning(
            "spool",
            f"{_of(waiting)} of processes that ended, for {duration(max(each.age for each in waiting))}: nobody has adopted them.",
            f"Start the application with STREAMGAUGE_SPOOL_DIR={directory.path}, STREAMGAUGE_STREAM_PREFIX={settings.stream_prefix} "
            "and Redis within reach; within a minute it sends them, and nothing counts twice.",
        )


def _kept(directory: SpoolDirectory, settings: Settings) -> Findings:
    """Files of processes that run."""
    owned = [each for each in directory.folders if each.owned]
    unsent = [each for each in owned if not each.durable and each.age > WAITED]
    if unsent:
        yield warning(
            "spool",
            f"{_of(unsent)} of applications that run, for {duration(max(each.age for each in unsent))}: Redis does not take them, "
            "or not as fast as they come.",
            "Look at what is said of Redis here and in the application's log; they are sent by themselves as soon as it takes them.",
        )
    late = settings.accepted_loss_seconds + ACKNOWLEDGED
    unacknowledged = [each for each in owned if each.durable and each.age > late]
    if unacknowledged:
        yield warning(
            "spool",
            f"{_of(unacknowledged)} of durable events, for {duration(max(each.age for each in unacknowledged))}, which is longer "
            "than it takes until workers acknowledge them.",
            "Look whether Redis takes them and workers keep up (below); they are kept, and sent again, until PostgreSQL has them.",
        )
    full = [each for each in owned if each.bytes > NEARLY_FULL * settings.spool_bytes]
    if full:
        yield problem(
            "spool",
            f"{_names(full)} has {megabytes(max(each.bytes for each in full))} of the {megabytes(settings.spool_bytes)} that are "
            "allowed: when it is full and the buffer too, events are dropped (spool_full).",
            "Bring Redis and workers back; or raise STREAMGAUGE_SPOOL_BYTES where the disk has room, and restart the application.",
        )


def _of(folders: list[Folder]) -> str:
    return f"{megabytes(sum(each.bytes for each in folders))} wait in {counted(len(folders), 'spool')}"


def _names(folders: list[Folder]) -> str:
    return listed([each.path.name for each in folders])
