"""What the filter asks of an observation operator, whatever is inside: a neural network, a physical model, a copy.

An operator holds one independent function per grid cell, all cells stacked in arrays. `x` below is a predictor array
of shape (cell, ..., predictor), in the operator's own units; `...` are any axes (member, time, patch, none).
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array, BoolArray, IntArray

DEFAULT_PREDICTORS = ("WG2", "TG2", "LAI")
"""What backscatter is predicted from where nothing else is asked for (Corchia et al. 2023)."""


class Names(NamedTuple):
    """Names and units of predictors and output."""

    predictor_names: tuple[str, ...]
    predictor_units: tuple[str, ...]
    output_name: str
    output_unit: str


class OperatorArrays(NamedTuple):
    """An operator taken apart into what any file format can hold.

    kind: the name under which `ldas.operators.from_arrays` finds the class. arrays: numeric arrays by name.
    dimensions: the names of each array's axes. attributes: JSON values (names, units, options, seed).
    """

    kind: str
    arrays: Mapping[str, NDArray[np.generic]]
    dimensions: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, object]


@runtime_checkable
class ObservationOperator(Protocol):
    """Predicts an observation from model variables, cell by cell, with its exact derivative."""

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """Names of the predictors, in the order of the last axis of `x`, for example ("WG2", "TG2", "LAI")."""

    @property
    def predictor_units(self) -> tuple[str, ...]:
        """Units of the predictors, for example ("m3 m-3", "K", "m2 m-2")."""

    @property
    def output_name(self) -> str:
        """Name of the observation, for example "sigma40"."""

    @property
    def output_unit(self) -> str:
        """Unit of the observation, for example "dB"."""

    @property
    def cell_ids(self) -> IntArray:
        """(cell,) identity of each cell, the same in every subset and on every worker."""

    @property
    def usable(self) -> BoolArray:
        """(cell,) False where the operator has no valid function: predictions there are NaN, derivatives NaN."""

    def predict(self, predictors: ArrayLike) -> Array:
        """(cell, ..., predictor) -> (cell, ...) the observation in `output_unit`.

        Raises:
            PredictorShapeError: another shape.
            PredictorUnitError: values of another unit, by their size, in usable cells.
            NonFinitePredictorError: undefined values in usable cells.
        """

    def jacobian(self, predictors: ArrayLike) -> Array:
        """(cell, ..., predictor) -> (cell, ..., predictor) derivative of `predict` to each predictor, in float64."""

    def select(self, cells: ArrayLike) -> Self:
        """The operator of some cells only: positions (integers, a slice's indices) or a mask along the cell axis."""

    def to_arrays(self) -> OperatorArrays:
        """Everything that `from_arrays` needs to give back an operator with the same numbers."""

    @classmethod
    def from_arrays(cls, stored: OperatorArrays) -> Self:
        """The operator that `to_arrays` took apart; OperatorFormatError where something is missing or altered."""


class TrainingBlock(NamedTuple):
    """Samples of some cells: predictors (cell, sample, predictor), target (cell, sample), cell_ids (cell,), and static
    fields of the land by name, (cell,) or (cell, part)."""

    predictors: ArrayLike
    target: ArrayLike
    cell_ids: ArrayLike
    static: Mapping[str, ArrayLike]


class TrainableOperator(ObservationOperator, Protocol):
    """An operator that an experiment can train or calibrate: `kind: KIND` in the section `operators`.

    KIND: the name in the file and in the store; of another package's class, the name of its entry point in the group
    `ldas.operators`. OPTIONS: a frozen dataclass with a default for each option. PREDICTORS: those that it has where
    the file names none; None: the model variable that is observed.

    An operator whose cells are trained one without the other has a method `fit_block` besides, with the arguments of
    `fit` except `times`: an experiment then trains it block by block, of `options.block_size` cells where the options
    say so. There may be no target in the block: then no cell is usable. Given no cell, it returns an operator of no
    cell, whose arrays, with `cell` as first dimension and `cell_ids` among them, have the types and shapes of a trained
    one. An operator without that method is given all cells at once.

    An operator whose cells share weights may have both: see `SharingOperator`.
    """

    KIND: ClassVar[str]
    OPTIONS: ClassVar[type]
    PREDICTORS: ClassVar[tuple[str, ...] | None]

    @classmethod
    def for_observation(cls, names: Names, options: Any) -> Self:
        """An operator still to be trained; OperatorOptionError for predictors or units that it cannot have."""

    def fit(self, predictors: ArrayLike, target: ArrayLike, *, cell_ids: ArrayLike | None = None) -> Self:
        """Trains each cell on (cell, sample, predictor) and (cell, sample), NaN where missing; returns the operator."""

    @property
    def reasons(self) -> dict[int, str]:
        """Why a cell has no valid function, by its identity."""


@runtime_checkable
class SharingOperator(Protocol):
    """A `TrainableOperator` trained by blocks once the weights that all cells share are there.

    Where its options have `static`, names of fields of the land, its methods that train are given these fields.
    """

    def fit_shared(self, blocks: Iterable[TrainingBlock], cells: int) -> Self:
        """Trains what all cells share from blocks that come once, one after the other, of `cells` cells together."""

    def shared_arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """What all cells share, by name."""

    def with_shared(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """This operator, still without cells, with what `shared_arrays` gave; then `fit_block` trains its cells."""
