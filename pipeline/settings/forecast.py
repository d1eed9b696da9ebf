"""The section `forecasts` of the experiment file."""

from datetime import date
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from ldas.landmodel.array_types import Days
from ldas.pipeline.settings.assimilation import Name
from ldas.pipeline.settings.yaml_file import StrictModel


class ForecastConfig(StrictModel):
    """Forecasts from the analyses of an assimilation: its model and filter without observations."""

    name: Name = Field(description="Name of the forecasts in the store")
    from_run: Name = Field(description="Assimilation whose analyses they start from")
    days: int = Field(10, ge=1, le=366, description="Length of each forecast (days)")
    every: int | None = Field(
        None, ge=1, description="One starts from the first analysis and from each that many days later"
    )
    start_on: tuple[date, ...] = Field((), description="Or: the days from whose analyses forecasts start")
    forcing: Name | None = Field(
        None,
        description="Name of the forcings of their own, one for each start: `ecmwf` stands for the groups "
        "`forecast_forcing/ecmwf/20150106T09` ...; null: the forcing of the open loop (hindcasts)",
    )

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> Self:
        if (self.every is None) == (not self.start_on):
            raise ValueError(f"forecasts {self.name}: say `every` (days) or `start_on` (a list of days), one of them")
        if list(self.start_on) != sorted(set(self.start_on)):
            raise ValueError(f"forecasts {self.name}: the days of start_on must be distinct and in their order")
        return self

    def analyses(self, windows: Days) -> Days:
        """Days whose analyses forecasts may start from.

        Args:
            windows: (window,) days of all analyses.
        """
        if self.every is not None:
            return windows[:: self.every]
        return windows[np.isin(windows, np.array(self.start_on, dtype="datetime64[D]"))]

    def starts(self, windows: Days, last: date) -> Days:
        """Of these, those whose forecasts end inside the experiment; with a forcing of their own, all.

        Args:
            windows: (window,) days of all analyses.
            last: last day of the experiment.
        """
        found = self.analyses(windows)
        return found if self.forcing is not None else found[found + self.days <= np.datetime64(last)]


def window_days(first: date, last: date, analysis_hour: int) -> Days:
    """Days of the analyses of an assimilation from the analysis hour of `first` to that of `last`; with hour 0, that
    of a day is at its 24 UTC."""
    return np.arange(np.datetime64(first, "D") + 1, np.datetime64(last, "D") + 1) - int(analysis_hour == 0)
