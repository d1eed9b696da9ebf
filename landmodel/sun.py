"""Position of the sun (SURFEX sunpos.F90)."""

import math

from landmodel.compile import science


@science
def solar_angles(day_of_year, seconds_of_day, days_in_year):
    """Declination (rad) and equation of time (h).

    Zero-based day of the year, seconds since 00 UTC, 365 or 366 days.
    """
    day = day_of_year + seconds_of_day / 86400.0
    a = 2.0 * math.pi * day / days_in_year
    declination = (
        0.006918
        - 0.399912 * math.cos(a)
        + 0.070257 * math.sin(a)
        - 0.006758 * math.cos(2.0 * a)
        + 0.000907 * math.sin(2.0 * a)
        - 0.002697 * math.cos(3.0 * a)
        + 0.00148 * math.sin(3.0 * a)
    )
    b1 = math.radians(1.00554 * day - 6.28306)
    b2 = math.radians(1.93946 * day + 23.35089)
    return declination, (7.67825 * math.sin(b1) + 10.09176 * math.sin(b2)) / 60.0


@science
def cosine_zenith(day_of_year, seconds_of_day, days_in_year, sin_latitude, cos_latitude, sin_longitude, cos_longitude):
    """Cosine of the solar zenith angle (1); the sines and cosines of the place may be lanes."""
    declination, equation = solar_angles(day_of_year, seconds_of_day, days_in_year)
    # hour angle = 15 deg (UT - E - 12) + longitude; the sum's cosine from the parts
    angle = math.radians(15.0 * (seconds_of_day / 3600.0 - equation - 12.0))
    cos_hour = math.cos(angle) * cos_longitude - math.sin(angle) * sin_longitude
    return sin_latitude * math.sin(declination) + cos_latitude * math.cos(declination) * cos_hour
