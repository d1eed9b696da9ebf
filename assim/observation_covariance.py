"""R of observations whose errors are correlated: types that are observed together, such as two polarisations."""

from collections.abc import Sequence

import numpy as np

from ldas.assim.observations import ObservationType
from ldas.assim.overpasses import Row
from ldas.landmodel.array_types import Array, BoolArray


def covariance_of_rows(
    rows: Sequence[Row],
    sigma: Array,
    used: BoolArray,
    types: Sequence[ObservationType],
    correlations: Array | None,
) -> Array:
    """R of a window: its diagonal (cell, row) where errors are independent, else (cell, row, row).

    Rows are correlated that are of one time; of several overpasses of a type at one step, each with one of the other.

    Args:
        rows: of the analysis.
        sigma: (cell, row) standard deviations.
        used: (cell, row); the others have a row of the identity.
        types: of the filter.
        correlations: (cell, type, type), or None.
    """
    variance = np.where(used, sigma**2, 1.0)
    if correlations is None:
        return variance
    place = {kind.name: number for number, kind in enumerate(types)}
    of_type = np.array([place[row.kind.name] for row in rows], dtype=np.int64)
    times = [np.broadcast_to(np.asarray(row.time, dtype="datetime64[s]"), len(sigma)) for row in rows]
    time = np.stack(times, axis=1) if rows else np.zeros(sigma.shape, dtype="datetime64[s]")
    same_time = time[:, :, None] == time[:, None, :]
    same_type = of_type[:, None] == of_type
    # How many used rows of the same type and time come before: rows of equal numbers make a part of the types' matrix.
    number = (same_time & same_type & np.tri(len(rows), k=-1, dtype=bool) & used[:, None, :]).sum(axis=2)
    together = same_time & (number[:, :, None] == number[:, None, :]) & ~same_type
    together &= used[:, :, None] & used[:, None, :]
    deviation = np.sqrt(variance)
    covariance = correlations[:, of_type[:, None], of_type] * deviation[:, :, None] * deviation[:, None, :]
    diagonal = variance[:, :, None] * np.eye(len(rows))
    return np.where(together, covariance, diagonal)
