"""Datasets as NetCDF can hold them: Zarr attributes are any JSON, those of NetCDF text, numbers and lists of one type.

`open_run` gives datasets in this form, so that each of its groups can be written with xarray's own `to_netcdf`.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr

# What ldas keeps about the writing of a group: no part of its content, and wrong in a copy that someone changes.
_KEPT = ("committed", "complete", "appending", "sha256")
# CF: these have the type of their variable.
_TYPED = ("flag_values", "flag_masks", "valid_range", "valid_min", "valid_max")
_LONG_NAMES = {
    "cell": "number of the cell",
    "patch": "number of the patch",
    "station": "number of the station",
    "instant_time": "time of the states",
    "value": "observed value",
    "n": "number of pairs",
    "r": "correlation",
    "rmsd": "root mean square difference",
    "ubrmsd": "root mean square difference without the bias",
    "kge": "Kling-Gupta efficiency",
}
# UDUNITS, and so CF, knows no dB: this is the same in its words. A logarithm is a pure number there once it is divided.
_UNITS = {"dB": "0.1 lg(re 1)", "dB degree-1": "degree-1", "dB degree-2": "degree-2"}


def portable(dataset: xr.Dataset, title: str) -> xr.Dataset:
    """The dataset with attributes that NetCDF can hold; its values are those of the given one.

    Text, numbers and lists of either stay; nested settings, lists of several types, true, false and null become JSON
    text (`json.loads` gives them back). `flag_values`, `valid_range` and the like get the type of their variable, and
    the unit dB its spelling in UDUNITS, with `(dB)` in the long name. What CF recommends for every file and variable,
    such as a title and long names, is added where it is missing.
    """
    made_by = dataset.attrs.get("provenance")
    code = made_by.get("code", "") if isinstance(made_by, dict) else ""
    general = {"Conventions": "CF-1.11", "title": title, "history": f"made by ldas {code}".strip()}
    changed = dataset.copy(deep=False)
    changed.attrs = {**general, **_portable(dataset.attrs)}
    bounds = {changed[name].encoding.get("bounds") for name in changed.variables}
    for name in changed.variables:
        variable = changed[name].variable
        attributes = _portable(variable.attrs)
        for key in _TYPED:
            if isinstance(attributes.get(key), np.ndarray | int | float) and variable.dtype.kind in "iuf":
                attributes[key] = np.asarray(attributes[key]).astype(variable.dtype)
        if "flag_meanings" in attributes:  # words of letters, digits and a few signs
            attributes["flag_meanings"] = re.sub(r"[^\w.+@ -]", "_", attributes["flag_meanings"], flags=re.ASCII)
        if "time" not in variable.dims and str(attributes.get("cell_methods")).startswith("time:"):
            del attributes["cell_methods"]
        if name in bounds:  # of the axis that they belong to
            changed[name].encoding["units"] = "seconds since 1970-01-01"  # as xarray spells those of the axis
        elif "standard_name" not in attributes:
            attributes.setdefault("long_name", _LONG_NAMES.get(str(name), str(name).replace("_", " ")))
        if str(attributes.get("standard_name")).endswith("_temperature"):
            attributes.setdefault("units_metadata", "temperature: on_scale")
        if attributes.get("standard_name") == "depth":
            attributes.setdefault("positive", "down")
        if (unit := attributes.get("units")) in _UNITS:
            attributes["units"] = udunits(unit)
            attributes["long_name"] = f"{attributes.get('long_name', name)} ({unit})"
        changed[name].attrs = attributes
    return changed


def udunits(unit: str) -> str:
    """A unit of the registry in words that UDUNITS knows."""
    return _UNITS.get(unit, unit)


def _portable(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _value(value) for name, value in attributes.items() if name not in _KEPT}


def restored(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a stored group, with what `portable` made text of as it was: a user may have written them back."""
    found = dict(attributes)
    for name, value in attributes.items():
        if isinstance(value, str) and value.startswith(("{", "[")):
            with suppress(ValueError):  # text of another kind
                found[name] = json.loads(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, str | np.ndarray | np.generic) or _is_number(value):
        return value
    if isinstance(value, list | tuple) and value:
        if all(isinstance(item, str) for item in value):
            return list(value)
        if all(_is_number(item) for item in value):
            return np.array(value)
    return json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
