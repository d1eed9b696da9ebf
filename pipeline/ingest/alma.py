"""Forcing that has ALMA names already: PLUMBER2 / FLUXNET NetCDF of sites, any gridded ALMA NetCDF, SURFEX text tables.

Records shorter than an hour become hourly ones, in the store's convention: instants at the full hours, and rain and
snow as means over the hour that ends there.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from pipeline import registry
from pipeline.ingest import files, forcing_fields, gaps, physics
from pipeline.ingest.config import FilesConfig, ForcingConfig, GapPolicy, Period, SnowRule
from pipeline.ingest.errors import IngestError
from pipeline.ingest.files import Times

Array = npt.NDArray[np.float64]

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
# ALMA name -> unit in files -> (factor, offset)
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "Tair": {"K": (1.0, 0.0), "degC": (1.0, physics.CELSIUS_ZERO), "C": (1.0, physics.CELSIUS_ZERO)},
    "Qair": {"kg kg-1": (1.0, 0.0), "kg/kg": (1.0, 0.0), "1": (1.0, 0.0), "g kg-1": (1e-3, 0.0), "g/kg": (1e-3, 0.0)},
    "Wind": {"m s-1": (1.0, 0.0), "m/s": (1.0, 0.0)},
    "PSurf": {"Pa": (1.0, 0.0), "hPa": (100.0, 0.0), "kPa": (1000.0, 0.0), "mb": (100.0, 0.0)},
    "SWdown": {"W m-2": (1.0, 0.0), "W/m2": (1.0, 0.0), "W/m^2": (1.0, 0.0)},
    "LWdown": {"W m-2": (1.0, 0.0), "W/m2": (1.0, 0.0), "W/m^2": (1.0, 0.0)},
    "Rainf": {
        "kg m-2 s-1": (1.0, 0.0),
        "kg/m2/s": (1.0, 0.0),
        "kg/m^2/s": (1.0, 0.0),
        "mm s-1": (1.0, 0.0),
        "mm/s": (1.0, 0.0),
        "mm h-1": (1.0 / 3600.0, 0.0),
        "mm/h": (1.0 / 3600.0, 0.0),
    },
    "CO2air": {"kg m-3": (1.0, 0.0), "ppm": (1.0, 0.0), "umol mol-1": (1.0, 0.0), "micromol/mol": (1.0, 0.0)},
}
UNITS["Snowf"] = UNITS["Rainf"]
MOLE_FRACTIONS = ("ppm", "umol mol-1", "micromol/mol")
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


def read(paths: list[Path], config: AlmaConfig) -> xr.Dataset:
    """Hourly ALMA forcing over (time, cell) in the registry's units, float64.

    :raises IngestError: naming file, variable and hour of what cannot be used
    """
    pieces = [read_file(path, config) for path in paths]
    pieces.sort(key=lambda piece: piece["time"].to_numpy()[0])
    joined = pieces[0] if len(pieces) == 1 else xr.concat(pieces, dim="time", join="exact")
    files.check_increasing(joined["time"].to_numpy(), ", ".join(str(path) for path in paths))
    hourly = to_hourly(joined, config.stamp, config.period, config.gaps, paths[0])
    complete = _completed(hourly, config, paths[0])
    for name in complete.data_vars:
        complete[name].attrs = registry.attributes(str(name))
    return complete


def read_file(path: Path, config: AlmaConfig) -> xr.Dataset:
    """One file as it is in time, in UTC, over (time, cell), in the registry's units (CO2 as ppm stays ppm)."""
    if files.magic(path) not in (*files.CLASSIC, files.CLASSIC_64_BIT_DATA, files.HDF5):
        return _read_table(path, config)
    source = files.open_netcdf(path)
    times = files.utc_times(source, "time", path) - np.timedelta64(round(config.utc_offset_h * HOUR_S), "s")
    variables = {}
    for name, spellings in SPELLINGS.items():
        found = next((item for item in spellings if item in source.data_vars), None)
        if found is None:
            continue
        raw = source[found]
        unit = raw.attrs.get("units")
        field = files.in_units(raw, UNITS[name], path)
        flat = _over_cells(field, path)
        attributes = {"units": "ppm"} if name == "CO2air" and unit in MOLE_FRACTIONS else {}
        variables[name] = (("time", "cell"), flat, attributes)
    if not variables:
        raise IngestError(
            f"{path}: none of the ALMA variables {', '.join(SPELLINGS)} is in the file; it has: "
            + ", ".join(map(str, source.data_vars))
        )
    cells = len(next(iter(variables.values()))[1][0])
    dataset = xr.Dataset(variables, coords={"time": times})
    for name, given, spellings in (
        ("latitude", config.latitude, ("latitude", "lat", "nav_lat")),
        ("longitude", config.longitude, ("longitude", "lon", "nav_lon")),
    ):
        dataset[name] = ("cell", _places(source, name, given, spellings, cells, path))
    return dataset.set_coords(["latitude", "longitude"])


