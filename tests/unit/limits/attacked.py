"""A server whose only route reads JSON, for those who send it anything but."""

from fastapi import FastAPI, Request

from streamgauge.limits.bodies import read_json
from streamgauge.read import problems

app = FastAPI()
problems.install(app)


@app.post("/")
async def take(request: Request) -> str:
    """What kind of thing was sent."""
    return type(await read_json(request)).__name__
