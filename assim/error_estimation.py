"""Estimates of a filter's own errors, cell by cell: observation bias, and scales of R and B, from its innovations.

Per cell and observation type, with the innovation d = y - b - Y and the residual e = d - H dx of a filter that was
given y - b and the variances below (two-stage: Dee 2005, doi:10.1256/qj.05.137; Draper et al. 2015,
J. Hydrometeor. 16, 449):

    b  = l + c u                    bias: a lasting part l, and a passing one u, of which c is left after a day
    b  = l + g u                    the same by departures of the open loop, where they are given
    S  = s H B H^T + r R + P + Q    P, Q: error variances of l and c u; r, s: scales of R and B
    db = K_b d = (P + Q) / (r R + P + Q) e     the step of the state augmented with b, shared by l and u as P and Q
    P  = mean of d m where it is above p <d d>, else 0     m: mean of earlier innovations
    Q  = k <d d>                    k grows with d d' - w d d, d': the innovation before (Mehra 1970)
    r, s:  <d d> = s <H B H^T> + r <R> + P + Q,   s / r = (<(d - a) d> - P - Q) / <H B H^T> / (<a d> / <R>),  a = e - db

<> is a mean over past observations, each with weight 1/S, that fades with a memory. The last line is Desroziers et al.
(2005), doi:10.1256/qj.05.108; s / r, on which the gain depends, is kept within bounds. P and Q act beyond thresholds p
and w, which keep chance from it.

Departures of the open loop, observation minus operator at states that no analysis has touched, tell an error of the
observation from one of the analysis. Where they are given they set the bias, P and Q are 0, and

    l  = n max(0, 1 - (p v / n n)^2)      n: mean of departures, v: their variance around it
    u  = departure - n of the last observation, of which c is left after each day without one
    g  = mean of (d + g u) u over that of u u, from 0 to 1

Derivation, limits: docs/science/error_estimation.md, sections 1 to 5.
"""

from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ldas.assim.errors import FilterConfigurationError
from ldas.landmodel.array_types import Array, BoolArray

LARGEST_SHARE = 0.5  # of the innovation variance that the bias may have as its error variance


class Bounded(IntFlag):
    """Estimates that are at a bound; the numbers are stored: never renumber."""

    BIAS = 1
    R_SCALE = 2
    B_SCALE = 4


@dataclass(frozen=True)
class BiasOptions:
    """How the bias of each observation type is estimated.

    limit: of |b|, in prescribed standard deviations of the observation. memory: of n and v, or of m and of d m, in
    observations. lasting_threshold: p, the part of the variance up to which what persists is left to the filter.
    passing_threshold: w, the correlation of successive innovations that is left to it where they judge; 1: there is no
    passing part, whatever judges. carry_over: c.
    """

    limit: float = 5.0
    memory: float = 60.0
    lasting_threshold: float = 0.25
    passing_threshold: float = 0.14
    carry_over: float = 0.5

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError for options that cannot be meant."""
        if not (np.isfinite(self.limit) and self.limit > 0.0 and 2.0 <= self.memory < np.inf):
            raise FilterConfigurationError(
                f"bias: limit must be positive and memory at least 2 observations, got {self.limit} and {self.memory}"
            )
        if not 0.0 <= self.passing_threshold <= 1.0:
            raise FilterConfigurationError(
                f"bias: passing_threshold must be from 0 to 1 (no passing part), got {self.passing_threshold}"
            )
        for name in ("lasting_threshold", "carry_over"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise FilterConfigurationError(f"bias: {name} must be from 0 to below 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class AdaptiveErrors:
    """How the scales of R (one a type) and of B (one a cell) follow the innovations.

    memory: of the means, in observations. r_bounds, b_bounds: of r and s, factors of variances. ratio_bounds: of s / r;
    (1, 1) leaves the gain as it is prescribed.
    """

    memory: float = 90.0
    r_bounds: tuple[float, float] = (0.1, 10.0)
    b_bounds: tuple[float, float] = (0.1, 10.0)
    ratio_bounds: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError for options that cannot be meant."""
        for name in ("r_bounds", "b_bounds", "ratio_bounds"):
            low, high = getattr(self, name)
            if not 0.0 < low <= 1.0 <= high < np.inf:
                raise FilterConfigurationError(
                    f"adaptive_errors: {name} must be positive, finite and enclose 1, got {low} and {high}"
                )
        if not 10.0 <= self.memory < np.inf:
            raise FilterConfigurationError(
                f"adaptive_errors: memory must be at least 10 observations, got {self.memory}"
            )


