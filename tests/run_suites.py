"""What `./run test` runs: lint, types, and every suite of tests, then a table of what it took.

`--coverage` alone measures which lines and branches that runs, too, and takes a quarter longer. Any other arguments go to pytest: then
only that runs. The last line is always `N passed, N failed, N skipped`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
#: Suites that run one after the other, side by side with the other lanes: all of them wait for servers half of their time. The
#: first lane is this process's own, behind the checks, and its output is shown as it comes.
#: Those of the integration tests that start and kill processes all the time.
PROCESSES = [
    f"tests/integration/{name}"
    for name in (
        "local", "test_doctor.py", "test_doctor_faults.py", "test_probe.py", "test_takeover.py", "test_waiting.py",
        "test_worker_process.py",
    )
]  # fmt: skip
LANES: tuple[dict[str, list[str]], ...] = (
    {
        "unit": ["tests/unit"],
        "contract": ["tests/contract"],
        "architecture": ["tests/test_architecture.py"],
        "api": ["tests/api"],
    },
    {"integration": ["tests/integration", *(f"--ignore={path}" for path in PROCESSES)]},
    {
        "faults": ["tests/faults"],
        "acceptance": ["tests/acceptance"],
        "browser": ["tests/browser"],
        "processes": PROCESSES,
    },
)
#: What these prove is worth nothing if it holds the second time only.
NO_SECOND_CHANCE = {"faults"}
MOST_UNSTEADY = 3  # tests that may need one; more are no accident
#: What they run is run by others too, and measuring makes every process they start slower.
UNMEASURED = {"contract", "architecture", "faults", "acceptance", "browser", "processes"}
CHECKS = {
    "lint": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "types": ["-m", "mypy"],
    "bandit": ["-m", "bandit", "-q", "-ll", "-r", "app", "workers", "migrations"],
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_SECONDS = 240  # to install it in
COVERAGE = "--coverage"
LEAST_LINES, LEAST_BRANCHES = 90.0, 85.0
_NO_TESTS_COLLECTED = 5


class Outcome(NamedTuple):
    """One row of the table. A check has no counts; one that fails is no failed test, but fails the whole."""

    name: str
    seconds: float
    good: bool
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def main(arguments: list[str]) -> int:
    """Run everything, or pytest with the given arguments; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments and arguments != [COVERAGE]:
            given = [from_caller(argument) for argument in arguments]
            outcomes = [pytest("tests", given, work, measured=False)]
            good = True
        else:
            bring_chromium()
            unmeasured = UNMEASURED if arguments else {name for lane in LANES for name in lane}
            with ExitStack() as lanes:
                beside = [lanes.enter_context(lane_beside(lane, work, unmeasured)) for lane in LANES[1:]]
                outcomes = [check(name, command) for name, command in CHECKS.items()]
                outcomes += [
                    pytest(name, given, work, measured=name not in unmeasured)
                    for name, given in LANES[0].items()
                ]
                for finish in beside:
                    outcomes += finish()
            good = not arguments or coverage_suffices(work)
            outcomes, unsteady = second_chances(outcomes, work)
            good = good and unsteady <= MOST_UNSTEADY
    print_table(outcomes)
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if good and all(outcome.good for outcome in outcomes) else 1


def bring_chromium() -> None:
    """Install Chromium where that is possible and it is missing; without it the browser's tests are skipped, and say so."""
    if any(map(shutil.which, CHROMIUM)):
        return
    title("chromium")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(
            "There is no Chromium, and it takes root and apt-get to install it: the browser's tests are skipped."
        )
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    try:
        for command in (install, ["apt-get", "update"], install):
            done = subprocess.run(
                command, env=environment, capture_output=True, timeout=CHROMIUM_SECONDS, check=False
            )
            if shutil.which(CHROMIUM[0]):
                print("Installed Chromium for the browser's tests.", flush=True)
                return
        print(f"Chromium cannot be installed: {done.stderr.decode(errors='replace')[-500:]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"Chromium cannot be installed: {error}")


def check(name: str, command: list[str]) -> Outcome:
    """Run one of the checks that are no tests."""
    title(name)
    began = time.monotonic()
    code = python(command)
    return Outcome(name, time.monotonic() - began, code == 0)


def pytest(name: str, arguments: list[str], work: Path, *, measured: bool = True) -> Outcome:
    """Run pytest, with coverage when `measured`, and count."""
    title(name)
    began = time.monotonic()
    code = python(pytest_command(name, arguments, work, measured), COVERAGE_FILE=str(work / "coverage"))
    return counted(name, time.monotonic() - began, code, work)


@contextmanager
def lane_beside(
    lane: Mapping[str, list[str]], work: Path, unmeasured: Container[str]
) -> Iterator[Callable[[], list[Outcome]]]:
    """Run suites one after the other beside what follows; the function given waits for their end, shows their output, and counts."""
    running: list[subprocess.Popen[str]] = []
    ended = threading.Event()
    timed: list[tuple[str, float, int]] = []

    def run() -> None:
        for name, given in lane.items():
            if ended.is_set():
                return
            began = time.monotonic()
            with (work / f"{name}.txt").open("w") as output:
                command = [sys.executable, *pytest_command(name, given, work, name not in unmeasured)]
                environment = {**os.environ, "COVERAGE_FILE": str(work / "coverage")}
                running.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
                    )
                )
                code = running[-1].wait()
            timed.append((name, time.monotonic() - began, code))

    thread = threading.Thread(target=run)
    thread.start()

    def finish() -> list[Outcome]:
        thread.join()
        outcomes = []
        for name, seconds, code in timed:
            title(f"{name} (ran beside others)")
            print((work / f"{name}.txt").read_text(), flush=True)
            outcomes.append(counted(name, seconds, code, work))
        return outcomes

    try:
        yield finish
    finally:
        ended.set()
        while thread.is_alive():
            for process in running:
                process.kill()
            thread.join(0.1)


