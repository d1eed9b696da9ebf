"""Prediction and exact Jacobian of one small network per cell, compiled by Numba; no TensorFlow.

The network of a cell is z = (x - mean) / std, a_k = max(0, a_(k-1) W_k + b_k) for the hidden layers, and
y = target_mean + target_std (a W + b) for the linear output (Corchia et al. 2023, Table 2: one hidden layer, 40 ReLU).
All weights of a cell are one row: W_1 (in, out row by row), b_1, W_2, b_2, ...
"""

import math
from collections.abc import Sequence

import numpy as np

from ldas.landmodel.array_types import Array, IntArray
from ldas.landmodel.compile import cached

# Reassociation lets the sums over neurons use vector registers; NaN and infinity keep their meaning.
_FAST_SUMS = {"reassoc", "contract", "nsz"}
# Samples that go through a layer together, so that a row of weights is fetched once for all of them.
_TILE = 16


def pack_weights(kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> tuple[Array, IntArray]:
    """Kernels (cell, in, out) and biases (cell, out) as (cell, weight) rows and the layer sizes (layer + 1,)."""
    cells = kernels[0].shape[0]
    parts = [part for kernel, bias in zip(kernels, biases, strict=True) for part in (kernel, bias)]
    rows = [part.reshape(cells, math.prod(part.shape[1:])) for part in parts]
    sizes = np.array([kernels[0].shape[1], *(kernel.shape[2] for kernel in kernels)], dtype=np.int64)
    return np.ascontiguousarray(np.concatenate(rows, axis=1), dtype=np.float64), sizes


@cached(error_model="numpy", fastmath=_FAST_SUMS)
def _hidden_layers(row: Array, sizes: IntArray, values: Array) -> int:
    """Fills values[1:] (layer, sample, neuron) from values[0], the inputs; returns the output layer's start."""
    start = 0
    samples = values.shape[1]
    for layer in range(sizes.size - 2):
        width_in, width_out = sizes[layer], sizes[layer + 1]
        source, result = values[layer], values[layer + 1]
        bias = row[start + width_in * width_out : start + (width_in + 1) * width_out]
        for sample in range(samples):
            for j in range(width_out):
                result[sample, j] = bias[j]
        for i in range(width_in):
            kernel = row[start + i * width_out : start + (i + 1) * width_out]
            for sample in range(samples):
                factor = source[sample, i]
                for j in range(width_out):
                    result[sample, j] += factor * kernel[j]
        for sample in range(samples):
            for j in range(width_out):
                result[sample, j] = result[sample, j] if result[sample, j] > 0.0 else 0.0
        start += (width_in + 1) * width_out
    return start


@cached(error_model="numpy", fastmath=_FAST_SUMS)
def evaluate(
    weights: Array,
    sizes: IntArray,
    input_mean: Array,
    input_std: Array,
    target_mean: Array,
    target_std: Array,
    predictors: Array,
    output: Array,
) -> None:
    """Fills output (cell, sample) from predictors (cell, sample, predictor)."""
    cells, samples, inputs = predictors.shape
    layers = sizes.size - 1
    scratch = np.empty((layers, _TILE, sizes.max()))
    for cell in range(cells):
        row = weights[cell]
        for first in range(0, samples, _TILE):
            values = scratch[:, : min(_TILE, samples - first)]
            for sample in range(values.shape[1]):
                for i in range(inputs):
                    deviation = predictors[cell, first + sample, i] - input_mean[cell, i]
                    values[0, sample, i] = deviation / input_std[cell, i]
            start = _hidden_layers(row, sizes, values)
            kernel = row[start : start + sizes[layers - 1]]
            last = values[layers - 1]
            for sample in range(values.shape[1]):
                total = 0.0
                for i in range(kernel.size):
                    total += last[sample, i] * kernel[i]
                total += row[start + kernel.size]
                output[cell, first + sample] = target_mean[cell] + target_std[cell] * total


@cached(error_model="numpy", fastmath=_FAST_SUMS)
def differentiate(
    weights: Array,
    sizes: IntArray,
    input_mean: Array,
    input_std: Array,
    target_std: Array,
    predictors: Array,
    jacobian: Array,
) -> None:
    """Fills jacobian (cell, sample, predictor) by one forward and one backward pass per sample.

    The derivative of max(0, a) at a = 0 is taken as 0, as Keras does.
    """
    cells, samples, inputs = predictors.shape
    layers = sizes.size - 1
    scratch = np.empty((layers, _TILE, sizes.max()))
    gradients = np.empty((2, _TILE, sizes.max()))
    for cell in range(cells):
        row = weights[cell]
        for first in range(0, samples, _TILE):
            values = scratch[:, : min(_TILE, samples - first)]
            tile = values.shape[1]
            for sample in range(tile):
                for i in range(inputs):
                    deviation = predictors[cell, first + sample, i] - input_mean[cell, i]
                    values[0, sample, i] = deviation / input_std[cell, i]
            start = _hidden_layers(row, sizes, values)
            kernel = row[start : start + sizes[layers - 1]]
            later = gradients[(layers - 1) % 2]
            for sample in range(tile):
                for i in range(kernel.size):
                    later[sample, i] = kernel[i]
            for layer in range(layers - 2, -1, -1):
                width_in, width_out = sizes[layer], sizes[layer + 1]
                start -= (width_in + 1) * width_out
                later, earlier = gradients[(layer + 1) % 2], gradients[layer % 2]
                active = values[layer + 1]
                for sample in range(tile):
                    for j in range(width_out):
                        later[sample, j] = later[sample, j] if active[sample, j] > 0.0 else 0.0
                for i in range(width_in):
                    kernel = row[start + i * width_out : start + (i + 1) * width_out]
                    for sample in range(tile):
                        total = 0.0
                        for j in range(width_out):
                            total += kernel[j] * later[sample, j]
                        earlier[sample, i] = total
            for sample in range(tile):
                for i in range(inputs):
                    scale = target_std[cell] / input_std[cell, i]
                    jacobian[cell, first + sample, i] = gradients[0, sample, i] * scale
