"""Forcing as users have it (synthetic): SURFEX's FORCING.nc, one variable a file, FLUXNET2015 and ICOS tables."""

import gzip
import re
import zipfile
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import alma, daily, era5, fluxnet, inspect_file
from ldas.pipeline.ingest.config import CellsConfig, DisaggregationOptions
from tests.pipeline.ingest import samples
from tests.pipeline.ingest.test_alma import config
from tests.pipeline.ingest.test_daily import PUECHABON, assert_conserves

SUN = np.clip(np.sin((np.arange(49) % 24 - 6) / 12 * np.pi), 0, None).round(6)
# name: unit and series of 49 hours; two points differ by a factor of 1.01
SURFEX = {
    "Tair": ("K", 285.0 + 5 * SUN),
    "Qair": ("kg/kg", 0.007 + 0 * SUN),
    "PSurf": ("Pa", 97000.0 + 0 * SUN),
    "DIR_SWdown": ("W/m2", 500 * SUN),
    "SCA_SWdown": ("W/m2", 100 * SUN),
    "LWdown": ("W/m2", 320 + 0 * SUN),
    "Rainf": ("kg/m2/s", 1e-5 + 1e-5 * SUN),
    "Snowf": ("kg/m2/s", 2e-6 * SUN),
    "Wind": ("m/s", 2 + SUN),
    "Wind_DIR": ("deg", 90 + 0 * SUN),
    "CO2air": ("kg/m3", 6.2e-4 + 0 * SUN),
}


def write_surfex(path: Path, layout: str = "points", **change: Any) -> Path:
    """A FORCING.nc as SURFEX and LDAS-Monde have it.

    Args:
        layout: `points` (two), `one point`, `scalars` (series without a place), `grid` (xx, yy: longitude first).
        change: `units` of the time, `step` (FRC_TIME_STP), `without` (names), `bare` (no units).
    """
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.createDimension("time", 49)
        space: dict[str, int] = {
            "points": {"Number_of_points": 2},
            "one point": {"Number_of_points": 1},
            "scalars": {},
            "grid": {"xx": 1, "yy": 2},
        }[layout]
        for name, size in space.items():
            file.createDimension(name, size)
        dims = tuple(space)
        time = file.createVariable("time", "f4", ("time",))
        time.units = change.get("units", "hours since 2024-06-01 00:00:00 0:00")
        time[:] = np.arange(49)
        step = file.createVariable("FRC_TIME_STP", "f4", ())
        step[...] = change.get("step", 3600.0)
        shape = tuple(space.values())
        for name, values in (("LON", [0.0, 0.0]), ("LAT", [44.0, 44.5]), ("ZS", [100, 200]), ("ZREF", [2, 2])):
            item = file.createVariable(name, "f4", dims)
            item[...] = np.array(values[: int(np.prod(shape))]).reshape(shape)
        factor = (1.0 + 0.01 * np.arange(int(np.prod(shape)))).reshape(shape)
        for name, (unit, series) in SURFEX.items():
            if name in change.get("without", ()):
                continue
            item = file.createVariable(name, "f4", ("time", *dims))
            if not change.get("bare"):
                item.units = unit
            item[...] = series.reshape(-1, *(1 for _ in shape)) * factor
    return path


def expected(name: str, cells: int) -> np.ndarray:
    unit = SURFEX[name][1][:, None] * (1.0 + 0.01 * np.arange(cells))
    return np.asarray(unit)


