"""Near-surface weather that was not measured, estimated from hourly air temperature and rain at one place.

All functions are pure and work on hourly records of one place, arrays (record,), or on its local solar days, arrays
(day,), in float64. What they follow:

* shortwave: Thornton and Running (1999, Agric. For. Meteorol. 93, 211-228), after Bristow and Campbell (1984): a clear
  sky by air mass, pressure and vapour; clouds by the daily range of temperature and by rain
* vapour pressure: saturation at the daily minimum of air temperature (Running et al. 1987, Can. J. For. Res. 17,
  472-483), less a depression of the dew point: one that is known, or that which aridity tells (Kimball et al. 1997,
  Agric. For. Meteorol. 85, 87-98)
* longwave: clear sky by Brutsaert (1975, Water Resour. Res. 11, 742-744); clouds by Crawford and Duchon (1999, J. Appl.
  Meteorol. 38, 474-480), who take their cover from the shortwave
* pressure: hydrostatic, with the lapse rate of the ICAO standard atmosphere below the place
* wind: 2 m s-1, the mean of many weather stations in Allen et al. (1998, FAO Irrigation and Drainage Paper 56)
"""

import numpy as np
import numpy.typing as npt

from ldas.landmodel.array_types import Array, Times
from ldas.landmodel.constants import DAY, HEAT_CAPACITY_DRY_AIR, VAPORISATION_HEAT
from ldas.pipeline.forcing import physics

SOLAR_CONSTANT = 1361.0  # W m-2
STANDARD_PRESSURE = 101325.0  # Pa
GRAVITY = 9.80665  # m s-2
LAPSE_RATE = 0.0065  # K m-1
STEFAN_BOLTZMANN = 5.670374e-8  # W m-2 K-4
USUAL_WIND = 2.0  # m s-1

# Thornton and Running (1999)
CLEAR_TRANSMITTANCE = 0.870  # of dry air at sea level with the sun in the zenith
VAPOUR_EFFECT = -6.1e-5  # Pa-1, of vapour on the transmittance of the clear sky
RANGE_0, RANGE_1, RANGE_2, RANGE_POWER = 0.031, 0.201, 0.185, 1.5
RAINY_DAY = 0.75  # part of the transmittance that is left on a day with rain
WINDOW_DAYS = 30  # of the mean daily range
LOWEST_SUN = 0.05  # cosine of the zenith angle below which the air mass grows no further (own choice)
LEAST_HOURS = 20  # of a local day whose own minimum and maximum count (own choice)

# Kimball et al. (1997): absorbed shortwave less the heat into the ground; the dew point over the daily minimum (both K)
# as a cubic of the ratio of daily potential evaporation to annual precipitation, and a part by the daily range
ABSORBED = 0.72
PRIESTLEY_TAYLOR = 1.26
DEW_POINT_CUBIC = (1.003, -1.444, 12.312, -32.766)
DEW_POINT_OFFSET, DEW_POINT_SLOPE, DEW_POINT_RANGE = -0.127, 1.121, 0.0006
MOST_ARID = 0.0937  # ratio at which the cubic is lowest: it says nothing of drier days (own choice)
LEAST_PRECIPITATION = 1.0  # kg m-2 a year, so that the ratio exists where none falls (own choice)
DAYS_IN_YEAR = 365.25


def solar_days(time: Times, longitude: float) -> npt.NDArray[np.int64]:
    """Number of the local solar day of each record (UTC), from 0."""
    shift = np.timedelta64(round(longitude / 15.0 * physics.SECONDS_PER_HOUR), "s")
    days = (time.astype("datetime64[s]") + shift).astype("datetime64[D]").astype(np.int64)
    return np.asarray(days - days[0])


def by_day(values: Array, days: npt.NDArray[np.int64], function: np.ufunc) -> Array:
    """`np.minimum`, `np.maximum` or `np.add` over the records of each local day, (day,).

    The first and the last day, where they have few hours, take the value of the day beside them.
    """
    starts = np.searchsorted(days, np.arange(days[-1] + 1))
    result = np.asarray(function.reduceat(values, starts), dtype=np.float64)
    full = np.flatnonzero(np.bincount(days) >= LEAST_HOURS)
    if not full.size:
        return result
    nearest = np.clip(np.arange(len(result)), full[0], full[-1])
    return np.asarray(result[nearest])


