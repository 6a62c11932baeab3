"""Demo traffic: made-up people who use the school for a while, so that a first look at a dashboard has something to show.

Standard library only. Over HTTP, as browsers would, and bounded in requests and time.
"""

import json
import logging
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from http.cookiejar import CookieJar
from random import Random
from typing import Final, NamedTuple

from .routes import COURSES, QUIZZES

PEOPLE: Final = 40
MOST_REQUESTS: Final = 5_000
MOST_SECONDS: Final = 900.0
PER_SECOND: Final = 4.0
NOTICE: Final = (
    f"Demo traffic: {PEOPLE} made-up people use it for {MOST_SECONDS / 60:.0f} minutes, "
    f"with at most {MOST_REQUESTS:,} requests."
)
TIMEOUT: Final = 10.0  # seconds for one answer
LONGEST_PAUSE: Final = 2.0  # seconds
OPENING_ATTEMPTS: Final = 100

LOGGER = logging.getLogger(__name__)
_NAMES = ("ada", "alan", "barbara", "edsger", "grace", "john", "katherine", "linus", "margaret", "niklaus")
_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    "python-requests/2.32.5",
)
_BOT = "Mozilla/5.0 (compatible; Examplebot/1.0; +https://bot.example)"


class Step(NamedTuple):
    """One request; a body is sent as JSON."""

    method: str
    path: str
    body: dict[str, object] | None = None


class Person:
    """One of the made-up people: a browser with cookies of its own, and what it is about to do."""

    def __init__(self, number: int) -> None:
        self.bot = number % 20 == 19
        #: A quarter only looks around.
        self.name = None if self.bot or number % 4 == 0 else f"{_NAMES[number % len(_NAMES)]}-{number}"
        # No proxy, whatever the environment says: the school is on this machine.
        self._browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )
        self._headers = {
            "User-Agent": _BOT if self.bot else _BROWSERS[number % len(_BROWSERS)],
            # From addresses kept for documentation, so that visitors can be told apart. uvicorn believes a proxy on this machine.
            "X-Forwarded-For": f"203.0.113.{number + 1}",
            "Content-Type": "application/json",
        }
        self._ahead: deque[Step] = deque()

    def next(self, random: Random) -> Step:
        """What it does next; after a visit comes another one."""
        if not self._ahead:
            self._ahead.extend(visit(random, self.name, self.bot))
        return self._ahead.popleft()

    def send(self, url: str, step: Step) -> int:
        """Send a request, and read the answer to its end; the status. Raises OSError without an answer."""
        body = None if step.body is None else json.dumps(step.body).encode()
        # The address is the school's own.
        request = urllib.request.Request(url + step.path, body, self._headers, method=step.method)  # noqa: S310
        try:
            with self._browser.open(request, timeout=TIMEOUT) as answer:
                answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


def visit(random: Random, name: str | None, bot: bool = False) -> Iterator[Step]:
    """What somebody does between coming and going."""
    course = random.choice(list(COURSES))
    yield Step("GET", "/")
    if not bot:
        yield Step("POST", "/streamgauge/events", {"name": "page.viewed", "properties": {"page": "home"}})
    if name is not None:
        yield Step("POST", "/login", {"student": name})
    yield Step("GET", "/courses")
    if name is not None:
        yield Step("POST", f"/courses/{course}/enrolment")
    for lesson in COURSES[course][: random.randint(1, 3)]:
        address = f"/courses/{course}/lessons/{lesson}"
        yield Step("GET", address)
        if name is not None:
            yield Step("POST", f"{address}/progress", {"percent": random.choice((20, 50, 80, 100))})
    if name is not None and random.random() < 0.6:
        attempt = {"attempt": f"{random.getrandbits(64):x}", "score": min(100, round(random.gauss(68, 18)))}
        yield Step("POST", f"/quizzes/{random.choice(QUIZZES)}/attempts", attempt)
    if name is not None:
        yield from study(random, name, course)
    yield from (
        step
        for step, likely in (
            (Step("GET", f"/courses/{course}/export"), 0.2),
            (Step("GET", f"/library/books/{random.randint(1, 30)}"), 0.3),
            (Step("GET", "/wp-login.php"), 0.1),
            (Step("GET", "/reports/broken"), 0.05),
        )
        if random.random() < likely
    )


def study(random: Random, name: str, course: str) -> Iterator[Step]:
    """What students do together, and with the coach."""
    draft = f"/drafts/{course}-essay"
    likely = random.random()
    if likely < 0.1:
        yield Step("POST", draft)
    if likely < 0.4:
        yield Step("POST", f"{draft}/segments")
    if likely < 0.2:
        yield Step("POST", f"{draft}/ring", {"to": f"{random.choice(_NAMES)}-{random.randrange(PEOPLE)}"})
    if likely > 0.8:
        question = {"conversation": f"{random.getrandbits(64):x}", "helpful": random.random() < 0.7}
        yield Step("POST", "/coach/questions", question)


def use(
    url: str,
    *,
    most_requests: int = MOST_REQUESTS,
    seconds: float = MOST_SECONDS,
    per_second: float = PER_SECOND,
) -> int:
    """Use the school at `url` until either bound is reached; how many requests were answered."""
    # Who comes when need not be secret.
    random = Random()  # noqa: S311
    people = [Person(number) for number in range(PEOPLE)]
    until_open(url, people[0])
    LOGGER.info("demo traffic begins: %s", NOTICE)
    until = time.monotonic() + seconds
    answered = 0
    for _ in range(most_requests):
        if time.monotonic() >= until:
            break
        person = random.choice(people)
        try:
            person.send(url, person.next(random))
            answered += 1
        except OSError as error:
            LOGGER.info("demo traffic: no answer (%s)", error)
        time.sleep(min(random.expovariate(per_second), LONGEST_PAUSE))
    LOGGER.info("demo traffic ends: %d requests were answered", answered)
    return answered


def until_open(url: str, person: Person) -> None:
    """Wait until the school answers, or for a while."""
    for _ in range(OPENING_ATTEMPTS):
        with suppress(OSError):
            person.send(url, Step("GET", "/health/ready"))
            return
        time.sleep(0.1)
