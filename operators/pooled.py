"""The pooled operator: one network for many cells with a correction of each, or a cell's own network, by a policy."""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array
from ldas.operators.arrays import required_array
from ldas.operators.cell_corrections import correction_of
from ldas.operators.checks import checked_cell_ids, physical_range
from ldas.operators.errors import OperatorMismatchError, PredictorShapeError, UntrainedOperatorError
from ldas.operators.network_kernels import evaluate, pack_weights
from ldas.operators.networks import Networks
from ldas.operators.neural import NeuralOperator
from ldas.operators.options import PooledOptions
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import OperatorArrays, TrainingBlock
from ldas.operators.samples import cell_samples, checked_samples, require_target
from ldas.operators.shared_network import CellPool, SharedNetwork, train_shared

# What is wrong with the values of a cell, rather than their number: no other cell's samples make up for it.
_WRONG_VALUES = (
    Outcome.NON_FINITE_PREDICTOR,
    Outcome.PREDICTOR_OUT_OF_RANGE,
    Outcome.TARGET_OUT_OF_RANGE,
)


class Source(IntEnum):
    """Which function a cell has: none, its own network, or the pooled one with or without samples of its own."""

    NONE = 0
    OWN_NETWORK = 1
    CORRECTED = 2
    UNCORRECTED = 3


