"""Labels of ingested observations: no analysis uses what was observed after its hour."""

import shutil
import tarfile
from datetime import date
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.ingest import grid, modis, run_ingest
from ldas.pipeline.ingest.cgls import CglsConfig
from ldas.pipeline.ingest.cgls import read as read_cgls
from ldas.pipeline.ingest.config import CellsConfig
from ldas.pipeline.ingest.modis import ModisConfig
from ldas.pipeline.ingest.observations import (
    DAY,
    Overpasses,
    daily_means,
    day_axis,
    observation_dataset,
    overpasses_of_days,
)
from ldas.pipeline.settings.assimilation import AssimilatedConfig, TimeMatching
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.observations import WindowSeries, codes_of_windows, days_of, values_of_windows, window_ends
from ldas.pipeline.store.arrays import open_dataset, open_store
from ldas.pipeline.store.cf import END_LABEL
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block
from tests.helpers.small_store import synthetic_land, synthetic_weather
from tests.pipeline.ingest import samples

POINT = CellsConfig(points=((44.25, 0.25),))
FIXTURE = Path(__file__).parents[1] / "store" / "data" / "stores_d0208ce.tar.xz"


@pytest.mark.parametrize("hour", [0, 9, 23])
def test_no_window_of_a_year_uses_an_overpass_of_its_future(hour: int) -> None:
    random = np.random.default_rng(7)
    seconds = np.sort(random.integers(0, 366 * 86400, 1500))
    seconds[:3] = 0, 9 * 3600, 86399  # at 00 UTC, at the analysis hour, the last second of a day
    times = np.datetime64("2015-12-31", "ns") + seconds.astype("timedelta64[s]")
    number = len(times)
    # A place each, so that what a window holds tells which overpass it came from.
    codes = np.zeros(number, dtype=np.int8)
    passes = Overpasses(np.arange(number), times, seconds / 86400.0, np.full(number, 0.3), codes)
    daily = daily_means(passes, number, day_axis(times, None, None))
    ends = window_ends(date(2015, 12, 30), date(2017, 1, 3), hour)
    labels = daily.days.astype("datetime64[s]")
    values = np.where(daily.quality == Quality.USED, daily.value, np.nan)
    windows = values_of_windows(labels, values, ends, hour)
    used = np.isfinite(windows)
    assert (used.sum(axis=0) == 1).all()  # each of them once
    age = ends[used.argmax(axis=0)] - times
    assert (age > np.timedelta64(-1, "s")).all()
    assert age.max() <= np.timedelta64(24 + (hour or 24), "h")
    np.testing.assert_array_equal(windows[used.argmax(axis=0), np.arange(number)], seconds / 86400.0)
    assert ((codes_of_windows(labels, daily.quality, ends, hour) == Quality.USED) == used).all()
    if hour == 0:  # the window is the UTC day, and the day of the store is that of the overpass
        assert (days_of(ends)[used.argmax(axis=0)] == times.astype("datetime64[D]")).all()


