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

    times (overpass,) in any order, or (overpass, cell) where each cell has its own, NaT where it has none; values
    (overpass, cell), NaN where missing. A window without any has NaN, number 0.
    No overpass after the analysis hour enters, so an analysis never sees the future
    (docs/science/observations.md, section 1).
    """
    if values.ndim != 2 or np.shape(times) not in (values.shape, values.shape[:1]):
        raise ObservationInputError(f"values must be (overpass, cell) = ({len(times)}, ...), got {values.shape}")
    valid = np.isfinite(values)
    known = ~np.isnat(times)
    if np.ndim(times) == 2:
        valid &= known
    if not known.any():
        nothing = np.zeros((0, values.shape[1]))
        return WindowMeans(np.array([], dtype="datetime64[s]"), nothing, nothing.astype(np.int64))
    first = window_end(times[known].min(), analysis_hour_utc)
    ends = window_end(np.where(known, times, times[known].min()), analysis_hour_utc)
    window = ((ends - first) // DAY).astype(np.int64)
    total = np.zeros((window.max() + 1, values.shape[1]))
    number = np.zeros(total.shape, dtype=np.int64)
    place = window if window.ndim == 1 else (window, np.broadcast_to(np.arange(values.shape[1]), values.shape))
    np.add.at(total, place, np.where(valid, values, 0.0))
    np.add.at(number, place, valid)
    mean = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return WindowMeans(first + np.arange(total.shape[0]) * DAY, mean, number)


class WindowOverpasses(NamedTuple):
    """Overpasses of windows, rising in time: which of the given (window, overpass, cell), -1 for none; and their times,
    NaT for none."""

    place: NDArray[np.int64]
    time: NDArray[np.datetime64]


def overpasses_of_windows(
    times: NDArray[np.datetime64], ends: NDArray[np.datetime64], analysis_hour_utc: int
) -> WindowOverpasses:
    """The overpasses inside each daily window (end - 24 h, end].

    times (overpass, cell) in any order, NaT where a cell has none; ends (window,), one after the other. The overpass
    axis of the result is as long as the fullest window needs, at least 1.
    """
    seconds = np.asarray(times).astype("datetime64[s]")
    known = ~np.isnat(seconds)
    window = ((window_end(np.where(known, seconds, ends[0]), analysis_hour_utc) - ends[0]) // DAY).astype(np.int64)
    row, cell = np.nonzero(known & (window >= 0) & (window < len(ends)))
    order = np.lexsort((seconds[row, cell], window[row, cell], cell))
    row, cell = row[order], cell[order]
    window = window[row, cell]
    group = cell * len(ends) + window
    begins = np.concatenate([[True], group[1:] != group[:-1]]) if group.size else np.zeros(0, dtype=bool)
    rank = np.arange(group.size) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    shape = (len(ends), int(rank.max(initial=0)) + 1, times.shape[1])
    index, time = np.full(shape, -1, dtype=np.int64), np.full(shape, np.datetime64("NaT", "s"))
    index[window, rank, cell] = row
    time[window, rank, cell] = seconds[row, cell]
    return WindowOverpasses(index, time)
