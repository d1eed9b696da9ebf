"""Forcing that has ALMA names already: PLUMBER2 / FLUXNET NetCDF of sites, any gridded ALMA NetCDF, SURFEX's own.

Records shorter than an hour become hourly ones, in the store's convention: instants at the full hours, and rain and
snow as means over the hour that ends there.
"""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.forcing.valid_range import within_valid_range
from ldas.pipeline.ingest import forcing_fields, gaps
from ldas.pipeline.ingest.config import FilesConfig, ForcingConfig, GapPolicy, Period, SnowRule

# ALMA name -> spellings in files
SPELLINGS = {
    "Tair": ("Tair",),
    "Qair": ("Qair",),
    "Wind": ("Wind",),
    "PSurf": ("PSurf", "Psurf"),
    "SWdown": ("SWdown",),
    "LWdown": ("LWdown",),
    "Rainf": ("Rainf", "Precip", "Rainfall"),
    "Snowf": ("Snowf", "Snowfall"),
    "CO2air": ("CO2air", "CO2"),
}
# SURFEX's FORCING.nc: shortwave in two parts, and the step of the forcing (s).
DIRECT, DIFFUSE, TIME_STEP = "DIR_SWdown", "SCA_SWdown", "FRC_TIME_STP"
LATITUDE, LONGITUDE = ("latitude", "lat", "nav_lat", "LAT"), ("longitude", "lon", "nav_lon", "LON")
ROWS = ("lat", "latitude", "y", "yy", "LAT")  # dimensions that come before those of columns

_FLUX = dict.fromkeys(("kg m-2 s-1", "kg/m2/s", "mm s-1", "mm/s"), (1.0, 0.0))
_RADIATION = dict.fromkeys(("W m-2", "W/m2"), (1.0, 0.0))
# ALMA name -> unit in files, as `_spelt` writes it -> (factor, offset)
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "Tair": {"K": (1.0, 0.0), **dict.fromkeys(("degC", "C"), (1.0, physics.CELSIUS_ZERO))},
    "Qair": {**dict.fromkeys(("kg kg-1", "kg/kg", "1"), (1.0, 0.0)), **dict.fromkeys(("g kg-1", "g/kg"), (1e-3, 0.0))},
    "Wind": dict.fromkeys(("m s-1", "m/s"), (1.0, 0.0)),
    "PSurf": {"Pa": (1.0, 0.0), "hPa": (100.0, 0.0), "kPa": (1000.0, 0.0), "mb": (100.0, 0.0)},
    "SWdown": _RADIATION,
    "LWdown": _RADIATION,
    "Rainf": {**_FLUX, **dict.fromkeys(("mm h-1", "mm/h"), (1.0 / 3600.0, 0.0))},
}
UNITS["Snowf"] = UNITS["Rainf"]
_PPM_OF_MASS = 1e6 * physics.MOLAR_MASS_DRY_AIR / physics.MOLAR_MASS_CO2
DENSITIES = ("kg m-3", "kg/m3")
UNITS["CO2air"] = {
    **dict.fromkeys(DENSITIES, (1.0, 0.0)),
    **dict.fromkeys(("ppm", "ppmv", "umol mol-1", "umol/mol", "micromol/mol", "1e-6"), (1.0, 0.0)),
    **dict.fromkeys(("mol mol-1", "mol/mol"), (1e6, 0.0)),
    **dict.fromkeys(("kg kg-1", "kg/kg"), (_PPM_OF_MASS, 0.0)),
}
PRECIPITATION = ("Rainf", "Snowf")
HOUR_S = 3600


class AlmaConfig(ForcingConfig, FilesConfig):
    """`ldas ingest alma`."""

    snow: SnowRule = Field(default=SnowRule(), description="used where the file has no snowfall")
    utc_offset_h: float = Field(
        default=0.0, ge=-12, le=14, description="hours that the file's clock is ahead of UTC (PLUMBER2: local time)"
    )
    stamp: Literal["instant", "start", "end"] = Field(
        default="instant",
        description="what a time means: the instant (rain: end of its interval), or start or end of an averaging "
        "interval (PLUMBER2 and FLUXNET: start)",
    )
    latitude: float | None = Field(default=None, ge=-90, le=90, description="degrees north, where the file has none")
    longitude: float | None = Field(default=None, ge=-180, le=360, description="degrees east, likewise")
    surface_pressure: float | None = Field(default=None, gt=0, description="Pa, where the file has none")
    start: str | None = Field(default=None, description="time of the first record, for tables without times")
    step_s: int | None = Field(default=None, gt=0, description="seconds between the records of such a table")
    co2_ppm: float | None = Field(default=None, gt=0, description="where the file has none; default: table by year")


