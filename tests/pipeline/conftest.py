"""Clusters for the tests of the pipeline: each file has one of threads and one of processes, where it asks for them."""

from collections.abc import Iterator

import pytest
from distributed import Client

from pipeline.cluster import connected
from pipeline.config import ClusterConfig


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """A cluster of two threads."""
    with connected(ClusterConfig(workers=2)) as client:
        yield client


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """A cluster of two processes."""
    with connected(ClusterConfig(workers=2, processes=True)) as client:
        yield client
