"""What takes hours, in a form of minutes."""

from tests.faults.arena import Arena, Row
from tests.faults.scenarios.scenario import scenario
from tests.faults.soak import open_soak


@scenario(
    "F28", "every fault at random over one installation; `./run faults soak` goes on for hours", may_lose=True
)
async def f28(arena: Arena) -> Row:
    async with open_soak(arena) as soak:
        result = await soak.run(arena.pick(60, 600), arena.pick(30, 120))
    return result.row
