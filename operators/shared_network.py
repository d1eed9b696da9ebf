"""One network for many cells: what it is trained on, its weights, and the network that it is in a single cell.

Its inputs are the predictors and, beside them, fields of the cell that do not change: texture, patch fractions,
elevation, and mean and standard deviation of each predictor. In one cell the fields are constants, so that the network
is one of the predictors alone: what the fields add goes into the first layer's bias.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array, BoolArray
from ldas.operators.cell_corrections import Moments, Prior, estimated_prior
from ldas.operators.errors import EmptyTrainingWindowError
from ldas.operators.options import NeuralOptions, PooledOptions
from ldas.operators.samples import BlockSamples, CellSamples

# How far beyond what was seen in training a field of a cell may lie, as part of the range that was seen.
_MARGIN = 0.1


class CellPool(NamedTuple):
    """What one cell gives to the pool: samples (sample, predictor) and (sample,), those of the validation after them,
    and its fields (field,), which may be undefined in a cell without samples."""

    cell_id: int
    samples: CellSamples
    fields: Array


@dataclass(frozen=True)
class SharedNetwork:
    """Weights that all cells share, and what the corrections of single cells are drawn to.

    kernels (in, out) and biases (out,) a layer, for scaled values, inputs first the predictors, then the fields;
    input_mean, input_std (input,), target_mean, target_std (1,) the scalers; lowest, highest (field,) of the cells in
    training; prior_covariance (term, term) and noise_variance (1,) of `cell_corrections`, of the scaled target;
    training_rmsd, validation_rmsd (epoch,) in the output's unit.
    """

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    input_mean: Array
    input_std: Array
    target_mean: Array
    target_std: Array
    lowest: Array
    highest: Array
    prior_covariance: Array
    noise_variance: Array
    training_rmsd: Array
    validation_rmsd: Array

    @property
    def prior(self) -> Prior:
        """Prior of the cells' corrections."""
        return Prior(self.prior_covariance, float(self.noise_variance[0]))

    def to_arrays(self) -> dict[str, Array]:
        """All arrays by name."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            arrays |= {f"kernel_{layer}": kernel, f"bias_{layer}": bias}
        return arrays

    @classmethod
    def from_arrays(cls, stored: Mapping[str, NDArray[np.generic]], layers: int) -> Self:
        """The weights that `to_arrays` took apart, of this many layers."""
        arrays = {name: np.asarray(array, np.float64) for name, array in stored.items()}
        kernels, biases = (tuple(arrays[f"{kind}_{layer}"] for layer in range(layers)) for kind in ("kernel", "bias"))
        return cls(kernels, biases, **{field.name: arrays[field.name] for field in fields(cls)[2:]})

    def of_cell(self, cell_fields: Array) -> tuple[list[Array], list[Array]]:
        """Kernels and biases of the network of the predictors alone that this one is in a cell with these fields."""
        predictors = self.kernels[0].shape[0] - cell_fields.size
        scaled = (cell_fields - self.input_mean[predictors:]) / self.input_std[predictors:]
        first = self.biases[0] + scaled @ self.kernels[0][predictors:]
        return [self.kernels[0][:predictors], *self.kernels[1:]], [first, *self.biases[1:]]

    def covers(self, cell_fields: Array) -> BoolArray:
        """(field,) whether a cell's fields are within what was seen in training, with a small margin."""
        margin = _MARGIN * (self.highest - self.lowest)
        return np.asarray((cell_fields >= self.lowest - margin) & (cell_fields <= self.highest + margin))

    def terms(self, predictors: Array, cell_fields: Array) -> Array:
        """(sample, term) what a cell's correction weighs: 1 and the last hidden layer."""
        kernels, biases = self.of_cell(cell_fields)
        values = (predictors - self.input_mean[: predictors.shape[1]]) / self.input_std[: predictors.shape[1]]
        for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
            values = np.maximum(values @ kernel + bias, 0.0)
        return np.concatenate([np.ones((len(values), 1)), values], axis=1)

    def moments(self, predictors: Array, target: Array, cell_fields: Array) -> Moments:
        """Moments of what the shared network leaves of a cell's samples, see `cell_corrections`."""
        terms = self.terms(predictors, cell_fields)
        predicted = terms @ np.concatenate([self.biases[-1], self.kernels[-1][:, 0]])
        rest = (target - self.target_mean) / self.target_std - predicted
        return Moments(terms.T @ terms, terms.T @ rest, float(rest @ rest), len(rest))


