"""The mix of events that ingest is measured with: 70 % web requests over 60 routes, 30 % others of which a third are keyed; 20,000
actors, 3 tenants. The same seed gives the same events.
"""

import random
from collections.abc import Iterator

from streamgauge.event import Event

ROUTES, ACTORS, TENANTS, OTHERS = 60, 20_000, 3, 20
STATUSES = [200] * 94 + [304, 304, 404, 404, 422, 500]


def tenant(number: int) -> str:
    """The name of a tenant of the mix."""
    return f"bench-{number}"


def events(count: int, now_us: int, spread: int, seed: int = 1) -> Iterator[Event]:
    """`count` events of the last `spread` seconds before `now_us`."""
    chance = random.Random(seed)
    actors = [b"\x01" + chance.randbytes(16) for _ in range(ACTORS)]
    for _ in range(count):
        actor = chance.choice(actors)
        at = now_us - chance.randrange(spread * 1_000_000)
        owner = tenant(actor[1] % TENANTS)
        if chance.random() < 0.7:
            yield _request(chance, at, owner, actor)
        else:
            key = chance.randbytes(16) if chance.random() < 1 / 3 else None
            properties = {"score": chance.randrange(100)}
            yield Event(
                f"item{chance.randrange(OTHERS)}.done", at, owner, actor, properties=properties, key=key
            )


def _request(chance: random.Random, at: int, owner: str, actor: bytes) -> Event:
    route = chance.randrange(ROUTES)
    return Event(
        "http.request", at, owner, actor,
        properties={
            "http.route": f"/api/v1/things{route}/{{id}}",
            "http.request.method": "POST" if route % 4 == 0 else "GET",
            "http.response.status_code": chance.choice(STATUSES),
            "duration": int(chance.lognormvariate(10, 1)),
            "http.response.body.size": chance.randrange(100_000),
        },
    )  # fmt: skip
