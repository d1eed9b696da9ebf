"""Valid ranges that files declare: `valid_range`, `valid_min` and `valid_max`, in packed or in physical numbers."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

ReadingOfRange = Literal["auto", "packed", "physical", "ignore"]


def within_valid_range(
    array: xr.DataArray,
    limits: tuple[float, float] | None,
    unit: tuple[float, float] = (1.0, 0.0),
    reading: ReadingOfRange = "auto",
) -> xr.DataArray:
    """A variable that xarray decoded, lazy or not, with NaN outside the valid range that its attributes declare.

    Args:
        limits: what the quantity can be: tells packed from physical ranges, see `given_in_physical`.
        unit: factor and offset from the unit of the file to that of the limits.
        reading: numbers in which the range is given.
    """
    encoding = array.encoding
    dtype = np.dtype(encoding.get("dtype", array.dtype))
    if dtype.kind == "i" and str(encoding.get("_Unsigned", "")).lower() == "true":
        dtype = np.dtype(f"u{dtype.itemsize}")
    bounds = declared_bounds(array.attrs, dtype)
    if bounds is None or reading == "ignore":
        return array
    scale, offset = float(encoding.get("scale_factor", 1.0)), float(encoding.get("add_offset", 0.0))
    packing = {**array.attrs, "scale_factor": scale, "add_offset": offset}
    in_file = None if limits is None else ((limits[0] - unit[1]) / unit[0], (limits[1] - unit[1]) / unit[0])
    in_physical = given_in_physical(packing, bounds, dtype, in_file, reading)
    packed = (array.astype(np.float64) - offset) / scale
    if dtype.kind in "iu":
        packed = packed.round()  # so that rounding does not decide at the bounds
    compared = packed * scale + offset if in_physical else packed
    within = array.where((compared >= bounds[0]) & (compared <= bounds[1]))
    within.encoding = encoding
    return within


def declared_bounds(attributes: Mapping[Any, Any], dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Lowest and highest valid number as the file declares them, packed or physical; None where it does not."""
    both = numbers_of(attributes, "valid_range", dtype)
    if len(both) == 2:
        return both[0], both[1]
    low, high = numbers_of(attributes, "valid_min", dtype), numbers_of(attributes, "valid_max", dtype)
    if not low and not high:
        return None
    return (low or [-math.inf])[0], (high or [math.inf])[0]


def given_in_physical(
    attributes: Mapping[Any, Any],
    bounds: tuple[float, float],
    dtype: np.dtype[Any],
    limits: tuple[float, float] | None,
    reading: ReadingOfRange,
) -> bool:
    """Whether a valid range is one of physical numbers. CF says packed; the NetCDF guide goes by the attribute's type.

    Where it is known what the quantity can be, the reading whose upper end is nearer to that (as a ratio) is taken.
    """
    scale, offset = float(attributes.get("scale_factor", 1.0)), float(attributes.get("add_offset", 0.0))
    if reading != "auto" or (scale, offset) == (1.0, 0.0):
        return reading == "physical"
    unpacked = bounds[1] * scale + offset
    if limits is not None and min(unpacked, bounds[1], limits[1]) > 0 and math.isfinite(bounds[1]):
        return abs(math.log(bounds[1] / limits[1])) < abs(math.log(unpacked / limits[1]))
    given = np.asarray(attributes.get("valid_range", attributes.get("valid_max", attributes.get("valid_min"))))
    return dtype.kind in "iu" and given.dtype.kind == "f"


def numbers_of(attributes: Mapping[Any, Any], name: str, dtype: np.dtype[Any]) -> list[float]:
    """The numbers of an attribute, none where it is absent or no number; dtype: that of the packed variable."""
    return [number for number in _numbers(attributes[name], dtype) if number == number] if name in attributes else []


def _numbers(value: Any, dtype: np.dtype[Any]) -> list[float]:
    """Attribute values as numbers of the packed type's signedness."""
    try:
        numbers = [float(item) for item in np.atleast_1d(value).tolist()]
    except (TypeError, ValueError):
        return []
    span = 2.0 ** (8 * dtype.itemsize)
    return [number + span if dtype.kind == "u" and -span / 2 <= number < 0 else number for number in numbers]
