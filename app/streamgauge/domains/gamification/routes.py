"""`/api/v1/gamification/…`."""

from fastapi import APIRouter

from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1/gamification", tags=["gamification"], responses=PROBLEMS)
