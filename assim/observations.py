"""Observations as a filter takes them: types with their operator, error and limits, and their values of one window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.assim.errors import FilterConfigurationError, ObservationInputError
from ldas.assim.predictors import predictor_unit
from ldas.assim.quality import CodeArray
from ldas.landmodel.array_types import Array
from ldas.operators.checks import require
from ldas.operators.protocol import ObservationOperator


@dataclass(frozen=True)
class ObservationError:
    """Standard deviation sigma_o of an observation type; R = sigma_o^2.

    absolute: `size` in the unit of the observation; relative: `size` times the observation (LAI: 0.2);
    dynamic_range: `size` times COFSWI (SODA's soil moisture: 0.4); given: `size` times the observation's own
    uncertainty. `size` is one positive number, or one per cell (for instance from `diagnostics.estimated_error`).
    """

    kind: Literal["absolute", "relative", "dynamic_range", "given"]
    size: float | Array = 1.0

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError unless every size is positive and finite."""
        size = np.atleast_1d(np.asarray(self.size, dtype=np.float64))
        bad = ~(np.isfinite(size) & (size > 0.0))
        if bad.any():
            raise FilterConfigurationError(
                f"observation error ({self.kind}): sizes must be positive and finite, got {size[bad][0]} "
                f"at position {int(np.argmax(bad))}; a standard deviation is meant, not a variance"
            )

    def sigma(self, value: Array, uncertainty: Array | None, dynamic_range: Array) -> Array:
        """sigma_o (cell,) for observations (cell,); dynamic_range (cell,) in m3 m-3."""
        if self.kind == "given" and uncertainty is None:
            raise ObservationInputError(
                "observation error 'given' needs the observations' uncertainty, but none was given"
            )
        scale: Mapping[str, Array | float | None] = {
            "absolute": 1.0,
            "relative": value,
            "dynamic_range": dynamic_range,
            "given": uncertainty,
        }
        return np.asarray(self.size * np.broadcast_to(np.asarray(scale[self.kind]), value.shape))


@dataclass(frozen=True)
class ObservationType:
    """One kind of observation: how the model sees it, how good it is, and when it is refused.

    name: "sigma40", "lai", "swi", ...; operator: from grid means of model variables (named LAI, WG2, TG2, ...) to the
    observation; valid_range: of the observation, in the operator's output unit; innovation_limit: largest
    |innovation| (SODA's XQCOBS, 999 there: off); assimilate: False compares with the model only; reject_frozen and
    reject_snow: whether frozen soil or snow in the model masks it. error_correlation: correlation of its errors with
    those of other types, by their name, at the same time; one number, or one per cell. Said by one of the two.
    """

    name: str
    operator: ObservationOperator
    error: ObservationError
    valid_range: tuple[float, float] = (-np.inf, np.inf)
    innovation_limit: float = np.inf
    assimilate: bool = True
    reject_frozen: bool = True
    reject_snow: bool = True
    error_correlation: Mapping[str, float | Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises FilterConfigurationError for predictors that the land model does not have, or in another unit."""
        units = tuple(predictor_unit(name) for name in self.operator.predictor_names)
        if units != self.operator.predictor_units:
            raise FilterConfigurationError(
                f"{self.name}: the operator takes {self.operator.predictor_names} in {self.operator.predictor_units}, "
                f"the land model gives them in {units}; train the operator in the model's units"
            )
        if not self.valid_range[0] < self.valid_range[1] or not self.innovation_limit > 0.0:
            raise FilterConfigurationError(
                f"{self.name}: valid_range must rise and innovation_limit must be positive, "
                f"got {self.valid_range} and {self.innovation_limit}"
            )


class WindowObservations(NamedTuple):
    """Observations of one type in one window: one per cell, or several with a time of their own.

    value (cell,), NaN where missing; uncertainty (cell,), standard deviation in the same unit, or None; quality
    (cell,), a code of `Quality` from the preparation (static masks, product flags), 0 where nothing is wrong, or None.
    They are compared with the model at the window's end. With `time` (cell, overpass), UTC, NaT where there is none,
    all are (cell, overpass): each is an observation of its own, compared with the model at its time.
    bias, error_scale and bias_variance, of the value's shape and None where nothing is estimated: the filter compares
    value - bias with the model, and the error variance is error_scale sigma_o^2 + bias_variance. Valid range and
    sigma_o are of the value itself. open_loop_departure, of the value's shape: value minus operator at states that no
    analysis has touched, NaN where unknown; where it is given, `aware_cycle` judges the bias by it.
    """

    value: Array
    uncertainty: Array | None = None
    quality: CodeArray | None = None
    time: NDArray[np.datetime64] | None = None
    bias: Array | None = None
    error_scale: Array | None = None
    bias_variance: Array | None = None
    open_loop_departure: Array | None = None

    @property
    def rows(self) -> int:
        """How many observations a cell has, at most: the rows of this type in the analysis."""
        return 1 if self.time is None else self.time.shape[1]

    def overpass(self, place: int) -> "WindowObservations":
        """One of the overpasses of each cell, without its time."""
        parts = {name: part[:, place] for name, part in self._asdict().items() if part is not None and name != "time"}
        return WindowObservations(**parts)

    @property
    def corrected(self) -> Array:
        """The value without its bias, of the same shape."""
        return self.value if self.bias is None else self.value - self.bias

    def sigma(self, error: ObservationError, dynamic_range: Array) -> Array:
        """sigma_o (cell,) of the observations of a type, as estimated where it is; dynamic_range (cell,), m3 m-3."""
        sigma = error.sigma(self.value, self.uncertainty, dynamic_range)
        if self.error_scale is None or self.bias_variance is None:
            return sigma
        # An error that is not positive stays what it is, so that it is found.
        return np.where(sigma > 0.0, np.sqrt(self.error_scale * sigma**2 + self.bias_variance), sigma)


def checked_types(types: Sequence[ObservationType], cell_ids: NDArray[np.int64]) -> tuple[ObservationType, ...]:
    """The types, all with operators for exactly these cells (OperatorMismatchError) and with distinct names."""
    names = [kind.name for kind in types]
    if len(set(names)) != len(names):
        raise FilterConfigurationError(f"observation types must have distinct names, got {names}")
    for kind in types:
        require(kind.operator, cell_ids=cell_ids)
        if np.ndim(kind.error.size) and np.shape(kind.error.size) != cell_ids.shape:
            raise FilterConfigurationError(
                f"{kind.name}: {np.size(kind.error.size)} observation errors for {cell_ids.size} cells; give one each"
            )
    return tuple(types)


def correlations_of_types(types: Sequence[ObservationType], cells: int) -> Array | None:
    """(cell, type, type) correlations of the types' errors; None where all are independent.

    Raises:
        FilterConfigurationError: a type that the filter does not have, two numbers for one pair, numbers that do not
            fit the cells, or a matrix that is not positive definite.
    """
    if not any(kind.error_correlation for kind in types):
        return None
    place = {kind.name: number for number, kind in enumerate(types)}
    matrix = np.broadcast_to(np.eye(len(types)), (cells, len(types), len(types))).copy()
    said = set()
    for kind in types:
        for other, number in kind.error_correlation.items():
            pair = " and ".join(sorted((kind.name, other)))
            if other not in place or other == kind.name:
                raise FilterConfigurationError(
                    f"error correlation of {kind.name} with {other}: expected another of {', '.join(place)}"
                )
            if pair in said:
                raise FilterConfigurationError(f"the error correlation of {pair} is given twice: give it once")
            if np.ndim(number) and np.shape(number) != (cells,):
                raise FilterConfigurationError(
                    f"error correlation of {pair}: {np.size(number)} numbers for {cells} cells; give one each"
                )
            said.add(pair)
            i, j = place[kind.name], place[other]
            matrix[:, i, j] = matrix[:, j, i] = number
    smallest = np.linalg.eigvalsh(np.where(np.isfinite(matrix), matrix, 2.0))[:, 0]  # 2 is no correlation either
    if (bad := ~(smallest > 0.0)).any():
        cell = int(np.argmax(bad))
        raise FilterConfigurationError(
            f"error correlations of {', '.join(place)} are not positive definite at cell position {cell}: "
            f"{np.array2string(matrix[cell], precision=3)}; correlations lie between -1 and 1, and those of three "
            "observations must be possible together"
        )
    return matrix


def checked_observations(
    observations: Mapping[str, WindowObservations], types: Sequence[ObservationType], cells: int
) -> dict[str, WindowObservations]:
    """Observations of every type, missing where none came; ObservationInputError for what cannot be meant."""
    unknown = sorted(set(observations) - {kind.name for kind in types})
    if unknown:
        raise ObservationInputError(
            f"observations of unknown type {unknown}; the filter has {[kind.name for kind in types]}"
        )
    nothing = WindowObservations(np.full(cells, np.nan))
    checked = {}
    for kind in types:
        given = observations.get(kind.name, nothing)
        expected = (cells,) if given.time is None else (cells, *np.shape(given.time)[1:2])
        for part, array in zip(given._fields, given, strict=True):
            if array is not None and np.shape(array) != expected:
                raise ObservationInputError(
                    f"{kind.name}: {part} must be one number for each of the {cells} cells"
                    + ("" if given.time is None else " and overpasses")
                    + f", got shape {np.shape(array)}"
                )
        if given.uncertainty is not None and (given.uncertainty < 0.0).any():
            where = tuple(int(index) for index in np.argwhere(given.uncertainty < 0.0)[0])
            raise ObservationInputError(
                f"{kind.name}: negative uncertainty {given.uncertainty[where]:g} at cell position {where[0]}; "
                "a standard deviation is never negative: is it a fill value?"
            )
        checked[kind.name] = given
    return checked
