"""Any gridded product with CF conventions, in NetCDF or Zarr, by its configuration: variable, unit, flags, times.

With it ESA CCI and C3S soil moisture, VODCA, TROPOSIF, SMAP L3 and their like come in without code. Files hold one time
or many; one time of one variable near the cells is in memory at a time. Latitude and longitude are axes, or fields of a
grid whose rows have one latitude each and whose columns one longitude (EASE-Grid 2.0, global).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr
from pydantic import Field, model_validator

from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, BoolArray, Times
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import cgls, grid, pixel_times
from ldas.pipeline.ingest.cgls import Dated, Row, unit_key
from ldas.pipeline.ingest.config import CellsConfig, ObservationConfig, OverpassesPerDay
from ldas.pipeline.ingest.grid import AreaAverage, Cells, Weights
from ldas.pipeline.ingest.observations import Daily, Overpasses, day_axis, observation_dataset, overpasses_of_days
from ldas.pipeline.ingest.packed import PackedOptions, unpack
from ldas.pipeline.settings.assimilation import Name
from ldas.pipeline.settings.yaml_file import StrictModel
from ldas.pipeline.store.plain_arrays import is_plain_input

_SAME_AXIS = 1e-3  # degrees by which latitudes of a row may differ
# Unit of the store -> units of files that need no factor of their own, as `cgls.unit_key` writes them.
_KNOWN_UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "m3 m-3": dict.fromkeys(("m3m-3", "m3/m3", "cm3cm-3", "cm3/cm3"), (1.0, 0.0)),
    "m2 m-2": dict.fromkeys(("m2m-2", "m2/m2"), (1.0, 0.0)),
    "1": cgls.PERCENT,
    "K": {**dict.fromkeys(("k", "kelvin"), (1.0, 0.0)), **dict.fromkeys(("degc", "c", "celsius"), (1.0, 273.15))},
    "kg m-2": {**dict.fromkeys(("kgm-2", "kg/m2", "mm"), (1.0, 0.0)), "mofwaterequivalent": (1000.0, 0.0)},
    "m": {"m": (1.0, 0.0), "cm": (0.01, 0.0), "mm": (0.001, 0.0)},
    "kg kg-1": {
        **dict.fromkeys(("kgkg-1", "kg/kg", "1"), (1.0, 0.0)),
        **dict.fromkeys(("gkg-1", "g/kg"), (0.001, 0.0)),
    },
    "mW m-2 sr-1 nm-1": dict.fromkeys(("mw/m2/sr/nm", "mwm-2sr-1nm-1", "mw/m2/nm/sr"), (1.0, 0.0)),
}


class FlagRule(StrictModel):
    """Which pixels are used, by one variable of the product; exactly one condition."""

    variable: str = Field(description="variable of flags or of quality, on the grid of the value")
    keep: tuple[int, ...] | None = Field(None, description="stored numbers whose pixels are used")
    reject_bits: tuple[int, ...] | None = Field(None, description="a pixel with one of these bits, from 0, is not used")
    at_least: float | None = Field(None, description="smallest value (unpacked) whose pixels are used")
    at_most: float | None = Field(None, description="largest value (unpacked) whose pixels are used")
    code: Literal["masked_product_flag", "masked_snow", "masked_frozen", "masked_water", "masked_topography"] = Field(
        "masked_product_flag", description="quality code of a cell in which this is the most frequent reason"
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(getattr(self, name) is not None for name in ("keep", "reject_bits", "at_least", "at_most")) != 1:
            raise ValueError("give exactly one of `keep`, `reject_bits`, `at_least`, `at_most`")
        return self


class ErrorRule(StrictModel):
    """Standard deviation of the error of a pixel: a variable of the product, or a number."""

    variable: str | None = Field(None, description="variable of the product, in the unit of the value")
    size: float | None = Field(None, gt=0, description="a number, in the unit of the store")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.variable is None) == (self.size is None):
            raise ValueError("give exactly one of `variable`, `size`")
        return self


class GriddedConfig(ObservationConfig, PackedOptions):
    """`ldas ingest gridded`."""

    variable: str = Field(description="variable of the product")
    group: Name = Field(description="name below `observations`: an observation of the registry, such as ssm, vod, sif")
    unit: str | None = Field(None, description="unit of the variable, instead of the files' attribute")
    factor: float | None = Field(None, description="the unit of the store is the file's unit times this")
    offset: float = Field(0.0, description="plus this, in the unit of the store")
    file_group: str | None = Field(None, description="group inside the files, such as Soil_Moisture_Retrieval_Data_AM")
    select: dict[str, int] = Field(
        default_factory=dict, description="index, from 0, along further dimensions, such as channel: 1"
    )
    flags: tuple[FlagRule, ...] = Field((), description="conditions that all must hold for a pixel to be used")
    error: ErrorRule | None = Field(
        None, description="error of a pixel; left out: it is unknown, and an assimilation has to give one"
    )
    time: str = Field("time", description="coordinate of the times")
    date: str | None = Field(None, description="`file_name`: one time a file, the date in its name; or the date itself")
    covers: Literal["days", "instant", "bounds"] = Field(
        "days",
        description="what a value is made of: whole days from the date on, the instant, or the bounds of the files",
    )
    days: int = Field(1, ge=1, description="with `covers: days`: how many, such as 10 of a composite")
    pixel_time: str | None = Field(
        None,
        description="variable with the time (UTC) at which each pixel was seen, such as tb_time_utc; it needs "
        "`overpasses_per_day`",
    )
    pixel_time_origin: datetime | None = Field(
        None, description="instant (UTC) from which `pixel_time` counts seconds, where the files do not say it"
    )
    overpasses_per_day: OverpassesPerDay = None
    cells: CellsConfig
    cell_size: float = Field(default=0.25, gt=0, description="degrees: side of the squares of the area average")
    method: Literal["area", "bilinear", "nearest"] = "area"
    least_fraction: float = Field(
        default=0.5, ge=0, le=1, description="part of a cell's pixels that must be used; fewer: flagged"
    )

    @model_validator(mode="after")
    def _meant(self) -> Self:
        if self.days != 1 and self.covers != "days":
            raise ValueError("`days` has no effect without `covers: days`")
        if self.overpasses_per_day is not None and self.covers != "instant" and self.pixel_time is None:
            raise ValueError(
                "`overpasses_per_day` keeps the hour of instants: it belongs to `covers: instant`, or to `pixel_time`"
            )
        if self.pixel_time is not None and (self.overpasses_per_day is None or self.covers != "days"):
            raise ValueError("`pixel_time` gives the hour of overpasses: it needs `overpasses_per_day` and no `covers`")
        if self.pixel_time_origin is not None and self.pixel_time is None:
            raise ValueError("`pixel_time_origin` belongs to `pixel_time`")
        if self.date is not None and self.covers == "bounds":
            raise ValueError("`covers: bounds` needs the times of the files; `date` takes their place")
        if self.factor is None and self.offset:
            raise ValueError("`offset` belongs to `factor`")
        known = [name for name in registry.names() if registry.variable(name).group == "observation"]
        if self.group not in known:
            raise ValueError(f"group {self.group} is no observation of the registry: {', '.join(known)}")
        return self


class _Axes(NamedTuple):
    """The part of a grid near the cells: by dimension its rows and columns, and how pixels become cells."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    dims: tuple[str, str]
    mapping: AreaAverage | Weights


