"""Copernicus Global Land: soil water index, surface soil moisture, leaf area index. One NetCDF file a date.

Pixels within `valid_range` are values, everything else is missing or one of the product's flags (see `packed`). Fine
products (300 m, 1 km) are averaged over the cells, coarse ones (SWI 0.1 degree) can be interpolated.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import grid
from ldas.pipeline.ingest.config import CellsConfig, ObservationConfig, Period
from ldas.pipeline.ingest.grid import AreaAverage, Cells, Weights
from ldas.pipeline.ingest.observations import Daily, observation_dataset
from ldas.pipeline.ingest.packed import PackedOptions, flag_entries, unpack
from ldas.pipeline.settings.assimilation import Name


@dataclass(frozen=True)
class Product:
    """One product: observation name, unit of the store, accepted units in the file, how its layers are called.

    `uncertainty` and `quality` are names of layers, with `{layer}` for the suffix of the variable (SWI_001 -> 001).
    """

    observation: str
    unit: str
    long_name: str
    units: dict[str, tuple[float, float]]
    uncertainty: tuple[str, ...]
    quality: tuple[str, ...]


# Units as `unit_key` writes them; a saturation without unit may be a fraction or a percentage.
PERCENT = dict.fromkeys(("%", "percent", "percentage", "pct"), (0.01, 0.0)) | dict.fromkeys(
    ("1", "fraction"), (1.0, 0.0)
)
LEAF_AREA = dict.fromkeys(("", "m2/m2", "m2m-2", "1", "-", "unitless", "dimensionless", "none"), (1.0, 0.0))
# Names of files as the service gives them: the date and hour, then area, sensor and version.
NAMED = re.compile(r"^(?:c_gls|g2_BIOPAR|CGLS)_.*?_(\d{12})_", re.IGNORECASE)
DATE_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d{6})(\d{4})?(?:\d{2})?(?!\d)")
ONE_DATE = "one file a date is expected: split it by date"
PRODUCTS = {
    "SWI": Product("swi", "1", "soil water index", PERCENT, (), ("QFLAG_{layer}", "QFLAG")),
    "ssm": Product("ssm", "1", "surface soil moisture as degree of saturation", PERCENT, ("ssm_noise",), ()),
    "LAI": Product("lai", "m2 m-2", "leaf area index", LEAF_AREA, ("LAI_ERR", "RMSE"), ()),
}
# Words in `flag_meanings` -> quality of a cell in which that flag is the most frequent reason for missing pixels.
FLAG_WORDS = {
    "water": Quality.MASKED_WATER,
    "sea": Quality.MASKED_WATER,
    "slope": Quality.MASKED_TOPOGRAPHY,
    "topograph": Quality.MASKED_TOPOGRAPHY,
    "snow": Quality.MASKED_SNOW,
    "frozen": Quality.MASKED_FROZEN,
}


class CglsConfig(ObservationConfig, PackedOptions):
    """`ldas ingest cgls`."""

    variable: str = Field(description="variable of the product, such as SWI_001, ssm or LAI")
    unit: str | None = Field(default=None, description="unit of the variable, instead of the files' attribute")
    date: str | None = Field(
        default=None,
        description="`file_name`: the date in each file's name; or the date itself, of one file; default: the time in "
        "the file, or where it has none the date in a name as the service gives it",
    )
    group: Name | None = Field(default=None, description="name below `observations`; default: swi, ssm or lai")
    cells: CellsConfig
    cell_size: float = Field(default=0.25, gt=0, description="degrees: side of the squares of the area average")
    method: Literal["area", "bilinear", "nearest"] = "area"
    least_fraction: float = Field(
        default=0.5, ge=0, le=1, description="part of a cell's pixels that must be valid; fewer: flagged"
    )
    least_quality: float = Field(
        default=0.0, ge=0, description="a pixel whose quality layer is below is not used (in the layer's unit)"
    )


class Dated(NamedTuple):
    """The producer's date of a value, and from when to when its images are."""

    date: np.datetime64
    begin: np.datetime64
    end: np.datetime64


@dataclass(frozen=True)
class Row:
    """One date at the cells, each (cell,): `count` pixels made the value."""

    dated: Dated
    path: Path
    value: Array
    uncertainty: Array
    quality: npt.NDArray[np.int8]
    count: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """One variable of one file: values (lat, lon) with NaN, and which pixels carry which flag."""

    values: Array
    flags: dict[Quality, npt.NDArray[np.bool_]]


