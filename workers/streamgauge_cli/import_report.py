"""The account of an import, for people and for programs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson
import typer

if TYPE_CHECKING:
    from streamgauge_imports.accounting import Result


def report(result: "Result", *, as_json: bool) -> None:
    """Print it: a small table, or one JSON object."""
    if as_json:
        typer.echo(orjson.dumps(result.as_json()))
        return
    if result.finished_before is not None:
        typer.echo(f"Already imported on {result.finished_before}; this changed nothing.")
    rows = (
        ("read", result.read, ""),
        ("applied", result.applied, ""),
        ("duplicate", result.duplicate, ""),
        ("rejected", sum(result.rejected.values()), _reasons(result.rejected)),
        ("dead-lettered", sum(result.dead_lettered.values()), _reasons(result.dead_lettered)),
    )
    for name, count, detail in rows:
        typer.echo(f"{name:<14}{count:>13,}  {detail}".rstrip())
    if result.finished_before is None:
        typer.echo(f"{'seconds':<14}{result.seconds:>13,.1f}  {result.lines_per_second:,} rows/s")
    for number, reason in result.rejected_lines:
        typer.echo(f"line {number:,}: {reason}")
    if result.rejected_file is not None:
        typer.echo(f"All rejected lines: {result.rejected_file}")
    if not result.accounted:
        typer.echo("These do not add up; `streamgauge doctor` says what to look at.", err=True)


def exit_code(result: "Result") -> int:
    """0 when every row is accounted for, else 1."""
    return 0 if result.accounted else 1


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