def read(paths: list[Path], cells: Cells, config: GriddedConfig) -> xr.Dataset:
    """Observations over (time, cell); `count` is the number of pixels that were used.

    Raises:
        IngestError: no such variable, unit, flag or time; two values of one time; nothing in the period.
    """
    rows: list[Row] = []
    times: dict[np.datetime64, Times] = {}
    notes: dict[str, None] = {}
    known: dict[bytes, AreaAverage | Weights] = {}
    for path in paths:
        with _opened(path, config) as dataset:
            for index, dated in _times(dataset, config, path):
                if cgls.in_period(dated.date, config.period):
                    row, times[dated.date] = _row(dataset, index, dated, cells, config, path, known, notes)
                    rows.append(row)
    if not rows:
        raise IngestError(f"none of the times of {len(paths)} files lies in the period")
    entry = registry.variable(config.group)
    stacked = cgls.stacked(rows)
    if config.overpasses_per_day is not None:
        seen = np.stack([times[date] for date in stacked.dates])
        stacked = _at_their_hour(stacked, seen, config.overpasses_per_day, notes)
    made = observation_dataset(
        config.group, stacked, cells, entry.unit, entry.long_name, source_variable=config.variable
    )
    return cgls.with_notes(made, notes)


def _at_their_hour(read_values: Daily, time: Times, most: int, notes: dict[str, None]) -> Daily:
    """What was seen on each UTC day one after the other, with its hour; time (time, cell), NaT where it is unknown."""
    places = time.shape[1]
    passes = Overpasses(
        np.tile(np.arange(places), len(time)),
        time.ravel(),
        read_values.value.ravel(),
        read_values.uncertainty.ravel(),
        read_values.quality.ravel(),
    )
    there = ~np.isnat(passes.time)
    without = int((~there & np.isfinite(passes.value)).sum())
    if not there.any():
        farthest = pixel_times.FARTHEST // np.timedelta64(1, "D")
        raise IngestError(
            f"none of {without} values has a time within {farthest} days of its date: check `pixel_time` and "
            "`pixel_time_origin`"
        )
    if without:
        notes[f"{without} values without a time near their date are left out"] = None
    passes = passes.only(there)
    return overpasses_of_days(passes, places, day_axis(passes.time, None, None), most)


