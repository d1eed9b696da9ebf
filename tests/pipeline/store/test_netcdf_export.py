"""Every group that `open_run` returns can be written with xarray's `to_netcdf`, and comes back with the same values."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.store.arrays import open_run
from ldas.pipeline.store.portable import portable, restored

FIXTURE = Path(__file__).parent / "data" / "stores_d0208ce.tar.xz"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores of version 0.1.0: own, twin and swi."""
    folder = tmp_path_factory.mktemp("stores")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module", params=["own", "twin", "swi"])
def groups(request: pytest.FixtureRequest, stores: Path) -> tuple[str, list[tuple[str, xr.Dataset]]]:
    """A store's name and its groups with arrays, restarts and ledgers too; of those that are alike, the first."""
    found: dict[str, tuple[str, xr.Dataset]] = {}
    for node in open_run(stores / request.param / "store.zarr", everything=True).leaves:
        found.setdefault(kind_of(node.to_dataset()), (node.path, node.to_dataset()))
    return request.param, [(path, dataset.load()) for path, dataset in found.values()]


def kind_of(dataset: xr.Dataset) -> str:
    """What a writer sees of a dataset beside its values: names, dimensions, types and attributes with their types."""

    def types(attributes: dict[Any, Any]) -> list[tuple[str, str, str]]:
        return [(str(key), type(value).__name__, str(np.asarray(value).dtype)) for key, value in attributes.items()]

    variables = [(str(k), v.dims, v.shape, str(v.dtype), types(v.attrs)) for k, v in dataset.variables.items()]
    return repr((variables, types(dataset.attrs)))


def same(given: Any, found: Any) -> bool:
    """Whether an attribute came back; NetCDF knows no list of one."""
    given, found = np.atleast_1d(given), np.atleast_1d(found)
    return given.dtype.kind == found.dtype.kind and np.array_equal(given, found)


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_every_group_goes_to_netcdf_and_back(
    groups: tuple[str, list[tuple[str, xr.Dataset]]], tmp_path: Path, engine: Any
) -> None:
    name, datasets = groups
    if engine == "h5netcdf":  # one of each kind of group: it is slow
        datasets = list({path.split("/")[1]: (path, dataset) for path, dataset in datasets}.values())
    seen = set()
    for number, (path, dataset) in enumerate(datasets):
        file = tmp_path / f"{number}.nc"
        dataset.to_netcdf(file, engine=engine)
        with xr.open_dataset(file, engine=engine, decode_coords="all", decode_timedelta=False) as opened:
            back = opened.load()
        xr.testing.assert_equal(back, dataset)
        assert set(back.attrs) == set(dataset.attrs), path
        for attribute, value in dataset.attrs.items():
            assert same(value, back.attrs[attribute]), (path, attribute)
        for variable in dataset.variables:
            given, found = dataset[variable].attrs, back[variable].attrs
            assert all(same(value, found[key]) for key, value in given.items()), (path, variable)
            if "flag_values" in found:
                assert np.asarray(found["flag_values"]).dtype == back[variable].dtype
        seen.add(path.split("/")[1])
    expected = {
        "own": {"land", "forcing", "observations", "operators", "runs", "restarts", "ledger", "scores", "spin_up"},
        "twin": {"truth", "runs", "insitu", "observations"},
        "swi": {"observations"},
    }
    assert expected[name] <= seen


def test_nested_attributes_are_json_text(stores: Path) -> None:
    run = open_run(stores / "own" / "store.zarr")["runs/ekf"]
    provenance = json.loads(run.attrs["provenance"])
    assert provenance["configuration"]["name"] == "own"
    assert list(run.attrs["observations"]) == ["sigma40", "swi", "lai"]


def test_every_kind_of_attribute(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {
        "text": "a",
        "number": 3,
        "real": 0.5,
        "truth": True,
        "nothing": None,
        "empty": [],
        "names": ["a", "b"],
        "numbers": [1, 2],
        "mixed": [1, "a"],
        "some": [1, None, 2.5],
        "switches": [True, False],
        "nested": {"a": [1, {"b": None}]},
    }
    codes = ("cell", np.array([0, 2], dtype="int8"), {"flag_values": [0, 2], "flag_meanings": "good bad"})
    limited = ("cell", np.array([-11.5, -9.0], dtype="float32"), {"units": "dB", "valid_range": [-35, 5]})
    dataset = portable(xr.Dataset({"quality": codes, "sigma40": limited}, attrs=attributes), "runs/x")
    for engine in ("netcdf4", "h5netcdf"):
        dataset.to_netcdf(tmp_path / "a.nc", engine=engine)
        with xr.open_dataset(tmp_path / "a.nc", engine=engine) as back:
            found = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in back.attrs.items()}
            as_text = ("truth", "nothing", "empty", "mixed", "some", "switches", "nested")
            assert {name: json.loads(found[name]) for name in as_text} == {name: attributes[name] for name in as_text}
            for name in ("text", "number", "real", "names", "numbers"):
                assert found[name] == attributes[name]
            assert back["quality"].attrs["flag_values"].dtype == np.int8
            assert back["sigma40"].attrs["valid_range"].dtype == np.float32
            assert back["sigma40"].attrs["units"] == "0.1 lg(re 1)"
            assert back["sigma40"].attrs["long_name"] == "sigma40 (dB)"


def test_what_was_written_back_is_understood() -> None:
    attributes = {"provenance": {"configuration": {"synthetic": True}}, "list": [1, "a"], "committed": {"time": 3}}
    written = portable(xr.Dataset(attrs={**attributes, "words": "[draft"}), "runs/x").attrs
    assert "committed" not in written  # no part of the content
    found = restored(written)
    assert found["provenance"] == attributes["provenance"]
    assert found["list"] == attributes["list"]
    assert found["words"] == "[draft"
