"""ALMA forcing: names and units of sites, half hours to hours, SURFEX tables; an ERA5 archive mimic for ARCO."""

import functools
import http.server
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import alma, arco, forcing_fields
from ldas.pipeline.ingest import write as write_module
from ldas.pipeline.ingest.config import CellsConfig, GapPolicy, Period
from tests.pipeline.ingest import samples
from tests.support import shared

PACKING = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": np.int16(-32768)}


def config(**change: Any) -> alma.AlmaConfig:
    return alma.AlmaConfig(**{"files": ("unused",), **change})


def site_dataset(step_minutes: int = 30, count: int = 96, start: str = "2010-06-01T00:00") -> xr.Dataset:
    """A PLUMBER2-like file: (time, y, x), local time, averages stamped at their start, CO2 in ppm, no snowfall."""
    times = pd.date_range(start, periods=count, freq=f"{step_minutes}min").to_numpy()
    hour = np.arange(count) * step_minutes / 60.0
    fields = {
        "Tair": (280.0 + hour / 10.0, "K"),
        "Qair": (0.005 + 0 * hour, "kg/kg"),
        "Psurf": (980.0 + 0 * hour, "hPa"),
        "SWdown": (np.maximum(0.0, 500.0 * np.sin(2 * np.pi * (hour - 6) / 24)), "W/m2"),
        "LWdown": (300.0 + 0 * hour, "W/m2"),
        "Precip": (1e-4 * (np.arange(count) % 4 == 0), "kg/m2/s"),
        "Wind": (3.0 + 0 * hour, "m/s"),
        "CO2air": (390.0 + 0 * hour, "ppm"),
    }
    dataset = xr.Dataset(
        {name: (("time", "y", "x"), values[:, None, None], {"units": unit}) for name, (values, unit) in fields.items()},
        coords={"time": times},
    )
    dataset["latitude"] = (("y", "x"), [[43.7]])
    dataset["longitude"] = (("y", "x"), [[3.6]])
    return dataset


def write(dataset: xr.Dataset, path: Path) -> Path:
    dataset.to_netcdf(path)
    return path


def test_half_hours_of_averages_become_hours_in_the_stores_convention(tmp_path):
    path = write(site_dataset(), tmp_path / "site.nc")
    result = alma.read([path], config(stamp="start", utc_offset_h=1))
    times = result["time"].to_numpy()
    assert times[0] == np.datetime64("2010-06-01T00:00")  # 01:00 local is 00:00 UTC; the first full hour after a mean
    # A mean of [t, t + 30 min] of a linear course is its middle; two around an hour give the hour itself.
    local_hour = (times - np.datetime64("2010-05-31T23:00")) / np.timedelta64(1, "h")
    # The records hold the value of their START, so the mean of the intervals around an hour is 15 minutes early.
    np.testing.assert_allclose(result["Tair"][1:-1, 0], 280.0 + (local_hour[1:-1] - 0.25) / 10.0, rtol=1e-12)
    water = float((result["Rainf"] + result["Snowf"])[1:].sum()) * 3600.0
    inside = site_dataset()["Precip"].to_numpy()[2:96].sum() * 1800.0
    assert water == pytest.approx(inside, rel=1e-9)
    assert float(result["PSurf"][0, 0]) == 98000.0
    density = physics.air_density(result["Tair"], result["PSurf"], result["Qair"])
    np.testing.assert_allclose(
        result["CO2air"] / density * physics.MOLAR_MASS_DRY_AIR / physics.MOLAR_MASS_CO2 * 1e6, 390.0, rtol=1e-9
    )


