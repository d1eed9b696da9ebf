"""Daily weather of cells: normal variables, coherent in space and time, through the distributions of the records.

Each quantity z has a normal variable n(day, cell) of unit variance from `fields.Modes`. A day is wet where that of rain
exceeds the threshold of the month's wet share. The others are distributed about the mean of their class (wet or dry).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, gamma, ndtr, ndtri

from ldas.landmodel.array_types import Array, Days
from ldas.pipeline.forcing import physics
from ldas.pipeline.settings.twin import Scale, WeatherConfig
from ldas.pipeline.twin import climate
from ldas.pipeline.twin.climate import WET_DAY, Climate
from ldas.pipeline.twin.fields import Modes

CLEAREST = 0.80  # part of the radiation on top of the atmosphere that no day of the records reaches
# Normal variables are cut here: beyond lies 1 day in 10,000, and the tails of fitted distributions mean nothing there.
LARGEST_DEPARTURE = 3.7
# Emissivity of the whole sky: the table's straight line in clearness must not leave what the records show.
EMISSIVITY_RANGE = (0.55, 1.02)


@dataclass(frozen=True)
class Variation:
    """Another draw of the weather, like the first one: normal variables n' = r n + sqrt(1 - r^2) m.

    name: under which the independent m are drawn. correlation: r by the name of the normal variable, 1 where absent.
    """

    name: str
    correlation: Mapping[str, float]


@dataclass(frozen=True)
class Latent:
    """The normal variables of the weather."""

    seed: int
    settings: WeatherConfig
    climate: Climate
    variation: Variation | None = None

    def daily(self, name: str, days: Days) -> Array:
        """A normal variable (day, cell) of unit variance."""
        memory = (0.0,) * 12 if name == "rain_hour" else climate.persistence("wet" if name == "rain" else name)
        return self._varied(name, lambda modes: modes.daily(self.climate.places, days, memory))

    def hourly(self, name: str, days: Days) -> Array:
        """A normal variable (day, 24, cell) without memory."""
        return self._varied(name, lambda modes: modes.hourly(self.climate.places, days))

    def _varied(self, name: str, draw: Callable[[Modes], Array]) -> Array:
        scale: Scale = getattr(self.settings, name)
        drawn = draw(Modes(self.seed, f"weather {name}", scale.length_km, scale.pairs))
        if self.variation is not None and self.variation.correlation.get(name, 1.0) < 1.0:
            kept = self.variation.correlation[name]
            other = draw(Modes(self.seed, f"{self.variation.name} {name}", scale.length_km, scale.pairs))
            drawn = kept * drawn + np.sqrt(1.0 - kept**2) * other
        return np.clip(drawn, -LARGEST_DEPARTURE, LARGEST_DEPARTURE)


@dataclass(frozen=True)
class DailyWeather:
    """Arrays (day, cell).

    Means of temperature (K), vapour pressure (Pa), wind (m s-1) and pressure (Pa); `temperature_range` (K); `clearness`
    and `emissivity` of the sky (1); `precipitation` (kg m-2 d-1).
    """

    temperature: Array
    temperature_range: Array
    vapour_pressure: Array
    clearness: Array
    emissivity: Array
    wind: Array
    pressure: Array
    precipitation: Array


def daily_weather(latent: Latent, days: Days) -> DailyWeather:
    """The weather of some days in a row."""
    place = latent.climate
    wet, precipitation = _precipitation(latent, days)

    def of_class(name: str) -> Array:
        return np.where(wet, place.in_month(f"{name}_wet", days), place.in_month(f"{name}_dry", days))

    sun = latent.daily("clearness", days)
    mean_clearness = of_class("clearness")
    clearness = CLEAREST * _beta(sun, mean_clearness / CLEAREST, of_class("clearness_deviation") / CLEAREST)
    warmth = _correlated(
        sun, latent.daily("temperature", days), place.in_month("correlation_temperature_clearness", days)
    )
    # The wet days' difference is spread so that the month's mean stays.
    surplus = place.in_month("temperature_wet_minus_dry", days) * (wet - place.in_month("wet_share", days))
    temperature = place.temperature(days) + surplus + place.temperature_deviation(days) * warmth
    moisture = _correlated(sun, latent.daily("humidity", days), place.in_month("correlation_humidity_clearness", days))
    humidity = _beta(moisture, of_class("humidity"), of_class("humidity_deviation"))
    emissivity = of_class("emissivity") + place.in_month("emissivity_slope", days) * (clearness - mean_clearness)
    return DailyWeather(
        temperature=temperature,
        temperature_range=of_class("range") * clearness / mean_clearness,
        vapour_pressure=humidity * physics.saturation_vapour_pressure(temperature),
        clearness=clearness,
        emissivity=np.clip(emissivity, *EMISSIVITY_RANGE),
        wind=_lognormal(
            latent.daily("wind", days), place.through_year("wind", days), place.in_month("wind_deviation", days)
        ),
        pressure=place.pressure(days) + place.in_month("pressure_deviation", days) * latent.daily("pressure", days),
        precipitation=precipitation,
    )


def _precipitation(latent: Latent, days: Days) -> tuple[npt.NDArray[np.bool_], Array]:
    """Wet days, and amounts: at least `WET_DAY`, what exceeds it Weibull distributed."""
    place = latent.climate
    share = place.in_month("wet_share", days)
    normal = latent.daily("rain", days)
    wet = normal > ndtri(1.0 - share)
    # Part of the wet days that are less wet than this one, 0..1.
    rank = np.where(wet, 1.0 - ndtr(-normal) / share, 0.0)
    mean = place.wet_amount(days)
    excess = np.maximum(mean - WET_DAY, 0.1)  # the record's means are far above the threshold
    variation = place.in_month("wet_amount_variation", days) * mean / excess
    shape = variation**-1.086  # of a Weibull distribution with this coefficient of variation (Justus et al. 1978)
    amount = WET_DAY + excess / gamma(1.0 + 1.0 / shape) * (-np.log1p(-rank)) ** (1.0 / shape)
    return wet, np.where(wet, amount, 0.0)


def _correlated(first: Array, second: Array, correlation: Array) -> Array:
    """A normal variable with the given correlation to `first`."""
    return correlation * first + np.sqrt(1.0 - correlation**2) * second


def _beta(normal: Array, mean: Array, deviation: Array) -> Array:
    """Values between 0 and 1 with a beta distribution of this mean and standard deviation."""
    # A beta distribution cannot vary more than this; 0.9 of it keeps the distribution from two spikes at its ends.
    largest = 0.9 * np.sqrt(mean * (1.0 - mean))
    precision = mean * (1.0 - mean) / np.minimum(deviation, largest) ** 2 - 1.0
    return np.asarray(betaincinv(mean * precision, (1.0 - mean) * precision, ndtr(normal)), dtype=np.float64)


def _lognormal(normal: Array, mean: Array, deviation: Array) -> Array:
    """Positive values with a lognormal distribution of this mean and standard deviation."""
    variance = np.log1p((deviation / mean) ** 2)
    return mean * np.exp(np.sqrt(variance) * normal - 0.5 * variance)
