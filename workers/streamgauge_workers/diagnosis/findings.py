"""What a check found."""

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence on one thing, and where it is not well, what to do next."""

    check: str
    level: Level
    says: str
    next: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return asdict(self)


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", says)


def told(check: str, says: str, next: str) -> Finding:
    """As somebody wanted it, though not everybody may know; and how to have it otherwise."""
    return Finding(check, "ok", says, next)


def warning(check: str, says: str, next: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, "warning", says, next)


def problem(check: str, says: str, next: str) -> Finding:
    """It does not work."""
    return Finding(check, "problem", says, next)
