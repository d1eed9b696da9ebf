"""Object stores by their protocol: the same bytes as on disk, with failing requests too; clear errors."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import s3fs
import xarray as xr
from distributed import Client
from zarr.core.sync import sync

from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import ExecutionError, StoreError
from ldas.pipeline.execution.stage import prepare, run_task
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_run, open_store
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import exists, open_root
from ldas.pipeline.store.template import ArraySpec, create_template
from tests.helpers.runs import run_stage
from tests.helpers.s3_server import S3Server
from tests.helpers.synthetic_store import experiment, make_store
from tests.helpers.toy import Silence, ToyStage


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """The server, with credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "of-nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = S3Server()
        yield server
        server.stop()


def bucket(server: S3Server, name: str) -> Location:
    """A place in a new bucket."""
    s3fs.S3FileSystem(**server.location_options, skip_instance_cache=True).mkdir(name)
    return Location(f"s3://{name}/store", dict(server.location_options))


def toy(location: Location, **settings: int) -> ToyStage:
    """Four tasks: two blocks of two periods."""
    return ToyStage("toy", location, **{"cells": 6, "cells_per_block": 3, "days": 14, **settings})  # type: ignore[arg-type]


def run(stage: ToyStage, client: Client) -> None:
    """The stage, complete."""
    prepare(stage)
    assert run_stage(stage, client, tasks_in_flight=4, retries=2, listener=Silence()).complete


