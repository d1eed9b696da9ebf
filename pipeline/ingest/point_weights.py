"""From the points of a satellite product to the cells: which points a cell takes, and with what weights."""

import numpy as np

from ldas.landmodel.array_types import Array, IntArray
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import grid
from ldas.pipeline.ingest.grid import Cells


def point_weights(
    latitude: Array, longitude: Array, cells: Cells, method: str, radius_km: float
) -> tuple[IntArray, Array]:
    """Points and weights of each cell, (cell, n); index -1 where no point lies within the radius.

    `bilinear` needs points in rows of one latitude (as the WARP5 grid has): linear in longitude within the row to the
    south and to the north of the cell, then linear in latitude between the rows.
    """
    if method == "bilinear":
        return _row_weights(latitude, longitude, cells, radius_km)
    number = 1 if method == "nearest" else 4
    index, distance = grid.neighbours(latitude, longitude, cells, number, radius_km)
    inverse = np.where(index >= 0, 1.0 / np.maximum(distance, 0.1), 0.0)  # 0.1 km: a point on the centre has all weight
    total = inverse.sum(axis=1, keepdims=True)
    return index, inverse / np.where(total > 0, total, 1.0)


def _row_weights(latitude: Array, longitude: Array, cells: Cells, radius_km: float) -> tuple[IntArray, Array]:
    rows, row_of_point = np.unique(np.round(latitude, 5), return_inverse=True)
    if len(rows) > 1 and len(rows) > 0.6 * len(latitude):
        raise IngestError(
            "method bilinear needs points in rows of one latitude, as the WARP5 grid has them; those of the Fibonacci "
            "grid (H121, H139) are in none: use nearest or inverse_distance"
        )
    index = np.full((len(cells), 4), -1, dtype=np.int64)
    weight = np.zeros((len(cells), 4))
    members = [np.flatnonzero(row_of_point == row) for row in range(len(rows))]
    members = [points[np.argsort(longitude[points])] for points in members]
    for cell in range(len(cells)):
        upper = int(np.searchsorted(rows, cells.latitude[cell]))
        if upper == 0 or upper == len(rows):
            continue
        to_north = (cells.latitude[cell] - rows[upper - 1]) / (rows[upper] - rows[upper - 1])
        for slot, (row, row_weight) in enumerate(((upper - 1, 1 - to_north), (upper, to_north))):
            points = members[row]
            east = int(np.searchsorted(longitude[points], cells.longitude[cell]))
            if east == 0 or east == len(points):
                continue
            pair = points[east - 1 : east + 1]
            to_east = (cells.longitude[cell] - longitude[pair[0]]) / (longitude[pair[1]] - longitude[pair[0]])
            index[cell, 2 * slot : 2 * slot + 2] = pair
            weight[cell, 2 * slot : 2 * slot + 2] = row_weight * (1 - to_east), row_weight * to_east
    near, _ = grid.neighbours(latitude, longitude, cells, 1, radius_km)
    index[near[:, 0] < 0] = -1
    return index, np.where(index >= 0, weight, 0.0)
