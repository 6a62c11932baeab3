"""Keys of what an event is about."""

from datetime import date
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from streamgauge import idempotency_key
from streamgauge.capture.idempotency import LONGEST_KEY

PARTS = st.dictionaries(st.text(min_size=1), st.text() | st.integers(), max_size=4)


def test_the_order_of_the_parts_does_not_matter() -> None:
    one = idempotency_key("lesson.completed", lesson=7, user="u1")
    assert (
        one == idempotency_key("lesson.completed", user="u1", lesson=7) == "lesson.completed?lesson=7&user=u1"
    )


def test_numbers_and_their_texts_are_the_same_part() -> None:
    assert idempotency_key("a.b", lesson=7) == idempotency_key("a.b", lesson="7")
    found = idempotency_key("a.b", day=date(2024, 2, 29), id=UUID(int=1), name="n")
    assert found == "a.b?day=2024-02-29&id=00000000-0000-0000-0000-000000000001&name=n"


@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(one: dict[str, object], other: dict[str, object]) -> None:
    texts = [{name: str(value) for name, value in parts.items()} for parts in (one, other)]
    assert (idempotency_key("a.b", **one) == idempotency_key("a.b", **other)) == (texts[0] == texts[1])
    assert idempotency_key("a.b", **one) != idempotency_key("a.c", **one)


def test_a_part_cannot_be_made_to_look_like_two() -> None:
    assert idempotency_key("a.b", x="1&y=2") != idempotency_key("a.b", x="1", y="2")


def test_long_keys_are_short_enough_and_still_tell_apart() -> None:
    keys = {idempotency_key("a.b", essay="x" * number) for number in range(300, 5_000, 100)}
    assert len(keys) == 47
    assert max(map(len, keys)) < LONGEST_KEY


def test_nothing_that_is_given_makes_it_raise() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert idempotency_key("a.b", part=Broken(), other="\ud800") == "a.b?other=\ud800&part=Broken"