@pytest.mark.parametrize("hour", [0, 9])
@pytest.mark.parametrize("matching", ["window_end", "overpass"])
def test_marked_overpasses_of_a_year_enter_the_window_that_they_lie_in(
    tmp_path: Path, matching: TimeMatching, hour: int
) -> None:
    """As stored and read for the filter: a value tells its time, and is found in (t0, t0 + 24 h] and nowhere else."""
    random = np.random.default_rng(8)
    cells, first = 3, np.datetime64("2015-01-01", "s")
    seconds = np.sort(random.choice(365 * 144, 365 * 2, replace=False)) * 600 + 1  # ten minutes apart at least
    seconds[:3] = 0, 9 * 3600, 86399
    times = (first + seconds.astype("timedelta64[s]")).astype("datetime64[ns]")
    number = len(times)
    mark = -30.0 + np.arange(number) / 64.0  # exact in single precision, within the range of sigma40
    passes = Overpasses(np.arange(number) % cells, times, mark, np.full(number, 0.3), np.zeros(number, dtype=np.int8))
    kept = overpasses_of_days(passes, cells, day_axis(times, None, None), 6)
    places = grid.Cells(np.arange(43.0, 46.0), np.zeros(cells))
    root = open_store(tmp_path, "a")
    write_group(root, "observations/sigma40", observation_dataset("sigma40", kept, places, "dB", "marked"))
    entry = AssimilatedConfig(name="sigma40", operator="any")
    ends = window_ends(date(2014, 12, 30), date(2016, 1, 3), hour)
    series = WindowSeries(root, entry, Block(0, 0, cells), ends, hour, "none", matching)
    seen = 0
    for window, end in enumerate(ends):
        given = series.window(window)
        for cell in range(cells):
            inside = (passes.place == cell) & (times > end - DAY) & (times <= end)
            if matching == "window_end":
                expected = mark[inside].mean() if inside.any() else np.nan
                np.testing.assert_allclose(given.value[cell], expected, rtol=1e-12)
            else:
                there = np.isfinite(given.value[cell])
                np.testing.assert_allclose(given.value[cell][there], mark[inside], rtol=1e-12)
                assert given.time is not None
                assert (given.time[cell][there] == times[inside]).all()
            seen += int(inside.sum())
    assert seen == number


def test_the_group_says_what_its_labels_mean(tmp_path: Path) -> None:
    samples.write_cell_file(tmp_path / "0001.nc")
    settings = samples.write_config(
        tmp_path / "c.yaml", files=["0001.nc"], cells={"points": [[44.05, 0.1]]}, store={"url": "store.zarr"}
    )
    run_ingest("ascat", settings)
    group = open_dataset(tmp_path / "store.zarr", "observations/sigma40").load()
    assert group.attrs["time_label"] == END_LABEL
    assert group["time"].encoding["bounds"] == "time_bnds"
    days = group["nominal_time"].to_numpy()
    assert days[0] == np.datetime64("2007-01-02")
    np.testing.assert_array_equal(group["time"], days + DAY)
    np.testing.assert_array_equal(group["time_bnds"], np.stack([days, days + DAY], axis=1))


@pytest.mark.parametrize(
    ("variable", "time", "coverage", "begin", "end"),
    [
        ("LAI", "2015-06-10T00:00", {}, "2015-06-10", "2015-06-11"),  # a date: known when the day is over
        ("SWI_001", "2015-06-10T12:00", {}, "2015-06-10T12", "2015-06-10T12"),  # an instant
        (
            "SWI_001",
            "2015-06-10T12:00",
            {"start": "2015-06-09T12:00:01Z", "end": "2015-06-10T12:00:00Z"},
            "2015-06-09T12:00:01",
            "2015-06-10T12",
        ),
        (
            "LAI",
            "2015-06-13T00:00",
            {"start": "2015-06-01T00:00:00Z", "end": "2015-06-30T23:59:59Z"},
            "2015-06-01",
            "2015-07-01",
        ),
        ("LAI", "2015-06-13T00:00", {"start": "unknown", "end": ""}, "2015-06-13", "2015-06-14"),
    ],
)
def test_a_copernicus_value_is_labelled_with_the_end_of_its_images(
    tmp_path: Path, variable: str, time: str, coverage: dict[str, str], begin: str, end: str
) -> None:
    path = samples.write_cgls(tmp_path / "a.nc", variable, time=time)
    with netCDF4.Dataset(path, "a") as file:
        for name, text in coverage.items():
            file.setncattr(f"time_coverage_{name}", text)
    config = CglsConfig(files=("a.nc",), variable=variable, cells=POINT)
    found = read_cgls([path], grid.target_cells(POINT), config)
    assert found["nominal_time"].to_numpy()[0] == np.datetime64(time)
    assert found["time"].to_numpy()[0] == np.datetime64(end)
    np.testing.assert_array_equal(found["time_bnds"][0], np.array([begin, end], dtype="datetime64[ns]"))