def pytest_command(name: str, arguments: list[str], work: Path, measured: bool) -> list[str]:
    """What python is called with to run pytest."""
    coverage = ["-m", "coverage", "run"] if measured else []
    return [
        *coverage,
        "-m",
        "pytest",
        "-rs",
        "--durations=15",
        "--durations-min=4",
        "-o",
        f"cache_dir={work / f'{name}-cache'}",
        f"--junitxml={work / f'{name}.xml'}",
        *arguments,
    ]


def counted(name: str, seconds: float, code: int, work: Path) -> Outcome:
    """The outcome of a run of pytest that has ended with `code`."""
    report = work / f"{name}.xml"
    if not report.exists():
        # It did not get as far as counting, and `--help` is the only good reason.
        return Outcome(name, seconds, code == 0, failed=int(code != 0))
    # Written a moment ago by our own pytest.
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314
    report.unlink()  # or that of the first attempt would be taken for one that a second did not live to write
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    good = code == 0 or (code == _NO_TESTS_COLLECTED and failed == 0)
    return Outcome(name, seconds, good, total - failed - skipped, failed, skipped)


def second_chances(outcomes: list[Outcome], work: Path) -> tuple[list[Outcome], int]:
    """Run what failed once more, alone: beside two other lanes, a test of real servers may be kept waiting too long.

    What passes now is counted as passed, and told; how many those are is the second value.
    """
    found, unsteady = [], 0
    for outcome in outcomes:
        given = next((lane[outcome.name] for lane in LANES if outcome.name in lane), None)
        if not outcome.failed or given is None or outcome.name in NO_SECOND_CHANCE:
            found.append(outcome)
            continue
        title(f"{outcome.name}: what failed, once more and alone")
        again = [*given, "--last-failed", "--last-failed-no-failures=none"]
        began = time.monotonic()
        code = python(pytest_command(outcome.name, again, work, measured=False))
        second = counted(outcome.name, outcome.seconds + time.monotonic() - began, code, work)
        good = second.good and second.passed > 0
        unsteady += second.passed
        print(f"UNSTEADY: {second.passed} passed alone that had failed", flush=True)
        failed = 0 if good else max(second.failed, 1)
        found.append(
            outcome._replace(
                seconds=second.seconds, good=good, passed=outcome.passed + second.passed, failed=failed
            )
        )
    return found, unsteady


def coverage_suffices(work: Path) -> bool:
    """Combine what all processes of all suites recorded, and compare both figures with what is asked."""
    title("coverage")
    data = {"COVERAGE_FILE": str(work / "coverage")}
    report = work / "totals.json"
    if python(["-m", "coverage", "combine", "--quiet"], **data) or python(
        ["-m", "coverage", "json", "--quiet", "-o", str(report)], **data
    ):
        return False
    totals = json.loads(report.read_text())["totals"]
    lines = percentage(totals["covered_lines"], totals["num_statements"])
    branches = percentage(totals["covered_branches"], totals["num_branches"])
    good = lines >= LEAST_LINES and branches >= LEAST_BRANCHES
    if not good:
        python(["-m", "coverage", "report", "--show-missing", "--skip-covered"], **data)
    print(f"lines    {lines:5.1f} % (at least {LEAST_LINES:.0f} asked)")
    print(f"branches {branches:5.1f} % (at least {LEAST_BRANCHES:.0f} asked)")
    return good


def percentage(part: int, whole: int) -> float:
    """Hundredths; nothing of nothing is everything."""
    return 100.0 * part / whole if whole else 100.0


def print_table(outcomes: list[Outcome]) -> None:
    """Seconds and counts of every suite."""
    title("seconds")
    for name, seconds, good, *counts in outcomes:
        numbers = "".join(f"{number:8d}" for number in counts) if any(counts) else " " * 24
        print(f"{name:<14}{seconds:8.1f}{numbers}  {'ok' if good else 'FAILED'}")


def from_caller(argument: str) -> str:
    """A path that exists where we were called, as absolute path: pytest runs in the project's directory."""
    path, separator, test = argument.partition("::")
    return f"{Path(path).resolve()}{separator}{test}" if path and Path(path).exists() else argument


def python(command: list[str], **variables: str) -> int:
    """Run a module with this interpreter, its output on ours; its exit code."""
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode


def title(text: str) -> None:
    """Say what comes next."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    # Told to end, take the child along: subprocess.run kills it when an exception passes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
