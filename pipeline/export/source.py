"""One run of a store as a source of files: its arrays, what their times mean, and how far all of its cells are done."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.array_types import Days, Times
from ldas.pipeline.evaluation.reading import attributes, group_names
from ldas.pipeline.export.errors import ExportError
from ldas.pipeline.stages.labels import along_time, instants
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import has_group, open_lazily
from ldas.pipeline.store.portable import portable

DAY = np.timedelta64(1, "D")
TRUTH = "truth"
_MEANS = ("time: mean", "time: sum")


@dataclass(frozen=True, eq=False)
class Run:
    """A run (or the truth of a twin) of an open store."""

    root: zarr.Group
    name: str

    @property
    def path(self) -> str:
        """Group of the store."""
        return self.name if self.name == TRUTH else f"runs/{self.name}"

    @cached_property
    def dataset(self) -> xr.Dataset:
        """Its arrays, read when their values are asked for, with attributes that NetCDF can hold."""
        return portable(open_lazily(self.root, self.path), self.path)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of the arrays that have one value for each day and cell."""
        return tuple(sorted(str(n) for n, v in self.dataset.data_vars.items() if v.dims == ("time", "cell")))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Attributes of the group, nested ones as they are."""
        return dict(attributes(self.root, self.path))

    @cached_property
    def labels(self) -> Days:
        """Days under which values are stored."""
        return self.dataset["time"].values.astype("datetime64[D]")

    @property
    def is_analysis(self) -> bool:
        """Whether observations were assimilated: its days are windows that end at the analysis hour."""
        return any(name.startswith("innovation_") for name in self.variables)

    @property
    def hour(self) -> int:
        """Hour (UTC) of states and analyses."""
        return int(self.facts.get("analysis_hour_utc", 0))

    @property
    def shift(self) -> int:
        """Days from a date to the label of the mean that most of it lies in: with windows that end at 09 UTC, 1."""
        return 1 if self.is_analysis and 0 < self.hour < 12 else 0

    def is_mean(self, name: str) -> bool:
        """Whether a variable is a mean or sum over the day, and not of an instant."""
        return str(self.dataset[name].attrs.get("cell_methods", "")).startswith(_MEANS)

    def instants(self, days: Days) -> Times:
        """When the states of these days hold."""
        return instants(days, self.hour)

    def bounds(self, days: Days) -> Times:
        """From when to when the means of these days are, (day, 2)."""
        return along_time(days + self.shift * DAY, self.hour, windows=self.is_analysis)["time_bnds"][1]

    def days(self) -> Days:
        """The days that are done in all cells.

        Raises:
            ExportError: if there is none.
        """
        if not len(self.labels):
            raise ExportError(f"{self.path} holds no day yet: run it first")
        done = self.labels
        if self.name in ledger.experiments(self.root):
            ends = self.bounds(done - self.shift * DAY)[:, 1]
            done = done[ends <= ledger.complete_until(self.root, self.name)]
        if not len(done):
            raise ExportError(
                f"no day of {self.path} is done in all cells yet: `ldas status` shows how far it is; only whole days "
                "are exported"
            )
        return np.arange(done[0] - self.shift * DAY, done[-1] + DAY)


def runs_of(root: zarr.Group, names: Iterable[str]) -> list[Run]:
    """Runs by name; without names all of the store.

    Raises:
        ExportError: if there is none, or one that was asked for is not there.
    """
    there = [name for name in group_names(root, "runs") if "time" in root[f"runs/{name}"]]  # type: ignore[operator]
    known = [*there, *([TRUTH] if has_group(root, TRUTH) else [])]
    wanted = list(dict.fromkeys(names)) or there
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ExportError(
            f"no run {', '.join(unknown) or 'in the store'}; there are: {', '.join(known) or 'none'}. "
            "`ldas run EXPERIMENT.yaml` makes them"
        )
    return [Run(root, name) for name in wanted]