@pytest.mark.parametrize("days", [8, 4])
def test_a_modis_composite_is_labelled_with_its_end(tmp_path: Path, days: int) -> None:
    latitude, longitude = np.meshgrid([44.3, 44.2], [0.2, 0.3], indexing="ij")
    dataset = xr.Dataset(
        {
            "Lai_500m": (("time", "y", "x"), np.full((1, 2, 2), 25, dtype="uint8")),
            "lat": (("y", "x"), latitude),
            "lon": (("y", "x"), longitude),
        },
        coords={"time": np.array(["2004-01-01"], dtype="datetime64[ns]")},
    )
    dataset.to_netcdf(tmp_path / "m.nc")
    config = ModisConfig(files=("m.nc",), cells=POINT, composite_days=days)
    found = modis.read([tmp_path / "m.nc"], grid.target_cells(POINT), config)
    assert found["time"].to_numpy()[0] == np.datetime64("2004-01-01") + np.timedelta64(days, "D")
    assert found["nominal_time"].to_numpy()[0] == np.datetime64("2004-01-01")


def test_what_is_appended_to_an_earlier_store_has_the_labels_of_that_store(tmp_path: Path) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "swi"
    before = open_dataset(folder / "store.zarr", "observations/swi").load()
    text = (folder / "c.yaml").read_text(encoding="utf-8")
    first = before["time"].to_numpy()[-1].astype("datetime64[D]") + np.timedelta64(1, "D")
    both = text.replace("[first.nc]", "[first.nc, later.nc]") + f"period: {{start: {first}}}\n"
    (folder / "c.yaml").write_text(both, encoding="utf-8")
    (done,) = run_ingest("ascat", folder / "c.yaml")
    assert done.appended
    after = open_dataset(folder / "store.zarr", "observations/swi").load()
    assert "time_label" not in after.attrs
    assert set(after.data_vars) == set(before.data_vars)
    np.testing.assert_array_equal(np.diff(after["time"]), np.timedelta64(1, "D"))
    assert after.sizes["time"] == before.sizes["time"] + 2
    # Made anew, the days are the same and the labels are their ends.
    shutil.rmtree(folder / "store.zarr")
    (folder / "c.yaml").write_text(text.replace("[first.nc]", "[first.nc, later.nc]"), encoding="utf-8")
    run_ingest("ascat", folder / "c.yaml")
    anew = open_dataset(folder / "store.zarr", "observations/swi").load()
    np.testing.assert_array_equal(anew["nominal_time"], after["time"])
    np.testing.assert_array_equal(anew["time"], after["time"] + DAY)
    np.testing.assert_array_equal(anew["value"], after["value"])


def test_check_tells_of_the_labels_of_an_earlier_version(tmp_path: Path) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    store = tmp_path / "swi" / "store.zarr"
    root = open_store(store, "a")
    days = open_dataset(store, "observations/swi").load()["time"].to_numpy()
    write_group(root, "land", synthetic_land(1).assign(latitude=("cell", [44.1]), longitude=("cell", [0.1])))
    write_group(root, "forcing", synthetic_weather(1, 30, days[0].astype("datetime64[s]")))
    config = ExperimentConfig.model_validate(
        {
            "name": "x",
            "store": {"url": str(store)},
            "period": {"start": str(days[0])[:10], "end": str(days[-1])[:10]},
            "assimilation": [{"name": "a", "observations": [{"name": "swi", "rescale": "none"}]}],
        }
    )

    def detail() -> str:
        return next(row.detail for row in check_experiment(config) if row.what == "observations/swi")

    assert "an earlier version labelled them with the beginning of their day" in detail()
    root["observations/swi"].attrs["time_label"] = END_LABEL
    assert "earlier" not in detail()