@pytest.mark.parametrize(("layout", "cells"), [("points", 2), ("one point", 1), ("scalars", 1), ("grid", 2)])
@pytest.mark.parametrize("bare", [False, True])
def test_surfex_forcing(tmp_path, layout, cells, bare):
    result = alma.read([write_surfex(tmp_path / "FORCING.nc", layout, bare=bare)], config())
    np.testing.assert_array_equal(result["time"], samples.hours("2024-06-01", 49))
    np.testing.assert_allclose(result["latitude"], [44.0, 44.5][:cells])
    np.testing.assert_allclose(result["longitude"], 0.0)
    for name in ("Tair", "Qair", "PSurf", "LWdown", "Rainf", "Snowf", "Wind", "CO2air"):
        np.testing.assert_allclose(result[name], expected(name, cells), rtol=1e-6, err_msg=name)
    total = expected("DIR_SWdown", cells) + expected("SCA_SWdown", cells)
    np.testing.assert_allclose(result["SWdown"], total, rtol=1e-6)
    report = inspect_file(tmp_path / "FORCING.nc")
    assert (report.source, report.problem, report.times) == ("alma", None, 49)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 1800.0}, r"FORCING\.nc: FRC_TIME_STP is 1800 s, but the times are 3600 s apart"),
        ({"without": ("SCA_SWdown",)}, r"no variable SWdown in the files"),
        ({"without": ("CO2air", "Wind")}, r"no variable Wind in the files"),
        ({"units": "hours"}, r"time has the calendar .* or units that are not dates"),
    ],
)
def test_a_surfex_forcing_that_cannot_be_used_is_named(tmp_path, change, message):
    with pytest.raises(IngestError, match=message):
        alma.read([write_surfex(tmp_path / "FORCING.nc", **change)], config())


def test_surfex_times_that_are_no_dates_can_be_given(tmp_path):
    path = write_surfex(tmp_path / "FORCING.nc", units="hours")
    result = alma.read([path], config(start="2024-06-01T00:00"))
    np.testing.assert_array_equal(result["time"], samples.hours("2024-06-01", 49))


@pytest.mark.parametrize(("kind", "units"), [("f4", "days since 2024-01-01"), ("f8", "days since 1900-01-01")])
def test_times_in_floating_point_are_full_hours(tmp_path, kind, units):
    """A third of a day is no number in binary: hours come out some seconds off."""
    times = samples.hours("2024-06-01", 49)
    dataset = gridded().isel(lat=[0], lon=[0])
    dataset["time"] = ("time", ((times - np.datetime64(units[-10:])) / np.timedelta64(1, "D")).astype(kind))
    dataset["time"].attrs["units"] = units
    dataset.to_netcdf(tmp_path / "days.nc")
    np.testing.assert_array_equal(alma.read([tmp_path / "days.nc"], config())["time"], times)


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("ppm", 410.0),
        ("umol/mol", 410.0),
        ("1e-6", 410.0),
        ("mol mol-1", 410e-6),
        ("kg/kg", 410e-6 * physics.MOLAR_MASS_CO2 / physics.MOLAR_MASS_DRY_AIR),
        ("Kg/m3", None),
    ],
)
def test_units_of_co2(tmp_path, unit, value):
    dataset = gridded()
    density = physics.air_density(dataset["Tair"], dataset["PSurf"], dataset["Qair"])
    wanted = physics.co2_density(410.0, density)
    given = wanted if value is None else np.full(density.shape, value)
    dataset["CO2air"] = (("time", "lat", "lon"), given, {"units": unit})
    dataset.to_netcdf(tmp_path / "co2.nc")
    result = alma.read([tmp_path / "co2.nc"], config())
    np.testing.assert_allclose(result["CO2air"], wanted.reshape(49, -1), rtol=1e-12)


# --- one variable a file -----------------------------------------------------------------------------------------


def gridded(start: str = "2024-06-01", count: int = 49, latitude: float = 43.75) -> xr.Dataset:
    """Gridded ALMA forcing, 2 x 3 cells that all differ, from day to day too."""
    times = samples.hours(start, count)
    hour = (times - np.datetime64("2024-06-01")) / np.timedelta64(1, "h")
    sun = np.clip(np.sin((hour % 24 - 6) / 12 * np.pi), 0, None)[:, None, None]
    place = np.arange(6).reshape(1, 2, 3) + hour[:, None, None] / 100
    fields = {
        "Tair": (285 + 5 * sun + place, "K"),
        "Qair": (0.007 + 1e-5 * place, "kg kg-1"),
        "PSurf": (97000 + place, "Pa"),
        "SWdown": (600 * sun + 0 * place, "W m-2"),
        "LWdown": (320 + place, "W m-2"),
        "Rainf": (1e-5 * (1 + place), "kg m-2 s-1"),
        "Snowf": (1e-7 * (1 + place), "kg m-2 s-1"),
        "Wind": (2 + 0.1 * place, "m s-1"),
    }
    return xr.Dataset(
        {name: (("time", "lat", "lon"), values, {"units": unit}) for name, (values, unit) in fields.items()},
        coords={"time": times, "lat": [latitude, latitude + 0.5], "lon": [0.25, 0.75, 1.25]},
    )


