"""A small store to explore, whose values say where they are."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.explore.content import Content
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group

CELLS, DAYS = 6, 10
FIRST = np.datetime64("2007-06-01", "s")
DAY = np.timedelta64(1, "D")
HOUR = np.timedelta64(1, "h")


def table(offset: float) -> tuple[tuple[str, str], np.ndarray]:
    """Values (time, cell): the day's number, a tenth of the cell's number, and an offset."""
    return ("time", "cell"), offset + np.arange(DAYS)[:, None] + 0.1 * np.arange(CELLS)[None, :]


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SYNTHETIC: two rows of three cells, an open loop, a filter run, forecasts, scores, a station."""
    path = tmp_path_factory.mktemp("explored") / "small.zarr"
    root = open_store(path, "a")
    number, days = np.arange(CELLS), FIRST + np.arange(DAYS) * DAY
    land = {"latitude": ("cell", 43.0 + 0.5 * (number // 3)), "longitude": ("cell", 1.0 + 0.5 * (number % 3))}
    write_group(root, "land", xr.Dataset({**land, "clay": ("cell", 0.1 * number)}, attrs={"synthetic": True}))
    states = {"LAI": table(0.0), "WG1": table(100.0), "WG2": table(200.0), "LE": table(300.0)}
    hour = {"analysis_hour_utc": 9}
    write_group(root, "runs/open_loop", xr.Dataset(states, {"time": days, "cell": number}, hour))
    innovation = np.full((DAYS, CELLS), np.nan)
    innovation[[2, 5]] = 0.5
    codes = np.ones((DAYS, CELLS), dtype=np.int8)
    codes[2], codes[5] = 0, 3
    analysed = {
        "LAI": table(1000.0),
        "WG1": table(1100.0),
        "WG2": table(1200.0),
        "LE": table(1300.0),
        "LAI_forecast": table(1000.25),
        "increment_LAI": table(-0.25),
        "innovation_lai": (("time", "cell"), innovation),
        "quality_lai": (("time", "cell"), codes),
    }
    write_group(root, "runs/EKF", xr.Dataset(analysed, {"time": days, "cell": number}, hour))
    observed = np.full((4, CELLS), 7.0) + number
    observed[3] = np.nan
    times = FIRST + np.array([2, 5, 6, 7]) * DAY + 8 * HOUR
    product = np.zeros((4, CELLS), dtype=np.int8)
    product[2] = 9
    seen = {"value": (("time", "cell"), observed), "quality": (("time", "cell"), product)}
    write_group(root, "observations/lai", xr.Dataset(seen, {"time": times, "cell": number}))
    starts, leads = FIRST + np.array([1, 6]) * DAY + 9 * HOUR, np.arange(1, 4)
    values = 10.0 * np.arange(2)[:, None, None] + leads[None, :, None] + 0.1 * number
    dims = ("reference_time", "lead_day", "cell")
    coordinates = {"reference_time": starts, "lead_day": leads, "cell": number}
    write_group(root, "forecasts/three", xr.Dataset({"LAI": (dims, values)}, coordinates, {"from_run": "EKF"}))
    scores = {
        "rmsd": (("series", "cell"), np.stack([number + 1.0, number + 0.5])),
        "n": (("series", "cell"), np.ones((2, 6))),
    }
    about = {"variable": "LAI", "reference": "observations/lai/value"}
    series = {"series": np.array(["open_loop", "EKF"]), "cell": number}
    write_group(root, "scores/lai_observations", xr.Dataset(scores, series, about))
    station = {
        "latitude": ("station", [43.1]),
        "longitude": ("station", [1.45]),
        "soil_moisture": (("station", "time"), np.linspace(0.1, 0.3, DAYS)[None]),
    }
    write_group(root, "insitu/network", xr.Dataset(station, {"time": days + 12 * HOUR}))
    return path


@pytest.fixture
def content(explored: Path) -> Content:
    """What that store has."""
    return Content(open_store(explored))
