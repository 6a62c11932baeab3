"""Events as hypothesis makes them, shared by the tests of frames and of the fold."""

from hypothesis import strategies as st

from streamgauge.event import Event

PLAIN = st.text(st.characters(codec="utf-8"), max_size=12)
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(INT64, st.floats(allow_nan=False), PLAIN, st.booleans())
NAMES = st.sampled_from(["http.request", "lesson.read", "draft.sent"])
PSEUDONYMS = st.sampled_from(
    [bytes([version]) + bytes([each]) * 16 for version in (0, 1) for each in range(4)]
)

EVENTS = st.builds(
    Event,
    name=NAMES | PLAIN,
    occurred_at=INT64,
    tenant=PLAIN,
    actor=st.none() | PSEUDONYMS | st.binary(min_size=17, max_size=17),
    session=st.none() | PLAIN,
    group=st.none() | PLAIN,
    device=st.none() | PLAIN,
    source=st.sampled_from(["server", "browser", "import"]),
    properties=st.dictionaries(st.sampled_from(["a", "b", "http.route", "é\0"]), VALUES, max_size=4),
    key=st.none() | st.binary(min_size=16, max_size=16),
)
BATCHES = st.lists(EVENTS, min_size=1, max_size=12)
