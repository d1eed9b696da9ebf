"""Hourly (or half-hourly) records of a weather station: ISMN files, tables (CSV), NetCDF.

What a table or a NetCDF file holds is said in the configuration; unit and time zone have no default, because a wrong
one is not found by looking at the values. What the station did not measure is estimated (`place_record`).
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest import ismn
from ldas.pipeline.ingest.place_record import PlaceConfig, completed
from ldas.pipeline.settings.yaml_file import StrictModel

Quantity = Literal[
    "temperature",
    "precipitation",
    "relative_humidity",
    "dew_point",
    "vapour_pressure",
    "vapour_pressure_deficit",
    "pressure",
    "wind",
    "shortwave",
    "longwave",
    "co2",
]
HUMIDITY = ("relative_humidity", "dew_point", "vapour_pressure", "vapour_pressure_deficit")
_KELVIN = {"K": (1.0, 0.0), **dict.fromkeys(("degC", "C", "°C"), (1.0, physics.CELSIUS_ZERO))}
_KELVIN["degF"] = (5.0 / 9.0, physics.CELSIUS_ZERO - 160.0 / 9.0)
_PASCAL = {"Pa": (1.0, 0.0), **dict.fromkeys(("hPa", "mb", "mbar"), (100.0, 0.0)), "kPa": (1000.0, 0.0)}
_RADIATION = dict.fromkeys(("W m-2", "W/m2"), (1.0, 0.0))
# quantity -> unit -> (factor, offset) to the unit of `place_record.QUANTITIES` (K, Pa, m s-1, ...; humidity: 0..1)
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "temperature": _KELVIN,
    "dew_point": _KELVIN,
    "precipitation": {
        **dict.fromkeys(("kg m-2 s-1", "mm s-1", "mm/s"), (1.0, 0.0)),
        **dict.fromkeys(("mm h-1", "mm/h"), (1.0 / physics.SECONDS_PER_HOUR, 0.0)),
    },
    "relative_humidity": {"%": (0.01, 0.0), "1": (1.0, 0.0)},
    "vapour_pressure": _PASCAL,
    "vapour_pressure_deficit": _PASCAL,
    "pressure": _PASCAL,
    "wind": {**dict.fromkeys(("m s-1", "m/s"), (1.0, 0.0)), **dict.fromkeys(("km h-1", "km/h"), (1.0 / 3.6, 0.0))},
    "shortwave": _RADIATION,
    "longwave": _RADIATION,
    "co2": dict.fromkeys(("ppm", "umol mol-1"), (1.0, 0.0)),
}
# Units of an amount over the interval between two records: factor to the amount in `place_record.QUANTITIES` times s.
AMOUNTS: dict[str, dict[str, float]] = {
    "precipitation": {**dict.fromkeys(("mm", "kg m-2"), 1.0), "in": 25.4},
    "shortwave": {"J m-2": 1.0, "kJ m-2": 1e3, "MJ m-2": 1e6},
    "longwave": {"J m-2": 1.0, "kJ m-2": 1e3, "MJ m-2": 1e6},
}
_NAMES = {
    **{"temperature": "Tair", "precipitation": "Rainf", "pressure": "PSurf", "wind": "Wind"},
    **{"shortwave": "SWdown", "longwave": "LWdown", "co2": "CO2"},
}
ISMN_VARIABLES = {"air_temperature": ("temperature", "degC"), "precipitation": ("precipitation", "mm")}


class Column(StrictModel):
    """Where a quantity is in a table or NetCDF file."""

    name: str = Field(description="column, or variable")
    unit: str | None = Field(default=None, description="its unit; NetCDF files may have it as an attribute")


class StationPlace(StrictModel):
    """Where a station is."""

    latitude: float = Field(ge=-90, le=90, description="degrees north")
    longitude: float = Field(ge=-180, le=180, description="degrees east")
    elevation: float = Field(description="m above sea level")


class StationConfig(PlaceConfig):
    """`ldas ingest station`: hourly rain and air temperature, and what else was measured, at one place."""

    place: StationPlace | None = Field(default=None, description="of the station; ISMN files hold their own")
    columns: dict[Quantity, Column] = Field(default={}, description="what tables and NetCDF files hold")
    time: tuple[str, ...] = Field(default=("time",), description="column of the time, or columns to be joined")
    time_format: str | None = Field(default=None, description="of the time in a table, as strftime; default: ISO 8601")
    utc_offset_h: float | None = Field(
        default=None, ge=-12, le=14, description="hours that the clock is ahead of UTC, where the times do not say it"
    )
    stamp: Literal["instant", "start", "end"] = Field(
        default="instant",
        description="what a time means: the instant (precipitation: end of its interval), or start or end of an "
        "interval over which all values are means",
    )
    separator: str = Field(default=",", description="between the columns of a table")
    nodata: tuple[float, ...] = Field(default=(-9999.0,), description="numbers that mean a missing value")
    flags: tuple[str, ...] = Field(default=("G",), description="ISMN: quality flags that are accepted")
    sensor: str | None = Field(default=None, description="column, or variable, that names the sensor of each record")
    sensors: Literal["one", "joined"] = Field(
        default="one", description="a change of the sensor stops the ingest, or the records are joined and it is noted"
    )


def read(paths: list[Path], config: StationConfig) -> xr.Dataset:
    """Hourly forcing over (time, cell = 1) from the records of one station.

    Raises:
        IngestError: no unit, no time zone, a sensor that changes, a gap beyond the policy.
    """
    if all(path.suffix == ismn.SUFFIX for path in paths):
        record, elevation, changes = _read_ismn(paths, config)
    else:
        record, elevation, changes = _read_tables(paths, config)
    forcing = completed(record, elevation, config.stamp, config, paths[0])
    forcing.attrs["notes"] = [*changes, *forcing.attrs["notes"]]
    return forcing


# --- ISMN ----------------------------------------------------------------------------------------------------------


def _read_ismn(paths: list[Path], config: StationConfig) -> tuple[xr.Dataset, float, list[str]]:
    """Air temperature and precipitation of one station; files of other variables beside them are left out."""
    found: dict[str, list[ismn.Sensor]] = {}
    for path in paths:
        for sensor in ismn.read_file(path, tuple(ISMN_VARIABLES)):
            found.setdefault(sensor.variable, []).append(sensor)
    if not found:
        raise IngestError(f"{paths[0]}: none of the {len(paths)} files holds {' or '.join(ISMN_VARIABLES)}")
    stations = sorted({sensor.station for sensors in found.values() for sensor in sensors})
    if len(stations) > 1:
        raise IngestError(f"{paths[0]}: the files are those of several stations ({', '.join(stations)}): give one")
    series: dict[str, pd.Series] = {}
    changes = []
    for variable, sensors in found.items():
        quantity = ISMN_VARIABLES[variable][0]
        sensors.sort(key=lambda sensor: sensor.data.index[0])
        if len(sensors) > 1:
            text = f"{variable} of {stations[0]} comes from {len(sensors)} sensors: " + "; ".join(
                f"{s.instrument} from {s.data.index[0]:%Y-%m-%d} to {s.data.index[-1]:%Y-%m-%d}" for s in sensors
            )
            changes += [_change(text, sensors[1].path, config)]
        joined = pd.Series(dtype=float)
        for sensor in sensors:
            accepted = sensor.data["flag"].astype(str).str.split(",").map(lambda codes: set(codes) <= set(config.flags))
            values = sensor.data.loc[accepted.astype(bool), variable].astype(float).dropna()
            joined = values if joined.empty else joined.combine_first(values)  # the earlier one where both measured
        series[quantity] = joined
    first = next(iter(found.values()))[0]
    table = pd.DataFrame(series).sort_index()
    units = dict(ISMN_VARIABLES.values())
    step_s = _step_s(table)
    record = _record(
        {name: _in_unit(table[name].to_numpy(), name, units[name], step_s, first.path) for name in series},
        pd.DatetimeIndex(table.index),
        (first.latitude, first.longitude),
        first.path,
    )
    return record, first.elevation, changes


def _change(text: str, path: Path, config: StationConfig) -> str:
    """The note of a change of sensor; IngestError where the configuration does not take it."""
    if config.sensors == "one":
        raise IngestError(
            f"{path}: {text}; a change of sensor may be a jump in the record: choose one of them by `files` or "
            "`period`, or `sensors: joined` takes them as one record"
        )
    return text


# --- tables and NetCDF ---------------------------------------------------------------------------------------------


def _read_tables(paths: list[Path], config: StationConfig) -> tuple[xr.Dataset, float, list[str]]:
    if config.place is None:
        raise IngestError(f"{paths[0]}: give `place` (latitude, longitude, elevation): the file does not hold it")
    if not config.columns:
        raise IngestError(f"{paths[0]}: give `columns`: which quantity is in which column, with its unit")
    frames = [_read_table(path, config) for path in paths]
    table = pd.concat(frames).sort_index()
    units = frames[0].attrs["units"]
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise IngestError(f"{', '.join(map(str, paths))}: the time {twice:%Y-%m-%dT%H:%M} is there twice")
    changes = []
    if config.sensor is not None:
        names = table.pop(config.sensor).astype(str)
        begins = names.index[(names != names.shift()).to_numpy()]
        if len(begins) > 1:
            first = ", ".join(f"{names[begin]} from {begin:%Y-%m-%dT%H:%M}" for begin in begins[:5])
            changes.append(_change(f"the sensor changes {len(begins) - 1} times: {first}", paths[0], config))
    step_s = _step_s(table)
    values: dict[str, Array] = {
        quantity: _in_unit(_numbers(table[column.name], paths[0], config), quantity, units[quantity], step_s, paths[0])
        for quantity, column in config.columns.items()
    }
    place = config.place
    return (
        _record(values, pd.DatetimeIndex(table.index), (place.latitude, place.longitude), paths[0]),
        place.elevation,
        changes,
    )


def _read_table(path: Path, config: StationConfig) -> pd.DataFrame:
    """The columns of one file by their name there, indexed by UTC; the units by quantity in its attributes."""
    wanted = list(dict.fromkeys(column.name for column in config.columns.values()))
    wanted += [config.sensor] if config.sensor else []
    if files.magic(path) in files.NETCDF:
        table, stated = _netcdf_columns(path, config, wanted)
    else:
        table, stated = _text_columns(path, config, wanted), {}
    units = {}
    for quantity, column in config.columns.items():
        unit = column.unit or stated.get(column.name)
        if unit is None:
            raise IngestError(
                f"{path}: the unit of {column.name} ({quantity}) is not stated: give columns.{quantity}.unit, one of "
                f"{', '.join([*UNITS[quantity], *AMOUNTS.get(quantity, {})])}"
            )
        units[quantity] = unit
    stamps = pd.DatetimeIndex(table.index)
    if stamps.tz is not None:
        stamps = stamps.tz_convert("UTC").tz_localize(None)
    elif config.utc_offset_h is None:
        raise IngestError(
            f"{path}: the time zone is not stated (first time {stamps[0]}): give utc_offset_h, the hours that the "
            "clock is ahead of UTC (0: UTC; no summer time)"
        )
    else:
        stamps = stamps - pd.Timedelta(hours=config.utc_offset_h)
    table.index = stamps.as_unit("ns")
    table.attrs["units"] = units
    return table


def _text_columns(path: Path, config: StationConfig, wanted: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            path, sep=config.separator, comment="#", skipinitialspace=True, dtype=dict.fromkeys(config.time, str)
        )
    except (OSError, ValueError) as error:
        raise IngestError(f"{path}: no table with a line of names: {files.beginning(path)} ({error})") from error
    _require(path, [*config.time, *wanted], list(map(str, table.columns)))
    text = table[list(config.time)].agg(" ".join, axis=1) if len(config.time) > 1 else table[config.time[0]]
    expected = config.time_format or "ISO 8601"
    stamps = files.dates_of(text, config.time_format, expected, f"{path}: {', '.join(config.time)}")
    zone = pd.DatetimeIndex(pd.to_datetime(text.iloc[:1], format=config.time_format or "ISO8601")).tz
    return table[wanted].set_index(stamps if zone is None else stamps.tz_localize("UTC"))


def _netcdf_columns(path: Path, config: StationConfig, wanted: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    source = files.open_netcdf(path)
    _require(path, [*config.time[:1], *wanted], list(map(str, source.variables)))
    times = files.utc_times(source, config.time[0], path)
    columns = {}
    for name in wanted:
        values = np.asarray(files.values(source[name], path)).squeeze()
        if values.shape != times.shape:
            raise IngestError(
                f"{path}: {name} has shape {values.shape}, expected one value for each of {len(times)} times"
            )
        columns[name] = values
    units = {name: str(source[name].attrs["units"]) for name in wanted if "units" in source[name].attrs}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(times)), units


def _require(path: Path, wanted: list[str], there: list[str]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise IngestError(f"{path}: no {', '.join(missing)} in the file; it has {', '.join(there[:30])}")


def _numbers(column: pd.Series, path: Path, config: StationConfig) -> Array:
    try:
        values = column.astype(float)
    except ValueError as error:
        raise IngestError(f"{path}: column {column.name} holds something that is not a number: {error}") from error
    return np.asarray(values.where(~values.isin(config.nodata)).to_numpy(), dtype=np.float64)


def _in_unit(values: Array, quantity: str, unit: str, step_s: float, path: Path) -> Array:
    """Values in the unit of `place_record.QUANTITIES`."""
    amount = AMOUNTS.get(quantity, {}).get(unit)
    if amount is not None:
        return values * amount / step_s
    if unit not in UNITS[quantity]:
        known = ", ".join([*UNITS[quantity], *AMOUNTS.get(quantity, {})])
        raise IngestError(f"{path}: unit {unit!r} of the {quantity} is not known; known are {known}")
    factor, offset = UNITS[quantity][unit]
    return values * factor + offset


def _step_s(table: pd.DataFrame) -> float:
    """Seconds between the records."""
    times = table.index.to_numpy().astype("datetime64[s]").astype(np.int64)
    return float(np.median(np.diff(times))) if len(times) > 1 else physics.SECONDS_PER_HOUR


def _record(values: dict[str, Array], times: pd.DatetimeIndex, place: tuple[float, float], path: Path) -> xr.Dataset:
    """A record for `place_record.completed`; humidity of any kind as vapour pressure."""
    humidity = [name for name in values if name in HUMIDITY]
    if len(humidity) > 1:
        raise IngestError(f"{path}: humidity is given twice ({', '.join(humidity)}): choose one of them")
    named = {_NAMES[name]: series for name, series in values.items() if name in _NAMES}
    if humidity and "temperature" in values:  # without it `completed` says that it must be measured
        named["vapour_pressure"] = vapour_pressure(humidity[0], values)
    return xr.Dataset(
        {name: (("time", "cell"), series[:, None]) for name, series in named.items()},
        coords={"time": times.to_numpy(), "latitude": ("cell", [place[0]]), "longitude": ("cell", [place[1]])},
    )


def vapour_pressure(kind: str, values: dict[str, Array]) -> Array:
    """Vapour pressure, Pa, (record,).

    Args:
        kind: which one of `HUMIDITY` is in `values`.
        values: the humidity, and the air temperature where the kind needs it, in K, Pa or 0..1, (record,).
    """
    if kind == "vapour_pressure":
        return values[kind]
    if kind == "dew_point":
        return physics.saturation_vapour_pressure(values[kind])
    saturation = physics.saturation_vapour_pressure(values["temperature"])
    if kind == "relative_humidity":
        return np.asarray(values[kind] * saturation)
    return np.maximum(saturation - values[kind], 1.0)
