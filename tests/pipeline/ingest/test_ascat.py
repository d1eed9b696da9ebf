"""ASCAT: cell files, swaths, daily means, interpolation, soil water index; real files against independent decodes."""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ldas.assim.quality import Quality
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import ascat, ascat_swath, run_ingest
from ldas.pipeline.ingest.ascat_swath import FlagLimits
from ldas.pipeline.ingest.config import CellsConfig, Period
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.ingest.observations import Overpasses, daily_means, day_axis
from ldas.pipeline.ingest.swi import soil_water_index
from ldas.pipeline.store.arrays import open_dataset
from tests.pipeline.ingest import samples
from tests.support import shared

MIDDLE = Cells(np.array([44.05]), np.array([0.1]))
DAYS = ["2007-01-02", "2007-01-03"]
POINT = CellsConfig(points=((44.05, 0.1),))


def config(**change: Any) -> ascat.AscatConfig:
    return ascat.AscatConfig(**{"files": ("unused",), "cells": POINT, **change})


@pytest.mark.parametrize("indexed", [False, True])
def test_a_cell_file_is_unpacked_without_its_padding(tmp_path, indexed):
    path = samples.write_cell_file(tmp_path / "0001.nc", indexed=indexed)
    content = ascat.read_cell_file(path)
    np.testing.assert_array_equal(content.location_id, [11, 12, 13, 14])
    np.testing.assert_array_equal(content.location, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    measured = content.measurements
    assert measured.time[0] == np.datetime64("2007-01-02T09:36")
    np.testing.assert_allclose(measured.sigma40[:4], [-10.0, -10.1, -10.2, -11.0], atol=1e-6)
    np.testing.assert_allclose(measured.sigma40_noise, 0.1, atol=1e-6)
    np.testing.assert_allclose(measured.soil_moisture[:2], [0.5, 0.499], atol=1e-6)
    assert measured.surface_state[1] == 2
    assert measured.sigma40_quality[1] == Quality.MASKED_FROZEN


def test_nearest_and_bilinear_at_the_middle_of_four_points(tmp_path):
    path = samples.write_cell_file(tmp_path / "0001.nc")
    result = ascat.read([path], MIDDLE, config(method="bilinear"), tmp_path)
    assert result["time"].to_numpy()[0] == np.datetime64("2007-01-03")  # the mean of 2 January is complete then
    # Day 1: 09:36 and 21:36, but the second of point 0 is frozen. Means: -10, -11.05, -12.05, -13.05; equal weights.
    assert float(result["value"][0, 0]) == pytest.approx((-10.0 - 11.05 - 12.05 - 13.05) / 4, abs=1e-5)
    assert int(result["quality"][0, 0]) == Quality.USED
    assert int(result["count"][0, 0]) == 7
    near = Cells(np.array([44.09]), np.array([0.19]))
    nearest = ascat.read([path], near, config(), tmp_path)
    assert float(nearest["value"][0, 0]) == pytest.approx(-13.05, abs=1e-5)
    assert float(nearest["uncertainty"][0, 0]) == pytest.approx(0.1 / np.sqrt(2), abs=1e-6)
    assert float(nearest["overpass_hour"][0, 0]) == pytest.approx(15.6, abs=1e-3)
    # On 3 January only the points with three observations have one: half the weight, and that is enough.
    assert float(result["value"][1, 0]) == pytest.approx((-10.2 - 12.2) / 2, abs=1e-5)


def test_ssm_swi_and_missing_quantities(tmp_path):
    path = samples.write_cell_file(tmp_path / "0001.nc", backscatter=False)
    with pytest.raises(IngestError, match=r"0001\.nc: the product has no sigma40"):
        ascat.read([path], MIDDLE, config(), tmp_path)
    ssm = ascat.read([path], MIDDLE, config(quantity="ssm"), tmp_path)
    assert ssm["value"].attrs["units"] == "1"
    swi = ascat.read([path], MIDDLE, config(quantity="swi", swi_days=5.0), tmp_path)
    assert swi.attrs["characteristic_days"] == 5.0
    assert 0.4 < float(swi["value"][1, 0]) < 0.6
    with pytest.raises(IngestError, match=r"within 25\.0 km of a target cell"):
        ascat.read([path], Cells(np.array([50.0]), np.array([0.0])), config(quantity="ssm"), tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=30),
    days=st.floats(0.5, 40.0),
    seed=st.integers(0, 10**6),
)
def test_the_recursive_filter_is_the_weighted_mean_of_the_past(gaps, days, seed):
    values = np.random.default_rng(seed).uniform(size=len(gaps))
    age = np.cumsum(gaps)
    time = np.datetime64("2010-01-01", "ns") + (age * 86400e3).astype("timedelta64[ms]")
    age = (time - time[0]).astype("timedelta64[ms]").astype(float) / 86400e3
    direct = [
        np.sum(values[: i + 1] * np.exp(-(age[i] - age[: i + 1]) / days))
        / np.sum(np.exp(-(age[i] - age[: i + 1]) / days))
        for i in range(len(gaps))
    ]
    index, deviation, _ = soil_water_index(time, values, values, days)
    np.testing.assert_allclose(index, direct, rtol=1e-9)
    weights = np.exp(-(age[-1] - age) / days)
    error = np.sqrt(np.sum((weights * values) ** 2)) / weights.sum()
    assert deviation[-1] == pytest.approx(error, rel=1e-9)
    middle = len(gaps) // 2
    first, _, past = soil_water_index(time[:middle], values[:middle], values[:middle], days)
    rest, rest_deviation, _ = soil_water_index(time[middle:], values[middle:], values[middle:], days, past)
    np.testing.assert_array_equal(np.concatenate([first, rest]), index)  # to the bit
    np.testing.assert_array_equal(rest_deviation, deviation[middle:])


