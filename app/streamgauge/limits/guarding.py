"""How often somebody may ask: by address before anything is looked up, by credential once it is known.

    address   every request but those to /health/: settings.address_requests
    refusals  requests that were answered 401; at settings.address_refusals the address is no longer listened to, and nothing looked up
    key       requests with a usable credential: settings.key_requests
    tenant    requests with any credential of a tenant that has a budget of its own

Answers carry the fields RateLimit-Policy and RateLimit as the HTTPAPI working group's draft has them since its revision 08 (checked against
draft-ietf-httpapi-ratelimit-headers-10 of September 2025: work in progress, no RFC). `q` requests come back in `w` seconds; `r` can be made
now, and in `t` seconds there is one more. What is refused is 429 (RFC 6585) with Retry-After.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal

from fastapi import HTTPException, Request
from prometheus_client import CollectorRegistry, Counter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamgauge.errors import SettingsError
from streamgauge.limits.addresses import bucket_of, client_address, parse_networks
from streamgauge.limits.rate import Asked, Rates, Verdict
from streamgauge.read.problems import problem
from streamgauge.settings import Settings

Policy = Literal["address", "refusals", "key", "tenant"]
UNLIMITED: Final = "/health/"
#: Paths under which credentials are looked up.
GUARDED: Final = "/api/"
_ACCOUNT = "streamgauge.limits"
_DIGEST_BYTES = 16
#: Share of a minute's requests that may come at once: in any minute, so much more than the limit is allowed.
_BURST_SHARE = 20
#: Below this a page and what it consists of would not load at once.
_LEAST_BURST = 20
_REFUSED: Final[dict[Policy, str]] = {
    "address": "too many requests from this address",
    "refusals": "too many requests without a usable credential from this address",
    "key": "too many requests with this credential",
    "tenant": "too many requests of this tenant, whose budget all its credentials share",
}


class Limits:
    """The limits of a server, and where they are kept."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry | None = None,
        *,
        secret: bytes = b"",
        rates: Rates | None = None,
    ) -> None:
        """It connects to Redis with the first request.

        Args:
            settings: with the limits, the trusted proxies and the address of Redis.
            registry: where the metrics go.
            secret: up to 64 bytes, the same in all processes, which the names of buckets are made with. Without it, whoever has Redis'
                files can find out addresses by trying them all.
            rates: where limits are kept; by default in the Redis of the settings.

        Raises SettingsError for trusted proxies that are none, and without the address of Redis.
        """
        if rates is None:
            if settings.redis_url is None:
                raise SettingsError("rate limits need the address of Redis")
            rates = Rates(settings.redis_url, settings.stream_prefix, registry=registry)
        self.rates = rates
        self.networks = parse_networks(settings.trusted_proxies)
        self.secret = secret
        self._per_minute: dict[Policy, int] = {
            "address": settings.address_requests,
            "refusals": settings.address_refusals,
            "key": settings.key_requests,
        }
        self._refused = Counter(
            "streamgauge_requests_limited", "Requests answered 429, by limit.", ["limit"], registry=registry
        )

    def asked(self, policy: Policy, whose: str, cost: int = 1, budget: int | None = None) -> Asked:
        """A request to somebody's bucket, whose name tells nobody who it is; `budget` where the limit is not the settings'."""
        digest = blake2b(whose.encode(), digest_size=_DIGEST_BYTES, key=self.secret, person=policy.encode())
        per_minute = self._per_minute[policy] if budget is None else budget
        return Asked(f"{policy}:{digest.hexdigest()}", per_minute, burst_of(policy, per_minute), cost)

    async def aclose(self) -> None:
        """Close the connection to Redis."""
        await self.rates.aclose()

    def count_refusal(self, policy: Policy) -> None:
        """Count an answer 429."""
        self._refused.labels(policy).inc()