class Memory(NamedTuple):
    """What is kept from window to window and in restarts, all (cell, type); zero before the first observation.

    lasting l and passing u, in the observation's unit; limit: the largest |b|, 0 while unknown; last: d'; recent: m;
    persistent: mean of d m; gain: k; departure: n. The others are sums with weights that fade: of 1 and of the squares
    around n, of (d + g u) u and of u u; of 1 / S, and of R, H B H^T, a d, (d - a) d and d d over S.
    """

    lasting: Array
    passing: Array
    limit: Array
    last: Array
    recent: Array
    persistent: Array
    gain: Array
    departure: Array
    departures: Array
    squares: Array
    foretold: Array
    foretelling: Array
    weight: Array
    prescribed_r: Array
    prescribed_b: Array
    of_observation: Array
    of_background: Array
    innovation: Array


class Estimates(NamedTuple):
    """What a window is analysed with: bias b and the error variances P and Q of its parts (cell, type), the scales r
    (cell, type) and s (cell,), flags of `Bounded` and the passing part of b (cell, type)."""

    bias: Array
    lasting_variance: Array
    passing_variance: Array
    r_scale: Array
    b_scale: Array
    bounded: Array
    passing: Array

    @property
    def bias_variance(self) -> Array:
        """P + Q (cell, type)."""
        return np.asarray(self.lasting_variance + self.passing_variance)


class Departures(NamedTuple):
    """One observation of every cell and type (cell, type): d, a, R and H B H^T as prescribed, S as used, where it was
    used, the passing part of b, and the departure from the open loop, NaN where there is none."""

    innovation: Array
    left: Array
    r: Array
    b: Array
    total: Array
    used: BoolArray
    passing: Array
    open_loop: Array


def no_memory(cells: int, types: int) -> Memory:
    """The memory at the beginning of a run."""
    return Memory(*np.zeros((len(Memory._fields), cells, types)))


def estimates(
    memory: Memory, bias: BiasOptions | None, errors: AdaptiveErrors | None, by_open_loop: ArrayLike = False
) -> Estimates:
    """Bias, scales and flags from what is remembered; None: not estimated (b = P = Q = 0; r = s = 1).

    by_open_loop (type,): of which types departures of the open loop are given.
    """
    known = memory.innovation > 0.0
    mean_square = _ratio(memory.innovation, memory.weight, 0.0)
    lasting, passing, b, passing_bias = np.zeros((4, *known.shape))
    r_scale, b_scale, bounded = np.ones(known.shape), np.ones(len(known)), np.zeros(known.shape, dtype=np.int64)
    if bias is not None:
        share = _ratio(memory.persistent, mean_square, 0.0)
        share = np.where(share > bias.lasting_threshold, np.minimum(share, LARGEST_SHARE), 0.0)
        gain = np.minimum(memory.gain, LARGEST_SHARE - share)
        lasting, passing = (np.where(by_open_loop, 0.0, part * mean_square) for part in (share, gain))
        chance = bias.lasting_threshold * _ratio(memory.squares, memory.departures, 0.0)
        plain = 1.0 - np.minimum(_ratio(chance, memory.departure**2, 1.0), 1.0) ** 2
        lasting_bias = np.where(by_open_loop, plain * memory.departure, memory.lasting)
        foretold = np.clip(_ratio(memory.foretold, memory.foretelling, 0.0), 0.0, 1.0)
        passes = bias.passing_threshold < 1.0
        passing_bias = np.where(by_open_loop, foretold * passes, bias.carry_over) * memory.passing
        whole = lasting_bias + passing_bias
        b = np.clip(whole, -memory.limit, memory.limit)
        bounded = bounded | np.where(known & (np.abs(whole) >= memory.limit), Bounded.BIAS, 0)
    if errors is not None:
        of_bias = (lasting + passing) * memory.weight
        left = memory.innovation - of_bias
        ratio = _ratio((memory.of_background - of_bias).sum(axis=1), memory.prescribed_b.sum(axis=1), 1.0)
        ratio = ratio / np.maximum(
            _ratio(memory.of_observation.sum(axis=1), memory.prescribed_r.sum(axis=1), 1.0), 1e-9
        )
        ratio = np.clip(ratio, *errors.ratio_bounds)
        prescribed = memory.prescribed_r.sum(axis=1) + ratio * memory.prescribed_b.sum(axis=1)
        b_scale = np.clip(ratio * _ratio(left.sum(axis=1), prescribed, 1.0), *errors.b_bounds)
        r_scale = _ratio(left - b_scale[:, None] * memory.prescribed_b, memory.prescribed_r, 1.0)
        r_scale = np.clip(r_scale, *errors.r_bounds)
        if errors.r_bounds[0] < errors.r_bounds[1]:  # else it is fixed
            bounded = bounded | np.where(known & np.isin(r_scale, errors.r_bounds), Bounded.R_SCALE, 0)
        if errors.b_bounds[0] < errors.b_bounds[1]:
            bounded = bounded | np.where(known & np.isin(b_scale, errors.b_bounds)[:, None], Bounded.B_SCALE, 0)
    return Estimates(b, lasting, passing, r_scale, b_scale, bounded.astype(np.int8), passing_bias)


