"""Identity of a grid cell, independent of the domain it is part of."""

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import IntArray
from ldas.operators.errors import PredictorShapeError

_LONGITUDES = 1_000_000


def cell_ids_from_coordinates(latitude: ArrayLike, longitude: ArrayLike) -> IntArray:
    """(cell,) identities from cell centres in degrees north and east, to a thousandth of a degree.

    The same place has the same identity, and so the same random numbers, in every domain and order of cells.
    """
    north, east = np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64)
    valid = (np.abs(north) <= 90.0) & (np.abs(east) <= 360.0)
    if north.ndim != 1 or north.shape != east.shape or not valid.all():
        raise PredictorShapeError(
            "latitude (-90 to 90) and longitude (-360 to 360) must be two series of degrees of the same length, got "
            f"shapes {north.shape} and {east.shape}, latitude {north.min():.6g} to {north.max():.6g}, longitude "
            f"{east.min():.6g} to {east.max():.6g}"
        )
    rows = np.round((north + 90.0) * 1000.0).astype(np.int64)
    columns = np.round(east * 1000.0).astype(np.int64) % 360_000
    identities = rows * _LONGITUDES + columns
    if np.unique(identities).size != identities.size:
        raise PredictorShapeError("two cells have the same centre (to 0.001 degree): give each cell once")
    return identities
