"""Scores of a model series against a reference series, on xarray of any chunks.

Both series may have any dimensions; `dim` (time) is the one that is summed over. Pairs in which one of the two is
missing (NaN) are left out, here and nowhere else, so that all scores of a place are of the same pairs. A place with
fewer than `minimum` pairs is NaN; so are scores that need a spread where a series does not vary. Chunked input gives
lazy output: chunks along `dim` are merged, chunks along the others stay, and no value depends on them.

Definitions as in Corchia et al. (2023, doi:10.3390/rs15174258), section 2.6, with m the model and o the reference:
bias = mean(m - o), RMSD = sqrt(mean((m - o)^2)), ubRMSD = sqrt(RMSD^2 - bias^2), R = Pearson's correlation.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array

MINIMUM_PAIRS = 2  # a mean difference of a single day says nothing about a place
MINIMUM_PAIRS_R = 10  # of a correlation; the paper states none (docs/science/observations.md, section 6)
ANOMALY_WINDOW_DAYS = 35.0  # five weeks: Albergel et al. (2009), doi:10.5194/hess-13-115-2009
ANOMALY_MINIMUM_IN_WINDOW = 5
_VALUES_AT_A_TIME = 1 << 16  # 512 kB: what is worked out in between stays in the cache of a processor
CONFIDENCE_QUANTILE = 1.959963984540054  # standard normal, two-sided 95 %
SCORE_NAMES = ("n", "bias", "rmsd", "ubrmsd", "r", "r_low", "r_high", "n_effective", "anomaly_r", "kge")


class _Moments(NamedTuple):
    """Of the pairs along the last axis: number, means, variances (population), covariance, mean squared difference."""

    number: Array
    model_mean: Array
    reference_mean: Array
    model_variance: Array
    reference_variance: Array
    covariance: Array
    squared_difference: Array


def _paired(model: Array, reference: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    both = np.broadcast_arrays(np.asarray(model, dtype=np.float64), np.asarray(reference, dtype=np.float64))
    # In memory order: NumPy adds up along a contiguous axis in another order than along a strided one.
    m, o = (np.ascontiguousarray(values) for values in both)
    return m, o, np.isfinite(m) & np.isfinite(o)


def _mean(values: Array, number: Array) -> Array:
    """Mean along the last axis of values that are zero where they do not count; NaN without any."""
    total = values.sum(axis=-1)
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))


def _variance(anomaly: Array, mean: Array, values: Array, paired: NDArray[np.bool_], number: Array) -> Array:
    """Population variance; exactly 0 for a constant series, whose computed mean may differ from it in the last bits."""
    variance = _mean(anomaly**2, number)
    doubtful = variance <= 1e-16 * mean**2  # no more than rounding: these alone may be constant
    counts, some = paired[doubtful], values[doubtful]
    lowest = np.where(counts, some, np.inf).min(axis=-1, initial=np.inf)
    highest = np.where(counts, some, -np.inf).max(axis=-1, initial=-np.inf)
    variance[doubtful] = np.where(lowest == highest, 0.0, variance[doubtful])
    return variance


def _moments(model: Array, reference: Array) -> _Moments:
    m, o, paired = _paired(model, reference)
    number = paired.sum(axis=-1).astype(np.float64)
    filled_m, filled_o = np.where(paired, m, 0.0), np.where(paired, o, 0.0)
    mean_m, mean_o = _mean(filled_m, number), _mean(filled_o, number)
    anomaly_m = np.where(paired, m - mean_m[..., None], 0.0)
    anomaly_o = np.where(paired, o - mean_o[..., None], 0.0)
    return _Moments(
        number,
        mean_m,
        mean_o,
        _variance(anomaly_m, mean_m, m, paired, number),
        _variance(anomaly_o, mean_o, o, paired, number),
        _mean(anomaly_m * anomaly_o, number),
        _mean((filled_m - filled_o) ** 2, number),
    )


def _where(condition: NDArray[np.bool_], values: Array) -> Array:
    return np.where(condition, values, np.nan)


def _bias(moments: _Moments, minimum: int) -> Array:
    return _where(moments.number >= minimum, moments.model_mean - moments.reference_mean)


def _rmsd(moments: _Moments, minimum: int) -> Array:
    return _where(moments.number >= minimum, np.sqrt(moments.squared_difference))


def _ubrmsd(moments: _Moments, minimum: int) -> Array:
    bias = moments.model_mean - moments.reference_mean
    # Rounding can leave a difference of two equal numbers just below zero.
    return _where(moments.number >= minimum, np.sqrt(np.maximum(moments.squared_difference - bias**2, 0.0)))


def _correlation(moments: _Moments, minimum: int) -> Array:
    spread = np.sqrt(moments.model_variance * moments.reference_variance)
    usable = (moments.number >= minimum) & (spread > 0.0)
    ratio = np.divide(moments.covariance, spread, out=np.full(spread.shape, np.nan), where=usable)
    return np.clip(ratio, -1.0, 1.0)  # rounding can pass 1 for series that are multiples of each other


def _kling_gupta(moments: _Moments, minimum: int) -> Array:
    r = _correlation(moments, minimum)
    usable = np.isfinite(r) & (moments.reference_mean != 0.0)
    nothing = np.full(r.shape, np.nan)
    ratio = np.divide(moments.model_variance, moments.reference_variance, out=nothing.copy(), where=usable)
    beta = np.divide(moments.model_mean, moments.reference_mean, out=nothing.copy(), where=usable)
    return 1.0 - np.sqrt((r - 1.0) ** 2 + (np.sqrt(ratio) - 1.0) ** 2 + (beta - 1.0) ** 2)


def _together(values: Array, paired: NDArray[np.bool_]) -> Array:
    """Values that count, moved to the front of the last axis in their order; NaN behind them."""
    front = np.arange(values.shape[-1]) < paired.sum(axis=-1)[..., None]
    together = np.full(values.shape, np.nan)
    together[front] = values[paired]
    return together


def _lag_one(values: Array, paired: NDArray[np.bool_]) -> Array:
    """Correlation of each value with the next one there is."""
    series = _together(values, paired)
    return _correlation(_moments(series[..., 1:], series[..., :-1]), minimum=2)


def _effective_sample_size(model: Array, reference: Array, minimum: int) -> Array:
    m, o, paired = _paired(model, reference)
    number = paired.sum(axis=-1).astype(np.float64)
    product = _lag_one(m, paired) * _lag_one(o, paired)
    with np.errstate(divide="ignore"):
        effective = number * (1.0 - product) / (1.0 + product)
    # Series that alternate would count for more than they are, or for infinitely many; they do not.
    return _where(number >= minimum, np.minimum(effective, number))


def _interval(r: Array, effective: Array) -> tuple[Array, Array]:
    """95 % limits of a correlation by Fisher's transformation."""
    usable = effective > 3.0
    nothing = np.full(r.shape, np.nan)
    half = CONFIDENCE_QUANTILE / np.sqrt(np.subtract(effective, 3.0, out=nothing.copy(), where=usable))
    inside = np.abs(r) < 1.0
    z = np.arctanh(r, out=nothing.copy(), where=inside)
    low, high = np.tanh(z - half), np.tanh(z + half)
    exact = usable & (np.abs(r) == 1.0)
    return np.where(exact, r, low), np.where(exact, r, high)