def by_variable(dataset: xr.Dataset, folder: Path, label: str) -> list[Path]:
    paths = []
    for name in dataset.data_vars:
        paths.append(folder / f"{name}_WFDE5_CRU_{label}_v2.1.nc")
        dataset[[name]].to_netcdf(paths[-1])
    return paths


@pytest.mark.parametrize("files", ["by variable", "by month and variable", "some together"])
def test_files_of_one_variable_belong_together(tmp_path, files):
    whole = gridded("2024-06-30", 48)
    whole.to_netcdf(tmp_path / "whole.nc")
    reference = alma.read([tmp_path / "whole.nc"], config())
    if files == "by variable":
        paths = by_variable(whole, tmp_path, "2024")
    elif files == "by month and variable":
        paths = by_variable(whole.isel(time=slice(24, None)), tmp_path, "202407")
        paths += by_variable(whole.isel(time=slice(0, 24)), tmp_path, "202406")
    else:
        paths = [*by_variable(whole[["Tair", "Rainf"]], tmp_path, "2024"), tmp_path / "rest.nc"]
        whole.drop_vars(["Tair", "Rainf"]).to_netcdf(paths[-1])
    result = alma.read(sorted(paths), config())
    xr.testing.assert_identical(result, reference)
    np.testing.assert_allclose(result["Tair"][0], whole["Tair"].to_numpy()[0].reshape(-1))
    np.testing.assert_allclose(result["latitude"], [43.75] * 3 + [44.25] * 3)
    np.testing.assert_allclose(result["longitude"], [0.25, 0.75, 1.25] * 2)
    report = inspect_file(paths[0])
    assert (report.source, report.problem) == ("alma", None)


