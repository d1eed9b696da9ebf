"""ERA5 from the Climate Data Store: NetCDF in its old (packed) and new layout, GRIB, the table (CSV) of its time-series
product at one point; any variables in a file."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing.valid_range import within_valid_range
from ldas.pipeline.ingest import forcing_fields, gaps, grib, grid
from ldas.pipeline.ingest.config import CellsConfig, FilesConfig, ForcingConfig, SnowRule
from ldas.pipeline.ingest.forcing_fields import Fields
from ldas.pipeline.ingest.grid import Cells

HOUR_S = 3600.0
WATER_DENSITY = 1000.0  # kg m-3
KELVIN = {"K": (1.0, 0.0)}
SPEED = {"m s**-1": (1.0, 0.0), "m s-1": (1.0, 0.0)}
ENERGY = {"J m**-2": (1.0 / HOUR_S, 0.0), "J m-2": (1.0 / HOUR_S, 0.0)}
DEPTH = {
    **dict.fromkeys(("m", "m of water equivalent"), (WATER_DENSITY / HOUR_S, 0.0)),
    **dict.fromkeys(("mm", "kg m**-2", "kg m-2"), (1.0 / HOUR_S, 0.0)),
}

# quantity -> (names in the files, accepted units with factor and offset to the unit of `QUANTITIES`)
NAMES: Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[float, float]]]] = {
    "temperature": (("t2m", "2t"), KELVIN),
    "dew_point": (("d2m", "2d"), KELVIN),
    "pressure": (("sp",), {"Pa": (1.0, 0.0)}),
    "eastward_wind": (("u10", "10u"), SPEED),
    "northward_wind": (("v10", "10v"), SPEED),
    "shortwave": (("ssrd",), ENERGY),
    "longwave": (("strd",), ENERGY),
    "precipitation": (("tp",), DEPTH),
    "snowfall": (("sf",), DEPTH),
}
# quantity -> variable of the registry with its range
RANGES = {
    **{"temperature": "Tair", "dew_point": "Tair", "pressure": "PSurf", "eastward_wind": "Wind"},
    **{"northward_wind": "Wind", "shortwave": "SWdown", "longwave": "LWdown"},
    **{"precipitation": "Rainf", "snowfall": "Snowf"},
}
ACCUMULATED = ("shortwave", "longwave", "precipitation", "snowfall")
POINT_TIME = "valid_time"  # column of the time-series product
_AXES = {"lat": "latitude", "lon": "longitude"}
_AT_ONCE = 2**24  # bytes: less is read at once, for which Dask takes longer than the work
_LEAST_HOURS_OF_A_DAY = 18  # that show how amounts accumulate


class GriddedForcingConfig(ForcingConfig):
    """What ERA5's files and archives share."""

    cells: CellsConfig
    snow: SnowRule = SnowRule()
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    radiation: Literal["centred", "hour_mean"] = Field(
        default="centred",
        description="ERA5 gives means over the hour before: `centred` makes the instants that the store holds of them",
    )
    co2_ppm: float | None = Field(default=None, gt=0, description="constant CO2 instead of the table by year")


class Era5Config(GriddedForcingConfig, FilesConfig):
    """`ldas ingest era5`."""

    accumulation: Literal["hourly", "since_midnight"] = Field(
        default="hourly",
        description="ERA5 accumulates over the hour before each time, ERA5-Land since 00 UTC",
    )