def test_a_day_of_flagged_observations_keeps_their_mean_and_code():
    time = np.array(["2010-01-01T09", "2010-01-01T21", "2010-01-02T09", "2010-01-04T21"], dtype="datetime64[ns]")
    passes = Overpasses(
        np.zeros(4, dtype=np.int64),
        time,
        np.array([-10.0, -11.0, -12.0, -13.0]),
        np.full(4, 0.2),
        np.array([0, 4, 9, 4], dtype=np.int8),
    )
    daily = daily_means(passes, 1, day_axis(time, None, None))
    np.testing.assert_allclose(daily.value[:, 0], [-10.0, -12.0, np.nan, -13.0])
    np.testing.assert_array_equal(daily.quality[:, 0], [0, 9, Quality.MISSING, 4])
    np.testing.assert_array_equal(daily.count[:, 0], [1, 1, 0, 1])


def test_the_grid_file_names_the_cell_files_that_are_needed(tmp_path):
    grid_path = tmp_path / "grid.nc"
    xr.Dataset(
        {
            "lat": ("locations", np.array([44.0, 44.1, 60.0])),
            "lon": ("locations", np.array([0.0, 0.2, 0.0])),
            "cell": ("locations", np.array([1, 2, 3])),
            "land_flag": ("locations", np.array([1, 1, 1])),
        }
    ).to_netcdf(grid_path)
    paths = [tmp_path / "H119_0001.nc", tmp_path / "0002.nc", tmp_path / "0003.nc"]
    assert ascat.needed_cell_files(paths, grid_path, MIDDLE, 25.0) == paths[:2]
    with pytest.raises(IngestError, match="need the cell files 0002, which are not among the 2"):
        ascat.needed_cell_files([paths[0], paths[2]], grid_path, MIDDLE, 25.0)


