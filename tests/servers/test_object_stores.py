"""A small experiment, with several worker processes, on object stores of several makers: the same bytes as on disk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import StoreInUseError
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import lease
from ldas.pipeline.store.arrays import array_hashes
from ldas.pipeline.store.location import Location
from tests.helpers.synthetic_store import experiment, make_store
from tests.helpers.toy import Silence
from tests.servers.object_stores import MAKERS, ObjectStore

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=list(MAKERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Each server, with its credentials in the environment of this process and of the workers that it starts."""
    with MAKERS[request.param](tmp_path_factory.mktemp("server")) as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        store.files().mkdir(store.container)
        store.maker = request.param
        yield store


def small(location: Location) -> ExperimentConfig:
    """Open loop and an analysis of LAI; two blocks, two periods, two worker processes."""
    return experiment(
        Path(location.url),
        store={"url": location.url, "options": location.options},
        period={"start": "2007-04-01", "end": "2007-04-10"},
        output={"mean": ["LE"], "instant": ["LAI", "WG2"]},
        assimilation=[{"name": "ekf", "observations": [{"name": "lai"}]}],
        execution={
            "cells_per_block": 2,
            "days_per_period": 5,
            "cluster": {"workers": 2, "processes": True},
        },
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic store before any run."""
    path = tmp_path_factory.mktemp("data") / "store"
    make_store(path, cells=4, days=10)
    return path


@pytest.fixture(scope="module")
def truth(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of all arrays after the run on disk."""
    path = tmp_path_factory.mktemp("truth") / "store"
    make_store(path, cells=4, days=10)
    assert run_experiment(small(Location(str(path))), Silence()).complete
    return array_hashes(str(path))


# LocalBucket answers 501 to a request that deletes several objects, which the run needs where it makes a group again.
WITHOUT_BULK_DELETE = "localbucket"


def test_a_second_writer_is_refused(server: ObjectStore, data: Path) -> None:
    server.files().put(str(data), f"{server.container}/leased", recursive=True)
    location = Location(f"{server.protocol}://{server.container}/leased", server.options)
    with lease.held(location, "the first run"):
        first = lease.holder(location)
        assert first is not None
        assert first.writer == "the first run"
        with ThreadPoolExecutor(1) as other, pytest.raises(StoreInUseError, match="the first run on"):
            other.submit(take, location).result()
    assert lease.holder(location) is None
    take(location)


def take(location: Location) -> None:
    """A writer that finds the store free, or says who holds it."""
    with lease.held(location, "the second run"):
        pass


def test_bit_identical(server: ObjectStore, data: Path, truth: dict[str, str]) -> None:
    if server.maker == WITHOUT_BULK_DELETE:
        pytest.skip("LocalBucket 1.2.1 does not delete several objects with one request")
    server.files().put(str(data), f"{server.container}/store", recursive=True)
    location = Location(server.url, server.options)
    assert run_experiment(small(location), Silence()).complete
    assert array_hashes(location) == truth
