"""A Redis Cluster for the contract's tests, started when first asked for."""

from collections.abc import Iterator

import pytest

from ..integration.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three primaries and a replica. Tests leave it whole, and who serves what may be anything."""
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.start()
        yield running
    finally:
        running.stop()