def test_an_observation_that_is_given_twice_is_refused(tmp_path):
    one, two = (samples.write_cell_file(tmp_path / name) for name in ("H113_0001.nc", "H119_0001.nc"))
    with pytest.raises(IngestError, match=r"H119_0001\.nc: location 11 is also in .*H113_0001\.nc"):
        ascat.read([one, two], MIDDLE, config(), tmp_path)
    grid_path = tmp_path / "grid.nc"
    places = {"lat": ("p", [44.05]), "lon": ("p", [0.1]), "cell": ("p", [1])}
    xr.Dataset(places).to_netcdf(grid_path)
    assert ascat.needed_cell_files([one, two], grid_path, MIDDLE, 25.0) == [one, two]  # two parts of a record
    swaths = [write_swath(tmp_path / name) for name in ("a.nc", "b.nc")]
    cells = Cells(np.array([44.21]), np.array([-0.01]))
    with pytest.raises(IngestError, match=r"b\.nc: the overpass of 2017-02-18T02:26 UTC is also in .*a\.nc"):
        ascat.read(swaths, cells, config(), tmp_path)


def test_cells_without_any_observation_are_said(tmp_path):
    path = samples.write_cell_file(tmp_path / "0001.nc")
    cells = Cells(np.array([44.05, 50.0]), np.array([0.1, 0.1]))
    result = ascat.read([path], cells, config(), tmp_path)
    assert (result["quality"][:, 1] == Quality.MISSING).all()
    assert result.attrs["notes"] == ["1 of 2 cells have no observation in the files: cell 1 (50N 0.1E)"]


def test_bad_cell_files_are_named(tmp_path):
    path = samples.write_cell_file(tmp_path / "0001.nc")
    with xr.open_dataset(path, decode_cf=False) as raw:
        whole = raw.load()
    short = tmp_path / "short.nc"
    whole.isel(obs=slice(0, 6)).to_netcdf(short)
    with pytest.raises(IngestError, match=r"short\.nc: row_size adds up to 10, but there are 6 observations"):
        ascat.read_cell_file(short)
    units = tmp_path / "units.nc"
    whole["sigma40"].attrs["units"] = "1"
    whole.to_netcdf(units)
    with pytest.raises(IngestError, match=r"units\.nc: sigma40 has units '1', expected 'dB'"):
        ascat.read_cell_file(units)
    other = tmp_path / "other.nc"
    xr.Dataset({"x": ("a", [1.0])}).to_netcdf(other)
    with pytest.raises(IngestError, match="no variable lat"):
        ascat.read_cell_file(other)
    cut = tmp_path / "cut.nc"
    cut.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(IngestError, match=r"cut\.nc: the file is truncated"):
        ascat.read_cell_file(cut)


def write_swath(path: Path, day: int = 0) -> Path:
    """An EUMETSAT swath of 4 x 3 nodes: packed integers, wrong valid_max of unsigned variables, as in the product."""
    rows, columns = np.meshgrid(np.arange(4), np.arange(3), indexing="ij")
    latitude, longitude = 44.0 + 0.1 * rows, 359.9 + 0.1 * columns
    sigma = -12_000_000 - 100_000 * rows
    sigma[0, 0] = -2147483648

    def layer(values: Any, kind: str, **attributes: Any) -> tuple[tuple[str, str], np.ndarray, dict[str, Any]]:
        return ("numRows", "numCells"), np.broadcast_to(values, (4, 3)).astype(kind), attributes

    percent = {"valid_min": np.uint8(0), "valid_max": np.uint8(100), "units": "percentage"}
    moisture = {"valid_min": np.uint16(0), "valid_max": np.uint16(10000), "scale_factor": 0.01, "units": "percent"}
    small = {"_FillValue": np.int32(-2147483648), "scale_factor": 1e-6, "units": "dB"}
    xr.Dataset(
        {
            "utc_line_nodes": (
                "numRows",
                np.arange(540700000, 540700004, dtype="int32") + 86400 * day,
                {"units": "seconds since 2000-01-01 00:00:00"},
            ),
            "latitude": layer(np.round(latitude * 1e6), "int32", scale_factor=1e-6),
            "longitude": layer(np.round(longitude * 1e6), "int32", scale_factor=1e-6),
            "sigma40": layer(sigma, "int32", valid_min=np.int32(-10000000), valid_max=np.int32(10000000), **small),
            "sigma40_error": layer(200000, "int32", **small),
            "soil_moisture": layer(np.where(rows == 3, 65535, 3000 + 700 * day), "uint16", **moisture),
            "soil_moisture_error": layer(300, "uint16", **moisture),
            "proc_flag1": layer(np.where(columns == 2, 2, 0), "uint8"),
            "snow_cover_probability": layer(np.where(rows == 1, 80, 0), "uint8", **percent),
            "frozen_soil_probability": layer(0, "uint8", **percent),
            "wetland_flag": layer(5, "uint8", **percent),
            "topography_flag": layer(255, "uint8", **percent),
        }
    ).to_netcdf(path)
    return path


