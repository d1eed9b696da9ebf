"""Training of a block of networks at once as one batched TensorFlow model compiled by XLA.

Every cell keeps its own weights, batches, missing samples and Adam moments (Kingma and Ba 2015, in Keras' form), so
that a cell ends with the weights it would have if it were trained alone. TensorFlow is imported when training starts.
"""

import itertools
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array, IntArray
from ldas.operators.options import NeuralOptions
from ldas.operators.samples import BlockSamples
from ldas.operators.shuffle import fill_batches

# Keras' defaults for Adam.
_FIRST_DECAY, _SECOND_DECAY, _EPSILON = 0.9, 0.999, 1e-7


class TrainedWeights(NamedTuple):
    """Networks of a block: kernels of (cell, in, out) and biases of (cell, out) a layer, in the training's precision.

    training_error, validation_error: (cell, epoch) mean squared error of the scaled target, or (cell, epoch, output)
    of several; NaN after a cell stopped or where it has no samples. The training error is that of an epoch's batches,
    each before its step, as in Keras.
    """

    kernels: tuple[NDArray[np.floating], ...]
    biases: tuple[NDArray[np.floating], ...]
    training_error: Array
    validation_error: Array


def import_tensorflow() -> Any:
    """TensorFlow, without its start-up messages; takes seconds the first time.

    oneDNN's reordered sums are switched off unless the environment asks for them: XLA does the training without them.
    Of a card it takes what it needs, not all the memory at once: the land model may run there too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    import tensorflow

    return tensorflow


def library_versions() -> dict[str, str]:
    """Versions of what the trained numbers depend on."""
    libraries = {"tensorflow": import_tensorflow().__version__}
    return libraries | {library: version(library) for library in ("keras", "numba", "numpy")}


def initial_weights(sizes: tuple[int, ...], cell_ids: IntArray, seed: int) -> tuple[list[Array], list[Array]]:
    """Kernels (cell, in, out) from Glorot and Bengio's (2010) uniform distribution and zero biases (cell, 1, out).

    A cell's weights depend on the seed and its identity only.
    """
    generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int(cell)]))) for cell in cell_ids]
    kernels, biases = [], []
    for width_in, width_out in itertools.pairwise(sizes):
        limit = np.sqrt(6.0 / (width_in + width_out))
        kernels.append(np.stack([generator.uniform(-limit, limit, (width_in, width_out)) for generator in generators]))
        biases.append(np.zeros((len(cell_ids), 1, width_out)))
    return kernels, biases


def train_block(samples: BlockSamples, cell_ids: IntArray, options: NeuralOptions) -> TrainedWeights:
    """Trains the networks of one block, of which all arrays have the same number of cells.

    The loss of several targets is the sum of the mean squared errors of each, over the samples in which it is there.

    Args:
        cell_ids: (cell,).
    """
    tensorflow = import_tensorflow()
    dtype = options.precision
    outputs = samples.targets.shape[2:]
    sizes = (samples.inputs.shape[2], *options.hidden, *(outputs or (1,)))
    kernels, biases = initial_weights(sizes, cell_ids, options.seed)
    weights = [tensorflow.constant(array, dtype=dtype) for array in (*kernels, *biases)]
    zeros = [tensorflow.zeros_like(weight) for weight in weights]
    cells, length = samples.targets.shape[:2]
    state = {
        "weights": weights,
        "first_moment": zeros,
        "second_moment": zeros,
        "step": tensorflow.zeros(cells, dtype=dtype),
        "running": tensorflow.ones(cells, dtype=dtype),
    }
    if options.early_stopping_patience is not None:
        state |= {
            "best_weights": weights,
            "best_error": tensorflow.fill([cells], tensorflow.constant(np.inf, dtype=dtype)),
            "epochs_since_best": tensorflow.zeros(cells, dtype="int32"),
        }
    data = (
        tensorflow.constant(samples.inputs, dtype=dtype),
        tensorflow.constant(samples.targets, dtype=dtype),
        tensorflow.constant(samples.counts, dtype="int32"),
        tensorflow.constant(samples.validation_inputs, dtype=dtype),
        tensorflow.constant(samples.validation_targets, dtype=dtype),
        tensorflow.constant(samples.validation_counts, dtype="int32"),
        *(tensorflow.constant(present, dtype=dtype) for present in samples.present),
    )
    run_epoch = _compiled_epoch(options.learning_rate, options.early_stopping_patience, bool(outputs))
    batches = np.zeros((-(-length // options.batch_size), cells, options.batch_size), np.int32)
    # Steps that no cell of this block has samples for would change nothing.
    steps = -(-int(samples.counts.max()) // options.batch_size)
    training_error = np.full((cells, options.epochs, *outputs), np.nan)
    validation_error = np.full((cells, options.epochs, *outputs), np.nan)
    for epoch in range(options.epochs):
        running = state["running"].numpy() > 0
        if steps == 0 or not running.any():
            break
        fill_batches(options.seed, epoch, cell_ids, samples.counts, batches)
        state, training, validation = run_epoch(state, data, tensorflow.constant(batches), tensorflow.constant(steps))
        training_error[running, epoch] = training.numpy()[running]
        validation_error[running, epoch] = validation.numpy()[running]
    final = [weight.numpy() for weight in state.get("best_weights", state["weights"])]
    layers = len(sizes) - 1
    return TrainedWeights(
        kernels=tuple(final[:layers]),
        biases=tuple(bias[:, 0, :] for bias in final[layers:]),
        training_error=training_error,
        validation_error=validation_error,
    )


@cache
def _compiled_epoch(learning_rate: float, patience: int | None, several: bool) -> Callable[..., Any]:
    """The function that runs one epoch of a block; compiled once per shape, then shared by all blocks and threads.

    With `several` targets, what else is (cell, sample) and (cell,) of a target has a last axis of them.
    """
    tensorflow = import_tensorflow()

    def forward(weights: list[Any], inputs: Any) -> Any:
        layers = len(weights) // 2
        values = inputs
        for layer in range(layers):
            values = values @ weights[layer] + weights[layers + layer]
            if layer < layers - 1:
                values = tensorflow.nn.relu(values)
        return values if several else values[..., 0]

    def squared_error(weights: list[Any], inputs: Any, targets: Any, present: Any) -> Any:
        return tensorflow.reduce_sum(present * tensorflow.square(forward(weights, inputs) - targets), axis=1)

    def step(state: dict[str, Any], inputs: Any, targets: Any, present: Any) -> tuple[dict[str, Any], Any]:
        count = tensorflow.reduce_sum(present, axis=1)
        with tensorflow.GradientTape() as tape:
            tape.watch(state["weights"])
            error = squared_error(state["weights"], inputs, targets, present)
            # The sum over cells of each cell's mean: a cell's gradient holds nothing of the others.
            # A cell without samples in this batch divides 0 by 1 and is not updated.
            loss = tensorflow.reduce_sum(error / tensorflow.maximum(count, 1))
        gradients = tape.gradient(loss, state["weights"])
        any_sample = tensorflow.reduce_any(count > 0, axis=1) if several else count > 0
        updated = state["running"] * tensorflow.cast(any_sample, count.dtype)
        steps = state["step"] + updated
        # Before its first step a cell has steps = 0 and a correction of 0: it is not updated, so 1 stands in for it.
        first_correction = tensorflow.where(steps > 0, 1 - _FIRST_DECAY**steps, tensorflow.ones_like(steps))
        rate = updated * learning_rate * tensorflow.sqrt(1 - _SECOND_DECAY**steps) / first_correction
        rate, first_gain, second_gain = (
            factor[:, None, None] for factor in (rate, updated * (1 - _FIRST_DECAY), updated * (1 - _SECOND_DECAY))
        )
        first = [m + (g - m) * first_gain for m, g in zip(state["first_moment"], gradients, strict=True)]
        second = [v + (g * g - v) * second_gain for v, g in zip(state["second_moment"], gradients, strict=True)]
        weights = [
            w - rate * m / (tensorflow.sqrt(v) + _EPSILON)
            for w, m, v in zip(state["weights"], first, second, strict=True)
        ]
        return state | {"weights": weights, "first_moment": first, "second_moment": second, "step": steps}, error

    def stop_early(state: dict[str, Any], validation_error: Any) -> dict[str, Any]:
        better = (validation_error < state["best_error"]) & (state["running"] > 0)
        waited = tensorflow.where(better, 0, state["epochs_since_best"] + 1)
        return state | {
            "best_weights": [
                tensorflow.where(better[:, None, None], weight, best)
                for weight, best in zip(state["weights"], state["best_weights"], strict=True)
            ],
            "best_error": tensorflow.where(better, validation_error, state["best_error"]),
            "epochs_since_best": waited,
            "running": state["running"] * tensorflow.cast(waited < patience, state["running"].dtype),
        }

    @tensorflow.function(jit_compile=True)
    def run_epoch(
        state: dict[str, Any], data: tuple[Any, ...], batches: Any, steps: Any
    ) -> tuple[dict[str, Any], Any, Any]:
        inputs, targets, counts, validation_inputs, validation_targets, validation_counts, *there = data
        slots = batches.shape[2]

        def body(number: Any, total: Any, state: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
            places = number * slots + tensorflow.range(slots)
            present = tensorflow.cast(places[None, :] < counts[:, None], inputs.dtype)
            order = batches[number]
            if several:
                present = present[..., None] * tensorflow.gather(there[0], order, batch_dims=1)
            state, error = step(
                state,
                tensorflow.gather(inputs, order, batch_dims=1),
                tensorflow.gather(targets, order, batch_dims=1),
                present,
            )
            return number + 1, total + error, state

        _, total, state = tensorflow.while_loop(
            lambda number, *_: number < steps,
            body,
            (tensorflow.constant(0), tensorflow.zeros_like(there[0][:, 0] if several else state["step"]), state),
        )
        if several:  # samples of each target; what is beyond a cell's samples is absent
            counts, validation_counts = (tensorflow.reduce_sum(present, axis=1) for present in there)
        # 0 / 0 gives NaN on purpose: a cell without samples has no error.
        training_error = total / tensorflow.cast(counts, inputs.dtype)
        if several:
            present = there[1]
        else:
            number = tensorflow.range(tensorflow.shape(validation_targets)[1])
            present = tensorflow.cast(number[None, :] < validation_counts[:, None], inputs.dtype)
        validation_error = squared_error(state["weights"], validation_inputs, validation_targets, present)
        validation_error = validation_error / tensorflow.cast(validation_counts, inputs.dtype)
        if patience is not None:
            state = stop_early(state, tensorflow.reduce_sum(validation_error, axis=1) if several else validation_error)
        return state, training_error, validation_error

    return run_epoch
