"""From product grids to target cells: bilinear and nearest interpolation, area averages, great-circle neighbours."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.spatial import cKDTree

from ldas.landmodel.array_types import Array, IntArray
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.config import CellsConfig

EARTH_RADIUS_KM = 6371.0
SINGLE_POINT_STEP = 0.25  # degrees, of ERA5
_TOLERANCE = 1e-4  # of a grid step: rounding of single-precision coordinates


@dataclass(frozen=True)
class Cells:
    """Target cells: latitude (-90..90) and longitude (-180..180), degrees, one each."""

    latitude: Array
    longitude: Array

    def __len__(self) -> int:
        return len(self.latitude)

    def coordinates(self) -> dict[str, Any]:
        """Coordinates of a dataset over these cells."""
        return {"latitude": ("cell", self.latitude), "longitude": ("cell", self.longitude)}

    def name(self, index: int) -> str:
        """`cell 17 (43.625N 0.875E)`."""
        latitude, longitude = float(self.latitude[index]), float(self.longitude[index])
        return (
            f"cell {index} ({abs(latitude):g}{'N' if latitude >= 0 else 'S'} "
            f"{abs(longitude):g}{'E' if longitude >= 0 else 'W'})"
        )


def wrap(longitude: npt.ArrayLike) -> Array:
    """Longitudes between -180 (included) and 180."""
    return (np.asarray(longitude, dtype=np.float64) + 180.0) % 360.0 - 180.0


def target_cells(config: CellsConfig, group: xr.Dataset | None = None) -> Cells:
    """The cells that a configuration names; rows from south to north, each from west to east.

    Args:
        group: the store's group that `from_group` names.
    """
    if config.from_group is not None:
        if group is None or "cell" not in group.dims:
            raise IngestError(f"cells: the store has no group '{config.from_group}' with cells; ingest it first")
        return Cells(
            np.asarray(group["latitude"].values, dtype=np.float64), wrap(np.asarray(group["longitude"].values))
        )
    if config.points is not None:
        points = np.asarray(config.points, dtype=np.float64)
        return Cells(points[:, 0], wrap(points[:, 1]))
    region = config.region
    assert region is not None  # CellsConfig has exactly one of the three
    rows = region.south + region.step * (np.arange(round((region.north - region.south) / region.step)) + 0.5)
    columns = region.west + region.step * (np.arange(round((region.east - region.west) / region.step)) + 0.5)
    latitude, longitude = np.meshgrid(rows, columns, indexing="ij")
    return Cells(latitude.reshape(-1), wrap(longitude.reshape(-1)))


@dataclass(frozen=True)
class Weights:
    """Linear combination of points of a latitude x longitude grid: `rows`, `columns` and `weight` are (cell, n).

    Rows and columns count in the box that `box_rows` x `box_columns` cut out of the source grid.
    """

    box_rows: IntArray
    box_columns: IntArray
    rows: IntArray
    columns: IntArray
    weight: Array

    def apply(self, box: npt.NDArray[Any]) -> Array:
        """Values of the cells (..., cell) from values of the box (..., row, column).

        A missing point (NaN) with a weight makes the cell missing; one without weight does not.
        """
        result = np.zeros((*box.shape[:-2], self.rows.shape[0]))
        for corner in range(self.rows.shape[1]):
            weight = self.weight[:, corner]
            picked = box[..., self.rows[:, corner], self.columns[:, corner]]
            result += np.where(weight > 0, picked * weight, 0.0)
        return result


def _axis_positions(
    source: Array, target: Array, period: float | None, reach: float = _TOLERANCE
) -> tuple[IntArray, IntArray, Array]:
    """Neighbours before and after, and the weight of the second; index -1 where the target lies outside.

    Args:
        reach: how far from the value of an axis of one value a target may lie, degrees.
    """
    order = np.argsort(source)
    ordered = source[order]
    if period is not None and _covers_circle(ordered, period):
        ordered = np.concatenate([ordered, ordered[:1] + period])
        order = np.concatenate([order, order[:1]])
        target = ordered[0] + (target - ordered[0]) % period
    if len(ordered) == 1:
        inside = np.abs(target - ordered[0]) <= reach
        index = np.where(inside, order[0], -1)
        return index, index, np.zeros_like(target)
    step = float(np.median(np.diff(ordered)))
    upper = np.clip(np.searchsorted(ordered, target, side="right"), 1, len(ordered) - 1)
    fraction = (target - ordered[upper - 1]) / (ordered[upper] - ordered[upper - 1])
    outside = (target < ordered[0] - _TOLERANCE * step) | (target > ordered[-1] + _TOLERANCE * step)
    # Targets inside the tolerance at an edge sit on the edge.
    fraction = np.clip(fraction, 0.0, 1.0)
    before = np.where(outside, -1, order[upper - 1])
    after = np.where(outside, -1, order[upper])
    return before, after, fraction


def _covers_circle(ordered: Array, period: float) -> bool:
    """Whether longitudes go all round the earth, so that the last and the first are neighbours."""
    return len(ordered) > 2 and ordered[0] + period - ordered[-1] < 1.5 * float(np.median(np.diff(ordered)))


def _check_axes(latitude: Array, longitude: Array, where: object) -> None:
    for name, axis in (("latitude", latitude), ("longitude", longitude)):
        if axis.ndim != 1 or not np.isfinite(axis).all() or len(np.unique(axis)) != len(axis):
            raise IngestError(f"{where}: {name} must be one axis of different finite values, got shape {axis.shape}")


def interpolation_weights(
    latitude: npt.ArrayLike, longitude: npt.ArrayLike, cells: Cells, method: str, where: object
) -> Weights:
    """Weights from a latitude x longitude grid to cells.

    The grid's latitudes may descend, its longitudes may run 0..360 or -180..180, and all round the earth. With
    `nearest`, an axis of one value reaches half a step of the other axis, or of ERA5's where both have one value.

    Args:
        method: `bilinear` (four neighbours) or `nearest` (the neighbour with the largest bilinear weight).

    Raises:
        IngestError: cells outside the grid; names the first, and how many there are.
    """
    rows, columns = np.asarray(latitude, dtype=np.float64), wrap(longitude)
    _check_axes(rows, columns, where)
    columns = _unwrapped(columns)
    reach = _TOLERANCE + (_half_step(rows, columns) if method == "nearest" else 0.0)
    low = columns.min() - reach
    target_longitude = low + (cells.longitude - low) % 360.0
    south, north, to_north = _axis_positions(rows, cells.latitude, None, reach)
    west, east, to_east = _axis_positions(columns, target_longitude, 360.0, reach)
    outside = np.flatnonzero((south < 0) | (west < 0))
    if outside.size:
        raise IngestError(
            f"{where}: {outside.size} of {len(cells)} target cells lie outside the file, the first "
            f"{cells.name(int(outside[0]))}; the file covers {rows.min():g} to {rows.max():g} N, "
            f"{columns.min():g} to {columns.max():g} E: download a larger area or choose a smaller region"
            + _of_one_value(rows, columns, method)
        )
    if method == "nearest":
        to_north, to_east = np.round(to_north), np.round(to_east)
    row = np.stack([south, south, north, north], axis=1)
    column = np.stack([west, east, west, east], axis=1)
    weight = np.stack(
        [(1 - to_north) * (1 - to_east), (1 - to_north) * to_east, to_north * (1 - to_east), to_north * to_east], axis=1
    )
    box_rows, row_in_box = np.unique(row, return_inverse=True)
    box_columns, column_in_box = np.unique(column, return_inverse=True)
    return Weights(box_rows, box_columns, row_in_box.reshape(row.shape), column_in_box.reshape(column.shape), weight)


def _half_step(rows: Array, columns: Array) -> float:
    """How far `nearest` reaches along an axis of one value, degrees."""
    steps = [float(np.abs(np.diff(axis)).min()) for axis in (rows, columns) if len(axis) > 1]
    return 0.5 * min(steps, default=SINGLE_POINT_STEP)


def _of_one_value(rows: Array, columns: Array, method: str) -> str:
    """What helps where an axis has one value only."""
    if len(rows) > 1 and len(columns) > 1:
        return ""
    if method == "nearest":
        return f"; a single row or column of points is used for cells within {_half_step(rows, columns):g} degrees"
    return "; between single points nothing can be interpolated: interpolation: nearest takes the point itself"


def _unwrapped(longitude: Array) -> Array:
    """Longitudes without the jump at the date line: the largest gap of the circle lies outside the axis."""
    ordered = np.sort(longitude)
    if len(ordered) < 2:
        return longitude
    gaps = np.diff(np.append(ordered, ordered[0] + 360.0))
    start = ordered[(int(np.argmax(gaps)) + 1) % len(ordered)]
    return np.asarray(start + (longitude - start) % 360.0)


@dataclass(frozen=True)
class AreaAverage:
    """Pixels of a fine grid sorted into square cells around the targets.

    `pixels` has the flat indices (row-major) of the pixels that fall into a cell, `cell` their cells.
    """

    pixels: IntArray
    cell: IntArray
    cells: int

    @cached_property
    def available(self) -> IntArray:
        """Pixels per cell, valid or not."""
        return np.bincount(self.cell, minlength=self.cells).astype(np.int64)

    def apply(self, flat: Array) -> tuple[Array, Array, IntArray]:
        """Mean, standard deviation and number of the finite pixels per cell, from flat values (row-major)."""
        picked = flat[self.pixels]
        good = np.isfinite(picked)
        count = np.bincount(self.cell[good], minlength=self.cells)
        number = np.maximum(count, 1)
        total = np.bincount(self.cell[good], weights=picked[good], minlength=self.cells)
        mean = total / number
        deviation = picked[good] - mean[self.cell[good]]
        variance = np.bincount(self.cell[good], weights=deviation**2, minlength=self.cells) / number
        empty = count == 0
        return np.where(empty, np.nan, mean), np.where(empty, np.nan, np.sqrt(variance)), count.astype(np.int64)


def area_average(latitude: npt.ArrayLike, longitude: npt.ArrayLike, cells: Cells, size: float) -> AreaAverage:
    """Which pixel centres lie in the square of `size` degrees around each cell's centre.

    Args:
        latitude: of the pixels, any shape; `longitude` likewise (for axes, broadcast them first).
    """
    pixel_latitude = np.asarray(latitude, dtype=np.float64).reshape(-1)
    pixel_longitude = np.asarray(longitude, dtype=np.float64).reshape(-1)
    # A cell's key is its place on a lattice of `size`; cells of one region share the lattice's origin.
    origin_latitude, origin_longitude = cells.latitude[0] - size / 2, cells.longitude[0] - size / 2
    keys = _lattice_keys(cells.latitude, cells.longitude, origin_latitude, origin_longitude, size)
    place = (cells.latitude - origin_latitude) / size
    if np.abs(place - np.floor(place) - 0.5).max(initial=0.0) > 1e-3 or len(np.unique(keys)) != len(cells):
        raise IngestError(
            f"area averages need target cells on one regular grid of {size} degrees; give the cells' step, or use "
            "nearest or bilinear interpolation"
        )
    order = np.argsort(keys)
    pixel_keys = _lattice_keys(pixel_latitude, pixel_longitude, origin_latitude, origin_longitude, size)
    place_in_order = np.minimum(np.searchsorted(keys[order], pixel_keys), len(cells) - 1)
    cell = np.where(keys[order][place_in_order] == pixel_keys, order[place_in_order], -1)
    inside = np.flatnonzero(cell >= 0)
    return AreaAverage(inside, cell[inside], len(cells))


def box_around(
    latitude: npt.ArrayLike, longitude: npt.ArrayLike, cells: Cells, margin: float
) -> tuple[IntArray, IntArray]:
    """Rows and columns of a latitude x longitude grid within `margin` degrees of any cell, in the grid's order."""
    rows, columns = np.asarray(latitude, dtype=np.float64), wrap(longitude)
    near_row = (rows >= cells.latitude.min() - margin) & (rows <= cells.latitude.max() + margin)
    distance = np.abs(wrap(columns[:, None] - np.unique(cells.longitude)[None, :])).min(axis=1)
    return np.flatnonzero(near_row), np.flatnonzero(distance <= margin)


