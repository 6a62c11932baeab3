"""Promises about supportive mode: ten at most, texts from a reviewed list, and no field that would compare anybody."""

import asyncio
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.domains.gamification.leaderboard import Audience, Leaderboard, read
from streamgauge.domains.gamification.supportive import (
    EMPTY_MESSAGE,
    INSIGHTS,
    MESSAGES,
    MOST_ENTRIES,
    SupportiveLeaderboard,
    checked_limit,
    insight,
    message,
    presented,
)
from streamgauge.entities.standings import Frame, MemoryStandings
from streamgauge.errors import InputError
from streamgauge.summaries.calendar import Calendar

ACTORS = [bytes([1, *[number] * 16]) for number in range(40)]
NAMES = {actor: f"learner {actor[1]}" for actor in ACTORS}
CALENDAR = Calendar([(None, "Europe/Berlin")])
#: Reviewed: nothing else may ever be in an answer.
FIELDS = {"metric", "timeframe", "season", "starts", "supportive", "message", "entries", "you"}
ENTRY_FIELDS = {"rank", "name", "score", "is_you", "id", "insight"}
OWN_FIELDS = {"name", "score", "insight"}
#: Reviewed, one by one.
TEXTS = {
    "A good moment to begin.",
    "Every start counts.",
    "The first points are in.",
    "Off to a good start.",
    "Steady work adds up.",
    "This is taking shape.",
    "A lot of learning went into this.",
    "Real effort shows here.",
    "Impressive dedication.",
    "A great deal of work, well done.",
}
GREETINGS = {
    "Thank you all for learning together.",
    "Every point here stands for something learned.",
    "Each of you goes at your own pace.",
    "Learning grows one step at a time.",
    "The board is open, and everybody is welcome.",
}
#: What compares one with others, or shames.
UNKIND = re.compile(
    r"\b(than|more|most|less|least|fewer|better|best|worse|worst|ahead|behind|beat\w*|above|below|top|bottom|rank\w*|percent\w*|place[ds]?|"
    r"last|lead\w*|win\w*|won|los\w+|others?|another|everyone else|compar\w+|compet\w+|rival\w*|catch|faster|slow\w*|higher|lower|average|"
    r"fail\w*|lazy|weak\w*|poor\w*|bad\w*|only|just|still|yet|not|never|no|nobody|nothing|should|must|need\w*|try|harder|enough|miss\w*|"
    r"disappoint\w*|shame\w*|unfortunately|but|however|few|little|far|\w+er than|\w*n't)\b|\d|!|\?",
    re.IGNORECASE,
)
frames = st.builds(
    Frame,
    st.just("xp"),
    st.sampled_from(["day", "week", "month", "all", "season:autumn"]),
    st.integers(0, 20_000).map(lambda day: CALENDAR.day_start(date.fromordinal(date(1980, 1, 1).toordinal() + day))),
)  # fmt: skip
scores = st.dictionaries(st.sampled_from(ACTORS), st.one_of(st.integers(0, 5), st.integers(0, 10**12)))


def shown(
    points: dict[bytes, int], frame: Frame, actor: bytes | None, limit: int, **how: bool
) -> Leaderboard | SupportiveLeaderboard:
    reading = asyncio.run(read(MemoryStandings({frame: points}), frame, actor, limit))
    return presented(
        reading, frame, CALENDAR, Audience(actor, frozenset(), NAMES), **{"supportive": False, **how}
    )


def texts(value: Any) -> Iterator[str]:
    """All texts of an answer but names and what was asked for."""
    if isinstance(value, dict):
        for field, inner in value.items():
            if field in ("insight", "message"):
                yield inner
            else:
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@given(scores, frames, st.one_of(st.none(), st.sampled_from(ACTORS)), st.integers(1, 100), st.booleans())
def test_no_field_beyond_the_closed_list_and_no_text_beyond_the_reviewed_ones_is_ever_answered(
    points: dict[bytes, int], frame: Frame, actor: bytes | None, limit: int, forced: bool
) -> None:
    how = {"force_supportive": True} if forced else {"supportive": True}
    # More may have been read than may be shown: it is not shown all the same.
    found = orjson.loads(orjson.dumps(shown(points, frame, actor, limit, **how)))
    assert set(found) == FIELDS
    assert found["supportive"] is True
    assert len(found["entries"]) == min(len(points), limit, MOST_ENTRIES)
    assert all(set(each) == ENTRY_FIELDS for each in found["entries"])
    assert [each["rank"] for each in found["entries"]] == list(range(1, len(found["entries"]) + 1))
    if actor in points:
        assert set(found["you"]) == OWN_FIELDS
        assert found["you"]["score"] == points[actor]
    else:
        assert found["you"] is None
    assert set(texts(found)) <= TEXTS | GREETINGS
    assert found["message"] in GREETINGS


