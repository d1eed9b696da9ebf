"""The synthetic globe: cells where ERA5 has land, weather that no cut of the work changes, the example scaled down."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig, SpinUpConfig, load_experiment
from ldas.pipeline.settings.twin import GlobeConfig
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store, read_region
from ldas.pipeline.twin.fields import Places
from ldas.pipeline.twin.globe import globe_places, globe_weather, land_places
from ldas.pipeline.twin.globe_stage import Globe
from tests.helpers.runs import run_here
from tests.support import REPOSITORY, shared

CELLS = 30


def test_the_cells_are_the_land_of_era5() -> None:
    places = land_places()
    assert len(places) == 244_450
    there = set(zip(places.latitude.tolist(), places.longitude.tolist(), strict=True))
    assert (43.5, 1.5) in there  # Toulouse
    assert (0.0, -30.0) not in there  # the Atlantic
    assert (-75.0, 0.0) not in there  # Antarctica
    chosen = globe_places(GlobeConfig(cells=3))
    assert chosen.latitude[[0, -1]].tolist() == places.latitude[[0, -1]].tolist() == [83.5, -55.25]
    with pytest.raises(ConfigurationError, match=r"globe\.cells: 244451, but the globe has 244450 cells"):
        globe_places(GlobeConfig(cells=244_451))


def test_the_packed_mask_is_that_of_the_file() -> None:
    with xr.open_dataset(shared("data/era5/era5_landmask_0.25.nc")) as data:
        land = data["land"].sel(latitude=slice(90.0, -60.0))
        rows, columns = np.nonzero(land.to_numpy() >= 0.5)
        latitude, longitude = land["latitude"].to_numpy()[rows], land["longitude"].to_numpy()[columns]
    np.testing.assert_array_equal(land_places().latitude, latitude)
    np.testing.assert_array_equal(land_places().longitude % 360.0, longitude)


def test_weather_of_any_part_is_that_of_the_whole() -> None:
    """Also where a part begins inside a stream of random numbers, or holds the end of one."""
    places, numbers = globe_places(GlobeConfig(cells=CELLS)), 980 + np.arange(CELLS)
    days = np.array(["2010-01-14", "2010-01-15", "2010-07-15"], dtype="datetime64[D]")
    whole = globe_weather(1, days, places, numbers)
    part = slice(7, 25)
    some = globe_weather(1, days[1:], Places(places.latitude[part], places.longitude[part]), numbers[part])
    for name, values in some.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, whole[name][24:, part], err_msg=name)
    january, july = whole["Tair"][24:48], whole["Tair"][48:]
    north, south = places.latitude > 45.0, places.latitude < -20.0
    assert january[:, north].mean() < 266.0 < 285.0 < july[:, north].mean()
    assert january[:, south].mean() > july[:, south].mean() + 5.0
    assert (whole["Snowf"][whole["Tair"] > 275.2] == 0.0).all()
    assert (whole["Rainf"][whole["Tair"] < 273.1] == 0.0).all()
    assert globe_weather(2, days, places, numbers)["Wind"][0, 0] != whole["Wind"][0, 0]


def test_a_year_has_the_precipitation_that_the_documentation_says() -> None:
    days = np.arange("2010-01-01", "2011-01-01", 10, dtype="datetime64[D]")
    made = globe_weather(1, days, globe_places(GlobeConfig(cells=CELLS)), np.arange(CELLS))
    a_year = (made["Rainf"] + made["Snowf"]).mean() * 86400 * 365
    assert 765.0 < a_year < 795.0  # kg m-2


def scaled_down(url: Path, **execution: int) -> ExperimentConfig:
    """The example with a few cells and days."""
    example = load_experiment(REPOSITORY / "examples" / "globe_year.yaml")
    content = example.model_dump(mode="json", exclude_unset=True)
    content["globe"]["cells"] = 5
    content |= {"store": {"url": str(url)}, "period": {"start": "2010-01-01", "end": "2010-01-03"}}
    content["execution"] |= {"device": "cpu", **execution}
    return ExperimentConfig.model_validate(content)


def test_the_example_scaled_down(tmp_path: Path) -> None:
    """Land, forcing and open loop; the same input in one block of three days and in blocks of two cells and days."""
    once = scaled_down(tmp_path / "once", cells_per_block=8, days_per_period=3)
    (ready,) = (row for row in check_experiment(once) if row.what == "store")
    assert ready.state == "ok"
    for stage in build_stages(once):
        run_here(stage)
    globe = next(build_stages(scaled_down(tmp_path / "cut", cells_per_block=2, days_per_period=2)))
    assert isinstance(globe, Globe)
    run_here(globe)
    root, cut = (open_store(str(tmp_path / name)) for name in ("once", "cut"))
    for path in ("land", "forcing"):
        assert array_hashes(existing_group(root, path)) == array_hashes(existing_group(cut, path)), path
    assert all(
        existing_group(root, path).attrs["synthetic"] == "true" for path in ("land", "forcing", "runs/open_loop")
    )
    assert all(row.state == "ok" for row in check_experiment(once))
    for name in ("LE", "SWE", "LAI"):
        assert np.isfinite(read_region(root, "runs/open_loop", name)).all()
    later = once.model_copy(update={"spin_up": SpinUpConfig(year=2011)})
    with pytest.raises(ConfigurationError, match=r"spin_up\.year 2011 lies outside the period 2010-01-01"):
        next(build_stages(later)).create(root)
    assert replace(globe, settings=GlobeConfig(cells=5, seed=2)).identity() != globe.identity()
