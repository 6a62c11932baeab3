"""What goes wrong, one function for each fault of the list (references F1 to F28); the registry knows them all by name."""

from tests.faults.scenarios import database, events, history, hosts, long, replies, versions, workers
from tests.faults.scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for module in (workers, replies, database, history, events, hosts, versions, long)
    for each in vars(module).values()
    if isinstance(each, Scenario)
}
#: Faults of the list that nobody provokes yet, and why. A full run fails for them.
NOT_BUILT: dict[str, str] = {
    "F27": "one tenant floods 50 times over",
}
