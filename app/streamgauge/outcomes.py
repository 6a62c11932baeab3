"""What can become of an event once a worker has read it. Everything counted or refused has a name here, and a code in the log.

processed = applied + repeated_key + rejected{reason} + dead_lettered{reason} + erased
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

#: "erased": it was one of the others once; that it was processed is all that is left of it.
Name = Literal["applied", "repeated_key", "rejected", "dead_lettered", "erased"]
Reason = Literal[
    "",
    "unknown_tenant",  # no tenant of that name: create it, then replay
    "tenant_deleted",  # the tenant of that name was deleted; nothing of the event is kept
    "invalid_value",  # a measured number outside 0 .. 2**48-1, or a NaN
    "invalid_text",  # U+0000, or a text longer than 2,048 bytes
    "invalid_time",  # before 1970 or after 2100
    "late",  # older than max_lateness when it was applied
    "future",  # more than five minutes ahead when it was applied
    "undecodable",  # entry or frame that cannot be read
    "range_conflict",  # overlaps numbers of its lane that are done, without being inside them
    "poison",  # its worker failed on it again and again
]


class Outcome(NamedTuple):
    """An outcome and, where it has one, its reason."""

    name: Name
    reason: Reason = ""


CODES: dict[int, Outcome] = {
    0: Outcome("applied"),
    1: Outcome("repeated_key"),
    2: Outcome("rejected", "unknown_tenant"),
    3: Outcome("rejected", "invalid_value"),
    4: Outcome("rejected", "invalid_text"),
    5: Outcome("rejected", "invalid_time"),
    6: Outcome("dead_lettered", "late"),
    7: Outcome("dead_lettered", "future"),
    8: Outcome("rejected", "tenant_deleted"),
    9: Outcome("erased"),
}
(
    APPLIED, REPEATED_KEY, UNKNOWN_TENANT, INVALID_VALUE, INVALID_TEXT, INVALID_TIME, LATE, FUTURE, TENANT_DELETED, ERASED,
) = CODES  # fmt: skip
#: Reasons under which an event is entered for no tenant (0), whoever bears its name now.
NOBODYS: frozenset[Reason] = frozenset({"unknown_tenant", "tenant_deleted"})

#: Reasons under which an entry is refused with all its events; under the others single events are.
WHOLE: tuple[Reason, ...] = ("undecodable", "range_conflict", "poison")

Outcomes = npt.NDArray[np.uint8]  #: one code per event
