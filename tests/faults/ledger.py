"""What producers tried to send and what they were told: the lines of the oracle's file, and what they amount to."""

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson


class Fact(NamedTuple):
    """One event as its producer meant it. `refusable`: the contract says that it must not be counted."""

    number: int
    tenant: str
    at: int  #: UTC, microseconds since 1970
    value: int
    refusable: bool = False


class Outcome(enum.StrEnum):
    """What its producer knows of an event. An intention without an outcome is unknown: it may have arrived."""

    ACKED = "acked"
    REFUSED = "refused"
    UNKNOWN = "unknown"


def intention(parcel: str, facts: list[Fact]) -> bytes:
    """The line that says what is about to be sent; `parcel` names it, once."""
    return orjson.dumps({"parcel": parcel, "facts": [list(each) for each in facts]}) + b"\n"


def outcome(parcel: str, result: Outcome, refused: list[int] | None = None) -> bytes:
    """The line that says what became of it. `refused`: numbers of single events that were not taken."""
    return orjson.dumps({"parcel": parcel, "outcome": result, "refused": refused or []}) + b"\n"


@dataclass
class Ledger:
    """Every event of a run by its number, and what its producer knows."""

    facts: dict[int, Fact] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _parcels: dict[str, list[int]] = field(default_factory=dict)
    _read: int = 0  #: bytes of the file

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """The ledger in a file."""
        ledger = cls()
        ledger.follow(path)
        return ledger

    def follow(self, path: Path) -> None:
        """Take what was added to a file; a line cut short by a kill was never acknowledged, and is left for later."""
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self.enter(orjson.loads(line))
        self._read += len(whole)

    def enter(self, line: dict[str, Any]) -> None:
        """Take one line. Raises ValueError for a number used twice: then nothing could be told apart."""
        if "facts" not in line:
            result = Outcome(line["outcome"])
            numbers = self._parcels[line["parcel"]]
            if result is Outcome.ACKED:  # the last word
                del self._parcels[line["parcel"]]
            self.outcomes.update(dict.fromkeys(numbers, result))
            self.outcomes.update(dict.fromkeys(line["refused"], Outcome.REFUSED))
            return
        facts = [Fact(*each) for each in line["facts"]]
        self._parcels[line["parcel"]] = [fact.number for fact in facts]
        for fact in facts:
            if fact.number in self.facts:
                raise ValueError(f"event {fact.number} was meant twice")
            self.facts[fact.number] = fact
            self.outcomes[fact.number] = Outcome.UNKNOWN

    def numbers(self, result: Outcome) -> set[int]:
        """The events with an outcome."""
        return {number for number, found in self.outcomes.items() if found is result}