@dataclass(slots=True)
class Account:
    """What one request has been taken for so far."""

    limits: Limits
    address: str  #: as it counts
    verdicts: dict[Policy, Verdict] = field(default_factory=dict)

    async def take_of_address(self, guarded: bool) -> Policy | None:
        """Take the request from its address; the policy that refuses it. Of refusals it only looks whether one more is allowed."""
        asked = {"address": self.limits.asked("address", self.address)}
        if guarded:
            asked["refusals"] = self.limits.asked("refusals", self.address, cost=0)
        verdicts = await self.limits.rates.take_each(*asked.values())
        self.verdicts["address"] = verdicts[0]
        if not verdicts[0].allowed:
            return "address"
        if guarded and not verdicts[1].allowed:
            self.verdicts["refusals"] = verdicts[1]
            return "refusals"
        return None

    async def take_refusal(self) -> None:
        """Take a request that was answered 401."""
        self.verdicts["refusals"] = await self.limits.rates.take(self.limits.asked("refusals", self.address))

    async def take_of_key(self, key_id: str, tenant: str, budget: int | None) -> Policy | None:
        """Take the request from its credential, and from its tenant where that has a budget; the policy that refuses it."""
        asked: dict[Policy, Asked] = {"key": self.limits.asked("key", key_id)}
        if budget is not None:
            asked["tenant"] = self.limits.asked("tenant", tenant, budget=budget)
        verdicts = await self.limits.rates.take_each(*asked.values())
        self.verdicts.update(zip(asked, verdicts, strict=True))
        return next((policy for policy in asked if not self.verdicts[policy].allowed), None)

    def refusal(self, policy: Policy) -> tuple[str, dict[str, str]]:
        """What a refused request is told, and the header that says when to come again."""
        self.limits.count_refusal(policy)
        verdict = self.verdicts[policy]
        seconds = verdict.retry_after_seconds
        told = f"{_REFUSED[policy]}: {verdict.limit} a minute are allowed; try again in {seconds} seconds"
        return told, {"Retry-After": str(seconds)}

    def headers(self) -> dict[str, str]:
        """The fields that tell how much is left."""
        policies, states = [], []
        for policy, verdict in self.verdicts.items():
            policies.append(f'"{policy}";q={verdict.limit};w=60')
            states.append(f'"{policy}";r={verdict.remaining};t={verdict.reset_seconds}')
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


class RateLimiting:
    """ASGI: takes every request from its address before anything else is done with it, and tells what is left in its answer."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"].startswith(UNLIMITED):
            await self.app(scope, receive, send)
            return
        account = Account(self.limits, bucket_of(client_address(scope, self.limits.networks)))

        async def send_account(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 401:
                    await account.take_refusal()
                MutableHeaders(scope=message).update(account.headers())
            await send(message)

        refused_by = await account.take_of_address(scope["path"].startswith(GUARDED))
        if refused_by is None:
            scope[_ACCOUNT] = account
            await self.app(scope, receive, send_account)
            return
        told, headers = account.refusal(refused_by)
        response = problem(429, told)
        response.headers.update(headers)
        await response(scope, receive, send_account)


async def take_of_key(request: Request, key_id: str, tenant: str = "", budget: int | None = None) -> None:
    """Take a request from the credential it came with, as soon as that is known to be usable, and from its tenant's budget.

    Raises HTTPException 429 when there were too many. Does nothing for requests that came past RateLimiting.
    """
    account = request.scope.get(_ACCOUNT)
    if isinstance(account, Account):
        refused_by = await account.take_of_key(key_id, tenant, budget)
        if refused_by is not None:
            told, headers = account.refusal(refused_by)
            raise HTTPException(429, told, headers)


def burst_of(policy: Policy, per_minute: int) -> int:
    """How many requests may come at once: a twentieth of a minute's, at least 20; of refusals a whole minute's."""
    if policy == "refusals":
        return per_minute
    return max(min(per_minute, _LEAST_BURST), per_minute // _BURST_SHARE)
