"""The scores of a store's runs, opened once: summary, tables, figures and page all read them here."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation.plan import Comparison, Plan, Series
from ldas.pipeline.evaluation.reading import Reader, cell_centres
from ldas.pipeline.evaluation.stations import Station, find_stations
from ldas.pipeline.store.arrays import existing_group, open_lazily
from ldas.pipeline.store.at_once import at_once
from ldas.pipeline.store.location import Location

ROOT = "scores"
MOST_KEPT = 4_000_000  # values of an array that is kept in memory: 16 MB; a larger one is read at each use


class Scores:
    """What was evaluated, with its scores: each group is opened once, and its small arrays are read once.

    plan: what was compared. notes: about it, for the reader (periods, what is missing or left out). location: the
    store of the runs; root: that store, open for reading; reader: its series.
    """

    def __init__(
        self, location: Location, reader: Reader, plan: Plan, notes: Sequence[str], stored: zarr.Group
    ) -> None:
        """stored: root of the store that has the group `scores`, open for reading."""
        self.location, self.reader, self.plan, self.notes = location, reader, plan, tuple(notes)
        self.root = reader.root
        self._stored = stored
        self._opened: dict[str, xr.Dataset] = {}

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of scores."""
        return tuple(sorted(existing_group(self._stored, ROOT).group_keys()))

    def has(self, name: str) -> bool:
        """Whether there is a group of scores of that name."""
        return name in self.groups

    def dataset(self, name: str) -> xr.Dataset:
        """A group of scores, with text for `series`, `predictor` and `code`.

        Raises:
            StoreError: if there is none.
        """
        if name not in self._opened:
            self._opened[name] = _with_text(self._read(name))
        return self._opened[name]

    def _read(self, name: str) -> xr.Dataset:
        found = open_lazily(self._stored, f"{ROOT}/{name}")
        # Not on Dask: the tasks of many small arrays take longer than their reading.
        small = [variable for variable in found.variables.values() if variable.size <= MOST_KEPT]
        at_once(lambda variable: variable.load(), small)
        return found[sorted(found.data_vars, key=str)]  # in files, their order is that in which they were made

    def score(self, comparison: Comparison, score: str, series: Series) -> Array:
        """A score of a series, (cell,)."""
        values = self.dataset(comparison.name)[score].sel(series=series.label).values
        return np.asarray(values, dtype=np.float64)

    def comparison(self, *names: str) -> Comparison | None:
        """The first comparison of these names that was made."""
        return self.plan.comparison(*names)

    def open_loop(self, series: Sequence[Series]) -> Series | None:
        """The open loop among the series, or None."""
        return next((one for one in series if one.experiment == self.plan.open_loop), None)

    @cached_property
    def centres(self) -> tuple[Array, Array]:
        """Latitude and longitude of the cells, degrees.

        Raises:
            StoreError: a store without land.
        """
        return cell_centres(self.root)

    @cached_property
    def stations(self) -> tuple[Station, ...]:
        """Stations inside the domain, from west to east."""
        return tuple(station for station in find_stations(self.root) if station.cell is not None)


def _with_text(stored: xr.Dataset) -> xr.Dataset:
    """Labels in the place of their integer codes."""
    found = stored.set_coords([name for name in ("code", "cell") if name in stored])
    for coordinate in ("series", "predictor", "code"):
        if coordinate in found.coords and "labels" in found[coordinate].attrs:
            labels = np.array(found[coordinate].attrs["labels"], dtype=object)[found[coordinate].values]
            found = found.assign_coords({coordinate: (found[coordinate].dims, labels)})
    return found
