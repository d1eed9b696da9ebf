"""Atmospheric forcing: checked, and laid out as the kernel reads it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array
from ldas.landmodel.checks import FORCING_RANGES
from ldas.landmodel.errors import LandModelError


class Forcing(NamedTuple):
    """Atmospheric forcing, arrays (record, cell) under their ALMA names.

    Record k is valid at the start plus k forcing steps; within an interval everything is linear in time except rain and
    snow, which are the means over the interval stored at its end.
    """

    Tair: ArrayLike
    """K"""
    Qair: ArrayLike
    """kg kg-1"""
    Wind: ArrayLike
    """m s-1"""
    PSurf: ArrayLike
    """Pa"""
    SWdown: ArrayLike
    """W m-2"""
    LWdown: ArrayLike
    """W m-2"""
    Rainf: ArrayLike
    """kg m-2 s-1"""
    Snowf: ArrayLike
    """kg m-2 s-1"""
    CO2air: ArrayLike
    """kg m-3"""


def check_shapes(forcing: Forcing, cells: int) -> tuple[int, int]:
    """Number of records and cells of a forcing whose columns lie in the first `cells` cells.

    Raises:
        LandModelError: arrays of other shapes than the first, or too few records or cells.
    """
    shapes = {name: np.shape(values) for name, values in zip(forcing._fields, forcing, strict=True)}
    first = shapes["Tair"]
    for name, shape in shapes.items():
        if len(shape) != 2 or shape != first:
            raise LandModelError(f"forcing: expected {name} of shape (record, cell) = {first}, got {shape}")
    if first[0] < 2 or first[1] < cells:
        raise LandModelError(f"forcing: expected at least 2 records of at least {cells} cells, got {first}")
    return int(first[0]), int(first[1])


def check_values(name: str, values: Array, cells: NDArray[np.int64], first_record: int = 0) -> None:
    """Refuse values (record, cell) that no weather has; `cells`: their numbers.

    Raises:
        LandModelError: naming variable, record, cell and value.
    """
    where = FORCING_RANGES[name].first_outside(values)
    if where is not None:
        value = values[where]
        raise LandModelError(
            f"forcing: {name} of record {first_record + where[0]}, cell {cells[where[1]]}: "
            f"{FORCING_RANGES[name].message(value)}" + ("" if np.isfinite(value) else "; fill gaps before the run")
        )


def stack_forcing(forcing: Forcing, cell_of_column: NDArray[np.int64]) -> Array:
    """Forcing as one C-contiguous array (cell, record, variable): a block of columns reads along the time of cells.

    Cells that no column lies in may hold anything.
    """
    records, cells = check_shapes(forcing, int(cell_of_column.max(initial=-1)) + 1)
    stacked = np.empty((cells, records, len(forcing)))
    used = np.unique(cell_of_column)
    for variable, (name, given) in enumerate(zip(forcing._fields, forcing, strict=True)):
        values = np.asarray(given, dtype=np.float64)
        check_values(name, values if used.size == cells else values[:, used], used)
        stacked[:, :, variable] = values.T
    return stacked
