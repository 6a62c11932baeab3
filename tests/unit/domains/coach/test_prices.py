"""Promises about prices: what is declared is what is paid, to the micro-unit, and a mistake is told by name."""

import json
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.domains.coach.prices import EXAMPLE, MOST_PRICE, Price, Prices
from streamgauge.domains.coach.routes import router
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings

amounts = st.integers(0, 10**12)


@given(amounts, amounts, st.integers(0, MOST_PRICE), st.integers(0, MOST_PRICE))
def test_a_cost_is_tokens_times_price_rounded_once_half_to_even(
    put_in: int, came_out: int, input_price: int, output_price: int
) -> None:
    prices = Prices("EUR", {"m": Price(input_price, output_price)})
    exact = (Decimal(put_in) * input_price + Decimal(came_out) * output_price) / 1_000_000
    cost = int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
    assert prices.cost("m", put_in, came_out) == (cost if cost < 2**63 else None)


def test_halves_go_to_the_even_side_and_the_two_directions_are_rounded_together() -> None:
    prices = Prices("EUR", {"m": Price(500_000, 500_000)})
    assert [prices.cost("m", tokens, 0) for tokens in range(6)] == [0, 0, 1, 2, 2, 2]
    assert prices.cost("m", 1, 1) == 1


def test_without_a_price_or_tokens_a_cost_is_not_known_and_with_a_price_of_nothing_it_is_nothing() -> None:
    assert Prices().cost("m", 5, 5) is None
    prices = Prices("EUR", {"m": Price(0, 0), "n": Price(1_000_000, 2_000_000)})
    assert (prices.cost("m", 5, 5), prices.cost("o", 5, 5), prices.cost("n", None, None)) == (0, None, None)
    assert (prices.cost("n", None, 5), prices.cost("n", 5, None)) == (10, 5)


def test_what_the_environment_declares_is_what_is_used() -> None:
    assert Prices.from_environ({}) == Prices.from_environ({"STREAMGAUGE_COACH_PRICES": " "}) == Prices()
    found = Prices.from_environ({"STREAMGAUGE_COACH_PRICES": EXAMPLE})
    assert found == Prices("EUR", {"example-model": Price(2_500_000, 10_000_000)})
    assert found.plain() == ["EUR", [("example-model", 2_500_000, 10_000_000)]]
    assert found.cost("example-model", 1_000_000, 100_000) == 3_500_000


PRICE = {"input": 1, "output": 2}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "exactly currency and models"),
        ({"currency": "EUR"}, "exactly currency and models"),
        ({"currency": "EUR", "models": {"m": PRICE}, "more": 1}, "exactly currency and models"),
        ({"currency": "euro", "models": {"m": PRICE}}, 'currency "euro": give three capital letters'),
        ({"currency": 5, "models": {"m": PRICE}}, "currency 5"),
        ({"currency": "EUR", "models": {}}, "1 to 1000 models"),
        ({"currency": "EUR", "models": [PRICE]}, "1 to 1000 models"),
        ({"currency": "EUR", "models": {str(n): PRICE for n in range(1_001)}}, "1 to 1000 models"),
        ({"currency": "EUR", "models": {"": PRICE}}, "a name has 1 to 200 characters"),
        ({"currency": "EUR", "models": {"m": {"input": 1}}}, 'model "m" to be an object of exactly'),
        ({"currency": "EUR", "models": {"m": {**PRICE, "cached": 1}}}, 'model "m" to be an object of exactly'),
        ({"currency": "EUR", "models": {"m": 5}}, 'model "m" to be an object of exactly'),
        *[
            ({"currency": "EUR", "models": {"m": {"input": wrong, "output": 1}}}, f'as input of "m": give a whole number from 0 to {MOST_PRICE}')
            for wrong in (-1, 2.5, "2.50", True, None, MOST_PRICE + 1)
        ],
        ('{"currency": "EUR", "models": {"m": {"input": 1, "output": 2}, "m": {"input": 3, "output": 4}}}', 'holds "m" twice'),
    ],
)  # fmt: skip
def test_a_mistake_names_the_setting_what_is_wrong_and_how_it_is_done(given: Any, words: str) -> None:
    text = given if isinstance(given, str) else json.dumps(given)
    with pytest.raises(SettingsError) as caught:
        Prices.from_environ({"STREAMGAUGE_COACH_PRICES": text})
    assert words in str(caught.value)
    assert str(caught.value).startswith("STREAMGAUGE_COACH_PRICES ")
    assert len(str(caught.value)) < 600


async def test_a_server_starts_with_its_prices_or_not_at_all() -> None:
    app = FastAPI()
    app.include_router(router)
    app.state.settings = Settings.from_environ({"STREAMGAUGE_COACH_PRICES": EXAMPLE})
    async with app.router.lifespan_context(app):
        assert app.state.coach_prices == Prices.parse(EXAMPLE)
    app.state.settings = Settings(coach_prices="2.50")
    with pytest.raises(SettingsError, match="STREAMGAUGE_COACH_PRICES"):
        async with app.router.lifespan_context(app):
            pass
