"""`ldas demo`: a synthetic example, land and weather made by formulas, from an empty folder to results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from pipeline.config import load_experiment
from pipeline.engine import run_experiment
from pipeline.execution import Listener
from pipeline.groups import write_group
from pipeline.location import Location
from pipeline.store import has_group, open_dataset, open_store

FIRST_DAY = np.datetime64("2007-01-01", "s")
_CELLS, _DAYS = 4, 366
_EXPERIMENT = """\
# Written by `ldas demo`. SYNTHETIC: land and weather come from formulas, nothing here was measured.
name: demo
description: Four synthetic cells, one year, after five years of spin-up
synthetic: true
store:
  url: store.zarr
period:
  start: 2007-01-01
  end: 2007-12-31
spin_up:
  year: 2007
  repetitions: 5
output:
  mean: [RN, H, LE, GFLUX, GPP, RECO, EVAP, DRAINAGE, RUNOFF]
  instant: [WG2, WG4, WG6, TG2, LAI]
  per_patch: [LAI]
execution:
  cells_per_block: 2
"""


def run_demo(out: Path, listener: Listener, *, message: Callable[[str], None]) -> dict[str, Any]:
    """Makes the synthetic data in `out`, runs the experiment, prints monthly means and gives them as plain numbers."""
    out.mkdir(parents=True, exist_ok=True)
    experiment = out / "experiment.yaml"
    experiment.write_text(_EXPERIMENT, encoding="utf-8")
    config = load_experiment(experiment)
    make_synthetic_store(config.location, cells=_CELLS, days=_DAYS)
    message(f"SYNTHETIC data, made by formulas; experiment file: {experiment}")
    run_experiment(config, listener, message=message)
    monthly = open_dataset(config.location, "runs/open_loop").mean("cell").resample(time="MS").mean()
    names = ("LAI", "WG2", "LE", "H", "GPP")
    table = Table("month", *names, title="SYNTHETIC demo: monthly means over the cells")
    for index, month in enumerate(monthly.time.values):
        table.add_row(str(month)[:7], *(f"{float(monthly[name][index]):.4g}" for name in names))
    Console().print(table)
    return {
        "synthetic": True,
        "months": [str(month)[:7] for month in monthly.time.values],
        "means": {name: [float(value) for value in monthly[name].values] for name in names},
    }


def make_synthetic_store(location: Location, *, cells: int, days: int) -> None:
    """Writes synthetic land and forcing where they are not there yet."""
    root = open_store(location, "a")
    for name, dataset, chunks in (
        ("land", synthetic_land(cells), {}),
        ("forcing", synthetic_weather(cells, days), {"time": 8784}),
    ):
        if not has_group(root, name) or not root[name].attrs.get("complete", True):
            write_group(root, name, dataset, chunks=chunks, attributes={"synthetic": True, "source": "formulas"})


def synthetic_land(cells: int) -> xr.Dataset:
    """Land of some cells in southwestern France; textures and patch fractions differ from cell to cell."""
    number = np.arange(cells)
    fraction = np.zeros((cells, 12))
    fraction[:, 0], fraction[:, 3], fraction[:, 6], fraction[:, 9] = 0.1, 0.2, 0.4, 0.3  # bare, trees, crops, grass
    fraction[number % 3 == 1] = np.eye(12)[6]  # C3 crops only
    return xr.Dataset(
        {
            "latitude": ("cell", 43.0 + 0.25 * (number % 12)),
            "longitude": ("cell", -1.0 + 0.25 * (number // 12)),
            "elevation": ("cell", np.full(cells, 150.0)),
            "clay": ("cell", 0.2 + 0.3 * number / cells),
            "sand": ("cell", 0.5 - 0.3 * number / cells),
            "patch_fraction": (("cell", "patch"), fraction),
        },
        coords={"cell": number, "patch": np.arange(1, 13)},
    )


def synthetic_weather(cells: int, days: int, first_day: np.datetime64 = FIRST_DAY) -> xr.Dataset:
    """Hourly forcing by formulas: seasons, days, a shower every 37 hours; records at both ends of the period."""
    hours = np.arange(24 * days + 1)
    time = first_day + hours * np.timedelta64(3600, "s")
    day_of_year = (time - time.astype("datetime64[Y]")) / np.timedelta64(86400, "s")
    season = -np.cos(2 * np.pi * (day_of_year - 20.0) / 365.25)
    clock = -np.cos(2 * np.pi * (hours % 24 - 2.0) / 24.0)
    sun = np.maximum(0.0, -np.cos(2 * np.pi * (hours % 24) / 24.0)) * (400.0 + 300.0 * season)
    offset = np.arange(cells)[None, :]

    def spread(series: np.ndarray, by: float = 0.0) -> np.ndarray:
        return (series[:, None] + by * offset).astype("float32")

    shower = ((hours % 37) < 3) * 4.0e-4
    temperature = 285.0 + 8.0 * season + 4.0 * clock
    fields = {
        "Tair": spread(temperature, 0.1),
        "Qair": spread(0.0045 + 0.0015 * season),
        "Wind": spread(3.0 + clock, 0.05),
        "PSurf": spread(np.full(len(hours), 98000.0)),
        "SWdown": spread(sun),
        "LWdown": spread(310.0 + 30.0 * season),
        "Rainf": spread(np.where(temperature > 273.16, shower, 0.0)),
        "Snowf": spread(np.where(temperature > 273.16, 0.0, shower)),
        "CO2air": spread(np.full(len(hours), 6.2e-4)),
    }
    return xr.Dataset(
        {name: (("time", "cell"), values) for name, values in fields.items()},
        coords={"time": time, "cell": np.arange(cells)},
    )
