"""What may import what, and what an application pays for `import streamgauge`."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import streamgauge

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = [ROOT / "app", ROOT / "workers", ROOT / "migrations"]
OURS = ("streamgauge", "streamgauge_")
HEAVY = {
    "fastapi",
    "starlette",
    "asyncpg",
    "numpy",
    "pydantic",
    "uvicorn",
    "pyroaring",
    "zstandard",
    "structlog",
    "typer",
    "rich",
    "jwt",
    "cryptography",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of ours by its name."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for root in SOURCE_ROOTS
        for path in root.rglob("*.py")
    }


def imports_of(path: Path, at_import: bool) -> Iterator[tuple[str, str | None]]:
    """(module, name or none) of every import; `at_import`: only those that run when the module is imported."""
    nodes: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((base, alias.name) for alias in node.names)
        nodes += ast.iter_child_nodes(node)


@cache
def imported(name: str, at_import: bool = False) -> frozenset[str]:
    """The modules of ours that a module of ours imports."""
    found = set()
    for base, member in imports_of(modules()[name], at_import):
        assert not base.startswith("."), f"{name} imports relatively"
        if member is not None and f"{base}.{member}" in modules():
            found.add(f"{base}.{member}")
        elif base in modules():
            found.add(base)
    return frozenset(found)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_the_walk_finds_the_modules() -> None:
    assert {
        "streamgauge",
        "streamgauge.frame",
        "streamgauge_workers.applier",
        "streamgauge_migrations",
    } <= modules().keys()
    assert "streamgauge.event" in imported("streamgauge.frame")


def test_the_library_never_imports_what_runs_it() -> None:
    programs = {name.partition(".")[0] for name in modules()} - {"streamgauge"}
    for name in modules():
        if within(name, "streamgauge"):
            wrong = {each for each in imported(name) if each.partition(".")[0] in programs}
            assert not wrong, f"{name} imports {wrong}"


def test_the_worker_never_imports_the_command_line_or_the_embedded_servers() -> None:
    for name in modules():
        if within(name, "streamgauge_workers"):
            wrong = {
                each for each in imported(name) if each.startswith(("streamgauge_cli", "streamgauge_local"))
            }
            assert not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize(("one", "other"), [("capture", "read"), ("read", "capture")])
def test_capture_and_read_never_import_each_other(one: str, other: str) -> None:
    # Not directly and not through anything else of ours.
    seen = {name for name in modules() if within(name, f"streamgauge.{one}")}
    waiting = sorted(seen)
    while waiting:
        name = waiting.pop()
        assert not within(name, f"streamgauge.{other}"), f"streamgauge.{one} reaches {name}"
        fresh = imported(name) - seen
        seen |= fresh
        waiting += fresh


def test_summaries_are_pure() -> None:
    io = {"asyncio", "socket", "time", "redis", "asyncpg", "os", "random"}
    for name, path in modules().items():
        if within(name, "streamgauge.summaries"):
            used = {base.partition(".")[0] for base, _ in imports_of(path, at_import=False)}
            assert not used & io, f"{name} imports {used & io}"
            assert not {
                each
                for each in imported(name)
                if each in ("streamgauge.database", "streamgauge.redis_stream")
            }


def test_modules_do_not_import_one_another_in_circles() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for each in sorted(imported(name, at_import=True)):
                visit(each, (*path, name))
            done.add(name)

    for name in modules():
        visit(name, ())


def capture_modules() -> list[str]:
    return ["streamgauge", *sorted(name for name in modules() if within(name, "streamgauge.capture"))]


@pytest.mark.parametrize("name", capture_modules())
def test_a_host_application_loads_nothing_heavy(name: str) -> None:
    program = f"import sys; sys.path[:0] = {[str(root) for root in SOURCE_ROOTS]!r}; import {name}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in shown.stdout.split()}
    assert not loaded & HEAVY
    assert not {module for module in loaded if module.startswith("streamgauge_")}


def test_the_oracles_import_nothing_of_ours() -> None:
    oracles = sorted((ROOT / "tests" / "oracles").glob("*.py"))
    assert len(oracles) >= 3
    for path in oracles:
        for base, member in imports_of(path, at_import=False):
            for each in (base, member or ""):
                assert not each.startswith(OURS), f"{path.name} imports {each}"
            assert not base.startswith((".", "tests")), f"{path.name} imports {base}"
        assert "__import__" not in path.read_text("utf-8")
        assert "importlib" not in path.read_text("utf-8")


NAME = re.compile(r"^-- ([a-z_]+): ", re.MULTILINE)


def query_files() -> list[Path]:
    """Files of named queries; migrations are not such files."""
    return sorted(path for root in SOURCE_ROOTS[:2] for path in root.rglob("*.sql"))


def package_of(path: Path) -> Path:
    """The folder of the package that a file belongs to."""
    (root,) = [root for root in SOURCE_ROOTS if root in path.parents]
    return root / path.relative_to(root).parts[0]


@pytest.mark.parametrize("path", query_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_query_in_a_file_is_used_by_its_package(path: Path) -> None:
    names = NAME.findall(path.read_text("utf-8"))
    assert names
    code = "\n".join(each.read_text("utf-8") for each in package_of(path).rglob("*.py"))
    # A name may be composed: f"{query}_load" for hourly and daily.
    suffixes = set(re.findall(r'f"\{\w+\}(_[a-z]+)"', code))
    prefixes = set(re.findall(r'f"([a-z]+_)\{\w+\}"', code))
    for name in names:
        literal = f'"{name}"' in code
        by_suffix = any(name.endswith(each) and f'"{name.removesuffix(each)}"' in code for each in suffixes)
        by_prefix = any(name.startswith(each) and f'"{name.removeprefix(each)}"' in code for each in prefixes)
        assert literal or by_suffix or by_prefix, f"{path.parent.name}/{path.name}: {name} is never used"


def test_every_query_that_is_named_is_there() -> None:
    known = {name for path in query_files() for name in NAME.findall(path.read_text("utf-8"))}
    assert len(known) > 50
    for name, path in modules().items():
        for used in re.findall(r'SQL\["([a-z_]+)"\]', path.read_text("utf-8")):
            assert used in known, f"{name} uses {used}, which is in no file of queries"


#: What applications may rely on. Adding a name is a promise, removing one a breach of it.
PUBLIC = {"EventType", "Property", "Settings", "Streamgauge", "Ticket", "idempotency_key"}
#: Besides `streamgauge` itself: for FastAPI's dependencies, for applications that are not Starlette's, and for tests of both.
PUBLIC_MODULES = {
    "streamgauge.capture.middleware",
    "streamgauge.integrations.fastapi",
    "streamgauge.directory.host",
    "streamgauge.pytest_plugin",
    "streamgauge.testing",
}


def test_the_public_names_are_those_promised_and_each_can_be_imported() -> None:
    assert set(streamgauge.__all__) == PUBLIC
    assert len(streamgauge.__all__) == len(PUBLIC)
    assert set(dir(streamgauge)) >= PUBLIC
    assert modules().keys() >= PUBLIC_MODULES
    for name in PUBLIC:
        assert getattr(streamgauge, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = streamgauge.nothing_of_ours


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_everything_public_is_documented(name: str) -> None:
    public = getattr(streamgauge, name)
    assert public.__doc__
    # A dataclass without a docstring gets its signature for one.
    assert not public.__doc__.startswith(f"{name}(")
    members = vars(public).items() if isinstance(public, type) else ()
    for member, value in members:
        called = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
        if called and not member.startswith("_"):
            assert inspect.getdoc(getattr(public, member)), f"{name}.{member} has no docstring"


def test_importing_the_package_imports_nothing_else_of_ours() -> None:
    assert not imported("streamgauge", at_import=True)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_examples_use_nothing_but_the_public_interface() -> None:
    assert len(sources("examples")) > 3
    for path in sources("examples"):
        for base, member in imports_of(path, at_import=False):
            if base == "streamgauge":
                assert member in PUBLIC, f"{path} imports {member} of streamgauge"
            else:
                assert not base.startswith(OURS) or base in PUBLIC_MODULES, f"{path} imports {base}"
            assert base.partition(".")[0] not in {"tests", "benchmarks"}, f"{path} imports {base}"


def test_nothing_that_is_installed_imports_what_is_not() -> None:
    around = {"benchmarks", "examples", "tests"}
    for name, path in modules().items():
        wrong = {base for base, _ in imports_of(path, at_import=False) if base.partition(".")[0] in around}
        assert not wrong, f"{name} imports {wrong}"


def test_benchmarks_do_not_lean_on_tests() -> None:
    assert len(sources("benchmarks")) > 10
    for path in sources("benchmarks"):
        wrong = {base for base, _ in imports_of(path, at_import=False) if base.partition(".")[0] == "tests"}
        assert not wrong, f"{path} imports {wrong}"
