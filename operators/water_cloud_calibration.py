"""Bounded least squares for the parameters of the water cloud model, in all cells of a block at once.

Levenberg-Marquardt (Marquardt 1963, doi:10.1137/0111030) with the damping of Nielsen (1999, Damping parameter in
Marquardt's method, IMM-REP-1999-05, Technical University of Denmark), inside the bounds: a parameter that the gradient
would push out stays at its bound. The samples of all cells lie one after the other, so that the model is
evaluated for all at once; every sum is over one cell, so that no cell's numbers depend on the others.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ldas.landmodel.array_types import Array, BoolArray, IntArray

MOST_STEPS = 200  # after which a search is given up
_SMALLEST_STEP = 1e-11  # of the parameters, in units of the width of their bounds
_SMALLEST_SLOPE = 1e-9  # cosine between residuals and what a parameter changes in them
_AT_BOUND, _NEAR_BOUND = 1e-12, 1e-6  # in units of the width of the bounds
_TOWARDS_BOUND = 0.9  # part of the way to a bound in a step: at B = 0, A means nothing, and a search would stay there
_DAMPING = 1e-3  # of the first step, as a part of the curvature


class Samples(NamedTuple):
    """Samples of all cells one after the other: predictors and target (sample,), and how many each cell has (cell,)."""

    moisture: Array
    leaf_area: Array
    target: Array
    counts: IntArray

    def of(self, cells: BoolArray) -> "Samples":
        """Those of some cells."""
        kept = np.repeat(cells, self.counts)
        return Samples(self.moisture[kept], self.leaf_area[kept], self.target[kept], self.counts[cells])


class Found(NamedTuple):
    """Of each cell: parameters (cell, parameter), sum of squared residuals, and whether the search came to an end."""

    parameters: Array
    squares: Array
    converged: BoolArray


class _Point(NamedTuple):
    """Where the search of each cell is: parameters in units of the width of their bounds, sum of squared residuals,
    gradient and curvature of half of it."""

    place: Array
    squares: Array
    gradient: Array
    curvature: Array


Model = Callable[[Array, Samples], tuple[Array, list[Array]]]
"""Residuals (sample,) of parameters (parameter, sample) and their derivatives, one (sample,) a parameter."""


def search(model: Model, samples: Samples, start: Array, bounds: Array) -> Found:
    """The search of every cell from one start.

    Args:
        model: residuals and derivatives.
        samples: of cells with at least one sample each.
        start: (parameter,), inside the bounds.
        bounds: (2, parameter).
    """
    low, width = bounds[0], bounds[1] - bounds[0]
    cells = samples.counts.size
    found = Found(np.empty((cells, low.size)), np.full(cells, np.nan), np.zeros(cells, dtype=bool))

    def at(place: Array, samples: Samples) -> _Point:
        first = np.cumsum(samples.counts) - samples.counts
        residual, derivatives = model(np.repeat((low + width * place).T, samples.counts, axis=1), samples)
        scaled = [width[index] * derivative for index, derivative in enumerate(derivatives)]
        gradient = np.stack([np.add.reduceat(one * residual, first) for one in scaled], axis=-1)
        curvature = np.empty((*gradient.shape, low.size))
        for i, one in enumerate(scaled):
            for j, other in enumerate(scaled[: i + 1]):
                curvature[:, i, j] = curvature[:, j, i] = np.add.reduceat(one * other, first)
        return _Point(place, np.add.reduceat(residual**2, first), gradient, curvature)

    running = np.arange(cells)
    point = at(np.tile((start - low) / width, (cells, 1)), samples)
    damping, growth = np.full(cells, _DAMPING), np.full(cells, 2.0)
    for _ in range(MOST_STEPS):
        step, promised = _step(point, damping)
        trial = at(point.place + step, samples)
        gain = 0.5 * (point.squares - trial.squares)
        better = gain > 0.0
        quality = np.divide(gain, promised, out=np.zeros_like(gain), where=better & (promised > 0.0))
        damping = np.where(better, damping * np.maximum(1.0 / 3.0, 1.0 - (2.0 * quality - 1.0) ** 3), damping * growth)
        growth = np.where(better, 2.0, 2.0 * growth)
        point = _Point(*(np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                         for new, old in zip(trial, point, strict=True)))  # fmt: skip
        ended = (np.abs(step).max(axis=1) <= _SMALLEST_STEP) | _flat(point)
        if ended.any():
            done = running[ended]
            place = point.place[ended]
            place = np.where(place <= _AT_BOUND, 0.0, np.where(place >= 1.0 - _AT_BOUND, 1.0, place))
            found.parameters[done] = low + width * place
            found.squares[done], found.converged[done] = point.squares[ended], True
            left = ~ended
            samples, running = samples.of(left), running[left]
            point, damping, growth = _Point(*(part[left] for part in point)), damping[left], growth[left]
        if not running.size:
            break
    return found


def _step(point: _Point, damping: Array) -> tuple[Array, Array]:
    """Damped step (cell, parameter) inside the bounds, and the gain that the curvature promises for it.

    A parameter that the step would take out goes most of the way to its bound, and the others make the best of that.
    """
    size = np.einsum("cii->ci", point.curvature)
    size = np.maximum(size, 1e-12 * size.max(axis=1, keepdims=True)) + np.finfo(np.float64).tiny
    diagonal = np.arange(size.shape[1])
    held, step = _held(point), np.zeros_like(point.place)
    for _ in diagonal:
        free = ~held
        matrix = np.where(free[:, :, None] & free[:, None, :], point.curvature, 0.0)
        matrix[:, diagonal, diagonal] += np.where(free, damping[:, None] * size, 1.0)
        pushed = point.gradient + (point.curvature @ np.where(held, step, 0.0)[..., None])[..., 0]
        step = np.where(held, step, np.linalg.solve(matrix, np.where(free, -pushed, 0.0)[..., None])[..., 0])
        inside = np.clip(point.place + step, 0.0, 1.0)
        out = free & (inside != point.place + step)
        way = inside - point.place
        step = np.where(out, np.where(np.abs(way) < _NEAR_BOUND, 1.0, _TOWARDS_BOUND) * way, step)
        held |= out
        if not out.any():
            break
    step = np.clip(point.place + step, 0.0, 1.0) - point.place
    curved = (point.curvature @ step[..., None])[..., 0]
    return step, -(step * (point.gradient + 0.5 * curved)).sum(axis=1)


def _held(point: _Point) -> BoolArray:
    """(cell, parameter) True at a bound that the gradient would cross."""
    low, high = point.place <= _AT_BOUND, point.place >= 1.0 - _AT_BOUND
    return np.asarray((low & (point.gradient > 0.0)) | (high & (point.gradient < 0.0)))


def _flat(point: _Point) -> BoolArray:
    """(cell,) True where no parameter that may move changes the residuals in their own direction."""
    steepest = np.sqrt(np.einsum("cii->ci", point.curvature) * point.squares[:, None])
    return np.asarray((_held(point) | (np.abs(point.gradient) <= _SMALLEST_SLOPE * steepest)).all(axis=1))
