"""`GET /catalogue`: what is recorded and what for, and what can be asked."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from streamgauge.read.api.asking import Asking, Sight, dumped
from streamgauge.read.date_range import MOST_DAYS, RELATIVE
from streamgauge.read.dimensions import TIME, TIME_GRAINS, dimensions_of
from streamgauge.read.metrics import METRICS
from streamgauge.read.query import MOST_DIMENSIONS, MOST_METRICS, MOST_RESULTS
from streamgauge.summaries.rollups import Catalogue, Condition

router = APIRouter(tags=["questions"])


@router.get("/catalogue")
async def catalogue(asking: Annotated[Asking, Depends()]) -> Response:
    """Declared event types with purposes; metrics with units; the dimensions each can be broken down by; limits."""

    async def report(sight: Sight) -> bytes:
        return dumped(described(sight.terms.catalogue, sight.terms.cardinality_limit))

    return await asking.respond(report)


def described(declared: Catalogue, cardinality_limit: int) -> Mapping[str, Any]:
    """The report."""
    rollups = {rollup.metric: dimensions_of(rollup) for rollup in declared.rollups}
    return {
        "events": [
            {
                "name": each.name,
                "purpose": each.purpose,
                "failed": _failed(each.failed),
                "properties": [
                    {
                        "name": name,
                        "type": known.type.__name__,
                        "unit": known.unit or None,
                        "purpose": known.purpose,
                    }
                    for name, known in each.properties.items()
                ],
            }
            for each in declared.event_types
        ],
        "metrics": [
            {
                "name": each.name,
                "unit": each.unit,
                "description": each.description,
                "dimensions": rollups[each.rollup],
            }
            for each in METRICS.values()
            if each.rollup in rollups
        ],
        "dimensions": sorted({name for names in rollups.values() for name in names} | {TIME, *TIME_GRAINS}),
        "date_ranges": list(RELATIVE),
        "limits": {
            "metrics": MOST_METRICS,
            "dimensions": MOST_DIMENSIONS,
            "results": MOST_RESULTS,
            "days": MOST_DAYS,
            "values_per_dimension_and_day": cardinality_limit,
        },
    }


def _failed(condition: Condition | None) -> Mapping[str, Any] | None:
    if condition is None:
        return None
    return {
        "property": condition.property,
        "at_least": condition.at_least,
        "one_of": list(condition.one_of) or None,
    }
