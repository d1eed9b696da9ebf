"""The forecasts of a store, to be scored by lead day beside the open loop on the same days."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zarr

from ldas.landmodel.array_types import Days
from ldas.pipeline.evaluation.reading import attributes, group_names, variable_names
from ldas.pipeline.stages.forecast import AXIS, LEAD, forecast_group
from ldas.pipeline.stages.observations import days_of
from ldas.pipeline.store.arrays import read_region

SCORES = ("n", "bias", "rmsd", "r")


@dataclass(frozen=True)
class Forecasts:
    """The forecasts of one name. from_run: whose analyses they start from; days: (forecast,) of these analyses; leads:
    how many days each has."""

    name: str
    from_run: str
    days: Days
    leads: int
    variables: frozenset[str]

    @property
    def path(self) -> str:
        """Their group."""
        return forecast_group(self.name)

    @property
    def valid_days(self) -> Days:
        """(lead, forecast) the day that each day of a forecast is compared on."""
        return self.days + np.arange(1, self.leads + 1)[:, None]


def find_forecasts(root: zarr.Group, runs: Sequence[str]) -> tuple[Forecasts, ...]:
    """Those of a store that start from analyses of these runs."""
    found = []
    for name in group_names(root, "forecasts"):
        path = forecast_group(name)
        run = str(attributes(root, path)["from_run"])
        if run in runs:
            days = days_of(read_region(root, path, AXIS)).astype("datetime64[D]")
            variables = frozenset(variable_names(root, path, AXIS, LEAD, "cell"))
            found.append(Forecasts(name, run, days, len(read_region(root, path, LEAD)), variables))
    return tuple(found)
