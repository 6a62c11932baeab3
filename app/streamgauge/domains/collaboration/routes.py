"""`/api/v1/collaboration/…`."""

from fastapi import APIRouter

from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1/collaboration", tags=["collaboration"], responses=PROBLEMS)
