"""The example school with a window on its gauge. Served by `uvicorn benchmarks.school:app`."""

from typing import Any

from examples.school.app import create_app, measure

#: Below a path that is not measured by default: looking must not change what is looked at.
STATUS = "/health/gauge"

gauge = measure()
app = create_app(gauge)


@app.get(STATUS)
async def status() -> dict[str, Any]:
    """What the gauge says of itself."""
    return gauge.status()
