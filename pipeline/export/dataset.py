"""A run, or a period of it, as a lazy dataset with CF attributes: read block by block when it is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
import xarray as xr

from ldas.landmodel.array_types import Days, IntArray, Times
from ldas.pipeline.export.outputs import Output, Sum, depths
from ldas.pipeline.export.source import DAY, Run
from ldas.pipeline.store.layout import Grid, Points

Every = Literal["day", "month", "period"]
MOST_VALUES = 2**24  # read or written at a time: 64 MB in single precision
_CHUNK_VALUES = 2**18  # a megabyte
_FILL = 1.0e20
_FILL_CODE = -127
TIME_UNITS = "hours since 1970-01-01 00:00:00"


@dataclass(frozen=True)
class Rows:
    """The times of a file: days, or periods of days (first and last, both included) of which the means are taken."""

    first: Days
    last: Days
    every: Every

    def __len__(self) -> int:
        return len(self.first)

    def time_and_bounds(self, run: Run) -> tuple[Times, Times]:
        """The coordinate of each row, which is the instant of the states of a day, or the middle; and its bounds."""
        bounds = np.stack([run.bounds(self.first)[:, 0], run.bounds(self.last)[:, 1]], axis=1)
        if self.every == "day":
            return run.instants(self.first), bounds
        return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2, bounds


def rows_of(days: Days, every: Every) -> Rows:
    """Consecutive days as rows of a file."""
    if every == "day":
        return Rows(days, days, every)
    if every == "period":
        return Rows(days[:1], days[-1:], every)
    months = days.astype("datetime64[M]")
    new = np.flatnonzero(months[1:] != months[:-1]) + 1
    return Rows(days[np.concatenate([[0], new])], days[np.concatenate([new - 1, [len(days) - 1]])], every)


def dataset_of(run: Run, outputs: Iterable[Output], rows: Rows, layout: Grid | Points) -> xr.Dataset:
    """The outputs over the rows, with their coordinates; what is not stored on a day is missing.

    Codes, of which there is no mean, are left out where days are not exported one by one.
    """
    outputs = [o for o in outputs if rows.every == "day" or run.dataset[o.stored].dtype.kind == "f"]
    time, bounds = rows.time_and_bounds(run)
    made = layout.coordinates()
    made["time"] = ("time", time.astype("datetime64[ns]"), {"standard_name": "time", "long_name": "time", "axis": "T"})
    made["time"].attrs |= {"bounds": "time_bnds", "units_metadata": "leap_seconds: none"}
    made["time_bnds"] = (("time", "bnds"), bounds.astype("datetime64[ns]"))
    made["time"].encoding = {"units": TIME_UNITS, "calendar": "standard", "dtype": "int32"}
    made["crs"] = ((), np.int32(0), _CRS)
    layers = tuple(sorted({layer for output in outputs for layer in output.layers}))
    if layers:
        made = made.assign(_depth_axis(layers))
    arrays: dict[str, Any] = {}
    for output in outputs:
        arrays |= {**_scalar_depth(output), output.name: _variable(run, output, rows, layout, layers)}
    made = made.assign(arrays)
    return made.set_coords([name for name in ("lat", "lon", "time", "depth") if name in made])


_CRS = {
    "long_name": "coordinate reference system",
    "grid_mapping_name": "latitude_longitude",
    "longitude_of_prime_meridian": 0.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563,
    "crs_wkt": 'GEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257223563]],'
    'CS[ellipsoidal,2],AXIS["latitude",north],AXIS["longitude",east],ANGLEUNIT["degree",0.0174532925199433],'
    'ID["EPSG",4326]]',
}
_DEPTH = {"standard_name": "depth", "long_name": "depth below the surface", "units": "m", "positive": "down"}


def _depth_axis(layers: tuple[int, ...]) -> dict[str, Any]:
    edges = depths(layers)
    axis = ("depth", edges.mean(axis=1), {**_DEPTH, "axis": "Z", "bounds": "depth_bnds"})
    return {"depth": axis, "depth_bnds": (("depth", "bnds"), edges)}


def _depth_name(depth: tuple[float, float]) -> str:
    """`depth_1_4cm`."""
    return "depth_{:g}_{:g}cm".format(*(round(100.0 * metres, 3) for metres in depth))


def _scalar_depth(output: Output) -> dict[str, Any]:
    if output.depth is None:
        return {}
    name, edges = _depth_name(output.depth), np.array(output.depth)
    middle = ((), edges.mean(), {**_DEPTH, "bounds": f"{name}_bnds"})
    return {name: middle, f"{name}_bnds": ("bnds", edges)}


def _variable(run: Run, output: Output, rows: Rows, layout: Grid | Points, layers: tuple[int, ...]) -> xr.DataArray:
    reader = _Reader(run, rows, layout)
    by_layer = dict(zip(output.layers, output.parts, strict=True)) if output.layers else {}
    if by_layer:
        # A layer that this variable does not have, but another one of the file, is missing.
        parts = [reader.array(by_layer.get(layer, {})) for layer in layers]
        data, dims = da.stack(parts, axis=1), ("time", "depth", *layout.dims)
    else:
        data, dims = reader.array(output.parts[0]), ("time", *layout.dims)
    attributes = {**output.attributes, "coverage_content_type": "modelResult", "grid_mapping": "crs"}
    if methods := _cell_methods(run, output, rows.every):
        attributes["cell_methods"] = methods
    found = xr.DataArray(data, dims=dims, attrs=attributes)
    if isinstance(layout, Points):
        found = found.transpose("cell", ...)
    if data.dtype.kind == "f":
        found.encoding["_FillValue"] = np.float32(_FILL)
    else:
        found.encoding["_FillValue"] = data.dtype.type(_FILL_CODE)
    extra = [] if output.depth is None else [_depth_name(output.depth)]
    places = ["lat", "lon"] if isinstance(layout, Points) else []
    if extra or places:
        found.encoding["coordinates"] = " ".join([*places, *extra])
    return found


def _cell_methods(run: Run, output: Output, every: Every) -> str:
    """CF cell methods; empty of what belongs to no time of the day, such as the quality of an analysis."""
    stored = str(output.attributes.get("cell_methods", ""))
    if every == "day":
        return stored
    if run.is_mean(output.stored) or not stored:
        return "time: mean"
    return f"time: mean (interval: 1 day comment: of values at {run.hour:02d} UTC)"


@dataclass(frozen=True)
class _Reader:
    """Makes arrays (row, *places) of sums of stored variables, a block of rows at a time."""

    run: Run
    rows: Rows
    layout: Grid | Points

    def array(self, part: Sum) -> da.Array:
        """A sum of stored variables; missing everywhere where there is none of them."""
        dtype = self.run.dataset[next(iter(part))].dtype if part else np.dtype("float32")
        dtype = np.dtype("float32") if dtype.kind == "f" else dtype
        blocks = [
            da.from_delayed(
                dask.delayed(partial(self.block, part, rows, dtype), pure=False, traverse=False)(),
                (rows.stop - rows.start, *self.layout.shape),
                dtype,
            )
            for rows in self.blocks()
        ]
        return da.concatenate(blocks)

    def blocks(self) -> Iterator[slice]:
        """Rows of which the maps are small enough, in whole chunks of the files."""
        unit = rows_per_chunk(self.layout)
        step = max(1, MOST_VALUES // self.layout.places // unit) * unit
        for start in range(0, len(self.rows), step):
            yield slice(start, min(start + step, len(self.rows)))

    def block(self, part: Sum, rows: slice, dtype: np.dtype) -> np.ndarray:
        """Some rows."""
        missing: Any = np.nan if dtype.kind == "f" else _FILL_CODE
        cells = self.run.dataset.sizes["cell"]
        if not part:
            values = np.full((rows.stop - rows.start, cells), missing, dtype)
        elif self.rows.every == "day":
            values = self.days(part, self.rows.first[rows], missing)
        else:
            values = self.means(part, self.rows.first[rows], self.rows.last[rows])
        return self.layout.on_map(values.astype(dtype, copy=False), missing)

    def days(self, part: Sum, days: Days, missing: float) -> np.ndarray:
        """Values (day, cell) of consecutive days."""
        total: np.ndarray | None = None
        for name, factor in part.items():
            stored = self.run.dataset[name]
            shift = self.run.shift if self.run.is_mean(name) else 0
            first = int((days[0] - self.run.labels[0]) / DAY) + shift
            low, high = max(first, 0), min(first + len(days), len(self.run.labels))
            values = np.full((len(days), stored.sizes["cell"]), missing, stored.dtype)
            if low < high:
                values[low - first : high - first] = stored.isel(time=slice(low, high)).values
            values = values if factor == 1.0 else values * np.float32(factor)
            total = values if total is None else total + values
        assert total is not None
        return total

    def means(self, part: Sum, first: Days, last: Days) -> np.ndarray:
        """Means (row, cell) over the days of each row that have a value."""
        cells = self.run.dataset.sizes["cell"]
        total, number = np.zeros((len(first), cells)), np.zeros((len(first), cells))
        days = np.arange(first[0], last[-1] + DAY)
        for start in range(0, len(days), max(1, MOST_VALUES // cells)):
            piece = days[start : start + max(1, MOST_VALUES // cells)]
            values = self.days(part, piece, np.nan)
            row: IntArray = np.searchsorted(first, piece, side="right") - 1
            begin = np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1])
            there = np.isfinite(values)
            total[row[begin]] += np.add.reduceat(np.where(there, values, 0.0), begin, axis=0, dtype=np.float64)
            number[row[begin]] += np.add.reduceat(there, begin, axis=0, dtype=np.int64)
        return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def rows_per_chunk(layout: Grid | Points) -> int:
    """Rows of a chunk of a file: some whole maps."""
    return max(1, _CHUNK_VALUES // layout.places)


def chunks(sizes: Mapping[Any, int], dims: Sequence[Any], layout: Grid | Points) -> tuple[int, ...]:
    """Sizes of the chunks of a variable: one layer, all places, some rows."""
    most = {"time": rows_per_chunk(layout), "depth": 1}
    return tuple(min(sizes[dim], most.get(str(dim), sizes[dim])) for dim in dims)