def test_a_swath_at_the_cells(tmp_path):
    path = write_swath(tmp_path / "swath.nc")
    swath = ascat_swath.read_swath(path, FlagLimits())
    measured = swath.measurements
    assert measured.time[0] == np.datetime64("2000-01-01") + np.timedelta64(540700000, "s")
    np.testing.assert_allclose(measured.sigma40[1:3], -12.0)  # outside the attribute's +-10 dB, and right all the same
    assert np.isnan(measured.sigma40[0])
    assert np.isnan(measured.soil_moisture[9:]).all()
    assert (measured.sigma40_quality[3:6] == Quality.MASKED_SNOW).all()
    assert measured.soil_moisture_quality[2] == Quality.MASKED_PRODUCT_FLAG
    cells = Cells(np.array([44.21, 44.11]), np.array([-0.01, -0.01]))
    result = ascat.read([path], cells, config(), tmp_path)
    np.testing.assert_allclose(result["value"][0], [-12.2, -12.1], atol=1e-5)
    np.testing.assert_array_equal(result["quality"][0], [Quality.USED, Quality.MASKED_SNOW])
    weighted = ascat.read([path], cells, config(method="inverse_distance"), tmp_path)
    assert -12.4 < float(weighted["value"][0, 0]) < -12.0
    with pytest.raises(IngestError, match="swaths have no fixed grid"):
        ascat.read([path], cells, config(method="bilinear"), tmp_path)
    with pytest.raises(IngestError, match="cannot be mixed"):
        ascat.read([path, samples.write_cell_file(tmp_path / "0001.nc")], cells, config(), tmp_path)
    (tmp_path / "text.nc").write_text("no data")
    with pytest.raises(IngestError, match=r"text\.nc: neither NetCDF nor BUFR"):
        ascat.read([tmp_path / "text.nc"], cells, config(), tmp_path)


def write_fibonacci(path: Path, layout: str) -> Path:
    """A synthetic file with the names of H121: contiguous or indexed ragged array, or a swath with places."""
    latitude, longitude = np.array([44.03, 44.07, 44.12]), np.array([0.02, 0.17, 0.05])  # no two in one row
    location = np.array([0, 0, 1, 2, 2])
    day = np.array([16000.4, 16000.9, 16000.4, 16000.4, 16001.4])
    angle = {"scale_factor": 1e-6, "_FillValue": np.int32(-2147483648), "units": "degrees"}
    percent = {"scale_factor": 0.01, "_FillValue": np.int16(-32768), "units": "percent saturation"}
    decibel = {"scale_factor": 1e-7, "_FillValue": np.int32(-2147483648), "units": "dB"}
    one = "obs"
    spread = location if layout == "swath" else slice(None)
    place = one if layout == "swath" else "locations"
    dataset = xr.Dataset(
        {
            "latitude": (place, np.round(latitude[spread] * 1e6).astype("int32"), angle),
            "longitude": (place, np.round(longitude[spread] * 1e6).astype("int32"), angle),
            "location_id": (place, np.array([901, 902, 903])[spread]),
            "time": (one, day, {"units": "days since 1970-01-01"}),
            "surface_soil_moisture": (one, np.array([4000, 5000, 6000, -32768, 7000], dtype="int16"), percent),
            "surface_soil_moisture_noise": (one, np.full(5, 300, dtype="int16"), percent),
            "backscatter40": (one, np.array([-10, -11, -12, -13, -14], dtype="int32") * 10_000_000, decibel),
            "surface_flag": (one, np.array([0, 0, 0, 0, 1], dtype="uint8")),
            "processing_flag": (one, np.zeros(5, dtype="uint8")),
            "frozen_soil_probability": (one, np.array([0, 90, 0, 0, 0], dtype="int8"), {"_FillValue": np.int8(-128)}),
            "snow_cover_probability": (one, np.zeros(5, dtype="int8"), {"_FillValue": np.int8(-128)}),
        }
    )
    if layout == "contiguous":
        dataset["row_size"] = ("locations", np.bincount(location), {"sample_dimension": "obs"})
    elif layout == "indexed":
        dataset["locationIndex"] = (one, location, {"instance_dimension": "locations"})
        dataset = dataset.isel(obs=[3, 0, 2, 1, 4])
    dataset.to_netcdf(path)
    return path


