"""The one event type of the fault tests: it carries a number by which every single event is found again."""

from streamgauge.catalogue import CATALOGUE as WHOLE
from streamgauge.summaries.rollups import EventType, Property, Rollup

NAME = "fault.probed"
METRIC = "fault.value"
NUMBER = "fault.number"
VALUE = "fault.value"

PROBED = EventType(
    NAME,
    "proof that faults lose and double nothing",
    {NUMBER: Property(int, "which event it is"), VALUE: Property(int, "what it adds to the sum")},
)
CATALOGUE = WHOLE.extended(PROBED, Rollup(METRIC, NAME, value=VALUE, histogram=True))
#: The tenants, and how far their clocks are ahead of UTC, in seconds: hours and days are theirs, and half an hour is a trap.
TENANTS = {
    "red": ("UTC", 0),
    "blue": ("Asia/Kolkata", 19_800),
    "green": ("America/Caracas", -14_400),
    "flood": ("UTC", 0),
}