@pytest.fixture(scope="module")
def truth(threads: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of every array of the toy's run on disk."""
    path = tmp_path_factory.mktemp("truth") / "store"
    run(toy(Location(str(path))), threads)
    return array_hashes(str(path))


def test_bit_identical_on_s3(server: S3Server, tmp_path: Path) -> None:
    """The open loop of the real model, with everything that `ldas run` does around it."""
    path = tmp_path / "store"
    make_store(path, cells=2, days=10)
    location = bucket(server, "whole")
    s3fs.S3FileSystem(**location.options).put(str(path), "whole/store", recursive=True)
    for store in (Location(str(path)), location):
        config = experiment(
            path,
            store={"url": store.url, "options": store.options},
            period={"start": "2007-04-01", "end": "2007-04-10"},
            output={"mean": ["LE"], "instant": ["LAI"]},
            execution={"cells_per_block": 1, "cluster": {"workers": 2}},
        )
        assert run_experiment(config, Silence()).complete
    assert array_hashes(location) == array_hashes(str(path))


def test_bit_identical_on_an_s3_that_fails_and_is_slow(
    truth: dict[str, str], threads: Client, server: S3Server
) -> None:
    """A tenth of the requests get 500 or 503, another tenth waits."""
    location = bucket(server, "failing")
    location.options["config_kwargs"] = {"retries": {"total_max_attempts": 1}}  # botocore leaves it to the store
    before = server.faults.requests
    with server.set(failing_share=0.1, waiting_share=0.1) as faults:
        run(toy(location), threads)
        assert faults.failures > 0.05 * (faults.requests - before) > 5
    assert array_hashes(location) == truth


def test_an_s3_that_does_not_delete_several_objects_with_one_request(server: S3Server) -> None:
    """A group with arrays, and one object, go; what lies beside them stays."""
    root = open_root(bucket(server, "single"), "a")
    for path in ("old", "old/inner", "older"):
        root.create_group(path).create_array("values", shape=(4,), dtype="f4")[:] = 1.0
    root["older"].create_array("one", shape=(1,), dtype="f4")
    with server.set(single_deletes=True) as faults:
        before = faults.refusals
        del root["old"]
        sync(root.store.delete("older/one/zarr.json"))
        assert faults.refusals == before + 2  # asked once each, not again and again
    names = s3fs.S3FileSystem(**server.location_options, skip_instance_cache=True).find("single/store")
    assert sorted(name.removeprefix("single/store/") for name in names) == [
        "older/values/c/0",
        "older/values/zarr.json",
        "older/zarr.json",
        "zarr.json",
    ]


def test_requests_of_a_tree(server: S3Server) -> None:
    """One to open it; of a group, one for each description on the way to it and a few for its coordinates."""
    location = bucket(server, "tree")
    axes = {"time": (("time",), np.arange(3)), "cell": (("cell",), np.arange(4))}
    arrays = {name: ArraySpec(("time", "cell")) for name in ("LAI", "WG2", "LE", "H")}
    for path in ("forcing", "runs/open_loop", "runs/ekf", "restarts/ekf"):
        create_template(open_store(location, "a"), path, arrays, coordinates=axes, chunks={})

    def requests(action: Callable[[], object]) -> int:
        before = server.faults.requests
        action()
        return server.faults.requests - before

    opened: list[xr.DataTree] = []
    assert requests(lambda: opened.append(open_run(location))) == 1
    tree = opened[0]
    # What is in the root (3 groups), in `runs` (2) and in `runs/ekf` (6 arrays), a listing of each, and whether there
    # is a head.
    assert requests(lambda: tree["runs/ekf"]) == 3 + 3 + 2 + 6 + 1
    assert requests(lambda: tree["runs/ekf"].to_dataset()) == 2  # the values of its two axes
    assert requests(lambda: tree["runs/ekf"].children) == requests(lambda: tree["runs/ekf"].to_dataset()) == 0
    assert sorted(node.path for node in tree.leaves) == ["/forcing", "/runs/ekf", "/runs/open_loop"]


def test_a_read_only_s3_is_said_and_what_was_complete_stays(
    truth: dict[str, str], threads: Client, server: S3Server
) -> None:
    location = bucket(server, "read-only")
    prepare(toy(location))
    run_task(toy(location), ledger.Block(0, 0, 3), toy(location).periods()[0])
    before = array_hashes(location)
    with server.set(read_only=True) as faults:
        with pytest.raises(ExecutionError, match=r"s3://read-only/store cannot be written .*permission"):
            run(toy(location), threads)
        assert faults.refusals
        assert array_hashes(location) == before
    run(toy(location), threads)
    assert array_hashes(location) == truth


def test_a_read_only_s3_refuses_the_preparation_too(server: S3Server) -> None:
    location = bucket(server, "never")
    config = experiment(Path(), store={"url": location.url, "options": location.options})
    open_store(location, "a")
    with server.set(read_only=True), pytest.raises(ExecutionError, match="s3://never/store cannot be written"):
        run_experiment(config, Silence(), stages=lambda _: iter([toy(location)]))


def test_a_bucket_that_is_not_there_and_missing_credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="s3://nowhere/store"):
        open_store(Location("s3://nowhere/store", dict(server.location_options)))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    options = {**server.location_options, "skip_instance_cache": True}
    with pytest.raises(StoreError, match=r"s3://whole/store cannot be .*credentials"):
        open_store(Location("s3://whole/store", options), "a")


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("gs://bucket/store", "gcsfs", "gcs"),
        ("abfs://container/store", "adlfs", "azure"),
        ("abfss://container@account.dfs.core.windows.net/store", "adlfs", "azure"),
    ],
)
def test_a_store_whose_package_is_not_here(url: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    for function in (
        lambda: exists(Location(url)),
        lambda: run_experiment(experiment(Path(), store={"url": url}), Silence()),
    ):
        with pytest.raises(StoreError) as caught:
            function()
        assert f"{url} is reached through the package {package}, which is not here: pip install 'ldas[{extra}]'" in (
            str(caught.value)
        )


@pytest.mark.parametrize(
    "said",
    [
        "unable to connect to account for Must provide either a connection_string or ...",
        "DefaultAzureCredential failed to",
    ],
)
def test_azure_without_credentials_names_the_variables_to_set(said: str) -> None:
    problem = str(Location("abfs://box/store").cannot_be_opened(ValueError(said)))
    assert problem.startswith(
        "the store at abfs://box/store cannot be opened: no credentials for Azure were found; set "
    )
    assert "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY" in problem
    assert said not in problem