@pytest.mark.parametrize("layout", ["contiguous", "indexed", "swath"])
def test_products_on_the_fibonacci_grid(tmp_path, layout):
    path = write_fibonacci(tmp_path / "0001.nc", layout)
    cells = Cells(np.array([44.03, 44.07, 44.12]), np.array([0.02, 0.17, 0.05]))
    ssm = ascat.read([path], cells, config(quantity="ssm", radius_km=3.0), tmp_path)
    # The evening of the first point is frozen; the third has a fill value, then a surface flag.
    np.testing.assert_allclose(ssm["value"], [[0.4, 0.6, np.nan], [np.nan, np.nan, 0.7]], atol=1e-6)
    used, missing, flagged = Quality.USED, Quality.MISSING, Quality.MASKED_PRODUCT_FLAG
    np.testing.assert_array_equal(ssm["quality"], [[used, used, missing], [missing, missing, flagged]])
    np.testing.assert_allclose(ssm["uncertainty"][0, :2], 0.03, atol=1e-6)
    sigma = ascat.read([path], cells, config(limits=FlagLimits(frozen=95), radius_km=3.0), tmp_path)
    np.testing.assert_allclose(sigma["value"][0], [-10.5, -12.0, -13.0], atol=1e-5)
    assert np.isnan(sigma["uncertainty"]).all()  # H121 gives no noise of the backscatter
    if layout != "swath":
        with pytest.raises(IngestError, match=r"bilinear needs points in rows of one latitude.*Fibonacci grid"):
            ascat.read([path], cells, config(method="bilinear"), tmp_path)


def test_undeclared_fill_values_of_a_cell_file_are_no_backscatter(tmp_path):
    path = samples.write_cell_file(tmp_path / "0001.nc")
    with xr.open_dataset(path, decode_cf=False) as raw:
        whole = raw.load()
    del whole["sigma40"].attrs["missing_value"]
    whole["sigma40"][3] = -32768  # -32.768 dB would be possible
    whole.to_netcdf(tmp_path / "bare.nc")
    sigma = ascat.read_cell_file(tmp_path / "bare.nc").measurements.sigma40
    assert np.flatnonzero(np.isnan(sigma)).tolist() == [3]


def test_neither_series_nor_swath_is_named(tmp_path):
    path = write_fibonacci(tmp_path / "0001.nc", "contiguous")
    with xr.open_dataset(path, decode_cf=False) as raw:
        raw.load().drop_vars("row_size").to_netcdf(tmp_path / "other.nc")
    with pytest.raises(IngestError, match=r"neither row_size nor locationIndex.*known are cell files of H SAF"):
        ascat.read([tmp_path / "other.nc"], MIDDLE, config(), tmp_path)


