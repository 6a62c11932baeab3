"""Which statements of a request, or of a file, others of them take back."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from streamgauge.xapi.statements import RefusedError, Voiding, id_of, read_statement

CANNOT_VOID = (
    "the statement it voids is not among these, and what was accepted before is counted and cannot be taken back one by one: erase the "
    "person's data, or import the history anew without it"
)


@dataclass(slots=True)
class Voided:
    """Looked at once before anything is made an event: a voiding statement may come before or after the one it voids."""

    targets: set[str] = field(default_factory=set)  #: ids that voiding statements name
    met: set[str] = field(default_factory=set)  #: those of them that other statements have

    @classmethod
    def among(cls, statements: Iterable[Any], others: Iterable[Any]) -> "Voided":
        """Look through the statements twice. Those that cannot be read void nothing."""
        found = cls()
        for each in statements:
            voiding = voiding_of(each)
            if voiding is not None:
                found.targets.add(voiding.target)
        if found.targets:
            for each in others:
                found._meet(each)
        return found

    def _meet(self, given: Any) -> None:
        # xAPI: a voiding statement cannot itself be voided.
        if voiding_of(given) is None and (found := readable_id(given)) in self.targets:
            self.met.add(found)

    def holds(self, given: Any) -> bool:
        """Whether another statement takes this one back."""
        return bool(self.met) and voiding_of(given) is None and readable_id(given) in self.met

    def check(self, voiding: Voiding) -> None:
        """Raise RefusedError unless what it voids is left out."""
        if voiding.target not in self.met:
            raise RefusedError("cannot_void", "object.id", CANNOT_VOID)


def voiding_of(given: Any) -> Voiding | None:
    """The statement, if it voids another one."""
    verb = given.get("verb") if isinstance(given, dict) else None
    # Reading a whole statement takes ten times as long.
    if not isinstance(verb, dict) or not str(verb.get("id")).endswith("/voided"):
        return None
    try:
        found = read_statement(given)
    except RefusedError:
        return None
    return found if isinstance(found, Voiding) else None


def readable_id(given: Any) -> str:
    """Its id, empty when it has none that can be read."""
    try:
        return id_of(given) or ""
    except RefusedError:
        return ""
