"""ERA5 from the Climate Data Store: NetCDF in its old (packed) and new layout, GRIB; any variables in a file."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from pydantic import Field

from pipeline.ingest import files, forcing_fields, grid
from pipeline.ingest.config import CellsConfig, FilesConfig, ForcingConfig, SnowRule
from pipeline.ingest.errors import IngestError
from pipeline.ingest.forcing_fields import Fields
from pipeline.ingest.grid import Cells

HOUR_S = 3600.0
WATER_DENSITY = 1000.0  # kg m-3
KELVIN = {"K": (1.0, 0.0)}
SPEED = {"m s**-1": (1.0, 0.0), "m s-1": (1.0, 0.0)}
ENERGY = {"J m**-2": (1.0 / HOUR_S, 0.0), "J m-2": (1.0 / HOUR_S, 0.0)}
DEPTH = {
    "m": (WATER_DENSITY / HOUR_S, 0.0),
    "m of water equivalent": (WATER_DENSITY / HOUR_S, 0.0),
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
ACCUMULATED = ("shortwave", "longwave", "precipitation", "snowfall")
_AXES = {"lat": "latitude", "lon": "longitude"}
GRIB = b"GRIB"


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


def is_grib(path: Path) -> bool:
    """Whether a file holds GRIB messages."""
    return files.holds_messages(path, GRIB)


def read(paths: list[Path], cells: Cells, config: GriddedForcingConfig, accumulation: str = "hourly") -> xr.Dataset:
    """The ALMA variables that the files allow, lazy, over (time, cell); see `forcing_fields.forcing_at_cells`.

    :raises IngestError: naming file, variable and hour of what cannot be used
    """
    fields = read_fields(paths, cells, accumulation, forcing_fields.block_records(len(cells), config.memory_mb))
    where = "ERA5" if len(paths) > 1 else paths[0]
    return at_cells(fields, cells, config, where)


def at_cells(fields: Fields, cells: Cells, config: GriddedForcingConfig, where: object) -> xr.Dataset:
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
    )


def read_fields(
    paths: list[Path], cells: Cells | None = None, accumulation: str = "hourly", block: int = 744
) -> Fields:
    """The quantities found in the files, lazy, over (time, latitude, longitude), in time order.

    :param cells: only what interpolation to them needs is read; None: all
    :param block: hours that are read at a time
    :raises IngestError: two files with the same variable and hour, wrong units, no known variable in a file
    """
    parts: dict[str, list[tuple[Path, xr.DataArray]]] = {}
    for path in paths:
        found = 0
        for dataset in open_file(path, cells, block):
            for quantity, field in fields_of(dataset, NAMES, path).items():
                parts.setdefault(quantity, []).append((path, field))
                found += 1
        if not found:
            raise IngestError(
                f"{path}: none of the variables {', '.join(name for names, _ in NAMES.values() for name in names)} "
                "is in the file: is it the right product?"
            )
    fields = {quantity: _joined(quantity, pieces) for quantity, pieces in parts.items()}
    if accumulation == "since_midnight":
        fields.update({name: _difference(fields[name]) for name in ACCUMULATED if name in fields})
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
            field = files.in_units(dataset[name], units, path)
            if set(field.dims) != {"time", "latitude", "longitude"}:
                raise IngestError(
                    f"{path}: {name} has dimensions {', '.join(map(str, field.dims))}, expected time, latitude, "
                    "longitude; select one level or ensemble member first"
                )
            found[quantity] = field.transpose("time", "latitude", "longitude").rename(name)
    return found


def open_file(path: Path, cells: Cells | None = None, block: int = 744) -> list[xr.Dataset]:
    """The datasets of one NetCDF or GRIB file, lazy, with the dimensions time, latitude, longitude."""
    if is_grib(path):
        return [
            _valid_times(standard_layout(part, cells, max(1, block // part.sizes.get("step", 1)), path))
            for part in _open_grib(path)
        ]
    dataset = standard_layout(files.open_netcdf(path), cells, block, path)
    return [dataset.assign_coords(time=files.utc_times(dataset, "time", path))]


def standard_layout(dataset: xr.Dataset, cells: Cells | None, block: int, where: Path) -> xr.Dataset:
    """One layout of all, in chunks of `block` times, only the points near the cells.

    Dimensions time, latitude, longitude; final (expver 1) and preliminary (5) data merged. Points are selected before
    anything is computed, so that a global file is read where it is needed only.
    """
    dataset = dataset.rename({old: new for old, new in _AXES.items() if old in dataset.variables})
    if "valid_time" in dataset.dims:
        dataset = dataset.drop_vars("time", errors="ignore").rename(valid_time="time")
    for axis in ("latitude", "longitude"):
        if axis not in dataset.dims:
            raise IngestError(
                f"{where}: no dimension {axis}, the file has {', '.join(map(str, dataset.dims)) or 'none'}"
            )
    if cells is not None:
        axes = dataset["latitude"].to_numpy(), dataset["longitude"].to_numpy()
        weights = grid.interpolation_weights(*axes, cells, "bilinear", where)
        dataset = dataset.isel(latitude=weights.box_rows, longitude=weights.box_columns)
    dataset = dataset.chunk({axis: block for axis in ("time", "step") if axis in dataset.dims})
    if "expver" in dataset.dims:
        # 1 is final ERA5, 5 preliminary ERA5T: each time has one of them, the other is missing.
        order = np.argsort(dataset["expver"].astype(int).to_numpy()) if "expver" in dataset.coords else None
        versions = dataset if order is None else dataset.isel(expver=order)
        merged = versions.isel(expver=0, drop=True)
        for index in range(1, versions.sizes["expver"]):
            merged = merged.fillna(versions.isel(expver=index, drop=True))
        dataset = merged.assign_attrs(dataset.attrs)
        for name in merged.data_vars:
            dataset[name].attrs = versions[name].attrs
    squeezable = [d for d, size in dataset.sizes.items() if size == 1 and d not in ("time", "latitude", "longitude")]
    dataset = dataset.squeeze(squeezable, drop=True)
    if "time" not in dataset.variables:
        raise IngestError(f"{where}: no time coordinate (time or valid_time)")
    if "time" not in dataset.dims and "step" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    kept = ("time", "latitude", "longitude", "step", "valid_time")
    return dataset.drop_vars([name for name in dataset.coords if name not in kept])


def _open_grib(path: Path) -> list[xr.Dataset]:
    """Datasets of a GRIB file by cfgrib, each a group of fields on the same axes."""
    cfgrib, eccodes = files.library("cfgrib"), files.library("eccodes")
    try:
        parts: list[xr.Dataset] = cfgrib.open_datasets(str(path), backend_kwargs={"indexpath": "", "errors": "raise"})
    except (*files.READING_ERRORS, AttributeError, eccodes.CodesInternalError) as error:
        raise IngestError(f"{path}: the GRIB file is truncated, damaged or of an unknown kind: {error}") from error
    if not parts:
        raise IngestError(f"{path}: there is no readable GRIB message in the file")
    return list(parts)


def _valid_times(part: xr.Dataset) -> xr.Dataset:
    """Forecasts (base time x step) on one axis of valid times."""
    if "time" in part.dims and "step" in part.dims:
        stacked = part.stack(record=("time", "step"))
        valid = stacked["valid_time"].to_numpy()
        stacked = stacked.drop_vars(["record", "time", "step", "valid_time"]).assign_coords(time=("record", valid))
        return stacked.swap_dims(record="time").sortby("time").transpose("time", ...)
    valid = np.atleast_1d(part["valid_time"].to_numpy())
    axis = "step" if "step" in part.dims else "time"
    others = [name for name in ("time", "step", "valid_time") if name in part.coords]
    renamed = part.drop_vars(others) if axis == "time" else part.drop_vars(others).rename(step="time")
    return renamed.assign_coords(time=valid)


def _joined(quantity: str, pieces: list[tuple[Path, xr.DataArray]]) -> xr.DataArray:
    """One field of several files in time order; the files must be on one grid and share no hour."""
    pieces = sorted(pieces, key=lambda piece: piece[1]["time"].to_numpy()[0])
    first_path, first = pieces[0]
    for (path_a, a), (path_b, b) in itertools.pairwise(pieces):
        shared = np.intersect1d(a["time"].to_numpy(), b["time"].to_numpy())
        if shared.size:
            raise IngestError(
                f"{path_b}: {quantity} at {files.instant(shared[0])} is also in {path_a} ({shared.size} such hours); "
                "give each hour once"
            )
    for path, piece in pieces[1:]:
        for axis in ("latitude", "longitude"):
            if not np.array_equal(piece[axis].to_numpy(), first[axis].to_numpy()):
                raise IngestError(f"{path}: {quantity} is on another {axis} axis than in {first_path}")
    if len(pieces) == 1:
        return first
    joined = xr.concat([piece for _, piece in pieces], dim="time", join="exact", combine_attrs="override")
    times = joined["time"].to_numpy()
    if (np.diff(times) <= np.timedelta64(0, "ns")).any():  # files whose hours interleave
        joined = joined.isel(time=np.argsort(times))
        files.check_increasing(joined["time"].to_numpy(), f"{first_path} and the files beside it: {quantity}")
    return joined


def _difference(field: xr.DataArray) -> xr.DataArray:
    """Hourly means from amounts that accumulate from 00 to 24 UTC (ERA5-Land); the first hour of a day stands alone.

    A record without the one before it, and not the first of a day, cannot be resolved and is missing.
    """
    times = field["time"].to_numpy()
    first_of_day = (times.astype("datetime64[h]") - times.astype("datetime64[D]")).astype(np.int64) == 1
    follows = np.append(False, np.diff(times) == np.timedelta64(1, "h"))
    before = field.shift(time=1)
    alone = xr.DataArray(first_of_day, dims="time", coords={"time": times})
    known = xr.DataArray(first_of_day | follows, dims="time", coords={"time": times})
    difference = xr.where(alone, field, field - before)
    return difference.where(known).isel(time=np.flatnonzero(first_of_day | follows))
