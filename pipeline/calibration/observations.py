"""Observations of a calibration, read from files or groups of the store onto the days of the site's run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array, BoolArray, Days
from ldas.pipeline import files, registry
from ldas.pipeline.calibration.case import CalibrationCase, ObservedSettings
from ldas.pipeline.errors import ConfigurationError, IngestError
from ldas.pipeline.forcing.physics import MOLAR_MASS_CARBON, MOLAR_MASS_CO2
from ldas.pipeline.settings.assimilation import WindowConfig
from ldas.pipeline.site.case import SiteCase
from ldas.pipeline.store import cf
from ldas.pipeline.store.arrays import decode_labels, open_dataset
from ldas.pipeline.store.location import Location

CARBON_VARIABLES = ("GPP", "RECO", "RESP_AUTO", "NEE")
_LEAST_OF_DAY = 0.5  # of the values of the fullest day, for a daily mean
_OF_CARBON = 1.0e-3 * MOLAR_MASS_CO2 / MOLAR_MASS_CARBON
# kg CO2 m-2 s-1 in one of these
CARBON_UNITS = {
    "gC m-2 d-1": _OF_CARBON / 86400.0,
    "gC/m2/d": _OF_CARBON / 86400.0,
    "kgC m-2 s-1": 1.0e3 * _OF_CARBON,
    "umol m-2 s-1": 1.0e-6 * MOLAR_MASS_CO2 * 1.0e-3,
}


@dataclass(frozen=True)
class Observed:
    """A variable on the days of the run, in the registry's unit: value and error (day,), NaN where there is none."""

    variable: str
    value: Array
    error: Array

    def used(self, window: BoolArray) -> BoolArray:
        """Days (day,) of a window that have an observation."""
        return np.asarray(window & np.isfinite(self.value) & np.isfinite(self.error))


def days_of(site: SiteCase, utc_offset_h: int) -> Days:
    """The days of the run in the clock of the observations, (day,).

    Raises:
        ConfigurationError: a run that does not start when a day of the observations does.
    """
    begin = site.start_time + np.timedelta64(utc_offset_h, "h")
    day = begin.astype("datetime64[D]")
    if begin != day:
        wanted = day.astype("datetime64[s]") - np.timedelta64(utc_offset_h, "h")
        raise ConfigurationError(
            f"the run of {site.name} starts at {site.start_time} UTC, {begin} in the clock of the observations "
            f"(utc_offset_h {utc_offset_h}), so its days are not theirs: let the site start at {wanted}"
        )
    return np.asarray(day + np.arange(site.days))


def within(days: Days, window: WindowConfig) -> BoolArray:
    """Which days lie in a window."""
    return np.asarray((days >= np.datetime64(window.start)) & (days <= np.datetime64(window.end)))


def read_observed(case: CalibrationCase, days: Days) -> list[Observed]:
    """All series of a case on the days of its run.

    Raises:
        ConfigurationError: a column or station that is not there, a unit that is not known or not that of the file or
            group, a window without observations.
        IngestError: a file that cannot be read.
    """
    found = [_read(settings, days, case.location) for settings in case.observations]
    for series, settings in zip(found, case.observations, strict=True):
        for name in ("calibration", "kept_back"):
            window: WindowConfig = getattr(case, name)
            if not series.used(within(days, window)).any():
                raise ConfigurationError(
                    f"{settings.place}: {settings.column} has no value with an error in {name}, {window.start} to "
                    f"{window.end}: choose other years"
                )
    return found


