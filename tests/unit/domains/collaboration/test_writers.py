"""Promises about a user's part in drafts, and how long they hold a ring."""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.domains.collaboration import writers
from streamgauge.domains.collaboration.writers import Writer, WriterReport, read_writer, writer_report
from streamgauge.event import Event
from tests.unit.domains.collaboration import drafting as oracle
from tests.unit.domains.collaboration.drafting import NOW, OWN, PEOPLE, SECOND, ZONE, events
from tests.unit.entities.folded import Folded, folded

ADA, BOB, CY, _ = PEOPLE


async def read(rows: Folded, actor: bytes) -> Writer:
    return await read_writer(rows.of([actor]), rows.of(None), actor)


async def report(told: list[Event], actor: bytes, now: int = NOW) -> WriterReport:
    return writer_report(await read(folded(told, ZONE, OWN), actor), actor.hex(), "Ada", now)


@settings(max_examples=40)
@given(events(), st.integers(0, 99))
async def test_a_users_part_is_what_the_events_say_in_whatever_order_and_however_often_they_come(
    told: list[Event], seed: int
) -> None:
    single = oracle.once(told)
    rows, mixed = (folded(told, ZONE, OWN, each) for each in (None, seed))
    for actor in PEOPLE:
        found = await read(rows, actor)
        assert found == await read(mixed, actor)
        holds = oracle.holds(told, actor)
        assert writer_report(found, actor.hex(), "Ada", NOW) == WriterReport(
            actor.hex(),
            "Ada",
            len(oracle.created(single, actor)),
            len(oracle.contributions(single, actor)),
            sum(event.actor == actor for event in oracle.named(single, "segment.added")),
            oracle.rings(single, actor),
            oracle.mean([length for length, _ in holds]),
            sum(is_open for _, is_open in holds),
            True,
        )
        assert len(holds) == oracle.rings(single, actor)


def passed(at: int, to: bytes | None, draft: str = "fable", by: bytes = CY) -> Event:
    given = {"draft.id": draft} if to is None else {"draft.id": draft, "to": to.hex()}
    return Event("ring.passed", at * SECOND, "school", by, properties=given)


def event(name: str, at: int, actor: bytes = CY) -> Event:
    properties = {"draft.id": "fable"}
    return Event(name, at * SECOND, "school", actor, properties=properties)


async def test_a_hold_lasts_from_pass_to_pass_and_an_open_one_until_now() -> None:
    told = [passed(NOW - 100, ADA), passed(NOW - 70, BOB), passed(NOW - 50, ADA)]
    found = await report(told, ADA)
    assert (found.rings_held, found.mean_hold_time, found.open_holds) == (2, (30 + 50) / 2, 1)
    assert (await report(told, ADA, NOW + 60)).mean_hold_time == (30 + 110) / 2
    assert ((await report(told, BOB)).mean_hold_time, (await report(told, CY)).mean_hold_time) == (20.0, None)


async def test_a_late_event_corrects_the_hold_that_it_falls_into() -> None:
    told = [passed(NOW - 100, ADA), passed(NOW - 50, BOB)]
    assert (await report(told, ADA)).mean_hold_time == 50
    assert (await report([*told, passed(NOW - 90, CY)], ADA)).mean_hold_time == 10
    assert (await report([*told, event("draft.published", NOW - 80)], ADA)).mean_hold_time == 20
    assert (await report([*told, passed(NOW - 200, BOB)], BOB)).mean_hold_time == (100 + 50) / 2
    # Of another draft, it has nothing to do with it.
    assert (await report([*told, passed(NOW - 90, CY, "ballad")], ADA)).mean_hold_time == 50


async def test_publication_ends_a_hold_and_a_pass_after_it_begins_another() -> None:
    told = [passed(NOW - 100, ADA), event("draft.published", NOW - 60), passed(NOW - 10, ADA)]
    found = await report(told, ADA)
    assert (found.rings_held, found.mean_hold_time, found.open_holds) == (2, (40 + 10) / 2, 1)
    assert (await report(told[:2], ADA)).open_holds == 0


async def test_creating_a_draft_writing_in_it_and_viewing_it_begin_and_end_no_hold() -> None:
    told = [event("draft.created", NOW - 500, ADA), passed(NOW - 100, ADA)]
    told += [event(name, NOW - 50, BOB) for name in ("draft.viewed", "segment.added", "draft.shared")]
    found = await report(told, ADA)
    assert (found.rings_held, found.mean_hold_time, found.open_holds) == (1, 100.0, 1)


async def test_a_draft_that_is_created_and_written_again_and_again_is_one_draft() -> None:
    told = [event("draft.created", NOW - each, ADA) for each in (1, 90_000, 180_000)]
    told += [event("segment.added", NOW - each, ADA) for each in (2, 3, 90_001)]
    found = await report(told, ADA)
    assert (found.drafts_created, found.drafts_contributed, found.segments) == (1, 1, 3)


async def test_passing_to_oneself_or_to_nobody_known_ends_a_hold() -> None:
    found = await report([passed(NOW - 100, ADA), passed(NOW - 60, ADA), passed(NOW - 40, None)], ADA)
    assert (found.rings_held, found.mean_hold_time, found.open_holds) == (2, (40 + 20) / 2, 0)


async def test_a_hold_that_begins_after_now_is_open_and_has_no_length() -> None:
    found = await report([passed(NOW + 100, ADA)], ADA)
    assert (found.mean_hold_time, found.open_holds) == (0.0, 1)


async def test_of_more_drafts_than_one_answer_reads_the_latest_are_told_of_and_that_it_is_not_all() -> None:
    told = [passed(NOW - 100, ADA, "a"), passed(NOW - 10, ADA, "b"), passed(NOW - 100, ADA, "c")]
    with patch.object(writers, "MOST_DRAFTS", 2):
        found = await report(told, ADA)
    assert (found.rings_held, found.mean_hold_time, found.open_holds) == (3, (100 + 10) / 2, 2)
    assert not found.complete
    with patch.object(writers, "MOST_DRAFTS", 3):
        assert (await report(told, ADA)).complete


async def test_who_did_nothing_has_zeros_and_no_mean() -> None:
    assert await report([], ADA) == WriterReport(ADA.hex(), "Ada", 0, 0, 0, 0, None, 0, True)