def read(paths: list[Path], cells: Cells, config: CglsConfig) -> xr.Dataset:
    """Observations over (time, cell), one time a file; `count` is the number of valid pixels.

    Raises:
        IngestError: another product, variable or unit, two files of one date.
    """
    product = product_of(config.variable)
    rows: list[Row] = []
    known: dict[tuple[bytes, bytes], AreaAverage | Weights] = {}
    if config.date not in (None, "file_name") and len(paths) > 1:
        raise IngestError(f"date {config.date} is that of one file, but there are {len(paths)}: `date: file_name`")
    notes: dict[str, None] = {}
    for path in paths:
        with files.open_netcdf(path, mask_and_scale=False) as dataset:
            time = _time(dataset, config.date, path)
            if not in_period(time, config.period):
                continue
            part, axes = _near_cells(dataset, cells, config, path)
            key = (axes[0].tobytes(), axes[1].tobytes())
            if key not in known:
                known[key] = _mapping(axes, cells, config, path)
            rows.append(_row(part, _dated(dataset, time), product, config, known[key], path, notes))
    if not rows:
        raise IngestError(f"none of the {len(paths)} files lies in the period")
    daily = stacked(rows)
    made = observation_dataset(
        product.observation, daily, cells, product.unit, product.long_name, source_variable=config.variable
    )
    return with_notes(made, notes)


def with_notes(dataset: xr.Dataset, notes: Iterable[str]) -> xr.Dataset:
    """A dataset with further notes for the user."""
    every = [*dataset.attrs.get("notes", ()), *notes]
    return dataset.assign_attrs(notes=every) if every else dataset


def stacked(rows: list[Row]) -> Daily:
    """Rows of single dates in order of time; IngestError for a date that is there twice."""
    rows = sorted(rows, key=lambda row: row.dated.date)
    dates = np.array([row.dated.date for row in rows], dtype="datetime64[ns]")
    repeated = np.flatnonzero(np.diff(dates) == np.timedelta64(0, "ns"))
    if repeated.size:
        i = int(repeated[0])
        raise IngestError(f"{rows[i + 1].path}: {files.instant(dates[i])} is also in {rows[i].path}")
    return Daily(
        np.array([row.dated.end for row in rows], dtype="datetime64[ns]"),
        np.stack([row.value for row in rows]),
        np.stack([row.uncertainty for row in rows]),
        np.stack([row.quality for row in rows]),
        np.stack([row.count for row in rows]),
        None,
        np.array([row.dated.begin for row in rows], dtype="datetime64[ns]"),
        dates,
    )


def product_of(variable: str) -> Product:
    """The product that a variable belongs to, by the beginning of its name."""
    for prefix, product in PRODUCTS.items():
        if variable == prefix or variable.startswith(f"{prefix}_"):
            return product
    raise IngestError(f"variable {variable!r} belongs to no known Copernicus product: {', '.join(PRODUCTS)}")


def in_period(time: np.datetime64, period: Period) -> bool:
    """Whether an instant lies in the period, ends included."""
    after = period.start is None or bool(time >= np.datetime64(period.start, "ns"))
    return after and (period.end is None or bool(time <= np.datetime64(period.end, "ns")))


def _time(dataset: xr.Dataset, date: str | None, path: Path) -> np.datetime64:
    """The date of a file: as configured, in the file, or in its name."""
    if date is not None and date != "file_name":
        try:
            return np.datetime64(date, "ns")
        except ValueError as error:
            raise IngestError(f"date {date!r} is neither `file_name` nor a date such as 2015-06-10") from error
    if date is None and "time" in dataset.variables:
        times = files.utc_times(dataset, "time", path)
        if len(times) != 1:
            raise IngestError(f"{path}: {len(times)} times, {ONE_DATE}")
        first: np.datetime64 = times[0]
        return first
    found = DATE_IN_NAME.search(path.name) if date is not None else None
    named = NAMED.match(path.name)
    digits = named[1] if named else f"{found[1]}{found[2] or ''}" if found else ""
    stamp = pd.to_datetime(digits, format="%Y%m%d%H%M" if len(digits) == 12 else "%Y%m%d", errors="coerce")
    if not digits or stamp is pd.NaT:
        raise IngestError(
            f"{path}: no variable time, and no date in the file's name that is taken for it: give `date: file_name` "
            "for names with a date such as 20150610, or the date itself for one file"
        )
    return stamp.to_datetime64().astype("datetime64[ns]")


