"""What evaluation reads from a store: series of a block of cells laid out on a common axis of days."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from ldas.landmodel.array_types import Array, Days
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.joint import JointOperator
from ldas.operators.protocol import ObservationOperator, OperatorArrays
from ldas.operators.registry import from_arrays
from ldas.pipeline.evaluation.errors import EvaluationError
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.stages.observations import (
    good_values,
    measured_overpasses,
    read_observations,
    taken,
    values_of_windows,
)
from ldas.pipeline.store.arrays import dimensions, existing_array, existing_group, has_group, read_region, read_times
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import operator_path
from ldas.pipeline.store.portable import restored

OVERPASS = "overpass"
MOST_KEPT = 3_000_000  # values of series that a reader keeps: 24 MB


def group_names(root: zarr.Group, parent: str) -> list[str]:
    """Names of the groups below a group that were finished; none where the group is absent."""
    if not has_group(root, parent):
        return []
    group = existing_group(root, parent)
    names = sorted(group.group_keys())
    return [name for name in names if existing_group(root, f"{parent}/{name}").attrs.get("complete", True)]


def variable_names(root: zarr.Group, path: str, *dims: str) -> list[str]:
    """Names of the arrays of a group that have exactly these dimensions."""
    group = existing_group(root, path)
    return sorted(name for name, array in group.arrays() if dimensions(array) == dims and name not in dims)


def attributes(root: zarr.Group, path: str) -> Mapping[str, Any]:
    """Attributes of a group; none where it is absent."""
    return restored(existing_group(root, path).attrs.asdict()) if has_group(root, path) else {}


def cell_centres(root: zarr.Group) -> tuple[Array, Array]:
    """Latitude and longitude of all cells, degrees."""
    latitude, longitude = (read_land(root, name).astype(np.float64) for name in ("latitude", "longitude"))
    return latitude, longitude


class Reader:
    """Reads series from a store; the time axis of each group is read once.

    What was read last is kept: the comparisons of a block of cells have many series in common.
    growing: whether to read days of runs that are being added, which other readers do not see before all are there.
    """

    def __init__(self, root: zarr.Group, *, growing: bool = False) -> None:
        self.root, self.growing = root, growing
        self._axes: dict[str, Days] = {}
        self._kept: dict[tuple[object, ...], Array] = {}  # in the order of their last use

    def days_of(self, path: str) -> Days:
        """UTC day of each record of a group, in the order of the records, which must be that of time."""
        if path not in self._axes:
            times = read_region(self.root, path, "time") if self.growing else read_times(self.root, path)
            days = times.astype("datetime64[D]")
            if (np.diff(days) < np.timedelta64(0, "D")).any():
                raise EvaluationError(f"'{path}': its times decrease; a period could not be read without the others")
            self._axes[path] = days
        return self._axes[path]

    def daily(self, path: str, name: str, days: Days, places: slice, place_dim: str = "cell") -> Array:
        """A variable (day, place) as float64 on the axis `days` (consecutive), NaN where there is no record.

        Several records of a day (hourly in-situ data) give the mean of those that are there.
        """
        if not len(days):
            return np.full((0, places.stop - places.start), np.nan)
        key = (path, name, days[0], len(days), places.start, places.stop, place_dim)
        values = self._kept.pop(key) if key in self._kept else self._read(path, name, days, places, place_dim)
        self._kept[key] = values
        while sum(kept.size for kept in self._kept.values()) > MOST_KEPT and len(self._kept) > 1:
            del self._kept[next(iter(self._kept))]
        return values.copy()

    def _read(self, path: str, name: str, days: Days, places: slice, place_dim: str) -> Array:
        stored = self.days_of(path)
        values = np.full((len(days), places.stop - places.start), np.nan)
        first, last = np.searchsorted(stored, [days[0], days[-1] + np.timedelta64(1, "D")])
        if first == last:
            return values
        region = {"time": slice(int(first), int(last)), place_dim: places}
        dims = dimensions(existing_array(self.root, path, name))
        if OVERPASS in dims:  # the mean of those of the day
            read = mean_of_overpasses(
                read_region(self.root, path, name, region, dims=("time", OVERPASS, place_dim)).astype(np.float64)
            )
        else:
            read = read_region(self.root, path, name, region, dims=("time", place_dim)).astype(np.float64)
        rows = (stored[first:last] - days[0]).astype(np.int64)
        if len(np.unique(rows)) == len(rows):
            values[rows] = read
            return values
        there = np.isfinite(read)
        total, number = np.zeros(values.shape), np.zeros(values.shape)
        np.add.at(total, rows, np.where(there, read, 0.0))
        np.add.at(number, rows, there)
        return np.divide(total, number, out=values, where=number > 0)

    def at_overpasses(self, path: str, name: str, days: Days, places: slice) -> Array:
        """A variable (day, overpass, cell) on the axis `days` (consecutive), NaN where there is no record."""
        stored = self.days_of(path)
        first, last = np.searchsorted(stored, [days[0], days[-1] + np.timedelta64(1, "D")])
        region = {"time": slice(int(first), int(last)), "cell": places}
        array = existing_array(self.root, path, name)
        overpasses = dict(zip(dimensions(array), array.shape, strict=True))[OVERPASS]
        values = np.full((len(days), overpasses, places.stop - places.start), np.nan)
        if first < last:
            read = read_region(self.root, path, name, region, dims=("time", OVERPASS, "cell"))
            values[(stored[first:last] - days[0]).astype(np.int64)] = read
        return values

    def usable_overpasses(self, name: str, days: Days, places: slice, hour: int) -> Array:
        """Usable observations (day, overpass, cell) in the places that the overpasses of each window have in runs."""
        times, arrays = read_observations(self.root, name, Block(0, places.start, places.stop))
        return taken(good_values(arrays), measured_overpasses(times, arrays, instants(days, hour), hour).place, np.nan)

    def usable_observations(self, name: str, days: Days, places: slice, hour: int) -> Array:
        """Observations (day, cell) as the assimilation takes them: means over the 24 h up to the analysis hour.

        Values whose quality code is not 0 are left out.

        Args:
            hour: analysis hour (UTC) of the runs.
        """
        times, arrays = read_observations(self.root, name, Block(0, places.start, places.stop))
        return values_of_windows(times, good_values(arrays), instants(days, hour), hour)


def mean_of_overpasses(values: Array) -> Array:
    """Means (day, place) over the overpasses of each day (day, overpass, place), NaN left out."""
    there = np.isfinite(values)
    number = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def operator_names(root: zarr.Group, output_name: str) -> list[str]:
    """Stored operators that predict an observation; those that predict others too come last."""
    outputs = {name: _outputs(root, name) for name in group_names(root, "operators")}
    return sorted((name for name in outputs if output_name in outputs[name]), key=lambda name: len(outputs[name]) > 1)


def _outputs(root: zarr.Group, name: str) -> list[str]:
    """What a stored operator predicts."""
    stored = attributes(root, operator_path(name)).get("operator", {})
    return list(stored.get("output_names", [stored.get("output_name")]))


def operator_positions(root: zarr.Group, name: str, latitude: Array, longitude: Array) -> np.ndarray | None:
    """Places of some cells (by their centres) among those of a stored operator; None when it lacks one of them.

    None too for a direct operator, which has no cells of its own and predicts nothing that is not stored.
    """
    path = operator_path(name)
    if "cell_ids" not in attributes(root, path).get("arrays", ()):
        return None
    identities = read_region(root, path, "cell_ids")
    order = np.argsort(identities, kind="stable")
    wanted = cell_ids_from_coordinates(latitude, longitude)
    places = np.minimum(np.searchsorted(identities[order], wanted), len(order) - 1)
    positions = order[places]
    return positions if np.array_equal(identities[positions], wanted) else None


def read_operator_part(root: zarr.Group, name: str, positions: np.ndarray, output_name: str) -> ObservationOperator:
    """The operator of an observation in the cells at some places of a stored one, read without the others."""
    path = operator_path(name)
    stored = attributes(root, path)
    low, high = int(positions.min()), int(positions.max()) + 1
    arrays = {}
    for array in (str(array) for array in stored["arrays"]):
        dims = dimensions(existing_array(root, path, array))
        arrays[array] = read_region(root, path, array, {"cell": slice(low, high)} if "cell" in dims else None)
    part = from_arrays(OperatorArrays(str(stored["kind"]), arrays, {}, stored["operator"]))
    part = part.select(positions - low)
    return part.output(output_name) if isinstance(part, JointOperator) else part