def test_instants_are_kept_and_rain_belongs_to_the_interval_before(tmp_path):
    path = write(site_dataset(count=9), tmp_path / "site.nc")
    result = alma.read([path], config())
    np.testing.assert_allclose(result["Tair"][:, 0], 280.0 + np.arange(5) / 10.0)
    raw = site_dataset(count=9)["Precip"].to_numpy()[:, 0, 0]
    total = (result["Rainf"] + result["Snowf"]).to_numpy()[:, 0]
    np.testing.assert_allclose(total[1:], [raw[1:3].mean(), raw[3:5].mean(), raw[5:7].mean(), raw[7:9].mean()])


def test_hourly_files_of_several_periods_join(tmp_path):
    whole = site_dataset(60, 48)
    a = write(whole.isel(time=slice(24, 48)), tmp_path / "b.nc")
    b = write(whole.isel(time=slice(0, 24)), tmp_path / "a.nc")
    result = alma.read([a, b], config(period=Period(start="2010-06-01T05:00", end="2010-06-02T05:00")))
    assert result.sizes == {"time": 25, "cell": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("Qair"), "no variable Qair in the files"),
        (lambda d: d.drop_vars(["latitude", "longitude"]), "no latitude in the file; give `latitude`"),
        (lambda d: d.isel(time=[0, 1, 2, 5, 6, 7]), "has no value for 2 of 8 times, 2 in a row from 2010-06-01T01:30"),
        (lambda d: d.isel(time=[0]), r"1 record\(s\) in time"),
        (lambda d: d[["Tair"]].rename(Tair="t"), "none of the ALMA variables"),
        (lambda d: d.assign(Tair=d["Tair"].assign_attrs(units="degF")), "Tair has units 'degF'"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, change, message):
    path = write(change(site_dataset(count=8)), tmp_path / "site.nc")
    with pytest.raises(IngestError, match=message):
        alma.read([path], config())


def test_odd_steps_and_clocks_are_refused(tmp_path):
    path = write(site_dataset(25, 20), tmp_path / "odd.nc")
    with pytest.raises(IngestError, match="records are 1500 s apart"):
        alma.read([path], config())
    path = write(site_dataset(60, 20, "2010-06-01T00:10"), tmp_path / "late.nc")
    with pytest.raises(IngestError, match="not a multiple of 3600 s after a full hour"):
        alma.read([path], config())


def test_the_plumber2_sample_of_hyytiala():
    path = shared("data/site_flux/FI-Hyy_1996-2014_FLUXNET2015_Met.nc")
    result = alma.read([path], config(stamp="start", utc_offset_h=2))
    with xr.open_dataset(path) as raw:
        tair = raw["Tair"].to_numpy()[:, 0, 0].astype(float)
        rain = raw["Precip"].to_numpy()[:, 0, 0].astype(float)
    # Records at 0:00, 0:30, 1:00 ... local: the instant 1:00 is between the means that end and begin there.
    assert result["time"].to_numpy()[0] == np.datetime64("1995-12-31T23:00")
    np.testing.assert_allclose(result["Tair"][0, 0], 0.5 * (tair[1] + tair[2]), rtol=1e-7)
    np.testing.assert_allclose((result["Rainf"] + result["Snowf"])[0, 0], rain[:2].mean(), rtol=1e-6)


def test_the_year_of_champaign_with_its_gaps():
    path = shared("data/site_flux/US-Champaign_1998_halfhourly_forcing_fluxes.nc")
    result = alma.read([path], config(stamp="end", utc_offset_h=-6, gaps=GapPolicy(action="fill", hours=6)))
    with xr.open_dataset(path) as raw:
        total = float(raw["Rainf"].sum()) * 1800.0
        air, ends = raw["Tair"].to_numpy().reshape(-1), raw["time"].to_numpy()
    assert total == pytest.approx(927.0, abs=2.0)
    # A state at a full hour is the mean of the two half hours that end and begin there.
    place = np.flatnonzero(ends == np.datetime64("1998-07-01T14:00"))[0]
    at = result["Tair"].sel(time="1998-07-01T20:00")[0]
    np.testing.assert_allclose(at, 0.5 * (air[place] + air[place + 1]), rtol=1e-6)
    assert float((result["Rainf"] + result["Snowf"]).sum()) * 3600.0 == pytest.approx(total, rel=3e-3)