def train_shared(cells: Iterable[CellPool], number: int, options: PooledOptions) -> SharedNetwork:
    """Trains the shared network on samples that are drawn from all cells alike, and estimates the corrections' prior.

    Args:
        cells: of which only those with samples and finite fields count; looked at once, and only drawn samples kept.
        number: how many there are, at most: each gives `pool_samples` / `number` samples.

    Raises:
        EmptyTrainingWindowError: no cell has samples.
    """
    from ldas.operators.batched_training import train_block

    each = max(1, options.pool_samples // max(number, 1))
    usable = (cell for cell in cells if cell.samples.target.size and np.isfinite(cell.fields).all())
    drawn = [_drawn(cell, each, options) for cell in usable]
    if not drawn:
        raise EmptyTrainingWindowError("no cell has samples to train the pooled network with, and finite fields")
    block = _scaled(drawn)
    trained = train_block(
        block,
        np.zeros(1, np.int64),
        NeuralOptions(
            hidden=options.hidden,
            learning_rate=options.pool_learning_rate,
            epochs=options.pool_epochs,
            batch_size=options.pool_batch_size,
            seed=options.seed,
            validation_fraction=options.validation_fraction,
            precision=options.precision,
        ),
    )
    all_fields = np.stack([cell.fields for cell in drawn])
    scale = block.target_std[0]
    terms = options.hidden[-1] + 1
    network = SharedNetwork(
        kernels=tuple(kernel[0].astype(np.float64) for kernel in trained.kernels),
        biases=tuple(bias[0].astype(np.float64) for bias in trained.biases),
        input_mean=block.input_mean[0],
        input_std=block.input_std[0],
        target_mean=block.target_mean,
        target_std=block.target_std,
        lowest=all_fields.min(axis=0),
        highest=all_fields.max(axis=0),
        prior_covariance=np.zeros((terms, terms)),
        noise_variance=np.ones(1),
        training_rmsd=np.sqrt(trained.training_error[0]) * scale,
        validation_rmsd=np.sqrt(trained.validation_error[0]) * scale,
    )
    moments = [network.moments(cell.samples.predictors, cell.samples.target, cell.fields) for cell in drawn]
    prior = estimated_prior(moments, _directions(network, options.correction))
    return replace(network, prior_covariance=prior.covariance, noise_variance=np.array([prior.noise_variance]))


def _directions(network: SharedNetwork, correction: str) -> Array:
    """(term, direction) in which a cell may be corrected."""
    output = np.concatenate([network.biases[-1], network.kernels[-1][:, 0]])
    level = np.eye(len(output))[:, :1]
    linear = np.concatenate([level, output[:, None]], axis=1)
    return {"head": np.eye(len(output)), "linear": linear, "none": level[:, :0]}[correction]


def _drawn(cell: CellPool, number: int, options: PooledOptions) -> CellPool:
    """The cell with `number` of its samples at most, and as many for the validation as its share; which ones depends on
    the seed and its identity only."""
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([options.seed, cell.cell_id, 1])))
    samples = cell.samples
    chosen = np.sort(random.permutation(samples.target.size)[:number])
    kept_out = int(np.ceil(number * options.validation_fraction))
    checked = np.sort(random.permutation(samples.validation_target.size)[:kept_out])
    part = samples._replace(
        predictors=samples.predictors[chosen],
        target=samples.target[chosen],
        validation_predictors=samples.validation_predictors[checked],
        validation_target=samples.validation_target[checked],
    )
    return cell._replace(samples=part)


def _scaled(cells: Sequence[CellPool]) -> BlockSamples:
    """All drawn samples as those of one network, z-scored; an input that never varies is 0."""
    inputs = np.concatenate([_inputs(cell.samples.predictors, cell.fields) for cell in cells])
    checks = np.concatenate([_inputs(cell.samples.validation_predictors, cell.fields) for cell in cells])
    targets = np.concatenate([cell.samples.target for cell in cells])
    check_targets = np.concatenate([cell.samples.validation_target for cell in cells])
    mean, std = inputs.mean(axis=0), inputs.std(axis=0)
    std = np.where(np.ptp(inputs, axis=0) > 0.0, std, 1.0)
    target_mean, target_std = targets.mean(), targets.std() or 1.0
    return BlockSamples(
        inputs=((inputs - mean) / std)[None],
        targets=((targets - target_mean) / target_std)[None],
        counts=np.array([len(targets)]),
        validation_inputs=((checks - mean) / std)[None],
        validation_targets=((check_targets - target_mean) / target_std)[None],
        validation_counts=np.array([len(check_targets)]),
        input_mean=mean[None],
        input_std=std[None],
        target_mean=np.array([target_mean]),
        target_std=np.array([target_std]),
    )


def _inputs(predictors: Array, cell_fields: Array) -> Array:
    """(sample, input): the predictors, and beside them the fields of the cell."""
    return np.concatenate([predictors, np.broadcast_to(cell_fields, (len(predictors), cell_fields.size))], axis=1)