def _over_cells(field: xr.DataArray, path: Path) -> Array:
    """Values as (time, cell): all other dimensions become cells, rows first."""
    if "time" not in field.dims:
        raise IngestError(f"{path}: {field.name} has no dimension time but {', '.join(map(str, field.dims)) or 'none'}")
    ordered = field.transpose("time", ...)
    return np.asarray(files.values(ordered, path), dtype=np.float64).reshape(ordered.sizes["time"], -1)


def _places(
    source: xr.Dataset, name: str, given: float | None, spellings: tuple[str, ...], cells: int, path: Path
) -> Array:
    """Latitude or longitude of each cell, from the file (per point, or axes of a grid) or the configuration."""
    if given is not None:
        return np.full(cells, given)
    found = next((item for item in spellings if item in source.variables), None)
    if found is None:
        raise IngestError(f"{path}: no {name} in the file; give `{name}` in the configuration")
    values = np.asarray(files.values(source[found], path), dtype=np.float64)
    if values.size == cells:
        return values.reshape(-1)
    rows = next((source.sizes[d] for d in ("lat", "latitude", "y") if d in source.sizes), 1)
    columns = next((source.sizes[d] for d in ("lon", "longitude", "x") if d in source.sizes), 1)
    if values.ndim == 1 and rows * columns == cells and values.size in (rows, columns):
        grid = values[:, None] if name == "latitude" else values[None, :]
        return np.broadcast_to(grid, (rows, columns)).reshape(-1)
    raise IngestError(f"{path}: {found} has shape {values.shape}, which does not fit {cells} cells")


def _read_table(path: Path, config: AlmaConfig) -> xr.Dataset:
    """The text tables of SURFEX's example cases, through `pipeline.forcing.read_forcing`."""
    from pipeline.forcing import read_forcing  # it imports the land model, which nothing else here needs

    dataset = read_forcing(
        path,
        start=None if config.start is None else np.datetime64(config.start, "s"),
        step_s=config.step_s,
        co2=None,
        surface_pressure=config.surface_pressure,
        snowfall="none",
    )
    if config.latitude is None or config.longitude is None:
        raise IngestError(f"{path}: a text table has no place; give latitude and longitude in the configuration")
    shifted = dataset["time"].to_numpy() - np.timedelta64(round(config.utc_offset_h * HOUR_S), "s")
    return dataset.assign_coords(
        time=shifted, latitude=("cell", [config.latitude]), longitude=("cell", [config.longitude])
    )


def to_hourly(source: xr.Dataset, stamp: str, period: Period, policy: GapPolicy, where: object) -> xr.Dataset:
    """Records of at most an hour to hourly ones in the store's convention.

    `instant`: records at full hours are kept; rain and snow are means over the intervals that end within the hour.
    `start`, `end`: values are means over intervals; a state at a full hour is the mean of the intervals that end and
    begin there, rain and snow the mean of the intervals inside the hour before it.

    :raises IngestError: a step that does not divide an hour, records beside the hours, gaps that are too long
    """
    times = source["time"].to_numpy()
    if len(times) < 2:
        raise IngestError(f"{where}: {len(times)} record(s) in time, at least two are needed")
    step = np.median(np.diff(times)).astype("timedelta64[s]").astype(int)
    if step <= 0 or HOUR_S % step:
        raise IngestError(f"{where}: records are {step} s apart; expected an hour or an equal part of it")
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


def _completed(dataset: xr.Dataset, config: AlmaConfig, where: Path) -> xr.Dataset:
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
        hour = 0.5 * (np.concatenate([temperature[:1], temperature[:-1]]) + temperature)
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
