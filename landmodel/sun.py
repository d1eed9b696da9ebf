"""Position of the sun (SURFEX sunpos.F90)."""

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array


def declination_and_equation_of_time(day: Array, days_in_year: Array) -> tuple[Array, Array]:
    """Declination (rad) and equation of time (h) at a zero-based day, with its fraction, of a year.

    Source: docs/science/air.md, section 4.
    """
    a = 2.0 * np.pi * day / days_in_year
    declination = (
        0.006918
        - 0.399912 * np.cos(a)
        + 0.070257 * np.sin(a)
        - 0.006758 * np.cos(2.0 * a)
        + 0.000907 * np.sin(2.0 * a)
        - 0.002697 * np.cos(3.0 * a)
        + 0.00148 * np.sin(3.0 * a)
    )
    b1 = np.radians(1.00554 * day - 6.28306)
    b2 = np.radians(1.93946 * day + 23.35089)
    return declination, (7.67825 * np.sin(b1) + 10.09176 * np.sin(b2)) / 60.0


def hour_angle(hours_utc: Array, equation_of_time: Array, longitude: float = 0.0) -> Array:
    """Hour angle of the sun (rad) at hours since 00 UTC and a longitude (degrees east); equation of time in hours."""
    return np.asarray(np.radians(15.0 * (hours_utc - equation_of_time + longitude / 15.0 - 12.0)))


def solar_angles(day_of_year: Array, seconds_of_day: Array, days_in_year: Array) -> tuple[Array, Array]:
    """Declination and hour angle at longitude 0 (rad).

    Zero-based day of the year, seconds since 00 UTC, 365 or 366 days. Source: docs/science/air.md, section 4.
    """
    day = day_of_year + seconds_of_day / 86400.0
    declination, equation_of_time = declination_and_equation_of_time(day, days_in_year)
    return declination, hour_angle(seconds_of_day / 3600.0, equation_of_time)


def sun_of_times(times: NDArray[np.datetime64]) -> Array:
    """(time, 4): sine and cosine of the declination, cosine and sine of the hour angle at longitude 0."""
    years = times.astype("datetime64[Y]").astype("datetime64[D]")
    next_years = (times.astype("datetime64[Y]") + 1).astype("datetime64[D]")
    dates = times.astype("datetime64[D]")
    declination, angle = solar_angles(
        (dates - years).astype(np.float64),
        (times - dates).astype("timedelta64[s]").astype(np.float64),
        (next_years - years).astype(np.float64),
    )
    return np.stack([np.sin(declination), np.cos(declination), np.cos(angle), np.sin(angle)], axis=-1)
