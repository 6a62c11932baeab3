"""Subjects measured in turn, round after round: whatever else the machine does meanwhile happens to all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


def nothing() -> None:
    """For subjects that leave nothing behind."""


@dataclass(frozen=True)
class Subject:
    """Something that can be done many times."""

    name: str
    run: Callable[[int], None]  #: do it so many times
    settle: Callable[[], None] = nothing  #: wait until what it left to other threads is done, too


class Cost(NamedTuple):
    """Microseconds of CPU for each time it was done."""

    thread: float  #: of the thread that did it
    process: float  #: of the whole process, until what was left to other threads was done


def cost_of(subject: Subject, count: int) -> Cost:
    """Do it `count` times."""
    process, thread = time.process_time_ns(), time.thread_time_ns()
    subject.run(count)
    thread = time.thread_time_ns() - thread
    subject.settle()
    process = time.process_time_ns() - process
    return Cost(thread / count / 1000, process / count / 1000)


def measure(subjects: Sequence[Subject], count: int, rounds: int) -> dict[str, list[Cost]]:
    """Costs of every subject in every round, each of `count` times. A round before the first is not kept: it warms up."""
    costs: dict[str, list[Cost]] = {subject.name: [] for subject in subjects}
    for number in range(rounds + 1):
        # Each begins once: whoever follows a greedy one finds colder caches.
        turn = number % len(subjects)
        for subject in [*subjects[turn:], *subjects[:turn]]:
            cost = cost_of(subject, count)
            if number:
                costs[subject.name].append(cost)
    return costs


def over(costs: Mapping[str, Sequence[Cost]], base: str) -> dict[str, dict[str, Any]]:
    """What each subject costs more than `base` in the same round: medians and quartiles, in microseconds."""
    return {
        name: {
            "thread": spread([cost.thread - low.thread for cost, low in zip(own, costs[base], strict=True)]),
            "process": spread(
                [cost.process - low.process for cost, low in zip(own, costs[base], strict=True)]
            ),
        }
        for name, own in costs.items()
    }


def absolute(costs: Mapping[str, Sequence[Cost]]) -> dict[str, dict[str, Any]]:
    """What each subject costs: medians and quartiles, in microseconds."""
    return {
        name: {
            "thread": spread([cost.thread for cost in own]),
            "process": spread([cost.process for cost in own]),
        }
        for name, own in costs.items()
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    )
    return {"median": round(middle, 3), "lower_quartile": round(low, 3), "upper_quartile": round(high, 3)}
