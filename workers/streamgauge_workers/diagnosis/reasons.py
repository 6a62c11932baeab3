"""What each reason for a refusal or a drop means, and what to do about it."""

from typing import NamedTuple

from streamgauge.capture.pending import DropReason
from streamgauge.outcomes import Reason

NAME = "NAME"  # stands for a tenant's name


class Meaning(NamedTuple):
    """In plain words."""

    means: str
    fix: str
    after: str = ""  #: what then becomes of the dead letters


DISCARD = "they would be refused again, so `streamgauge dead-letters discard --reason {}` when nobody needs to look at them"

MEANINGS: dict[Reason, Meaning] = {
    "unknown_tenant": Meaning(
        "their tenant does not exist",
        f"make the tenant (`streamgauge keys create --tenant {NAME} --read`, or an import for it); or correct its name where events are made "
        "(STREAMGAUGE_TENANT)",
        "then `streamgauge dead-letters replay --reason unknown_tenant` counts them",
    ),
    "tenant_deleted": Meaning(
        "their tenant was deleted, and nothing of them is kept",
        f"stop what still sends for it, or make the tenant again (`streamgauge keys create --tenant {NAME} --read`): it starts from nothing",
    ),
    "invalid_value": Meaning(
        "a measured number is below 0, above 2^48-1 or not a number", "correct the unit or the measurement where events are made",
        DISCARD.format("invalid_value"),
    ),
    "invalid_text": Meaning(
        "a text holds U+0000 or is longer than 2,048 characters", "shorten or clean it where events are made", DISCARD.format("invalid_text"),
    ),
    "invalid_time": Meaning("their time is before 1970 or after 2100", "correct the clock or the unit where events are made", DISCARD.format("invalid_time")),
    "late": Meaning(
        "they came later than STREAMGAUGE_MAX_LATENESS_DAYS allows",
        "look why they were held back",
        "`streamgauge dead-letters replay --reason late` counts them all the same, as `streamgauge import` does",
    ),
    "future": Meaning(
        "their time is more than five minutes ahead", "set the clock of the host that made them (NTP), or its time zone",
        "once their time has come, `streamgauge dead-letters replay --reason future` counts them",
    ),
    "undecodable": Meaning(
        "they are not entries of ours, or were damaged",
        "look who else writes to our streams in Redis (STREAMGAUGE_STREAM_PREFIX), and at `streamgauge dead-letters list --reason undecodable`",
        "what a newer version can read, `streamgauge dead-letters replay --reason undecodable` counts then; else discard it",
    ),
    "range_conflict": Meaning(
        "they overlap numbers of their lane that are done",
        "look for a producer that was copied while it ran, such as a restored machine image",
        "`streamgauge dead-letters show NUMBER` tells whether they are other events; then `streamgauge dead-letters replay NUMBER`",
    ),
    "poison": Meaning(
        "workers failed on them again and again",
        "see `streamgauge dead-letters list --reason poison` and report it: this is a defect of ours",
        "with the version that mends it `streamgauge dead-letters replay --reason poison` counts them",
    ),
}  # fmt: skip

DROPS: dict[DropReason, Meaning] = {
    "disabled": Meaning(
        "STREAMGAUGE_ENABLED is false there", "set STREAMGAUGE_ENABLED=true and restart the application"
    ),
    "too_many_tenants": Meaning(
        "their tenant is new, and the application's keyring holds as many as events may bring it to",
        "look where `tenant=` takes names from; make the keys of a tenant of yours with "
        f"`streamgauge keys create --tenant {NAME} --actor ANYBODY --read`",
    ),
    "closed": Meaning(
        "they came after the application had closed its gauge",
        "close it later: `gauge.lifespan` closes it after everything else",
    ),
    "sampled_out": Meaning(
        "their actors are not among STREAMGAUGE_CAPTURE_PERCENT", "to measure everybody set STREAMGAUGE_CAPTURE_PERCENT=100"
    ),
    "undeclared_event": Meaning(
        "no event type of that name is declared",
        "declare it where the gauge is made, as `event_types=(EventType(...),)`, or correct the name",
    ),
    "invalid_property": Meaning(
        "a declared property has another type, is too large, or cannot be stored",
        "correct the value where it is tracked, or its declaration",
    ),
    "invalid_identity": Meaning(
        "tenant, actor, session or group is no text of a usable length", "give texts of 1 to a few hundred characters"
    ),
    "buffer_full": Meaning(
        "Redis did not take them as fast as they came",
        "look whether Redis is reachable from the application and not full; then raise STREAMGAUGE_BUFFER_EVENTS or "
        "STREAMGAUGE_BUFFER_BYTES",
    ),
    "spool_full": Meaning(
        "Redis was away for so long that the application's files were full, and its memory too",
        "bring Redis back; then raise STREAMGAUGE_SPOOL_BYTES on a disk that has room for it",
    ),
    "spool_failed": Meaning(
        "Redis was away and the application could not write, or read again, its files",
        "look at the application's log, and at room and rights of STREAMGAUGE_SPOOL_DIR",
    ),
    "not_configured": Meaning(
        "the application did not know where Redis is", "give it STREAMGAUGE_REDIS_URL"
    ),
    "unsendable": Meaning(
        "they could not be put into a frame", "look at the application's log and report it: this is a defect of ours"
    ),
    "undelivered": Meaning(
        "Redis did not take them before the application ended",
        "look whether Redis was away then; give the application longer to end",
    ),
}  # fmt: skip
