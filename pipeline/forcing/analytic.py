"""Weather given by formulas: two years at 43.6N 1.4E without any data file.

It drives the `analytic/` reference cases and everything else that must run where no data are. The formulas are those
of the reference: half-hourly steps from 1986-01-01 00 UTC, each value that of its step's START.
"""

import numpy as np
import numpy.typing as npt

from ldas import landmodel
from ldas.landmodel.array_types import Array
from ldas.landmodel.constants import FREEZING_POINT
from ldas.pipeline.forcing import physics
from ldas.pipeline.forcing.read import TimedForcing

START = np.datetime64("1986-01-01T00:00:00")
STEP_S = 1800
STEPS_PER_DAY = 48
TWO_YEARS = 2 * 365 * STEPS_PER_DAY
LATITUDE = 43.6
LONGITUDE = 1.4
CO2 = 0.00062  # kg m-3


def analytic_weather(steps: int) -> dict[str, Array]:
    """Values of the steps 0 to `steps` - 1, each an array (step,), by the ALMA names (SI units).

    `precipitation` (kg m-2 s-1) is the mean rate over the step, `cloud` (0-1) the cover behind the radiation,
    `cos_zenith` the cosine of the solar zenith angle, 0 at night.
    """
    step = np.arange(steps)
    day, half_hour = np.divmod(step, STEPS_PER_DAY)
    time = step / STEPS_PER_DAY  # days since the start
    hour = half_hour / 2.0

    season = np.cos(2 * np.pi * (time - 17) / 365)
    temperature = (
        283.65
        - 11.0 * season
        - (5.0 - 1.5 * season) * np.cos(2 * np.pi * (hour - 2.5) / 24)
        + 3.5 * np.sin(2 * np.pi * time / 11)
    )
    pressure = 99000 + 700 * np.cos(2 * np.pi * time / 11)
    relative = 0.70 + 0.05 * season + 0.13 * np.cos(2 * np.pi * (hour - 3.5) / 24)
    vapour = relative * 611.2 * np.exp(17.67 * (temperature - 273.15) / (temperature - 29.65))
    wind = 2.5 + 1.4 * np.sin(2 * np.pi * time / 5) - 0.8 * np.cos(2 * np.pi * (hour - 2) / 24)

    precipitation, cloud = _rain_and_cloud(day, half_hour)
    cosine = np.maximum(physics.cosine_zenith(START + step * np.timedelta64(STEP_S, "s"), LATITUDE, LONGITUDE), 0.0)
    emissivity = np.minimum(1.0, 1.24 * (0.01 * vapour / temperature) ** (1 / 7) * (1 + 0.22 * cloud**2))
    return {
        "Tair": temperature,
        "Qair": 0.622 * vapour / (pressure - 0.378 * vapour),
        "Wind": wind,
        "PSurf": pressure,
        "SWdown": 1361 * 0.76 * cosine**1.15 * (1 - 0.65 * cloud**2),
        "LWdown": emissivity * 5.67e-8 * temperature**4,
        "precipitation": precipitation,
        "cloud": cloud,
        "cos_zenith": cosine,
    }


def _rain_and_cloud(day: npt.NDArray[np.int64], half_hour: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    wet_season = (day % 365 < 181) | (day % 365 > 240)
    drizzle, shower, storm = (wet_season & condition for condition in (day % 5 == 2, day % 7 == 4, day % 73 == 40))
    rate = (
        1.0 * (drizzle & (half_hour >= 12) & (half_hour <= 23))
        + 2.0 * (shower & (half_hour >= 30) & (half_hour <= 37))
        + 15.0 * (storm & (half_hour >= 40) & (half_hour <= 43))
    )
    cloud = np.where(drizzle | shower, 0.85, np.where(storm, 0.6, 0.1 + 0.1 * (day % 4)))
    return rate / 3600.0, cloud


def analytic_forcing(steps: int = TWO_YEARS, snow: bool = False) -> TimedForcing:
    """The `steps` + 1 records (record, 1 cell) that give step n the weather of `analytic_weather`.

    Args:
        snow: the version in which all precipitation of a step below 273.16 K is snow; otherwise it is rain at any
            temperature.
    """
    weather = analytic_weather(steps + 1)
    falls_as_snow = (weather["Tair"] < FREEZING_POINT) & snow
    # Record k holds the instants of step k and the precipitation of step k - 1: rain is stored at its interval's end.
    rain = np.concatenate(([0.0], np.where(falls_as_snow, 0.0, weather["precipitation"])[:-1]))
    snowfall = np.concatenate(([0.0], np.where(falls_as_snow, weather["precipitation"], 0.0)[:-1]))
    names = ("Tair", "Qair", "Wind", "PSurf", "SWdown", "LWdown")
    records = {name: weather[name] for name in names}
    records |= {"Rainf": rain, "Snowf": snowfall, "CO2air": np.full(steps + 1, CO2)}
    forcing = landmodel.Forcing(**{name: values[:, None].copy() for name, values in records.items()})
    return TimedForcing(forcing, START, STEP_S)
