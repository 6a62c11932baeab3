"""Promises about the documents: what they name is there."""

import re
from pathlib import Path

import pytest

from streamgauge.settings import Settings
from streamgauge_cli.main import COMMANDS
from streamgauge_workers import metrics

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
DOCUMENTS = (
    "README.md",
    "docs/guarantees.md",
    "docs/operations.md",
    "docs/architecture.md",
    "examples/school/README.md",
)
# Names that are no metric's: packages, roles of the database, and what is stored.
OTHERS = re.compile(r"streamgauge_(cli|local|workers|imports|migrations|api|platform|server)\b")


def server_metrics() -> set[str]:
    """Names in the server's own sources: its registry is filled while it runs."""
    sources = [
        path
        for part in ("read", "ingest", "limits", "people")
        for path in (ROOT / "app/streamgauge" / part).rglob("*.py")
    ]
    found = {name for path in sources for name in re.findall(r'"(streamgauge_[a-z_]+)"', path.read_text())}
    return {name for name in found if not OTHERS.match(name)}


def test_every_metric_is_explained_and_every_explained_metric_exists() -> None:
    exposed = {metric.name for metric in metrics.REGISTRY.collect()} | server_metrics()
    explained = {
        name.removesuffix("_total")
        for name in re.findall(r"\bstreamgauge_[a-z_]+", OPERATIONS)
        if not OTHERS.match(name)
    }
    assert explained == exposed


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_and_command_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    settings = {name for field in Settings.__dataclass_fields__.values() for name in field.metadata["env"]}
    named = set(re.findall(r"\bSTREAMGAUGE_[A-Z_]+[A-Z]\b", text))
    assert named <= settings, named - settings
    commands = {entry.name for entry in COMMANDS}
    used = set(re.findall(r"(?:^|`)(?:streamgauge|\./run) ([a-z]+(?:-[a-z]+)*)", text, re.MULTILINE)) - {
        "test", "faults",
    }  # fmt: skip
    assert used <= commands, used - commands


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    path = ROOT / document
    for name in re.findall(r"`((?:docs|tests|examples|app|benchmarks)/[\w./-]+)`", path.read_text()):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / name).exists(), name


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