def _lattice_keys(latitude: Array, longitude: Array, south: float, west: float, size: float) -> IntArray:
    """One number for each square of `size` degrees; longitudes are measured around `west`."""
    rows = np.floor((latitude - south) / size + 1e-9).astype(np.int64)
    columns = np.floor(((longitude - west + 180.0) % 360.0 - 180.0) / size + 1e-9).astype(np.int64)
    return rows * 1_000_003 + columns  # more than the columns of any grid, so keys do not collide


def _unit_vectors(latitude: Array, longitude: Array) -> Array:
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def neighbours(
    latitude: npt.ArrayLike, longitude: npt.ArrayLike, cells: Cells, number: int, radius_km: float
) -> tuple[IntArray, Array]:
    """The nearest points of an irregular grid for each cell.

    Returns:
        Indices (cell, number), -1 where there is none within `radius_km`, and great-circle distances in km (inf).
    """
    points = _unit_vectors(np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64))
    wanted = min(number, len(points))
    chord, index = cKDTree(points).query(_unit_vectors(cells.latitude, cells.longitude), k=list(range(1, wanted + 1)))
    distance = 2.0 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2.0, 1.0))
    missing = distance > radius_km
    index = np.where(missing, -1, index).astype(np.int64)
    distance = np.where(missing, np.inf, distance)
    if wanted < number:
        index = np.pad(index, ((0, 0), (0, number - wanted)), constant_values=-1)
        distance = np.pad(distance, ((0, 0), (0, number - wanted)), constant_values=np.inf)
    return index, distance
