"""Conversions of near-surface meteorology that several sources need, on plain arrays.

All functions are vectorised over any shape and work in float64.
"""

import numpy as np
import numpy.typing as npt

from ldas.landmodel.array_types import Array
from ldas.landmodel.constants import FREEZING_POINT
from ldas.landmodel.sun import declination_and_equation_of_time, hour_angle

GAS_CONSTANT_DRY_AIR = 287.0597  # J kg-1 K-1, Na k / Md of SURFEX
GAS_CONSTANT_VAPOUR = 461.5250  # J kg-1 K-1
EPSILON = GAS_CONSTANT_DRY_AIR / GAS_CONSTANT_VAPOUR
MOLAR_MASS_DRY_AIR = 28.9644e-3  # kg mol-1
MOLAR_MASS_CO2 = 44.0e-3  # kg mol-1, SURFEX's rounded value (docs/science/air.md, section 3)
MOLAR_MASS_CARBON = 12.0e-3  # kg mol-1, SURFEX's rounded value
CELSIUS_ZERO = 273.15  # K
SECONDS_PER_DAY = 86400.0
SECONDS_PER_HOUR = 3600.0


def saturation_vapour_pressure(temperature: npt.ArrayLike) -> Array:
    """Saturation vapour pressure over liquid water, Pa.

    ECMWF IFS documentation Cy41r2, part IV, equation 7.5 (Buck 1981): ERA5's dew point is defined with it.

    Args:
        temperature: air temperature or dew point, K.
    """
    kelvin = np.asarray(temperature, dtype=np.float64)
    return 611.21 * np.exp(17.502 * (kelvin - FREEZING_POINT) / (kelvin - 32.19))


def specific_humidity(vapour_pressure: npt.ArrayLike, pressure: npt.ArrayLike) -> Array:
    """Specific humidity, kg kg-1, from vapour pressure and air pressure, both Pa."""
    vapour = np.asarray(vapour_pressure, dtype=np.float64)
    return EPSILON * vapour / (np.asarray(pressure, dtype=np.float64) - (1.0 - EPSILON) * vapour)


def vapour_pressure(specific_humidity_: npt.ArrayLike, pressure: npt.ArrayLike) -> Array:
    """Vapour pressure, Pa, from specific humidity (kg kg-1) and air pressure (Pa): inverse of `specific_humidity`."""
    humidity = np.asarray(specific_humidity_, dtype=np.float64)
    return humidity * np.asarray(pressure, dtype=np.float64) / (EPSILON + (1.0 - EPSILON) * humidity)


def air_density(temperature: npt.ArrayLike, pressure: npt.ArrayLike, humidity: npt.ArrayLike) -> Array:
    """Density of moist air, kg m-3, from temperature (K), pressure (Pa) and specific humidity (kg kg-1)."""
    virtual = np.asarray(temperature) * (1.0 + (1.0 / EPSILON - 1.0) * np.asarray(humidity))
    return np.asarray(pressure, dtype=np.float64) / (GAS_CONSTANT_DRY_AIR * virtual)


def co2_density(mole_fraction_ppm: npt.ArrayLike, density: npt.ArrayLike) -> Array:
    """CO2 density, kg m-3, from the mole fraction (ppm) and the density of air (kg m-3);
    docs/science/air.md, section 3."""
    mass_fraction = np.asarray(mole_fraction_ppm, dtype=np.float64) * 1e-6 * MOLAR_MASS_CO2 / MOLAR_MASS_DRY_AIR
    return mass_fraction * np.asarray(density, dtype=np.float64)


def snow_fraction(temperature: npt.ArrayLike, all_snow_below: float, all_rain_above: float) -> Array:
    """Part of precipitation that falls as snow, 0..1, linear in air temperature (K) between the two limits."""
    kelvin = np.asarray(temperature, dtype=np.float64)
    if all_rain_above == all_snow_below:
        return np.where(kelvin < all_snow_below, 1.0, 0.0)
    return np.clip((all_rain_above - kelvin) / (all_rain_above - all_snow_below), 0.0, 1.0)


def solar_angles(time: npt.NDArray[np.datetime64], longitude: float) -> tuple[Array, Array]:
    """Declination and hour angle of the sun, both rad (SURFEX `sunpos`, docs/science/air.md, section 4).

    The land model's `solar_angles` differs in the last bits: it takes day and hour apart, and the longitude later.

    Args:
        time: UTC instants, any shape.
        longitude: degrees east.
    """
    instants = time.astype("datetime64[s]")
    year = instants.astype("datetime64[Y]")
    day = (instants - year.astype("datetime64[s]")).astype(np.float64) / SECONDS_PER_DAY
    days_in_year = ((year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.float64)
    declination, equation = declination_and_equation_of_time(day, days_in_year)
    hours_utc = (day % 1.0) * 24.0
    return declination, hour_angle(hours_utc, equation, longitude)


def cosine_zenith(time: npt.NDArray[np.datetime64], latitude: float, longitude: float) -> Array:
    """Cosine of the solar zenith angle at UTC instants; negative below the horizon (docs/science/air.md, section 4)."""
    declination, angle = solar_angles(time, longitude)
    phi = np.deg2rad(latitude)
    return np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
