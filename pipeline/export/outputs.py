"""What goes into a file under which name: variables of a table of CMIP or ALMA, as sums of stored ones, or these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ldas.landmodel.constants import CARBON_MOLAR_MASS, CO2_MOLAR_MASS, WATER_DENSITY
from ldas.landmodel.soil_properties import LAYER_BOTTOMS
from ldas.pipeline.errors import RegistryError
from ldas.pipeline.export.source import Run
from ldas.pipeline.registry import Renamed, renamed, variable

Names = Literal["cmip", "alma", "surfex"]
Sum = Mapping[str, float]
_CARBON = CARBON_MOLAR_MASS / CO2_MOLAR_MASS
_TOPS = np.concatenate([[0.0], LAYER_BOTTOMS[:-1]])
_LIQUID = {
    "standard_name": "liquid_water_content_of_soil_layer",
    "comment": "liquid water only: the ice of these layers is not stored",
}


@dataclass(frozen=True)
class Output:
    """A variable of a file.

    parts: what it is the sum of, stored name -> factor; one for each of `layers` (numbers from 1, along an axis of
        depth), or one only.
    depth: top and bottom (m) of a variable of one depth.
    """

    name: str
    attributes: Mapping[str, Any]
    parts: tuple[Sum, ...]
    layers: tuple[int, ...] = ()
    depth: tuple[float, float] | None = None

    @property
    def stored(self) -> str:
        """One of the stored variables that it is made of."""
        return next(iter(self.parts[0]))

    def by_layer(self) -> "list[Output]":
        """Each layer as a variable of its own, with its number in the name; itself where it has none."""
        if not self.layers:
            return [self]
        edges = [(float(top), float(bottom)) for top, bottom in depths(self.layers)]
        return [
            Output(f"{self.name}_{layer}", self.attributes, (part,), depth=depth)
            for layer, part, depth in zip(self.layers, self.parts, edges, strict=True)
        ]


def depths(layers: tuple[int, ...]) -> np.ndarray:
    """Tops and bottoms (layer, 2) of soil layers, m."""
    index = np.array(layers) - 1
    return np.stack([_TOPS[index], LAYER_BOTTOMS[index]], axis=1)


def all_outputs(run: Run, names: Names) -> dict[str, Output]:
    """The outputs of a run under the names of a table; with `surfex` all that is stored."""
    if names == "surfex":
        return {name: as_stored(run, name) for name in run.variables}
    made = (_of_table(entry, run) for entry in renamed(names))
    return {output.name: output for output in made if output is not None}


def chosen_outputs(run: Run, names: Names, wanted: tuple[str, ...]) -> dict[str, Output]:
    """Those of the wanted outputs that a run has: by their names in the table, or else by those of the store."""
    found = all_outputs(run, names)
    if not wanted:
        return found
    stored = {name: as_stored(run, name) for name in wanted if name in run.variables}
    both = {**stored, **found}
    return {name: both[name] for name in wanted if name in both}


def as_stored(run: Run, name: str) -> Output:
    """A variable under its own name, in its own unit."""
    attributes = dict(run.dataset[name].attrs)
    layer = None
    try:
        entry = variable(name)
        layer = entry.layer if entry.group == "state" and name[:2] in ("WG", "TG") else None
    except RegistryError:
        pass
    depth = None if layer is None else (float(_TOPS[layer - 1]), float(LAYER_BOTTOMS[layer - 1]))
    return Output(name, attributes, ({name: 1.0},), depth=depth)


def _of_table(entry: Renamed, run: Run) -> Output | None:
    """A variable of a table; None where the run does not store all of what it is made of."""
    stored = set(run.variables)
    attributes = {
        "units": entry.unit,
        "long_name": entry.long_name,
        "standard_name": entry.standard_name,
        "cell_methods": entry.cell_methods,
    }
    attributes = {name: value for name, value in attributes.items() if value}
    if str(entry.standard_name).endswith("_temperature"):
        attributes["units_metadata"] = "temperature: on_scale"
    base = next(iter(entry.of))
    if variable(base).axis != "layer":
        factor = _CARBON if entry.scale == "carbon" else 1.0
        part = {name: factor * sign for name, sign in entry.of.items()}
        return Output(entry.name, attributes, (part,)) if stored.issuperset(part) else None
    layers = tuple(layer for layer in range(1, len(LAYER_BOTTOMS) + 1) if f"{base}{layer}" in stored)
    if entry.within is not None:
        needed = tuple(range(1, int(np.searchsorted(LAYER_BOTTOMS, entry.within + 1e-9)) + 1))
        layers = needed if set(needed) <= set(layers) else ()
    if not layers:
        return None
    water = [base, *([] if entry.with_ice is None else [entry.with_ice])]
    if entry.with_ice is not None and not all(f"{entry.with_ice}{layer}" in stored for layer in layers):
        attributes, water = {**attributes, **_LIQUID, "long_name": f"liquid {entry.long_name}"}, [base]
    thickness = np.diff(depths(layers))[:, 0]
    parts = tuple(
        {f"{name}{layer}": WATER_DENSITY * float(metres) if entry.scale == "mass" else 1.0 for name in water}
        for layer, metres in zip(layers, thickness, strict=True)
    )
    if entry.within is None:
        return Output(entry.name, attributes, parts, layers)
    return Output(
        entry.name, attributes, ({k: v for part in parts for k, v in part.items()},), depth=(0.0, entry.within)
    )
