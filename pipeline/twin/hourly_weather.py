"""Hours from days: the nine forcing variables at the store's hourly records.

Daily means of temperature, vapour pressure (where the air can hold it), wind and pressure, and the daily total of
precipitation are those of the days.
"""

import numpy as np
from scipy.special import ndtr

from ldas.landmodel.array_types import Array, Days
from ldas.landmodel.constants import FREEZING_POINT
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest.daily import SOLAR_CONSTANT
from ldas.pipeline.ingest.forcing_fields import co2_mole_fraction
from ldas.pipeline.twin.climate import STEFAN_BOLTZMANN
from ldas.pipeline.twin.daily_weather import Latent, daily_weather
from ldas.pipeline.twin.fields import DAY, Places

HOURS = 24
# The mean day of HAPEX-MOBILHY 1986 at Caumont: two harmonics of temperature (of a range of 1) and one of wind, as
# amplitude and solar hour of the maximum.
TEMPERATURE_COURSE = ((0.49, 14.1, 1), (0.10, 0.9, 2))
WIND_COURSE = (0.28, 13.1)
WET_HOURS_AT_1_MM = 3.2  # wet hours of a day grow as 3.2 sqrt(P / mm), same record
HOURLY_RAIN_SPREAD = 0.8  # of the logarithm of hourly rates: gives the largest hour 0.4 of the day, as in the record
ALL_SNOW_BELOW, ALL_RAIN_ABOVE = FREEZING_POINT, 275.16  # K


def hourly_weather(latent: Latent, start: np.datetime64, stop: np.datetime64) -> dict[str, Array]:
    """Forcing (record, cell) by ALMA names, one record an hour from `start` to `stop` (00 UTC, both included).

    Rainf and Snowf are the means over the hour that ends at a record.
    """
    first, last = start.astype("datetime64[D]"), stop.astype("datetime64[D]")
    # The day before gives the first record its rain, the day after the last one its values and the last day its trend.
    days = np.arange(first - 2 * DAY, last + 2 * DAY)
    daily = daily_weather(latent, days)
    inner = slice(1, -1)  # days with a neighbour on both sides
    hours = days[inner, None].astype("datetime64[s]") + np.arange(HOURS).astype("timedelta64[h]")
    places = latent.climate.places
    declination, hour_angle = physics.solar_angles(hours, 0.0)
    solar = hour_angle[..., None] + np.deg2rad(places.longitude)  # hour angle, rad, (day, hour, cell)
    solar_hour = 12.0 + solar * 12.0 / np.pi

    course = sum(a * np.cos(2.0 * np.pi * k * (solar_hour - at) / 24.0) for a, at, k in TEMPERATURE_COURSE)
    temperature = _trend(daily.temperature) + daily.temperature_range[inner, None] * course
    vapour = _limited(daily.vapour_pressure[inner], physics.saturation_vapour_pressure(temperature))
    pressure = _trend(daily.pressure)
    wind = daily.wind[inner, None] * (1.0 + WIND_COURSE[0] * np.cos(2.0 * np.pi * (solar_hour - WIND_COURSE[1]) / 24.0))
    # Half the daily course of the air near the ground: the radiating air reaches further up.
    radiating = 0.5 * (temperature + daily.temperature[inner, None])
    humidity = physics.specific_humidity(vapour, pressure)
    density = physics.air_density(temperature, pressure, humidity)
    fields = {
        "Tair": temperature,
        "Qair": humidity,
        "Wind": wind,
        "PSurf": pressure,
        "SWdown": daily.clearness[inner, None] * _top_of_atmosphere(hours, declination, solar, places),
        "LWdown": daily.emissivity[inner, None] * STEFAN_BOLTZMANN * radiating**4,
        "CO2air": physics.co2_density(co2_mole_fraction(hours.reshape(-1)).reshape(hours.shape)[..., None], density),
    }
    records = HOURS * int((last - first) / DAY) + 1
    flat = {name: values.reshape(-1, len(places)) for name, values in fields.items()}
    result = {name: values[HOURS : HOURS + records] for name, values in flat.items()}  # from `first`, the second day
    fallen = _hourly_rain(latent, daily.precipitation[inner], days[inner]).reshape(-1, len(places))
    rate = fallen[HOURS - 1 : HOURS - 1 + records] / physics.SECONDS_PER_HOUR  # of the hours ending at the records
    mean = 0.5 * (flat["Tair"][HOURS - 1 : HOURS - 1 + records] + result["Tair"])
    solid = physics.snow_fraction(mean, ALL_SNOW_BELOW, ALL_RAIN_ABOVE)
    return {**result, "Rainf": rate * (1.0 - solid), "Snowf": rate * solid}