@contextmanager
def _opened(path: Path, config: GriddedConfig) -> Iterator[xr.Dataset]:
    """A file, or a folder with a Zarr group, without decoding of its numbers."""
    if not path.is_dir():
        options = {} if config.file_group is None else {"group": config.file_group}
        with files.open_netcdf(path, mask_and_scale=False, **options) as dataset:
            yield dataset
        return
    try:
        group = zarr.open_group(path / (config.file_group or ""), mode="r", use_consolidated=False)
        others = [name for name, array in group.arrays() if not is_plain_input(array)]
        dataset = xr.open_zarr(
            group.store,
            group=group.path,
            chunks=None,
            mask_and_scale=False,
            drop_variables=others,
            consolidated=False,  # what lies in the folder, whether or not there is a copy of its metadata
        )
    except files.READING_ERRORS as error:
        raise IngestError(f"{path}: not a Zarr group that can be read: {error}") from error
    with dataset:
        yield dataset


def _times(dataset: xr.Dataset, config: GriddedConfig, path: Path) -> Iterator[tuple[int | None, Dated]]:
    """The times of a file: place along its dimension (None: it has none) and what the value is made of."""
    if config.date is not None:
        yield None, _dated(_date_of(config.date, path), config, None)
        return
    times = files.utc_times(dataset, config.time, path)
    bounds = _bounds(dataset, config, path) if config.covers == "bounds" else None
    has_axis = config.time in dataset.dims
    for place, time in enumerate(times):
        yield place if has_axis else None, _dated(time, config, None if bounds is None else bounds[place])