def _ratio(numerator: Array, denominator: Array, unknown: float) -> Array:
    """Quotient where the denominator is positive."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, unknown), where=denominator > 0.0)


def bias_change(variance: Array, residuals: Array, observation_variances: Array, used: BoolArray) -> Array:
    """db (cell,), what an analysis that left residuals e = y - b - Y - H dx of one type changes its bias by.

    The observations of a window share it: V sum(e / r R) / (1 + V sum(1 / r R)), which for one of them is the part
    K_b d of the augmented analysis.

    Args:
        variance: V = P + Q, the error variance of the bias (cell,).
        residuals: e (cell, observation).
        observation_variances: r R, of the same shape.
        used: of the same shape; the others have no part.
    """
    weight = np.where(used, 1.0 / np.where(used, observation_variances, 1.0), 0.0)
    force = (weight * np.where(used, residuals, 0.0)).sum(axis=1)
    return np.asarray(variance * force / (1.0 + variance * weight.sum(axis=1)))


def remembered(memory: Memory, new: Departures, bias: BiasOptions, errors: AdaptiveErrors) -> Memory:
    """The memory with one more observation of each type, where it was used; the bias stays as it is."""
    used, S = new.used, np.where(new.used, new.total, 1.0)
    d, a, R, HBHt = (np.where(used, values, 0.0) for values in new[:4])
    departs = used & np.isfinite(new.open_loop)
    away = np.where(departs, new.open_loop - memory.departure, 0.0)
    fading = np.exp(-1.0 / bias.memory)
    one = np.ones_like(S)
    products = (one, R, HBHt, a * d, (d - a) * d, d * d)
    # Before the first observation a quarter of the memory is filled with innovations as the errors let expect them.
    expected = (one, R, HBHt, R, HBHt, R + HBHt)
    first, kept = memory.weight == 0.0, np.exp(-1.0 / errors.memory)
    sums = (
        np.where(used, kept * np.where(first, 0.25 * errors.memory * usual / S, old) + value / S, old)
        for old, value, usual in zip(memory[12:], products, expected, strict=True)
    )
    foretelling = np.where(first, 0.25 * bias.memory * R, memory.foretelling)  # g begins near 0
    passes = bias.passing_threshold < 1.0
    gain = memory.gain + (d * memory.last - bias.passing_threshold * d * d) / S / (2.0 * errors.memory)
    return Memory(
        *memory[:3],
        np.where(used, d, memory.last),
        np.where(used, memory.recent + (d - memory.recent) / bias.memory, memory.recent),
        np.where(used, memory.persistent + (d * memory.recent - memory.persistent) / bias.memory, memory.persistent),
        np.where(used & passes, np.clip(gain, 0.0, LARGEST_SHARE), memory.gain),
        memory.departure + away / bias.memory,
        np.where(departs, fading * memory.departures + 1.0, memory.departures),
        np.where(departs, fading * memory.squares + away**2, memory.squares),
        np.where(used, fading * memory.foretold + (d + new.passing) * memory.passing, memory.foretold),
        np.where(used, fading * foretelling + memory.passing**2, memory.foretelling),
        *sums,
    )


def with_change(
    memory: Memory, now: Estimates, change: Array, bias: BiasOptions, limit: Array, open_loop: Array | None = None
) -> Memory:
    """The memory after a window that changed the bias, all arrays (cell, type): its lasting part takes P / (P + Q) of
    the change, the passing one the rest, each within the limit; innovations remembered are relative to the new one.

    open_loop: departures of the open loop that were used, NaN where there is none: the passing part is theirs then.
    """
    variance = now.bias_variance
    share = np.divide(now.lasting_variance, variance, out=np.zeros_like(variance), where=variance > 0.0)
    lasting = np.clip(memory.lasting + share * change, -limit, limit)
    moved = lasting - memory.lasting
    passing = np.clip(bias.carry_over * memory.passing + (1.0 - share) * change, -limit, limit)
    if open_loop is not None:
        passing = np.where(np.isfinite(open_loop), open_loop - memory.departure, passing)
    return memory._replace(
        lasting=lasting, passing=passing, limit=limit, last=memory.last - moved, recent=memory.recent - moved
    )