class PooledOperator(NeuralOperator):
    """sigma40 (or another observation) of each cell from a network that all cells share and a correction of its own.

    `fit` trains it with all cells in memory. Block by block: `fit_shared` goes once through all blocks, then
    `fit_block` gives the operator of any block. In every cell it is a network of the predictors alone, as
    `NeuralOperator` is: it predicts, is stored and exported alike.
    """

    KIND: ClassVar[str] = "pooled"
    OPTIONS: ClassVar[type] = PooledOptions
    options: PooledOptions

    def __init__(self, options: PooledOptions | None = None, **names: Any) -> None:
        super().__init__(options or PooledOptions(), **names)
        self._shared: SharedNetwork | None = None
        self._source: NDArray[np.int8] = np.zeros(0, np.int8)

    @property
    def shared(self) -> SharedNetwork:
        """Weights that all cells share, in training; UntrainedOperatorError where they are not at hand."""
        if self._shared is None:
            raise UntrainedOperatorError("this PooledOperator has no shared network: call fit or fit_shared first")
        return self._shared

    @property
    def source(self) -> NDArray[np.int8]:
        """(cell,) codes of `Source`."""
        return self._source

    def fit(  # type: ignore[override]
        self,
        predictors: ArrayLike,
        target: ArrayLike,
        *,
        cell_ids: ArrayLike | None = None,
        static: Mapping[str, ArrayLike] | None = None,
        times: ArrayLike | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Trains the shared network and the corrections of all cells; see `NeuralOperator.fit`.

        Args:
            static: fields of the land by name, (cell,) or (cell, part): those of `options.static`.
        """
        x, y = checked_samples(predictors, target, self._names, times)
        require_target(y, self._names)
        identities = checked_cell_ids(cell_ids, x.shape[0])
        size, cells, fields = self.options.block_size, len(x), static or {}
        self._static(fields, cells)  # refused as a whole: a part of a longer field would fit a block
        blocks = [
            TrainingBlock(x[part], y[part], identities[part], {name: np.asarray(fields[name])[part] for name in fields})
            for part in (slice(start, start + size) for start in range(0, cells, size))
        ]
        self.fit_shared(blocks, cells)
        parts = []
        for block in blocks:
            parts.append(
                self._new().fit_block(block.predictors, block.target, cell_ids=block.cell_ids, static=block.static)
            )
            if progress is not None:
                progress(sum(part.cell_ids.size for part in parts), cells)
        self._set(
            Networks.concatenate([part.networks for part in parts]),
            {cell: reason for part in parts for cell, reason in part.reasons.items()},
            parts[0]._libraries,
        )
        self._source = np.concatenate([part.source for part in parts])
        return self

    def fit_shared(self, blocks: Iterable[TrainingBlock], cells: int) -> Self:
        """Trains the network that all cells share, from blocks that are looked at once, one after the other.

        Args:
            cells: number of cells in all blocks together.
        """
        self._shared = train_shared((cell for block in blocks for cell in self._pools(block)), cells, self.options)
        return self

    def shared_arrays(self) -> dict[str, Array]:
        """See `SharingOperator`."""
        return self.shared.to_arrays()

    def with_shared(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """See `SharingOperator`."""
        other = self._new()
        other._shared = SharedNetwork.from_arrays(arrays, len(self.options.hidden) + 1)
        return other

    def fit_block(
        self,
        predictors: ArrayLike,
        target: ArrayLike,
        *,
        cell_ids: ArrayLike | None = None,
        static: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """See `TrainableOperator`: the cells of one training block, when the shared weights are there."""
        x, y = checked_samples(predictors, target, self._names, None)
        identities = checked_cell_ids(cell_ids, x.shape[0])
        networks, reasons = self._untrained(identities), dict[int, str]()
        source = np.zeros(identities.size, np.int8)
        if not identities.size:
            self._set(networks, {}, {})
            self._source = source
            return self
        from ldas.operators.batched_training import library_versions

        own = None if self.options.policy == "pooled" else self._train_cells(x, y, identities)[0]
        for position, pool in enumerate(self._pools(TrainingBlock(x, y, identities, static or {}))):
            outcome, reason = self._outcome(pool)
            has_own = own is not None and own.outcome[position] == Outcome.TRAINED
            if outcome is not Outcome.TRAINED and not has_own:
                networks.outcome[position] = outcome
                reasons[pool.cell_id] = f"{outcome.words}: {reason}"
                continue
            networks.outcome[position] = Outcome.TRAINED
            # A network of its own needs no fields of the land.
            if own is not None and has_own and (outcome is not Outcome.TRAINED or self._takes_own(own, position, pool)):
                networks.take(position, own)
                source[position] = Source.OWN_NETWORK
            else:
                self._fill(networks, position, pool)
                source[position] = Source.CORRECTED if pool.samples.target.size else Source.UNCORRECTED
        self._set(networks, reasons, library_versions())
        self._source = source
        return self

    def _pools(self, block: TrainingBlock) -> list[CellPool]:
        """Samples and fields of each cell of a block."""
        x, y = checked_samples(block.predictors, block.target, self._names, None)
        static = self._static(block.static, x.shape[0])
        pools = []
        for position, cell_id in enumerate(np.asarray(block.cell_ids)):
            samples = cell_samples(x[position], y[position], self._names, self.options.validation_fraction, 1)
            there = x[position][np.isfinite(x[position]).all(axis=-1)].astype(np.float64)
            nothing = np.full(x.shape[2], np.nan)
            climate = (there.mean(axis=0), there.std(axis=0)) if len(there) else (nothing, nothing)
            pools.append(CellPool(int(cell_id), samples, np.concatenate([static[position], *climate])))
        return pools

    def _static(self, given: Mapping[str, ArrayLike], cells: int) -> Array:
        """(cell, part) the fields of the options, one beside the other."""
        missing = [name for name in self.options.static if name not in given]
        if missing:
            raise OperatorMismatchError(
                f"a pooled operator with the static fields {', '.join(self.options.static)} was not given "
                f"{', '.join(missing)}; give them, or leave them out of the option `static`"
            )
        columns = [np.zeros((cells, 0))]
        for name in self.options.static:
            values = np.asarray(given[name], dtype=np.float64)
            if values.ndim not in (1, 2) or values.shape[0] != cells:
                raise PredictorShapeError(
                    f"static field {name} must be ({cells},) or ({cells}, part), got {values.shape}"
                )
            columns.append(values.reshape(cells, -1))
        return np.concatenate(columns, axis=1)

    def _outcome(self, pool: CellPool) -> tuple[Outcome, str]:
        """Whether the cell gets a function, or why not."""
        samples, names = pool.samples, self.predictor_names
        if samples.outcome in _WRONG_VALUES:
            return samples.outcome, samples.reason
        if not np.isfinite(pool.fields).all():
            return Outcome.OUTSIDE_TRAINING_RANGE, "its land or its predictors are undefined"
        for name, unit, mean in zip(names, self.predictor_units, pool.fields[-2 * len(names) :], strict=False):
            allowed = physical_range(unit)
            if not allowed.lowest <= mean <= allowed.highest:
                return Outcome.PREDICTOR_OUT_OF_RANGE, f"mean of {name} ({unit}) is {mean:.6g}: {allowed.usual_cause}"
        outside = np.flatnonzero(~self.shared.covers(pool.fields))
        if outside.size and samples.target.size < self.options.minimum_samples:
            first = outside[0]
            return Outcome.OUTSIDE_TRAINING_RANGE, (
                f"{outside.size} of its {pool.fields.size} fields lie outside those of the cells in training, field "
                f"{first} is {pool.fields[first]:.6g} and was {self.shared.lowest[first]:.6g} to "
                f"{self.shared.highest[first]:.6g}; it has {samples.target.size} samples of its own"
            )
        return Outcome.TRAINED, ""

    def _output(self, pool: CellPool) -> Array:
        """(term,) weights of the cell's output layer, its bias first, with the cell's correction."""
        shared = self.shared
        output = np.concatenate([shared.biases[-1], shared.kernels[-1][:, 0]])
        if pool.samples.target.size:
            output = output + correction_of(
                shared.moments(pool.samples.predictors, pool.samples.target, pool.fields), shared.prior
            )
        return output

    def _errors(self, pool: CellPool, predictors: Array, target: Array) -> Array:
        """(sample,) errors of the pooled network in a cell, in the output's unit."""
        shared = self.shared
        scaled = shared.terms(predictors, pool.fields) @ self._output(pool)
        return np.asarray(shared.target_mean + shared.target_std * scaled - target)

    def _takes_own(self, own: Networks, position: int, pool: CellPool) -> bool:
        """Whether the cell's own network, which it has, is used rather than the pooled one."""
        if self.options.policy == "per_cell":
            return True
        samples = pool.samples.validation_predictors, pool.samples.validation_target
        gain = self._errors(pool, *samples) ** 2 - _own_errors(own.select([position]), *samples) ** 2
        return gain.size > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(gain.size))

    def _fill(self, networks: Networks, position: int, pool: CellPool) -> None:
        """Puts the pooled network of a cell into the arrays of its block."""
        shared, predictors, samples = self.shared, len(self.predictor_names), pool.samples
        kernels, biases = shared.of_cell(pool.fields)
        output = self._output(pool)
        kernels[-1], biases[-1] = output[1:, None], output[:1]
        for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            networks.kernels[layer][position], networks.biases[layer][position] = kernel, bias
        networks.input_mean[position] = shared.input_mean[:predictors]
        networks.input_std[position] = shared.input_std[:predictors]
        networks.target_mean[position], networks.target_std[position] = shared.target_mean[0], shared.target_std[0]
        networks.training_count[position] = samples.target.size
        networks.validation_count[position] = samples.validation_target.size
        for curve, predictors_of, target in (
            (networks.training_rmsd, samples.predictors, samples.target),
            (networks.validation_rmsd, samples.validation_predictors, samples.validation_target),
        ):
            if target.size:  # no learning curve of its own: only how it ended
                curve[position, -1] = np.sqrt(np.mean(self._errors(pool, predictors_of, target) ** 2))

    def _new(self) -> Self:
        """An operator of the same names, options and shared weights, without cells."""
        other = type(self)(self.options, **self._names._asdict())
        other._shared = self._shared
        return other

    def select(self, cells: ArrayLike) -> Self:
        part = super().select(cells)
        part._source = self._source[np.asarray(cells)]
        return part

    def to_arrays(self) -> OperatorArrays:
        stored = super().to_arrays()
        return stored._replace(
            arrays={**stored.arrays, "source": self._source}, dimensions={**stored.dimensions, "source": ("cell",)}
        )

    @classmethod
    def from_arrays(cls, stored: OperatorArrays) -> Self:
        operator = super().from_arrays(stored)
        operator._source = required_array(stored, "source", operator.cell_ids.size).astype(np.int8)
        return operator


def _own_errors(cell: Networks, predictors: Array, target: Array) -> Array:
    """(sample,) errors of the one network of `cell`, in the output's unit."""
    output = np.empty((1, len(target)))
    scalers = (cell.input_mean, cell.input_std, cell.target_mean, cell.target_std)
    evaluate(*pack_weights(cell.kernels, cell.biases), *scalers, np.ascontiguousarray(predictors[None]), output)
    return np.asarray(output[0] - target)
