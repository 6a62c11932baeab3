"""Promises about what is told of a draft."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.domains.collaboration.drafts import Draft, RingHolder, draft_report, read_draft
from streamgauge.event import Event
from tests.unit.domains.collaboration.drafting import (
    DRAFTS,
    NOW,
    OWN,
    PEOPLE,
    SECOND,
    VISITOR,
    ZONE,
    events,
    named,
    once,
)
from tests.unit.entities.folded import folded


async def told_of(told: list[Event], draft: str) -> Draft | None:
    return await read_draft(folded(told, ZONE, OWN).of(None), draft)


@settings(max_examples=40)
@given(events(), st.integers(0, 99))
async def test_a_draft_is_what_its_events_say_in_whatever_order_and_however_often_they_come(
    told: list[Event], seed: int
) -> None:
    every = [each.name for each in OWN.event_types]
    rows, mixed = (folded(told, ZONE, OWN, each).of(None) for each in (None, seed))
    for id in DRAFTS:
        own = named(once(told), *every, draft=id)
        found = await read_draft(rows, id)
        assert found == await read_draft(mixed, id)
        if found is None:
            assert own == []
            continue
        contributors = {
            event.actor
            for event in named(own, "draft.created", "segment.added")
            if event.actor not in (None, VISITOR)
        }
        turns = named(own, "ring.passed", "draft.published")
        hexadecimal = {actor.hex(): actor for actor in PEOPLE}
        holders = [
            hexadecimal.get(str(event.properties.get("to"))) if event.name == "ring.passed" else None
            for event in turns
        ]
        published = named(own, "draft.published")
        report = draft_report(found, None)
        assert [report.views, report.shares, report.segments, report.ring_passes] == [
            len(named(own, name)) for name in ("draft.viewed", "draft.shared", "segment.added", "ring.passed")
        ]
        assert found.contributors == contributors
        assert report.contributors == len(contributors)
        assert found.held_by == set(filter(None, holders))
        assert (found.holder, report.held) == (
            (holders[-1], holders[-1] is not None) if turns else (None, False)
        )
        assert report.last_activity == shown(own[-1].occurred_at)
        assert (report.published, report.published_at) == (
            bool(published), shown(published[0].occurred_at) if published else None,
        )  # fmt: skip


def shown(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def event(name: str, at: int, actor: bytes | None = None, **properties: str) -> Event:
    return Event(name, NOW * SECOND + at, "school", actor, properties={"draft.id": "fable", **properties})


async def test_a_late_pass_puts_right_who_has_the_ring_only_where_it_is_the_latest() -> None:
    ada, bob, cy, _ = PEOPLE
    told = [event("ring.passed", 2_000, ada, to=bob.hex()), event("ring.passed", 1_000, bob, to=cy.hex())]
    for each, holder in ((told[:1], bob), (told, bob), (told[1:], cy)):
        found = await told_of(each, "fable")
        assert found is not None
        assert found.holder == holder
    found = await told_of([*told, event("draft.published", 3_000)], "fable")
    assert found is not None
    assert found.holder is None
    assert found.held_by == {bob, cy}
    found = await told_of([*told, event("draft.published", 1_500)], "fable")
    assert found is not None
    assert found.holder == bob


async def test_who_created_wrote_or_held_it_is_involved_and_nobody_else() -> None:
    ada, bob, cy, dan = PEOPLE
    begun = [event("draft.created", 1_000, ada), event("segment.added", 2_000, bob)]
    told = [*begun, event("ring.passed", 3_000, dan, to=cy.hex(), **{"from": dan.hex()})]
    told += [event(f"draft.{what}", 4_000, dan) for what in ("viewed", "shared", "published")]
    found = await told_of(told, "fable")
    assert found is not None
    assert [found.involves({actor}) for actor in PEOPLE] == [True, True, True, False]
    assert found.involves({dan, cy})
    assert not found.involves(frozenset())
    assert found.involves(None)
    holder = RingHolder(cy.hex(), "Cy")
    assert draft_report(found, holder).holder == holder


async def test_a_draft_that_no_event_names_is_none() -> None:
    assert await told_of([event("draft.viewed", 1)], "ballad") is None
    assert await told_of([event("draft.viewed", 1)], "fable") is not None