def read(
    paths: list[Path],
    cells: Cells,
    config: GriddedForcingConfig,
    accumulation: str = "hourly",
    before: xr.DataArray | None = None,
) -> xr.Dataset:
    """The ALMA variables that the files allow, lazy, over (time, cell); see `forcing_fields.forcing_at_cells`.

    Raises:
        IngestError: what cannot be used; names file, variable and hour.
    """
    block = forcing_fields.block_records(len(cells), config.memory_mb)
    fields = read_fields(paths, cells, accumulation, block, config.interpolation)
    where = "ERA5" if len(paths) > 1 else paths[0]
    start = None if config.period.start is None else np.datetime64(config.period.start, "ns")
    first = min(field["time"].to_numpy()[0] for field in fields.values())
    if accumulation == "since_midnight" and start == first - gaps.HOUR:
        raise IngestError(
            f"{where}: the amount of the hour that ends at {files.instant(start)} is the difference from the record "
            f"before it: add the file that holds {files.instant(start - gaps.HOUR)}, or begin at {files.instant(first)}"
        )
    return at_cells(fields, cells, config, where, before)


def at_cells(
    fields: Fields, cells: Cells, config: GriddedForcingConfig, where: object, before: xr.DataArray | None = None
) -> xr.Dataset:
    """The shared work of `forcing_fields.forcing_at_cells` with the choices of a configuration."""
    return forcing_fields.forcing_at_cells(
        fields,
        cells,
        period=config.period,
        policy=config.gaps,
        snow=config.snow,
        co2_ppm=config.co2_ppm,
        method=config.interpolation,
        radiation=config.radiation,
        where=where,
        before=before,
    )


def read_fields(
    paths: list[Path],
    cells: Cells | None = None,
    accumulation: str | None = "hourly",
    block: int = 744,
    interpolation: str = "bilinear",
) -> Fields:
    """The quantities found in the files, lazy, over (time, latitude, longitude), in time order.

    Args:
        cells: only what interpolation to them needs is read; None: all.
        accumulation: None: amounts are left as they are in the files.
        block: hours that are read at a time.

    Raises:
        IngestError: two files with the same variable and hour, wrong units, no known variable in a file, amounts that
            accumulate in another way than `accumulation` says.
    """
    parts: dict[str, list[tuple[Path, xr.DataArray]]] = {}
    opened = [open_file(path, cells, block, interpolation) for path in paths]
    small = sum(dataset.nbytes for parts in opened for dataset in parts) <= _AT_ONCE
    for path, datasets in zip(paths, opened, strict=True):
        found: Counter[str] = Counter()
        for dataset in datasets:
            for quantity, field in fields_of(files.loaded(dataset, path) if small else dataset, NAMES, path).items():
                parts.setdefault(quantity, []).append((path, field))
                found[str(field.name)] += 1
        if not found:
            raise IngestError(
                f"{path}: none of the variables {', '.join(name for names, _ in NAMES.values() for name in names)} "
                "is in the file: is it the right product?"
            )
        name, times = found.most_common(1)[0]
        if times > 1:
            raise IngestError(
                f"{path}: {name} is there {times} times, on several levels or of several ensemble members; select one "
                "level or ensemble member first"
            )
    fields = {quantity: _joined(quantity, pieces) for quantity, pieces in parts.items()}
    contradiction = None if accumulation is None else contradicting_amounts(fields, accumulation, paths[0])
    if contradiction is not None:
        raise IngestError(contradiction)
    if accumulation == "since_midnight":
        fields.update({name: _difference(fields[name]) for name in ACCUMULATED if name in fields})
        fields = _from_first_amount(fields)
    return fields


def fields_of(
    dataset: xr.Dataset, names: Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[float, float]]]], path: Path
) -> Fields:
    """The known variables of one dataset over (time, latitude, longitude), in the units of `QUANTITIES`."""
    found: Fields = {}
    for quantity, (spellings, units) in names.items():
        for name in spellings:
            if name not in dataset.data_vars:
                continue
            unit = units.get(str(dataset[name].attrs.get("units")), (1.0, 0.0))
            valid = within_valid_range(dataset[name], registry.variable(RANGES[quantity]).valid_range, unit)
            field = files.in_units(files.without_nodata(valid), units, path)
            if set(field.dims) != {"time", "latitude", "longitude"}:
                raise IngestError(
                    f"{path}: {name} has dimensions {', '.join(map(str, field.dims))}, expected time, latitude, "
                    "longitude; select one level or ensemble member first"
                )
            found[quantity] = field.transpose("time", "latitude", "longitude").rename(name)
    return found


