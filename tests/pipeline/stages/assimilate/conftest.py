"""Stores that the tests of the assimilation stage copy: made once in each process of the tests."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.settings.experiment import ExperimentConfig
from tests.helpers.synthetic_store import make_store
from tests.pipeline.stages.assimilate.support import CELLS, DAYS, TWO_BLOCKS, lai_run, run, small


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with land, forcing and observations, to be copied."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    return path


def copied_and_run(source: Path, path: Path, config: Callable[[Path], ExperimentConfig]) -> Path:
    """A copy of a store with an experiment run on it, on a cluster of two threads that ends with it."""
    shutil.copytree(source, path)
    with connected(ClusterConfig(workers=2)) as client:
        assert run(config(path), client).complete
    return path


@pytest.fixture(scope="session")
def base(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the open loop at 09 UTC, to be copied."""
    return copied_and_run(inputs, tmp_path_factory.mktemp("base") / "store", small)


@pytest.fixture(scope="session")
def halves(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in two blocks, to be copied."""
    return copied_and_run(inputs, tmp_path_factory.mktemp("halves") / "store", partial(small, execution=TWO_BLOCKS))


@pytest.fixture(scope="session")
def midnight(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the open loop at 00 UTC, to be copied."""
    at_midnight = partial(small, model={"analysis_hour_utc": 0})
    return copied_and_run(inputs, tmp_path_factory.mktemp("midnight") / "store", at_midnight)


@pytest.fixture(scope="session")
def good(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two runs that nothing happened to."""

    def two_runs(path: Path) -> ExperimentConfig:
        return small(path, lai_run(), lai_run("late", start="2007-04-15"))

    return copied_and_run(base, tmp_path_factory.mktemp("good") / "store", two_runs)


@pytest.fixture
def store(base: Path, tmp_path: Path) -> Path:
    """A store of this test with the open loop at 09 UTC."""
    shutil.copytree(base, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def divided(halves: Path, tmp_path: Path) -> Path:
    """The same in two blocks."""
    shutil.copytree(halves, tmp_path / "store")
    return tmp_path / "store"
