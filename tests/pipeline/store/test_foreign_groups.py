"""Groups that a user puts into a store with xarray: read as their CF attributes say, or refused by name.

A run on them gives the same bytes as on the same numbers written by ldas; `ldas check` and `ldas run` say the same.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import StoreError
from ldas.pipeline.evaluation.balance import _precipitation
from ldas.pipeline.evaluation.reading import Reader
from ldas.pipeline.evaluation.stations import find_stations
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.land import read_forcing, read_land
from ldas.pipeline.stages.observations import read_observations
from ldas.pipeline.store import cf
from ldas.pipeline.store.arrays import array_hashes, open_run, open_store, read_region, read_times
from ldas.pipeline.store.groups import append_group
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.template import extend_template
from tests.helpers.synthetic_store import experiment, land, made_up_observations, make_store, weather
from tests.helpers.toy import Silence

CELLS, DAYS = 3, 4
FIRST, LAST = "2007-04-01", "2007-04-04"


def foreign(path: Path, group: str, dataset: xr.Dataset, **options: Any) -> None:
    """A group as a user's own line writes it, in place of one that is there."""
    root = open_store(str(path), "a")
    if group in root:
        del root[group]
    dataset.to_zarr(path, group=group, mode="a", **{"zarr_format": 3, "consolidated": False, **options})


def observed(name: str) -> xr.Dataset:
    """The made-up observations of a type."""
    times, arrays = made_up_observations(CELLS, DAYS)[name]
    return xr.Dataset({key: (("time", "cell"), values) for key, values in arrays.items()}, {"time": times})


def settings(path: Path) -> ExperimentConfig:
    """An open loop and an assimilation of two types over three windows."""
    types = [{"name": "lai"}, {"name": "swi", "rescale": "none"}]
    return experiment(
        path,
        period={"start": FIRST, "end": LAST},
        output={"mean": ["LE"], "instant": ["WG2", "TG2", "LAI"]},
        assimilation=[{"name": "ekf", "observations": types}],
    )


def run_hashes(path: Path) -> dict[str, str]:
    """Hashes of what a run leaves."""
    assert run_experiment(settings(path), Silence()).complete
    return array_hashes(str(path), "runs")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store written by ldas, run."""
    path = tmp_path_factory.mktemp("plain") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    assert run_hashes(path)
    quality = open_run(path)["runs/ekf"]["quality_swi"].values
    assert (quality == 0).sum() >= 6
    return path


CONSOLIDATED = "ignore:Consolidated metadata is currently not part"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store written by ldas, not run."""
    make_store(tmp_path / "store", cells=CELLS, days=DAYS)
    return tmp_path / "store"


HOURS = {"units": "hours since 1900-01-01", "dtype": "int32"}


@pytest.mark.filterwarnings(CONSOLIDATED)
def test_a_run_on_foreign_groups_gives_the_same_bytes(plain: Path, store: Path) -> None:
    turned = weather(CELLS, DAYS).transpose("cell", "time").drop_vars("cell")
    turned["Tair"] = turned["Tair"].astype(">f4")
    encoding: dict[str, Any] = {name: {"chunks": (1, 10), "_FillValue": -9999.0} for name in turned.data_vars}
    foreign(store, "forcing", turned, encoding={**encoding, "time": HOURS})
    ground = land(CELLS)
    percent = (100.0 * ground["clay"]).assign_attrs(units="%")
    foreign(store, "land", ground.assign(clay=percent).transpose("patch", "cell"), consolidated=None)
    lai = observed("lai").assign(quality=lambda data: data["quality"].astype("float64")).transpose("cell", "time")
    lai["value"] = lai["value"].astype("float64").assign_attrs(units="m2/m2")
    foreign(store, "observations/lai", lai)  # xarray chooses days since the first time
    swi = observed("swi").assign(quality=lambda data: data["quality"].astype("float64"))
    of_swi = {
        "time": {"units": "days since 1950-01-01", "dtype": "float64"},
        "value": {"missing_value": -1.0, "_FillValue": None},
        "quality": {"dtype": "int16", "scale_factor": 1.0, "_FillValue": -1},
    }
    foreign(store, "observations/swi", swi, encoding=of_swi)
    clay = read_land(open_store(str(store)), "clay")
    np.testing.assert_allclose(clay, land(CELLS)["clay"], rtol=1e-15)
    foreign(store, "land", ground.transpose("patch", "cell"), consolidated=None)  # now without rounding
    states = {row.what: (row.state, row.detail) for row in check_experiment(settings(store))}
    for name in ("lai", "swi"):
        usable = int((observed(name)["quality"] == 0).sum())
        total = observed(name)["value"].size
        assert states[f"observations/{name}"] == ("ok", f"{usable} of {total} values usable")
    assert states["forcing values"][0] == "ok"
    assert run_hashes(store) == array_hashes(str(plain), "runs")


