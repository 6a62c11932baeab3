"""`/api/v1/xapi/…`."""

from fastapi import APIRouter

from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1/xapi", tags=["xapi"], responses=PROBLEMS)