# --- real files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H119_0165.nc", "H113_0165.nc"])
def test_real_cell_files_against_the_netcdf_library(name):
    path = shared(f"data/ascat/{name}")
    content = ascat.read_cell_file(path)
    with netCDF4.Dataset(path) as raw:
        raw.set_auto_maskandscale(False)
        sizes = raw["row_size"][:]
        used = sizes > 0
        np.testing.assert_array_equal(content.location_id, raw["location_id"][:][used])
        np.testing.assert_array_equal(np.bincount(content.location), sizes[used])
        days = raw["time"][:]
        moisture = raw["sm"][:].astype(float)
        if name.startswith("H119"):
            sigma = raw["sigma40"][:] * 0.001
            np.testing.assert_allclose(content.measurements.sigma40, sigma, rtol=1e-6)
            moisture = np.where(moisture == 65535, np.nan, moisture * 0.01)
        else:
            assert np.isnan(content.measurements.sigma40).all()
            moisture = np.where(moisture == 127, np.nan, moisture)
    np.testing.assert_allclose(content.measurements.soil_moisture * 100.0, moisture, rtol=1e-6)
    seconds = (content.measurements.time - np.datetime64("1900-01-01")).astype("timedelta64[ms]").astype(
        float
    ) / 86400e3
    np.testing.assert_allclose(seconds, days, atol=1e-8)


def test_a_real_cell_file_into_a_store(tmp_path):
    path = shared("data/ascat/H119_0165.nc")
    settings = samples.write_config(
        tmp_path / "ascat.yaml",
        files=[str(path)],
        store={"url": "store.zarr"},
        cells={"points": [[19.7, -155.4]]},
        grid=str(shared("data/ascat/TUW_WARP5_grid_info_2_3.nc")),
        radius_km=10.0,
        period={"start": "2015-01-01", "end": "2015-12-31"},
    )
    (done,) = run_ingest("ascat", settings)
    assert done.group == "observations/sigma40"
    result = open_dataset(tmp_path / "store.zarr", "observations/sigma40").load()
    content = ascat.read_cell_file(path)
    distance = np.hypot(content.latitude - 19.7, (content.longitude + 155.4) * np.cos(np.deg2rad(19.7)))
    own = content.location == int(np.argmin(distance))
    day = content.measurements.time[own].astype("datetime64[D]")
    good = content.measurements.sigma40_quality[own] == 0
    value = content.measurements.sigma40[own]
    for index in (0, 100, 364):
        today = (day == result["nominal_time"].to_numpy()[index].astype("datetime64[D]")) & good
        if today.any():
            assert float(result["value"][index, 0]) == pytest.approx(value[today].mean(), abs=1e-4)
            assert int(result["count"][index, 0]) == today.sum()


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_overpasses_keep_their_hour(tmp_path, method):
    path = samples.write_cell_file(tmp_path / "0001.nc")
    near = Cells(np.array([44.01]), np.array([0.01])) if method == "nearest" else MIDDLE
    found = ascat.read([path], near, config(method=method, overpasses_per_day=2), tmp_path)
    assert found["value"].dims == ("time", "overpass", "cell")
    np.testing.assert_array_equal(found["nominal_time"].values.astype("datetime64[D]").astype(str), DAYS)
    np.testing.assert_allclose(found["overpass_hour"].values[:, :, 0], [[9.6, 21.6], [9.6, np.nan]], atol=1e-5)
    # Of the nearest point the second overpass is frozen; without it the others weigh enough, and on 3 January two do.
    expected = {"nearest": [[-10.0, -10.1], [-10.2, np.nan]], "bilinear": [[-11.5, -12.1], [-11.2, np.nan]]}[method]
    np.testing.assert_allclose(found["value"].values[:, :, 0], expected, atol=1e-5)
    second = Quality.MASKED_FROZEN if method == "nearest" else Quality.USED
    assert found["quality"].values[:, :, 0].tolist() == [[0, second], [0, Quality.MISSING]]
    with pytest.raises(IngestError, match="overpasses_per_day is 1, but a cell has 2 overpasses on 2007-01-02"):
        ascat.read([path], near, config(method=method, overpasses_per_day=1), tmp_path)


def test_a_filtered_series_has_no_overpasses():
    with pytest.raises(ValidationError, match="overpasses_per_day belongs to sigma40 and ssm"):
        config(quantity="swi", overpasses_per_day=2)