def test_dimensions_in_any_order(tmp_path):
    whole = gridded()
    whole.to_netcdf(tmp_path / "a.nc")
    whole.assign(Wind=whole["Wind"].transpose("lon", "time", "lat")).transpose("lon", "time", "lat").to_netcdf(
        tmp_path / "b.nc"
    )
    mixed = whole.assign(Wind=whole["Wind"].transpose("lon", "time", "lat"), CO2air=("time", np.full(49, 400.0)))
    mixed["CO2air"].attrs["units"] = "ppm"
    mixed.to_netcdf(tmp_path / "c.nc")
    reference, turned, other = (alma.read([tmp_path / name], config()) for name in ("a.nc", "b.nc", "c.nc"))
    xr.testing.assert_identical(turned, reference)
    xr.testing.assert_identical(other.drop_vars("CO2air"), reference.drop_vars("CO2air"))
    density = physics.air_density(other["Tair"], other["PSurf"], other["Qair"])
    np.testing.assert_allclose(other["CO2air"], physics.co2_density(400.0, density), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.assign_coords(lat=d["lat"] + 1.0), r"Wind.nc: it has other cells than .*Tair.nc \(latitude\)"),
        (lambda d: d.isel(lon=slice(0, 2)), r"Wind.nc: it has other cells than .*Tair.nc"),
        (
            lambda d: d.isel(time=slice(0, 40)),
            r"Wind.nc: Wind has 40 times from 2024-06-01T00:00 UTC to 2024-06-02T15:00 UTC, but Tair has 49 times",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_named(tmp_path, change, message):
    whole = gridded()
    whole.drop_vars("Wind").to_netcdf(tmp_path / "Tair.nc")
    change(whole[["Wind"]]).to_netcdf(tmp_path / "Wind.nc")
    with pytest.raises(IngestError, match=message):
        alma.read([tmp_path / "Tair.nc", tmp_path / "Wind.nc"], config())


def test_the_same_month_twice_and_longer_steps_are_named(tmp_path):
    whole = gridded()
    paths = [*by_variable(whole, tmp_path, "a"), *by_variable(whole[["Wind"]], tmp_path, "b")]
    with pytest.raises(IngestError, match=r"Wind_.*_a_.*Wind_.*_b_.*: Wind: times must increase"):
        alma.read(paths, config())
    whole.isel(time=slice(0, None, 3)).to_netcdf(tmp_path / "GSWP3.nc")
    with pytest.raises(IngestError, match=r"records are 10800 s apart.*ldas does not make hours of longer steps"):
        alma.read([tmp_path / "GSWP3.nc"], config())


@pytest.mark.parametrize("number", [-9999.0, 1e20])
def test_undeclared_nodata_of_the_sea(tmp_path, number):
    whole = gridded()
    whole["Rainf"][:, 0, 1] = number
    whole.to_netcdf(tmp_path / "sea.nc", encoding={"Rainf": {"_FillValue": None}})
    result = alma.read([tmp_path / "sea.nc"], config())
    assert np.isnan(result["Rainf"].to_numpy()).all(axis=0).tolist() == [False, True, False, False, False, False]


# --- FLUXNET2015 and ICOS ----------------------------------------------------------------------------------------

FULLSET = (
    "TIMESTAMP,TA_F_MDS,TA_F_MDS_QC,TA_F,TA_F_QC,TA_F_DAY,TA_F_DAY_QC,SW_IN_POT,SW_IN_F_MDS,SW_IN_F,SW_IN_F_QC,LW_IN_F,"
    "LW_IN_F_QC,VPD_F,VPD_F_QC,PA_F,PA_F_QC,P_F,P_F_QC,WS_F,WS_F_QC,CO2_F_MDS,CO2_F_MDS_QC,NEE_VUT_REF,LE_F_MDS"
)
SUBSET = (
    "TIMESTAMP,TA_F,TA_F_QC,SW_IN_POT,SW_IN_F,SW_IN_F_QC,LW_IN_F,LW_IN_F_QC,VPD_F,VPD_F_QC,PA_F,PA_F_QC,P_F,P_F_QC,WS_F,"
    "WS_F_QC,CO2_F_MDS,CO2_F_MDS_QC,NEE_VUT_REF,LE_F_MDS"
)
DAY = {"TA_F": 8.0, "TA_F_DAY": 10.0, "SW_IN_F": 120.0, "LW_IN_F": 300.0, "VPD_F": 2.5, "PA_F": 98.4}
DAY |= {"P_F": 3.2, "WS_F": 2.1, "CO2_F_MDS": 395.0, "SW_IN_POT": 200.0}


def write_table(path: Path, header: str, **change: float) -> Path:
    """Three days; what is not in `DAY` is -9999, quality too."""
    lines = [header]
    for k in range(3):
        row = {**DAY, **change, "TIMESTAMP": f"2010010{k + 1}"}
        lines.append(",".join(str(row.get(name, -9999)) for name in header.split(",")))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "header", "cycle"),
    [
        ("FLX_FR-Pue_FLUXNET2015_FULLSET_DD_2000-2014_2-4.csv", FULLSET, "daytime_mean"),
        ("FLX_FR-Pue_FLUXNET2015_SUBSET_DD_2000-2014_2-4.csv", SUBSET, "radiation"),
        ("ICOSETC_FR-Pue_FLUXNET_DD_L2.csv", SUBSET, "radiation"),
    ],
)
def test_fluxnet2015_and_icos_daily_tables(tmp_path, name, header, cycle):
    path = write_table(tmp_path / name, header)
    values = fluxnet.read_daily_forcing(path)
    wanted = {
        "temperature": 281.15,
        "shortwave": 120.0,
        "longwave": 300.0,
        "vapour_pressure_deficit": 250.0,
        "pressure": 98400.0,
        "precipitation": 3.2,
        "wind": 2.1,
        "co2": 395.0,
    }
    for quantity, value in wanted.items():
        np.testing.assert_allclose(values[quantity], value, err_msg=quantity)
    assert ("temperature_daytime" in values) == (header == FULLSET)
    options = DisaggregationOptions(temperature_cycle=cycle)
    assert_conserves(values, daily.fluxnet_daily_forcing(path, PUECHABON, options))
    assert inspect_file(path).source == "daily"