def replaced_hours(config: AlmaConfig) -> int:
    """How many of the last hours were made without the interval that follows, which an append brings."""
    return 0 if config.stamp == "instant" else 1


def read(paths: list[Path], config: AlmaConfig, before: xr.DataArray | None = None) -> xr.Dataset:
    """Hourly ALMA forcing over (time, cell) in the registry's units, float64.

    The files may hold one variable or several each, of one period or of several.

    Args:
        before: Tair (cell) of the last stored record, with its time, where the forcing is appended to it: the result
            may then begin with that time (`replaced_hours`).

    Raises:
        IngestError: what cannot be used; names file, variable and hour.
    """
    joined = _joined([(path, read_file(path, config)) for path in paths])
    last = None if before is None else np.datetime64(before["time"].item(), "ns")
    hourly = to_hourly(joined, config.stamp, config.period, config.gaps, paths[0], last)
    complete = _completed(hourly, config, paths[0], before)
    if last is not None and complete["time"].to_numpy()[0] == last - gaps.HOUR:
        complete = complete.isel(time=slice(1, None))  # it was needed for what comes after it
    for name in complete.data_vars:
        complete[name].attrs = registry.attributes(str(name))
    return complete


def _joined(pieces: list[tuple[Path, xr.Dataset]]) -> xr.Dataset:
    """Files of several periods and variables as one dataset: of the same cells, and the same times for every variable.

    Raises:
        IngestError: files that do not belong together, by name.
    """
    first_path, first = pieces[0]
    for path, piece in pieces[1:]:
        for name in ("latitude", "longitude"):
            there, expected = piece[name].to_numpy(), first[name].to_numpy()
            if there.shape != expected.shape or not np.allclose(there, expected, rtol=0.0, atol=1e-4):
                raise IngestError(f"{path}: it has other cells than {first_path} ({name}): give files of one grid")
    parts: dict[str, list[tuple[Path, xr.DataArray]]] = {}
    for path, piece in pieces:
        for key, field in piece.data_vars.items():
            parts.setdefault(str(key), []).append((path, field.drop_vars(["latitude", "longitude"])))
    fields = {}
    for name, found in parts.items():
        found.sort(key=lambda item: item[1]["time"].to_numpy()[0])
        if len({str(field.attrs) for _, field in found}) > 1:
            raise IngestError(f"{found[-1][0]}: {name} is another quantity than in {found[0][0]}: see its units")
        fields[name] = found[0][1] if len(found) == 1 else xr.concat([field for _, field in found], dim="time")
        files.check_increasing(fields[name]["time"].to_numpy(), f"{', '.join(str(path) for path, _ in found)}: {name}")
    reference = next(iter(fields))
    for name in fields:
        field = fields[name]
        if not np.array_equal(field["time"].to_numpy(), fields[reference]["time"].to_numpy()):
            raise IngestError(
                f"{parts[name][0][0]}: {name} has {_span(field)}, but {reference} has {_span(fields[reference])} "
                f"({parts[reference][0][0]}): give files of the same times for every variable"
            )
    return xr.Dataset(fields, coords={"latitude": first["latitude"], "longitude": first["longitude"]})


def _span(field: xr.DataArray) -> str:
    times = field["time"].to_numpy()
    return f"{len(times)} times from {files.instant(times[0])} to {files.instant(times[-1])}"


def read_file(path: Path, config: AlmaConfig) -> xr.Dataset:
    """One file as it is in time, in UTC, over (time, cell), in the registry's units (CO2 as ppm stays ppm)."""
    if files.magic(path) not in files.NETCDF:
        return _read_table(path, config)
    source = files.open_netcdf(path)
    times = _times(source, config, path) - np.timedelta64(round(config.utc_offset_h * HOUR_S), "s")
    found = known(source)
    if not found:
        raise IngestError(
            f"{path}: none of the ALMA variables {', '.join(SPELLINGS)} is in the file; it has: "
            + ", ".join(map(str, source.data_vars))
        )
    dims = {dim: int(source.sizes[dim]) for names in found.values() for item in names for dim in source[item].dims}
    space = {dim: dims[dim] for dim in sorted(dims, key=lambda dim: dim not in ROWS) if dim != "time"}
    variables = {}
    for name, spellings in found.items():
        parts = [_read_variable(source, item, name, path) for item in spellings]
        values = sum((_over_cells(field, space, path) for field in parts[1:]), _over_cells(parts[0], space, path))
        variables[name] = (("time", "cell"), values, parts[0].attrs)
    dataset = xr.Dataset(variables, coords={"time": times})
    for name, given, places in (
        ("latitude", config.latitude, LATITUDE),
        ("longitude", config.longitude, LONGITUDE),
    ):
        dataset[name] = ("cell", _places(source, name, given, places, space, path))
    return dataset.set_coords(["latitude", "longitude"])


