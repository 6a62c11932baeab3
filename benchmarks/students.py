"""What students of the example school do: half of it reading, a third of it recorded as an event of its own."""

import random

from examples.school.routes import COURSES, QUIZZES

from benchmarks.audience import Asked


def login(number: int) -> Asked:
    """A student comes in."""
    return Asked("POST", "/login", 204, {"student": f"student-{number}"})


def activity(chance: random.Random, number: int) -> Asked:
    """What a student does next."""
    course = chance.choice(list(COURSES))
    lesson = f"/courses/{course}/lessons/{chance.choice(COURSES[course])}"
    kind = chance.random()
    if kind < 0.2:
        return Asked("GET", "/courses")
    if kind < 0.5:
        return Asked("GET", lesson)
    if kind < 0.6:
        return Asked("GET", f"/library/books/{chance.randrange(1_000)}")
    if kind < 0.65:
        return Asked("GET", f"/courses/{course}/export")
    if kind < 0.8:
        return Asked("POST", f"{lesson}/progress", 204, {"percent": chance.randrange(101)})
    taken = {"attempt": f"{chance.getrandbits(64):x}", "score": chance.randrange(101)}
    return Asked("POST", f"/quizzes/{chance.choice(QUIZZES)}/attempts", 200, taken)
