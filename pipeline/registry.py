"""The registry of variables (`variables.yaml`): unit, names, valid range and dimensions of all that is stored."""

import difflib
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from ldas.pipeline.errors import RegistryError

GROUPS = ("forcing", "land", "state", "flux", "diagnostic", "observation", "insitu")
_NUMBERED = re.compile(r"^(?P<base>.+?)(?P<number>[1-9]\d?)$")


@dataclass(frozen=True)
class Variable:
    """One variable: what its numbers mean. `axis` is a dimension after `cell`, `layer` a position (from 1) on it."""

    name: str
    unit: str
    long_name: str
    group: str
    standard_name: str | None = None
    cell_methods: str | None = None
    valid_range: tuple[float, float] | None = None
    axis: str | None = None
    layer: int | None = None

    def attributes(self) -> dict[str, Any]:
        """CF attributes of the stored array."""
        attributes: dict[str, Any] = {"units": self.unit, "long_name": self.long_name}
        if self.standard_name:
            attributes["standard_name"] = self.standard_name
        if self.cell_methods:
            attributes["cell_methods"] = self.cell_methods
        if self.valid_range:
            attributes["valid_range"] = list(self.valid_range)
        return attributes


@dataclass(frozen=True)
class Renamed:
    """A name of another community's table, and how it follows from our variables; see `variables.yaml`."""

    name: str
    of: Mapping[str, float]
    unit: str
    long_name: str
    standard_name: str | None
    cell_methods: str | None
    with_ice: str | None = None
    scale: str | None = None
    within: float | None = None