@pytest.mark.parametrize(
    "time",
    [
        {"units": "days since 2007-01-01", "dtype": "float64"},
        {"units": "hours since 1900-01-01", "dtype": "float64"},
        {"units": "minutes since 2007-04-01 09:00", "dtype": "int64"},
        {"units": "seconds since 1970-01-01", "dtype": "float64"},
        {"units": "seconds since 2000-01-01T12:00:00", "dtype": "int32", "calendar": "standard"},
        {"units": "milliseconds since 1970-01-01", "dtype": "int64", "calendar": "gregorian"},
    ],
)
def test_times_in_any_unit_are_the_instants_that_they_mean(store: Path, time: dict[str, str]) -> None:
    # xarray 2026.9 writes NaT where it turns datetime64[s] into milliseconds
    sigma40 = observed("sigma40").assign_coords(time=lambda data: data["time"].astype("datetime64[ns]"))
    foreign(store, "observations/sigma40", sigma40, encoding={"time": time})
    times, arrays = read_observations(open_store(str(store)), "sigma40", Block(0, 0, CELLS))
    expected, given = made_up_observations(CELLS, DAYS)["sigma40"]
    assert np.array_equal(times, expected.astype("datetime64[s]"))
    assert np.array_equal(arrays["value"], given["value"], equal_nan=True)


def test_packed_values_are_unpacked_to_their_precision(store: Path) -> None:
    scale = 0.002
    packed = {"dtype": "int16", "scale_factor": scale, "add_offset": 280.0, "_FillValue": -32768}
    unsigned = {"dtype": "uint16", "scale_factor": 0.05, "_FillValue": 65535}
    encoding = {"Tair": packed, "SWdown": unsigned, "time": HOURS}
    forcing = weather(CELLS, DAYS)
    forcing["SWdown"][5, 1] = np.nan
    foreign(store, "forcing", forcing, encoding=encoding)
    root = open_store(str(store))
    everything = slice(None), slice(None)
    assert np.array_equal(read_forcing(root, "Wind", *everything), forcing["Wind"])
    np.testing.assert_allclose(read_forcing(root, "Tair", *everything), forcing["Tair"], atol=0.51 * scale)
    np.testing.assert_allclose(read_forcing(root, "SWdown", *everything), forcing["SWdown"], atol=0.026)
    assert np.isnan(read_forcing(root, "SWdown", *everything)).sum() == 1
    assert "SWdown: gap" in " ".join(row.what for row in check_experiment(settings(store)) if row.state == "wrong")


def test_uncertainty_and_values_in_percent(store: Path) -> None:
    swi = observed("swi")
    percent = xr.Dataset({"value": 100.0 * swi["value"], "uncertainty": 5.0 + 0.0 * swi["value"]})
    percent["value"].attrs["units"] = "%"
    foreign(store, "observations/swi", percent)
    _, arrays = read_observations(open_store(str(store)), "swi", Block(0, 0, CELLS))
    np.testing.assert_allclose(arrays["value"], swi["value"], rtol=1e-6)
    assert np.nanmax(np.abs(arrays["uncertainty"] - 0.05)) < 1e-9


def no_leap(data: xr.Dataset) -> xr.Dataset:
    return data.convert_calendar("noleap", use_cftime=True)


def as_it_is(data: xr.Dataset) -> xr.Dataset:
    return data