def test_surfex_text_tables():
    path = shared("data/site_flux/HAPEX_1986_30min_forcing.txt")
    result = alma.read([path], config(start="1986-01-01T00:00", step_s=1800, latitude=43.68, longitude=-0.1))
    raw = np.loadtxt(path)
    assert result.sizes["time"] == 8761
    np.testing.assert_allclose(result["Tair"][:, 0], raw[::2, 3], rtol=1e-6)
    rain = float((result["Rainf"] + result["Snowf"])[1:].sum()) * 3600.0
    assert rain == pytest.approx(raw[1:, 2].sum() * 1800.0, rel=1e-5)
    with pytest.raises(IngestError, match="a text table has no place"):
        alma.read([path], config(start="1986-01-01T00:00", step_s=1800))
    snow = shared("data/site_flux/CDP_1996-1997_hourly_forcing.txt")
    result = alma.read([snow], config(surface_pressure=84000.0, latitude=45.3, longitude=5.77))
    raw = np.loadtxt(snow)
    np.testing.assert_allclose(result["Snowf"][:, 0], raw[:, 4] * raw[:, 5], rtol=1e-5, atol=1e-12)


# --- ARCO: a mimic, since the archive could not be read here -----------------------------------------------------


def arco_mimic(folder: Path, zarr_format: int = 3) -> Path:
    """A small mimic of the archive: long names, 0..360, 90..-90 in part, hourly chunks, span in the attributes."""
    longitude = np.arange(-2.0, 2.25, 0.25)
    short = samples.era5_dataset(longitude=longitude, latitude=np.arange(46.0, 43.75, -0.25))
    long = {entry[0][0]: quantity for quantity, entry in arco.NAMES.items()}
    names = {
        "temperature": "t2m",
        "dew_point": "d2m",
        "pressure": "sp",
        "eastward_wind": "u10",
        "northward_wind": "v10",
        "shortwave": "ssrd",
        "longwave": "strd",
        "precipitation": "tp",
        "snowfall": "sf",
    }
    mimic = short.rename({names[quantity]: name for name, quantity in long.items()})
    mimic = mimic.assign_coords(longitude=longitude % 360.0).sortby("longitude")
    mimic.attrs.update(valid_time_start="2015-03-01", valid_time_stop="2015-03-02", title="mimic of ARCO ERA5")
    path = folder / "arco-mimic.zarr"
    encoding = {name: {"chunks": (1, mimic.sizes["latitude"], mimic.sizes["longitude"])} for name in mimic.data_vars}
    mimic.to_zarr(path, zarr_format=zarr_format, encoding=encoding, consolidated=zarr_format == 2)
    return path


def arco_config(url: str, **change: Any) -> arco.ArcoConfig:
    period = Period(start="2015-03-01T00:00", end="2015-03-02T05:00")
    cells = CellsConfig(points=((44.625, -0.9), (44.3, -0.125)))
    return arco.ArcoConfig(**{"url": url, "url_options": {}, "period": period, "cells": cells, **change})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_archive_mimic_gives_what_the_files_give(tmp_path, zarr_format):
    from ldas.pipeline.ingest import era5
    from tests.pipeline.ingest.test_era5 import CELLS

    settings = arco_config(str(arco_mimic(tmp_path, zarr_format)))
    result = arco.read(CELLS, settings).compute(scheduler="synchronous")
    path = tmp_path / "files.nc"
    samples.era5_dataset().to_netcdf(path)
    reference = era5.read([path], CELLS, era5.Era5Config(files=("unused",), cells=settings.cells))
    xr.testing.assert_allclose(result, reference.compute(scheduler="synchronous"))


