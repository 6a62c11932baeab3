"""`/api/v1/coach/…`."""

from fastapi import APIRouter

from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1/coach", tags=["coach"], responses=PROBLEMS)
