"""Checks that every operator shares: shapes, units, finite values, and whether it is the operator a run asks for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array, IntArray
from ldas.operators.errors import (
    NonFinitePredictorError,
    OperatorMismatchError,
    PredictorShapeError,
    PredictorUnitError,
)
from ldas.operators.protocol import ObservationOperator


class PhysicalRange(NamedTuple):
    """Values a quantity in a unit can take, and what a value outside usually means."""

    lowest: float
    highest: float
    usual_cause: str


# Bounds wide enough for any land surface on Earth and narrow enough to notice another unit.
PHYSICAL_RANGES: dict[str, PhysicalRange] = {
    "m3 m-3": PhysicalRange(0.0, 1.0, "is it in percent or kg m-2?"),
    "K": PhysicalRange(150.0, 400.0, "is it in degrees Celsius?"),
    "m2 m-2": PhysicalRange(0.0, 20.0, "is a fill value or a scale factor left in it?"),
    "dB": PhysicalRange(-35.0, 5.0, "is it in linear units? sigma_dB = 10 log10(sigma)"),
}
UNBOUNDED = PhysicalRange(-np.inf, np.inf, "")


def physical_range(unit: str) -> PhysicalRange:
    """The values a quantity in `unit` can take; everything for units without a known range."""
    return PHYSICAL_RANGES.get(unit, UNBOUNDED)


def checked_predictors(operator: ObservationOperator, predictors: ArrayLike) -> Array:
    """Predictors (cell, ..., predictor) as float64, checked against the operator; unusable cells are not looked at.

    Raises:
        PredictorShapeError: another shape.
        NonFinitePredictorError: undefined values; names the first cell.
        PredictorUnitError: values of another unit, by their size; names the first cell.
    """
    values = np.asarray(predictors, dtype=np.float64)
    names, units, usable = operator.predictor_names, operator.predictor_units, operator.usable
    if values.ndim < 2 or values.shape[0] != usable.size or values.shape[-1] != len(names):
        raise PredictorShapeError(
            f"{type(operator).__name__}: predictors must have shape (cell, ..., predictor) = "
            f"({usable.size}, ..., {len(names)}) with predictors {', '.join(names)}, got {values.shape}; "
            "use select() for a part of the cells"
        )
    checked = values if usable.all() else values[usable]
    if checked.size == 0:
        return values
    for index, (name, unit) in enumerate(zip(names, units, strict=True)):
        column = checked[..., index]
        lowest, highest = column.min(), column.max()
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            position, count = _first_cell(~np.isfinite(column))
            raise NonFinitePredictorError(
                f"{type(operator).__name__}: predictor {name} ({unit}) has {count} NaN or infinite values, first in "
                f"cell {_cell_id(operator, position)}; a predictor must be finite in every usable cell"
            )
        allowed = physical_range(unit)
        if lowest < allowed.lowest or highest > allowed.highest:
            position, count = _first_cell((column < allowed.lowest) | (column > allowed.highest))
            raise PredictorUnitError(
                f"{type(operator).__name__}: predictor {name} is {lowest:.6g} to {highest:.6g}, but in {unit} it lies "
                f"between {allowed.lowest:g} and {allowed.highest:g}; {count} values, first in cell "
                f"{_cell_id(operator, position)}: {allowed.usual_cause}"
            )
    return values


def checked_cell_ids(cell_ids: ArrayLike | None, cells: int) -> IntArray:
    """Identities of `cells` cells: given ones (distinct, non-negative integers) or 0, 1, 2, ... by default."""
    if cell_ids is None:
        return np.arange(cells, dtype=np.int64)
    identities = np.asarray(cell_ids)
    if identities.shape != (cells,) or not np.issubdtype(identities.dtype, np.integer):
        raise PredictorShapeError(
            f"cell_ids must be {cells} integers, one per cell, got {identities.dtype} {identities.shape}"
        )
    if identities.size and identities.min() < 0:
        raise PredictorShapeError(f"cell_ids must not be negative, the smallest is {identities.min()}")
    unique, counts = np.unique(identities, return_counts=True)
    if unique.size != cells:
        raise PredictorShapeError(
            f"cell_ids must be distinct, but {unique[counts > 1][:5].tolist()} come more than once"
        )
    return identities.astype(np.int64)


def require(
    operator: ObservationOperator,
    *,
    cell_ids: ArrayLike | None = None,
    predictor_names: Sequence[str] | None = None,
    predictor_units: Sequence[str] | None = None,
    output_name: str | None = None,
    output_unit: str | None = None,
) -> None:
    """Raises OperatorMismatchError unless the operator is the one a run asks for; what is None is not compared."""
    expected_and_found: tuple[tuple[str, object, object], ...] = (
        ("predictors", _tuple_or_none(predictor_names), operator.predictor_names),
        ("predictor units", _tuple_or_none(predictor_units), operator.predictor_units),
        ("output", output_name, operator.output_name),
        ("output unit", output_unit, operator.output_unit),
    )
    for what, expected, found in expected_and_found:
        if expected is not None and expected != found:
            raise OperatorMismatchError(
                f"{type(operator).__name__}: the run asks for {what} {expected}, the operator was made for {found}; "
                "train an operator for this run or correct the configuration"
            )
    if cell_ids is None:
        return
    asked = np.asarray(cell_ids)
    known = operator.cell_ids
    if asked.shape == known.shape and bool((asked == known).all()):
        return
    missing = np.setdiff1d(asked, known)
    if missing.size:
        advice = f"{missing.size} of the run's cells have no operator, first {missing[:5].tolist()}: train it for them"
    else:
        advice = "all of the run's cells have one, in another order or number: use select()"
    raise OperatorMismatchError(
        f"{type(operator).__name__}: the run asks for {asked.size} cells, the operator is for {known.size}; {advice}"
    )


def _tuple_or_none(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _first_cell(bad: np.ndarray) -> tuple[int, int]:
    """Position along the first axis of the first True, and how many are True."""
    return int(np.argmax(bad.reshape(bad.shape[0], -1).any(axis=1))), int(bad.sum())


def _cell_id(operator: ObservationOperator, checked_position: int) -> int:
    """The identity of the n-th usable cell."""
    return int(operator.cell_ids[operator.usable][checked_position])
