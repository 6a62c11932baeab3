"""The web domain's event and summaries. Names follow OpenTelemetry's HTTP semantic conventions; durations are microseconds."""

from streamgauge.summaries.rollups import Condition, Dimension, EventType, Property, Rollup

ROUTE = "http.route"
PATH = "url.path"
METHOD = "http.request.method"
STATUS = "http.response.status_code"
DURATION = "duration"
BYTES = "http.response.body.size"

DURATION_METRIC = "http.server.request.duration"

REQUEST = EventType(
    name="http.request",
    purpose="performance and use of the application's routes",
    properties={
        ROUTE: Property(str, "which route was asked for, as a template"),
        PATH: Property(str, "the path without its query; only from imported logs"),
        METHOD: Property(str, "the request's method, _OTHER if unknown"),
        STATUS: Property(int, "the response's status"),
        DURATION: Property(int, "time to the last byte", "us"),
        BYTES: Property(int, "size of the response's body", "By"),
    },
    failed=Condition(STATUS, at_least=500),
)

_DIMENSIONS = (Dimension(ROUTE), Dimension(METHOD), Dimension(STATUS), Dimension(PATH, required=True))
# The last grouping answers every combination, the others answer the usual ones from far fewer rows.
_GROUPINGS: tuple[tuple[str, ...], ...] = (
    (),
    (ROUTE,),
    (ROUTE, METHOD, STATUS),
    (ROUTE, METHOD, STATUS, PATH),
)

REQUESTS = Rollup(
    DURATION_METRIC, REQUEST.name, _DIMENSIONS, _GROUPINGS, value=DURATION, totals=(BYTES,), histogram=True
)  # fmt: skip

ROLLUPS = (REQUESTS,)