def test_the_real_grid_file_against_the_netcdf_library():
    path = shared("data/ascat/TUW_WARP5_grid_info_2_3.nc")
    cells = Cells(np.array([43.625, 44.875]), np.array([0.875, -0.375]))
    with netCDF4.Dataset(path) as raw:
        raw.set_auto_maskandscale(False)
        latitude, longitude, number = (np.asarray(raw[name][:]) for name in ("lat", "lon", "cell"))
        land = np.asarray(raw["land_flag"][:]) == 1
    needed = set()
    for row, column in zip(cells.latitude, cells.longitude, strict=True):
        distance = 111.2 * np.hypot(latitude - row, (longitude - column) * np.cos(np.deg2rad(row)))
        needed |= set(number[land & (distance < 20.0)].tolist())
    paths = [Path(f"{item:04d}.nc") for item in range(2600)]
    found = {int(item.stem) for item in ascat.needed_cell_files(paths, path, cells, 20.0)}
    assert found == needed
    assert needed


@pytest.mark.parametrize(
    "name",
    [
        "h101_20170220_103900_METOPA_53656_EUM.buf",
        "h103_20170220_103000_METOPB_22969_EUM.buf",
        "h16_20170220_111500_METOPB_22969_EUM.buf",
    ],
)
def test_real_bufr_against_the_ascat_package(name):
    from ascat.eumetsat.level2 import AscatL2File

    path = shared(f"data/ascat/{name}")
    swath = ascat_swath.read_swath(path, FlagLimits())
    independent = AscatL2File(str(path)).read()
    independent = independent[0] if isinstance(independent, tuple) else independent
    data = np.ma.getdata(independent)
    assert len(data) == len(swath.latitude)
    np.testing.assert_allclose(swath.latitude, data["lat"], atol=1e-4)
    np.testing.assert_allclose(swath.longitude, data["lon"], atol=2e-4)
    there = np.isfinite(swath.measurements.sigma40)
    assert there.sum() == (data["sig40"] > -200).sum()
    np.testing.assert_allclose(swath.measurements.sigma40[there], data["sig40"][there], atol=1e-4)
    moist = np.isfinite(swath.measurements.soil_moisture)
    np.testing.assert_allclose(swath.measurements.soil_moisture[moist] * 100.0, data["sm"][moist], atol=1e-3)
    gap = np.abs(swath.measurements.time - data["time"].astype("datetime64[ns]"))
    assert gap.max() <= np.timedelta64(1, "s")


def test_a_cut_bufr_file_is_named(tmp_path):
    content = shared("data/ascat/h16_20170220_111500_METOPB_22969_EUM.buf").read_bytes()
    (tmp_path / "cut.buf").write_bytes(content[:-1000])
    with pytest.raises(IngestError, match=r"cut\.buf: the BUFR file is truncated"):
        ascat_swath.read_swath(tmp_path / "cut.buf", FlagLimits())


def test_a_real_netcdf_swath_against_the_netcdf_library():
    folder = shared("data/ascat/H119_0165.nc").parent
    (path,) = folder.glob("W_XX-EUMETSAT*.nc")
    swath = ascat_swath.read_swath(path, FlagLimits())
    with netCDF4.Dataset(path) as raw:
        raw.set_auto_maskandscale(False)
        sigma = raw["sigma40"][:].reshape(-1).astype(float)
        moisture = raw["soil_moisture"][:].reshape(-1)
        latitude = raw["latitude"][:].reshape(-1) * 1e-6
    expected = np.where(sigma == -2147483648, np.nan, sigma * 1e-6)
    np.testing.assert_allclose(swath.measurements.sigma40, expected, rtol=1e-6)
    assert np.isfinite(expected).sum() == 15372
    wet = np.where(moisture > 10000, np.nan, moisture * 1e-4)
    np.testing.assert_allclose(swath.measurements.soil_moisture, wet, rtol=1e-6)
    np.testing.assert_allclose(swath.latitude, latitude, atol=1e-5)
    period = Period(start="2017-02-20", end="2017-02-20")
    land = np.flatnonzero(np.isfinite(expected) & (swath.measurements.sigma40_quality == 0))[1000]
    cell = Cells(swath.latitude[land : land + 1], swath.longitude[land : land + 1])
    result = ascat.read([path], cell, config(period=period), folder)
    assert float(result["value"][0, 0]) == pytest.approx(expected[land], abs=1e-4)
