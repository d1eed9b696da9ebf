"""Where cells go in a file or on a map: onto axes of latitude and longitude with equal steps, or one by one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ldas.landmodel.array_types import Array, IntArray

_DECIMALS = 6  # of a degree: 0.1 m
_SAME = 2e-4  # degrees, 20 m: closer coordinates are the same row or column
_OFF_GRID = 0.02  # of a step: coordinates may have been in single precision
_MOST_PLACES = 400  # for each cell, and 40,000 more: cells that are further apart are places of their own
LATITUDE = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"}
LONGITUDE = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}


@dataclass(frozen=True)
class Grid:
    """Axes (degrees, both increasing) and the place of each cell on them, row by row."""

    latitude: Array
    longitude: Array
    steps: tuple[float, float]
    place: IntArray

    dims = ("lat", "lon")
    feature_type = None

    @property
    def centres(self) -> tuple[Array, Array]:
        """Latitude and longitude of each cell (degrees), on these axes."""
        row, column = np.divmod(self.place, len(self.longitude))
        return self.latitude[row], self.longitude[column]

    @property
    def places(self) -> int:
        """Number of places, with or without a cell."""
        return len(self.latitude) * len(self.longitude)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a map."""
        return len(self.latitude), len(self.longitude)

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """South, north, west and east edge (degrees)."""
        (south, north), (west, east) = (
            (axis[0] - step / 2, axis[-1] + step / 2)
            for axis, step in zip((self.latitude, self.longitude), self.steps, strict=True)
        )
        return max(float(south), -90.0), min(float(north), 90.0), float(west), float(east)

    def on_map(self, values: np.ndarray, missing: float) -> np.ndarray:
        """Values (..., cell) as maps (..., lat, lon)."""
        maps = np.full((*values.shape[:-1], self.places), missing, dtype=values.dtype)
        maps[..., self.place] = values
        return maps.reshape(*values.shape[:-1], *self.shape)

    def coordinates(self) -> xr.Dataset:
        """The axes with their bounds."""
        axes = {"lat": (self.latitude, LATITUDE), "lon": (self.longitude, LONGITUDE)}
        variables: dict[str, Any] = {}
        for (name, (axis, attributes)), step in zip(axes.items(), self.steps, strict=True):
            variables[name] = (name, axis, {**attributes, "bounds": f"{name}_bnds"})
            bounds = np.stack([axis - step / 2, axis + step / 2], axis=1)
            variables[f"{name}_bnds"] = ((name, "bnds"), bounds.clip(-90.0, 90.0) if name == "lat" else bounds)
        return xr.Dataset(variables)


@dataclass(frozen=True)
class Points:
    """Cells that lie on no regular grid: time series at places of their own (CF, discrete sampling geometries)."""

    latitude: Array
    longitude: Array

    dims = ("cell",)
    feature_type = "timeSeries"

    @property
    def centres(self) -> tuple[Array, Array]:
        """Latitude and longitude of each cell (degrees)."""
        return self.latitude, self.longitude

    @property
    def places(self) -> int:
        """Number of places."""
        return len(self.latitude)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values of one time."""
        return (self.places,)

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """The southernmost, northernmost, westernmost and easternmost place (degrees)."""
        both = (self.latitude, self.longitude)
        south, north, west, east = (float(value) for axis in both for value in (axis.min(), axis.max()))
        return south, north, west, east

    def on_map(self, values: np.ndarray, missing: float) -> np.ndarray:
        """Values (..., cell) as they are."""
        return values

    def coordinates(self) -> xr.Dataset:
        """Number and place of each cell."""
        numbers = np.arange(self.places, dtype="int32")
        found = xr.Dataset(
            {"cell": ("cell", numbers, {"long_name": "number of the cell", "cf_role": "timeseries_id"})},
            coords={
                "lat": ("cell", self.latitude, {k: v for k, v in LATITUDE.items() if k != "axis"}),
                "lon": ("cell", self.longitude, {k: v for k, v in LONGITUDE.items() if k != "axis"}),
            },
        )
        for name in ("lat", "lon"):
            found[name].attrs["axis"] = LATITUDE["axis"] if name == "lat" else LONGITUDE["axis"]
        return found


def layout(latitude: Array, longitude: Array) -> Grid | Points:
    """A grid, where the cells lie on one with neighbours on it; else points.

    Args:
        latitude, longitude: degrees of each cell.
    """
    latitude, longitude = np.round(latitude, _DECIMALS), np.round(longitude, _DECIMALS)
    turned = longitude % 360.0
    if np.ptp(turned) < np.ptp(longitude):  # on both sides of the date line
        longitude = turned
    steps = [step for step in (_step(latitude), _step(longitude)) if step is not None]
    rows, columns = (_numbers(axis, _step(axis) or (steps or [1.0])[0]) for axis in (latitude, longitude))
    if not steps or rows is None or columns is None or not _has_neighbours(rows, columns):
        return Points(latitude, longitude)
    height, width = int(rows.max()) + 1, int(columns.max()) + 1
    place = rows * width + columns
    if height * width > _MOST_PLACES * len(place) + 40_000 or len(np.unique(place)) < len(place):
        return Points(latitude, longitude)
    axes = [_axis(values, numbers) for values, numbers in ((latitude, rows), (longitude, columns))]
    both = _step(latitude) or steps[0], _step(longitude) or steps[0]
    return Grid(axes[0], axes[1], both, place)


def _step(values: Array) -> float | None:
    """The smallest distance between coordinates, the mean of all like it; None where there is one row only."""
    distances = np.diff(np.unique(values))
    distances = distances[distances > _SAME]
    return float(distances[distances < 1.5 * distances.min()].mean()) if distances.size else None


def _numbers(values: Array, step: float) -> IntArray | None:
    """The place of each coordinate on an axis with this step; None where one is between two places."""
    exact = (values - values.min()) / step
    numbers = np.round(exact).astype(np.int64)
    if (last := numbers.max()) > 0:  # the step of the whole axis is more exact than that of two neighbours
        exact = (values - values.min()) / (np.ptp(values) / last)
    return numbers if np.abs(exact - numbers).max() <= _OFF_GRID else None


def _axis(values: Array, numbers: IntArray) -> Array:
    axis: Array = np.linspace(values.min(), values.max(), int(numbers.max()) + 1, dtype=np.float64)
    return axis.round(_DECIMALS)


def _has_neighbours(rows: IntArray, columns: IntArray) -> bool:
    """Whether two cells are one step apart: any two places lie on some grid."""
    there = set(zip(rows.tolist(), columns.tolist(), strict=True))
    return any((row + 1, column) in there or (row, column + 1) in there for row, column in there)
