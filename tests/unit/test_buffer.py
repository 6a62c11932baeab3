"""Accepted events until they are sent: bounds, and an account that always adds up."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.buffer import DROPPED, ENOUGH, REASONS, USUAL_SIZE, Buffer
from streamgauge.capture.pending import ACCEPTED, DropReason, Pending


def event(size: int = 100) -> Pending:
    return Pending("a.b", 1, "t", None, None, None, None, "server", {}, None, None, size)


def buffer(events: int = 10, size: int = 10_000) -> Buffer:
    return Buffer(events, size, lambda: None)


def balanced(each: Buffer) -> bool:
    counts = each.counts()
    return counts["accepted"] == counts["sent"] + counts["waiting"] + counts["given_up"]


def test_it_takes_as_many_events_as_it_may_and_tells_further_ones_that_it_is_full() -> None:
    small = buffer(events=3)
    assert [small.put(event()) for _ in range(5)] == [ACCEPTED] * 3 + [DROPPED["buffer_full"]] * 2
    assert (small.counts()["waiting"], small.drops()) == (3, {"buffer_full": 2})


def test_it_takes_as_many_bytes_as_it_may() -> None:
    small = buffer(events=100, size=1_000)
    assert [bool(small.put(event(400))) for _ in range(4)] == [True, True, False, False]
    assert small.counts()["waiting_bytes"] == 800


def test_an_event_greater_than_all_the_bytes_is_taken_when_nothing_else_is_there() -> None:
    small = buffer(size=1_000)
    assert [bool(small.put(event(5_000))) for _ in range(2)] == [True, False]


def test_events_under_way_count_towards_both_bounds_until_they_are_settled() -> None:
    small = buffer(events=2)
    small.put(event())
    small.put(event())
    taken = small.take(10, 10_000)
    assert (len(taken), small.untaken, small.put(event()).reason) == (2, 0, "buffer_full")
    small.settle(2, 200)
    assert (small.put(event()), small.counts()["sent"]) == (ACCEPTED, 2)


def test_the_oldest_events_are_taken_first_up_to_a_number_and_a_size() -> None:
    each = buffer(events=100)
    for number in range(10):
        each.put(event()._replace(occurred_at=number))
    assert [taken.occurred_at for taken in each.take(3, 10_000)] == [0, 1, 2]
    assert [taken.occurred_at for taken in each.take(10, 250)] == [3, 4, 5]
    assert len(each.take(10, 0)) == 0
    assert len(each.take(10, 1)) == 1


def test_an_event_that_does_not_say_its_size_counts_as_usual_and_as_much_when_it_leaves() -> None:
    each = buffer()
    each.put(event(0)._replace(visitor=("192.0.2.7", "x" * 500)))
    assert each.counts()["waiting_bytes"] == USUAL_SIZE + 500
    each.give_up_queue("undelivered")
    assert each.counts()["waiting_bytes"] == 0


def test_whoever_sends_is_woken_by_the_first_event_and_when_there_are_enough() -> None:
    woken: list[int] = []
    each = Buffer(10_000, 10**9, lambda: woken.append(each.untaken))
    for _ in range(ENOUGH + 10):
        each.put(event())
    assert woken == [1, ENOUGH]
    each.take(10_000, 10**9)
    each.put(event())
    assert woken == [1, ENOUGH, 1]


def test_a_closed_buffer_takes_nothing_and_counts_it() -> None:
    each = buffer()
    each.close()
    assert each.put(event()) == DROPPED["closed"]
    assert each.drops() == {"closed": 1}


def test_an_abandoned_buffer_gives_up_what_is_left_once_and_no_longer_listens_to_who_took_it() -> None:
    each = buffer()
    for _ in range(3):
        each.put(event())
    each.take(2, 10_000)
    each.abandon()
    each.abandon()
    each.settle(2, 200)
    assert each.counts() == {"accepted": 3, "sent": 0, "waiting": 0, "waiting_bytes": 0, "given_up": 3}
    assert each.drops() == {"undelivered": 3}


def test_a_reset_buffer_is_empty_and_usable_although_its_lock_was_held() -> None:
    each = buffer()
    each.put(event())
    holder = threading.Thread(target=each._lock.acquire)
    holder.start()
    holder.join()  # as a thread that a fork did not bring along: it will never let go
    each.reset()
    assert each.put(event()) == ACCEPTED
    assert each.counts()["accepted"] == 1


def test_waiting_until_settled_tells_whether_what_was_there_was_sent() -> None:
    each = buffer()
    assert each.wait_until_settled(0)
    each.put(event())
    assert not each.wait_until_settled(0.01)
    threading.Timer(0.01, each.settle, (1, 100)).start()
    assert each.wait_until_settled(10)
    each.put(event())
    threading.Timer(0.01, each.give_up, ("undelivered", 1, 100)).start()
    assert not each.wait_until_settled(10)


def test_the_same_thread_may_add_while_it_is_adding() -> None:
    # As a signal handler or a destructor does.
    each = buffer()
    with each._lock:
        assert each.put(event()) == ACCEPTED
        assert each.drop("sampled_out") == DROPPED["sampled_out"]


def test_every_reason_has_its_ticket() -> None:
    assert set(DROPPED) == set(REASONS) == set(DropReason.__args__)  # type: ignore[attr-defined]  # a Literal has them
    for reason in REASONS:
        assert (DROPPED[reason].reason, bool(DROPPED[reason])) == (reason, False)


@pytest.mark.parametrize("bound", [20, 1_000])
def test_eight_threads_never_exceed_a_bound_and_no_event_is_miscounted(bound: int) -> None:
    each = buffer(events=bound, size=10**9)
    tickets: list[list[bool]] = [[] for _ in range(8)]
    most, done = [0], threading.Event()

    def add(mine: list[bool]) -> None:
        for _ in range(3_000):
            mine.append(bool(each.put(event())))

    def send() -> None:
        while not done.is_set() or each.untaken:
            taken = each.take(100, 10**9)
            most[0] = max(most[0], each.counts()["waiting"])
            assert balanced(each)
            each.settle(len(taken), 100 * len(taken))

    sender = threading.Thread(target=send)
    threads = [threading.Thread(target=add, args=(mine,)) for mine in tickets]
    for thread in (sender, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    sender.join()
    accepted = sum(sum(mine) for mine in tickets)
    counts = each.counts()
    assert (counts["accepted"], counts["sent"], counts["waiting"]) == (accepted, accepted, 0)
    assert each.drops().get("buffer_full", 0) == 8 * 3_000 - accepted
    assert 0 < most[0] <= bound


class Slow(int):
    """A bound that lets other threads in at the very moment in which it is compared."""

    def __le__(self, other: int) -> bool:
        time.sleep(0.0005)
        return int.__le__(self, other)


def test_threads_that_meet_at_the_last_free_place_do_not_both_get_it() -> None:
    each = buffer(events=Slow(40), size=10**9)
    threads = [threading.Thread(target=lambda: [each.put(event()) for _ in range(30)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (each.counts()["waiting"], each.drops()) == (40, {"buffer_full": 200})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 900)),
        st.tuples(st.just("take"), st.integers(0, 4)),
        st.tuples(st.just("settle"), st.booleans()),
        st.tuples(st.just("queue"), st.none()),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_account_adds_up_whatever_happens(steps: list[tuple[str, int]]) -> None:
    each = buffer(events=6, size=2_000)
    under_way: list[list[Pending]] = []
    accepted = 0
    for what, how in steps:
        if what == "put":
            accepted += bool(each.put(event(how)))
        elif what == "take":
            under_way.append(each.take(how, 1_500))
        elif what == "queue":
            each.give_up_queue("not_configured")
        elif under_way:
            taken = under_way.pop()
            size = sum(one.size or USUAL_SIZE for one in taken)
            if how:
                each.settle(len(taken), size)
            else:
                each.give_up("unsendable", len(taken), size)
        counts = each.counts()
        assert balanced(each)
        assert counts["accepted"] == accepted
        assert counts["waiting"] == each.untaken + sum(map(len, under_way)) <= 6
        assert 0 <= counts["waiting_bytes"] <= 2_000 or counts["waiting"] == 1
    for taken in under_way:
        each.settle(len(taken), sum(one.size or USUAL_SIZE for one in taken))
    each.give_up_queue("undelivered")
    assert (each.counts()["waiting"], each.counts()["waiting_bytes"]) == (0, 0)
