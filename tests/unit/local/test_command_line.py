"""Promises about the command line as a whole."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

from streamgauge.errors import InputError, SchemaError, SettingsError
from streamgauge_cli import main, session


def put_in_place(monkeypatch: pytest.MonkeyPatch, name: str, found: object) -> None:
    module = types.ModuleType(f"streamgauge_cli.{name}")
    setattr(module, name, found)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["streamgauge", *arguments])
    with pytest.raises(SystemExit) as caught:
        main.main()
    return int(caught.value.code or 0)


def test_help_lists_every_command_with_a_line_and_imports_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        main.LazyCommand, "load", lambda entry: pytest.fail(f"{entry} was imported for its help")
    )
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for entry in main.COMMANDS:
        assert f"{entry.name} " in shown
        assert entry.line in shown


def test_help_needs_none_of_the_heavy_libraries() -> None:
    script = (
        "import sys\nfrom streamgauge_cli import main\nsys.argv = ['streamgauge', '--help']\n"
        "try:\n    main.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'asyncio', 'asyncpg', 'fastapi', 'numpy', 'redis', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("bad"), 2), (SettingsError("bad"), 2), (SchemaError("bad"), 1)]
)
def test_an_error_made_on_purpose_is_a_message_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def doctor() -> None:
        raise error

    put_in_place(monkeypatch, "doctor", doctor)
    assert run(monkeypatch, "doctor") == code
    assert capsys.readouterr().err == "streamgauge: bad\n"


@pytest.mark.parametrize("module", ["asyncpg.exceptions._base", "redis.exceptions"])
def test_a_server_that_fails_meanwhile_is_a_line_and_no_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    def verify() -> None:
        raise type("InterfaceError", (Exception,), {"__module__": module})("connection is closed")

    put_in_place(monkeypatch, "verify", verify)
    assert run(monkeypatch, "verify") == 1
    told = capsys.readouterr().err
    assert told.startswith("streamgauge: a server failed meanwhile (InterfaceError: connection is closed)")
    assert told.count("\n") == 1


def test_a_defect_of_ours_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def verify() -> None:
        raise ZeroDivisionError

    put_in_place(monkeypatch, "verify", verify)
    monkeypatch.setattr(sys, "argv", ["streamgauge", "verify"])
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_ctrl_c_ends_quietly_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def doctor() -> None:
        raise KeyboardInterrupt

    put_in_place(monkeypatch, "doctor", doctor)
    assert run(monkeypatch, "doctor") == 130
    assert capsys.readouterr() == ("", "")

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "application", interrupted)
    assert run(monkeypatch) == 130


def test_a_command_may_be_asynchronous_and_gets_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def load(events: int = 1) -> None:
        """Make that many."""
        print("events", events)

    put_in_place(monkeypatch, "load", load)
    assert run(monkeypatch, "load", "--events", "3") == 0
    assert capsys.readouterr().out == "events 3\n"
    assert run(monkeypatch, "load", "--help") == 0
    assert "Make that many." in capsys.readouterr().out


def test_import_holds_commands_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imports = typer.Typer()

    @imports.command("access-log")
    def access_log(path: Path) -> None:
        print("from", path)

    put_in_place(monkeypatch, "imports", imports)
    assert run(monkeypatch, "import", "access-log", "x.log") == 0
    assert capsys.readouterr().out == "from x.log\n"


def test_the_data_directory_can_be_given_before_the_command_or_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def query() -> None:
        print(session.settings().data_dir, session.settings(data_dir=Path("nearer")).data_dir)

    put_in_place(monkeypatch, "query", query)
    monkeypatch.setenv("STREAMGAUGE_DATA_DIR", "from-environment")
    assert run(monkeypatch, "--data-dir", "elsewhere", "query") == 0
    assert run(monkeypatch, "query") == 0
    assert capsys.readouterr().out == "elsewhere nearer\nfrom-environment nearer\n"


def test_an_unknown_command_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "querry") == 2
    assert "Did you mean 'query'?" in capsys.readouterr().err
