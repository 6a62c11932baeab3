"""`/api/v1/system/…`."""

from fastapi import APIRouter

from streamgauge.read.problem_document import PROBLEMS

router = APIRouter(prefix="/api/v1/system", tags=["system"], responses=PROBLEMS)
