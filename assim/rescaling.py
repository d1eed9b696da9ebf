"""Rescaling of an observed quantity to the model's climatology, season by season.

Statistics are taken for each calendar month from the months around it (3 by default), over the days on which both
observation and model have a value, and belong to one cell. The period is the caller's choice: what is given.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.assim.errors import ObservationInputError
from ldas.landmodel.array_types import Array

PERCENTILES = (0.0, 5.0, 10.0, 30.0, 50.0, 70.0, 90.0, 95.0, 100.0)


class SeasonalMoments(NamedTuple):
    """Mean and standard deviation of observation and model, and number of pairs, each (12, cell); NaN for too few."""

    observation_mean: Array
    observation_deviation: Array
    model_mean: Array
    model_deviation: Array
    pairs: NDArray[np.int64]

    @property
    def slope(self) -> Array:
        """sd_m / sd_o (12, cell), which also scales errors; 0 where the observation does not vary."""
        varies = self.observation_deviation != 0.0  # NaN where there were too few pairs, and so in the slope
        return np.divide(
            self.model_deviation, self.observation_deviation, out=np.zeros_like(self.model_deviation), where=varies
        )


class SeasonalQuantiles(NamedTuple):
    """Quantiles of observation and model (12, cell, percentile) and number of pairs (12, cell); NaN for too few."""

    observation: Array
    model: Array
    pairs: NDArray[np.int64]


def _months_around(month: int, window_months: int) -> NDArray[np.int64]:
    """Calendar months (1-12) of a window centred on a month."""
    half = window_months // 2
    return (np.arange(month - half, month + half + 1) - 1) % 12 + 1


def _pairs(observation: Array, model: Array, months: NDArray[np.int64], window_months: int) -> tuple[Array, Array]:
    """Observation and model (time, cell), NaN where not both are there; checks of shapes and options."""
    if observation.ndim != 2 or observation.shape != model.shape or months.shape != observation.shape[:1]:
        raise ObservationInputError(
            f"observation and model must both be (time, cell) with one month a time, got {observation.shape}, "
            f"{model.shape} and {months.shape}"
        )
    if window_months not in (1, 3, 5, 7, 9, 11):
        raise ObservationInputError(f"window_months must be an odd number from 1 to 11, got {window_months}")
    if months.size and not ((months >= 1) & (months <= 12)).all():
        raise ObservationInputError(f"months go from 1 to 12, got {months.min()} to {months.max()}")
    both = np.isfinite(observation) & np.isfinite(model)
    return np.where(both, observation, np.nan), np.where(both, model, np.nan)


def seasonal_moments(
    observation: Array,
    model: Array,
    months: NDArray[np.int64],
    window_months: int = 3,
    minimum_pairs: int = 20,
) -> SeasonalMoments:
    """Statistics for `linearly_rescaled`: observation and model (time, cell), months (time,) from 1 to 12."""
    observed, modelled = _pairs(observation, model, months, window_months)
    moments = np.full((4, 12, observation.shape[1]), np.nan)
    pairs = np.zeros((12, observation.shape[1]), dtype=np.int64)
    for month in range(1, 13):
        season = np.isin(months, _months_around(month, window_months))
        pairs[month - 1] = np.isfinite(observed[season]).sum(axis=0)
        enough = pairs[month - 1] >= max(minimum_pairs, 1)
        if not enough.any():
            continue
        for row, values in ((0, observed[season][:, enough]), (2, modelled[season][:, enough])):
            # The deviation of a constant is zero, where its formula may leave a rounding error to divide by.
            varies = np.nanmax(values, axis=0, initial=-np.inf) > np.nanmin(values, axis=0, initial=np.inf)
            moments[row, month - 1, enough] = np.nanmean(values, axis=0)
            moments[row + 1, month - 1, enough] = np.where(varies, np.nanstd(values, axis=0), 0.0)
    return SeasonalMoments(moments[0], moments[1], moments[2], moments[3], pairs)


def linearly_rescaled(observation: Array, months: NDArray[np.int64], moments: SeasonalMoments) -> Array:
    """y' = mu_m + (y - mu_o) sd_m / sd_o, month by month (time, cell); the model's mean where sd_o = 0.

    NaN where the observation is missing or its month had too few pairs.
    """
    season = months - 1
    anomaly = observation - moments.observation_mean[season]
    return np.asarray(moments.model_mean[season] + anomaly * moments.slope[season])


def seasonal_quantiles(
    observation: Array,
    model: Array,
    months: NDArray[np.int64],
    window_months: int = 3,
    minimum_pairs: int = 100,
    percentiles: tuple[float, ...] = PERCENTILES,
) -> SeasonalQuantiles:
    """Statistics for `cdf_matched`: quantiles with Hazen's plotting positions (rank - 0.5) / n."""
    observed, modelled = _pairs(observation, model, months, window_months)
    shape = (12, observation.shape[1], len(percentiles))
    quantiles = {"observation": np.full(shape, np.nan), "model": np.full(shape, np.nan)}
    pairs = np.zeros(shape[:2], dtype=np.int64)
    for month in range(1, 13):
        season = np.isin(months, _months_around(month, window_months))
        pairs[month - 1] = np.isfinite(observed[season]).sum(axis=0)
        for cell in np.nonzero(pairs[month - 1] >= max(minimum_pairs, 1))[0]:
            present = season & np.isfinite(observed[:, cell])
            for name, values in (("observation", observed), ("model", modelled)):
                quantiles[name][month - 1, cell] = np.percentile(values[present, cell], percentiles, method="hazen")
    return SeasonalQuantiles(quantiles["observation"], quantiles["model"], pairs)


def cdf_matched(observation: Array, months: NDArray[np.int64], quantiles: SeasonalQuantiles) -> Array:
    """Observation (time, cell) moved to the model's distribution (Reichle and Koster 2004, doi:10.1029/2004GL020938).

    Linear between the quantiles, and along the first and last piece beyond them. NaN where the observation is missing
    or its month had too few pairs.
    """
    matched = np.full(observation.shape, np.nan)
    for month in range(1, 13):
        times = np.nonzero(months == month)[0]
        for cell in range(observation.shape[1]):
            source, target = quantiles.observation[month - 1, cell], quantiles.model[month - 1, cell]
            if np.isfinite(source).all():
                matched[times, cell] = _piecewise_linear(observation[times, cell], source, target)
    return matched


def _piecewise_linear(x: Array, source: Array, target: Array) -> Array:
    """Linear interpolation and extrapolation; equal sources (a quantity with steps) share the mean of their targets."""
    nodes, inverse, counts = np.unique(source, return_inverse=True, return_counts=True)
    values = np.bincount(inverse, weights=target) / counts
    if nodes.size == 1:
        return np.where(np.isfinite(x), values[0], np.nan)
    piece = np.clip(np.searchsorted(nodes, x) - 1, 0, nodes.size - 2)
    slope = np.diff(values) / np.diff(nodes)
    return np.asarray(values[piece] + slope[piece] * (x - nodes[piece]))
