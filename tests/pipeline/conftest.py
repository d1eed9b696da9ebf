"""Clusters for the tests of the pipeline, for each file that asks for them, and what the toy computes undisturbed."""

from collections.abc import Iterator

import pytest
from distributed import Client

from pipeline.cluster import connected
from pipeline.config import ClusterConfig
from pipeline.stages.base import prepare
from pipeline.store import array_hashes
from tests.pipeline.runs import run_stage
from tests.pipeline.toy import Silence, toy


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


@pytest.fixture(scope="module")
def toy_truth(threads: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of every array of the toy's uninterrupted run on disk, ledger and restarts too."""
    path = tmp_path_factory.mktemp("truth") / "store"
    prepare(toy(path))
    assert run_stage(toy(path), threads, window=4, retries=2, listener=Silence()).complete
    return array_hashes(str(path))
