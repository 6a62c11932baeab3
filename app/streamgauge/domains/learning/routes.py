"""`/api/v1/learning/…`."""

from fastapi import APIRouter

from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1/learning", tags=["learning"], responses=PROBLEMS)