def _date_of(date: str, path: Path) -> np.datetime64:
    """The date that the configuration gives, or that of the file's name."""
    if date != "file_name":
        try:
            return np.datetime64(date, "ns")
        except ValueError as error:
            raise IngestError(f"date {date!r} is neither `file_name` nor a date such as 2015-06-10") from error
    found = cgls.DATE_IN_NAME.search(path.name)
    stamp = pd.to_datetime(found[1], format="%Y%m%d", errors="coerce") if found else pd.NaT
    if stamp is pd.NaT:
        raise IngestError(f"{path}: no date such as 20150610 in the file's name, which `date: file_name` asks for")
    found_date: np.datetime64 = stamp.to_datetime64().astype("datetime64[ns]")
    return found_date


def _bounds(dataset: xr.Dataset, config: GriddedConfig, path: Path) -> Times:
    """(time, 2) begin and end of what each value is made of, as the files give them."""
    name = dataset[config.time].attrs.get("bounds") or dataset[config.time].encoding.get("bounds")
    if name is None:
        raise IngestError(f"{path}: {config.time} has no bounds, which `covers: bounds` asks for")
    bounds = files.values(files.variable(dataset, name, path), path)
    if bounds.dtype.kind != "M" or bounds.shape != (dataset[config.time].size, 2):
        raise IngestError(f"{path}: {name} holds no pairs of times, but {bounds.dtype} {bounds.shape}")
    return bounds.astype("datetime64[ns]")


def _dated(time: np.datetime64, config: GriddedConfig, bounds: npt.NDArray[Any] | None) -> Dated:
    if bounds is not None:
        return Dated(time, bounds[0], bounds[1])
    if config.covers == "instant":
        return Dated(time, time, time)
    begin = time.astype("datetime64[D]").astype("datetime64[ns]")
    return Dated(time, begin, begin + np.timedelta64(config.days, "D"))


def _row(
    dataset: xr.Dataset,
    index: int | None,
    dated: Dated,
    cells: Cells,
    config: GriddedConfig,
    path: Path,
    known: dict[bytes, AreaAverage | Weights],
    notes: dict[str, None],
) -> tuple[Row, Times]:
    """Value, uncertainty, quality and count of the cells at one time; and when each was seen, (cell,)."""
    axes = _axes(dataset, cells, config, path, known)

    def field(name: str) -> xr.DataArray:
        return _field(dataset, name, index, axes, config, path)

    array = field(config.variable)
    factor, offset = _conversion(array, config, path)
    limits = registry.variable(config.group).valid_range or (-np.inf, np.inf)
    own = tuple(sorted((limit - offset) / factor for limit in limits))
    unpacked = unpack(array, path, (own[0], own[1]), config)
    notes.update(dict.fromkeys(unpacked.notes))
    values = unpacked.values * factor + offset
    flags = dict[Quality, BoolArray]()
    for rule in config.flags:
        rejected = _rejected(field(rule.variable), rule, path) & np.isfinite(values)
        values = np.where(rejected, np.nan, values)
        code = Quality[rule.code.upper()]
        flags[code] = flags.get(code, np.zeros(rejected.shape, dtype=bool)) | rejected
    error = _error(field, config, values, factor, path)
    since = None
    if config.pixel_time is not None:
        since = pixel_times.seconds_since(field(config.pixel_time), dated.begin, config.pixel_time_origin, path)
        since = np.where(np.isfinite(values), since, np.nan)
    if isinstance(axes.mapping, Weights):
        row = cgls.interpolated(dated, path, values, error, axes.mapping)
        box = np.ix_(axes.mapping.box_rows, axes.mapping.box_columns)
        return row, pixel_times.times_of_cells(dated, row, None if since is None else axes.mapping.apply(since[box]))
    mean, _, count = axes.mapping.apply(values.reshape(-1))
    code_of_cell = cgls.area_quality(count, axes.mapping, flags, config.least_fraction)
    uncertainty = np.full(mean.shape, np.nan) if error is None else axes.mapping.apply(error.reshape(-1))[0]
    row = Row(dated, path, mean, uncertainty, code_of_cell, count)
    return row, pixel_times.times_of_cells(
        dated, row, None if since is None else axes.mapping.apply(since.reshape(-1))[0]
    )


