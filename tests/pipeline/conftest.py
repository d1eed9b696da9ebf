"""Clusters for the tests of the pipeline, for each file that asks for them, and what the toy computes undisturbed."""

from collections.abc import Iterator

import pytest
from distributed import Client

from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store.arrays import array_hashes
from tests.helpers.runs import run_stage
from tests.helpers.toy import Silence, toy


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
    assert run_stage(toy(path), threads, tasks_in_flight=4, retries=2, listener=Silence()).complete
    return array_hashes(str(path))
