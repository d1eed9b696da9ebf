"""A store with a few cells of made-up land, weather and observations, for the tests of training and assimilation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ldas.assim.quality import Quality
from ldas.landmodel import Forcing
from ldas.pipeline.forcing import analytic
from ldas.pipeline.forcing.analytic import START, STEP_S
from ldas.pipeline.forcing.physics import cosine_zenith
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group

FIRST_DAY = np.datetime64("2007-04-01", "s")
HOUR = np.timedelta64(3600, "s")
COLD_DAYS = (10, 14)  # frost and snow, in days since the first one
LONGITUDE = 0.5
Observations = Mapping[str, tuple[np.ndarray, dict[str, np.ndarray]]]


def make_store(path: Path, *, cells: int, days: int, observed_days: int | None = None) -> None:
    """Writes land, weather and observations of some cells; the observations may end earlier than the weather."""
    root = open_store(str(path), "a")
    write_group(root, "land", land(cells))
    write_group(root, "forcing", weather(cells, days), chunks={"time": 24 * days + 1})
    for name, (times, arrays) in made_up_observations(cells, observed_days or days).items():
        write_observations(path, name, times, arrays)


def forcing_store(path: Path, cells: xr.Dataset) -> None:
    """A store with a forcing only, such as `ldas ingest` makes: the ALMA names (time, cell) and the places of cells."""
    write_group(open_store(str(path), "a"), "forcing", cells)


def formula_cell(weather: Forcing) -> xr.Dataset:
    """Half-hourly weather of the formulas, or weather made of it, as a cell at their place."""
    times = START + np.arange(len(np.asarray(weather.Tair))) * np.timedelta64(STEP_S, "s")
    return xr.Dataset(
        {name: (("time", "cell"), np.asarray(values)) for name, values in weather._asdict().items()},
        coords={"time": times, "latitude": ("cell", [analytic.LATITUDE]), "longitude": ("cell", [analytic.LONGITUDE])},
    )


def write_observations(path: Path, name: str, times: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a group of observations, (time, cell) or (time, overpass, cell), in place of one that is there."""
    root = open_store(str(path), "a")
    if f"observations/{name}" in root:
        del root[f"observations/{name}"]
    dims = {2: ("time", "cell"), 3: ("time", "overpass", "cell")}
    variables = {key: (dims[values.ndim], values) for key, values in arrays.items()}
    write_group(root, f"observations/{name}", xr.Dataset(variables, coords={"time": times}))


def latitudes(cells: int) -> np.ndarray:
    """Of the cells, degrees north."""
    return 43.0 + 0.25 * np.arange(cells)


def land(cells: int) -> xr.Dataset:
    """Three patches a cell (broadleaf trees, C3 crops, grass); textures and fractions differ from cell to cell."""
    number = np.arange(cells)
    fraction = np.zeros((cells, 12))
    fraction[:, 3], fraction[:, 6] = 0.2 + 0.05 * (number % 3), 0.5 - 0.05 * (number % 4)
    fraction[:, 9] = 1.0 - fraction.sum(axis=1)
    return xr.Dataset(
        {
            "latitude": ("cell", latitudes(cells)),
            "longitude": ("cell", np.full(cells, LONGITUDE)),
            "clay": ("cell", 0.2 + 0.02 * number),
            "sand": ("cell", 0.5 - 0.02 * number),
            "patch_fraction": (("cell", "patch"), fraction),
        },
        coords={"cell": number, "patch": np.arange(1, 13)},
    )


def weather(cells: int, days: int) -> xr.Dataset:
    """Hourly forcing by formulas: season, time of day, showers that differ from cell to cell, a spell of frost."""
    hours, number = np.arange(24 * days + 1)[:, None], np.arange(cells)[None, :]
    time = FIRST_DAY + hours[:, 0] * HOUR
    day = hours / 24.0
    cold = (day >= COLD_DAYS[0]) & (day < COLD_DAYS[1])
    season = np.sin(2 * np.pi * day / 365.25)
    temperature = (
        284.0 + 7.0 * season + 4.5 * np.sin(2 * np.pi * (hours % 24 - 9.0) / 24.0) + 0.1 * number - 20.0 * cold
    )
    pressure = 98000.0 + 0.0 * temperature
    vapour = 0.7 * 611.2 * np.exp(17.67 * (temperature - 273.15) / (temperature - 29.65))
    sun = np.stack([cosine_zenith(time, latitude, LONGITUDE) for latitude in latitudes(cells)], axis=1)
    shower = ((hours + 11 * number) % 61 < 4) * 4.0e-4
    fields = {
        "Tair": temperature,
        "Qair": 0.622 * vapour / (pressure - 0.378 * vapour),
        "Wind": 3.0 + np.sin(hours / 9.0) + 0.05 * number,
        "PSurf": pressure,
        "SWdown": 800.0 * np.maximum(sun, 0.0),
        "LWdown": 300.0 + 30.0 * season + 0.0 * temperature,
        "Rainf": np.where(cold, 0.0, shower),
        "Snowf": np.where(cold, shower, 0.0),
        "CO2air": 6.2e-4 + 0.0 * temperature,
    }
    return xr.Dataset(
        {name: (("time", "cell"), values.astype("float32")) for name, values in fields.items()},
        coords={"time": time, "cell": np.arange(cells)},
    )


def made_up_observations(cells: int, days: int) -> Observations:
    """sigma40 twice a day, swi three times a day and lai every fifth day: each with gaps, and some flagged values."""
    random = np.random.default_rng(20070401)

    def table(hours: list[float], every: int, value: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        day = np.repeat(np.arange(0, days, every), len(hours))
        hour = np.tile(np.array(hours), len(day) // len(hours))
        times = FIRST_DAY + ((24.0 * day + hour) * 3600.0).astype("timedelta64[s]")
        values = value(
            (day + hour / 24.0)[:, None], np.arange(cells)[None, :], random.standard_normal((len(day), cells))
        )
        quality = np.zeros(values.shape, dtype=np.int8)
        draw = random.random(values.shape)
        quality[draw < 0.03] = Quality.MASKED_PRODUCT_FLAG
        quality[draw > 0.93] = Quality.MISSING
        values[draw > 0.93] = np.nan
        return times, {"value": values.astype("float32"), "quality": quality}

    observations = {
        "sigma40": table([8.5, 20.25], 1, lambda t, c, noise: -11.0 + np.sin(t / 2.0 + c) - 0.2 * c + 0.3 * noise),
        "swi": table(
            [2.0, 6.0, 10.0], 1, lambda t, c, noise: np.clip(0.5 + 0.3 * np.sin(t / 2.0 + c) + 0.05 * noise, 0, 1)
        ),
        "lai": table([0.0], 5, lambda t, c, noise: (1.0 + 0.02 * t + 0.05 * c) * (1.0 + 0.1 * noise)),
    }
    value = observations["lai"][1]["value"]
    observations["lai"][1]["uncertainty"] = (0.2 * value).astype("float32")
    return observations


def experiment(path: Path, **sections: Any) -> ExperimentConfig:
    """An experiment of 24 days without spin-up on a store in a folder; sections as in an experiment file."""
    content: dict[str, Any] = {
        "name": "small",
        "store": {"url": str(path)},
        "period": {"start": "2007-04-01", "end": "2007-04-24"},
        "output": {
            "mean": ["LE", "GPP"],
            "instant": ["WG1", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8", "TG1", "TG2", "LAI", "SWE"],
        },
        "report": False,
        "execution": {"cells_per_block": 2, "days_per_period": 10},
    }
    return ExperimentConfig.model_validate({**content, **sections})