def test_columns_without_a_value_give_way_to_the_next_and_co2_to_the_table(tmp_path):
    header = FULLSET.replace("TA_F_MDS,", "TA_F_MDS,LW_IN_F_MDS,")
    path = write_table(tmp_path / "a.csv", header, LW_IN_F=-9999, LW_IN_F_MDS=310.0, CO2_F_MDS=-9999)
    values = fluxnet.read_daily_forcing(path)
    np.testing.assert_allclose(values["longwave"], 310.0)
    assert "co2" not in values

    def ppm(**given: float) -> float:
        made = daily.fluxnet_daily_forcing(path, PUECHABON, **given)
        density = physics.air_density(made["Tair"], made["PSurf"], made["Qair"])
        return float((made["CO2air"] / density).mean()) * physics.MOLAR_MASS_DRY_AIR / physics.MOLAR_MASS_CO2 * 1e6

    assert ppm(co2_ppm=400.0) == pytest.approx(400.0)
    assert 386 < ppm() < 390  # January 2010, between NOAA's annual means
    with pytest.raises(IngestError, match="column SW_IN_F or SW_IN_F_MDS"):
        fluxnet.read_daily_forcing(write_table(tmp_path / "b.csv", FULLSET, SW_IN_F=-9999))


# --- what is of another kind -------------------------------------------------------------------------------------


def write_other(path: Path, kind: str) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for part in ("instant", "accum"):
                archive.writestr(f"data_stream-oper_stepType-{part}.nc", b"CDF\x01")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"CDF\x01"))
    elif kind == "broken zip":
        path.write_bytes(b"PK\x03\x04" + bytes(20))
    else:
        path.write_text("<!DOCTYPE html>")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "zip",
            r"a zip archive of data_stream-oper_stepType-instant\.nc, data_.*accum\.nc, .*unzip it and give the files",
        ),
        ("broken zip", "a zip archive that is truncated or damaged"),
        ("gzip", "compressed with gzip; unpack it"),
        ("web page", "a web page, perhaps the error message of a download"),
    ],
)
@pytest.mark.parametrize("source", ["era5", "alma", "daily", "inspect"])
def test_archives_and_other_tables_are_called_what_they_are(tmp_path, kind, message, source):
    path = write_other(tmp_path / "download.nc", kind)
    if source == "inspect":
        report = inspect_file(path)
        assert not report.source
        assert re.search(message, str(report.problem))
        return
    read = {
        "era5": lambda: era5.read_fields([path]),
        "alma": lambda: alma.read([path], config()),
        "daily": lambda: fluxnet.read_daily_forcing(path),
    }[source]
    with pytest.raises(IngestError, match=message):
        read()


def test_the_zip_of_a_download_read_after_unzipping(tmp_path):
    """Instants and amounts come in two files: together they are the forcing."""
    whole = samples.era5_dataset()
    amounts = ["ssrd", "strd", "tp", "sf"]
    whole.drop_vars(amounts).to_netcdf(tmp_path / "instant.nc")
    whole[amounts].to_netcdf(tmp_path / "accum.nc")
    whole.to_netcdf(tmp_path / "whole.nc")
    cells = CellsConfig(points=((44.625, -0.9),))
    settings = era5.Era5Config(files=("unused",), cells=cells)
    from ldas.pipeline.ingest.grid import target_cells

    both, one = (
        era5.read([tmp_path / name for name in names], target_cells(cells), settings).compute(scheduler="synchronous")
        for names in (["accum.nc", "instant.nc"], ["whole.nc"])
    )
    xr.testing.assert_identical(both, one)
    assert pd.Timestamp(both["time"].to_numpy()[0]) == pd.Timestamp("2015-03-01")
