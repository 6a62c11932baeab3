"""What goes wrong, one function for each fault of the list (references F1 to F28); the registry knows them all by name."""

from tests.faults.scenarios import database, events, history, hosts, long, replies, tenants, versions, workers
from tests.faults.scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for module in (workers, replies, database, history, events, hosts, versions, tenants, long)
    for each in vars(module).values()
    if isinstance(each, Scenario)
}
