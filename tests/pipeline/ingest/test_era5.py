"""ERA5: layouts, units and hours of accumulations, gaps, bad files; real files against an independent decode."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import era5, forcing_fields
from ldas.pipeline.ingest.config import CellsConfig, GapPolicy, Period
from ldas.pipeline.ingest.grid import Cells
from tests.pipeline.ingest import samples
from tests.support import shared

CELLS = Cells(np.array([44.625, 44.3]), np.array([-0.9, -0.125]))
POINTS = CellsConfig(points=((44.625, -0.9), (44.3, -0.125)))


def config(**change: Any) -> era5.Era5Config:
    return era5.Era5Config(**{"files": ("unused",), "cells": POINTS, **change})


def read(paths: list[Path], **change: Any) -> xr.Dataset:
    chosen = config(**change)
    return era5.read(paths, CELLS, chosen, chosen.accumulation).compute(scheduler="synchronous")


def expected(name: str, times: np.ndarray) -> np.ndarray:
    """The sample's field at the cells: linear in space, so bilinear interpolation is exact."""
    columns = [
        samples.era5_values(name, times, CELLS.latitude[i : i + 1], CELLS.longitude[i : i + 1])[:, 0, 0]
        for i in range(2)
    ]
    return np.stack(columns, axis=1)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "era5.nc"
    samples.era5_dataset().to_netcdf(path)
    return path


def test_fields_become_alma_variables_with_the_right_units_and_hours(plain):
    result = read([plain])
    times = samples.hours("2015-03-01T00:00", 30)
    np.testing.assert_array_equal(result["time"], times)
    np.testing.assert_allclose(result["Tair"], expected("t2m", times), rtol=1e-12)
    vapour = physics.saturation_vapour_pressure(expected("d2m", times))
    np.testing.assert_allclose(result["Qair"], physics.specific_humidity(vapour, expected("sp", times)), rtol=1e-10)
    np.testing.assert_allclose(result["Wind"], np.hypot(expected("u10", times), expected("v10", times)), rtol=1e-12)
    # Precipitation of 1e-4 m in an hour is 0.1 kg m-2 in 3600 s, and stays at the hour's END.
    np.testing.assert_allclose(
        result["Rainf"] + result["Snowf"], expected("tp", times) * 1000.0 / 3600.0, rtol=1e-9, atol=1e-18
    )
    np.testing.assert_allclose(result["Snowf"], expected("sf", times) * 1000.0 / 3600.0, rtol=1e-9, atol=1e-18)
    means = expected("ssrd", times) / 3600.0
    centred = 0.5 * (means + np.vstack([means[1:], means[-1:]]))
    np.testing.assert_allclose(result["SWdown"], centred, rtol=1e-9, atol=1e-9)
    density = physics.air_density(result["Tair"], result["PSurf"], result["Qair"])
    ppm = result["CO2air"] / density * physics.MOLAR_MASS_DRY_AIR / physics.MOLAR_MASS_CO2 * 1e6
    assert 398 < float(ppm.mean()) < 400  # March 2015, between the annual means of 2014 (397.3) and 2015 (399.7)
    assert result["Tair"].attrs["units"] == "K"