def known(source: xr.Dataset) -> dict[str, tuple[str, ...]]:
    """The ALMA variables that a file has, with the names there: two for SURFEX's direct and diffuse shortwave."""
    found = {}
    for name, spellings in SPELLINGS.items():
        there = tuple(item for item in spellings if item in source.data_vars)[:1]
        if name == "SWdown" and not there and DIRECT in source.data_vars and DIFFUSE in source.data_vars:
            there = (DIRECT, DIFFUSE)
        if there:
            found[name] = there
    return found


def _read_variable(source: xr.Dataset, item: str, name: str, path: Path) -> xr.DataArray:
    """One variable in the registry's unit, CO2 as density or with the unit ppm. SURFEX files may leave out the unit."""
    raw = source[item]
    unit = _spelt(str(raw.attrs.get("units", "")))
    if unit in ("", "-") and (DIRECT in source.variables or TIME_STEP in source.variables):
        unit = registry.variable(name).unit
    spelt = raw.assign_attrs(units=unit) if unit else raw
    is_ppm = name == "CO2air" and unit not in DENSITIES
    limits = None if is_ppm else registry.variable(name).valid_range
    valid = within_valid_range(spelt, limits, UNITS[name].get(unit, (1.0, 0.0)))
    field = files.in_units(files.without_nodata(valid), UNITS[name], path)
    return field.drop_attrs().assign_attrs({"units": "ppm"} if is_ppm else {})


def _spelt(unit: str) -> str:
    """A unit as `UNITS` spells it: without `**` and `^`, `Kg` as `kg`."""
    return unit.strip().replace("**", "").replace("^", "").replace("Kg", "kg")


def _times(source: xr.Dataset, config: AlmaConfig, path: Path) -> Times:
    """The times of a file. Those in floating point are rounded: to seconds, in single precision to minutes."""
    step = _stated_step(source, path)
    if "time" in source.variables and np.asarray(source["time"].values).dtype.kind == "M":
        times = files.utc_times(source, "time", path)
        dtype = np.dtype(source["time"].encoding.get("dtype", "int64"))
        if dtype.kind == "f":
            unit, half = ("m", 30) if dtype.itemsize == 4 else ("s", 0.5)
            times = (times + np.timedelta64(round(half * 1e9), "ns")).astype(f"datetime64[{unit}]")
        found = int(np.median(np.diff(times)).astype("timedelta64[s]").astype(int)) if len(times) > 1 else step
        if step is not None and found != step:
            raise IngestError(f"{path}: {TIME_STEP} is {step} s, but the times are {found} s apart")
        return times.astype("datetime64[ns]")
    step = config.step_s or step
    if config.start is None or step is None or "time" not in source.dims:
        return files.utc_times(source, "time", path)  # refuses, with the cause
    start = np.datetime64(config.start, "ns")
    return start + np.arange(source.sizes["time"]) * np.timedelta64(step, "s").astype("timedelta64[ns]")


def _stated_step(source: xr.Dataset, path: Path) -> int | None:
    """Seconds between the records, where a SURFEX file says it."""
    if TIME_STEP not in source.variables:
        return None
    return round(float(np.asarray(files.values(source[TIME_STEP], path), dtype=np.float64).reshape(-1)[0]))


def _over_cells(field: xr.DataArray, space: dict[Any, int], path: Path) -> Array:
    """Values as (time, cell): all other dimensions become cells, rows first; a series without place is that of all."""
    if "time" not in field.dims:
        raise IngestError(f"{path}: {field.name} has no dimension time but {', '.join(map(str, field.dims)) or 'none'}")
    values = np.asarray(files.values(field, path), dtype=np.float64)
    return _spread(values, field.dims, {"time": field.sizes["time"], **space}).reshape(field.sizes["time"], -1)


def _spread(values: Array, dims: tuple[Any, ...], target: dict[Any, int]) -> Array:
    """Values over `dims` as an array over the target's dimensions, in their order."""
    ordered = values.transpose([dims.index(dim) for dim in target if dim in dims])
    shape = [size if dim in dims else 1 for dim, size in target.items()]
    return np.broadcast_to(ordered.reshape(shape), tuple(target.values()))