@cache
def _content() -> dict[str, Any]:
    text = files("ldas.pipeline").joinpath("variables.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@cache
def _tables() -> tuple[dict[str, Variable], dict[str, dict[str, Any]]]:
    content = deepcopy(_content())
    variables = {}
    for name, entry in content["variables"].items():
        limits = entry.pop("range", None)
        variables[name] = Variable(
            name=name,
            unit=entry.pop("unit"),
            valid_range=(float(limits[0]), float(limits[1])) if limits else None,
            **entry,
        )
    return variables, content["families"]


def names(group: str | None = None) -> tuple[str, ...]:
    """Names of the registry (of one group), without layer numbers and families."""
    return tuple(name for name, entry in _tables()[0].items() if group is None or entry.group == group)


def variable(name: str) -> Variable:
    """The entry of a name; `WG2` is layer 2 of `WG`; `innovation_sigma40`, `LAI_forecast`, `LAI_patch` have a base.

    Raises:
        RegistryError: an unknown name; the nearest known ones are given.
    """
    variables, families = _tables()
    if name in variables:
        return variables[name]
    prefix = next((family for family in families if name.startswith(f"{family}_")), None)
    if prefix is not None and name != f"{prefix}_":
        base, family = variable(name.removeprefix(f"{prefix}_")), families[prefix]
        return Variable(
            name=name,
            unit=family.get("unit", base.unit),
            long_name=f"{family['long_name']} {base.long_name}",
            group="diagnostic",
            cell_methods=base.cell_methods,
            valid_range=None,
            axis=base.axis,
        )
    if name.endswith("_forecast"):
        base = variable(name.removesuffix("_forecast"))
        return Variable(**{**vars(base), "name": name, "long_name": f"24 h forecast of {base.long_name}"})
    if name.endswith("_patch"):
        base = variable(name.removesuffix("_patch"))
        return Variable(**{**vars(base), "name": name, "long_name": f"{base.long_name}, per patch", "axis": "patch"})
    match = _NUMBERED.match(name)
    if match and match["base"] in variables and variables[match["base"]].axis in ("layer", "snow_layer", "pool"):
        base, number = variables[match["base"]], int(match["number"])
        words = {"layer": "layer", "snow_layer": "snow layer", "pool": "pool"}[base.axis or ""]
        return Variable(
            **{
                **vars(base),
                "name": name,
                "long_name": f"{base.long_name}, {words} {number}",
                "axis": None,
                "layer": number,
            }
        )
    near = difflib.get_close_matches(name, variables, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise RegistryError(f"unknown variable '{name}'{hint} (pipeline/variables.yaml holds the names)")


@cache
def renamed(table: str) -> tuple[Renamed, ...]:
    """The names of a table of another community (`cmip`, `alma`), in its order."""
    found = []
    for name, entry in _content()["tables"][table].items():
        of = entry["of"] if isinstance(entry["of"], dict) else {entry["of"]: 1.0}
        first = variable(next(iter(of)))
        found.append(
            Renamed(
                name=name,
                of=of,
                unit=entry.get("unit", first.unit),
                long_name=entry.get("long_name", first.long_name),
                standard_name=entry.get("standard_name", first.standard_name),
                cell_methods=first.cell_methods,
                **{key: entry.get(key) for key in ("with_ice", "scale", "within")},
            )
        )
    return tuple(found)


def base_name(name: str) -> str:
    """Name of the array of the land model that a stored name belongs to: `WG2` -> `WG`, `LAI_patch` -> `LAI`."""
    entry = variable(name.removesuffix("_patch"))
    return entry.name if entry.layer is None else entry.name.removesuffix(str(entry.layer))


def attributes(name: str) -> dict[str, Any]:
    """CF attributes of a stored name."""
    return variable(name).attributes()


_LIKELY_MISTAKES = (
    # (variables, test on a typical value, what it probably is)
    (("Tair", "TG", "TS"), lambda value: -60.0 < value < 60.0, "it looks like degrees Celsius: add 273.15"),
    (("PSurf",), lambda value: 400.0 < value < 1100.0, "it looks like hPa: multiply by 100"),
    (("PSurf",), lambda value: 40.0 < value < 110.0, "it looks like kPa: multiply by 1000"),
    (("Rainf", "Snowf"), lambda value: value > 0.1, "it looks like mm per hour or day: divide by the seconds"),
    (
        ("Rainf", "Snowf", "SWdown"),
        lambda value: value < 0.0,
        "negative values may be a missing-value code or packing noise",
    ),
    (("Qair",), lambda value: value > 0.06, "it looks like g kg-1 (divide by 1000) or relative humidity"),
    (("CO2air",), lambda value: value > 100.0, "it looks like ppm: multiply by 1e-6 x 44/29 x air density"),
    (("clay", "sand", "patch_fraction"), lambda value: value > 1.0, "it looks like percent: divide by 100"),
)


def likely_mistake(name: str, value: float) -> str:
    """What a value outside the valid range probably is (a wrong unit), or an empty string."""
    base = base_name(name)
    for concerned, test, words in _LIKELY_MISTAKES:
        if base in concerned and test(value):
            return words
    return ""


def check_range(
    name: str,
    values: np.ndarray,
    *,
    where: str,
    allow_missing: bool = False,
    labels: Iterable[tuple[str, np.ndarray]] = (),
) -> None:
    """Stops at the first value outside the valid range, or that is not finite.

    Args:
        where: what the values come from, for the message.
        labels: one (name, coordinate) per axis of `values`, so that the message can say at which time and cell.
        allow_missing: NaN means missing and is not an error.

    Raises:
        RegistryError: values out of range; it names variable, place, time, value, expected range and, where it can
            be guessed, the mistake.
    """
    entry = variable(name)
    array = np.asarray(values)
    low, high = entry.valid_range or (-np.inf, np.inf)
    with np.errstate(invalid="ignore"):
        wrong = ~((array >= low) & (array <= high) & np.isfinite(array))
    if allow_missing:
        wrong &= ~np.isnan(array)
    if not wrong.any():
        return
    first = np.unravel_index(int(np.argmax(wrong)), array.shape)
    value = float(array[first])
    place = ", ".join(
        f"{label} {coordinate[index]}" for (label, coordinate), index in zip(labels, first, strict=False)
    ) or (f"index {tuple(int(i) for i in first)}" if array.ndim else "")
    problem = "is not a finite number" if not np.isfinite(value) else f"is outside {low:g} to {high:g}"
    hint = likely_mistake(name, value)
    raise RegistryError(
        f"{where}: {name} = {value:g} {entry.unit}{' at ' + place if place else ''} {problem}"
        f" ({int(wrong.sum())} of {array.size} values){'; ' + hint if hint else ''}"
    )