def test_hour_means_on_request_and_the_following_hour_beyond_the_period(plain):
    period = Period(start="2015-03-01T00:00", end="2015-03-01T12:00")
    times = samples.hours("2015-03-01T00:00", 14)
    means = expected("ssrd", times) / 3600.0
    centred = read([plain], period=period)["SWdown"]
    assert centred.sizes["time"] == 13
    np.testing.assert_allclose(centred[-1], 0.5 * (means[12] + means[13]), rtol=1e-9)
    raw = read([plain], period=period, radiation="hour_mean")["SWdown"]
    np.testing.assert_allclose(raw, means[:13], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", ["packed", "new", "mixed", "one_a_variable", "two_periods"])
def test_every_layout_gives_the_same(tmp_path, plain, layout):
    whole = samples.era5_dataset()
    if layout == "packed":
        paths = [samples.write_packed(whole, tmp_path / "packed.nc")]
    elif layout == "new":
        paths = [samples.write_new_layout(whole, tmp_path / "new.nc")]
    elif layout == "mixed":
        paths = [samples.write_mixed_expver(whole, tmp_path / "mixed.nc", 20)]
    elif layout == "one_a_variable":
        paths = []
        for name in whole.data_vars:
            paths.append(tmp_path / f"{name}.nc")
            whole[[name]].to_netcdf(paths[-1])
    else:
        paths = [tmp_path / "b.nc", tmp_path / "a.nc"]
        whole.isel(time=slice(10, None)).to_netcdf(paths[0])
        whole.isel(time=slice(0, 10)).to_netcdf(paths[1])
    reference, result = read([plain]), read(paths)
    for name in reference.data_vars:
        span = float(reference[name].max() - reference[name].min())
        np.testing.assert_allclose(result[name], reference[name], atol=max(2e-4 * span, 1e-12), rtol=1e-6)


@pytest.mark.parametrize("longitudes", ["0..360", "global"])
def test_longitudes_of_any_convention(tmp_path, plain, longitudes):
    path = tmp_path / "other.nc"
    if longitudes == "0..360":
        whole = samples.era5_dataset()
        shifted = whole.assign_coords(longitude=samples.LONGITUDE % 360.0).sortby("longitude")
        shifted.isel(latitude=slice(None, None, -1)).to_netcdf(path)  # and ascending latitudes
    else:
        circle = np.arange(0.0, 360.0, 0.25)
        signed = (circle + 180.0) % 360.0 - 180.0
        whole = samples.era5_dataset(longitude=signed).assign_coords(longitude=circle)
        whole[["t2m"]].to_netcdf(path)
    reference, result = read([plain]), read([path])
    np.testing.assert_allclose(result["Tair"], reference["Tair"], rtol=1e-12)


def test_accumulation_since_midnight_gives_hourly_amounts(tmp_path, plain):
    path = tmp_path / "land.nc"
    samples.since_midnight(samples.era5_dataset()).to_netcdf(path)
    period = Period(start="2015-03-01T01:00", end="2015-03-02T05:00")
    reference = read([plain], period=period)
    result = read([path], period=period, accumulation="since_midnight")
    for name in ("SWdown", "LWdown", "Rainf", "Snowf"):
        np.testing.assert_allclose(result[name], reference[name], rtol=1e-9, atol=1e-12)
    # Without a period the forcing begins with the first amount that is known: the hour that ends at 01 UTC.
    assert read([path], accumulation="since_midnight")["time"].to_numpy()[0] == np.datetime64("2015-03-01T01:00")
    with pytest.raises(
        IngestError, match=r"the hour that ends at 2015-03-01T00:00 UTC .* add the file that holds 2015-02"
    ):
        read([path], period=Period(start="2015-03-01T00:00"), accumulation="since_midnight")


@pytest.mark.parametrize("out_of_range", ["raise", "missing"])
def test_amounts_that_accumulate_otherwise_are_named(tmp_path, plain, out_of_range):
    """Before the check of ranges, which would take the small ones of the morning for hourly amounts."""
    path = tmp_path / "land.nc"
    samples.since_midnight(samples.era5_dataset()).to_netcdf(path)
    with pytest.raises(
        IngestError, match=r"land\.nc: ssrd on 2015-03-01 grows from hour to hour.*set accumulation: since"
    ):
        read([path], out_of_range=out_of_range)
    with pytest.raises(IngestError, match=r"ssrd on 2015-03-01 falls between 2015-03-01T.*leave out accumulation"):
        read([plain], out_of_range=out_of_range, accumulation="since_midnight")


@pytest.mark.parametrize("layout", ["scalars", "axes of one value"])
def test_a_single_point(tmp_path, plain, layout):
    whole = samples.era5_dataset()
    point = whole.isel(latitude=1, longitude=2) if layout == "scalars" else whole.isel(latitude=[1], longitude=[2])
    path = tmp_path / "point.nc"
    point.to_netcdf(path)
    at = Cells(np.array([44.75]), np.array([-0.5]))
    beside = Cells(np.array([44.7]), np.array([-0.41]))
    for cells, method in ((at, "bilinear"), (at, "nearest"), (beside, "nearest")):
        settings = config(interpolation=method)
        result = era5.read([path], cells, settings).compute(scheduler="synchronous")
        np.testing.assert_allclose(result["Tair"][:, 0], whole["t2m"][:, 1, 2], rtol=1e-12)
        forcing_fields.require_complete(result, path)
    with pytest.raises(IngestError, match=r"between single points nothing can be interpolated: interpolation: nearest"):
        era5.read([path], beside, config())
    far = Cells(np.array([44.5]), np.array([-0.5]))
    with pytest.raises(IngestError, match=r"is used for cells within 0\.125 degrees"):
        era5.read([path], far, config(interpolation="nearest"))


def test_precipitation_in_millimetres(tmp_path, plain):
    whole = samples.era5_dataset()
    path = tmp_path / "mm.nc"
    in_mm = (whole["tp"] * 1000.0).assign_attrs(units="mm")
    whole.assign(tp=in_mm).to_netcdf(path)
    np.testing.assert_allclose(read([path])["Rainf"], read([plain])["Rainf"], rtol=1e-12)


@pytest.mark.parametrize("number", [-9999.0, 1e20, 9.96921e36])
@pytest.mark.parametrize("name", ["t2m", "u10", "ssrd", "tp", "sf"])
def test_undeclared_nodata_is_missing_not_data(tmp_path, name, number):
    whole = samples.era5_dataset()
    whole[name][12] = number
    path = tmp_path / "nodata.nc"
    whole.to_netcdf(path, encoding={name: {"_FillValue": None}})
    variable = {"t2m": "Tair", "u10": "Wind", "ssrd": "SWdown", "tp": "Rainf", "sf": "Snowf"}[name]
    values = read([path])[variable].to_numpy()
    missing = [11, 12] if name == "ssrd" else [12]  # an instant beside a missing hour has no mean
    assert np.flatnonzero(np.isnan(values[:, 0])).tolist() == missing


def test_only_noise_of_packing_becomes_zero(tmp_path):
    whole = samples.era5_dataset()
    whole["ssrd"][0], whole["ssrd"][1] = -100.0, -36000.0  # J m-2: -0.03 and -10 W m-2
    whole["tp"][1], whole["tp"][2] = -1e-7, -1e-3
    path = tmp_path / "negative.nc"
    whole.to_netcdf(path)
    result = read([path], radiation="hour_mean")
    np.testing.assert_allclose(result["SWdown"][:2, 0], [0.0, -10.0])
    total = (result["Rainf"] + result["Snowf"]).to_numpy()[:, 0]
    np.testing.assert_allclose(total[1:3], [0.0, -1e-3 / 3.6], atol=1e-12)


def both_versions(layout: str, folder: Path) -> list[Path]:
    """30 hours: preliminary data (1 K too warm) from 04 UTC on, final ones until 19 UTC; both in between."""
    whole = samples.era5_dataset()
    preliminary = whole.assign(t2m=(whole["t2m"] + 1.0).assign_attrs(units="K")).isel(time=slice(4, None))
    final = whole.isel(time=slice(0, 20))
    if layout == "dimension":
        both = xr.concat(
            [preliminary.reindex(time=whole["time"]), final.reindex(time=whole["time"])],
            dim=pd.Index([5, 1], name="expver"),
            combine_attrs="override",
        )
        both.to_netcdf(folder / "both.nc")
        return [folder / "both.nc"]
    parts = [
        part.rename(time="valid_time").assign_coords(expver=("valid_time", np.full(part.sizes["time"], text, object)))
        for part, text in ((preliminary, "0005"), (final, "0001"))
    ]
    if layout == "one file":
        xr.concat(parts, dim="valid_time", combine_attrs="override").to_netcdf(folder / "both.nc")
        return [folder / "both.nc"]
    for part, name in zip(parts, ("a.nc", "b.nc"), strict=True):
        part.to_netcdf(folder / name)
    names = ["a.nc", "b.nc"] if layout == "preliminary first" else ["b.nc", "a.nc"]
    return [folder / name for name in names]


@pytest.mark.parametrize("layout", ["dimension", "one file", "preliminary first", "final first"])
def test_the_final_version_of_an_hour_is_taken_and_preliminary_hours_are_counted(tmp_path, layout):
    result = read(both_versions(layout, tmp_path))
    times = samples.hours("2015-03-01T00:00", 30)
    correct = expected("t2m", times) + np.where(np.arange(30) < 20, 0.0, 1.0)[:, None]
    np.testing.assert_allclose(result["Tair"], correct, rtol=1e-12)
    assert int(result["preliminary"].sum()) == 10


def test_snowfall_by_temperature_where_the_file_has_none(tmp_path):
    path = tmp_path / "nosnow.nc"
    samples.era5_dataset(("t2m", "tp")).to_netcdf(path)
    result = read([path])
    times = samples.hours("2015-03-01T00:00", 30)
    total = expected("tp", times) * 1000.0 / 3600.0
    np.testing.assert_allclose(result["Rainf"] + result["Snowf"], total, rtol=1e-12)
    temperature = expected("t2m", times)
    hour = 0.5 * (np.vstack([temperature[:1], temperature[:-1]]) + temperature)
    np.testing.assert_allclose(result["Snowf"], total * physics.snow_fraction(hour, 273.16, 275.16), rtol=1e-9)


def test_nearest_takes_the_closest_grid_point(plain):
    result = read([plain], interpolation="nearest")
    times = samples.hours("2015-03-01T00:00", 30)
    values = samples.era5_values("t2m", times, np.array([44.75, 44.25]), np.array([-1.0, -0.25, 0.0]))
    near = {44.625: (44.75, 44.5), 44.3: (44.25,)}
    assert np.isin(result["Tair"].to_numpy()[0, 1], values[0, 1]).any()
    assert near[44.3] == (44.25,)
    np.testing.assert_allclose(result["Tair"].to_numpy()[:, 1], values[:, 1, 1], rtol=1e-12)


# --- gaps and bad input ------------------------------------------------------------------------------------------


def test_a_missing_hour_stops_or_is_interpolated(tmp_path):
    whole = samples.era5_dataset()
    path = tmp_path / "gap.nc"
    whole.drop_isel(time=[10, 11]).to_netcdf(path)
    with pytest.raises(IngestError, match=r"temperature has no value for 2 of 30 times.*2015-03-01T10:00 UTC"):
        read([path])
    with pytest.raises(IngestError, match="fills up to 1 in a row"):
        read([path], gaps=GapPolicy(action="fill", hours=1))
    filled = read([path], gaps=GapPolicy(action="fill", hours=2))
    times = whole["time"].to_numpy()
    at_gap = expected("t2m", times)
    np.testing.assert_allclose(filled["Tair"][10], at_gap[9] + (at_gap[12] - at_gap[9]) / 3.0, rtol=1e-12)
    np.testing.assert_allclose(filled["Tair"][13], at_gap[13], rtol=1e-12)
    for period in (Period(start="2015-03-01T10:00"), Period(start="2015-03-01T11:00"), Period(end="2015-03-01T10:00")):
        part = read([path], gaps=GapPolicy(action="fill", hours=2), period=period)  # filled from both sides
        xr.testing.assert_identical(part["Tair"], filled["Tair"].sel(time=part["time"]))
        with pytest.raises(IngestError, match="fills up to 1 in a row"):
            read([path], gaps=GapPolicy(action="fill", hours=1), period=period)
    whole.isel(time=slice(12, None)).to_netcdf(tmp_path / "late.nc")
    with pytest.raises(IngestError, match="never the ends of what the files hold"):
        read([tmp_path / "late.nc"], gaps=GapPolicy(action="fill", hours=2), period=Period(start="2015-03-01T11:00"))


def test_a_variable_that_ends_early_is_named(tmp_path):
    whole = samples.era5_dataset()
    a, b = tmp_path / "a.nc", tmp_path / "b.nc"
    whole.drop_vars("sp").to_netcdf(a)
    whole[["sp"]].isel(time=slice(0, 20)).to_netcdf(b)
    with pytest.raises(IngestError, match=r"pressure has no value.*2015-03-01T20:00"):
        read([a, b])


def spoil(path: Path, how: str) -> Path:
    whole = samples.era5_dataset()
    if how == "truncated classic":
        samples.write_packed(whole, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "truncated hdf5":
        whole.to_netcdf(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "wrong units":
        whole["t2m"].attrs["units"] = "degC"
        whole.to_netcdf(path)
    elif how == "no units":
        del whole["tp"].attrs["units"]
        whole.to_netcdf(path)
    elif how == "wrong variable":
        whole[["t2m"]].rename(t2m="skt").to_netcdf(path)
    elif how == "duplicate times":
        times = whole["time"].to_numpy().copy()
        times[5] = times[4]
        whole.assign_coords(time=times).to_netcdf(path)
    elif how == "calendar":
        whole.to_netcdf(path, encoding={"time": {"units": "hours since 1900-01-01"}})
        with xr.open_dataset(path, decode_times=False) as raw:
            spoiled = raw.load()
        spoiled["time"].attrs["calendar"] = "360_day"
        path.unlink()
        spoiled.to_netcdf(path)
    elif how == "outside":
        whole.isel(latitude=slice(0, 2)).to_netcdf(path)
    elif how == "not netcdf":
        path.write_text("<html>404 not found</html>")
    elif how == "ensemble":
        whole.expand_dims(number=[0, 1]).to_netcdf(path)
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated classic", r"bad\.nc: the file is truncated or damaged"),
        ("truncated hdf5", r"bad\.nc: the file is truncated or damaged"),
        ("wrong units", r"bad\.nc: t2m has units 'degC', expected 'K'"),
        ("no units", r"bad\.nc: tp has units '\(none\)'"),
        ("wrong variable", r"bad\.nc: none of the variables t2m"),
        ("duplicate times", r"bad\.nc: times must increase; 2015-03-01T04:00 UTC is there twice"),
        ("calendar", r"bad\.nc: time has the calendar '360_day'"),
        (
            "outside",
            r"bad\.nc: 2 of 2 target cells lie outside the file, the first cell 0 \(44\.625N 0\.9W\).*44\.75 to 45 N",
        ),
        ("not netcdf", r"bad\.nc: not a NetCDF file"),
        ("ensemble", r"bad\.nc: t2m has dimensions .*number.*select one level or ensemble member"),
    ],
)
def test_bad_files_are_named(tmp_path, how, message):
    with pytest.raises(IngestError, match=message):
        read([spoil(tmp_path / "bad.nc", how)])


def test_the_same_hour_in_two_files_is_refused(tmp_path):
    whole = samples.era5_dataset()
    a, b = tmp_path / "a.nc", tmp_path / "b.nc"
    whole.isel(time=slice(0, 20)).to_netcdf(a)
    whole.isel(time=slice(19, 30)).to_netcdf(b)
    with pytest.raises(IngestError, match=r"at 2015-03-01T19:00 UTC is there twice \(.*a\.nc; .*b\.nc\)"):
        read([a, b])


def test_an_incomplete_set_of_variables_is_named(tmp_path):
    path = tmp_path / "few.nc"
    samples.era5_dataset(("t2m", "sp")).to_netcdf(path)
    with pytest.raises(IngestError, match=r"Qair, Wind, SWdown, LWdown, Rainf, Snowf, CO2air cannot be made"):
        forcing_fields.require_complete(read([path]), path)


def test_a_pattern_without_files_is_named(tmp_path):
    with pytest.raises(IngestError, match=r"nothing\*\.nc: no such file"):
        files.expand(["nothing*.nc"], tmp_path)


# --- real files --------------------------------------------------------------------------------------------------


def test_real_hourly_fields_against_xarray_and_scipy():
    """Four target cells inside 45-55N 0-10E; the independent way: xarray's own decoding and SciPy's interpolation."""
    folder = shared("data/era5/ERA5_2020-01-01_d2m.nc").parent
    cells = Cells(np.array([45.125, 46.3, 54.99, 50.0]), np.array([0.125, 3.9, 9.9, 5.0]))
    paths = [folder / f"ERA5_2020-01-01_{name}.nc" for name in ("d2m", "sp", "tp", "u10", "v10")]
    result = era5.read(paths, cells, config()).compute(scheduler="synchronous")
    at = {}
    for path, name in zip(paths, ("d2m", "sp", "tp", "u10", "v10"), strict=True):
        with xr.open_dataset(path) as raw:
            field = raw[name].load().sortby("latitude")
        axes = (field["latitude"].to_numpy(), field["longitude"].to_numpy())
        points = np.stack([cells.latitude, cells.longitude], axis=1)
        at[name] = np.stack([RegularGridInterpolator(axes, hour.to_numpy())(points) for hour in field])
    np.testing.assert_allclose(result["PSurf"], at["sp"], rtol=1e-6)
    np.testing.assert_allclose(result["Wind"], np.hypot(at["u10"], at["v10"]), rtol=1e-5)
    vapour = 611.21 * np.exp(17.502 * (at["d2m"] - 273.16) / (at["d2m"] - 32.19))
    np.testing.assert_allclose(result["Qair"], 0.62198 * vapour / (at["sp"] - 0.37802 * vapour), rtol=1e-4)
    fields = era5.read_fields([folder / "ERA5_2020-01-01_tp.nc"], cells)
    total = forcing_fields.to_cells(fields["precipitation"], cells, "bilinear", "tp").compute()
    np.testing.assert_allclose(total, at["tp"] / 3.6, rtol=1e-5, atol=1e-12)


def test_a_complete_real_forcing_from_two_downloads():
    """Davos has everything but wind; the other download has it: one cell lies in both, on 1 January 2020."""
    folder = shared("data/era5/ERA5_SURF_davos_202001.nc").parent
    paths = [
        folder / name for name in ("ERA5_SURF_davos_202001.nc", "ERA5_2020-01-01_u10.nc", "ERA5_2020-01-01_v10.nc")
    ]
    cells = Cells(np.array([46.75]), np.array([9.75]))
    period = Period(start="2020-01-01T00:00", end="2020-01-01T23:00")
    result = era5.read(paths, cells, config(period=period)).compute(scheduler="synchronous")
    forcing_fields.require_complete(result, "ERA5")
    with xr.open_dataset(paths[0]) as raw:
        part = raw[["t2m", "ssrd", "strd"]].isel(time=slice(0, 25)).load().sortby("latitude")
    point = part.interp(latitude=46.75, longitude=9.75)
    np.testing.assert_allclose(result["Tair"][:, 0], point["t2m"][:24], rtol=1e-6)
    means = np.maximum(point["ssrd"].to_numpy() / 3600.0, 0.0)
    np.testing.assert_allclose(result["SWdown"][:, 0], 0.5 * (means[:24] + means[1:]), rtol=1e-4, atol=0.02)
    night = physics.cosine_zenith(result["time"].to_numpy(), 46.75, 9.75) < -0.3
    assert night.sum() > 8
    assert float(result["SWdown"].to_numpy()[night].max()) < 1e-3


def test_real_grib_against_eccodes():
    import eccodes

    path = shared("data/era5/era5-single-level-scalar-time.grib")
    cells = Cells(np.array([43.75, 46.0]), np.array([3.5, -2.0]))
    result = era5.read([path], cells, config()).compute(scheduler="synchronous")
    assert result["time"].to_numpy()[0] == np.datetime64("2017-01-01T12:00")
    with path.open("rb") as file:
        message = eccodes.codes_grib_new_from_file(file)
        nearest = [
            eccodes.codes_grib_find_nearest(message, latitude, longitude)[0]["value"]
            for latitude, longitude in zip(cells.latitude, cells.longitude, strict=True)
        ]
        eccodes.codes_release(message)
    np.testing.assert_allclose(result["Tair"].to_numpy()[0], nearest, atol=1e-4)


@pytest.mark.parametrize("numbers", ["physical", "packed"])
def test_a_valid_range_beside_a_scale_factor_is_heeded_and_the_gap_policy_decides(tmp_path, numbers):
    whole = samples.era5_dataset()
    good = whole["t2m"].to_numpy().round(2)
    whole["t2m"] = (whole["t2m"].dims, good.copy(), {"units": "K"})
    whole["t2m"][12] = 330.0  # a possible temperature, but outside the range that the file declares
    low, high = float(good.min()), float(good.max())
    bounds = {"physical": (low, high), "packed": (round((low - 273) * 100), round((high - 273) * 100))}[numbers]
    kind = np.float64 if numbers == "physical" else np.int16
    whole["t2m"].attrs |= {"valid_min": kind(bounds[0]), "valid_max": kind(bounds[1])}
    path = tmp_path / "packed.nc"
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 273.0, "_FillValue": np.int16(-32768)}
    whole.to_netcdf(path, encoding={"t2m": packing})
    values = read([path])["Tair"].to_numpy()
    assert np.flatnonzero(np.isnan(values).any(axis=1)).tolist() == [12]
    times = samples.hours("2015-03-01T00:00", 30)
    kept = np.arange(len(values)) != 12
    np.testing.assert_allclose(values[kept], expected("t2m", times)[kept], atol=0.0051)