def _places(
    source: xr.Dataset,
    name: str,
    given: float | None,
    spellings: tuple[str, ...],
    space: dict[Any, int],
    path: Path,
) -> Array:
    """Latitude or longitude of each cell, from the file (per point, or axes of a grid) or the configuration."""
    cells = math.prod(space.values())
    if given is not None:
        return np.full(cells, given)
    found = next((item for item in spellings if item in source.variables), None)
    if found is None:
        raise IngestError(f"{path}: no {name} in the file; give `{name}` in the configuration")
    place = source[found]
    values = np.asarray(files.values(place, path), dtype=np.float64)
    if set(place.dims) <= space.keys():
        return np.array(_spread(values, place.dims, space).reshape(-1))
    if values.size in (1, cells):
        return np.array(np.broadcast_to(values.reshape(-1), cells))
    raise IngestError(f"{path}: {found} has shape {values.shape}, which does not fit {cells} cells")


def _read_table(path: Path, config: AlmaConfig) -> xr.Dataset:
    """The text tables of SURFEX's example cases, through `ldas.pipeline.forcing.read.read_forcing`."""
    from ldas.pipeline.forcing.read import (  # it imports the land model, which nothing else here needs
        ForcingError,
        read_forcing,
    )

    try:
        dataset = read_forcing(
            path,
            start=None if config.start is None else np.datetime64(config.start, "s"),
            step_s=config.step_s,
            co2=None,
            surface_pressure=config.surface_pressure,
            snowfall="none",
        )
    except ForcingError as error:
        raise IngestError(f"{error} ({files.beginning(path)})") from error
    if config.latitude is None or config.longitude is None:
        raise IngestError(f"{path}: a text table has no place; give latitude and longitude in the configuration")
    shifted = dataset["time"].to_numpy() - np.timedelta64(round(config.utc_offset_h * HOUR_S), "s")
    return dataset.assign_coords(
        time=shifted, latitude=("cell", [config.latitude]), longitude=("cell", [config.longitude])
    )


def to_hourly(
    source: xr.Dataset,
    stamp: str,
    period: Period,
    policy: GapPolicy,
    where: object,
    last: np.datetime64 | None = None,
) -> xr.Dataset:
    """Records of at most an hour to hourly ones in the store's convention.

    `instant`: records at full hours are kept; rain and snow are means over the intervals that end within the hour.
    `start`, `end`: values are means over intervals; a state at a full hour is the mean of the intervals that end and
    begin there, rain and snow the mean of the intervals inside the hour before it.

    Args:
        last: time of the last stored record that the result follows. What depends on what is before it (rain of parts
            of an hour, means around `last`) is made from the files: the result begins up to two hours earlier.

    Raises:
        IngestError: a step that does not divide an hour, records beside the hours, gaps that are too long, files
            without the records before `last` that are needed.
    """
    times = source["time"].to_numpy()
    if len(times) < 2:
        raise IngestError(f"{where}: {len(times)} record(s) in time, at least two are needed")
    step = np.median(np.diff(times)).astype("timedelta64[s]").astype(int)
    if step <= 0 or HOUR_S % step:
        raise IngestError(
            f"{where}: records are {step} s apart; expected an hour or an equal part of it"
            + (": ldas does not make hours of longer steps" if step > HOUR_S else "")
        )
    per_hour = HOUR_S // int(step)
    interval = np.timedelta64(int(step), "s")
    # From here on every record carries the END of its interval; a state at that instant.
    ends = times + interval if stamp == "start" else times
    wrong = (ends.astype("datetime64[s]").astype(np.int64) % step) != 0
    if wrong.any():
        raise IngestError(
            f"{where}: {files.instant(ends[int(np.argmax(wrong))])} is not a multiple of {step} s after a full hour; "
            "check utc_offset_h and stamp"
        )
    axis = np.arange(ends[0], ends[-1] + interval, interval)
    source = source.assign_coords(time=ends)
    complete = xr.Dataset(
        {name: gaps.on_axis(source[name], axis, policy, where) for name in source.data_vars},
        coords={"time": axis, "latitude": source["latitude"], "longitude": source["longitude"]},
    )
    hours = _full_hours(axis, period, where)
    if last is not None and hours[0] == last + gaps.HOUR:
        hours = _with_seam(hours, axis, interval, stamp, where)
    place = ((hours - axis[0]) / interval).astype(int)
    result = {}
    for name in complete.data_vars:
        values = complete[name].to_numpy()
        if name in PRECIPITATION:
            hourly = _means_before(values, place, per_hour)
        elif stamp == "instant":
            hourly = values[place]
        else:
            following = np.minimum(place + 1, len(axis) - 1)
            hourly = 0.5 * (values[place] + values[following])
        result[name] = (("time", "cell"), hourly, complete[name].attrs)
    coordinates = {"latitude": complete["latitude"], "longitude": complete["longitude"]}
    return xr.Dataset(result, coords={"time": hours.astype("datetime64[ns]"), **coordinates})


