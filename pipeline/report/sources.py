"""What the sections of a report draw from, looked up once."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ldas.landmodel.array_types import Array
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.evaluation.plan import JUDGED, Comparison, Series, primary
from ldas.pipeline.evaluation.scores import Scores
from ldas.pipeline.evaluation.stations import is_synthetic
from ldas.pipeline.evaluation.summary import judged, summary
from ldas.pipeline.evaluation.tables import score_table, station_table
from ldas.pipeline.report.run_facts import status_table, volume_table
from ldas.pipeline.report.sentences import shown_unit
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.store.arrays import existing_group, has_group

MOST_STATION_LABELS = 40
CARBON = 1e3 * 12.011 / 44.01 * 86400.0  # kg CO2 m-2 s-1 to g C m-2 d-1
_CARBON_FLUXES = ("GPP", "RECO", "RESP_AUTO", "NEE", "GPP_DT")


class Sources:
    """Scores with everything around them that a report shows: what several of its parts show is made once."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        self.plan, self.root, self.reader = scores.plan, scores.root, scores.reader
        self._score_tables: dict[str, pd.DataFrame] = {}
        self.experiments = [experiment.name for experiment in self.plan.experiments]

    @cached_property
    def centres(self) -> tuple[Array, Array]:
        """Latitude and longitude of the cells; positions of a store without land are made up from the cell number."""
        if has_group(self.root, "land"):
            return self.scores.centres
        return np.zeros(self.plan.cells), np.arange(self.plan.cells, dtype=np.float64)

    @cached_property
    def has_map(self) -> bool:
        """Whether there are enough cells in known places to draw."""
        return self.plan.cells > 1 and has_group(self.root, "land")

    @cached_property
    def station_marks(self) -> list[tuple[str, float, float]]:
        """Stations for maps."""
        return [(s.code, s.latitude, s.longitude) for s in self.scores.stations[:MOST_STATION_LABELS]]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """See `evaluation.summary`."""
        return summary(self.scores)

    @cached_property
    def synthetic(self) -> bool:
        """See `is_synthetic`."""
        return is_synthetic(self.root)

    def score_table(self, name: str) -> pd.DataFrame | None:
        """See `evaluation.tables.score_table`; None where there is no comparison of that name."""
        comparison = self.scores.comparison(name)
        if comparison is None:
            return None
        if name not in self._score_tables:
            self._score_tables[name] = score_table(self.scores, comparison)
        return self._score_tables[name]

    @cached_property
    def station_table(self) -> pd.DataFrame:
        """See `evaluation.tables.station_table`."""
        return station_table(self.scores)

    @cached_property
    def status(self) -> pd.DataFrame:
        """See `status_table`."""
        return status_table(self.root)

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """See `volume_table`; every file of the store is looked at."""
        return volume_table(self.root)

    def index(self, experiment: str) -> int:
        """Number of an experiment, which is that of its colour."""
        return self.experiments.index(experiment)

    def land(self, name: str) -> Array | None:
        """A variable of the group `land`."""
        if not has_group(self.root, "land") or name not in existing_group(self.root, "land"):
            return None
        return read_land(self.root, name).astype(np.float64)

    def judged_comparison(self, key: str) -> Comparison | None:
        """The comparison that a key of the summary was made from."""
        return self.scores.comparison(*JUDGED[key][2])

    def judgement(self, comparison: Comparison, key: str, experiment: str) -> dict[str, Any]:
        """What the summary says of an experiment, or would say if it were judged by this comparison."""
        if comparison == self.judged_comparison(key):
            return dict(self.summary[experiment])
        score, less_is_better, _ = JUDGED[key]
        return judged(self.scores, experiment, comparison, key, score, less_is_better)

    def analysed(self, comparison: Comparison) -> tuple[Series | None, list[Series]]:
        """The open loop's series and those that are compared with it."""
        shown = primary(comparison.series)
        reference = self.scores.open_loop(shown)
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


def shown_flux(variable: str, values: Array) -> tuple[Array, str]:
    """A station's variable in the unit in which it is shown: carbon in g C m-2 d-1, all else as stored."""
    if variable in _CARBON_FLUXES:
        return values * CARBON, "g C m-2 d-1"
    return values, words("WG2" if variable == "soil_moisture" else variable.split("_")[0])[1]


def running_mean(values: Array, window: int) -> Array:
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