def running_mean(values: Array, width: int) -> Array:
    """Mean over the `width` // 2 values to each side and the value itself; over those that are there at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    begin, end = np.maximum(places - width // 2, 0), np.minimum(places + width // 2 + 1, len(values))
    return np.asarray((total[end] - total[begin]) / (end - begin))


def pressure_at(height: float, temperature: float) -> float:
    """Mean air pressure, Pa, at a height (m above sea level) where the mean air temperature is `temperature` (K)."""
    at_sea_level = temperature + LAPSE_RATE * height
    exponent = GRAVITY / (physics.GAS_CONSTANT_DRY_AIR * LAPSE_RATE)
    return float(STANDARD_PRESSURE * (temperature / at_sea_level) ** exponent)


def vapour_pressure(temperature: Array, days: npt.NDArray[np.int64], depression: npt.ArrayLike = 0.0) -> Array:
    """Vapour pressure, Pa: saturation at each day's minimum of temperature, linear between them, at most saturated.

    Args:
        temperature: K, (record,).
        days: see `solar_days`, (record,).
        depression: K, of the dew point below the minimum; one number, or (record,).
    """
    starts = np.searchsorted(days, np.arange(days[-1] + 1))
    parts = np.split(temperature, starts[1:])
    coldest = np.array([start + int(np.argmin(part)) for start, part in zip(starts, parts, strict=True)])
    full = np.flatnonzero(np.bincount(days) >= LEAST_HOURS)
    coldest = coldest[full] if full.size else coldest
    dew_point = np.interp(np.arange(len(temperature)), coldest, temperature[coldest]) - np.asarray(depression)
    return np.minimum(physics.saturation_vapour_pressure(dew_point), physics.saturation_vapour_pressure(temperature))


def potential_evaporation(temperature: Array, shortwave: Array, pressure: Array) -> Array:
    """Potential evaporation, kg m-2 s-1, (record,), by Priestley and Taylor as in Kimball et al. (1997).

    Args:
        temperature: K, (record,).
        shortwave: downward, W m-2, (record,).
        pressure: Pa, (record,).
    """
    step = 0.1  # K
    above, below = (physics.saturation_vapour_pressure(temperature + shift) for shift in (step, -step))
    slope = (above - below) / (2.0 * step)
    ratio_of_gases = physics.GAS_CONSTANT_DRY_AIR / physics.GAS_CONSTANT_VAPOUR
    psychrometric = HEAT_CAPACITY_DRY_AIR * pressure / (VAPORISATION_HEAT * ratio_of_gases)
    return np.asarray(PRIESTLEY_TAYLOR * slope / (slope + psychrometric) * ABSORBED * shortwave / VAPORISATION_HEAT)


def aridity_depression(
    temperature: Array, precipitation: Array, shortwave: Array, pressure: Array, days: npt.NDArray[np.int64]
) -> Array:
    """Depression of the dew point below the daily minimum of temperature, K, (day,), by Kimball et al. (1997).

    Annual precipitation is that of the whole record, so a record should hold whole years. On moist days the depression
    is negative.

    Args:
        temperature: K, (record,), hourly.
        precipitation: kg m-2 s-1, (record,).
        shortwave: downward, W m-2, (record,).
        pressure: Pa, (record,).
        days: see `solar_days`, (record,).
    """
    low, high = (by_day(temperature, days, function) for function in (np.minimum, np.maximum))
    potential = by_day(potential_evaporation(temperature, shortwave, pressure), days, np.add) * physics.SECONDS_PER_HOUR
    annual = max(float(precipitation.mean()) * DAY * DAYS_IN_YEAR, LEAST_PRECIPITATION)
    ratio = np.minimum(potential / annual, MOST_ARID)
    cubic = np.polynomial.polynomial.polyval(ratio, DEW_POINT_CUBIC)
    dew_point = low * (DEW_POINT_OFFSET + DEW_POINT_SLOPE * cubic + DEW_POINT_RANGE * (high - low))
    return np.asarray(low - dew_point)


def clear_sky(time: Times, latitude: float, longitude: float, pressure: Array, vapour: Array) -> Array:
    """Shortwave radiation below a clear sky, W m-2, at the instants (UTC); pressure and vapour pressure in Pa."""
    cosine = np.maximum(physics.cosine_zenith(time, latitude, longitude), 0.0)
    air_mass = pressure / STANDARD_PRESSURE / np.maximum(cosine, LOWEST_SUN)
    transmittance = np.maximum(CLEAR_TRANSMITTANCE**air_mass + VAPOUR_EFFECT * vapour, 0.0)
    date = time.astype("datetime64[D]")
    day_of_year = (date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
    distance = 1.0 + 0.033 * np.cos(2.0 * np.pi * day_of_year / 365.0)
    return np.asarray(SOLAR_CONSTANT * distance * cosine * transmittance)


def cloud_transmittance(low: Array, high: Array, rainy: npt.NDArray[np.bool_]) -> Array:
    """Part of the clear sky's shortwave that passes a day's clouds, 0..1, (day,).

    Args:
        low: minimum of air temperature, K.
        high: maximum of air temperature, K.
        rainy: whether it rained on the day.
    """
    span = np.maximum(high - 0.5 * (low + np.append(low[1:], low[-1])), 0.0)
    slope = RANGE_0 + RANGE_1 * np.exp(-RANGE_2 * running_mean(span, WINDOW_DAYS))
    passed = 1.0 - 0.9 * np.exp(-slope * span**RANGE_POWER)
    return np.asarray(np.where(rainy, RAINY_DAY, 1.0) * passed)


def cloud_cover(shortwave: Array, clear: Array, days: npt.NDArray[np.int64]) -> Array:
    """Cloud cover, 0..1, (record,): what the day's shortwave lacks of the clear sky's; linear between noons.

    A day without sun (polar night) has the cover of the days around it.
    """
    total, possible = (np.bincount(days, weights=values) for values in (shortwave, clear))
    sunny = np.flatnonzero(possible > 0.0)
    if not sunny.size:
        return np.full(len(days), 0.5)
    noon = np.searchsorted(days, np.arange(days[-1] + 1)) + np.bincount(days) // 2
    cover = np.clip(1.0 - total[sunny] / possible[sunny], 0.0, 1.0)
    return np.asarray(np.interp(np.arange(len(days)), noon[sunny], cover))


def longwave(temperature: Array, vapour: Array, cover: Array) -> Array:
    """Downward longwave radiation, W m-2, from air temperature (K), vapour pressure (Pa) and cloud cover (0..1)."""
    clear = 1.24 * (vapour / 100.0 / temperature) ** (1.0 / 7.0)
    emissivity = np.minimum(cover + (1.0 - cover) * clear, 1.0)
    return np.asarray(emissivity * STEFAN_BOLTZMANN * temperature**4)