def open_file(
    path: Path, cells: Cells | None = None, block: int = 744, interpolation: str = "bilinear"
) -> list[xr.Dataset]:
    """The datasets of one NetCDF, GRIB or CSV file, lazy, with the dimensions time, latitude, longitude."""
    if grib.is_grib(path):
        return [standard_layout(part, cells, block, path, interpolation) for part in grib.open_grib(path)]
    source = open_point_table(path) if is_point_table(path) else files.open_netcdf(path)
    dataset = standard_layout(source, cells, block, path, interpolation)
    times, versions = dataset["time"].to_numpy(), dataset["expver"].to_numpy()
    if versions.any() and times.dtype.kind == "M" and len(np.unique(times)) < len(times):
        dataset = dataset.isel(time=files.preferred(times, versions, path, [f"expver {n}" for n in versions]))
    return [dataset.assign_coords(time=files.utc_times(dataset, "time", path))]


def point_columns(path: Path) -> list[str]:
    """The columns of a text, by its first line."""
    return [name.strip() for name in "".join(files.first_lines(path, 1)).split(",")]


def is_point_table(path: Path) -> bool:
    """Whether a file is a table of the time-series product."""
    return files.magic(path) not in files.NETCDF and POINT_TIME in point_columns(path)


def open_point_table(path: Path) -> xr.Dataset:
    """The table of the time-series product: hours of one point, in ERA5's names and units, which it does not state.

    Raises:
        IngestError: no place, several places, times or numbers that cannot be read.
    """
    columns = point_columns(path)
    if not {"latitude", "longitude"} <= set(columns):
        raise IngestError(f"{path}: no columns latitude and longitude; it has {', '.join(columns)}")
    try:
        table = pd.read_csv(path, skipinitialspace=True, dtype={POINT_TIME: str})
        times = files.dates_of(table.pop(POINT_TIME), None, "ISO 8601", f"{path}: {POINT_TIME}")
        table = table.astype(float)
    except (OSError, ValueError) as error:
        raise IngestError(f"{path}: no table of hours: {error}") from error
    places = table[["latitude", "longitude"]].drop_duplicates()
    if len(places) != 1:
        raise IngestError(f"{path}: {len(places)} places in one table, expected one point")
    units = {name: next(iter(units)) for names, units in NAMES.values() for name in names}
    return xr.Dataset(
        {
            name: (("time", "latitude", "longitude"), table[name].to_numpy()[:, None, None], {"units": units[name]})
            for name in columns
            if name in units
        },
        coords={
            "time": times.as_unit("ns").to_numpy(),
            **{axis: [float(places[axis].iloc[0])] for axis in ("latitude", "longitude")},
        },
    )


