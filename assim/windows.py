"""Observations before the filter: soil water index from surface wetness, and means of overpasses over windows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.assim.errors import ObservationInputError
from ldas.landmodel.array_types import Array

DAY = np.timedelta64(24, "h")


def exponential_filter(
    wetness: Array, time_days: Array, time_constant_days: float = 1.0, restart_after_days: float = 12.0
) -> Array:
    """Soil water index SWI from surface wetness by the recursive exponential filter (Albergel et al. 2008, eqs 3, 4).

    SWI_n = SWI_n-1 + K_n (m_n - SWI_n-1), K_n = K_n-1 / (K_n-1 + exp(-(t_n - t_n-1) / T)), K_0 = 1, SWI_0 = m_0.
    doi:10.5194/hess-12-1323-2008. T = 1 day gives SWI-001.

    wetness (time, cell), NaN where missing (and there in the result too); time_days (time,) in days, rising. After a
    gap of more than `restart_after_days` the filter restarts (this project's choice).

    Raises:
        ObservationInputError: shapes that differ, or days that do not increase.
    """
    days = np.asarray(time_days, dtype=np.float64)
    if wetness.ndim != 2 or days.shape != wetness.shape[:1]:
        raise ObservationInputError(f"wetness must be (time, cell) = ({days.size}, ...), got {wetness.shape}")
    if not (time_constant_days > 0.0 and restart_after_days > 0.0):
        raise ObservationInputError(
            f"time constant and longest gap must be positive, got {time_constant_days} and {restart_after_days} days"
        )
    if days.size > 1 and not (np.diff(days) > 0.0).all():
        position = int(np.argmin(np.diff(days) > 0.0))
        raise ObservationInputError(
            f"times must rise, but {days[position + 1]} follows {days[position]} at position {position + 1}; sort them"
        )
    index = np.full(wetness.shape, np.nan)
    value, gain = np.zeros(wetness.shape[1]), np.ones(wetness.shape[1])
    last = np.full(wetness.shape[1], -np.inf)
    for n, day in enumerate(days):
        seen = np.isfinite(wetness[n])
        elapsed = day - last[seen]
        anew = elapsed > restart_after_days
        weight = np.where(anew, 1.0, gain[seen] / (gain[seen] + np.exp(-elapsed / time_constant_days)))
        before = np.where(anew, wetness[n, seen], value[seen])
        value[seen] = before + weight * (wetness[n, seen] - before)
        gain[seen], last[seen] = weight, day
        index[n, seen] = value[seen]
    return index


class WindowMeans(NamedTuple):
    """Means of the overpasses in windows: end (window,), the analysis times; mean and number (window, cell)."""

    end: NDArray[np.datetime64]
    mean: Array
    number: NDArray[np.int64]


def window_end(times: NDArray[np.datetime64], analysis_hour_utc: int) -> NDArray[np.datetime64]:
    """End of the window (t0, t0 + 24 h] that each time lies in; a time at the analysis hour ends its window."""
    seconds = np.asarray(times).astype("datetime64[s]")
    shift = np.timedelta64(analysis_hour_utc, "h").astype("timedelta64[s]")
    midnight = (seconds - shift).astype("datetime64[D]").astype("datetime64[s]")
    begins_at_midnight = seconds - shift == midnight
    return np.asarray(midnight + shift + np.where(begins_at_midnight, 0, 1) * DAY)


def window_means(times: NDArray[np.datetime64], values: Array, analysis_hour_utc: int) -> WindowMeans:
    """Means of the valid overpasses in each daily window, from the first window with an overpass to the last.

    times (overpass,) in any order; values (overpass, cell), NaN where missing. A window without any has NaN, number 0.
    No overpass after the analysis hour enters, so an analysis never sees the future
    (docs/science/observations.md, section 1).
    """
    if values.ndim != 2 or np.shape(times) != values.shape[:1]:
        raise ObservationInputError(f"values must be (overpass, cell) = ({np.size(times)}, ...), got {values.shape}")
    if np.size(times) == 0:
        nothing = np.zeros((0, values.shape[1]))
        return WindowMeans(np.array([], dtype="datetime64[s]"), nothing, nothing.astype(np.int64))
    ends = window_end(times, analysis_hour_utc)
    window = ((ends - ends.min()) // DAY).astype(np.int64)
    valid = np.isfinite(values)
    total = np.zeros((window.max() + 1, values.shape[1]))
    number = np.zeros(total.shape, dtype=np.int64)
    np.add.at(total, window, np.where(valid, values, 0.0))
    np.add.at(number, window, valid)
    mean = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return WindowMeans(ends.min() + np.arange(total.shape[0]) * DAY, mean, number)