@pytest.mark.parametrize(
    ("change", "attributes", "words"),
    [
        (no_leap, {}, "'observations/lai/time' has the attribute calendar 'noleap'"),
        (
            as_it_is,
            {"time": {"units": "months since 2007-01-01"}},
            "'observations/lai/time' has the attribute units 'months since 2007-01-01'",
        ),
        (
            as_it_is,
            {"value": {"scale_factor": "0.1"}},
            "'observations/lai/value' has the attribute scale_factor '0.1'",
        ),
        (
            as_it_is,
            {"value": {"_FillValue": "none"}},
            "'observations/lai/value' has the attribute _FillValue 'none'",
        ),
        (as_it_is, {"value": {"units": "K"}}, "'observations/lai/value' has the unit 'K', expected 'm2 m-2'"),
        (
            lambda data: data.rename(cell="station"),
            {},
            "'observations/lai/value' has the dimensions (time, station), expected (time, cell)",
        ),
        (
            lambda data: data.isel(cell=slice(0, 2)),
            {},
            "'observations/lai/value' has 2 cells, 'land' has 3",
        ),
        (
            lambda data: data.assign(latitude=("cell", [43.0, 44.0, 43.5])),
            {},
            "'observations/lai': latitude of cell 1 is 44, in 'land' it is 43.25",
        ),
        (
            lambda data: data.assign(quality=data["quality"] + 0.5),
            {},
            "'observations/lai/quality' holds 0.5: expected whole codes",
        ),
        (lambda data: data.drop_vars("time"), {}, "no variable 'time' in group 'observations/lai'"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(
    store: Path, change: Any, attributes: dict[str, dict[str, str]], words: str
) -> None:
    foreign(store, "observations/lai", change(observed("lai")))
    for name, given in attributes.items():
        open_store(str(store), "a")[f"observations/lai/{name}"].attrs.update(given)
    (row,) = [row for row in check_experiment(settings(store)) if row.what == "observations/lai"]
    assert row.state == "wrong"
    assert words in row.detail
    with pytest.raises(StoreError) as refused:
        read_observations(open_store(str(store)), "lai", Block(0, 0, CELLS))
    assert words in str(refused.value)


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_text_is_never_read(store: Path) -> None:
    lai = observed("lai")
    foreign(store, "observations/lai", lai.assign(value=lai["value"].astype(str)))
    with pytest.raises(StoreError, match="only numbers are read"):
        read_observations(open_store(str(store)), "lai", Block(0, 0, CELLS))


def test_stations_and_the_water_balance_of_foreign_groups(store: Path) -> None:
    """What the evaluation reads: hourly soil moisture of stations, packed; precipitation over whole days."""
    hours = np.datetime64("2007-04-01", "ns") + np.arange(48) * np.timedelta64(1, "h")
    moisture = 0.2 + 0.001 * np.arange(96).reshape(48, 2)
    moisture[3, 0] = np.nan
    network = xr.Dataset(
        {
            "soil_moisture": (("time", "station"), moisture, {"units": "m3/m3"}),
            "latitude": ("station", [43.0, 43.5]),
            "longitude": ("station", [0.5, 0.5]),
        },
        {"time": hours},
    )
    packed = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -1}
    foreign(store, "insitu/own", network, encoding={"soil_moisture": packed, "time": HOURS})
    root = open_store(str(store))
    assert [station.cell for station in find_stations(root)] == [0, 2]
    days = np.array(["2007-04-01", "2007-04-02"], dtype="datetime64[D]")
    found = Reader(root).daily("insitu/own", "soil_moisture", days, slice(0, 2), "station")
    expected = np.stack([np.nanmean(moisture[:24], axis=0), np.nanmean(moisture[24:], axis=0)])
    np.testing.assert_allclose(found, expected, atol=6e-5)
    cells, present = slice(0, CELLS), np.ones((2, CELLS), dtype=bool)
    plain = _precipitation(root, days, cells, present)
    assert plain.max() > 0.0
    foreign(store, "forcing", weather(CELLS, DAYS).transpose("cell", "time"), encoding={"time": HOURS})
    np.testing.assert_array_equal(_precipitation(root, days, cells, present), plain)


def test_times_that_single_precision_cannot_hold_are_refused() -> None:
    hours = (40000.0 + np.arange(4) / 24.0).astype("float32")
    with pytest.raises(StoreError, match=r"'g/time' holds times as float32 .* 338 s apart"):
        cf.decode(hours, {"units": "days since 1900-01-01"}, "'g/time'")
    exact = cf.decode(hours.astype("float64"), {"units": "days since 1900-01-01"}, "'g/time'")
    assert np.array_equal(np.diff(exact) // np.timedelta64(60, "s"), [61, 56, 61])  # what single precision made of 1 h
    whole = cf.decode(np.array([39172.0], "float32"), {"units": "days since 1900-01-01"}, "'g/time'")
    assert whole[0] == np.datetime64("2007-04-02")


@pytest.mark.parametrize(
    ("values", "attributes", "expected"),
    [
        (np.array([-1, 5], "i1"), {"_Unsigned": "true", "_FillValue": -1, "scale_factor": 0.5}, [np.nan, 2.5]),
        (np.array([-9999.9, 5.0], "f4"), {"missing_value": -9999.9}, [np.nan, 5.0]),
        (np.array([-9.0, -8.0, 5.0], ">f4"), {"missing_value": -9.0, "_FillValue": -8.0}, [np.nan, np.nan, 5.0]),
        (np.array([1, 2, 3], "i2"), {"missing_value": [1, 2]}, [np.nan, np.nan, 3.0]),
        (np.array([1, 2], "i2"), {"_FillValue": 70000, "missing_value": 0.5}, [1, 2]),
        (np.array([1.0, 2.0]), {"_FillValue": "AAAAAAAA+H8="}, [1.0, 2.0]),
        (np.array([1.0, np.nan]), {"_FillValue": "NaN", "add_offset": 1}, [2.0, np.nan]),
    ],
)
def test_packing_and_markers(values: np.ndarray, attributes: dict[str, Any], expected: list[float]) -> None:
    found = cf.decode(values, attributes, "'g/x'")
    assert found.dtype.isnative
    assert np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")


def test_a_group_of_another_format_is_named(store: Path) -> None:
    del open_store(str(store), "a")["observations/lai"]
    observed("lai").to_zarr(store, group="observations/lai", mode="w", zarr_format=2, consolidated=False)
    (row,) = [row for row in check_experiment(settings(store)) if row.what == "observations/lai"]
    assert row.state == "missing"
    assert "written in Zarr format 2" in row.detail
    with pytest.raises(StoreError, match="Zarr format 2"):
        read_observations(open_store(str(store)), "lai", Block(0, 0, CELLS))


@pytest.mark.filterwarnings(CONSOLIDATED)
def test_a_group_that_a_user_appends_to_grows(store: Path) -> None:
    lai = observed("lai")
    foreign(store, "observations/lai", lai, consolidated=None)
    zarr.consolidate_metadata(str(store), path="observations/lai", zarr_format=3)
    later = lai.assign_coords(time=lai["time"] + np.timedelta64(2, "D"))
    later.to_zarr(store, group="observations/lai", append_dim="time", zarr_format=3, consolidated=False)
    root = open_store(str(store))
    times, arrays = read_observations(root, "lai", Block(0, 0, CELLS))
    assert len(times) == 2 * lai.sizes["time"]
    assert np.array_equal(arrays["value"], np.concatenate([lai["value"], lai["value"]]), equal_nan=True)
    with pytest.raises(StoreError, match="written by another program"):
        append_group(open_store(str(store), "a"), "observations/lai", later)


@pytest.mark.parametrize("opened", [True, False])
def test_later_times_by_xarray_in_a_group_of_ldas_are_read(store: Path, opened: bool) -> None:
    group = "observations/swi"
    swi = open_run(store)[group].to_dataset().load() if opened else observed("swi")
    later = swi.assign_coords(time=swi["time"] + np.timedelta64(30, "D"))
    later.to_zarr(store, group=group, append_dim="time", zarr_format=3, consolidated=False)
    root = open_store(str(store), "a")
    times, arrays = read_observations(root, "swi", Block(0, 0, CELLS))
    assert len(times) == 24
    assert np.array_equal(arrays["value"], np.concatenate([swi["value"], swi["value"]]), equal_nan=True)
    with pytest.raises(StoreError, match="written by another program"):
        append_group(root, group, later)


def test_later_times_that_may_be_incomplete_are_neither_passed_over_nor_lost(store: Path) -> None:
    group = "observations/swi"
    root = open_store(str(store), "a")
    times = read_times(root, group)
    extend_template(root, group, "time", np.concatenate([times, times + np.timedelta64(30, "D")]))
    (row,) = [row for row in check_experiment(settings(store)) if row.what == group]
    assert row.state == "wrong"
    assert "has 24 times, of which the first 12 were completed by ldas" in row.detail
    much_later = observed("swi").assign_coords(time=times + np.timedelta64(60, "D"))
    with pytest.raises(StoreError, match="has 12 times after 12 complete ones"):
        append_group(root, group, much_later)
    assert read_region(root, group, "time").shape == (24,)
    root[group].attrs["committed"] = {"time": 24, "cell": CELLS}  # as the message says
    assert len(read_times(root, group)) == 24