def _dated(dataset: xr.Dataset, date: np.datetime64) -> Dated:
    """When the images of a file are from, by its attributes; a file without them is of the day of its date, or of the
    instant where that has an hour.
    """
    day = np.timedelta64(1, "D") if date == date.astype("datetime64[D]") else np.timedelta64(0, "D")
    first, last = (
        pd.to_datetime(str(dataset.attrs.get(f"time_coverage_{name}")), utc=True, errors="coerce")
        for name in ("start", "end")
    )
    begin = date if first is pd.NaT else min(date, first.to_datetime64())
    # The last second of the coverage, such as 23:59:59.
    end = date + day if last is pd.NaT else max(date, last.ceil("min").to_datetime64())
    return Dated(date, begin, end)


def _near_cells(
    dataset: xr.Dataset, cells: Cells, config: CglsConfig, path: Path
) -> tuple[xr.Dataset, tuple[Array, Array]]:
    """The part of a file near the cells (a global 300 m file is never in memory), with its latitudes and longitudes."""
    axes = {}
    for names in (("lat", "latitude"), ("lon", "longitude")):
        name = next((item for item in names if item in dataset.variables), names[0])
        axes[name] = files.values(files.variable(dataset, name, path), path).astype(np.float64)
    (row_name, latitude), (column_name, longitude) = axes.items()
    if config.method == "area":
        rows, columns = grid.box_around(latitude, longitude, cells, config.cell_size)
    else:
        weights = grid.interpolation_weights(latitude, longitude, cells, config.method, path)
        rows, columns = weights.box_rows, weights.box_columns
    if not (len(rows) and len(columns)):
        raise IngestError(
            f"{path}: no pixel lies in a target cell; the file covers {latitude.min():g} to {latitude.max():g} N, "
            f"{longitude.min():g} to {longitude.max():g} E"
        )
    dims = str(dataset[row_name].dims[0]), str(dataset[column_name].dims[0])
    part = dataset.isel(dict(zip(dims, (rows, columns), strict=True))).transpose(..., *dims)
    return part, (latitude[rows], longitude[columns])


def _mapping(axes: tuple[Array, Array], cells: Cells, config: CglsConfig, path: Path) -> AreaAverage | Weights:
    latitude, longitude = axes
    if config.method != "area":
        return grid.interpolation_weights(latitude, longitude, cells, config.method, path)
    average = grid.area_average(*np.meshgrid(latitude, longitude, indexing="ij"), cells, config.cell_size)
    if not average.pixels.size:
        raise IngestError(f"{path}: no pixel lies in a target cell")
    return average


def unit_key(text: str) -> str:
    """A unit in one spelling: `m^2 m^-2`, `m2.m-2` and `m² m⁻²` are `m2m-2`."""
    plain = text.strip().lower().translate(str.maketrans("²⁻", "2-"))
    return "".join(letter for letter in plain if letter not in "^* ._{}")


def read_layer(
    dataset: xr.Dataset,
    name: str,
    units: dict[str, tuple[float, float]] | None,
    options: CglsConfig,
    path: Path,
    limits: tuple[float, float] | None = None,
    notes: dict[str, None] | None = None,
) -> Layer:
    """One variable (lat, lon), unpacked, in the unit of the store (`units`), with its flags.

    Args:
        limits: what it can be, in the unit of the store.
        notes: takes what was decided about its attributes.
    """
    array = files.variable(dataset, name, path)
    for dim in array.dims[:-2]:
        if array.sizes[dim] != 1:
            raise IngestError(f"{path}: {name} has {array.sizes[dim]} layers along {dim}, one is expected")
        array = array.isel({dim: 0})
    factor, offset = 1.0, 0.0
    if units is not None:
        unit = str(array.attrs.get("units", "")) if options.unit is None else options.unit
        if unit_key(unit) not in units:
            known = " or ".join(repr(key) for key in units)
            raise IngestError(
                f"{path}: {name} has units {unit!r}, expected {known}; `unit` gives it instead of the file"
            )
        factor, offset = units[unit_key(unit)]
    own = None if limits is None else ((limits[0] - offset) / factor, (limits[1] - offset) / factor * (1.0 + 1e-6))
    layer = unpack(array, path, own, options)
    if notes is not None:
        notes.update(dict.fromkeys(layer.notes))
    return Layer(layer.values * factor + offset, _flags(array.attrs, layer.packed))


