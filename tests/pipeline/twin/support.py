"""Small twins for the tests: a few cells, short periods, no Dask."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.twin import NatureConfig, TwinConfig, default_nature
from ldas.pipeline.twin.climate import Climate
from ldas.pipeline.twin.daily_weather import Latent
from ldas.pipeline.twin.fields import Places
from tests.helpers.runs import run_here

SITES = Places(np.array([43.68, 43.74]), np.array([-0.10, 3.60]))  # Caumont, Puechabon
GRID = Places(*(axis.reshape(-1) for axis in np.meshgrid(np.arange(43.125, 45.0, 0.5), np.arange(-0.875, 3.0, 0.5))))


def climate(places: Places, mediterranean: float | np.ndarray = 0.5, elevation: float | np.ndarray = 150.0) -> Climate:
    """A climate with the same, or given, heights and weights."""
    shape = np.ones(len(places))
    return Climate(places, elevation * shape, mediterranean * shape)


def sites() -> Climate:
    """The two places that the statistics are from."""
    return Climate(SITES, np.array([113.0, 270.0]), np.array([0.0, 1.0]))


def latent(of: Climate, seed: int = 1) -> Latent:
    """Normal variables of the default weather."""
    return Latent(seed, TwinConfig().weather, of)


def part(of: Climate, cells: slice) -> Climate:
    """Some cells of a climate."""
    places = Places(of.places.latitude[cells], of.places.longitude[cells])
    return Climate(places, of.elevation[cells], of.mediterranean[cells])


def nature(**changed: Any) -> NatureConfig:
    """The committed nature, with some values changed."""
    return NatureConfig(**{**default_nature().model_dump(), **changed})


def nature_file(folder: Path, **changed: Any) -> Path:
    """A file of it."""
    path = folder / "nature.yaml"
    path.write_text(yaml.safe_dump(nature(**changed).model_dump(mode="json")), encoding="utf-8")
    return path


def experiment(
    url: Path | str, *, start: str = "2007-04-01", end: str = "2007-05-10", **changed: Any
) -> ExperimentConfig:
    """A short experiment on a store."""
    content: dict[str, Any] = {
        "name": "small",
        "synthetic": True,
        "store": {"url": str(url)},
        "period": {"start": start, "end": end},
        "output": {"mean": ["LE", "GPP"], "instant": ["WG2", "WG3", "TG2", "LAI", "SWE", "WGI2"]},
        "execution": {"cells_per_block": 2, "days_per_period": 20},
    }
    return ExperimentConfig(**{**content, **changed})


def run(stage: Stage) -> Stage:
    """Runs a stage in this process."""
    run_here(stage)
    return stage
