"""What the CF attributes of a stored array say of its numbers: instants, packing, missing values, units.

Whatever may have been written by another program is read through `decode`; what cannot be decoded is refused with the
group, the variable and the attribute named.
"""

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from xarray.coders import CFDatetimeCoder
from xarray.conventions import decode_cf_variable

from ldas.pipeline.errors import StoreError

END_LABEL = "end of what the value is made of, see time_bnds"
"""What the attribute `time_label` of a group says whose times are the ends of its days."""
OVERPASS_HOUR = {"units": "h", "long_name": "time of the overpass, hours from 00 UTC of the day"}
TIME_UNITS = "seconds since 1970-01-01T00:00:00"  # of all times that ldas writes
_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian"})
_PACKING = frozenset({"scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"})
_UNITS_IN_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}  # by first letter: days, hours, minutes, seconds

# Other spellings of a unit of the registry, in lower case.
_SPELLINGS = {
    "K": {"kelvin", "degk"},
    "kg kg-1": {"kg/kg", "1", "g g-1", "kg kg**-1"},
    "m s-1": {"m/s", "m s**-1"},
    "Pa": {"pascal", "n m-2"},
    "W m-2": {"w/m2", "w/m^2", "w m**-2", "watt m-2"},
    "kg m-2 s-1": {"kg/m2/s", "kg/m^2/s", "mm s-1", "mm/s", "kg m**-2 s**-1", "kg m-2s-1"},
    "kg m-3": {"kg/m3", "kg/m^3", "kg m**-3"},
    "m2 m-2": {"m2/m2", "m^2/m^2", "m**2 m**-2", "m2 m**-2", "1"},
    "m3 m-3": {"m3/m3", "m^3/m^3", "m**3 m**-3", "cm3 cm-3", "cm3/cm3"},
    "1": {"", "-", "fraction", "0-1"},
    "dB": {"db", "decibel", "0.1 lg(re 1)"},
    "degrees_north": {"degree_north", "degrees_n", "degree_n", "degrees", "degree"},
    "degrees_east": {"degree_east", "degrees_e", "degree_e", "degrees", "degree"},
}
# unit -> other unit, in lower case: factor and offset
_CONVERSIONS = {
    "K": dict.fromkeys(("degc", "celsius", "degree_celsius", "degrees_celsius"), (1.0, 273.15)),
    "Pa": {"hpa": (100.0, 0.0), "mbar": (100.0, 0.0), "kpa": (1000.0, 0.0)},
    "kg kg-1": {"g kg-1": (1e-3, 0.0), "g/kg": (1e-3, 0.0)},
    "1": dict.fromkeys(("%", "percent", "percentage"), (0.01, 0.0)),
}


def decode(values: np.ndarray, attributes: Mapping[str, Any], where: str) -> np.ndarray:
    """Stored values as what they mean: instants as datetime64[s], unpacked numbers in double precision, NaN where one
    is missing. Numbers without such attributes come back as they are, in the byte order of the machine.

    Raises:
        StoreError: what cannot be decoded; it names `where` and the attribute.
    """
    units = attributes.get("units")
    if isinstance(units, str) and " since " in units:
        return _instants(values, units, attributes, where)
    if not _PACKING.isdisjoint(attributes):
        values = _unpacked(values, attributes, where)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _instants(values: np.ndarray, units: str, attributes: Mapping[str, Any], where: str) -> np.ndarray:
    calendar = str(attributes.get("calendar", "standard")).lower()
    if calendar not in _CALENDARS:
        raise StoreError(
            f"{where} has the attribute calendar {calendar!r}: expected the standard calendar; convert the "
            "times (Dataset.convert_calendar of xarray)"
        )
    packed = not _PACKING.isdisjoint(attributes)
    if units == TIME_UNITS and values.dtype == np.int64 and not packed:
        return values.astype("datetime64[s]")
    if packed:
        values = _unpacked(values, attributes, where)
    if values.dtype.kind == "f":
        _check_precision(values, units, where)
    elif values.dtype.kind not in "iu":
        raise StoreError(f"{where} has the units {units!r} but holds {values.dtype}: times are numbers")
    coder = CFDatetimeCoder(use_cftime=False)
    variable = xr.Variable(("time",), values.reshape(-1), {"units": units, "calendar": calendar})
    try:
        decoded = decode_cf_variable(where, variable, decode_times=coder).values
    except (ValueError, OverflowError, TypeError) as error:
        raise StoreError(
            f"{where} has the attribute units {units!r}, which cannot be read as times: expected seconds, minutes, "
            "hours or days since a date"
        ) from error
    # Fractions of a day are not exact: to whole seconds by rounding, or 09:00 would be 08:59:59.
    half = np.timedelta64(500_000_000, "ns")
    instants: np.ndarray = (decoded.astype("datetime64[ns]") + half).astype("datetime64[s]").reshape(values.shape)
    return instants


