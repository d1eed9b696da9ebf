"""A SYNTHETIC store to explore: 20,000 cells and four years by formulas and noise, laid out as a run lays it out."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ldas.pipeline.stages.labels import along_time
from ldas.pipeline.store.arrays import chunk_cells, open_store, write_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.template import ArraySpec, create_template

CELLS_PER_BLOCK, DAYS_PER_PERIOD = 64, 366  # of the experiment file, by default
_OPEN_LOOP = ("LAI", "WG1", "WG2")
_EKF = (*_OPEN_LOOP, "LAI_forecast", "increment_LAI", "innovation_sigma40")


def make_store(path: Path, cells: int, years: int) -> None:
    """Land, observations of sigma40, an open loop and a run with a filter."""
    root = open_store(path, "a")
    columns = round((2 * cells) ** 0.5)
    number = np.arange(cells)
    latitude, longitude = 42.05 + 0.1 * (number // columns), -4.95 + 0.1 * (number % columns)
    land = {
        "latitude": ("cell", latitude),
        "longitude": ("cell", longitude),
        "clay": ("cell", 0.2 + 0.1 * np.sin(number)),
    }
    write_group(root, "land", xr.Dataset(land, coords={"cell": number}, attrs={"synthetic": True}))
    days = np.arange(np.datetime64("2007-01-01"), np.datetime64(f"{2007 + years}-01-01")).astype("datetime64[s]")
    _write(root, "observations/sigma40", ("value",), days + np.timedelta64(9, "h"), latitude, longitude)
    _write(root, "runs/open_loop", _OPEN_LOOP, days, latitude, longitude)
    _write(root, "runs/EKF", _EKF, days, latitude, longitude)


def _write(
    root: Any, path: str, names: tuple[str, ...], times: np.ndarray, latitude: np.ndarray, longitude: np.ndarray
) -> None:
    cells, days = len(latitude), len(times)
    specs = {name: ArraySpec(("time", "cell")) for name in names}
    codes = "quality" if path.startswith("observations/") else "quality_sigma40"
    if path != "runs/open_loop":
        specs[codes] = ArraySpec(("time", "cell"), "int8", 1)
    coordinates: dict[str, Any] = {"time": (("time",), times), "cell": (("cell",), np.arange(cells))}
    if path.startswith("runs/"):
        coordinates |= along_time(times, 9, windows=path != "runs/open_loop")
    shards = {"time": DAYS_PER_PERIOD, "cell": CELLS_PER_BLOCK}
    chunks = {"time": DAYS_PER_PERIOD, "cell": chunk_cells(CELLS_PER_BLOCK, DAYS_PER_PERIOD)}
    attributes = {"analysis_hour_utc": 9, "synthetic": True}
    create_template(root, path, specs, coordinates=coordinates, chunks=chunks, shards=shards, attributes=attributes)
    random = np.random.default_rng(1)
    season = np.sin(2.0 * np.pi * np.arange(days) / 365.25)[:, None]
    for start in range(0, days, DAYS_PER_PERIOD):
        period = slice(start, min(start + DAYS_PER_PERIOD, days))
        for first in range(0, cells, CELLS_PER_BLOCK):
            block = slice(first, min(first + CELLS_PER_BLOCK, cells))
            shape = (period.stop - period.start, block.stop - block.start)
            base = 2.0 + season[period] + 0.1 * (latitude[block] - 45.0) + 0.1 * np.sin(longitude[block])
            values: dict[str, np.ndarray] = {
                name: (base + 0.2 * random.standard_normal(shape)).astype("float32") for name in names
            }
            if path != "runs/open_loop":
                values[codes] = (random.random(shape) > 0.7).astype("int8")
            write_region(root, path, values, {"time": period, "cell": block})
