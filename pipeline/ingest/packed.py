"""Numbers as files pack them, and what their attributes say about them: scale, signedness, fill values, valid ranges.

Producers do not agree on these attributes. A valid range may be given in packed or in physical numbers, a value without
data may be declared nowhere: both are decided by what the quantity can be, and the user's configuration overrules it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array, BoolArray
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing.valid_range import ReadingOfRange, declared_bounds, given_in_physical, numbers_of
from ldas.pipeline.settings.yaml_file import StrictModel

HUGE = 1e19  # fill values of NetCDF libraries and models: 9.97e36, 1e20
USUAL_NODATA = (-9999.0, -999.0, -99.0, -32768.0, -32767.0, 32767.0, 65535.0, 255.0, 999.0, 9999.0)


class PackedOptions(StrictModel):
    """How the attributes of packed variables are read."""

    valid_range: ReadingOfRange = Field(
        default="auto",
        description="numbers in which the files give `valid_range`, `valid_min`, `valid_max`; auto: what the quantity "
        "can be decides",
    )
    nodata: tuple[float, ...] | None = Field(
        default=None,
        description="packed numbers without data that the files do not declare; default: the usual ones (255, 32767, "
        "-9999, 1e20 ...) where nothing is declared or they cannot be data",
    )
    out_of_range: Literal["raise", "missing"] = Field(
        default="raise", description="a value that the quantity cannot have stops the ingest, or is missing"
    )


@dataclass(frozen=True)
class Unpacked:
    """Physical values (in the unit of the file, NaN: missing), the packed numbers, and what was decided."""

    values: Array
    packed: npt.NDArray[Any]
    notes: list[str] = field(default_factory=list)


def unpack(
    array: xr.DataArray,
    path: Path,
    limits: tuple[float, float] | None = None,
    options: PackedOptions | None = None,
) -> Unpacked:
    """A variable that was opened without decoding (`mask_and_scale=False`).

    Args:
        limits: what the quantity can be, in the unit of the file; None: anything (flags, uncertainties).

    Raises:
        IngestError: a value outside the limits that is not known to mean no data.
    """
    options = options or PackedOptions()
    attributes = array.attrs
    packed = _with_sign(files.values(array, path), attributes)
    physical = packed.astype(np.float64) * float(attributes.get("scale_factor", 1.0)) + float(
        attributes.get("add_offset", 0.0)
    )
    notes: list[str] = []
    declared = _declared(packed, physical, attributes)
    missing = np.zeros(packed.shape, dtype=bool) if declared is None else declared
    missing |= ~np.isfinite(physical) | _is_flag(packed, attributes)
    bounds = declared_bounds(attributes, packed.dtype)
    if bounds is not None and options.valid_range != "ignore":
        in_physical = given_in_physical(attributes, bounds, packed.dtype, limits, options.valid_range)
        if in_physical:
            notes.append(
                f"{array.name}: its valid range ({bounds[0]:g} to {bounds[1]:g}) is read in physical units "
                "(`valid_range: packed` reads it otherwise)"
            )
        compared = physical if in_physical else packed
        missing |= (compared < bounds[0]) | (compared > bounds[1])
    low, high = limits or (-math.inf, math.inf)
    impossible = ~((physical >= low) & (physical <= high))
    for number in _undeclared(packed, missing, impossible, declared is None and bounds is None, options):
        missing |= packed == number
        if options.nodata is None:
            notes.append(
                f"{array.name}: {number:g}, which the files do not declare, is taken for missing (`nodata: []` takes "
                "it for data)"
            )
    wrong = impossible & ~missing
    if wrong.any() and options.out_of_range == "raise":
        raise IngestError(
            f"{path}: {array.name} is {physical[wrong][0]:g} ({packed[wrong][0]:g} as stored), expected {low:g} to "
            f"{high:g} ({int(wrong.sum())} such values): check its unit and attributes; `nodata` names stored numbers "
            "without data, `out_of_range: missing` treats such values as missing"
        )
    return Unpacked(np.where(missing | wrong, np.nan, physical), packed, notes)


def _with_sign(packed: npt.NDArray[Any], attributes: Mapping[Any, Any]) -> npt.NDArray[Any]:
    """Integers of the signedness that `_Unsigned` declares: classic NetCDF has no unsigned ones."""
    declared = str(attributes.get("_Unsigned", "")).lower()
    kind = {"true": "u", "false": "i"}.get(declared)
    if kind is None or packed.dtype.kind not in "iu":
        return packed
    return packed.view(np.dtype(f"{packed.dtype.byteorder}{kind}{packed.dtype.itemsize}".replace("=", "")))


def _declared(packed: npt.NDArray[Any], physical: Array, attributes: Mapping[Any, Any]) -> BoolArray | None:
    """Where the declared fill values are; None where none is declared."""
    given = [
        number for name in ("_FillValue", "missing_value") for number in numbers_of(attributes, name, packed.dtype)
    ]
    if not given:
        return None
    found = np.zeros(packed.shape, dtype=bool)
    for number in given:
        if packed.dtype.kind == "f":
            found |= packed == np.asarray(number, dtype=packed.dtype)
        elif number == int(number) and _fits(number, packed.dtype):
            found |= packed == int(number)
        else:  # a number that the packed type cannot have is a physical one
            found |= np.isclose(physical, number)
    return found


def _fits(number: float, dtype: np.dtype[Any]) -> bool:
    kinds = np.iinfo(dtype)
    return int(kinds.min) <= number <= int(kinds.max)


def _undeclared(
    packed: npt.NDArray[Any], missing: BoolArray, impossible: BoolArray, nothing_declared: bool, options: PackedOptions
) -> list[float]:
    """Packed numbers that mean no data although nothing says so."""
    if options.nodata is not None:
        return list(options.nodata)
    left = packed[~missing]
    candidates = {float(number) for number in np.unique(packed[impossible & ~missing]).tolist()}
    found = {number for number in candidates if number in USUAL_NODATA or abs(number) >= HUGE}
    if nothing_declared and packed.dtype.kind in "iu" and left.size:
        kinds = np.iinfo(packed.dtype)
        ends = {float(kinds.max)} if packed.dtype.kind == "u" else {float(kinds.max), float(kinds.min)}
        found |= ends & {float(left.min()), float(left.max())}
    return sorted(found)


def flag_entries(attributes: Mapping[Any, Any]) -> list[tuple[float, float, str]]:
    """`flag_values` with their `flag_meanings` as (first, last, meaning): numbers, or text with ranges (`241-250`)."""
    given = attributes.get("flag_values", [])
    words = given.replace(",", " ").split() if isinstance(given, str) else np.atleast_1d(given).tolist()
    entries = []
    for word, meaning in zip(words, str(attributes.get("flag_meanings", "")).split(), strict=False):
        first, _, last = str(word).strip("bBsSuU").partition("-") if isinstance(word, str) else (word, "", "")
        try:
            entries.append((float(first), float(last or first), meaning))
        except ValueError:
            continue
    return entries


def _is_flag(packed: npt.NDArray[Any], attributes: Mapping[Any, Any]) -> BoolArray:
    """Numbers that a scaled variable declares as flags are not values; one without scale may hold the flags alone."""
    found = np.zeros(packed.shape, dtype=bool)
    if float(attributes.get("scale_factor", 1.0)) != 1.0:
        for first, last, _ in flag_entries(attributes):
            found |= (packed >= first) & (packed <= last)
    return found
