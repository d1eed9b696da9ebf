"""The Python of the README and the pages runs as it stands: blocks of a page in order, in one namespace."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import s3fs
import xarray as xr
import yaml

import ldas
from ldas import landmodel
from ldas.assim.quality import Quality
from ldas.operators import NeuralOperator, NeuralOptions
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_store, read_region
from tests.helpers import small_store, synthetic_store
from tests.helpers.s3_server import S3Server
from tests.helpers.toy import Silence
from tests.operators.synthetic import region
from tests.pipeline.twin.support import nature_file
from tests.support import REPOSITORY

Names = dict[str, Any]
CELLS = 2
RUN_ELSEWHERE = {
    "docs/extending.md": "tests/test_extending.py",
}


def blocks(page: str) -> list[tuple[int, str]]:
    """The blocks of Python of a page, each with the lines before it."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = re.finditer(r"^```python\b.*\n((?:.*\n)*?)```$", text, flags=re.MULTILINE)
    return [(text[: block.start(1)].count("\n"), block[1]) for block in found]


FILES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
WITH_CODE = [name for path in FILES if blocks(name := path.relative_to(REPOSITORY).as_posix())]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment file, the store it names before its run, and the store with its open loop."""
    folder = tmp_path_factory.mktemp("experiment")
    content = {
        "name": "small",
        "store": {"url": "store.zarr"},
        "period": {"start": "2007-04-01", "end": "2007-04-04"},
        "output": {"mean": ["LE"], "instant": ["LAI"]},
        "report": False,
        "execution": {"cells_per_block": 1, "cluster": {"workers": 1}},
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    synthetic_store.make_store(folder / "store.zarr", cells=CELLS, days=4)
    shutil.copytree(folder / "store.zarr", folder / "before.zarr")
    assert run_experiment(load_experiment(folder / "experiment.yaml"), Silence()).complete
    return folder


@cache
def network() -> NeuralOperator:
    """Backscatter of the cells of these tests."""
    return NeuralOperator(NeuralOptions(epochs=10)).fit(*region(cells=CELLS))


def land() -> tuple[xr.Dataset, landmodel.Parameters]:
    """Synthetic land, and its columns."""
    made = small_store.synthetic_land(CELLS)
    names = ("patch_fraction", "clay", "sand", "latitude", "longitude")
    return made, landmodel.columns_from_fractions(*(made[name].values for name in names))


def forcing(first_day: str) -> landmodel.Forcing:
    """Two days of synthetic weather."""
    weather = small_store.synthetic_weather(CELLS, 2, np.datetime64(first_day, "s"))
    return landmodel.Forcing(*(weather[name].values for name in landmodel.Forcing._fields))


@contextmanager
def readme(experiment: Path) -> Iterator[Names]:
    shutil.copytree(experiment / "store.zarr", "my_region.zarr")
    yield {}
    plotted = plt.gca().lines[0].get_ydata()
    stored = read_region(open_store(experiment / "store.zarr"), "runs/open_loop", "LAI")
    np.testing.assert_allclose(plotted, stored.mean(axis=1), rtol=1e-6)


@contextmanager
def architecture(experiment: Path) -> Iterator[Names]:
    made, parameters = land()
    names: Names = {name: made[name].values for name in ("patch_fraction", "clay", "sand", "latitude", "longitude")}
    names |= {"options": landmodel.Options(), "forcing": forcing("2007-01-01")}
    yield names
    outputs = names["outputs"]
    for name, layers in {"LE": (), "GPP": (), "LAI": (), "WG": (14,), "TG": (14,)}.items():
        assert outputs[name].shape == (1, parameters.columns, *layers)
    grows = parameters.vegetated > 0.5
    np.testing.assert_array_equal(outputs["LAI"][0, grows], names["state"].leaf_area_index[grows])


@contextmanager
def assimilation(experiment: Path) -> Iterator[Names]:
    _, parameters = land()
    names: Names = {
        "neural_operator": network(),
        "cell_ids": network().cell_ids,
        "model": landmodel.Isba(parameters),
        "state": landmodel.cold_start(parameters, air_temperature=285.0),
        "forcing": forcing("2015-01-01"),
        "sigma40": np.array([-11.0, np.nan]),
        "lai": np.array([np.nan, 1.5]),
    }
    yield names
    result = names["result"]
    assert result.quality.tolist() == [[Quality.USED, Quality.MISSING], [Quality.MISSING, Quality.USED]]
    np.testing.assert_array_equal(np.diag(result.innovation), [-11.0, 1.5] - np.diag(result.predicted))
    added = names["state"].leaf_area_index - result.forecast.leaf_area_index
    np.testing.assert_allclose(added, result.increment[:, 0], atol=1e-12)
    assert added[parameters.cell == 1].min() > 0.01  # the LAI observed there is above that of the forecast


@contextmanager
def operators(experiment: Path) -> Iterator[Names]:
    predictors, target = region(cells=CELLS)
    names: Names = {"predictors": predictors, "target": target, "x": predictors[:, :5]}
    yield names
    operator, x, sigma40 = names["operator"], names["x"], names["sigma40"]
    assert operator.usable.all()
    step = np.array([0.0, 0.0, 1e-4])
    numeric = (operator.predict(x + step) - operator.predict(x - step)) / 2e-4
    assert operator.networks.validation_rmsd[:, -1].max() < 0.3  # dB; the noise of the targets is 0.2
    assert np.nanmax(np.abs(sigma40 - target[:, :5])) < 1.0
    np.testing.assert_allclose(names["slope"][..., 2], numeric, rtol=1e-4, atol=1e-6)


@contextmanager
def running(experiment: Path) -> Iterator[Names]:
    shutil.copy(experiment / "experiment.yaml", "experiment.yaml")
    shutil.copytree(experiment / "before.zarr", "store.zarr")
    names: Names = {}
    yield names
    assert names["result"].complete
    assert names["tree"]["runs/open_loop"]["LAI"].shape == (4, CELLS)
    assert array_hashes("store.zarr", "runs/open_loop") == array_hashes(experiment / "store.zarr", "runs/open_loop")


@contextmanager
def s3_of_the_environment() -> Iterator[None]:
    """A server on loopback that `s3://` without options leads to."""
    server = S3Server()
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "of-nobody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_ENDPOINT_URL", server.location_options["endpoint_url"])
            yield
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


@contextmanager
def store(experiment: Path) -> Iterator[Names]:
    shutil.copytree(experiment / "before.zarr", "store.zarr")
    shutil.rmtree("store.zarr/observations/lai")
    shutil.copytree(experiment / "store.zarr", "runs/puechabon.zarr")
    days = np.datetime64("2008-01-01", "s") + np.arange(366) * np.timedelta64(1, "D")
    observed = xr.Dataset({"value": (("time", "cell"), np.array([[1.5, 2.5]]))}, coords={"time": days[:1]})
    values = np.random.default_rng(1).uniform(0.5, 5.0, (366, 64)).astype(np.float32)
    names: Names = {"observed": observed, "days": days, "cells": np.arange(128), "values": values}
    with s3_of_the_environment():
        s3fs.S3FileSystem().mkdir("bucket")
        yield names
        stored = read_region(open_store("s3://bucket/experiment.zarr"), "runs/open_loop", "LAI")
    np.testing.assert_array_equal(stored[:, 64:], values)
    assert np.isnan(stored[:, :64]).all()
    read = open_dataset("store.zarr", "observations/lai")
    xr.testing.assert_equal(read["value"].load(), observed["value"])
    assert names["tree"]["runs/open_loop"]["LAI"].shape == (4, CELLS)


@contextmanager
def twin(experiment: Path) -> Iterator[Names]:
    """The page's experiment in small: four cells, twelve days."""
    path = Path("examples/southwest_france_twin.yaml")
    content = yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))
    content["period"] = {"start": "2007-04-01", "end": "2007-04-12"}
    content["twin"] |= {"subset": "demo", "nature": str(nature_file(Path.cwd(), spin_up_years=0))}
    content["execution"] = {"cluster": {"workers": 1}}
    for later in ("spin_up", "open_loop", "operators", "assimilation"):
        del content[later]
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    yield {}
    made = ldas.open_run("runs/southwest_france_twin.zarr")
    assert made["truth"].sizes["cell"] == 4
    assert made["forcing"].sizes["time"] == 12 * 24 + 1
    assert set(made["observations"].children) == {"sigma40", "swi", "lai"}


PAGES = {
    "README.md": readme,
    "docs/architecture.md": architecture,
    "docs/assimilation.md": assimilation,
    "docs/operators.md": operators,
    "docs/running.md": running,
    "docs/store.md": store,
    "docs/twin.md": twin,
}
"""What a page's blocks take for granted, and what holds after them."""


@pytest.mark.parametrize("page", [page for page in WITH_CODE if page not in RUN_ELSEWHERE])
def test_the_blocks_of_a_page_run(page: str, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plt.close("all")
    with PAGES[page](experiment) as names:
        for lines_before, block in blocks(page):
            exec(compile("\n" * lines_before + block, page, "exec"), names)
    plt.close("all")


def test_every_page_with_code_is_run() -> None:
    assert set(WITH_CODE) == {*PAGES, *RUN_ELSEWHERE}
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).name in (REPOSITORY / test).read_text(encoding="utf-8")
    for path in FILES:
        name = path.relative_to(REPOSITORY).as_posix()
        assert len(blocks(name)) == path.read_text(encoding="utf-8").count("```py"), f"{name}: begin with ```python"
