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


def solar_angles(day_of_year: Array, seconds_of_day: Array, days_in_year: Array) -> tuple[Array, Array]:
    """Declination and hour angle at longitude 0 (rad).

    Zero-based day of the year, seconds since 00 UTC, 365 or 366 days. Source: docs/science/air.md, section 4.
    """
    day = day_of_year + seconds_of_day / 86400.0
    declination, equation_of_time = declination_and_equation_of_time(day, days_in_year)
    return declination, np.radians(15.0 * (seconds_of_day / 3600.0 - equation_of_time - 12.0))


def sun_of_times(times: NDArray[np.datetime64]) -> Array:
    """(time, 4): sine and cosine of the declination, cosine and sine of the hour angle at longitude 0."""
    years = times.astype("datetime64[Y]").astype("datetime64[D]")
    next_years = (times.astype("datetime64[Y]") + 1).astype("datetime64[D]")
    dates = times.astype("datetime64[D]")
    declination, hour_angle = solar_angles(
        (dates - years).astype(np.float64),
        (times - dates).astype("timedelta64[s]").astype(np.float64),
        (next_years - years).astype(np.float64),
    )
    return np.stack([np.sin(declination), np.cos(declination), np.cos(hour_angle), np.sin(hour_angle)], axis=-1)


def cosine_zenith(times: NDArray[np.datetime64], latitude: float, longitude: float) -> Array:
    """Cosine of the solar zenith angle (1) at times (UTC) and a place (degrees)."""
    sin_declination, cos_declination, cos_hour, sin_hour = sun_of_times(times).T
    east = np.radians(longitude)
    local = cos_hour * np.cos(east) - sin_hour * np.sin(east)
    return np.sin(np.radians(latitude)) * sin_declination + np.cos(np.radians(latitude)) * cos_declination * local
