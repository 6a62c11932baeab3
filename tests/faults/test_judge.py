"""The judge sees what is missing, what is there twice, and what nobody sent; and the oracle forgets nothing."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.judge import Found, judge, sums_of
from tests.faults.ledger import Fact, Ledger, Outcome, intention, outcome
from tests.faults.mutations import MUTATIONS, Mutation, apply
from tests.faults.oracle import STOP, Oracle, Witness

from .ground import ROOT

AT = 1_760_000_000_000_000
facts = st.lists(
    st.builds(
        Fact,
        number=st.integers(1, 10**6),
        tenant=st.sampled_from(["red", "blue"]),
        at=st.integers(AT, AT + 10**12),
        value=st.integers(0, 1 << 20),
        refusable=st.just(False),
    ),
    min_size=2,
    unique_by=lambda fact: fact.number,
)


def ledger_of(sent: list[Fact], result: Outcome = Outcome.ACKED) -> Ledger:
    ledger = Ledger()
    ledger.enter(orjson.loads(intention("one", sent)))
    if result is not Outcome.UNKNOWN:
        ledger.enter(orjson.loads(outcome("one", result)))
    return ledger


def found_of(counted: list[Fact]) -> Found:
    """What PostgreSQL holds when it has counted these events, each as often as it is there."""
    return Found(
        applied=Counter(fact.number for fact in counted),
        sums=sums_of(counted),
        outcomes=Counter({"applied": len(counted)}),
        done=len(counted),
    )


@given(facts)
def test_what_was_acked_and_counted_once_is_good(sent: list[Fact]) -> None:
    verdict = judge(ledger_of(sent), found_of(sent))
    assert (verdict.acked, verdict.counted, verdict.lost, verdict.doubled) == (len(sent), len(sent), 0, 0)
    assert verdict.troubles == []


@given(facts)
def test_an_acked_event_that_is_missing_is_lost_unless_a_gap_tells_of_it(sent: list[Fact]) -> None:
    found = found_of(sent[1:])
    assert judge(ledger_of(sent), found).lost == 1
    found.told_lost = 1
    verdict = judge(ledger_of(sent), found)
    assert (verdict.lost, verdict.told, verdict.troubles) == (0, 1, [])
    found.told_lost = 2
    assert judge(ledger_of(sent), found).troubles


@given(facts)
def test_an_event_counted_twice_is_doubled(sent: list[Fact]) -> None:
    verdict = judge(ledger_of(sent), found_of([*sent, sent[0]]))
    assert verdict.doubled == 1
    assert verdict.lost == 0


@given(facts)
def test_a_summary_that_counts_more_or_less_than_the_log_is_seen(sent: list[Fact]) -> None:
    found = found_of(sent)
    found.sums = sums_of([*sent, sent[0]])
    assert judge(ledger_of(sent), found).doubled == 2  # in hours and in days
    found.sums = sums_of(sent[1:])
    assert judge(ledger_of(sent), found).lost == 2
    found.sums = {cell: pair for cell, pair in sums_of(sent).items() if cell[0] == "daily"}
    assert any("hours and days disagree" in each for each in judge(ledger_of(sent), found).troubles)


@given(facts, st.booleans())
def test_an_event_of_unknown_outcome_may_be_counted_or_not(sent: list[Fact], arrived: bool) -> None:
    verdict = judge(ledger_of(sent, Outcome.UNKNOWN), found_of(sent if arrived else []))
    assert (verdict.acked, verdict.lost, verdict.doubled, verdict.troubles) == (0, 0, 0, [])


@given(facts)
def test_what_nobody_sent_and_what_was_refused_must_not_be_counted(sent: list[Fact]) -> None:
    assert any("nobody sent" in each for each in judge(ledger_of(sent[1:]), found_of(sent)).troubles)
    refused = ledger_of(sent, Outcome.REFUSED)
    assert any("are dropped" in each for each in judge(refused, found_of(sent)).troubles)


@given(facts)
def test_a_spoilt_event_has_to_be_in_quarantine(sent: list[Fact]) -> None:
    spoilt = [sent[0]._replace(refusable=True), *sent[1:]]
    found = found_of(sent[1:])
    found.outcomes["rejected invalid_value"] = 1
    found.refused[sent[0].number] = 1
    found.done += 1
    assert judge(ledger_of(spoilt), found).troubles == []
    assert judge(ledger_of(spoilt), found_of(sent[1:])).troubles
    assert judge(ledger_of(spoilt), found_of(sent)).troubles


def test_a_number_used_twice_is_an_error() -> None:
    ledger = ledger_of([Fact(1, "red", AT, 0)])
    with pytest.raises(ValueError, match="meant twice"):
        ledger.enter(orjson.loads(intention("two", [Fact(1, "red", AT, 0)])))


async def test_what_the_oracle_confirmed_is_in_its_file_and_a_torn_line_is_not(tmp_path: Path) -> None:
    oracle = Oracle(tmp_path / "ledger")
    server = await asyncio.start_unix_server(oracle.serve, tmp_path / "o")
    writing = asyncio.create_task(oracle.write())
    try:
        async with server:
            witnesses = [await Witness.open(str(tmp_path / "o")) for _ in range(3)]
            for place, witness in enumerate(witnesses):
                assert await witness.tell(intention(f"p{place}", [Fact(place, "red", AT, 1)]))
                content = (tmp_path / "ledger").read_bytes()
                assert b'"p%d"' % place in content
            assert await witnesses[0].tell(outcome("p0", Outcome.ACKED))
            await witnesses[1].stop_producers()
            assert not await witnesses[2].tell(intention("late", [Fact(9, "red", AT, 1)]))
            assert await witnesses[2].tell(outcome("p2", Outcome.ACKED)), "what was sent can still be told"
            for witness in witnesses:
                await witness.aclose()
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    with (tmp_path / "ledger").open("ab") as file:
        file.write(intention("torn", [Fact(5, "red", AT, 1)])[:-9])
    ledger = Ledger.read(tmp_path / "ledger")
    assert ledger.numbers(Outcome.ACKED) == {0, 2}
    assert ledger.numbers(Outcome.UNKNOWN) == {1}
    assert STOP not in (tmp_path / "ledger").read_bytes()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_safeguard_that_is_to_be_removed_is_where_the_mutation_looks_for_it(
    mutation: Mutation, tmp_path: Path
) -> None:
    copy = tmp_path / mutation.path
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ROOT / mutation.path).read_bytes())
    apply(mutation, tmp_path)
    assert copy.read_text() != (ROOT / mutation.path).read_text()
    if copy.suffix == ".py":
        compile(copy.read_text(), mutation.path, "exec")
    with pytest.raises(LookupError, match="follow the source"):
        apply(mutation, tmp_path)
