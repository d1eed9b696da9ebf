"""How much of the open loop's error an experiment removes, how sure that is, and when it does.

The share of the error that is removed is the normalised information contribution (`metrics`): 1 - RMSD / RMSD of the
open loop, or (R - R of the open loop) / (1 - R of the open loop). Its 95 % limits come from drawing the months of the
period with replacement (a block bootstrap: Künsch 1989, doi:10.1214/aos/1176347265). The errors of a month depend on
each other, and so do those of neighbouring cells: a draw takes the same months in all cells. Medians over the cells
are found from counts, which blocks of cells add up.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array, Days, IntArray
from ldas.pipeline.evaluation.metrics import MINIMUM_PAIRS, MINIMUM_PAIRS_R, PERFECT

DRAWS = 250
LEAST_MONTHS = 6  # fewer say too little about how one month differs from another
LIMITS = (0.025, 0.975)
QUARTILES = (0.25, 0.5, 0.75)
_STEP = 0.01
_MOST = 101  # steps: from -1 to 1, and one beyond each end
_BINS = 2 * _MOST + 1
_CELLS_AT_A_TIME = 128


@dataclass
class GainCounts:
    """Cells by their gain, in bins: per draw (series, draw, bin) and per month (series, month, bin)."""

    draws: IntArray
    months: IntArray

    def add(self, other: "GainCounts") -> None:
        """Takes in the cells of another block."""
        self.draws += other.draws
        self.months += other.months

    def dataset(self, days: Days) -> xr.Dataset:
        """Of the domain: limits of the median, `median_low` and `median_high` (series), and quartiles of each month,
        `month_q25`, `month_median` and `month_q75` (series, time)."""
        low, high = _limits(quantiles(self.draws, (0.5,))[..., 0], axis=1)
        by_month = quantiles(self.months, QUARTILES)
        names = ("month_q25", "month_median", "month_q75")
        months = {name: (("series", "time"), by_month[..., place]) for place, name in enumerate(names)}
        return xr.Dataset(
            {"median_low": ("series", low), "median_high": ("series", high), **months},
            coords={"time": np.unique(days.astype("datetime64[M]")).astype("datetime64[s]")},
        )


def gains(model: Array, reference: Array, days: Days, open_loop: int, score: str) -> tuple[Array, GainCounts]:
    """Limits of the gain in each cell, and counts for those of the domain.

    Args:
        model: (series, day, cell); reference: (day, cell). Only days on which the reference is there count.
        open_loop: place of the open loop among the series.
        score: `rmsd` or `r`.

    Returns:
        95 % limits (2, series, cell), NaN for a period of fewer than `LEAST_MONTHS` months with data; counts.
    """
    month = days.astype("datetime64[M]").astype(np.int64)
    starts = np.flatnonzero(np.diff(month, prepend=month[0] - 1))
    weights = _weights(len(starts))
    series, cells = len(model), reference.shape[1]
    limits = np.full((2, series, cells), np.nan)
    counts = GainCounts(np.zeros((series, DRAWS, _BINS), np.int64), np.zeros((series, len(starts), _BINS), np.int64))
    for first in range(0, cells, _CELLS_AT_A_TIME):
        part = slice(first, first + _CELLS_AT_A_TIME)
        sums = _month_sums(model[..., part], reference[:, part], starts)
        by_month = _gain(_score(sums, score), open_loop, score)
        counts.months += _counted(by_month)
        enough = (sums[0, open_loop] > 0).sum(axis=0) >= LEAST_MONTHS
        drawn = _gain(_score(np.einsum("dm,ksmc->ksdc", weights, sums), score), open_loop, score)
        drawn[..., ~enough] = np.nan
        counts.draws += _counted(drawn)
        limits[..., part] = _limits(drawn, axis=1)
    return limits, counts


def _weights(months: int) -> Array:
    """(draw, month): how often each month is drawn; the same for all cells, blocks and variables."""
    equal = np.full(months, 1.0 / months)
    return np.random.default_rng(1989).multinomial(months, equal, size=DRAWS).astype(np.float64)


def _month_sums(model: Array, reference: Array, starts: NDArray[np.intp]) -> Array:
    """Number, sums of m, o, m m, o o and m o (sum, series, month, cell) of the days that both have."""
    there = np.isfinite(reference) & np.isfinite(model)
    with_any = np.isfinite(reference).any(axis=0)
    centre = np.where(with_any, np.nansum(reference, axis=0) / np.maximum(np.isfinite(reference).sum(axis=0), 1), 0.0)
    m = np.where(there, model - centre, 0.0)  # about the mean: differences of large sums lose digits
    o = np.where(there, reference - centre, 0.0)
    parts = (there.astype(np.float64), m, o, m * m, o * o, m * o)
    return np.stack([np.add.reduceat(part, starts, axis=1) for part in parts])


def _score(sums: Array, score: str) -> Array:
    """RMSD or R (series, draw or month, cell) from sums (sum, ...); NaN where too few days, or no spread."""
    number, m, o, mm, oo, mo = sums
    nothing = np.full(number.shape, np.nan)
    if score == "rmsd":
        square = np.maximum(mm - 2.0 * mo + oo, 0.0)
        return np.sqrt(np.divide(square, number, out=nothing, where=number >= MINIMUM_PAIRS))
    spread = np.sqrt(np.maximum(number * mm - m * m, 0.0) * np.maximum(number * oo - o * o, 0.0))
    usable = (number >= MINIMUM_PAIRS_R) & (spread > 0.0)
    return np.clip(np.divide(number * mo - m * o, spread, out=nothing, where=usable), -1.0, 1.0)


def _gain(score: Array, open_loop: int, name: str) -> Array:
    """Share of the open loop's error that is removed, from scores (series, ...); NaN where it has none."""
    distance = PERFECT[name] - score[open_loop]
    nothing = np.full(score.shape, np.nan)
    return np.divide(score - score[open_loop], distance, out=nothing, where=np.isfinite(distance) & (distance != 0.0))


def _limits(values: Array, axis: int) -> Array:
    """95 % limits (2, ...) of the draws along an axis; NaN where a draw has no value."""
    known = np.isfinite(values).all(axis=axis)
    filled = np.where(np.expand_dims(known, axis), values, 0.0)
    return np.where(known, np.quantile(filled, LIMITS, axis=axis), np.nan)


def _counted(gain: Array) -> IntArray:
    """Number of cells (series, draw or month, bin) of gains (series, draw or month, cell); NaN does not count."""
    there = np.isfinite(gain)
    bins = np.clip(np.rint(np.where(there, gain, 0.0) / _STEP), -_MOST, _MOST).astype(np.int64) + _MOST
    rows = np.arange(gain[..., 0].size).reshape(gain.shape[:-1])[..., None] * _BINS
    return np.bincount((rows + bins)[there], minlength=gain[..., 0].size * _BINS).reshape(*gain.shape[:-1], _BINS)


def quantiles(counts: IntArray, parts: tuple[float, ...]) -> Array:
    """Quantiles (..., part) from counts (..., bin), as NumPy's of the bins' middles; NaN where nothing was counted."""
    total = counts.sum(axis=-1)
    up_to = np.cumsum(counts, axis=-1)
    found = np.full((*total.shape, len(parts)), np.nan)
    for place, part in enumerate(parts):
        rank = part * np.maximum(total - 1, 0)
        below, above = ((up_to <= one[..., None]).sum(axis=-1) - _MOST for one in (np.floor(rank), np.ceil(rank)))
        middle = below + (rank - np.floor(rank)) * (above - below)
        found[..., place] = np.where(total > 0, middle * _STEP, np.nan)
    return found