def _flags(attributes: Mapping[Any, Any], packed: npt.NDArray[Any]) -> dict[Quality, npt.NDArray[np.bool_]]:
    found: dict[Quality, npt.NDArray[np.bool_]] = {}
    for first, last, meaning in flag_entries(attributes):
        quality = next(
            (code for word, code in FLAG_WORDS.items() if word in meaning.lower()), Quality.MASKED_PRODUCT_FLAG
        )
        there = (packed >= first) & (packed <= last)
        found[quality] = found.get(quality, np.zeros(packed.shape, dtype=bool)) | there
    return found


def _row(
    dataset: xr.Dataset,
    dated: Dated,
    product: Product,
    config: CglsConfig,
    mapping: AreaAverage | Weights,
    path: Path,
    notes: dict[str, None],
) -> Row:
    """Value, uncertainty, quality and count of the cells for one file."""
    limits = registry.variable(product.observation).valid_range
    layer = read_layer(dataset, config.variable, product.units, config, path, limits, notes)
    values = layer.values
    suffix = config.variable.partition("_")[2]
    quality_name = _first(dataset, product.quality, suffix)
    if quality_name is not None and config.least_quality > 0:
        quality = read_layer(dataset, quality_name, None, config, path).values
        values = np.where(quality >= config.least_quality, values, np.nan)
    error_name = _first(dataset, product.uncertainty, suffix)
    error = None if error_name is None else read_layer(dataset, error_name, product.units, config, path).values
    if isinstance(mapping, Weights):
        return interpolated(dated, path, values, error, mapping)
    mean, _, count = mapping.apply(values.reshape(-1))
    code = area_quality(count, mapping, layer.flags, config.least_fraction)
    uncertainty = np.full(mean.shape, np.nan) if error is None else mapping.apply(error.reshape(-1))[0]
    return Row(dated, path, mean, uncertainty, code, count)


def area_quality(
    count: npt.NDArray[np.int64],
    mapping: AreaAverage,
    flags: dict[Quality, npt.NDArray[np.bool_]],
    least_fraction: float,
) -> npt.NDArray[np.int8]:
    """Quality of cells by the number of their valid pixels.

    With enough of them usable; otherwise the most frequent flag, or missing where no pixel is valid or flagged.
    """
    available = mapping.available
    enough = (count >= least_fraction * np.maximum(available, 1)) & (count > 0)
    code = np.where(enough, Quality.USED, Quality.MISSING).astype(np.int8)
    most = np.zeros(len(code))
    for quality_code, mask in flags.items():
        share = np.bincount(mapping.cell, weights=mask.reshape(-1)[mapping.pixels], minlength=mapping.cells)
        code = np.where(~enough & (share > most), np.int8(quality_code), code)
        most = np.maximum(most, share)
    too_few = ~enough & (code == Quality.MISSING) & (count > 0)
    return np.where(too_few, Quality.MASKED_PRODUCT_FLAG, code).astype(np.int8)


def interpolated(dated: Dated, path: Path, values: Array, error: Array | None, weights: Weights) -> Row:
    """Value, uncertainty, quality and count of the cells, from pixels (row, column) of one date."""
    box = np.ix_(weights.box_rows, weights.box_columns)
    mean = weights.apply(values[box])
    there = np.isfinite(mean)
    uncertainty = np.full(mean.shape, np.nan) if error is None else weights.apply(error[box])
    code = np.where(there, Quality.USED, Quality.MISSING).astype(np.int8)
    return Row(dated, path, mean, uncertainty, code, np.where(there, (weights.weight > 0).sum(axis=1), 0))


def _first(dataset: xr.Dataset, names: tuple[str, ...], suffix: str) -> str | None:
    return next((item for name in names if (item := name.format(layer=suffix)) in dataset.variables), None)