@given(st.dictionaries(st.sampled_from(ACTORS[1:]), st.integers(100, 200), min_size=12), frames)
def test_who_is_not_among_the_ten_learns_nothing_about_others(points: dict[bytes, int], frame: Frame) -> None:
    """The same whether one is eleventh or the fortieth."""
    own = ACTORS[0]
    last = orjson.loads(orjson.dumps(shown({**points, own: 3}, frame, own, 10, supportive=True)))
    assert last["you"] == {"name": "You", "score": 3, "insight": insight(3, own)}
    assert not any(each["is_you"] for each in last["entries"])
    best = dict(sorted(points.items(), key=lambda each: (-each[1], each[0]))[:10])
    eleventh = orjson.loads(orjson.dumps(shown({**best, own: 3}, frame, own, 10, supportive=True)))
    assert last == eleventh


@given(st.integers(0, 10**15), st.sampled_from(ACTORS), scores, frames)
def test_an_insight_depends_on_nobody_elses_score(
    score: int, actor: bytes, others: dict[bytes, int], frame: Frame
) -> None:
    found = shown({**others, actor: score}, frame, actor, 10, supportive=True)
    assert isinstance(found, SupportiveLeaderboard)
    assert found.you is not None
    assert found.you.insight == insight(score, actor) in TEXTS
    for entry in found.entries:
        if entry.is_you:
            assert entry.insight == found.you.insight


def test_the_reviewed_texts_are_all_there_are_and_each_can_be_reached() -> None:
    assert {text for _, choice in INSIGHTS for text in choice} == TEXTS
    assert {*MESSAGES, EMPTY_MESSAGE} == GREETINGS
    thresholds = [score for score, _ in INSIGHTS]
    assert thresholds == sorted(set(thresholds))
    assert thresholds[0] == 0
    around = {score + step for score in thresholds for step in (-1, 0, 1)} - {-1} | {10**15}
    reached = {insight(score, actor) for score in around for actor in ACTORS}
    assert reached == TEXTS
    boards = [Frame("xp", "week", week * 604_800) for week in range(100)]
    assert {message(frame, empty=empty) for frame in boards for empty in (False, True)} == GREETINGS


@pytest.mark.parametrize(
    ("score", "choice"), [(0, 0), (1, 1), (99, 1), (100, 2), (499, 2), (500, 3), (2_000, 4)]
)
def test_a_score_has_texts_of_its_own_size(score: int, choice: int) -> None:
    assert {insight(score, actor) for actor in ACTORS} == set(INSIGHTS[choice][1])


@pytest.mark.parametrize("text", sorted(TEXTS | GREETINGS))
def test_no_text_compares_or_shames(text: str) -> None:
    assert UNKIND.search(text) is None
    assert text.endswith(".")
    assert len(text) <= 60


@pytest.mark.parametrize(
    "text",
    ["You are ahead of most.", "Better than last week.", "Only three points.", "Don't stop!", "Rank two."],
)
def test_unkind_texts_would_be_found(text: str) -> None:
    assert UNKIND.search(text)


def test_more_than_ten_are_refused_in_supportive_mode_alone() -> None:
    assert checked_limit(10, supportive=True) == 10
    assert checked_limit(100, supportive=False) == 100
    for how in ({"supportive": True}, {"supportive": False, "force_supportive": True}):
        with pytest.raises(InputError, match="limit is 11: a supportive board shows at most 10") as refused:
            checked_limit(11, **how)
        assert refused.value.field == "limit"


def test_the_ordinary_board_is_shown_where_nobody_asks_for_another() -> None:
    frame = Frame("xp", "all", 0)
    assert isinstance(shown({ACTORS[0]: 3}, frame, ACTORS[0], 10), Leaderboard)
