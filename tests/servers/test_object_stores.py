"""A small experiment, with several worker processes, on object stores of several makers: the same bytes as on disk."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import StoreError, StoreInUseError
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import lease
from ldas.pipeline.store.arrays import array_hashes
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import open_root
from tests.helpers.synthetic_store import experiment, make_store
from tests.helpers.toy import Silence
from tests.servers.object_stores import MAKERS, ObjectStore

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=list(MAKERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Each server, with its credentials in the environment of this process and of the workers that it starts."""
    with MAKERS[request.param](tmp_path_factory.mktemp("server")) as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        store.files().mkdir(store.container)
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
    server.files().put(str(data), f"{server.container}/store", recursive=True)
    location = Location(server.url, server.options)
    assert run_experiment(small(location), Silence()).complete
    assert array_hashes(location) == truth


@pytest.mark.parametrize("options", [{}, {"account_name": "nobody"}])
def test_azure_without_credentials(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One message within seconds, and nothing of what Azure's libraries say; only the environment is asked here."""
    pytest.importorskip("adlfs")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    begin = time.monotonic()
    with pytest.raises(StoreError, match="no credentials for Azure were found; set AZURE_STORAGE_CONNECTION_STRING"):
        open_root(Location("abfs://box/store", {**options, "skip_instance_cache": True}), "r")
    assert time.monotonic() - begin < 30
    assert capfd.readouterr() == ("", "")