def standard_layout(
    dataset: xr.Dataset, cells: Cells | None, block: int, where: Path, interpolation: str = "bilinear"
) -> xr.Dataset:
    """One layout of all, in chunks of `block` times, only the points near the cells.

    Dimensions time, latitude, longitude; coordinate `expver` along time: 1 final, 5 preliminary, 0 not known. Where a
    file has both versions as a dimension, they are merged. Points are selected before anything is computed, so that a
    global file is read where it is needed only.
    """
    dataset = dataset.rename({old: new for old, new in _AXES.items() if old in dataset.variables})
    if "valid_time" in dataset.dims or ("time" not in dataset.dims and "valid_time" in dataset.variables):
        dataset = dataset.drop_vars("time", errors="ignore").rename(valid_time="time")
    for axis in ("latitude", "longitude"):
        if axis in dataset.variables and dataset[axis].ndim == 0:
            dataset = dataset.expand_dims(axis)  # a single point
        if axis not in dataset.dims:
            raise IngestError(
                f"{where}: no dimension {axis}, the file has {', '.join(map(str, dataset.dims)) or 'none'}"
            )
    if cells is not None:
        axes = dataset["latitude"].to_numpy(), dataset["longitude"].to_numpy()
        weights = grid.interpolation_weights(*axes, cells, interpolation, where)
        dataset = dataset.isel(latitude=weights.box_rows, longitude=weights.box_columns)
    if "time" in dataset.dims:
        dataset = dataset.chunk(time=block)
    if "expver" in dataset.dims:
        dataset = _versions_merged(dataset)
    squeezable = [d for d, size in dataset.sizes.items() if size == 1 and d not in ("time", "latitude", "longitude")]
    dataset = dataset.squeeze(squeezable, drop=True)
    if "time" not in dataset.variables:
        raise IngestError(f"{where}: no time coordinate (time or valid_time)")
    if "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    given = dataset["expver"].to_numpy() if "expver" in dataset.variables else np.array(0)
    versions = np.broadcast_to(_version_numbers(given), dataset.sizes["time"])
    dataset = dataset.drop_vars("expver", errors="ignore").assign_coords(expver=("time", versions))
    kept = ("time", "latitude", "longitude", "expver")
    return dataset.drop_vars([name for name in dataset.coords if name not in kept])


def _version_numbers(expver: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """`0001`, `5`, ... as numbers; 0 for anything else."""
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in expver.reshape(-1)]
    numbers = [int(float(text)) if text.replace(".", "", 1).isdigit() else 0 for text in texts]
    return np.array(numbers, dtype=np.int8).reshape(expver.shape)


def _versions_merged(dataset: xr.Dataset) -> xr.Dataset:
    """Final and preliminary data from the dimension `expver`: the final value where there is one."""
    known = _version_numbers(dataset["expver"].to_numpy()) if "expver" in dataset.coords else None
    numbers = np.zeros(dataset.sizes["expver"], dtype=np.int8) if known is None else known
    order = np.argsort(numbers, kind="stable")
    versions = dataset.isel(expver=order)
    merged = versions.isel(expver=0, drop=True)
    for index in range(1, versions.sizes["expver"]):
        merged = merged.fillna(versions.isel(expver=index, drop=True))
    taken = []
    for name, item in versions.data_vars.items():
        merged[name].attrs, merged[name].encoding = item.attrs, item.encoding
        if "expver" in item.dims:
            there = item.notnull().any([dim for dim in item.dims if dim not in ("expver", "time")])
            taken.append(numbers[order][there.transpose("expver", ...).to_numpy().argmax(axis=0)])
    return merged.assign_coords(expver=(merged["time"].dims, np.max(taken, axis=0)))


def _joined(quantity: str, pieces: list[tuple[Path, xr.DataArray]]) -> xr.DataArray:
    """One field of several files in time order, on one grid; an hour may be in two of them as final and preliminary."""
    first_path, first = pieces[0]
    for number, (path, piece) in enumerate(pieces):
        for axis in ("latitude", "longitude"):
            there, expected = piece[axis].to_numpy(), first[axis].to_numpy()
            if there.shape != expected.shape or not np.allclose(there, expected, rtol=0.0, atol=1e-5):
                raise IngestError(f"{path}: {quantity} is on another {axis} axis than in {first_path}")
        pieces[number] = path, piece.assign_coords(latitude=first["latitude"], longitude=first["longitude"])
    if len(pieces) == 1:
        return first
    times = np.concatenate([piece["time"].to_numpy() for _, piece in pieces])
    versions = np.concatenate([piece["expver"].to_numpy() for _, piece in pieces])
    origin = np.concatenate([np.full(piece.sizes["time"], i) for i, (_, piece) in enumerate(pieces)])
    order = files.preferred(times, versions, quantity, [pieces[i][0] for i in origin])
    starts = np.concatenate([[0], np.cumsum([piece.sizes["time"] for _, piece in pieces])])
    kept = [np.sort(order[origin[order] == i]) - starts[i] for i in range(len(pieces))]
    parts = [piece.isel(time=where) for (_, piece), where in zip(pieces, kept, strict=True) if len(where)]
    parts.sort(key=lambda part: part["time"].to_numpy()[0])
    joined = xr.concat(parts, dim="time", join="exact", combine_attrs="override")
    order = np.argsort(joined["time"].to_numpy(), kind="stable")  # files whose hours interleave
    return joined if (np.diff(order) == 1).all() else joined.isel(time=order)