def _conversion(array: xr.DataArray, config: GriddedConfig, path: Path) -> tuple[float, float]:
    """Factor and offset from the unit of the file to that of the store."""
    wanted = registry.variable(config.group).unit
    unit = config.unit if config.unit is not None else str(array.attrs.get("units", array.attrs.get("unit", "")))
    if config.factor is not None:
        return config.factor, config.offset
    known = {unit_key(wanted): (1.0, 0.0), **_KNOWN_UNITS.get(wanted, {})}
    if unit_key(unit) not in known:
        raise IngestError(
            f"{path}: {array.name} has {f'units {unit!r}' if unit else 'no units'}, {config.group} is stored in "
            f"{wanted!r}: give `unit`, if the files do not say it, or `factor` and `offset`, which bring it there"
        )
    return known[unit_key(unit)]


def _error(field: Any, config: GriddedConfig, values: Array, factor: float, path: Path) -> Array | None:
    """Standard deviation of the pixels' error, in the unit of the store; None where it is unknown."""
    if config.error is None:
        return None
    if config.error.variable is None:
        return np.where(np.isfinite(values), float(config.error.size or np.nan), np.nan)
    return np.asarray(unpack(field(config.error.variable), path, (0.0, np.inf), config).values * abs(factor))


def _rejected(array: xr.DataArray, rule: FlagRule, path: Path) -> BoolArray:
    """Where a condition does not hold; where the flag itself is missing, it does not."""
    if rule.at_least is not None or rule.at_most is not None:
        quality = unpack(array, path).values
        low = -np.inf if rule.at_least is None else rule.at_least
        return np.asarray(~((quality >= low) & (quality <= (np.inf if rule.at_most is None else rule.at_most))))
    stored = files.values(array, path)
    if stored.dtype.kind == "f":
        stored = np.where(np.isfinite(stored), stored, -1.0).astype(np.int64)
    if stored.dtype.kind not in "iub":
        raise IngestError(
            f"{path}: {array.name} holds {stored.dtype}, no integers, which `keep` and `reject_bits` are about"
        )
    if rule.keep is not None:
        return np.asarray(~np.isin(stored, rule.keep))
    fills = [array.attrs[name] for name in ("_FillValue", "missing_value") if name in array.attrs]
    mask = sum(1 << bit for bit in set(rule.reject_bits or ()))
    return np.asarray(((stored.astype(np.int64) & mask) != 0) | np.isin(stored, fills))


def _field(
    dataset: xr.Dataset, name: str, index: int | None, axes: _Axes, config: GriddedConfig, path: Path
) -> xr.DataArray:
    """One variable at one time near the cells, (row, column)."""
    array = files.variable(dataset, name, path)
    chosen: dict[str, Any] = {dim: place for dim, place in config.select.items() if dim in array.dims}
    if index is not None and config.time in array.dims:
        chosen[config.time] = index
    for dim, place in chosen.items():
        if not -1 < place < array.sizes[dim]:
            raise IngestError(f"{path}: {name} has {array.sizes[dim]} places along {dim}, `select` asks for {place}")
    array = array.isel(chosen)
    for dim in sorted(set(map(str, array.dims)) - set(axes.dims)):
        if array.sizes[dim] != 1:
            raise IngestError(
                f"{path}: {name} has {array.sizes[dim]} places along {dim}: choose one with `select: {{{dim}: 0}}`"
            )
        array = array.isel({dim: 0})
    missing = [dim for dim in axes.dims if dim not in array.dims]
    if missing:
        raise IngestError(f"{path}: {name} has no dimension {missing[0]}, which latitude and longitude have")
    return array.isel(dict(zip(axes.dims, (axes.rows, axes.columns), strict=True))).transpose(*axes.dims)


