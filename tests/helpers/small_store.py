"""A store with a few cells of made-up land and weather, for tests that run the real model."""

from pathlib import Path

import numpy as np
import xarray as xr

from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.location import Location

FIRST_DAY = np.datetime64("2007-01-01", "s")
EXPERIMENT = """\
name: small
store: {url: store}
period: {start: 2007-01-01, end: 2007-01-04}
output: {mean: [LE], instant: [WG2]}
execution: {cells_per_block: 1}
report: false
"""


def make_synthetic_store(location: Location, *, cells: int, days: int) -> None:
    """Writes synthetic land and forcing to a new store."""
    root = open_store(location, "a")
    write_group(root, "land", synthetic_land(cells))
    write_group(root, "forcing", synthetic_weather(cells, days), chunks={"time": 8784})


def write_experiment(path: Path) -> None:
    """The experiment file above, and the store that it names: two blocks, four days."""
    path.write_text(EXPERIMENT, encoding="utf-8")
    make_synthetic_store(load_experiment(path).location, cells=2, days=4)


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
