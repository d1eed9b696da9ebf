"""What the sections of a report draw from, looked up once."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.evaluation.evaluate import Evaluation
from ldas.pipeline.evaluation.plan import Comparison, Series
from ldas.pipeline.evaluation.reading import FloatArray, Reader, cell_centres
from ldas.pipeline.evaluation.stations import Station, find_stations
from ldas.pipeline.evaluation.summary import JUDGED, summary
from ldas.pipeline.evaluation.tables import baseline, comparison_named, primary
from ldas.pipeline.report.run_facts import volume_table
from ldas.pipeline.report.sentences import shown_unit
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.store.arrays import existing_group, has_group, open_store

MOST_STATION_LABELS = 40
CARBON = 1e3 * 12.011 / 44.01 * 86400.0  # kg CO2 m-2 s-1 to g C m-2 d-1
_CARBON_FLUXES = ("GPP", "RECO", "RESP_AUTO", "NEE", "GPP_DT")


class Sources:
    """An evaluation with everything around it that a report shows."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.plan = evaluation.plan
        self.root: zarr.Group = open_store(evaluation.location)
        self.reader = Reader(self.root)
        self.experiments = [experiment.name for experiment in self.plan.experiments]

    @cached_property
    def centres(self) -> tuple[FloatArray, FloatArray]:
        """Latitude and longitude of the cells; positions of a store without land are made up from the cell number."""
        if has_group(self.root, "land"):
            return cell_centres(self.root)
        return np.zeros(self.plan.cells), np.arange(self.plan.cells, dtype=np.float64)

    @cached_property
    def has_map(self) -> bool:
        """Whether there are enough cells in known places to draw."""
        return self.plan.cells > 1 and has_group(self.root, "land")

    @cached_property
    def stations(self) -> list[Station]:
        """Stations inside the domain."""
        return [station for station in find_stations(self.root) if station.cell is not None]

    @cached_property
    def station_marks(self) -> list[tuple[str, float, float]]:
        """Stations for maps."""
        return [(s.code, s.latitude, s.longitude) for s in self.stations[:MOST_STATION_LABELS]]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """See `evaluation.summary`."""
        return summary(self.evaluation)

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """See `volume_table`; every file of the store is looked at."""
        return volume_table(self.evaluation.location)

    def index(self, experiment: str) -> int:
        """Number of an experiment, which is that of its colour."""
        return self.experiments.index(experiment)

    def land(self, name: str) -> FloatArray | None:
        """A variable of the group `land`."""
        if not has_group(self.root, "land") or name not in existing_group(self.root, "land"):
            return None
        return read_land(self.root, name).astype(np.float64)

    def judged_comparison(self, key: str) -> Comparison | None:
        """The comparison that a key of the summary was made from."""
        return comparison_named(self.evaluation, *JUDGED[key][2])

    def score(self, comparison: Comparison, score: str, series: Series) -> FloatArray:
        """A score of a series, (cell,)."""
        dataset: xr.Dataset = self.evaluation.dataset(comparison.name)
        return np.asarray(dataset[score].sel(series=series.label).values, dtype=np.float64)

    def analysed(self, comparison: Comparison) -> tuple[Series | None, list[Series]]:
        """The open loop's series and those that are compared with it."""
        shown = primary(comparison.series)
        reference = baseline(self.evaluation, shown)
        return reference, [series for series in shown if series != reference]


def words(variable: str) -> tuple[str, str]:
    """Long name and unit of a variable."""
    try:
        entry = registry.variable(variable)
    except RegistryError:
        return variable, ""
    return entry.long_name, entry.unit


def axis_label(name: str, unit: str) -> str:
    """Quantity and unit for an axis or a caption."""
    shown = shown_unit(unit)
    return f"{name} ({shown})" if shown else name


def shown_flux(variable: str, values: FloatArray) -> tuple[FloatArray, str]:
    """A station's variable in the unit in which it is shown: carbon in g C m-2 d-1, all else as stored."""
    if variable in _CARBON_FLUXES:
        return values * CARBON, "g C m-2 d-1"
    return values, words("WG2" if variable == "soil_moisture" else variable.split("_")[0])[1]


def running_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of the values (day,) that are there in a window around each day; NaN where fewer than half are."""
    there = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(there, values, 0.0), kernel, mode="same")
    number = np.convolve(there.astype(float), kernel, mode="same")
    enough = number >= window / 2
    return np.divide(total, number, out=np.full(values.shape, np.nan), where=enough)


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
