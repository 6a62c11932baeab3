"""What a statement of xAPI becomes, and why it becomes nothing."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.properties import Vocabulary
from streamgauge.catalogue import CATALOGUE
from streamgauge.errors import InputError
from streamgauge.xapi.durations import microseconds_of
from streamgauge.xapi.scores import CMI5_PROGRESS, progress_of, score_of
from streamgauge.xapi.statements import RefusedError, Statement, Voiding, actor_of, read_statement
from streamgauge.xapi.vocabulary import CMI5_SESSION, EVENT_OF
from streamgauge.xapi.voiding import Voided

ADL = "http://adlnet.gov/expapi/"
ID = "6690e6c9-3ef0-4ed3-8b37-7f3964730bee"


def statement(verb: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    definition = {} if kind is None else {"definition": {"type": f"{ADL}activities/{kind}"}}
    return {
        "id": ID,
        "actor": {"mbox": "mailto:ada@example.org"},
        "verb": {"id": f"{ADL}verbs/{verb}"},
        "object": {"id": "urn:thing", **definition},
        **more,
    }


def read(given: Any) -> Statement:
    found = read_statement(given)
    assert isinstance(found, Statement)
    return found


def refusal(given: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as caught:
        read_statement(given)
    return caught.value.reason, caught.value.field


SCORE = {"score": {"raw": 8, "max": 10}}


@pytest.mark.parametrize(
    ("given", "name", "properties"),
    [
        (statement("initialized"), "learning_session.started", {}),
        (statement("launched", "course"), "learning_session.started", {"course.id": "urn:thing"}),
        (statement("terminated"), "learning_session.ended", {}),
        (statement("terminated", result={"duration": "PT1M"}), "learning_session.ended", {"duration": 60_000_000}),
        (statement("experienced"), "material.viewed", {"material.id": "urn:thing"}),
        (statement("experienced", "media"), "material.viewed", {"material.id": "urn:thing", "material.type": "media"}),
        (statement("completed", "media"), "material.completed", {"material.id": "urn:thing", "material.type": "media"}),
        (statement("completed", "lesson"), "lesson.progressed", {"lesson.id": "urn:thing", "percent": 100}),
        (statement("completed", "module"), "lesson.progressed", {"lesson.id": "urn:thing", "percent": 100}),
        (statement("progressed", result={"extensions": {CMI5_PROGRESS: 40}}), "lesson.progressed", {"lesson.id": "urn:thing", "percent": 40}),
        *[
            (statement(verb, "assessment", result=SCORE), "quiz.attempted", {"quiz.id": "urn:thing", "score": 8, "max_score": 10})
            for verb in ("answered", "attempted", "passed", "failed", "scored")
        ],
        (statement("passed"), "quiz.attempted", {"quiz.id": "urn:thing"}),
        (statement("registered"), "course.enrolled", {"course.id": "urn:thing"}),
        (statement("submitted", result=SCORE), "assignment.submitted", {"assignment.id": "urn:thing", "score": 8, "max_score": 10}),
    ],
)  # fmt: skip
def test_verbs_of_adl_become_events_of_the_learning_domain(
    given: Any, name: str, properties: dict[str, Any]
) -> None:
    found = read(given)
    assert (found.name, found.properties) == (name, properties)
    assert (found.id, found.actor, found.occurred_at) == (ID, "ada@example.org", None)


def test_whatever_is_mapped_is_declared() -> None:
    vocabulary = Vocabulary(CATALOGUE.event_types)
    for verb in EVENT_OF:
        result = {"extensions": {CMI5_PROGRESS: 1}, "duration": "PT1S", **SCORE}
        found = read(
            statement(verb, "media", result=result, context={"contextActivities": {"parent": {"id": "c"}}})
        )
        kept, _, undeclared = vocabulary.declarations[found.name].admit(dict(found.properties))
        assert (kept, undeclared) == (found.properties, ())


def test_verbs_are_known_by_their_whole_address_and_no_other() -> None:
    assert (
        read({**statement("x"), "verb": {"id": "https://w3id.org/xapi/adl/verbs/passed"}}).name
        == "quiz.attempted"
    )
    submit = {**statement("x"), "verb": {"id": "http://activitystrea.ms/schema/1.0/submit"}}
    assert read(submit).name == "assignment.submitted"
    for verb in (f"{ADL}verbs/liked", "http://example.org/verbs/passed", f"{ADL}verbs/passed/x", "passed"):
        assert refusal({**statement("x"), "verb": {"id": verb}}) == ("unmapped_verb", "verb.id")


def test_a_course_is_completed_by_its_lessons_and_not_by_a_statement() -> None:
    assert refusal(statement("completed", "course")) == ("unmapped_activity", "object")


def test_the_course_is_the_first_activity_around_that_is_called_one() -> None:
    def course(**activities: Any) -> Any:
        given = statement("experienced", context={"contextActivities": activities})
        return read(given).properties.get("course.id")

    called = {"id": "called", "definition": {"type": f"{ADL}activities/course"}}
    cmi5 = {"id": "cmi5", "definition": {"type": "https://w3id.org/xapi/cmi5/activitytype/course"}}
    plain, other = {"id": "plain"}, {"id": "other"}
    assert course(grouping=[plain, called]) == "called"
    assert course(grouping=[plain], parent=[called]) == "called"
    assert course(grouping=[cmi5], parent=[called]) == "cmi5"
    assert course(grouping=[plain], parent=[other]) == "plain"
    assert course(parent=other) == "other"
    assert course(category=[called]) is None
    assert (
        refusal(statement("passed", context={"contextActivities": {"parent": ["x"]}}))[0]
        == "invalid_statement"
    )


def test_people_are_known_by_account_name_mailbox_or_openid() -> None:
    assert actor_of({"account": {"homePage": "https://a.example", "name": "7"}, "name": "Ada"}) == "7"
    assert actor_of({"objectType": "Agent", "mbox": "MAILTO:Ada@example.org"}) == "Ada@example.org"
    assert actor_of({"openid": "https://ada.example"}) == "https://ada.example"
    assert actor_of({"mbox_sha1sum": "f" * 40}) == "f" * 40
    for wrong in (
        None, "ada", {}, {"name": "Ada"}, {"mbox": "ada@example.org"}, {"mbox": "mailto:"}, {"account": "ada"}, {"account": {"name": ""}},
        {"openid": 7}, {"account": {"name": "a"}, "mbox": "mailto:a"}, {"objectType": "Group", "mbox": "mailto:a"}, {"openid": "x" * 513},
        {"openid": "a\0"},
    ):  # fmt: skip
        assert refusal({**statement("passed"), "actor": wrong})[0] in ("invalid_actor", "invalid_statement")


@given(st.dictionaries(st.sampled_from(["id", "actor", "verb", "object", "result", "context", "timestamp"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["id", "objectType", "definition", "type", "score", "raw", "max", "contextActivities", "mbox", "extensions"]), inner
    ), max_leaves=8,
)))  # fmt: skip
def test_anything_else_is_refused_and_never_fails(given: dict[str, Any]) -> None:
    for each in (given, {**statement("passed"), **given}, {**statement("terminated"), **given}):
        with suppress(RefusedError):
            read_statement(each)


def test_time_and_session_are_taken_and_texts_never() -> None:
    secret = {"en": "SECRET"}
    found = read(
        statement(
            "answered", timestamp="2026-03-01T12:00:00.5+01:00", stored="2026-03-02T00:00:00Z",
            result={"response": "SECRET", "success": True}, context={"extensions": {CMI5_SESSION: "s1"}, "instructor": secret},
        )
    )  # fmt: skip
    assert (found.occurred_at, found.session) == ("2026-03-01T12:00:00.5+01:00", "s1")
    assert "SECRET" not in repr(found)
    assert read(statement("passed", stored="2026-03-02T00:00:00Z")).occurred_at == "2026-03-02T00:00:00Z"
    assert refusal(statement("passed", timestamp="2026-03-01T12:00:00")) == ("invalid_time", "timestamp")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ({"raw": 8, "max": 10, "scaled": 0.1, "min": 0}, (8, 10)),
        ({"raw": 7.5, "max": 10}, (7_500, 10_000)),
        ({"raw": 0.1, "max": 0.3}, (100, 300)),
        ({"scaled": 0.725}, (725, 1000)),
        ({"scaled": 0.0005}, (0, 1000)),
        ({"scaled": 1}, (1000, 1000)),
        ({"raw": 0, "max": 1}, (0, 1)),
    ],
)
def test_scores_become_whole_points(score: dict[str, Any], expected: tuple[int, int]) -> None:
    assert score_of(score) == ({"score": expected[0], "max_score": expected[1]}, ())


def test_points_without_a_maximum_say_nothing_and_that_is_told() -> None:
    assert score_of({"raw": 8}) == ({}, ("result.score",))
    assert score_of({"max": 8}) == ({}, ("result.score",))
    assert score_of({}) == ({}, ())


@pytest.mark.parametrize("score", [
    {"raw": 11, "max": 10}, {"raw": -1, "max": 10}, {"raw": 0, "max": 0}, {"scaled": 1.01}, {"scaled": -0.1}, {"raw": "8", "max": 10},
    {"raw": True, "max": 1}, {"scaled": float("nan")}, {"raw": 1, "max": 10**7}, {"raw": 0.5, "max": 999_999}, {"raw": 1, "max": -1},
])  # fmt: skip
def test_a_score_that_cannot_be_is_refused(score: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        score_of(score)


def test_progress_is_rounded_down() -> None:
    assert progress_of({CMI5_PROGRESS: 99.9}) == 99
    assert progress_of({CMI5_PROGRESS: 100}) == 100
    for wrong in (101, -1, "40", None, True, float("inf")):
        with pytest.raises(InputError):
            progress_of({CMI5_PROGRESS: wrong})
    assert refusal(statement("progressed")) == ("invalid_result", "result.extensions")


@pytest.mark.parametrize(("text", "seconds"), [
    ("PT1H30M5.5S", 5405.5), ("P1DT1S", 86_401), ("P2W", 14 * 86_400), ("PT0S", 0), ("PT0,25S", 0.25), ("PT0.5H", 1800), ("P1W2DT3H", 788_400),
    ("PT90M", 5400),
])  # fmt: skip
def test_durations_are_whole_microseconds(text: str, seconds: float) -> None:
    assert microseconds_of(text) == round(seconds * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "1H",
        "PT1",
        "PT-1S",
        "-PT1S",
        "PT1S ",
        "P1Y",
        "P2M",
        "P1Y2M3D",
        "PT1S1M",
        "PT" + "1" * 99 + "S",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"fixed length" if text in ("P1Y", "P2M", "P1Y2M3D") else "ISO 8601"
    ):
        microseconds_of(text)


@given(st.integers(0, 10**6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59_999_999))
def test_a_duration_adds_up_its_parts(days: int, hours: int, minutes: int, micros: int) -> None:
    text = f"P{days}DT{hours}H{minutes}M{micros // 1_000_000}.{micros % 1_000_000:06}S"
    assert microseconds_of(text) == ((days * 24 + hours) * 60 + minutes) * 60_000_000 + micros


def numbered(number: int, verb: str = "passed", target: int | None = None) -> dict[str, Any]:
    given = {**statement(verb), "id": ID[:-2] + f"{number:02}"}
    if target is not None:
        given["object"] = {"objectType": "StatementRef", "id": (ID[:-2] + f"{target:02}").upper()}
    return given


def test_a_voided_statement_is_left_out_wherever_it_stands_and_voiding_is_final() -> None:
    given = [
        numbered(1, "voided", 2),
        numbered(2),
        numbered(3),
        numbered(4, "voided", 5),
        numbered(6, "voided", 1),
    ]
    found = Voided.among(given, given)
    assert [found.holds(each) for each in given] == [False, True, False, False, False]
    found.check(Voiding(None, str(numbered(2)["id"])))
    for number in (1, 3, 5):
        with pytest.raises(RefusedError, match="cannot be taken back"):
            found.check(Voiding(None, str(numbered(number)["id"])))
    assert read_statement(given[0]) == Voiding(given[0]["id"], given[1]["id"])
    assert refusal({**statement("voided")}) == ("invalid_statement", "object")