def _trend(means: Array) -> Array:
    """Hourly values (day - 2, 24, cell) of all days but the first and last, continuous, with the days' means.

    Straight lines from midnight to noon to midnight; at midnight the mean of both days.
    """
    before, here, after = means[:-2], means[1:-1], means[2:]
    start, end = 0.5 * (before + here), 0.5 * (here + after)
    hour = np.arange(HOURS) / 12.0
    to_start, to_end = np.maximum(1.0 - hour, 0.0), np.maximum(hour - 1.0, 0.0)
    to_noon = 1.0 - to_start - to_end
    noon = (HOURS * here - start * to_start.sum() - end * to_end.sum()) / to_noon.sum()
    return np.asarray(
        start[:, None] * to_start[:, None] + noon[:, None] * to_noon[:, None] + end[:, None] * to_end[:, None]
    )


def _limited(mean: Array, saturation: Array) -> Array:
    """Vapour pressure (day, hour, cell): one level a day, cut at saturation, with the daily mean kept where it can be.

    With k unsaturated hours, those of the k highest saturation pressures, the level is
    (24 mean - sum of the others) / k; the right k gives the highest level.
    """
    ordered = -np.sort(-saturation, axis=1)
    summed = np.cumsum(ordered, axis=1)
    count = np.arange(1, HOURS + 1)[:, None]
    level = ((summed - summed[:, -1:]) + HOURS * mean[:, None]) / count
    return np.minimum(level.max(axis=1)[:, None], saturation)


def _top_of_atmosphere(hours: Days, declination: Array, solar: Array, places: Places) -> Array:
    """Shortwave radiation on a horizontal plane on top of the atmosphere, W m-2, (day, hour, cell)."""
    phi = np.deg2rad(places.latitude)
    height = np.sin(phi) * np.sin(declination)[..., None] + np.cos(phi) * np.cos(declination)[..., None] * np.cos(solar)
    year = hours.astype("datetime64[Y]").astype("datetime64[s]")
    angle = 2.0 * np.pi * (hours - year).astype(np.float64) / (365.25 * physics.SECONDS_PER_DAY)
    return SOLAR_CONSTANT * (1.0 + 0.033 * np.cos(angle))[..., None] * np.maximum(height, 0.0)


def _hourly_rain(latent: Latent, total: Array, days: Days) -> Array:
    """Precipitation of each hour, kg m-2, (day, hour, cell): one event a day, around an hour that fields choose."""
    half = 0.5 * np.clip(WET_HOURS_AT_1_MM * np.sqrt(total), 2.0, 24.0)
    middle = half + ndtr(latent.daily("rain_hour", days)) * (24.0 - 2.0 * half)
    distance = np.abs(np.arange(HOURS)[:, None] + 0.5 - middle[:, None])
    shape = np.maximum(1.0 - distance / half[:, None], 0.0)
    shape = shape * np.exp(HOURLY_RAIN_SPREAD * latent.hourly("rain_rate", days))
    whole = np.zeros_like(total)
    for hour in range(HOURS):  # one order of additions, whatever the number of cells
        whole += shape[:, hour]
    return total[:, None] * shape / whole[:, None]
