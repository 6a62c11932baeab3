"""The web domain's event and summaries. Names follow OpenTelemetry's HTTP semantic conventions; durations are microseconds."""

from streamgauge.summaries.rollups import Condition, Dimension, EventType, Property, Rollup

ROUTE = "http.route"
PATH = "url.path"
METHOD = "http.request.method"
STATUS = "http.response.status_code"
DURATION = "duration"
BYTES = "http.response.body.size"
REQUEST_BYTES = "http.request.body.size"
ERROR_TYPE = "error.type"
AUTHENTICATED = "authenticated"

DURATION_METRIC = "http.server.request.duration"

BOT_DURATION_METRIC = "http.server.bot_request.duration"

_PROPERTIES = {
    ROUTE: Property(str, "which route was asked for, as a template"),
    PATH: Property(str, "the path without its query; only from imported logs"),
    METHOD: Property(str, "the request's method, _OTHER if unknown"),
    STATUS: Property(int, "the response's status"),
    DURATION: Property(int, "time to the last byte", "us"),
    BYTES: Property(int, "size of the response's body", "By"),
    REQUEST_BYTES: Property(int, "size of the request's body", "By"),
    ERROR_TYPE: Property(str, "class of the exception that ended the request, never its message"),
    AUTHENTICATED: Property(bool, "whether the request came with a known actor"),
}

REQUEST = EventType(
    name="http.request",
    purpose="performance and use of the application's routes",
    properties=_PROPERTIES,
    failed=Condition(STATUS, at_least=500),
)
# Apart from people's requests: a crawler must not change their latencies, and is no visitor.
BOT_REQUEST = EventType(
    name="bot.request",
    purpose="load that known bots make",
    properties=_PROPERTIES,
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
    DURATION_METRIC, REQUEST.name, _DIMENSIONS, _GROUPINGS, value=DURATION, totals=(BYTES, REQUEST_BYTES), histogram=True
)  # fmt: skip

BOT_REQUESTS = Rollup(
    BOT_DURATION_METRIC, BOT_REQUEST.name, (Dimension(ROUTE),), ((), (ROUTE,)), value=DURATION, totals=(BYTES,), histogram=True,
    actors=False,
)  # fmt: skip

# Only requests that an exception ended have rows here.
EXCEPTIONS = Rollup(
    "http.server.exception", REQUEST.name, (Dimension(ERROR_TYPE, required=True),), ((ERROR_TYPE,),), actors=False
)  # fmt: skip

EVENT_TYPES = (REQUEST, BOT_REQUEST)
ROLLUPS = (REQUESTS, BOT_REQUESTS, EXCEPTIONS)
