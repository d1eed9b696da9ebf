"""The water cloud model: backscatter of bare soil seen through a cloud of water droplets, the vegetation.

Attema and Ulaby (1978), Vegetation modeled as a water cloud, Radio Science 13(2), 357-364, in the form calibrated per
cell by Lievens et al. (2017), Joint Sentinel-1 and SMAP data assimilation to improve soil moisture estimates,
Geophysical Research Letters 44, 6145-6153, with leaf area index as vegetation descriptor:

    sigma = A V cos(theta) (1 - t2) + t2 10^((C + D W) / 10),   t2 = exp(-2 B V / cos(theta))

with V the leaf area index, W the surface soil moisture, sigma in linear power, the observation 10 log10(sigma) in dB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array, BoolArray, IntArray
from ldas.operators.arrays import (
    FORMAT_VERSION,
    check_finite,
    checked_outcome,
    required_array,
    required_attributes,
    text_tuple,
)
from ldas.operators.base import NamedOperator
from ldas.operators.checks import checked_cell_ids, checked_predictors
from ldas.operators.errors import OperatorFormatError, OperatorOptionError, UntrainedOperatorError
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import Names, OperatorArrays
from ldas.operators.samples import CellSamples, cell_samples, checked_samples, require_target
from ldas.operators.water_cloud_calibration import Found, Samples, search

_DECIBEL = 10.0 / np.log(10.0)
PARAMETERS = ("vegetation_scattering", "vegetation_attenuation", "dry_soil_backscatter", "soil_moisture_sensitivity")
# Where the search starts; the best of these ends is taken, so that one poor valley does not decide.
STARTS = np.array([[0.05, 0.1, -15.0, 25.0], [0.2, 0.5, -20.0, 40.0], [0.01, 0.02, -12.0, 15.0]])
_SAMPLES_AT_A_TIME = 2**14  # arrays that stay in the processor's cache


@dataclass(frozen=True)
class WaterCloudOptions:
    """Bounds (lowest, highest) of the calibrated parameters, and the geometry.

    vegetation_scattering A (1), vegetation_attenuation B (1), dry_soil_backscatter C (dB),
    soil_moisture_sensitivity D (dB per m3 m-3); incidence_angle theta (degree), that of sigma40.
    """

    vegetation_scattering: tuple[float, float] = (0.0, 1.0)
    vegetation_attenuation: tuple[float, float] = (0.0, 1.0)
    dry_soil_backscatter: tuple[float, float] = (-35.0, -5.0)
    soil_moisture_sensitivity: tuple[float, float] = (0.0, 80.0)
    incidence_angle: float = 40.0
    minimum_samples: int = 100

    def __post_init__(self) -> None:
        for name in PARAMETERS:
            lowest, highest = getattr(self, name)
            if not lowest < highest:
                raise OperatorOptionError(
                    f"water cloud bounds of {name}: lowest must be below highest, got {lowest, highest}"
                )
        if self.vegetation_scattering[0] < 0.0 or self.vegetation_attenuation[0] < 0.0:
            raise OperatorOptionError(
                "water cloud: the bounds of vegetation_scattering and vegetation_attenuation must not be negative"
            )
        if not 0.0 <= self.incidence_angle < 90.0:
            raise OperatorOptionError(
                f"water cloud: incidence_angle must be 0 to 90 degrees, got {self.incidence_angle}"
            )

    @property
    def bounds(self) -> Array:
        """(2, parameter) lowest and highest values in the order of PARAMETERS."""
        return np.array([getattr(self, name) for name in PARAMETERS], dtype=np.float64).T


class _Terms(NamedTuple):
    """Parts of the model, all in linear power: total, soil share seen, bare soil, transmissivity t2, A V cos(theta)."""

    total: Array
    soil: Array
    bare_soil: Array
    transmissivity: Array
    canopy: Array


def _terms(parameters: Sequence[Array] | Array, moisture: Array, leaf_area: Array, cosine: float) -> _Terms:
    scattering, attenuation, dry_soil, sensitivity = parameters
    transmissivity = np.exp(-2.0 * attenuation * leaf_area / cosine)
    bare_soil = 10.0 ** ((dry_soil + sensitivity * moisture) / 10.0)
    canopy = scattering * leaf_area * cosine
    soil = transmissivity * bare_soil
    return _Terms(canopy * (1.0 - transmissivity) + soil, soil, bare_soil, transmissivity, canopy)


class WaterCloudOperator(NamedOperator):
    """sigma40 (dB) from soil moisture and leaf area index, four parameters per cell calibrated within bounds."""

    KIND: ClassVar[str] = "water_cloud"
    OPTIONS: ClassVar[type] = WaterCloudOptions
    PREDICTORS: ClassVar[tuple[str, ...] | None] = ("WG2", "LAI")

    def __init__(
        self,
        options: WaterCloudOptions | None = None,
        *,
        predictor_names: Sequence[str] = ("WG2", "LAI"),
        output_name: str = "sigma40",
    ) -> None:
        super().__init__(predictor_names, ("m3 m-3", "m2 m-2"), output_name, "dB")
        self.options = options or WaterCloudOptions()
        self._cosine = float(np.cos(np.deg2rad(self.options.incidence_angle)))
        self._cell_ids: IntArray | None = None
        self._outcome = np.zeros(0, np.int8)
        self._parameters = np.zeros((0, len(PARAMETERS)))
        self._training_count = np.zeros(0, np.int64)
        self._training_rmsd = np.zeros(0)
        self._reasons: dict[int, str] = {}

    @classmethod
    def for_observation(cls, names: Names, options: WaterCloudOptions) -> Self:
        """See `TrainableOperator`; OperatorOptionError unless predictors and output have the units of the model."""
        units = (*names.predictor_units, names.output_unit)
        if units != ("m3 m-3", "m2 m-2", "dB"):
            raise OperatorOptionError(
                "the water cloud model predicts dB from soil moisture (m3 m-3) and leaf area index (m2 m-2), in this "
                f"order; got {names.output_name} in {names.output_unit} from {', '.join(names.predictor_names)}"
            )
        return cls(options, predictor_names=names.predictor_names, output_name=names.output_name)

    @property
    def cell_ids(self) -> IntArray:
        """(cell,) identities; UntrainedOperatorError before `fit`."""
        if self._cell_ids is None:
            raise UntrainedOperatorError(
                "this WaterCloudOperator has not been calibrated: call fit(predictors, target)"
            )
        return self._cell_ids

    @property
    def outcome(self) -> NDArray[np.int8]:
        """(cell,) `Outcome` codes."""
        return self._outcome

    @property
    def usable(self) -> BoolArray:
        """(cell,) True where the parameters were found."""
        return self._outcome == Outcome.TRAINED

    @property
    def reasons(self) -> dict[int, str]:
        """For each cell that was not calibrated, by its identity: the outcome and the numbers behind it."""
        return dict(self._reasons)

    @property
    def parameters(self) -> Array:
        """(cell, 4) in the order of PARAMETERS; NaN in cells that are not usable."""
        return self._parameters

    @property
    def training_rmsd(self) -> Array:
        """(cell,) RMSD in dB over the calibration samples; NaN in cells that are not usable."""
        return self._training_rmsd

    def fit(
        self,
        predictors: ArrayLike,
        target: ArrayLike,
        *,
        cell_ids: ArrayLike | None = None,
        times: ArrayLike | None = None,
    ) -> Self:
        """Calibrates each cell by bounded nonlinear least squares (`water_cloud_calibration`) and returns self.

        No cell influences another. Errors and outcomes are those of
        `NeuralOperator.fit`.

        Args:
            predictors: (cell, sample, 2) soil moisture (m3 m-3) and leaf area index (m2 m-2).
            target: (cell, sample) dB, NaN where missing.
            cell_ids: (cell,) identities.
            times: (sample,), checked to be distinct.
        """
        x, y = checked_samples(predictors, target, self._names, times)
        require_target(y, self._names)
        return self.fit_block(x, y, cell_ids=cell_ids)

    def fit_block(self, predictors: ArrayLike, target: ArrayLike, *, cell_ids: ArrayLike | None = None) -> Self:
        """See `TrainableOperator`."""
        x, y = checked_samples(predictors, target, self._names, None)
        identities = checked_cell_ids(cell_ids, x.shape[0])
        cells = [cell_samples(x[i], y[i], self._names, 0.0, self.options.minimum_samples) for i in range(x.shape[0])]
        self._cell_ids = identities
        self._parameters = np.full((identities.size, len(PARAMETERS)), np.nan)
        self._training_rmsd = np.full(identities.size, np.nan)
        self._training_count = np.array([cell.target.size for cell in cells], np.int64)
        self._outcome = np.array([cell.outcome for cell in cells], np.int8)
        trained = np.flatnonzero(self._outcome == Outcome.TRAINED)
        # as many cells at a time as have small arrays: no cell's numbers depend on it
        group = np.cumsum(self._training_count[trained]) // _SAMPLES_AT_A_TIME
        for number in np.unique(group):
            chosen = trained[group == number]
            found = self._calibrated([cells[place] for place in chosen])
            self._parameters[chosen] = found.parameters
            self._training_rmsd[chosen] = np.sqrt(found.squares / self._training_count[chosen])
            self._outcome[chosen[~found.converged]] = Outcome.DIVERGED
        self._reasons = {}
        for position, cell in enumerate(cells):
            identity = int(identities[position])
            if cell.outcome is not Outcome.TRAINED:
                self._reasons[identity] = f"{cell.outcome.words}: {cell.reason}"
            elif self._outcome[position] == Outcome.DIVERGED:
                self._reasons[identity] = f"{Outcome.DIVERGED.words}: no start of the calibration came to an end"
        return self

    def _calibrated(self, cells: Sequence[CellSamples]) -> Found:
        """What the best of several starts found in each cell; NaN where none came to an end."""
        x = np.ascontiguousarray(np.concatenate([cell.predictors for cell in cells]).T)
        target = np.concatenate([cell.target for cell in cells])
        samples = Samples(x[0], x[1], target, np.array([cell.target.size for cell in cells]))
        bounds = self.options.bounds
        # A start must lie inside the bounds: one that does not is moved in by a hundredth of their width.
        margin = 0.01 * (bounds[1] - bounds[0])
        starts = np.clip(STARTS, bounds[0] + margin, bounds[1] - margin)
        ends = [search(self.residuals, samples, start, bounds) for start in starts]
        squares = np.array([np.where(end.converged, end.squares, np.inf) for end in ends])
        best, every = squares.argmin(axis=0), np.arange(len(cells))
        converged = np.isfinite(squares[best, every])
        parameters = np.where(converged[:, None], np.array([end.parameters for end in ends])[best, every], np.nan)
        return Found(parameters, np.where(converged, squares[best, every], np.nan), converged)

    def residuals(self, parameters: Array, samples: Samples) -> tuple[Array, list[Array]]:
        """Predicted minus observed (dB) of samples, and its derivative to each parameter.

        Args:
            parameters: (4, sample), or (4,).
            samples: what is observed.
        """
        moisture, leaf_area, cosine = samples.moisture, samples.leaf_area, self._cosine
        terms = _terms(parameters, moisture, leaf_area, cosine)
        seen = terms.soil / terms.total
        attenuated = -2.0 * leaf_area / cosine * terms.transmissivity
        return _DECIBEL * np.log(terms.total) - samples.target, [
            _DECIBEL * leaf_area * cosine * (1.0 - terms.transmissivity) / terms.total,
            _DECIBEL * attenuated * (terms.bare_soil - terms.canopy) / terms.total,
            seen,
            moisture * seen,
        ]

    def _evaluated(self, predictors: ArrayLike) -> tuple[list[Array], Array, Array, _Terms]:
        """Parameters shaped to the predictors, soil moisture, leaf area index and the model's terms."""
        self.cell_ids  # noqa: B018 - raises before fit
        values = checked_predictors(self, predictors)
        shape = (values.shape[0],) + (1,) * (values.ndim - 2)
        parameters = [self._parameters[:, index].reshape(shape) for index in range(len(PARAMETERS))]
        moisture, leaf_area = values[..., 0], values[..., 1]
        return parameters, moisture, leaf_area, _terms(parameters, moisture, leaf_area, self._cosine)

    def predict(self, predictors: ArrayLike) -> Array:
        """(cell, ..., 2) -> (cell, ...) dB, see `ObservationOperator.predict`."""
        return _DECIBEL * np.log(self._evaluated(predictors)[3].total)

    def jacobian(self, predictors: ArrayLike) -> Array:
        """(cell, ..., 2) -> (cell, ..., 2) dB per m3 m-3 and dB per m2 m-2."""
        (scattering, attenuation, _, sensitivity), _, _, terms = self._evaluated(predictors)
        to_moisture = sensitivity * terms.soil / terms.total
        attenuated = -2.0 * attenuation / self._cosine * terms.transmissivity
        scattered = scattering * self._cosine * (1.0 - terms.transmissivity)
        to_leaf_area = _DECIBEL * (scattered + attenuated * (terms.bare_soil - terms.canopy)) / terms.total
        return np.stack([to_moisture, to_leaf_area], axis=-1)

    def select(self, cells: ArrayLike) -> Self:
        """The operator of some cells: positions or a mask along the cell axis."""
        chosen = np.asarray(cells)
        other = type(self)(self.options, predictor_names=self.predictor_names, output_name=self.output_name)
        other._cell_ids = self.cell_ids[chosen]
        for name in ("_outcome", "_parameters", "_training_count", "_training_rmsd"):
            setattr(other, name, getattr(self, name)[chosen])
        kept = set(other._cell_ids.tolist())
        other._reasons = {cell: reason for cell, reason in self._reasons.items() if cell in kept}
        return other

    def to_arrays(self) -> OperatorArrays:
        """Parameters, outcome, sample counts and RMSD per cell, with names and bounds."""
        arrays: dict[str, NDArray[np.generic]] = {
            "cell_ids": self.cell_ids,
            "outcome": self._outcome,
            "parameters": self._parameters,
            "training_count": self._training_count,
            "training_rmsd": self._training_rmsd,
        }
        dimensions = {name: ("cell", "parameter") if name == "parameters" else ("cell",) for name in arrays}
        options = asdict(self.options)
        attributes = {
            "format_version": FORMAT_VERSION,
            "predictor_names": list(self.predictor_names),
            "output_name": self.output_name,
            "parameter_names": list(PARAMETERS),
            "options": {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()},
            "reasons": {str(cell): reason for cell, reason in self._reasons.items()},
        }
        return OperatorArrays(self.KIND, arrays, dimensions, attributes)

    @classmethod
    def from_arrays(cls, stored: OperatorArrays) -> Self:
        """The operator that `to_arrays` took apart; OperatorFormatError where something is missing or altered."""
        attributes: Mapping[str, Any] = required_attributes(
            stored, cls.KIND, ("predictor_names", "output_name", "parameter_names", "options", "reasons")
        )
        if text_tuple(attributes["parameter_names"], "parameter_names") != PARAMETERS:
            raise OperatorFormatError(
                f"stored {cls.KIND} operator: parameters {attributes['parameter_names']}, expected {PARAMETERS}"
            )
        try:
            stored_options: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in attributes["options"].items()
            }
            options = WaterCloudOptions(**stored_options)
            reasons = {int(cell): str(reason) for cell, reason in attributes["reasons"].items()}
        except (TypeError, AttributeError, ValueError) as error:
            raise OperatorFormatError(f"stored {cls.KIND} operator: attributes that cannot be read: {error}") from error
        operator = cls(
            options,
            predictor_names=text_tuple(attributes["predictor_names"], "predictor_names"),
            output_name=str(attributes["output_name"]),
        )
        cells = required_array(stored, "cell_ids").size
        operator._outcome = checked_outcome(stored, cells)
        operator._cell_ids = required_array(stored, "cell_ids").astype(np.int64)
        operator._parameters = required_array(stored, "parameters", shape=(cells, len(PARAMETERS))).astype(np.float64)
        operator._training_count = required_array(stored, "training_count", shape=(cells,)).astype(np.int64)
        operator._training_rmsd = required_array(stored, "training_rmsd", shape=(cells,)).astype(np.float64)
        operator._reasons = reasons
        check_finite(stored, ["parameters"], operator.usable)
        return operator
