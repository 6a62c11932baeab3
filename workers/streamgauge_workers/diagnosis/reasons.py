"""What each reason for a refusal means, and what to do about it."""

from typing import NamedTuple

from streamgauge.outcomes import Reason


class Meaning(NamedTuple):
    """In plain words."""

    means: str
    fix: str


MEANINGS: dict[Reason, Meaning] = {
    "unknown_tenant": Meaning(
        "their tenant does not exist", "create the tenant, then rebuild from the event log; or correct its name where events are made"
    ),
    "invalid_value": Meaning(
        "a measured number is below 0, above 2^48-1 or not a number", "correct the unit or the measurement where events are made"
    ),
    "invalid_text": Meaning(
        "a text holds U+0000 or is longer than 2,048 characters", "shorten or clean it where events are made"
    ),
    "invalid_time": Meaning("their time is before 1970 or after 2100", "correct the clock or the unit where events are made"),
    "late": Meaning(
        "they came later than STREAMGAUGE_MAX_LATENESS_DAYS allows",
        "look why they were held back; import history with `streamgauge import`, which may be older",
    ),
    "future": Meaning(
        "their time is more than five minutes ahead", "set the clock of the host that made them (NTP), or its time zone"
    ),
    "undecodable": Meaning(
        "they are not entries of ours, or were damaged",
        "look who else writes to our streams in Redis (STREAMGAUGE_STREAM_PREFIX), and at the column `detail` of dead_letters",
    ),
    "range_conflict": Meaning(
        "they overlap numbers of their lane that are done",
        "look for a producer that was copied while it ran, such as a restored machine image",
    ),
    "poison": Meaning(
        "workers failed on them again and again",
        "look at the column `detail` of dead_letters and report it: this is a defect of ours",
    ),
}  # fmt: skip
