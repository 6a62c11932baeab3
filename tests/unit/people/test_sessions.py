"""Sessions: the same whatever order notes come in, and nothing lost."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.people.notes import Note
from streamgauge.people.sessions import GAP, Session, sessions

MINUTE = 60_000_000
NOTES = st.lists(
    st.builds(
        Note,
        at=st.integers(0, 600).map(lambda minutes: minutes * MINUTE),
        name=st.just("http.request"),
        failed=st.booleans(),
        session=st.sampled_from([None, None, "", "a", "b"]),
        route=st.sampled_from([None, "/", "/x"]),
    ),
    max_size=40,
)


@given(NOTES, st.randoms())
def test_the_order_of_events_does_not_matter(notes: list[Note], random: Random) -> None:
    shuffled = list(notes)
    random.shuffle(shuffled)
    assert sessions(shuffled) == sessions(notes)


@given(NOTES)
def test_every_event_is_in_exactly_one_session(notes: list[Note]) -> None:
    found = sessions(notes)
    assert sum(each.events for each in found) == len(notes)
    assert sum(each.errors for each in found) == sum(note.failed for note in notes)
    for note in notes:
        holding = [
            each for each in found if each.start <= note.at <= each.end and each.id == (note.session or "")
        ]
        assert len(holding) == 1


@given(NOTES)
def test_sessions_without_an_id_lie_more_than_half_an_hour_apart_and_have_no_longer_gap(
    notes: list[Note],
) -> None:
    loose = sorted((each for each in sessions(notes) if not each.id), key=lambda each: each.start)
    for one, following in pairwise(loose):
        assert following.start - one.end > GAP
    for each in loose:
        at = sorted(note.at for note in notes if not note.session and each.start <= note.at <= each.end)
        assert all(later - earlier <= GAP for earlier, later in pairwise(at))


@given(NOTES)
def test_the_newest_start_comes_first_and_no_two_have_the_same_place(notes: list[Note]) -> None:
    places = [(each.start, each.id) for each in sessions(notes)]
    assert places == sorted(set(places), reverse=True)


def test_exactly_half_an_hour_of_nothing_does_not_end_a_session() -> None:
    first, second, third = (Note(at, "x") for at in (0, GAP, 2 * GAP + 1))
    assert sessions([first, second]) == [Session(0, "", GAP, 2, 0, 0)]
    assert [each.events for each in sessions([first, second, third])] == [1, 2]


def test_routes_are_counted_once_and_errors_each_time() -> None:
    notes = [
        Note(0, "http.request", failed=True, session="a", route="/"),
        Note(GAP * 9, "http.request", failed=True, session="a", route="/"),
        Note(5, "page.viewed", session="a"),
    ]
    assert sessions(notes) == [Session(0, "a", GAP * 9, 3, 2, 1)]
