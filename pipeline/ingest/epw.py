"""EnergyPlus weather files (EPW): one typical or real year of hourly weather at one place.

A line of data has 35 columns: date, hour 1 to 24 (the hour that ends then), flags, and the weather. Months of a typical
year come from different years. Many files fill a column that nobody measured with one number for the whole year, and
leave out 29 February.
"""

from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.forcing.estimated import ESTIMATED, Estimate
from ldas.pipeline.ingest.place_record import NEEDED, PlaceConfig, completed
from ldas.pipeline.ingest.station import vapour_pressure

HEADER_LINES = 8
FIELDS = 35  # older files have fewer: up to the wind they need 22
LEAST_FIELDS = 22
# name -> (column from 0, number that means missing)
COLUMNS = {
    "temperature": (6, 99.9),
    "dew_point": (7, 99.9),
    "relative_humidity": (8, 999.0),
    "pressure": (9, 999999.0),
    "longwave": (12, 9999.0),
    "shortwave": (13, 9999.0),
    "wind": (21, 999.0),
    "precipitation": (33, 999.0),
}
HOURS = 24


class EpwConfig(PlaceConfig):
    """`ldas ingest epw`: a year of weather, repeated over the years of `period` (both ends are needed)."""

    no_rain: Literal["raise", "dry"] = Field(
        default="raise", description="a file without precipitation stops the ingest, or the place is dry"
    )


def read(paths: list[Path], config: EpwConfig) -> xr.Dataset:
    """Hourly forcing over (time, cell = 1) of the configured period, each year of which has the file's weather.

    Raises:
        IngestError: no period, not an EPW file, hours missing, no temperature, no precipitation.
    """
    if len(paths) != 1:
        raise IngestError(f"epw reads one file of one place, {len(paths)} were given")
    start, end = config.period.start, config.period.end
    if start is None or end is None:
        raise IngestError(
            f"{paths[0]}: the years of an EPW file are not those of a run: give period.start and period.end; each year "
            "of the period has the file's weather"
        )
    place, table = read_file(paths[0])
    offset = timedelta(hours=place["utc_offset_h"])
    clock = np.arange(np.datetime64(start + offset, "h"), np.datetime64(end + offset, "h") + 1, dtype="datetime64[h]")
    years = _years_needed(clock)
    columns = {name: np.array(table[name], dtype=np.float64) for name in COLUMNS}
    notes = _templates(columns, config, paths[0])
    hours = [_hours_of(year, table, paths[0]) for year in years]
    ends = np.concatenate([times for times, _ in hours])
    rows = np.concatenate([index for _, index in hours])
    record = xr.Dataset(
        {
            name: (("time", "cell"), values[rows][:, None])
            for name, values in _quantities(columns).items()
            if np.isfinite(values).any()
        },
        coords={
            "time": ends.astype("datetime64[ns]") - np.timedelta64(round(place["utc_offset_h"] * 60), "m"),
            "latitude": ("cell", [place["latitude"]]),
            "longitude": ("cell", [place["longitude"]]),
        },
    )
    method = "the file's year, repeated in every year of the period"
    record.attrs[ESTIMATED] = [Estimate(name, method, paths[0].name, 1.0) for name in NEEDED]
    forcing = completed(record, place["elevation"], "instant", config, paths[0])
    forcing.attrs["notes"] = [*notes, *forcing.attrs["notes"]]
    return forcing


def read_file(path: Path) -> tuple[dict[str, float], pd.DataFrame]:
    """Place and clock of the header, and the lines of data: month, day, hour (1 to 24), `COLUMNS`; missing as NaN.

    Raises:
        IngestError: not an EPW file, a line that is cut off, an hour that is there twice.
    """
    with path.open(encoding="latin-1") as file:
        lines = [line.strip().split(",") for line in file if line.strip()]
    location = lines[0] if lines else []
    try:
        latitude, longitude, offset, elevation = (float(word) for word in location[6:10])
    except ValueError as error:
        raise IngestError(
            f"{path}: not an EPW file: its first line must be LOCATION with latitude, longitude, time zone and height "
            f"({files.beginning(path)})"
        ) from error
    data = lines[HEADER_LINES:]
    short = next((number for number, fields in enumerate(data) if len(fields) < LEAST_FIELDS), None)
    if short is not None or not data:
        number = HEADER_LINES + 1 + (short or 0)
        raise IngestError(f"{path}, line {number}: expected {FIELDS} columns of data: is the file cut off?")
    try:
        table = pd.DataFrame(
            {name: [int(fields[i]) for fields in data] for name, i in (("month", 1), ("day", 2), ("hour", 3))}
        )
        for name, (column, missing) in COLUMNS.items():
            values = np.array([float(fields[column]) if column < len(fields) else np.nan for fields in data])
            table[name] = np.where(values >= missing, np.nan, values)
    except ValueError as error:
        raise IngestError(f"{path}: a column of data holds something that is not a number: {error}") from error
    twice = table.duplicated(["month", "day", "hour"])
    if twice.any():
        row = table[twice].iloc[0]
        raise IngestError(
            f"{path}: month {row.month:g}, day {row.day:g}, hour {row.hour:g} is there twice: hourly data of one year "
            "are expected"
        )
    return {"latitude": latitude, "longitude": longitude, "utc_offset_h": offset, "elevation": elevation}, table


