"""Random numbers that are a function of seed, cell and day alone: no state to store, no dependence on other cells.

An ensemble restarted on any day, in any block of cells, on any worker, draws exactly the numbers it would have drawn
in one go.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ldas.landmodel.array_types import Array

NEGLIGIBLE = 1e-6
"""Weight at which the memory of an autoregressive series is cut."""


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One round of the SplitMix64 generator (Steele et al. 2014, doi:10.1145/2660193.2660195): a bijective hash."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def standard_normal(*keys: ArrayLike) -> Array:
    """Standard normal numbers, one for each combination of the integer keys, which broadcast together."""
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(key, dtype=np.int64)) for key in keys))
    hashed = np.zeros(arrays[0].shape, dtype=np.uint64)
    for array in arrays:
        hashed = _mixed(hashed ^ array.astype(np.uint64))
    # 53 bits, shifted by half a unit so that 0 and 1, where the normal quantile is infinite, cannot occur.
    uniform = ((hashed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(ndtri(uniform))


def autoregressive(
    seed: int, cell_ids: NDArray[np.int64], day: int, members: int, series: Sequence[int], memory_days: float
) -> Array:
    """First-order autoregressive series of unit variance on one day, (cell, member, series).

    The correlation from a day to the next is exp(-1 / memory_days); memory_days = 0 gives white noise. Computed as the
    weighted sum of the white noise of this day and those before, until the weight is negligible (1e-6).
    """
    correlation = np.exp(-1.0 / memory_days) if memory_days > 0.0 else 0.0
    depth = int(np.ceil(np.log(NEGLIGIBLE) / np.log(correlation))) if correlation > 0.0 else 0
    weights = correlation ** np.arange(depth + 1)
    weights /= np.sqrt((weights**2).sum())
    member = np.arange(members)[:, None]
    total = np.zeros((cell_ids.size, members, len(series)))
    for lag, weight in enumerate(weights):
        total += weight * standard_normal(seed, cell_ids[:, None, None], day - lag, member, np.asarray(series))
    return total


def centred(noise: Array) -> Array:
    """Noise (cell, member, ...) without its mean over members, rescaled to keep its expected variance."""
    members = noise.shape[1]
    mean = noise[:, 0].copy()
    for member in range(1, members):
        mean += noise[:, member]
    return np.asarray((noise - (mean / members)[:, None]) * np.sqrt(members / (members - 1)))
