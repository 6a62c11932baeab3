"""`GET /metrics` of the server, in Prometheus' text format."""

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from streamgauge.database import Pool
from streamgauge.read.pipeline import Pipeline

router = APIRouter()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Every metric of this process and of the pipeline."""
    pipeline: Pipeline = request.app.state.pipeline
    await pipeline.look()
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


class PoolSize(Collector):
    """Connections to PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        connections = GaugeMetricFamily(
            "streamgauge_pool_connections", "Open connections to PostgreSQL.", labels=["state"]
        )
        idle = self.pool.get_idle_size()
        connections.add_metric(["idle"], idle)
        connections.add_metric(["busy"], self.pool.get_size() - idle)
        yield connections
        yield GaugeMetricFamily(
            "streamgauge_pool_connections_limit",
            "Most connections to PostgreSQL.",
            value=self.pool.get_max_size(),
        )


def process_registry() -> CollectorRegistry:
    """A registry that holds this process's own metrics."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