def _check_precision(values: np.ndarray, units: str, where: str) -> None:
    """Refuses times in floating point that do not tell seconds apart."""
    finite = values[np.isfinite(values)]
    if not finite.size or (finite == np.round(finite)).all():
        return
    steps = float(np.spacing(np.abs(finite).max())) * _UNITS_IN_SECONDS.get(units.strip()[:1].lower(), 1.0)
    if steps > 1.0:
        raise StoreError(
            f"{where} holds times as {values.dtype} in {units!r}: they are {steps:.0f} s apart at best; write them as "
            "whole numbers or in double precision"
        )


def _unpacked(values: np.ndarray, attributes: Mapping[str, Any], where: str) -> np.ndarray:
    """Numbers after scale_factor, add_offset, _Unsigned; NaN for _FillValue and missing_value."""
    scale, offset = (_number(attributes, name, where) for name in ("scale_factor", "add_offset"))
    fills = [fill for name in ("_FillValue", "missing_value") for fill in _markers(attributes, name, where)]
    if str(attributes.get("_Unsigned", "false")).lower() == "true" and values.dtype.kind == "i":
        values = values.view(values.dtype.str.replace("i", "u"))
        fills = [fill % 256**values.dtype.itemsize for fill in fills]  # they are given with or without a sign
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        fills = [fill for fill in fills if fill == np.round(fill) and limits.min <= fill <= limits.max]
    # Compared in the array's own type: -9999.9 in single precision is another number in double.
    missing = np.isin(values, np.array(fills).astype(values.dtype)) if fills else np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f" and scale is None and offset is None:
        return np.where(missing, np.array(np.nan, dtype=values.dtype), values)
    numbers = values.astype(np.float64)
    if scale is not None:
        numbers *= scale
    if offset is not None:
        numbers += offset
    if scale is None and offset is None and not missing.any():
        return values
    numbers[missing] = np.nan
    return numbers


def _number(attributes: Mapping[str, Any], name: str, where: str) -> float | None:
    value = attributes.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StoreError(f"{where} has the attribute {name} {value!r}, expected one number")
    return float(value)


def _markers(attributes: Mapping[str, Any], name: str, where: str) -> list[float]:
    """Numbers that an attribute says are missing values; xarray writes floats as text (base64 of a double)."""
    given = attributes.get(name, [])
    found = []
    for value in given if isinstance(given, list) else [given]:
        try:
            found.append(_from_text(value) if isinstance(value, str) else float(value))
        except (TypeError, ValueError):
            raise StoreError(f"{where} has the attribute {name} {given!r}, expected a number") from None
    return [value for value in found if not np.isnan(value)]  # NaN is missing as it is


def _from_text(text: str) -> float:
    try:
        return float(struct.unpack("<d", base64.b64decode(text, validate=True))[0])
    except (binascii.Error, struct.error):
        return float(text)


def conversion(unit: str, wanted: str) -> tuple[float, float] | None:
    """Factor and offset from a unit, as a file may spell it, to a unit of the registry; None where there is none."""
    unit = unit.strip()
    if unit == wanted or unit.lower() in _SPELLINGS.get(wanted, set()) | {wanted.lower()}:
        return 1.0, 0.0
    return _CONVERSIONS.get(wanted, {}).get(unit.lower())


def in_unit(values: np.ndarray, unit: str, wanted: str, where: str) -> np.ndarray:
    """Values in the wanted unit; as they are where they have it. StoreError for another quantity."""
    known = conversion(unit, wanted)
    if known is None:
        raise StoreError(f"{where} has the unit '{unit}', expected '{wanted}': convert it and correct the attribute")
    factor, offset = known
    return values if known == (1.0, 0.0) else values.astype(np.float64) * factor + offset