def _read(settings: ObservedSettings, days: Days, location: Location) -> Observed:
    columns = [settings.column, *([settings.error.column] if settings.error.column else [])]
    if settings.file is None:
        table = _from_dataset(settings, columns, _station(settings, open_dataset(location, str(settings.group))))
    elif files.magic(settings.file) in files.NETCDF:
        with files.open_netcdf(settings.file) as opened:
            table = _from_dataset(settings, columns, opened)
    else:
        table = _from_csv(settings.file, settings.time_column, columns)
    by_day = table.groupby(pd.DatetimeIndex(table.index).floor("D"))
    counts = by_day.count()
    daily = by_day.mean().where(counts >= _LEAST_OF_DAY * counts.max())
    daily = daily.reindex(pd.DatetimeIndex(days.astype("datetime64[ns]")))
    factor, offset = _known_conversion(settings)
    value = daily[settings.column].to_numpy(dtype=np.float64) * factor + offset
    parts = [np.zeros_like(value)]
    if settings.error.column:
        parts.append(daily[settings.error.column].to_numpy(dtype=np.float64) * factor)
    if settings.error.absolute:
        parts.append(np.full_like(value, settings.error.absolute * factor))
    if settings.error.relative:
        parts.append(settings.error.relative * value)
    error = np.sqrt(sum(part**2 for part in parts))
    registry.check_range(
        settings.variable,
        value,
        where=f"{settings.place}: {settings.column}",
        allow_missing=True,
        labels=[("day", days)],
    )
    if (error[np.isfinite(error)] <= 0.0).any():
        day = days[np.flatnonzero(error <= 0.0)[0]]
        raise ConfigurationError(
            f"{settings.place}: the error of {settings.column} on {day} is 0: add `absolute` to its error"
        )
    return Observed(settings.variable, value, error)


def _conversion(settings: ObservedSettings, unit: str) -> tuple[float, float] | None:
    """Factor and offset from a unit to that of the registry; None for a unit that is not known."""
    if settings.variable in CARBON_VARIABLES and unit in CARBON_UNITS:
        return CARBON_UNITS[unit], 0.0
    return cf.conversion(unit, registry.variable(settings.variable).unit)


def _known_conversion(settings: ObservedSettings) -> tuple[float, float]:
    known = _conversion(settings, settings.unit)
    if known is None:
        others = f" (carbon dioxide; {', '.join(CARBON_UNITS)})" if settings.variable in CARBON_VARIABLES else ""
        raise ConfigurationError(
            f"observations: {settings.variable}: the unit '{settings.unit}' is not known: expected "
            f"{registry.variable(settings.variable).unit}{others}"
        )
    return known


def _station(settings: ObservedSettings, group: xr.Dataset) -> xr.Dataset:
    """The one station of a group."""
    if "station" not in group.dims:
        return group
    codes = list(decode_labels(group["code"]))
    wanted = codes[0] if settings.station is None and len(codes) == 1 else settings.station
    if wanted not in codes:
        raise ConfigurationError(f"{settings.place}: station: expected one of {', '.join(codes)}, got {wanted}")
    return group.isel(station=codes.index(wanted))


def _from_dataset(settings: ObservedSettings, columns: list[str], dataset: xr.Dataset) -> pd.DataFrame:
    missing = [name for name in columns if name not in dataset]
    if missing or "time" not in dataset.coords:
        raise ConfigurationError(
            f"{settings.place}: no variable {', '.join(missing) or 'time'}; it has {', '.join(map(str, dataset))}"
        )
    for name in columns:
        stated = str(dataset[name].attrs.get("units", settings.unit))
        if stated != settings.unit and _conversion(settings, stated) != _known_conversion(settings):
            raise ConfigurationError(
                f"{settings.place}: {name} is in '{stated}', the case file says '{settings.unit}': correct the unit"
            )
        if dataset[name].size != dataset.sizes["time"]:
            raise ConfigurationError(f"{settings.place}: {name} is not a single series over time: select the place")
    series = {name: dataset[name].to_numpy().reshape(-1) for name in columns}
    return pd.DataFrame(series, index=pd.DatetimeIndex(dataset["time"].to_numpy()))


def _from_csv(path: Path, time_column: str, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, na_values=["NA", "-9999", "-9999.0"], dtype={time_column: str})
    except (OSError, ValueError) as error:
        raise IngestError(f"{path}: no CSV table: {files.beginning(path)} ({error})") from error
    missing = [name for name in (time_column, *columns) if name not in table]
    if missing:
        raise ConfigurationError(f"{path}: no column {', '.join(missing)}; it has {', '.join(map(str, table))}")
    index = files.dates_of(table[time_column], None, "ISO 8601 or YYYYMMDD", f"{path}: {time_column}")
    try:
        return table[columns].astype(np.float64).set_axis(index)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: {', '.join(columns)}: {error}") from error