def _window_sums(values: Array | NDArray[np.bool_], first: NDArray[np.intp], last: NDArray[np.intp]) -> Array:
    """Sum of the values in [first, last) of the last axis."""
    running = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=running[..., 1:])
    return np.take(running, last, axis=-1) - np.take(running, first, axis=-1)


def _anomaly_correlation(model: Array, reference: Array, days: Array, minimum: int) -> Array:
    m, o, paired = _paired(model, reference)
    half = ANOMALY_WINDOW_DAYS / 2.0
    first = np.searchsorted(days, days - half, side="left")
    last = np.searchsorted(days, days + half, side="right")
    inside = _window_sums(paired, first, last)
    usable = paired & (inside >= ANOMALY_MINIMUM_IN_WINDOW)

    def anomalies(values: Array) -> Array:
        """Departures from the moving mean of the values that count; NaN where a window has too few of them."""
        overall = _mean(np.where(paired, values, 0.0), paired.sum(axis=-1).astype(np.float64))[..., None]
        total = _window_sums(np.where(paired, values - overall, 0.0), first, last)
        return _where(usable, values - (total / np.maximum(inside, 1.0) + overall))

    return _correlation(_moments(anomalies(m), anomalies(o)), minimum)


def _days(time: xr.DataArray) -> Array:
    """Times as days since the first; NaT is refused by NumPy's comparison in `searchsorted`, so times must be whole."""
    values = time.values
    if values.dtype.kind == "M":
        return np.asarray((values - values[:1]) / np.timedelta64(1, "s") / 86400.0, dtype=np.float64)
    return np.asarray(values, dtype=np.float64)