def contradicting_amounts(fields: Fields, accumulation: str, where: Path) -> str | None:
    """The message where amounts of an hour are called amounts since midnight, or the other way round; None: they agree.

    The first day with nearly all hours tells: amounts since 00 UTC grow until 24 UTC, sunshine of an hour does not, and
    longwave radiation of an hour changes little.
    """
    for quantity in ("shortwave", "longwave"):
        if quantity not in fields:
            continue
        field = fields[quantity]
        days = (field["time"].to_numpy() - np.timedelta64(1, "h")).astype("datetime64[D]")
        names, counts = np.unique(days, return_counts=True)
        if not (counts >= _LEAST_HOURS_OF_A_DAY).any():
            continue
        day = names[int(np.argmax(counts >= _LEAST_HOURS_OF_A_DAY))]
        values = files.values(field.isel(time=np.flatnonzero(days == day)), where)
        points = values.reshape(len(values), -1)
        points = points[:, np.isfinite(points).all(axis=0)]
        if not points.size or points.max() <= 0.0:
            continue
        steps = np.diff(points, axis=0)
        grows = bool((steps >= -1e-3 * points.max()).all())
        name = f"{where}: {field.name} on {day}"
        if accumulation == "hourly" and grows and (points[-1] > 3.0 * points[0]).all():
            return (
                f"{name} grows from hour to hour, to {points[-1].mean():.4g} W m-2 if it were the amount of an hour: "
                "it is accumulated from 00 UTC, as ERA5-Land's amounts are; set accumulation: since_midnight"
            )
        if accumulation == "since_midnight" and not grows:
            hour = int(np.argmin(steps.min(axis=1)))
            first, second = field["time"].to_numpy()[np.flatnonzero(days == day)[hour : hour + 2]]
            return (
                f"{name} falls between {files.instant(first)} and {files.instant(second)}: amounts since 00 UTC cannot "
                "fall, so these are amounts of an hour, as ERA5's; leave out accumulation: since_midnight"
            )
    return None


def _difference(field: xr.DataArray) -> xr.DataArray:
    """Hourly means from amounts that accumulate from 00 to 24 UTC (ERA5-Land); the first hour of a day stands alone.

    A record without the one before it, and not the first of a day, cannot be resolved and is missing.
    """
    times = field["time"].to_numpy()
    first_of_day = (times.astype("datetime64[h]") - times.astype("datetime64[D]")).astype(np.int64) == 1
    follows = np.append(False, np.diff(times) == np.timedelta64(1, "h"))
    before = forcing_fields.shifted(field, 1)
    alone = xr.DataArray(first_of_day, dims="time", coords={"time": times})
    known = xr.DataArray(first_of_day | follows, dims="time", coords={"time": times})
    difference = xr.where(alone, field, field - before)
    return difference.where(known).isel(time=np.flatnonzero(first_of_day | follows))


def _from_first_amount(fields: Fields) -> Fields:
    """All fields without a first hour whose amount is not known, because the day before is not in the files."""
    starts = [fields[name]["time"].to_numpy()[0] for name in ACCUMULATED if name in fields]
    begin = max(starts, default=None)
    if begin is None:
        return fields
    return {
        name: field.isel(time=slice(1, None)) if field["time"].to_numpy()[0] == begin - gaps.HOUR else field
        for name, field in fields.items()
    }