def test_the_archive_that_does_not_answer_or_lacks_something_is_named(tmp_path):
    from tests.pipeline.ingest.test_era5 import CELLS

    url = str(arco_mimic(tmp_path))
    with pytest.raises(IngestError, match="`period` needs start and end"):
        arco.read(CELLS, arco_config(url, period=Period()))
    with pytest.raises(IngestError, match=r"data end on 2015-03-02, the period asks for 2015-03-09"):
        arco.read(CELLS, arco_config(url, period=Period(start="2015-03-01", end="2015-03-09")))
    with pytest.raises(IngestError, match=r"absent\.zarr: the archive cannot be opened"):
        arco.read(CELLS, arco_config(str(tmp_path / "absent.zarr")))
    with pytest.raises(IngestError, match=r"http://127\.0\.0\.1:9/archive\.zarr: the archive"):
        arco.read(CELLS, arco_config("http://127.0.0.1:9/archive.zarr", timeout_s=20.0))
    xr.open_zarr(url, consolidated=False).drop_vars("surface_pressure").to_zarr(
        tmp_path / "less.zarr", consolidated=False
    )
    with pytest.raises(IngestError, match=r"no variable surface_pressure; the archive has: 10m_u"):
        arco.read(CELLS, arco_config(str(tmp_path / "less.zarr")))


def test_the_archive_over_http(tmp_path, monkeypatch):
    """The default URL is HTTPS: the same way, from a server of this test."""
    from ldas.pipeline.ingest import era5
    from tests.pipeline.ingest.test_era5 import CELLS

    path = arco_mimic(tmp_path, 2)
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = arco_config(f"http://127.0.0.1:{server.server_port}/{path.name}")
        result = arco.read(CELLS, settings)[["Tair"]].compute(scheduler="synchronous")
        monkeypatch.setattr(forcing_fields, "block_records", lambda cells, memory: 1)
        lazy = arco.read(CELLS, settings)[["Tair"]]
        server.shutdown()
    with pytest.raises(IngestError, match=r"arco: the files cannot be read between 2015-03-01T00:00 UTC and"):
        write_module._computed(lazy.isel(time=[0]), "arco")
    fields = {"temperature": era5.read_fields([write_fields(tmp_path)])["temperature"]}
    reference = era5.at_cells(fields, CELLS, settings, "files").compute(scheduler="synchronous")
    xr.testing.assert_allclose(result["Tair"], reference["Tair"])


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: object) -> None: ...


def write_fields(folder: Path) -> Path:
    path = folder / "fields.nc"
    samples.era5_dataset(("t2m",)).to_netcdf(path)
    return path


def test_an_archive_that_is_silent_is_given_up():
    import time

    def silent() -> xr.Dataset:
        time.sleep(1.0)
        return xr.Dataset()

    with pytest.raises(IngestError, match=r"did not answer within 0\.1 s"):
        arco._within(0.1, silent, "gs://archive")


@pytest.mark.parametrize(
    "valid",
    [
        {"valid_range": np.array([0.0, 320.0])},  # physical numbers
        {"valid_range": np.array([-30000, 4000], dtype="int16")},  # packed ones: -20 to 320 K
        {"valid_max": np.int16(320)},  # physical, of the packed type
    ],
)
def test_a_valid_range_beside_a_scale_factor_is_heeded_and_the_gap_policy_decides(tmp_path, valid):
    source = site_dataset(60, 48)
    temperature = source["Tair"].to_numpy().copy()
    temperature[7], temperature[9] = 320.0, 320.01
    source["Tair"] = (source["Tair"].dims, temperature, {"units": "K", **valid})
    path = tmp_path / "packed.nc"
    source.to_netcdf(path, encoding={"Tair": PACKING})
    values = alma.read([path], config())["Tair"].to_numpy()[:, 0]
    assert np.flatnonzero(np.isnan(values)).tolist() == [9]
    np.testing.assert_allclose(values[[0, 7, 8]], [280.0, 320.0, 280.8], atol=1e-9)
