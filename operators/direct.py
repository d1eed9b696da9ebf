"""Observations that are a model variable themselves: surface soil moisture and leaf area index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array, BoolArray, IntArray
from ldas.operators.arrays import FORMAT_VERSION, required_array, required_attributes
from ldas.operators.base import NamedOperator
from ldas.operators.checks import checked_cell_ids, checked_predictors
from ldas.operators.errors import OperatorOptionError
from ldas.operators.protocol import Names, OperatorArrays


@dataclass(frozen=True)
class DirectOptions:
    """None: there is nothing to choose."""


class DirectOperator(NamedOperator):
    """The observation is its one predictor: y = x, dy/dx = 1, in every cell."""

    KIND: ClassVar[str] = "direct"
    OPTIONS: ClassVar[type] = DirectOptions
    PREDICTORS: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, cell_ids: ArrayLike, *, predictor_name: str, unit: str, output_name: str) -> None:
        super().__init__((predictor_name,), (unit,), output_name, unit)
        identities = np.asarray(cell_ids)
        self._cell_ids = checked_cell_ids(identities, identities.size)

    @classmethod
    def surface_soil_moisture(cls, cell_ids: ArrayLike, predictor_name: str = "WG2", output_name: str = "ssm") -> Self:
        """Soil moisture of a layer (m3 m-3; WG2: 0.01-0.04 m) as a rescaled soil moisture product observes it."""
        return cls(cell_ids, predictor_name=predictor_name, unit="m3 m-3", output_name=output_name)

    @classmethod
    def leaf_area_index(cls, cell_ids: ArrayLike, predictor_name: str = "LAI", output_name: str = "lai") -> Self:
        """Leaf area index (m2 m-2) as a LAI product observes it."""
        return cls(cell_ids, predictor_name=predictor_name, unit="m2 m-2", output_name=output_name)

    @classmethod
    def for_observation(cls, names: Names, options: DirectOptions) -> Self:
        """See `TrainableOperator`; OperatorOptionError unless there is one predictor, in the output's unit."""
        if names.predictor_units != (names.output_unit,):
            raise OperatorOptionError(
                f"a direct operator copies one model variable in the unit of {names.output_name} "
                f"({names.output_unit}); got {', '.join(names.predictor_names)}"
            )
        return cls(
            np.zeros(0, np.int64),
            predictor_name=names.predictor_names[0],
            unit=names.output_unit,
            output_name=names.output_name,
        )

    def fit(self, predictors: ArrayLike, target: ArrayLike, *, cell_ids: ArrayLike | None = None) -> Self:
        """The operator of these cells; there is nothing to train."""
        return self._for_cells(checked_cell_ids(cell_ids, np.shape(predictors)[0]))

    def fit_block(self, predictors: ArrayLike, target: ArrayLike, *, cell_ids: ArrayLike | None = None) -> Self:
        """See `TrainableOperator`."""
        return self.fit(predictors, target, cell_ids=cell_ids)

    @property
    def reasons(self) -> dict[int, str]:
        """None: every cell is usable."""
        return {}

    @property
    def cell_ids(self) -> IntArray:
        """(cell,) identities."""
        return self._cell_ids

    @property
    def usable(self) -> BoolArray:
        """(cell,) True everywhere: there is nothing to train."""
        return np.ones(self._cell_ids.size, np.bool_)

    def predict(self, predictors: ArrayLike) -> Array:
        """(cell, ..., 1) -> (cell, ...) the predictor, see `ObservationOperator.predict`."""
        return checked_predictors(self, predictors)[..., 0].copy()

    def jacobian(self, predictors: ArrayLike) -> Array:
        """(cell, ..., 1) -> (cell, ..., 1) ones."""
        return np.ones_like(checked_predictors(self, predictors))

    def select(self, cells: ArrayLike) -> Self:
        """The operator of some cells: positions or a mask along the cell axis."""
        return self._for_cells(self._cell_ids[np.asarray(cells)])

    def _for_cells(self, cell_ids: IntArray) -> Self:
        return type(self)(
            cell_ids, predictor_name=self.predictor_names[0], unit=self.output_unit, output_name=self.output_name
        )

    def to_arrays(self) -> OperatorArrays:
        """Cell identities and names."""
        attributes = {
            "format_version": FORMAT_VERSION,
            "predictor_name": self.predictor_names[0],
            "unit": self.output_unit,
            "output_name": self.output_name,
        }
        return OperatorArrays(self.KIND, {"cell_ids": self._cell_ids}, {"cell_ids": ("cell",)}, attributes)

    @classmethod
    def from_arrays(cls, stored: OperatorArrays) -> Self:
        """The operator that `to_arrays` took apart; OperatorFormatError where something is missing."""
        names = ("predictor_name", "unit", "output_name")
        attributes: Mapping[str, Any] = required_attributes(stored, cls.KIND, names)
        return cls(required_array(stored, "cell_ids"), **{name: str(attributes[name]) for name in names})
