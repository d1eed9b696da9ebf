"""A forcing ingested in pieces has the bytes of one that was ingested at once, or is refused with what to add."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import FILTER_STATES, open_dataset, open_store
from ldas.pipeline.store.location import Location
from tests.pipeline.ingest import samples
from tests.pipeline.ingest.test_alma import arco_mimic, site_dataset
from tests.pipeline.ingest.test_daily import HEADER

POINTS = {"points": [[44.625, -0.9], [44.3, -0.125]]}
DAY = np.timedelta64(1, "D")
HOUR = np.timedelta64(1, "h")


def weather(days: int = 3, snowfall: bool = False) -> xr.Dataset:
    """Days that differ from hour to hour and from day to day, around freezing; without snowfall by default."""
    times = samples.hours("2015-03-01T00:00", 24 * days)
    dataset = samples.era5_dataset(times=times)
    random = np.random.default_rng(3)
    for name, scale in (("t2m", 3.0), ("ssrd", 1e4), ("strd", 1e5), ("tp", 1e-4), ("sp", 100.0)):
        dataset[name] = dataset[name] + scale * random.random(dataset[name].shape)
        dataset[name].attrs["units"] = samples.ERA5_UNITS[name]
    dataset["t2m"] = (dataset["t2m"] - 12.5).assign_attrs(units="K")
    dataset["d2m"] = (dataset["d2m"] - 12.5).assign_attrs(units="K")
    return dataset if snowfall else dataset.drop_vars("sf")


def ingest(folder: Path, store: str, source: str = "era5", continued: bool = False, **content: Any) -> tuple[Any, ...]:
    settings = {"store": {"url": store}, **({"cells": POINTS} if source in ("era5", "arco") else {}), **content}
    return run_ingest(source, samples.write_config(folder / "ingest.yaml", **settings), continued=continued)


def assert_same_bytes(folder: Path, pieces: str = "pieces.zarr", once: str = "once.zarr") -> xr.Dataset:
    """All variables, and no other times; the result."""
    result, reference = (open_dataset(folder / store, "forcing").load() for store in (pieces, once))
    np.testing.assert_array_equal(result["time"], reference["time"])
    for name in registry.names("forcing"):
        assert result[name].dtype == reference[name].dtype
        assert result[name].to_numpy().tobytes() == reference[name].to_numpy().tobytes(), name
    return result


def day_files(dataset: xr.Dataset, folder: Path, kind: str) -> list[str]:
    """One file a UTC day."""
    names = []
    days = dataset["time"].to_numpy().astype("datetime64[D]")
    for day in np.unique(days):
        part = dataset.isel(time=np.flatnonzero(days == day))
        name = f"{day}.{'grib' if 'grib' in kind else 'nc'}"
        if "grib" in kind:
            samples.write_grib(part, folder / name, land="land" in kind)
        else:
            part.to_netcdf(folder / name)
        names.append(name)
    return names


@pytest.mark.parametrize(
    ("kind", "snowfall"), [pytest.param("netcdf", False, marks=pytest.mark.long), ("netcdf", True), ("grib", False)]
)
def test_era5_by_day(tmp_path, kind, snowfall):
    """Files of single days: the radiation of 23 UTC and the snow of 00 UTC need both."""
    names = day_files(weather(3 if snowfall else 2, snowfall), tmp_path, kind)
    ingest(tmp_path, "once.zarr", files=names)
    for k, name in enumerate(names):
        ingest(tmp_path, "pieces.zarr", files=[name], append=True)
        if k == 0:
            first = open_dataset(tmp_path / "pieces.zarr", "forcing").load()
    result = assert_same_bytes(tmp_path)
    assert (first["LWdown"][23] != result["LWdown"][23]).all()  # it was the mean of the hour before, and is centred now
    np.testing.assert_array_equal(first["Tair"], result["Tair"][:24])
    snow, rain = result["Snowf"].to_numpy(), result["Rainf"].to_numpy()
    assert snowfall or ((snow[24] > 0) & (rain[24] > 0)).any()


@pytest.mark.parametrize(
    ("source", "ends"), [("era5", ["2015-03-01T05:00", "2015-03-01T06:00"]), ("arco", ["2015-03-01T22:00"])]
)
def test_periods_of_one_download(tmp_path, source, ends):
    """The hour after each piece is there: nothing is provisional, and nothing changes."""
    if source == "era5":
        weather(2).to_netcdf(tmp_path / "era5.nc")
        content: dict[str, Any] = {"files": ["era5.nc"]}
    else:
        content = {"url": str(arco_mimic(tmp_path)), "url_options": {}}
    last = "2015-03-02T05:00"
    ingest(tmp_path, "once.zarr", source, period={"start": "2015-03-01T00:00", "end": last}, **content)
    starts = ["2015-03-01T00:00", *(str(np.datetime64(end) + HOUR) for end in ends)]
    for start, end in zip(starts, [*ends, last], strict=True):
        ingest(tmp_path, "pieces.zarr", source, period={"start": start, "end": end}, append=True, **content)
    assert_same_bytes(tmp_path)


def test_every_hour_alone(tmp_path):
    whole = weather(1).isel(time=slice(0, 4))
    whole.to_netcdf(tmp_path / "once.nc")
    ingest(tmp_path, "once.zarr", files=["once.nc"])
    for k in range(4):
        whole.isel(time=[k]).to_netcdf(tmp_path / f"{k}.nc")
        ingest(tmp_path, "pieces.zarr", files=[f"{k}.nc"], append=True)
    assert_same_bytes(tmp_path)


def test_an_experiment_whose_files_grow(tmp_path):
    """`ldas run` reads all files again and writes what comes after the stored hours."""
    names = day_files(weather(), tmp_path, "netcdf")
    ingest(tmp_path, "once.zarr", files=names)
    later = [(tmp_path / name).rename(tmp_path / f"{name}.later") for name in names[1:]]
    ingest(tmp_path, "pieces.zarr", files=["*.nc"], append=True)
    for path in later:
        path.rename(path.with_suffix(""))
        (done,) = ingest(tmp_path, "pieces.zarr", files=["*.nc"], append=True, continued=True)
        assert done.sizes["time"] == 24
    assert_same_bytes(tmp_path)
    assert ingest(tmp_path, "pieces.zarr", files=["*.nc"], append=True, continued=True) == ()


@pytest.mark.parametrize("kind", [pytest.param("land netcdf", marks=pytest.mark.long), "land grib"])
def test_era5_land_by_day_needs_the_day_before(tmp_path, kind):
    names = day_files(samples.since_midnight(weather(2)), tmp_path, kind)
    settings = {"accumulation": "since_midnight"}
    ingest(tmp_path, "once.zarr", files=names, **settings)
    ingest(tmp_path, "pieces.zarr", files=names[:1], append=True, **settings)
    start = {"period": {"start": "2015-03-02T00:00"}}
    with pytest.raises(
        IngestError, match=r"ends at 2015-03-02T00:00 UTC .* add the file that holds 2015-03-01T23:00 UTC"
    ):
        ingest(tmp_path, "pieces.zarr", files=names[1:2], append=True, **start, **settings)
    ingest(tmp_path, "pieces.zarr", files=names, append=True, **start, **settings)
    assert_same_bytes(tmp_path)


def test_hours_that_are_missing_at_the_seam(tmp_path):
    """As files that lack them are filled from both sides, so is a seam: the earlier file is given as well."""
    whole = weather(2).drop_isel(time=[22, 23, 24])
    names = day_files(whole, tmp_path, "netcdf")
    fill = {"gaps": {"action": "fill", "hours": 3}}
    ingest(tmp_path, "once.zarr", files=names, **fill)
    ingest(tmp_path, "pieces.zarr", files=names[:1], append=True, **fill)
    start = {"period": {"start": "2015-03-01T22:00"}}
    with pytest.raises(IngestError, match=r"3 in a row from 2015-03-01T22:00 UTC; .* give the files around the period"):
        ingest(tmp_path, "pieces.zarr", files=names[1:], append=True, **start, **fill)
    ingest(tmp_path, "pieces.zarr", files=names, append=True, **start, **fill)
    assert_same_bytes(tmp_path)


@pytest.mark.parametrize("name", [pytest.param("t2m", marks=pytest.mark.long), "sp", "strd"])
def test_values_that_are_missing_at_the_seam(tmp_path, name):
    whole = weather(2)
    whole[name][24:26] = np.nan
    names = day_files(whole, tmp_path, "netcdf")
    fill = {"gaps": {"action": "fill", "hours": 3}}
    ingest(tmp_path, "once.zarr", files=names, **fill)
    ingest(tmp_path, "pieces.zarr", files=names[:1], append=True, **fill)
    if name == "strd":  # the last stored instant needs the missing hour: it would have to be filled as well
        with pytest.raises(
            IngestError, match=r"LWdown is missing in the hour after 2015-03-01T23:00 UTC.*complete the"
        ):
            ingest(tmp_path, "pieces.zarr", files=names[1:], append=True, **fill)
        return
    ingest(tmp_path, "pieces.zarr", files=names[1:], append=True, **fill)
    assert_same_bytes(tmp_path)


def test_an_append_that_is_interrupted_can_be_repeated(tmp_path, monkeypatch):
    """Wherever it stops, even when the stored record is made again already."""
    names = day_files(weather(2), tmp_path, "netcdf")
    ingest(tmp_path, "once.zarr", files=names)
    ingest(tmp_path, "pieces.zarr", files=names[:1], append=True)
    original: Callable[..., str] = groups._write_variable
    for stop in (1, 7, 11):  # while the state is written, in the middle, at the last variable
        count = 0

        def broken(array: Any, *rest: Any) -> str:
            nonlocal count
            if count == stop:  # noqa: B023
                raise OSError(28, "No space left on device")
            count += 1
            return original(array, *rest)

        monkeypatch.setattr(groups, "_write_variable", broken)
        with pytest.raises((IngestError, OSError)):
            ingest(tmp_path, "pieces.zarr", files=names[1:], append=True)
        assert open_dataset(tmp_path / "pieces.zarr", "forcing").sizes["time"] == 24
    monkeypatch.undo()
    ingest(tmp_path, "pieces.zarr", files=names[1:], append=True)
    assert_same_bytes(tmp_path)
    root = open_store(Location(str(tmp_path / "pieces.zarr")))
    assert list(root[f"{FILTER_STATES}/forcing"].group_keys()) == ["2015-03-02T23"]


def test_a_forcing_of_an_earlier_version_is_continued(tmp_path):
    """It kept nothing of its end: its last radiation stays, and the command says so."""
    names = day_files(weather(2, snowfall=True), tmp_path, "netcdf")
    ingest(tmp_path, "once.zarr", files=names)
    ingest(tmp_path, "pieces.zarr", files=names[:1], append=True)
    del open_store(Location(str(tmp_path / "pieces.zarr")), "a")[FILTER_STATES]
    before = open_dataset(tmp_path / "pieces.zarr", "forcing").load()
    (done,) = ingest(tmp_path, "pieces.zarr", files=names[1:], append=True)
    assert "radiation at 2015-03-01T23:00 UTC stays that of the hour before" in str(done)
    result, once = (open_dataset(tmp_path / name, "forcing").load() for name in ("pieces.zarr", "once.zarr"))
    for name in registry.names("forcing"):
        np.testing.assert_array_equal(result[name][:24], before[name])
        np.testing.assert_array_equal(result[name][24:], once[name][24:])
    assert done.notes == tuple(result.attrs["ingests"][1]["notes"])


def test_large_forcing_through_the_scratch_folder(tmp_path, monkeypatch):
    from ldas.pipeline.ingest import era5, forcing_fields, write

    names = day_files(weather(2), tmp_path, "netcdf")
    ingest(tmp_path, "once.zarr", files=names)
    monkeypatch.setattr(forcing_fields, "block_records", lambda cells, memory: 10)
    monkeypatch.setattr(write, "SMALL_FRACTION", 0.0)
    monkeypatch.setattr(era5, "_AT_ONCE", 0)
    for name in names:
        ingest(tmp_path, "pieces.zarr", files=[name], append=True)
    assert_same_bytes(tmp_path)


# --- ALMA and daily tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stamp", "minutes"), [("instant", 30), ("start", 30), ("end", 60), ("instant", 60)])
def test_alma_by_day(tmp_path, stamp, minutes):
    """Instants of averages need both neighbours, rain of half hours both halves: the file before is given as well."""
    count = 2 * 24 * 60 // minutes
    whole = site_dataset(minutes, count)
    random = np.random.default_rng(5)
    whole["Tair"][:] = 272.0 + 3.0 * random.random(whole["Tair"].shape)
    whole["Precip"][:] = 1e-4 * random.random(whole["Precip"].shape)
    names = day_files(whole, tmp_path, "netcdf")
    settings = {"stamp": stamp}
    ingest(tmp_path, "once.zarr", "alma", files=names, **settings)
    ingest(tmp_path, "pieces.zarr", "alma", files=names[:1], append=True, **settings)
    last = open_dataset(tmp_path / "pieces.zarr", "forcing")["time"].to_numpy()[-1]
    start = {"period": {"start": str((last + HOUR).astype("datetime64[m]"))}}
    if stamp == "instant" and minutes == 60:
        ingest(tmp_path, "pieces.zarr", "alma", files=names[1:], append=True, **start, **settings)
    else:
        with pytest.raises(IngestError, match=r"the stored forcing ends at .* give the file before as well"):
            ingest(tmp_path, "pieces.zarr", "alma", files=names[1:], append=True, **start, **settings)
        ingest(tmp_path, "pieces.zarr", "alma", files=names, append=True, **start, **settings)
    assert_same_bytes(tmp_path)


def test_alma_files_that_grow(tmp_path):
    names = day_files(site_dataset(30, 3 * 48), tmp_path, "netcdf")
    ingest(tmp_path, "once.zarr", "alma", files=names, stamp="start")
    later = (tmp_path / names[2]).rename(tmp_path / "later")
    ingest(tmp_path, "pieces.zarr", "alma", files=["*.nc"], append=True, stamp="start")
    later.rename(tmp_path / names[2])
    ingest(tmp_path, "pieces.zarr", "alma", files=["*.nc"], append=True, stamp="start", continued=True)
    assert_same_bytes(tmp_path)


def daily_table(path: Path, first: int, days: int) -> None:
    """Days of a synthetic FLUXNET table, numbered from 1 January 2010."""
    lines = [HEADER]
    for k in range(first, first + days):
        day = (pd.Timestamp("2010-01-01") + pd.Timedelta(days=k)).strftime("%Y%m%d")
        warm = 3.0 * np.sin(k)
        lines.append(
            f"{day},{max(0.0, 8 * np.cos(3 * k)):.2f},{warm:.2f},{warm - 4:.2f},{warm + 5:.2f},80,300,2,2,98,390,1"
        )
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("continued", [False, True])
def test_daily_table_that_grows(tmp_path, continued):
    """The course of a day depends on the next day: the last day is made again."""
    settings = {"files": ["table.csv"], "place": {"latitude": 44.0, "longitude": 3.0, "utc_offset_h": 1}}
    for days in (3, 4, 7):
        daily_table(tmp_path / "table.csv", 0, days)
        period = {}
        if days > 3 and not continued:
            last = open_dataset(tmp_path / "pieces.zarr", "forcing")["time"].to_numpy()[-1]
            period = {"period": {"start": str((last + HOUR).astype("datetime64[m]"))}}
        again = continued and days > 3
        ingest(tmp_path, "pieces.zarr", "daily", append=True, continued=again, **settings, **period)
    ingest(tmp_path, "once.zarr", "daily", **settings)
    assert_same_bytes(tmp_path)
    daily_table(tmp_path / "table.csv", 6, 4)
    with pytest.raises(IngestError, match=r"the table begins at 2010-01-06T23:00 UTC: give one with two days before"):
        ingest(tmp_path, "pieces.zarr", "daily", append=True, period={"start": "2010-01-08T00:00"}, **settings)
    daily_table(tmp_path / "table.csv", 5, 4)
    ingest(tmp_path, "pieces.zarr", "daily", append=True, period={"start": "2010-01-08T00:00"}, **settings)
    daily_table(tmp_path / "table.csv", 0, 9)
    ingest(tmp_path, "nine.zarr", "daily", **settings)
    assert_same_bytes(tmp_path, once="nine.zarr")
