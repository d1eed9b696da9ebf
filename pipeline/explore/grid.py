"""Where the cells lie: on a regular grid, which is drawn as an image, or scattered, which are drawn as points."""

from dataclasses import dataclass

import numpy as np

from ldas.landmodel.array_types import Array, IntArray
from ldas.pipeline.evaluation.stations import grid_spacing

_MOST_EMPTY = 400  # places of a grid for each cell: sparser cells are points
_MOST_FREE = 10_000  # places of a grid that may be empty in any case


@dataclass(frozen=True)
class Grid:
    """A regular grid that holds all cells. `places`: (cell,) of each among its (row, column), south and west first."""

    latitude: Array
    longitude: Array
    places: IntArray

    def filled(self, values: Array) -> Array:
        """Values (cell,) as (row, column), NaN where there is no cell."""
        found = np.full(len(self.latitude) * len(self.longitude), np.nan)
        found[self.places] = values
        return found.reshape(len(self.latitude), len(self.longitude))


def grid_of(latitude: Array, longitude: Array) -> Grid | None:
    """The regular grid of cells at these centres (degrees), in steps of its own along each axis; None where there is
    none, or where it would be nearly empty."""
    both = grid_spacing(latitude, longitude)
    rows, columns = (_steps(axis, grid_spacing(axis, axis)) or _steps(axis, both) for axis in (latitude, longitude))
    if rows is None or columns is None:
        return None
    (south, row), (west, column) = rows, columns
    size = len(south) * len(west)
    places = row * len(west) + column
    if size > max(_MOST_EMPTY * len(latitude), _MOST_FREE) or len(np.unique(places)) < len(places):
        return None
    return Grid(south, west, places)


def _steps(axis: Array, spacing: float) -> tuple[Array, IntArray] | None:
    """The evenly spaced places that hold all values of an axis, and which of them each value is."""
    place = np.round((axis - axis.min()) / spacing).astype(np.int64)
    if not np.allclose(axis.min() + place * spacing, axis, atol=0.02 * spacing, rtol=0.0):
        return None
    return axis.min() + spacing * np.arange(place.max() + 1), place


def cell_at_click(latitude: Array, longitude: Array, north: float, east: float) -> int:
    """The cell nearest to a place (degrees), as seen on a map."""
    narrow = np.cos(np.deg2rad(north))
    return int(np.argmin(np.hypot(latitude - north, narrow * (longitude - east))))
