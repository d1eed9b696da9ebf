"""One network for several observations of a sensor, such as brightness temperature at two polarisations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array, IntArray
from ldas.operators.arrays import check_finite, required_array, text_tuple
from ldas.operators.errors import OperatorMismatchError, OperatorOptionError
from ldas.operators.networks import Networks
from ldas.operators.neural import NeuralOperator
from ldas.operators.options import NeuralOptions
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import DEFAULT_PREDICTORS, Names, OperatorArrays
from ldas.operators.samples import CellSamples, cell_samples, validation_samples

# Residuals that the estimated correlation of a cell is shrunk by: n of them count n / (n + 10).
_SHRINKAGE = 10.0


class JointOperator(NeuralOperator):
    """Several observations of each cell from one small network with an output for each.

    Training, options and storage are those of `NeuralOperator`; a target (cell, sample, output) may be missing in a
    sample that has others. A filter takes one observation at a time: `output` gives the operator of it.
    """

    KIND: ClassVar[str] = "joint"

    def __init__(
        self,
        options: NeuralOptions | None = None,
        *,
        predictor_names: Sequence[str] = DEFAULT_PREDICTORS,
        predictor_units: Sequence[str] = ("m3 m-3", "K", "m2 m-2"),
        output_names: Sequence[str] = ("tbh", "tbv"),
        output_units: Sequence[str] = ("K", "K"),
    ) -> None:
        self.output_names, self.output_units = tuple(output_names), tuple(output_units)
        if len(set(self.output_names)) != len(self.output_names) or len(self.output_names) < 2:
            raise OperatorOptionError(f"a joint operator has two or more distinct outputs, got {self.output_names}")
        if len(self.output_units) != len(self.output_names):
            raise OperatorOptionError(f"outputs {self.output_names} need one unit each, got {self.output_units}")
        super().__init__(
            options,
            predictor_names=predictor_names,
            predictor_units=predictor_units,
            output_name=", ".join(self.output_names),
            output_unit=", ".join(dict.fromkeys(self.output_units)),
        )
        outputs = len(self.output_names)
        self._residual_covariance = np.zeros((0, outputs, outputs))
        self._residual_count = np.zeros(0, np.int64)

    @property
    def residual_covariance(self) -> Array:
        """(cell, output, output) mean products of the residuals, in the validation samples that have all targets."""
        return self._residual_covariance

    @property
    def residual_count(self) -> IntArray:
        """(cell,) how many samples these are."""
        return self._residual_count

    def output(self, name: str) -> NeuralOperator:
        """The operator of one of the observations; OperatorMismatchError for one that is not predicted."""
        if name not in self.output_names:
            raise OperatorMismatchError(
                f"{type(self).__name__}: the run asks for output {name}, the operator was made for "
                f"{', '.join(self.output_names)}; train an operator for this run or correct the configuration"
            )
        place = self.output_names.index(name)
        one = NeuralOperator(self.options, **self._names_of(place)._asdict())
        one._set(self.networks.output(place), self.reasons, self._libraries)
        return one

    @property
    def residual_correlation(self) -> Array:
        """(cell, output, output) correlation of the residuals of n samples, times n / (n + 10) off the diagonal, so
        that it is positive definite, and 0 where there are none."""
        covariance, number = self._residual_covariance, self._residual_count[:, None, None]
        spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        spread = spread[:, :, None] * spread[:, None, :]
        correlation = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0.0)
        return np.where(np.eye(spread.shape[1]) > 0.0, 1.0, correlation * number / (number + _SHRINKAGE))

    def predict(self, predictors: ArrayLike) -> Array:
        """(cell, ..., predictor) -> (cell, ..., output); see `ObservationOperator`."""
        return np.stack([self.output(name).predict(predictors) for name in self.output_names], axis=-1)

    def jacobian(self, predictors: ArrayLike) -> Array:
        """(cell, ..., predictor) -> (cell, ..., output, predictor); see `ObservationOperator`."""
        return np.stack([self.output(name).jacobian(predictors) for name in self.output_names], axis=-2)

    def untrained(self, options: NeuralOptions) -> Self:
        """An operator of the same predictors and outputs with other options, still to be trained."""
        return type(self)(
            options,
            predictor_names=self.predictor_names,
            predictor_units=self.predictor_units,
            output_names=self.output_names,
            output_units=self.output_units,
        )

    def select(self, cells: ArrayLike) -> Self:
        part = super().select(cells)
        chosen = np.asarray(cells)
        part._residual_covariance = self._residual_covariance[chosen]
        part._residual_count = self._residual_count[chosen]
        return part

    def to_arrays(self) -> OperatorArrays:
        stored = super().to_arrays()
        attributes = {key: value for key, value in stored.attributes.items() if not key.startswith("output_")}
        return OperatorArrays(
            self.KIND,
            {
                **stored.arrays,
                "residual_covariance": self._residual_covariance,
                "residual_count": self._residual_count,
            },
            {
                **stored.dimensions,
                "residual_covariance": ("cell", "output", "other_output"),
                "residual_count": ("cell",),
            },
            {**attributes, "output_names": list(self.output_names), "output_units": list(self.output_units)},
        )

    @classmethod
    def from_arrays(cls, stored: OperatorArrays) -> Self:
        operator = super().from_arrays(stored)
        cells, outputs = operator.cell_ids.size, len(operator.output_names)
        names = ("residual_covariance", "residual_count")
        covariance = required_array(stored, names[0], shape=(cells, outputs, outputs))
        count = required_array(stored, names[1], shape=(cells,))
        check_finite(stored, names, operator.usable)
        operator._residual_covariance = covariance.astype(np.float64)
        operator._residual_count = count.astype(np.int64)
        return operator

    @classmethod
    def _of_attributes(cls, attributes: Mapping[str, Any], options: NeuralOptions) -> Self:
        names = ("predictor_names", "predictor_units", "output_names", "output_units")
        return cls(options, **{name: text_tuple(attributes[name], name) for name in names})

    @property
    def _outputs(self) -> tuple[int, ...]:
        return (len(self.output_names),)

    def _names_of(self, place: int) -> Names:
        """Names of the predictors and one output."""
        return self._names._replace(output_name=self.output_names[place], output_unit=self.output_units[place])

    def _fit(
        self, x: Array, y: Array, identities: IntArray, workers: int, progress: Callable[[int, int], None] | None
    ) -> Self:
        super()._fit(x, y, identities, workers, progress)
        for cell in np.flatnonzero(self.usable):
            samples = self._cell(x[cell], y[cell])
            left = self.select([cell]).predict(samples.validation_predictors[None])[0] - samples.validation_target
            left = left[np.isfinite(left).all(axis=1)]
            self._residual_covariance[cell] = left.T @ left / max(len(left), 1)
            self._residual_count[cell] = len(left)
        return self

    def _set(self, networks: Networks, reasons: dict[int, str], libraries: dict[str, str]) -> None:
        super()._set(networks, reasons, libraries)
        cells = networks.cell_ids.size
        self._residual_covariance = np.zeros((cells, *self._outputs, *self._outputs))
        self._residual_count = np.zeros(cells, np.int64)

    def _cell(self, x: Array, y: Array) -> CellSamples:
        """The samples of a cell that have a target or more; it is trained if each target could be trained alone."""
        options = self.options
        for place, target in enumerate(y.T):
            alone = cell_samples(x, target, self._names_of(place), options.validation_fraction, options.minimum_samples)
            if alone.outcome is not Outcome.TRAINED:
                return alone._replace(target=y[:0], validation_target=y[:0])
        there = np.isfinite(y).any(axis=1)
        x, y = x[there].astype(np.float64), y[there].astype(np.float64)
        kept_out = validation_samples(len(y), options.validation_fraction)
        return CellSamples(Outcome.TRAINED, "", x[~kept_out], y[~kept_out], x[kept_out], y[kept_out])
