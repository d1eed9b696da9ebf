"""A region for benchmarks: the cells of the synthetic southwestern France under weather by formulas, in a store.

Nothing of it was measured; what counts is the amount of work and of data per cell, which is that of a real region.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from ldas.pipeline.forcing.analytic import START, analytic_weather
from ldas.pipeline.ingest.write import FORCING_CHUNKS, FORCING_SHARDS
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.twin import TwinConfig
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.twin.land import make_land

FREEZING_K = 273.16


def make_region(path: Path, cells: int, days: int) -> None:
    """Writes land and hourly forcing (at most two years from 1986-01-01)."""
    root = open_store(path, "a")
    land = make_land(TwinConfig())
    chosen = land.isel(cell=np.arange(cells) % land.sizes["cell"])
    write_group(root, "land", chosen.assign_coords(cell=np.arange(cells)))
    hours = 24 * days + 1
    weather = analytic_weather(2 * hours)
    series = {name: weather[name][::2] for name in ("Tair", "Qair", "Wind", "PSurf", "SWdown", "LWdown")}
    snow = series["Tair"] < FREEZING_K
    series["Rainf"] = np.where(snow, 0.0, weather["precipitation"][::2])
    series["Snowf"] = np.where(snow, weather["precipitation"][::2], 0.0)
    series["CO2air"] = np.full(hours, 6.2e-4)
    # A thousandth of noise, so that the codec finds as little to shorten as in real fields; rain and night stay 0.
    random = np.random.default_rng(0)
    fields = {
        name: (("time", "cell"), (values[:, None] * random.normal(1.0, 1e-3, (hours, cells))).astype("float32"))
        for name, values in series.items()
    }
    time = (START + np.arange(hours) * np.timedelta64(3600, "s")).astype("datetime64[s]")
    forcing = xr.Dataset(fields, coords={"time": time, "cell": np.arange(cells)})
    write_group(root, "forcing", forcing, chunks=FORCING_CHUNKS, shards=FORCING_SHARDS)


def region_experiment(path: Path, days: int, cells_per_block: int, **sections: object) -> ExperimentConfig:
    """The open loop of a region, with the output of the configuration's defaults unless sections say otherwise."""
    end = (START.astype("datetime64[D]") + days - 1).astype(object)
    content = {
        "name": "benchmark",
        "synthetic": True,
        "store": {"url": str(path)},
        "period": {"start": "1986-01-01", "end": str(end)},
        "report": False,
        "execution": {"cells_per_block": cells_per_block, "days_per_period": 366},
    }
    return ExperimentConfig.model_validate({**content, **sections})