def _years_needed(clock: Times) -> range:
    """The years of the local clock in which the hours of the period end, one more at each side for the days around."""
    years = clock.astype("datetime64[Y]").astype(np.int64) + 1970
    return range(int(years[0]) - 1, int(years[-1]) + 2)


def _hours_of(year: int, table: pd.DataFrame, path: Path) -> tuple[Times, Array]:
    """Ends of the hours of a year on the local clock, and the file's row of each; 29 February may be that before."""
    place = {key: row for row, key in enumerate(zip(table["month"], table["day"], table["hour"], strict=True))}
    days = np.arange(np.datetime64(f"{year}-01-01"), np.datetime64(f"{year + 1}-01-01"))
    rows, ends = [], []
    for day in days:
        date = day.astype(object)
        leap = (date.month, date.day) == (2, 29) and (2, 29, 1) not in place
        for hour in range(1, HOURS + 1):
            row = place.get((date.month, 28 if leap else date.day, hour))
            if row is None:
                raise IngestError(
                    f"{path}: month {date.month}, day {date.day}, hour {hour} is missing: a whole year is needed"
                )
            rows.append(row)
            ends.append(day.astype("datetime64[h]") + hour)
    return np.array(ends), np.array(rows)


def _templates(columns: dict[str, Array], config: EpwConfig, path: Path) -> list[str]:
    """Notes of columns that hold one number all year: nobody measured them, so they become missing.

    Raises:
        IngestError: precipitation is one of them, or all missing.
    """
    notes = []
    for name, values in columns.items():
        there = values[np.isfinite(values)]
        if there.size and (there == there[0]).all():
            notes.append(f"{name} is {there[0]:g} all year: a template's number, not a measurement; it is not used")
            values[:] = np.nan
    if not np.isfinite(columns["precipitation"]).any():
        if config.no_rain == "raise":
            raise IngestError(
                f"{path}: the file has no precipitation (column 34 is missing or one number all year), and a land "
                "model needs it: take another file, or a station (`ldas ingest station`); `no_rain: dry` runs without "
                "rain"
            )
        columns["precipitation"][:] = 0.0
        notes.append("the file has no precipitation: the place is taken as dry (no_rain: dry)")
    columns["precipitation"][np.isnan(columns["precipitation"])] = 0.0  # files give rain only where it fell
    return notes


def _quantities(columns: dict[str, Array]) -> dict[str, Array]:
    """The columns as quantities of a record; the dew point counts before the relative humidity."""
    temperature = columns["temperature"] + physics.CELSIUS_ZERO
    vapour = vapour_pressure("dew_point", {"dew_point": columns["dew_point"] + physics.CELSIUS_ZERO})
    relative = vapour_pressure(
        "relative_humidity", {"temperature": temperature, "relative_humidity": columns["relative_humidity"] / 100.0}
    )
    return {
        "Tair": temperature,
        "Rainf": columns["precipitation"] / physics.SECONDS_PER_HOUR,
        "vapour_pressure": np.where(np.isnan(vapour), relative, vapour),
        "PSurf": columns["pressure"],
        "Wind": columns["wind"],
        "SWdown": _at_instants(columns["shortwave"]),
        "LWdown": _at_instants(columns["longwave"]),
    }


def _at_instants(hour_means: Array) -> Array:
    """Radiation at the end of each hour from means over the hours; the year closes on itself."""
    return np.asarray(0.5 * (hour_means + np.roll(hour_means, -1)))
