"""The command `streamgauge`. Each command lives in a module of its own, imported when it is called.

To add one, write a function with Typer's annotations (it may be `async`) and a line in `COMMANDS`. Errors
made on purpose (`StreamgaugeError`) become a message and an exit code here: 2 for what was given wrongly, 1
for the rest.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from streamgauge.errors import InputError, SettingsError, StreamgaugeError
from streamgauge_cli import session

INTERRUPTED = 130
SERVER_LIBRARIES = ("asyncpg", "redis")


class Entry(NamedTuple):
    """A command: its name, where it is, and one line of help.

    The object is a function, or a `typer.Typer` with sub-commands.
    """

    name: str
    module: str
    object: str
    line: str


COMMANDS = (
    Entry("up", "up", "up", "Start everything: servers, schema, API server and worker."),
    Entry("serve", "serve", "serve", "Run the API server and the dashboard."),
    Entry("worker", "worker", "worker", "Read the streams and write the summaries."),
    Entry("shards", "shards", "shards", "The streams: who reads them, and how many there are."),
    Entry("migrate", "migrate", "migrate", "Bring the database to the version this program needs."),
    Entry("import", "imports", "imports", "Import history from files."),
    Entry("tenants", "tenants", "tenants", "Tenants and their groups: create, change, suspend, delete."),
    Entry("keys", "keys", "keys", "Keys of the API: create, list, revoke."),
    Entry("query", "query", "query", "Ask the summaries a question."),
    Entry("verify", "verify", "verify", "Recompute the summaries and compare."),
    Entry("dead-letters", "dead_letters", "dead_letters", "What was refused: list, show, replay, discard."),
    Entry("rebuild", "rebuild", "rebuild", "Fill a rollup from the event log."),
    Entry("archive", "archive", "archive", "Archived days of the event log: list, run, check."),
    Entry("doctor", "doctor", "doctor", "Say in plain words what is wrong, if anything."),
    Entry("load", "load", "load", "Make events, to see how much it can take."),
)


class LazyCommand(TyperCommand):
    """A name and a line of help that becomes the real command when it is called."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.line)
        self._entry = entry

    # Typer's own types for these are private, and differ between its versions.
    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of the real command, which Typer then runs instead of this one."""
        return self.load().make_context(*args, **kwargs)

    def load(self) -> Any:
        """Import the command."""
        found = getattr(importlib.import_module(f"streamgauge_cli.{self._entry.module}"), self._entry.object)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(self._entry.name, help=inspect.getdoc(found) or self._entry.line)(_synchronous(found))
        return typer.main.get_command(alone)


def application() -> TyperGroup:
    """The whole command line."""
    # Plain help: importing what draws frames around it takes longer than all the rest.
    app = typer.Typer(name="streamgauge", callback=_options, no_args_is_help=True, rich_markup_mode=None)
    group = typer.main.get_group(app)
    for entry in COMMANDS:
        group.add_command(LazyCommand(entry))
    return group


def main() -> None:
    """Run the command line and exit."""
    try:
        application()(prog_name="streamgauge")
    except StreamgaugeError as error:
        print(f"streamgauge: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError | SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in SERVER_LIBRARIES:
            raise
        # A server that goes away meanwhile: no defect of ours to show a trace of. Their modules are not imported for this.
        told = f"{type(error).__name__}: {str(error)[:300]}"
        print(
            f"streamgauge: a server failed meanwhile ({told}); see `streamgauge doctor`, then try again",
            file=sys.stderr,
        )
        sys.exit(1)


def _options(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of local servers, keys and logs. (default: .streamgauge)"),
    ] = None,
) -> None:
    """Real-time, privacy-first analytics on Redis Streams and PostgreSQL."""
    session.set_data_dir(data_dir)


def _synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(function):
        return function

    # It costs as much as everything else here, and help needs none of it.
    import asyncio

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return run


if __name__ == "__main__":
    main()
