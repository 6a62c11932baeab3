"""Everything declared: the domains' event types and rollups, and the one rollup that counts every event by its name."""

from streamgauge.domains.web import declarations as web
from streamgauge.summaries.rollups import ANY, EVENT_NAME, Catalogue, Dimension, Rollup

EVENTS = Rollup(
    "events", ANY, (Dimension(EVENT_NAME),), ((EVENT_NAME,),), value="duration", histogram=True
)  # fmt: skip

CATALOGUE = Catalogue(event_types=(web.REQUEST,), rollups=(EVENTS, *web.ROLLUPS))
