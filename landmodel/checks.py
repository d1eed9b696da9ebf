"""Physical ranges of parameters, state and forcing. What lies outside stops before anything is computed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel import quantities
from ldas.landmodel.array_types import Array
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.quantities import Quantity


class Range(NamedTuple):
    """Lowest and highest possible value, unit, and the likely mistake behind a value below or above."""

    low: float
    high: float
    unit: str
    below: str = ""
    above: str = ""

    def first_outside(self, values: Array) -> tuple[int, ...] | None:
        """Index of the first value outside; undefined values are outside every range."""
        if values.size and values.min() >= self.low and values.max() <= self.high:
            return None  # the usual case, without arrays of truth values
        bad = ~((values >= self.low) & (values <= self.high))
        return tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else None

    def message(self, value: float) -> str:
        """What was expected and what came."""
        mistake = self.below if value < self.low else self.above if value > self.high else ""
        hint = f" ({mistake})" if mistake else ""
        return f"expected {self.low:g} to {self.high:g} {self.unit}, got {float(value)!r}{hint}"


def _ranges(*tables: tuple[Quantity, ...]) -> dict[str, Range]:
    limited = (q for table in tables for q in table if np.isfinite(q.low))
    return {q.name: Range(q.low, q.high, q.unit, q.below, q.above) for q in limited}


PARAMETER_RANGES = _ranges(quantities.LAYER_PARAMETERS, quantities.COLUMN_PARAMETERS)
STATE_RANGES = _ranges(quantities.STATE)
FORCING_RANGES = _ranges(quantities.FORCING)
DEPTH_RANGES = {"DG2": Range(0.01, 12.0, "m"), "DROOT": Range(0.0, 12.0, "m")}
CO2_RATIO_RANGE = Range(1.0e-5, 1.0e-2, "kg kg-1", above="is it in ppm?")


def numbers(values: ArrayLike, name: str) -> Array:
    """Values as float64; raises `LandModelError` for what is no number."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LandModelError(f"{name}: expected numbers, got {values!r} ({error})") from error


def per_column(values: ArrayLike, count: int, name: str) -> Array:
    """(column,) float64 from a number or (column,); raises `LandModelError` for another shape."""
    array = numbers(values, name)
    if array.shape not in ((), (count,)):
        raise LandModelError(f"{name}: expected a number or shape ({count},), got {array.shape}")
    return np.broadcast_to(array, (count,)).copy()


def whole_per_column(values: ArrayLike, count: int, name: str, low: int, high: int) -> NDArray[np.int64]:
    """(column,) whole numbers between two limits; raises `LandModelError` for anything else."""
    array = per_column(values, count, name)
    bad = ~((array >= low) & (array <= high) & (array == np.round(array)))
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise LandModelError(
            f"{name} of column {where}: expected a whole number {low} to {high}, got {float(array[where])!r}"
        )
    return array.astype(np.int64)


def check_fractions(cell: NDArray[np.int64], fraction: Array) -> None:
    """The columns of a cell share it: raises `LandModelError` where they are nothing or more than all of it."""
    bad = ~((fraction > 0.0) & (fraction <= 1.0))
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise LandModelError(
            f"fraction of column {where} (cell {int(cell[where])}): expected more than 0 and at most 1, got "
            f"{float(fraction[where])!r}"
        )
    total = np.bincount(cell, weights=fraction)
    if (total > 1.0 + 1.0e-6).any():
        where = int(np.flatnonzero(total > 1.0 + 1.0e-6)[0])
        raise LandModelError(
            f"fractions of cell {where}: expected that its {int((cell == where).sum())} columns add to at most 1, got "
            f"{float(total[where])!r}"
        )