def _common(*series: xr.DataArray) -> tuple[xr.DataArray, ...]:
    """The series at the coordinates that all have; in memory where there are none, as Dask divides by their number."""
    common = xr.align(*series, join="inner")
    return common if all(one.size for one in common) else tuple(one.compute() for one in common)


def _apply(
    kernel: Callable[[Array, Array], Array],
    model: xr.DataArray,
    reference: xr.DataArray,
    dim: str,
    name: str,
    **attributes: str,
) -> xr.DataArray:
    result = xr.apply_ufunc(
        kernel,
        *_common(model, reference),
        input_core_dims=[[dim], [dim]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )
    assert isinstance(result, xr.DataArray)
    return result.rename(name).assign_attrs({key: value for key, value in attributes.items() if value})


def _unit(*arrays: xr.DataArray) -> str:
    return next((str(array.attrs["units"]) for array in arrays if "units" in array.attrs), "")


def sample_size(model: xr.DataArray, reference: xr.DataArray, dim: str = "time") -> xr.DataArray:
    """N: number of pairs."""
    return _apply(lambda m, o: _moments(m, o).number, model, reference, dim, "n", units="1", long_name="pairs")


def bias(model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS) -> xr.DataArray:
    """Mean of model minus reference."""
    return _apply(
        lambda m, o: _bias(_moments(m, o), minimum), model, reference, dim, "bias", units=_unit(model, reference)
    )


def rmsd(model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS) -> xr.DataArray:
    """Root mean square difference."""
    return _apply(
        lambda m, o: _rmsd(_moments(m, o), minimum), model, reference, dim, "rmsd", units=_unit(model, reference)
    )


def unbiased_rmsd(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS
) -> xr.DataArray:
    """Root mean square difference after the bias is taken off."""
    return _apply(
        lambda m, o: _ubrmsd(_moments(m, o), minimum), model, reference, dim, "ubrmsd", units=_unit(model, reference)
    )


def correlation(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS_R
) -> xr.DataArray:
    """Pearson's correlation R."""
    return _apply(lambda m, o: _correlation(_moments(m, o), minimum), model, reference, dim, "r", units="1")


def effective_sample_size(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS_R
) -> xr.DataArray:
    """Number of independent pairs, n (1 - a b) / (1 + a b), a and b the correlation from one value to the next.

    Bretherton et al. (1999), doi:10.1175/1520-0442(1999)012<1990:TENOSD>2.0.CO;2, equation 31; at most n.
    """
    return _apply(lambda m, o: _effective_sample_size(m, o, minimum), model, reference, dim, "n_effective", units="1")


def correlation_interval(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS_R
) -> xr.Dataset:
    """95 % limits `r_low`, `r_high` of R, by Fisher's transformation with the effective sample size."""
    return scores(model, reference, dim, names=("r_low", "r_high"), minimum_r=minimum)


def anomaly_correlation(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS_R
) -> xr.DataArray:
    """R of the departures of both series from their five-week moving means (centred, at least five values)."""
    days = _days(xr.align(model[dim], reference[dim], join="inner")[0])
    return _apply(lambda m, o: _anomaly_correlation(m, o, days, minimum), model, reference, dim, "anomaly_r", units="1")


def kling_gupta(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", minimum: int = MINIMUM_PAIRS_R
) -> xr.DataArray:
    """Kling-Gupta efficiency 1 - sqrt((R - 1)^2 + (sd_m / sd_o - 1)^2 + (mean_m / mean_o - 1)^2).

    Gupta et al. (2009), doi:10.1016/j.jhydrol.2009.08.003, equation 9. Of use for quantities whose zero means none.
    """
    return _apply(lambda m, o: _kling_gupta(_moments(m, o), minimum), model, reference, dim, "kge", units="1")


def _all_scores(
    model: Array, reference: Array, days: Array, names: tuple[str, ...], minimum: int, minimum_r: int
) -> Array:
    """Scores (..., score) of series (..., time), in the order of `names`."""
    moments = _moments(model, reference)
    parts = {
        "n": moments.number,
        "bias": _bias(moments, minimum),
        "rmsd": _rmsd(moments, minimum),
        "ubrmsd": _ubrmsd(moments, minimum),
        "r": _correlation(moments, minimum_r),
        "kge": _kling_gupta(moments, minimum_r),
    }
    if {"n_effective", "r_low", "r_high"} & set(names):
        parts["n_effective"] = _effective_sample_size(model, reference, minimum_r)
        parts["r_low"], parts["r_high"] = _interval(parts["r"], parts["n_effective"])
    if "anomaly_r" in names:
        parts["anomaly_r"] = _anomaly_correlation(model, reference, days, minimum_r)
    return np.stack([parts[name] for name in names], axis=-1)


def _grouped(
    model: xr.DataArray,
    reference: xr.DataArray,
    dim: str,
    groups: list[NDArray[np.intp]] | None,
    names: tuple[str, ...],
    minimum: int,
    minimum_r: int,
) -> xr.DataArray:
    """Scores (..., [group,] score), of all times or of each group of places on the time axis."""
    days = _days(model[dim])

    def of_rows(m: Array, o: Array, days: Array) -> Array:
        """Scores (row, score) of series (row, time)."""
        step = max(1, _VALUES_AT_A_TIME // max(1, len(days)))
        parts = [slice(start, start + step) for start in range(0, max(1, len(m)), step)]
        return np.concatenate([_all_scores(m[part], o[part], days, names, minimum, minimum_r) for part in parts])

    def kernel(model: Array, reference: Array) -> Array:
        m, o, _ = _paired(model, reference)
        shape = m.shape[:-1]
        m, o = (values.reshape(math.prod(shape), len(days)) for values in (m, o))
        if groups is None:
            return of_rows(m, o, days).reshape(*shape, len(names))
        found = [of_rows(m[:, g], o[:, g], days[g]) for g in groups]
        return np.stack(found, axis=-2).reshape(*shape, len(groups), len(names))

    sizes = {"score": len(names)} if groups is None else {"group": len(groups), "score": len(names)}
    stacked = xr.apply_ufunc(
        kernel,
        model,
        reference,
        input_core_dims=[[dim], [dim]],
        output_core_dims=[list(sizes)],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"allow_rechunk": True, "output_sizes": sizes},
    )
    assert isinstance(stacked, xr.DataArray)
    return stacked


def _as_dataset(stacked: xr.DataArray, names: tuple[str, ...], unit: str) -> xr.Dataset:
    units = {name: unit if name in ("bias", "rmsd", "ubrmsd") else "1" for name in names}
    return xr.Dataset(
        {
            name: stacked.isel(score=index).assign_attrs({"units": units[name]} if units[name] else {})
            for index, name in enumerate(names)
        }
    )


def scores(
    model: xr.DataArray,
    reference: xr.DataArray,
    dim: str = "time",
    *,
    names: tuple[str, ...] = SCORE_NAMES,
    minimum: int = MINIMUM_PAIRS,
    minimum_r: int = MINIMUM_PAIRS_R,
) -> xr.Dataset:
    """Several scores at once (default: all of `SCORE_NAMES`), each as its own function gives it."""
    model, reference = _common(model, reference)
    stacked = _grouped(model, reference, dim, None, names, minimum, minimum_r)
    return _as_dataset(stacked, names, _unit(model, reference))


def scores_by(
    model: xr.DataArray,
    reference: xr.DataArray,
    groups: xr.DataArray,
    *,
    dim: str = "time",
    labels: tuple[int, ...] | None = None,
    names: tuple[str, ...] = SCORE_NAMES,
    minimum: int = MINIMUM_PAIRS,
    minimum_r: int = MINIMUM_PAIRS_R,
) -> xr.Dataset:
    """Scores of each group of times separately, along a new dimension named as `groups` (such as `time.dt.month`).

    Args:
        groups: (dim,) integers.
        labels: groups that the result has, in order (default: those that occur); one without a pair is NaN with n = 0.
    """
    model, reference, groups = _common(model, reference, groups)
    values = groups.values
    wanted = tuple(int(value) for value in np.unique(values)) if labels is None else labels
    places = [np.flatnonzero(values == label) for label in wanted]
    stacked = _grouped(model, reference, dim, places, names, minimum, minimum_r).rename(group=str(groups.name))
    return _as_dataset(stacked, names, _unit(model, reference)).assign_coords({str(groups.name): list(wanted)})


def scores_by_month(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", names: tuple[str, ...] = SCORE_NAMES
) -> xr.Dataset:
    """Scores per calendar month (`month` 1..12), all years together."""
    month = xr.align(model[dim], reference[dim], join="inner")[0].dt.month.rename("month")
    return scores_by(model, reference, month, dim=dim, labels=tuple(range(1, 13)), names=names)


SEASONS = ("DJF", "MAM", "JJA", "SON")


def scores_by_season(
    model: xr.DataArray, reference: xr.DataArray, dim: str = "time", names: tuple[str, ...] = SCORE_NAMES
) -> xr.Dataset:
    """Scores per meteorological season (`season` 0..3 as in `SEASONS`), all years together."""
    month = xr.align(model[dim], reference[dim], join="inner")[0].dt.month
    season = ((month % 12) // 3).rename("season")
    return scores_by(model, reference, season, dim=dim, labels=(0, 1, 2, 3), names=names)


def normalised_information_contribution(
    score: xr.DataArray, open_loop: xr.DataArray, *, perfect: float
) -> xr.DataArray:
    """What share of the open loop's distance from a perfect score an experiment removes: 1 all, 0 none, below 0 worse.

    (score - open_loop) / (perfect - open_loop), with `perfect` 1 for correlations and efficiencies, 0 for RMSD. Kumar
    et al. (2009), doi:10.1175/2009JHM1114.1. NaN where the open loop is perfect already.
    """
    distance = perfect - open_loop
    return ((score - open_loop) / distance.where(distance != 0.0)).rename("nic").assign_attrs(units="1")


PERFECT = {"r": 1.0, "rmsd": 0.0}


def information_contributions(found: xr.Dataset, open_loop: int) -> xr.Dataset:
    """`nic_r` and `nic_rmsd` of every series of scores, as far as `r` and `rmsd` are there.

    Args:
        open_loop: place of the open loop along `series`.
    """
    return xr.Dataset(
        {
            f"nic_{name}": normalised_information_contribution(
                found[name], found[name].isel(series=open_loop), perfect=perfect
            )
            for name, perfect in PERFECT.items()
            if name in found
        }
    )


def by_dominant_patch(score: xr.DataArray, patch_fraction: xr.DataArray) -> xr.Dataset:
    """Number of cells, median and quartiles of a per-cell score over the cells of each dominant patch.

    Args:
        score: (..., cell).
        patch_fraction: (cell, patch).

    Returns:
        `cells`, `median`, `q25` and `q75`, (..., patch).
    """
    dominant = patch_fraction.fillna(0.0).argmax("patch").values
    parts = []
    for patch in range(patch_fraction.sizes["patch"]):
        chosen = score.isel(cell=np.flatnonzero(dominant == patch))
        quantiles = xr.apply_ufunc(
            _quantiles, chosen, input_core_dims=[["cell"]], output_core_dims=[["quantile"]], output_dtypes=[np.float64]
        )
        part = {name: quantiles.isel(quantile=index) for index, name in enumerate(("q25", "median", "q75"))}
        parts.append(xr.Dataset({"cells": chosen.notnull().sum("cell"), **part}))
    numbers = xr.DataArray(np.arange(1, len(parts) + 1), dims="patch", name="patch")
    return xr.concat(parts, dim=numbers).transpose(..., "patch")


def _quantiles(values: Array) -> Array:
    """Quartiles (..., 3) of the finite values of each row; NaN without any."""
    result = np.full((*values.shape[:-1], 3), np.nan)
    for place in np.ndindex(values.shape[:-1]):
        finite = values[place][np.isfinite(values[place])]
        if finite.size:
            result[place] = np.quantile(finite, (0.25, 0.5, 0.75))
    return result