def _with_seam(hours: Times, axis: Times, interval: np.timedelta64, stamp: str, where: object) -> Times:
    """The hours after a stored end, with those before that have to be made again, or are needed for it.

    Raises:
        IngestError: files that do not hold what was before.
    """
    last = hours[0] - gaps.HOUR
    first = hours[0] if stamp == "instant" else last - gaps.HOUR
    needed = last + interval if stamp == "instant" else first
    if axis[0] > needed:
        raise IngestError(
            f"{where}: the stored forcing ends at {files.instant(last)}; what follows depends on the records from "
            f"{files.instant(needed)} (ends of their intervals) on, and the files begin at {files.instant(axis[0])}: "
            f"give the file before as well, with period.start {files.instant(hours[0])}"
        )
    return np.arange(first, hours[-1] + gaps.HOUR, gaps.HOUR).astype(axis.dtype)


def _full_hours(axis: Times, period: Period, where: object) -> Times:
    first = axis[0].astype("datetime64[h]")
    first = first if first == axis[0] else first + np.timedelta64(1, "h")
    last = axis[-1].astype("datetime64[h]")
    if period.start:
        first = max(first, np.datetime64(period.start, "h"))
    if period.end:
        last = min(last, np.datetime64(period.end, "h"))
    if last < first:
        raise IngestError(f"{where}: no full hour of the period lies in {axis[0]} .. {axis[-1]}")
    return np.arange(first, last + np.timedelta64(1, "h"), gaps.HOUR).astype(axis.dtype)


def _means_before(values: Array, place: npt.NDArray[np.int64], per_hour: int) -> Array:
    """Means over the records of the hour that ends at each place; the first hour with the records that are there."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    begin = np.maximum(place + 1 - per_hour, 0)
    return np.asarray((total[place + 1] - total[begin]) / (place + 1 - begin)[:, None])


def _completed(dataset: xr.Dataset, config: AlmaConfig, where: Path, before: xr.DataArray | None = None) -> xr.Dataset:
    """Snowfall by temperature, CO2 as density, pressure from the configuration: what the files left out."""
    shape = (dataset.sizes["time"], dataset.sizes["cell"])
    added = dict(dataset.data_vars)
    if "PSurf" not in added and config.surface_pressure is not None:
        added["PSurf"] = xr.DataArray(np.full(shape, config.surface_pressure), dims=("time", "cell"))
    needed = [name for name in registry.names("forcing") if name not in added and name not in ("Snowf", "CO2air")]
    if needed:
        raise IngestError(f"{where}: no variable {', '.join(needed)} in the files, and nothing to make it from")
    if "Snowf" not in added:
        total, temperature = added["Rainf"], added["Tair"].to_numpy()
        first = temperature[:1]
        times = dataset["time"].to_numpy()
        if before is not None and times[0] == before["time"].to_numpy() + gaps.HOUR and len(before) == first.shape[1]:
            first = before.to_numpy()[None]
        hour = 0.5 * (np.concatenate([first, temperature[:-1]]) + temperature)
        solid = total * physics.snow_fraction(hour, config.snow.all_snow_below, config.snow.all_rain_above)
        added["Snowf"], added["Rainf"] = solid, total - solid
    if "CO2air" not in added or added["CO2air"].attrs.get("units") == "ppm":
        if "CO2air" in added:
            ppm = added["CO2air"].to_numpy()
        else:
            times = dataset["time"].to_numpy()
            by_year = np.full(shape[0], config.co2_ppm) if config.co2_ppm else forcing_fields.co2_mole_fraction(times)
            ppm = np.broadcast_to(by_year[:, None], shape)
        density = physics.air_density(added["Tair"].to_numpy(), added["PSurf"].to_numpy(), added["Qair"].to_numpy())
        added["CO2air"] = xr.DataArray(physics.co2_density(ppm, density), dims=("time", "cell"))
    return xr.Dataset(
        {name: added[name].transpose("time", "cell") for name in registry.names("forcing")}, coords=dataset.coords
    )
