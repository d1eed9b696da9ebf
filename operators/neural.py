"""The neural observation operator: one small network per cell, all trained at once, predicted without TensorFlow."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array, BoolArray, IntArray
from ldas.operators.arrays import FORMAT_VERSION, required_attributes, text_tuple
from ldas.operators.base import NamedOperator
from ldas.operators.checks import checked_cell_ids, checked_predictors
from ldas.operators.errors import OperatorFormatError, OperatorOptionError, UntrainedOperatorError
from ldas.operators.network_kernels import differentiate, evaluate, pack_weights
from ldas.operators.networks import Networks
from ldas.operators.options import NeuralOptions
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import DEFAULT_PREDICTORS, Names, OperatorArrays
from ldas.operators.samples import (
    BlockSamples,
    CellSamples,
    cell_samples,
    checked_samples,
    require_target,
    sample_counts,
    scaled_block,
)

# A network this many times worse than predicting the mean has left the slope it should go down.
_DIVERGED_ABOVE = 10.0


class NeuralOperator(NamedOperator):
    """sigma40 (or another observation) of each cell from its own small network of the cell's predictors.

    `NeuralOperator().fit(predictors, target)` trains it, `predict` and `jacobian` use it, see `ObservationOperator`.
    """

    KIND: ClassVar[str] = "neural"
    OPTIONS: ClassVar[type] = NeuralOptions
    PREDICTORS: ClassVar[tuple[str, ...] | None] = DEFAULT_PREDICTORS

    def __init__(
        self,
        options: NeuralOptions | None = None,
        *,
        predictor_names: Sequence[str] = DEFAULT_PREDICTORS,
        predictor_units: Sequence[str] = ("m3 m-3", "K", "m2 m-2"),
        output_name: str = "sigma40",
        output_unit: str = "dB",
    ) -> None:
        self.options = options or NeuralOptions()
        super().__init__(predictor_names, predictor_units, output_name, output_unit)
        self._networks: Networks | None = None
        self._packed: tuple[Array, IntArray] | None = None
        self._reasons: dict[int, str] = {}
        self._libraries: dict[str, str] = {}

    @property
    def networks(self) -> Networks:
        """Weights, scalers, sample counts and learning curves; UntrainedOperatorError before `fit`."""
        if self._networks is None:
            raise UntrainedOperatorError("this NeuralOperator has not been trained: call fit(predictors, target) first")
        return self._networks

    @property
    def cell_ids(self) -> IntArray:
        return self.networks.cell_ids

    @property
    def outcome(self) -> NDArray[np.int8]:
        """(cell,) `Outcome` codes."""
        return self.networks.outcome

    @property
    def usable(self) -> BoolArray:
        return self.networks.outcome == Outcome.TRAINED

    @property
    def reasons(self) -> dict[int, str]:
        """For each cell that was not trained, by its identity: the outcome and the numbers behind it."""
        return dict(self._reasons)

    def fit(
        self,
        predictors: ArrayLike,
        target: ArrayLike,
        *,
        cell_ids: ArrayLike | None = None,
        times: ArrayLike | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Trains one network per cell on the samples of the training window and returns this operator.

        A cell that cannot be trained stops nothing: it gets an `outcome` and a reason.

        Args:
            predictors: (cell, sample, predictor) in `predictor_units`.
            target: (cell, sample) in `output_unit`, NaN where missing. Samples in order of time, for the validation
                pieces.
            cell_ids: (cell,) identities, which with the seed decide the random numbers.
            times: (sample,), checked to be distinct.
            workers: blocks trained at the same time (default: as many as processors), without influence on the result.
            progress: called with (cells done, cells).

        Raises:
            PredictorShapeError: shapes that do not fit the names or each other.
            DuplicateTimesError: times that repeat.
            EmptyTrainingWindowError: not one valid target in any cell.
        """
        x, y = checked_samples(predictors, target, self._names, times, self._outputs)
        require_target(y, self._names)
        return self._fit(x, y, checked_cell_ids(cell_ids, x.shape[0]), workers or available_processors(), progress)

    def fit_block(self, predictors: ArrayLike, target: ArrayLike, *, cell_ids: ArrayLike | None = None) -> Self:
        """See `TrainableOperator`: the cells of one or more whole training blocks (`block_size`), in this thread."""
        x, y = checked_samples(predictors, target, self._names, None, self._outputs)
        identities = checked_cell_ids(cell_ids, x.shape[0])
        if not identities.size:
            self._set(self._untrained(identities), {}, {})
            return self
        return self._fit(x, y, identities, 1, None)

    def _fit(
        self, x: Array, y: Array, identities: IntArray, workers: int, progress: Callable[[int, int], None] | None
    ) -> Self:
        from ldas.operators.batched_training import library_versions

        size = self.options.block_size
        starts = range(0, x.shape[0], size)
        # Imports TensorFlow here, in the caller's thread, before the workers need it.
        libraries = library_versions()
        done = 0
        parts: list[tuple[Networks, dict[int, str]]] = []
        with ThreadPoolExecutor(workers) as pool:
            for part in pool.map(
                lambda start: self._train_cells(
                    x[start : start + size], y[start : start + size], identities[start : start + size]
                ),
                starts,
            ):
                parts.append(part)
                done += part[0].cell_ids.size
                if progress is not None:
                    progress(done, x.shape[0])
        self._set(
            Networks.concatenate([networks for networks, _ in parts]),
            {cell: reason for _, reasons in parts for cell, reason in reasons.items()},
            libraries,
        )
        return self

    def _untrained(self, cell_ids: IntArray) -> Networks:
        """Networks of these cells, still to be trained."""
        options = self.options
        widths = (len(self.predictor_names), *options.hidden, *(self._outputs or (1,)))
        return Networks.untrained(cell_ids, widths, options.epochs, options.precision, self._outputs)

    @property
    def _outputs(self) -> tuple[int, ...]:
        """The number of outputs, where there are several."""
        return ()

    def _train_cells(self, x: Array, y: Array, cell_ids: IntArray) -> tuple[Networks, dict[int, str]]:
        """Networks and reasons of the cells of one training block; x (cell, sample, predictor), y (cell, sample)."""
        from ldas.operators.batched_training import train_block

        options = self.options
        cells, block = self._samples(x, y)
        padded_ids = np.concatenate([cell_ids, np.zeros(options.block_size - cell_ids.size, np.int64)])
        trained = train_block(block, padded_ids, options)

        used = slice(0, cell_ids.size)
        outcome = np.array([cell.outcome for cell in cells], np.int8)
        reasons = {int(cell): _reason(samples) for cell, samples in zip(cell_ids, cells, strict=True) if samples.reason}
        finite = np.isfinite(pack_weights(trained.kernels, trained.biases)[0][used]).all(axis=1)
        last_error = _last_finite(trained.training_error[used].reshape(cell_ids.size, options.epochs, -1)).max(axis=1)
        diverged = (outcome == Outcome.TRAINED) & ~(finite & (last_error < _DIVERGED_ABOVE))
        for position in np.flatnonzero(diverged):
            reasons[int(cell_ids[position])] = (
                f"{Outcome.DIVERGED.words}: after {options.epochs} epochs the mean squared error is "
                f"{last_error[position]:.3g} times the variance of the target; lower the learning rate "
                f"({options.learning_rate:g})"
            )
        outcome[diverged] = Outcome.DIVERGED
        left_out = outcome != Outcome.TRAINED

        def cells_only(part: NDArray[np.floating]) -> NDArray[np.floating]:
            kept = part[used].copy()
            kept[left_out] = np.nan
            return kept

        scale = block.target_std[used, None]
        networks = Networks(
            cell_ids=cell_ids,
            outcome=outcome,
            kernels=tuple(cells_only(kernel) for kernel in trained.kernels),
            biases=tuple(cells_only(bias) for bias in trained.biases),
            input_mean=block.input_mean[used],
            input_std=block.input_std[used],
            target_mean=block.target_mean[used],
            target_std=block.target_std[used],
            training_count=sample_counts(block.counts, block.present[:1])[used],
            validation_count=sample_counts(block.validation_counts, block.present[1:])[used],
            training_rmsd=(np.sqrt(trained.training_error[used]) * scale).astype(np.float32),
            validation_rmsd=(np.sqrt(trained.validation_error[used]) * scale).astype(np.float32),
        )
        return networks, reasons

    def _samples(self, x: Array, y: Array) -> tuple[list[CellSamples], BlockSamples]:
        """Samples of each cell of a block, and all of them ready to be trained with."""
        options = self.options
        cells = [self._cell(*part) for part in zip(x, y, strict=True)]
        validation_length = int(np.ceil(y.shape[1] * options.validation_fraction))
        return cells, scaled_block(cells, options.block_size, y.shape[1], validation_length, x.shape[2], self._outputs)

    def _cell(self, x: Array, y: Array) -> CellSamples:
        """The samples of a cell, x (sample, predictor) and y (sample,)."""
        return cell_samples(x, y, self._names, self.options.validation_fraction, self.options.minimum_samples)

    def predict(self, predictors: ArrayLike) -> Array:
        values, rows = self._checked_rows(predictors)
        networks = self.networks
        weights, sizes = self._packed_weights()
        output = np.empty(rows.shape[:2])
        scalers = (networks.input_mean, networks.input_std, networks.target_mean, networks.target_std)
        evaluate(weights, sizes, *scalers, rows, output)
        output[~self.usable] = np.nan
        return output.reshape(values.shape[:-1])

    def jacobian(self, predictors: ArrayLike) -> Array:
        values, rows = self._checked_rows(predictors)
        networks = self.networks
        weights, sizes = self._packed_weights()
        jacobian = np.empty(rows.shape)
        differentiate(weights, sizes, networks.input_mean, networks.input_std, networks.target_std, rows, jacobian)
        jacobian[~self.usable] = np.nan
        return jacobian.reshape(values.shape)

    def _checked_rows(self, predictors: ArrayLike) -> tuple[Array, Array]:
        """The predictors as given, checked, and as contiguous (cell, sample, predictor)."""
        values = checked_predictors(self, predictors)
        samples = values.size // max(values.shape[0] * values.shape[-1], 1)
        return values, np.ascontiguousarray(values.reshape(values.shape[0], samples, values.shape[-1]))

    @property
    def validation_error(self) -> Array:
        """(cell,) RMSD of the validation samples at the end of the training, NaN where there is none."""
        curves = self.networks.validation_rmsd
        if not curves.shape[1]:  # of a network from elsewhere
            return np.full(len(curves), np.nan)
        return _last_finite(curves[..., None].astype(np.float64))[:, 0]

    def _packed_weights(self) -> tuple[Array, IntArray]:
        """The weights as rows for the compiled kernels, made on first use."""
        if self._packed is None:
            self._packed = pack_weights(self.networks.kernels, self.networks.biases)
        return self._packed

    @classmethod
    def for_observation(cls, names: Names, options: NeuralOptions) -> Self:
        """See `TrainableOperator`."""
        return cls(options, **names._asdict())

    def untrained(self, options: NeuralOptions) -> Self:
        """An operator of the same predictors and output with other options, still to be trained."""
        return type(self)(options, **self._names._asdict())

    def select(self, cells: ArrayLike) -> Self:
        other = self.untrained(self.options)
        networks = self.networks.select(cells)
        kept = set(networks.cell_ids.tolist())
        other._set(networks, {cell: why for cell, why in self._reasons.items() if cell in kept}, self._libraries)
        return other

    def to_arrays(self) -> OperatorArrays:
        arrays, dimensions = self.networks.to_arrays()
        attributes = {
            "format_version": FORMAT_VERSION,
            "predictor_names": list(self.predictor_names),
            "predictor_units": list(self.predictor_units),
            "output_name": self.output_name,
            "output_unit": self.output_unit,
            "options": {
                key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.options).items()
            },
            "reasons": {str(cell): reason for cell, reason in self._reasons.items()},
            "libraries": dict(self._libraries),
        }
        return OperatorArrays(self.KIND, arrays, dimensions, attributes)

    @classmethod
    def from_arrays(cls, stored: OperatorArrays) -> Self:
        attributes: Mapping[str, Any] = required_attributes(
            stored,
            cls.KIND,
            ("predictor_names", "predictor_units", "options", "reasons", "libraries"),
        )
        try:
            given = attributes["options"].items()
            options = cls.OPTIONS(**{key: tuple(value) if isinstance(value, list) else value for key, value in given})
            operator = cls._of_attributes(attributes, options)
            reasons = {int(cell): str(reason) for cell, reason in attributes["reasons"].items()}
        except (TypeError, KeyError, AttributeError, OperatorOptionError) as error:
            raise OperatorFormatError(f"stored {cls.KIND} operator: attributes that cannot be read: {error}") from error
        networks = Networks.from_arrays(stored, len(operator.predictor_names), options.hidden, operator._outputs)
        operator._set(networks, reasons, dict(attributes["libraries"]))
        return operator

    @classmethod
    def _of_attributes(cls, attributes: Mapping[str, Any], options: NeuralOptions) -> Self:
        """An operator without cells of the stored names."""
        return cls(
            options,
            predictor_names=text_tuple(attributes["predictor_names"], "predictor_names"),
            predictor_units=text_tuple(attributes["predictor_units"], "predictor_units"),
            output_name=str(attributes["output_name"]),
            output_unit=str(attributes["output_unit"]),
        )

    def with_networks(self, networks: Networks) -> Self:
        """An operator of the same options and names with networks from elsewhere; shapes are checked."""
        arrays, dimensions = networks.to_arrays()
        stored = OperatorArrays(self.KIND, arrays, dimensions, {})
        other = self.untrained(self.options)
        width = len(self.predictor_names)
        other._set(Networks.from_arrays(stored, width, self.options.hidden, self._outputs), {}, {})
        return other

    def _set(self, networks: Networks, reasons: dict[int, str], libraries: dict[str, str]) -> None:
        self._networks, self._packed = networks, None
        self._reasons, self._libraries = reasons, libraries


def available_processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _reason(samples: CellSamples) -> str:
    return f"{samples.outcome.words}: {samples.reason}"


def _last_finite(errors: Array) -> Array:
    """(cell, epoch, output) -> (cell, output) the error of the last epoch a cell ran; NaN if there is none."""
    epochs = np.where(np.isnan(errors), -1, np.arange(errors.shape[1])[:, None]).max(axis=1)
    return np.take_along_axis(errors, epochs[:, None], axis=1)[:, 0]
