"""How often somebody may ask: what is refused, when, and what is told about it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from prometheus_client import CollectorRegistry

from streamgauge.errors import SettingsError
from streamgauge.limits.buckets import Buckets
from streamgauge.limits.guarding import Limits, RateLimiting, burst_of, take_of_key
from streamgauge.limits.rate import Asked, Rates, Verdict
from streamgauge.read import problems
from streamgauge.settings import Settings


class Table(Rates):
    """Limits in a table of the test's, at a time of its own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.buckets = Buckets(lambda: self.now)
        self.asked: list[Asked] = []

    async def take_each(self, *asked: Asked) -> list[Verdict]:
        self.asked += asked
        verdicts = []
        for each in asked:
            level = self.buckets.take(each.name, each.per_minute, each.burst, each.cost)
            seconds = -(-level.wait // 1_000_000)
            verdicts.append(
                Verdict(level.allowed, 0 if level.allowed else max(1, seconds), each.per_minute, level.left, seconds)
            )  # fmt: skip
        return verdicts


@dataclass
class World:
    app: FastAPI
    rates: Table
    registry: CollectorRegistry
    looked_up: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def client(self, address: str = "203.0.113.5") -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, client=(address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://streamgauge") as opened:
            yield opened

    async def statuses(self, times: int, path: str, key: str | None = "good", address: str = "203.0.113.5", **headers: str) -> list[int]:  # fmt: skip
        async with self.client(address) as client:
            sent = {**headers, **({} if key is None else {"authorization": key})}
            return [(await client.get(path, headers=sent)).status_code for _ in range(times)]

    def limited(self, policy: str) -> float | None:
        return self.registry.get_sample_value("streamgauge_requests_limited_total", {"limit": policy})


def world(**settings: Any) -> World:
    """An application whose only usable credentials begin with "good"."""
    rates, registry, app = Table(), CollectorRegistry(), FastAPI()
    limits = Limits(
        Settings(**{"address_requests": 2_000, "address_refusals": 3, "key_requests": 600, **settings}),
        registry,
        rates=rates,
        secret=b"between us",
    )
    made = World(app, rates, registry)
    app.add_middleware(RateLimiting, limits=limits)
    problems.install(app)

    async def guard(request: Request) -> str:
        key = request.headers.get("authorization", "")
        made.looked_up.append(key)
        if not key.startswith("good"):
            raise HTTPException(401, "a key is needed", {"WWW-Authenticate": "Bearer"})
        await take_of_key(request, key)
        return key

    @app.get("/api/v1/lessons")
    async def lessons(key: Annotated[str, Depends(guard)]) -> str:
        return key

    @app.get("/health/live")
    @app.get("/assets/page.js")
    @app.get("/metrics")
    async def free() -> str:
        return "free"

    return made


async def test_an_address_may_ask_up_to_its_limit_whatever_it_asks_for_and_health_is_free() -> None:
    here = world(address_requests=20)
    paths = ["/api/v1/lessons", "/metrics", "/assets/page.js", "/api/v1/nothing"] * 5
    statuses = [(await here.statuses(1, path))[0] for path in paths]
    assert statuses == [200, 200, 200, 404] * 5
    looked_up = len(here.looked_up)
    assert await here.statuses(3, "/metrics") == [429] * 3
    assert await here.statuses(3, "/api/v1/lessons") == [429] * 3
    assert len(here.looked_up) == looked_up
    assert await here.statuses(30, "/health/live") == [200] * 30
    # Another address is another one; and time brings one request back in three seconds.
    assert await here.statuses(1, "/metrics", address="203.0.113.6") == [200]
    here.rates.now += 3
    assert await here.statuses(2, "/metrics") == [200, 429]
    assert here.limited("address") == 7


async def test_after_too_many_refusals_no_key_is_looked_up_any_more() -> None:
    here = world()
    assert await here.statuses(5, "/api/v1/lessons", "wrong") == [401, 401, 401, 429, 429]
    assert here.looked_up == ["wrong"] * 3
    assert await here.statuses(1, "/api/v1/lessons", "good") == [429]
    assert await here.statuses(1, "/api/v1/lessons", None) == [429]
    assert here.looked_up == ["wrong"] * 3
    # The page, which asks for the key, still loads; others are not concerned.
    assert await here.statuses(1, "/assets/page.js") == [200]
    assert await here.statuses(1, "/api/v1/lessons", "good", "203.0.113.6") == [200]
    here.rates.now += 20
    assert await here.statuses(1, "/api/v1/lessons", "good") == [200]
    assert here.limited("refusals") == 4


async def test_usable_keys_use_up_no_refusals() -> None:
    here = world(address_refusals=1)
    assert await here.statuses(20, "/api/v1/lessons") == [200] * 20


async def test_a_key_has_its_limit_from_wherever_it_comes_and_every_key_its_own() -> None:
    here = world(key_requests=20)
    assert await here.statuses(15, "/api/v1/lessons", "good 1", "203.0.113.5") == [200] * 15
    assert await here.statuses(6, "/api/v1/lessons", "good 1", "203.0.113.6") == [200] * 5 + [429]
    assert await here.statuses(1, "/api/v1/lessons", "good 2", "203.0.113.6") == [200]
    assert here.limited("key") == 1


async def test_what_is_refused_is_a_problem_that_says_which_limit_and_when_to_come_again() -> None:
    here = world(key_requests=20)
    async with here.client() as client:
        reply = [await client.get("/api/v1/lessons", headers={"authorization": "good"}) for _ in range(21)][-1]  # fmt: skip
        assert reply.status_code == 429
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["retry-after"] == "3"
        assert reply.json() == {
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "detail": "too many requests with this credential: 20 a minute are allowed; try again in 3 seconds",
        }
        assert reply.headers["ratelimit-policy"] == '"address";q=2000;w=60, "key";q=20;w=60'
        assert reply.headers["ratelimit"].endswith('"key";r=0;t=3')
    here = world(address_requests=60)
    async with here.client() as client:
        reply = [await client.get("/metrics") for _ in range(21)][-1]
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
        assert reply.json()["detail"].startswith("too many requests from this address: 60 a minute")
        assert reply.headers["ratelimit"] == '"address";r=0;t=1'
        assert reply.headers["cache-control"] == "no-store"


async def test_every_answer_tells_what_is_left() -> None:
    here = world(key_requests=600, address_requests=6_000)
    async with here.client() as client:
        first = await client.get("/api/v1/lessons", headers={"authorization": "good"})
        assert first.headers["ratelimit-policy"] == '"address";q=6000;w=60, "key";q=600;w=60'
        assert first.headers["ratelimit"] == '"address";r=299;t=1, "key";r=29;t=1'
        second = await client.get("/api/v1/lessons", headers={"authorization": "wrong"})
        assert (second.status_code, second.headers["www-authenticate"]) == (401, "Bearer")
        assert second.headers["ratelimit"] == '"address";r=298;t=1, "refusals";r=2;t=20'
        assert "ratelimit" not in (await client.get("/health/live")).headers


async def test_what_proxies_say_is_believed_of_trusted_ones_alone() -> None:
    for trusted, counted_apart in (("203.0.113.0/24", True), ("", False)):
        here = world(address_requests=20, trusted_proxies=trusted)
        statuses = []
        for number in range(25):
            statuses += await here.statuses(1, "/metrics", **{"x-forwarded-for": f"198.51.100.{number}"})
        assert (statuses == [200] * 25) == counted_apart


async def test_addresses_of_one_ipv6_customer_are_one() -> None:
    here = world(address_requests=20)
    statuses = []
    for number in range(25):
        statuses += await here.statuses(1, "/metrics", address=f"2001:db8::{number:x}")
    assert statuses == [200] * 20 + [429] * 5
    assert await here.statuses(1, "/metrics", address="2001:db8:0:1::1") == [200]


async def test_names_of_buckets_tell_neither_address_nor_key_and_depend_on_the_secret() -> None:
    here = world()
    await here.statuses(1, "/api/v1/lessons", "good-key-id")
    names = [each.name for each in here.rates.asked]
    assert [name.partition(":")[0] for name in names] == ["address", "refusals", "key"]
    digests = {name.partition(":")[2] for name in names}
    assert len(digests) == 3
    assert all(len(digest) == 32 and int(digest, 16) for digest in digests)
    assert "203.0.113.5" not in json.dumps(names)
    settings = Settings()
    one, other = (Limits(settings, rates=Table(), secret=secret) for secret in (b"a", b"b"))
    assert one.asked("key", "k").name != other.asked("key", "k").name
    assert one.asked("key", "k").name == Limits(settings, rates=Table(), secret=b"a").asked("key", "k").name


def test_in_any_minute_a_twentieth_more_than_the_limit_is_allowed_at_most() -> None:
    for per_minute in (400, 6_000, 12_000, 10_000_000):
        assert burst_of("address", per_minute) == burst_of("key", per_minute) == per_minute // 20
    # Small limits let a page load at once; refusals are for people who mistyped.
    assert [burst_of("address", few) for few in (1, 19, 60, 399)] == [1, 19, 20, 20]
    assert burst_of("refusals", 60) == 60


def test_without_a_place_to_keep_them_there_are_no_limits_and_that_is_said() -> None:
    with pytest.raises(SettingsError, match="Redis"):
        Limits(Settings())
    with pytest.raises(SettingsError, match="STREAMGAUGE_TRUSTED_PROXIES"):
        Limits(Settings(trusted_proxies="proxy"), rates=Table())


async def test_a_route_behind_no_limits_asks_for_none() -> None:
    await take_of_key(Request({"type": "http", "headers": []}), "anybody")


async def test_of_several_buckets_the_strictest_answer_counts() -> None:
    rates = Table()

    async def take(*asked: Sequence[Any]) -> Verdict:
        return await rates.take(*(Asked(*each) for each in asked))

    assert (await take(("a", 60, 5), ("b", 60, 3))).remaining == 2
    for _ in range(2):
        await take(("b", 60, 3))
    refused = await take(("a", 60, 5), ("b", 60, 3), ("c", 6, 1))
    assert (refused.allowed, refused.retry_after_seconds) == (False, 1)
    refused = await take(("b", 60, 3), ("c", 6, 1))
    assert (refused.allowed, refused.retry_after_seconds, refused.limit) == (False, 10, 6)