def _axes(
    dataset: xr.Dataset, cells: Cells, config: GriddedConfig, path: Path, known: dict[bytes, AreaAverage | Weights]
) -> _Axes:
    """The part of the grid near the cells."""
    (row_dim, latitude), (column_dim, longitude) = _coordinates(dataset, path)
    there = np.flatnonzero(np.isfinite(latitude)), np.flatnonzero(np.isfinite(longitude))
    latitude, longitude = latitude[there[0]], longitude[there[1]]
    weights = None
    if config.method == "area":
        rows, columns = grid.box_around(latitude, longitude, cells, config.cell_size)
    else:
        weights = grid.interpolation_weights(latitude, longitude, cells, config.method, path)
        rows, columns = np.arange(len(latitude)), np.arange(len(longitude))
    key = latitude.tobytes() + longitude.tobytes()
    if key not in known:
        known[key] = weights or _average(latitude[rows], longitude[columns], cells, config, path)
    return _Axes(there[0][rows], there[1][columns], (row_dim, column_dim), known[key])


def _average(latitude: Array, longitude: Array, cells: Cells, config: GriddedConfig, path: Path) -> AreaAverage:
    average = None
    if latitude.size and longitude.size:
        average = grid.area_average(*np.meshgrid(latitude, longitude, indexing="ij"), cells, config.cell_size)
    if average is None or not average.pixels.size:
        raise IngestError(f"{path}: no pixel lies in a target cell; `method: nearest` takes the pixel next to each")
    return average


def _coordinates(dataset: xr.Dataset, path: Path) -> tuple[tuple[str, Array], tuple[str, Array]]:
    """Latitude and longitude, each as dimension and axis; NaN where a row or column of a field has none."""
    found = {}
    for name, unit in (("latitude", "degrees_north"), ("longitude", "degrees_east")):
        names = [
            str(key)
            for key, item in dataset.variables.items()
            if name in (item.attrs.get("standard_name"), key)
            or item.attrs.get("units") == unit
            or key == name[:3]
            or str(key).startswith(f"{name}_")
        ]
        if not names:
            raise IngestError(
                f"{path}: no variable with standard_name {name} or units {unit}; the file has: "
                + ", ".join(map(str, dataset.variables))
            )
        # Of several the shortest: that of the pixel, before `latitude_centroid` of what was averaged in it.
        found[name] = dataset[next((key for key in names if key in dataset.dims), min(names, key=len))]
    latitude, longitude = found["latitude"], found["longitude"]
    if latitude.ndim == longitude.ndim == 1:
        rows, columns = (files.values(item, path).astype(np.float64) for item in (latitude, longitude))
        return (str(latitude.dims[0]), rows), (str(longitude.dims[0]), columns)
    if latitude.ndim != 2 or latitude.dims != longitude.dims:
        raise IngestError(
            f"{path}: latitude {latitude.dims} and longitude {longitude.dims} are neither axes nor fields of one grid"
        )
    row_dim, column_dim = map(str, latitude.dims)
    return (row_dim, _as_axis(latitude, 1, path)), (column_dim, _as_axis(longitude, 0, path))


def _as_axis(coordinate: xr.DataArray, along: int, path: Path) -> Array:
    """The one value of each row (along 1) or column (along 0) of a field."""
    values = files.values(coordinate, path).astype(np.float64)
    values = np.where(np.abs(values) <= 360.0, values, np.nan)  # such as -9999 outside the swath
    there = np.isfinite(values).any(axis=along)
    axis = np.full(there.shape, np.nan)
    low, high = (function(values.compress(there, axis=1 - along), axis=along) for function in (np.nanmin, np.nanmax))
    if (high - low > _SAME_AXIS).any():
        raise IngestError(
            f"{path}: {coordinate.name} differs within a {'row' if along else 'column'} of the grid: only grids whose "
            "rows have one latitude and whose columns have one longitude are read"
        )
    axis[there] = 0.5 * (low + high)
    return axis
