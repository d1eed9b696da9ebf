"""GRIB as the Climate Data Store delivers it (synthetic): by day, ERA5-Land, both versions of an hour, faults."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import inspect_file
from ldas.pipeline.ingest.config import Period
from tests.pipeline.ingest import samples
from tests.pipeline.ingest.test_era5 import expected, read

TIMES = samples.hours("2015-03-01T00:00", 48)


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return samples.era5_dataset(times=TIMES)


@pytest.fixture(scope="module")
def netcdf(tmp_path_factory: pytest.TempPathFactory, whole: xr.Dataset) -> Path:
    path = tmp_path_factory.mktemp("grib") / "era5.nc"
    whole.to_netcdf(path)
    return path


def assert_same(result: xr.Dataset, reference: xr.Dataset) -> None:
    """To the rounding of 24 bits a message."""
    np.testing.assert_array_equal(result["time"], reference["time"])
    for name in reference.data_vars:
        span = float(np.ptp(reference[name].to_numpy())) or float(reference[name].max())
        np.testing.assert_allclose(result[name], reference[name], atol=1e-5 * span, rtol=1e-6)


@pytest.mark.parametrize("files", ["one", "by day", "by day, unordered"])
def test_the_hours_of_the_messages_and_no_others(tmp_path, whole, netcdf, files):
    """The amounts of a day share base times with those of the next: 48 hours, whatever the files."""
    days = [whole.isel(time=slice(0, 24)), whole.isel(time=slice(24, 48))]
    if files == "one":
        paths = [samples.write_grib(whole, tmp_path / "both.grib")]
    else:
        paths = [samples.write_grib(day, tmp_path / f"{i}.grib") for i, day in enumerate(days)]
    result = read(paths[::-1] if "unordered" in files else paths)
    assert result.sizes["time"] == 48
    assert_same(result, read([netcdf]))


@pytest.mark.parametrize("files", ["one", "by day"])
def test_era5_land(tmp_path, whole, netcdf, files):
    """Amounts since 00 UTC: step 24 of a day is valid at 00 UTC of the next."""
    land = samples.since_midnight(whole)
    days = [land] if files == "one" else [land.isel(time=slice(0, 24)), land.isel(time=slice(24, 48))]
    paths = [samples.write_grib(day, tmp_path / f"{i}.grib", land=True) for i, day in enumerate(days)]
    result = read(paths, accumulation="since_midnight")
    assert_same(result, read([netcdf], period=Period(start="2015-03-01T01:00")))
    with pytest.raises(IngestError, match=r"0\.grib: ssrd on 2015-03-01 grows .* set accumulation: since_midnight"):
        read(paths)


@pytest.mark.parametrize("order", ["preliminary first", "final first", "two files", "two files, final first"])
def test_of_an_hour_with_both_versions_the_final_one_is_taken(tmp_path, whole, order):
    later = whole.isel(time=slice(4, 24))
    warm = later.assign(t2m=later["t2m"] + 1.0)
    final, path, other = whole.isel(time=slice(0, 20)), tmp_path / "a.grib", tmp_path / "b.grib"
    first = (warm, "0005") if order in ("preliminary first", "two files") else (final, "0001")
    second = (final, "0001") if first[1] == "0005" else (warm, "0005")
    samples.write_grib(first[0], path, version=first[1])
    if order.startswith("two"):
        samples.write_grib(second[0], other, version=second[1])
    else:
        samples.write_grib(second[0], path, version=second[1], mode="ab")
    result = read([path, other] if other.exists() else [path])
    correct = expected("t2m", TIMES[:24]) + np.where(np.arange(24) < 20, 0.0, 1.0)[:, None]
    np.testing.assert_allclose(result["Tair"], correct, atol=1e-5)
    assert int(result["preliminary"].sum()) == 4


def test_missing_points_are_missing(tmp_path, whole):
    sea = whole.isel(time=slice(0, 3)).copy(deep=True)
    sea["t2m"][1, 1, 0] = np.nan
    result = read([samples.write_grib(sea, tmp_path / "sea.grib")])
    assert np.isnan(result["Tair"].to_numpy()).tolist() == [[False, False], [True, False], [False, False]]


def spoil(path: Path, whole: xr.Dataset, how: str) -> Path:
    part = whole[["t2m"]].isel(time=slice(0, 3))
    samples.write_grib(part, path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "twice":
        samples.write_grib(part.isel(time=[1]), path, mode="ab")
    elif how == "header only":
        path.write_bytes(b"GRIB")
    elif how == "wild section":
        content = path.read_bytes()
        path.write_bytes(content[:8] + b"\xff" * 60 + content[68:])
    elif how == "changed":
        content = bytearray(path.read_bytes())
        content[-4:] = b"0000"
        path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", r"bad\.grib: the GRIB file is truncated"),
        ("wild section", r"bad\.grib: the GRIB file is truncated, damaged"),
        ("changed", r"bad\.grib: the GRIB file is truncated, damaged"),
        ("header only", r"bad\.grib: the GRIB file is truncated|no readable GRIB message"),
        ("twice", r"bad\.grib: t2m at 2015-03-01T01:00 UTC is there twice \(20150301 0100 UTC, step 0; 20150301 0100"),
    ],
)
def test_bad_files_are_named_and_libraries_are_silent(tmp_path, whole, capfd, how, message):
    path = spoil(tmp_path / "bad.grib", whole, how)
    with pytest.raises(IngestError, match=message):
        read([path])
    assert capfd.readouterr() == ("", "")
    assert inspect_file(path).problem
    assert not inspect_file(path).source


def test_inspect_says_what_ingest_reads(tmp_path, whole):
    report = inspect_file(samples.write_grib(whole, tmp_path / "both.grib"))
    assert (report.source, report.times, report.first, report.last) == (
        "era5",
        48,
        "2015-03-01T00:00 UTC",
        str(pd.Timestamp(TIMES[-1]).strftime("%Y-%m-%dT%H:%M UTC")),
    )
