"""Maps: from the packed cell axis back to latitude and longitude."""

from typing import TypeVar

import numpy as np
import xarray as xr

from ldas.pipeline.errors import PipelineError

_DECIMALS = 6  # 1e-6 degree is 0.1 m: coordinates closer than this are the same row or column


Data = TypeVar("Data", xr.DataArray, xr.Dataset)


def to_grid(data: Data, latitude: xr.DataArray, longitude: xr.DataArray) -> Data:
    """Data over `cell` as data over `latitude` (north first) and `longitude`; places without a cell are missing.

    Args:
        latitude, longitude: degrees of each cell, as in the group `land`.

    Raises:
        PipelineError: if two cells are at the same place or the sizes differ.
    """
    if "cell" not in data.dims or data.sizes["cell"] != latitude.sizes["cell"]:
        raise PipelineError(
            f"data over {latitude.sizes['cell']} cells were expected, got dimensions {dict(data.sizes)}"
        )
    rows, row = np.unique(-np.round(latitude.values.astype(float), _DECIMALS), return_inverse=True)
    columns, column = np.unique(np.round(longitude.values.astype(float), _DECIMALS), return_inverse=True)
    place = row * len(columns) + column
    if len(np.unique(place)) != len(place):
        raise PipelineError("two cells have the same latitude and longitude: they cannot be put on one map")
    where = np.full(len(rows) * len(columns), -1)
    where[place] = np.arange(len(place))
    filled = data.isel(cell=xr.DataArray(np.maximum(where, 0), dims="place")).where(
        xr.DataArray(where >= 0, dims="place")
    )
    filled = filled.drop_vars([name for name in ("latitude", "longitude", "cell") if name in filled.coords])
    index = {"latitude": -rows, "longitude": columns}
    shape = (len(rows), len(columns))
    return _unpack(filled, shape).assign_coords(index)


def _unpack(data: Data, shape: tuple[int, int]) -> Data:
    numbers = {
        "latitude": ("place", np.repeat(np.arange(shape[0]), shape[1])),
        "longitude": ("place", np.tile(np.arange(shape[1]), shape[0])),
    }
    return data.assign_coords(numbers).set_index(place=["latitude", "longitude"]).unstack("place")
