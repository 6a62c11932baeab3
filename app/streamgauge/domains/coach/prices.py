"""What models cost: declared, per model, in whole millionths of a currency for a million tokens.

    STREAMGAUGE_COACH_PRICES='{"currency": "EUR", "models": {"example-model": {"input": 2500000, "output": 10000000}}}'

declares 2.50 EUR for a million tokens that go in and 10.00 EUR for a million that come out.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Self

from streamgauge.errors import SettingsError

VARIABLE: Final = "STREAMGAUGE_COACH_PRICES"
PER: Final = 1_000_000  # tokens that a price is for
MOST_PRICE: Final = 10**12  # a million of the currency for a million tokens
MOST_MODELS: Final = 1_000
LONGEST_MODEL: Final = 200  # characters
LARGEST: Final = 2**63 - 1  # of what JSON is written with here
EXAMPLE: Final = '{"currency": "EUR", "models": {"example-model": {"input": 2500000, "output": 10000000}}}'


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-units of the currency for a million tokens in either direction."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by model. Without any, nothing is known to cost anything, which is not the same as costing nothing."""

    currency: str | None = None  #: as ISO 4217 writes it
    models: Mapping[str, Price] = field(default_factory=dict)

    def cost(self, model: str, input_tokens: int | None, output_tokens: int | None) -> int | None:
        """What these tokens cost, in micro-units of the currency, rounded half to even, once.

        None for a model without a price, for tokens that nobody told, and above 2**63 - 1.
        """
        price = self.models.get(model)
        if price is None or (input_tokens is None and output_tokens is None):
            return None
        paid = (input_tokens or 0) * price.input + (output_tokens or 0) * price.output
        cost = round(Fraction(paid, PER))
        return cost if cost <= LARGEST else None

    def plain(self) -> list[object]:
        """All of it as JSON has it: what answers depend on."""
        models = sorted((name, price.input, price.output) for name, price in self.models.items())
        return [self.currency, models]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """The prices that STREAMGAUGE_COACH_PRICES declares; none when it is unset or empty. Raises SettingsError as `parse`."""
        text = environ.get(VARIABLE, "").strip()
        return cls.parse(text) if text else cls()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Prices from JSON. Raises SettingsError that names what is wrong, and what to write instead."""
        try:
            found = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise _wrong(f"is not JSON ({error or 'nested too deep'})") from None
        _members("its text", found, ("currency", "models"))
        currency, models = found["currency"], found["models"]
        if not isinstance(currency, str) or not re.fullmatch(r"[A-Z]{3}", currency):
            raise _wrong(f"has the currency {_shown(currency)}: give three capital letters, such as EUR")
        if not isinstance(models, dict) or not 1 <= len(models) <= MOST_MODELS:
            raise _wrong(f"has no object of 1 to {MOST_MODELS} models under `models`")
        return cls(currency, {name: _price(name, given) for name, given in models.items()})


def _price(model: str, given: Any) -> Price:
    if not 1 <= len(model) <= LONGEST_MODEL:
        raise _wrong(f"names the model {_shown(model)}: a name has 1 to {LONGEST_MODEL} characters")
    _members(f"the model {_shown(model)}", given, ("input", "output"))
    for name in ("input", "output"):
        # True and false are numbers to Python alone.
        if type(given[name]) is not int or not 0 <= given[name] <= MOST_PRICE:
            raise _wrong(
                f"has {_shown(given[name])} as {name} of {_shown(model)}: give a whole number from 0 to {MOST_PRICE}, in micro-units of "
                f"the currency for {PER} tokens"
            )
    return Price(given["input"], given["output"])


def _members(what: str, given: Any, names: tuple[str, ...]) -> None:
    if not isinstance(given, dict) or set(given) != set(names):
        raise _wrong(f"needs {what} to be an object of exactly {' and '.join(names)}, not {_shown(given)}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _wrong(f"holds {_shown(max(names, key=names.count))} twice: keep one of them")
    return found


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"{VARIABLE} {what}. An example: {EXAMPLE}")
