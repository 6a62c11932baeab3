"""Declarations: mistakes are found when they are made, and a rollup of one's own takes five lines."""

import pytest

from streamgauge.catalogue import CATALOGUE
from streamgauge.errors import SettingsError
from streamgauge.summaries.rollups import Catalogue, Dimension, EventType, Property, Rollup


def test_a_grouping_by_something_that_is_no_dimension_is_an_error_that_names_it() -> None:
    with pytest.raises(SettingsError, match=r"quiz.score.*quiz.name"):
        Rollup("quiz.score", "quiz.tried", (Dimension("quiz.id"),), (("quiz.id", "quiz.name"),))


def test_two_rollups_or_event_types_of_one_name_are_an_error_that_names_it() -> None:
    with pytest.raises(SettingsError, match="rollup, tally or board 'events'"):
        CATALOGUE.extended(Rollup("events", "quiz.tried"))
    with pytest.raises(SettingsError, match=r"event type 'http.request'"):
        CATALOGUE.extended(EventType("http.request", "again"))


def test_an_extended_catalogue_holds_both_and_leaves_the_first_alone() -> None:
    quiz = EventType("quiz.tried", "learning", {"score": Property(int, "how good")})
    rollup = Rollup("quiz.score", "quiz.tried", value="score")
    before = CATALOGUE.rollups
    extended = CATALOGUE.extended(quiz, rollup)
    assert extended.event_type("quiz.tried") is quiz
    assert extended.rollup("quiz.score") is rollup
    assert extended.rollups == (*before, rollup)
    assert CATALOGUE.rollups == before
    assert CATALOGUE.rollup("quiz.score") is None
    assert CATALOGUE.event_type("quiz.tried") is None


def test_a_rollup_without_dimensions_has_one_total() -> None:
    assert Rollup("logins", "login.done").groupings == ((),)


def test_every_declared_measure_is_a_declared_whole_number() -> None:
    for rollup in CATALOGUE.rollups:
        declared = CATALOGUE.event_type(rollup.event)
        if declared is None:
            assert rollup.event == "*"
            continue
        assert rollup.value is None or declared.properties[rollup.value].type is int
        assert {dimension.property for dimension in rollup.dimensions} <= declared.properties.keys()


def test_every_declared_property_says_what_it_is_kept_for() -> None:
    for declared in CATALOGUE.event_types:
        assert declared.purpose
        assert all(each.purpose for each in declared.properties.values())


def test_an_empty_catalogue_is_one() -> None:
    assert Catalogue((), ()).rollup("events") is None
