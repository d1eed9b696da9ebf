"""Is the filter consistent with its own error statistics? Diagnostics of innovations and residuals.

All arrays have time first; statistics are over time, separately for every cell (and observation type). NaN is missing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array

LAGS = 10  # of the correlations of innovations: with one a day, ten days
QUINTILES = 5  # of the variances that a filter expects


class InnovationStatistics(NamedTuple):
    """Of innovations over time: number, mean (bias), standard deviation, and correlation from one value to the next.

    An optimal filter has innovations of mean zero, white in time. NaN where there are fewer than two values (three for
    the correlation).
    """

    number: NDArray[np.int64]
    mean: Array
    standard_deviation: Array
    lag_one_correlation: Array


class Desroziers(NamedTuple):
    """Variances in observation space estimated from innovations d_b and residuals d_a (Desroziers et al. 2005).

    observation: <d_a d_b>, what R should be; background: <(d_b - d_a) d_b>, what H B H^T should be; innovation:
    <d_b d_b>, what S should be; number of values. A negative estimate means that the assumptions fail; it is returned
    as it is.
    doi:10.1256/qj.05.108.
    """

    observation: Array
    background: Array
    innovation: Array
    number: NDArray[np.int64]


def _mean(values: Array, number: NDArray[np.int64]) -> Array:
    """Mean over time of values that are zero where missing; NaN without any."""
    total = values.sum(axis=0)
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))


def innovation_statistics(innovation: Array) -> InnovationStatistics:
    """Statistics of innovations (time, ...)."""
    there = np.isfinite(innovation)
    number = there.sum(axis=0)
    mean = _mean(np.where(there, innovation, 0.0), number)
    variance = _mean(np.where(there, innovation - mean, 0.0) ** 2, number)
    deviation = np.where(number >= 2, np.sqrt(variance), np.nan)
    return InnovationStatistics(number, mean, deviation, lag_correlations(innovation, 1)[0])


def lag_correlations(innovation: Array, lags: int = LAGS) -> Array:
    """Correlation of each value with the one 1, 2, ... `lags` values before it, (time, ...) -> (lag, ...).

    White innovations of number n have correlations of mean zero and standard deviation n^-1/2. NaN where there are
    fewer values than the lag and two, or no spread.
    """
    there = np.isfinite(innovation)
    mean = _mean(np.where(there, innovation, 0.0), there.sum(axis=0))
    lagged = np.full((lags, *mean.shape), np.nan)
    for place in np.ndindex(mean.shape):
        here = (slice(None), *place)
        series = (innovation[here] - mean[place])[there[here]]
        total = (series**2).sum()
        if total > 0.0:
            for lag in range(1, min(lags, series.size - 2) + 1):
                lagged[(lag - 1, *place)] = (series[lag:] * series[:-lag]).sum() / total
    return lagged


def desroziers(innovation: Array, linear_residual: Array) -> Desroziers:
    """Consistency estimates from innovations and `linear_residual` (d - H dx) of used observations (time, ...).

    The residual must be the linear one: an SEKF adds at the window's end the increment that belongs to its start, so
    that the residual against the analysed state obeys other statistics.
    """
    there = np.isfinite(innovation) & np.isfinite(linear_residual)
    d_b, d_a = np.where(there, innovation, 0.0), np.where(there, linear_residual, 0.0)
    number = there.sum(axis=0)
    return Desroziers(_mean(d_a * d_b, number), _mean((d_b - d_a) * d_b, number), _mean(d_b * d_b, number), number)


def estimated_error(
    estimate: Desroziers, default: float, minimum_number: int = 100, bounds: tuple[float, float] = (0.5, 2.0)
) -> Array:
    """sigma_o per cell from Desroziers' estimate, for `ObservationError("absolute", ...)`.

    Kept between bounds[0] and bounds[1] times the default, because the estimate is only as good as B; the default
    itself where there are fewer than `minimum_number` values or the estimate is not positive.
    """
    trusted = (estimate.number >= minimum_number) & (estimate.observation > 0.0)
    sigma = np.sqrt(np.where(trusted, estimate.observation, default**2))
    return np.clip(sigma, bounds[0] * default, bounds[1] * default)


def chi_square_ratio(chi_square: Array, used_count: NDArray[np.int64]) -> Array:
    """Sum of d^T S^-1 d over the number of observations, per cell (time, cell) -> (cell,).

    1 for consistent errors; above 1 they are too small, below 1 too large. NaN without observations.
    """
    there = np.isfinite(chi_square) & (used_count > 0)
    return _mean(np.where(there, chi_square, 0.0), np.where(there, used_count, 0).sum(axis=0))


class SpreadAndSkill(NamedTuple):
    """The error of forecasts that a filter expects, and the one that innovations show, in observation space.

    spread: root of the mean H B H^T (of an ensemble: of its variance); skill: root of the mean of d^2 - R, equal to the
    spread where a filter knows its errors, NaN where the mean is negative; number of values. expected, found: roots of
    the mean S and of the mean d^2, (quintile, ...), of the values sorted by S, the smallest first.
    """

    spread: Array
    skill: Array
    number: NDArray[np.int64]
    expected: Array
    found: Array


def spread_and_skill(innovation: Array, chi_square: Array, degrees_of_freedom: Array) -> SpreadAndSkill:
    """Spread against skill, from innovations d of windows with a single used observation, (time, ...).

    There chi-square is d^2 / S and the degrees of freedom are H B H^T / S, so that both variances follow from what a
    run stores.

    Args:
        innovation: d, NaN where it was not used or not alone.
        chi_square: of the window.
        degrees_of_freedom: of the observation.
    """
    there = np.isfinite(innovation) & np.isfinite(degrees_of_freedom) & (innovation != 0.0) & (chi_square > 0.0)
    d2 = np.where(there, innovation, 0.0) ** 2
    total = np.divide(d2, chi_square, out=np.zeros(d2.shape), where=there)
    forecast = total * np.where(there, degrees_of_freedom, 0.0)
    number = there.sum(axis=0)
    spread, skill = (_mean(values, number) for values in (forecast, d2 - (total - forecast)))
    quintiles = np.full((2, QUINTILES, *number.shape), np.nan)
    for place in np.ndindex(number.shape):
        here = there[(slice(None), *place)]
        S, squares = (values[(slice(None), *place)][here] for values in (total, d2))
        for quintile, chosen in enumerate(np.array_split(np.argsort(S, kind="stable"), QUINTILES)):
            if chosen.size:
                quintiles[(slice(None), quintile, *place)] = S[chosen].mean(), squares[chosen].mean()
    skill = np.sqrt(np.where(skill >= 0.0, skill, np.nan))
    return SpreadAndSkill(np.sqrt(spread), skill, number, *np.sqrt(quintiles))


def mean_degrees_of_freedom(degrees_of_freedom: Array, used: NDArray[np.bool_]) -> Array:
    """Mean degrees of freedom for signal of a used observation, from 0 (no influence) to 1, (time, ...) -> (...).

    The diagonal of H K (Cardinali et al. 2004, doi:10.1256/qj.03.205), summed over an observation type's values it is
    the number of independent pieces of information drawn from them.
    """
    return _mean(np.where(used, degrees_of_freedom, 0.0), used.sum(axis=0))
