"""The control vector: which variables of which columns a filter may change, how it perturbs them, how far it may go.

Model states are by column (a patch of a cell); the analysis is by cell, with an axis of always 12 patches, so that
the sums over patches are the same sums, to the last bit, whatever other cells are beside a cell.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from ldas.assim.errors import FilterConfigurationError
from ldas.assim.sekf_analysis import dynamic_range, limit_increments
from ldas.landmodel import Parameters, State, quantities
from ldas.landmodel.array_types import Array, BoolArray

PATCHES = 12
DEFAULT_CONTROLS = ("LAI", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8")
"""The control variables of Corchia et al. (2023): LAI and soil moisture from 0.01 to 1 m."""

MINIMUM_LAI = np.array([0.3, 0.3, 0.3, 0.3, 1.0, 1.0, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3])
"""LAImin (m2 m-2) of patches 1..12 (SODA, hard-coded there)."""
LEGACY_LEAF_BIOMASS = np.array(
    [0, 0, 0, 0.08203445, 0.07496252, 0.0684697, 0.06771856, 0.09744689, 0.09744689, 0.0716435, 0.17686594, 0.0716435]
)
"""XALPH (kg m-2 of leaf biomass per unit LAI) of patches 1..12, SODA's default from an older parameter set."""
MINIMUM_SOIL_MOISTURE = 0.001  # m3 m-3
LARGEST_LAI_INCREMENT = 1.0  # m2 m-2
LARGEST_SOIL_MOISTURE_INCREMENT = 0.1  # m3 m-3
LARGEST_SNOW_FACTOR = 2.0
"""An analysis at most doubles or halves the snow of a patch (docs/science/sekf.md, section 7)."""

_STATE = {quantity.surfex: quantity for quantity in quantities.STATE}
_VARIABLE = re.compile(r"(WGI|WG|TG)([1-9]\d?)|LAI")
SNOW = {"SWE": "kg m-2", "SNOW_DEPTH": "m"}
"""Variables of the whole snow pack, with their units."""


class ObservedState(NamedTuple):
    """What operators and masks read of a state, (column[, member][, layer]) as in `State`: a state inside a window.

    What is diagnosed is there where an observation asks for it: snow_depth (m); air_temperature (K), specific_humidity
    (kg kg-1) and relative_humidity (1) at 2 m.
    """

    soil_temperature: Array
    soil_water: Array
    soil_ice: Array
    snow_water_equivalent: Array
    leaf_area_index: Array
    snow_depth: Array | None = None
    air_temperature: Array | None = None
    specific_humidity: Array | None = None
    relative_humidity: Array | None = None

    def map(self, function: Callable[[Array], Array]) -> "ObservedState":
        """The state with a function of each of its arrays."""
        return ObservedState(**{n: function(values) for n, values in self._asdict().items() if values is not None})


def variable_unit(name: str) -> str:
    """Unit of a state variable by its SURFEX name: LAI, WG2, TG2, SWE, ...; FilterConfigurationError if unknown."""
    if name in SNOW:
        return SNOW[name]
    match = _VARIABLE.fullmatch(name)
    if match is None:
        raise FilterConfigurationError(
            f"unknown state variable {name!r}: expected LAI, SWE, SNOW_DEPTH, or WG, WGI or TG with the number of a "
            "soil layer (WG2)"
        )
    return _STATE[match[1] or "LAI"].unit


DIAGNOSED = {
    "SNOW_DEPTH": "snow_depth",
    "T2M": "air_temperature",
    "Q2M": "specific_humidity",
    "HU2M": "relative_humidity",
}
"""What the land model puts out for an `ObservedState`, where it is asked for, with the field that holds it."""


def diagnosed(state: State | ObservedState, name: str) -> Array:
    """A variable of DIAGNOSED, (column,) or (column, member).

    Raises:
        FilterConfigurationError: it was not put out, or the state is the model's own, which does not have it.
    """
    values: Array | None = getattr(state, DIAGNOSED[name], None)
    if values is None:
        raise FilterConfigurationError(f"{name} is no part of the state: it is put out at an observation's hour")
    return values


def read_variable(state: State | ObservedState, name: str) -> Array:
    """The variable `name` of a state, (column,) or (column, member)."""
    variable_unit(name)
    if name == "LAI":
        return np.asarray(state.leaf_area_index)
    if name == "SWE":
        return np.asarray(state.snow_water_equivalent.sum(axis=-1))
    if name == "SNOW_DEPTH":
        if isinstance(state, ObservedState):
            return diagnosed(state, name)
        return np.asarray((state.snow_water_equivalent / state.snow_density).sum(axis=-1))
    kind, layer = name.rstrip("0123456789"), int(name.lstrip("WGTI"))
    return np.asarray(getattr(state, _STATE[kind].name)[..., layer - 1])


@dataclass(frozen=True)
class ControlVector:
    """The control variables of a set of columns, with their bounds.

    names (control,); cells; cell and patch (column,), patch counted from 0; fraction (cell, 12), zero where a cell does
    not have the patch; moist_layers (column,), layers that carry water; vegetated (column,); lower, upper (column,
    control) bounds of a variable; largest (control,) size of an increment; leaf_biomass (column,), kg m-2 per unit of
    LAI; dynamic_range (column,), COFSWI in m3 m-3.
    """

    names: tuple[str, ...]
    cells: int
    cell: np.ndarray
    patch: np.ndarray
    fraction: Array
    moist_layers: np.ndarray
    vegetated: BoolArray
    lower: Array
    upper: Array
    largest: Array
    leaf_biomass: Array
    dynamic_range: Array

    @cached_property
    def is_lai(self) -> BoolArray:
        """(control,) True for LAI."""
        return np.array([name == "LAI" for name in self.names])

    @cached_property
    def is_snow(self) -> BoolArray:
        """(control,) True for SWE."""
        return np.array([name == "SWE" for name in self.names])

    @cached_property
    def present(self) -> BoolArray:
        """(column, control) whether the column has the variable."""
        return np.stack([self.defined(name) for name in self.names], axis=-1)

    def defined(self, name: str) -> BoolArray:
        """(column,) whether the columns have the variable: leaves for LAI, enough soil layers for WG and WGI."""
        if name == "LAI":
            return self.vegetated
        if name.startswith("WG"):
            return np.asarray(self.moist_layers >= int(name.lstrip("WGI")))
        return np.ones(self.cell.shape, dtype=bool)

    @cached_property
    def cell_dynamic_range(self) -> Array:
        """(cell,) COFSWI of a cell, whose patches share one soil texture."""
        of_cell = np.full(self.cells, np.nan)
        of_cell[self.cell] = self.dynamic_range
        return of_cell

    def to_cells(self, values: np.ndarray, fill: float = 0.0) -> Array:
        """(column, ...) -> (cell, 12, ...), `fill` where a cell does not have the patch."""
        dense = np.full((self.cells, PATCHES, *values.shape[1:]), fill, dtype=np.float64)
        dense[self.cell, self.patch] = values
        return dense

    def to_columns(self, values: Array) -> Array:
        """(cell, 12, ...) -> (column, ...)."""
        return np.asarray(values[self.cell, self.patch])

    def any_column(self, condition: BoolArray) -> BoolArray:
        """(column,) -> (cell,): whether the condition holds in at least one patch of the cell."""
        return np.bincount(self.cell[condition], minlength=self.cells) > 0

    def patches_of(self, state: State | ObservedState, name: str) -> Array:
        """A variable as (cell, 12[, member]), zero where it is undefined (LAI of bare soil, water below the soil)."""
        values = read_variable(state, name)
        defined = self.defined(name).reshape((-1,) + (1,) * (values.ndim - 1))
        return self.to_cells(np.where(defined, values, 0.0))

    def values(self, state: State) -> Array:
        """The control variables, (column[, member], control), zero where not present."""
        values = np.stack([read_variable(state, name) for name in self.names], axis=-1)
        return np.where(self._present_like(values), values, 0.0)

    def _present_like(self, values: Array) -> BoolArray:
        """`present` with a member axis where (column[, member], control) values have one."""
        return self.present[(slice(None),) + (None,) * (values.ndim - 2)]

    def perturbation(self, state: State, relative_size: Mapping[str, float]) -> Array:
        """eps (column, control): t COFSWI for soil moisture, t LAI, t SWE; zero where the variable is not present."""
        scale = np.where(self.is_lai | self.is_snow, self.values(state), self.dynamic_range[:, None])
        size = np.array([relative_size[name] for name in self.names])
        return np.where(self.present, size * scale, 0.0)

    def perturbed_members(self, state: State, relative_size: Mapping[str, float]) -> State:
        """The state with a member axis (column, control, ...), one control perturbed in each.

        WG_l += t COFSWI; LAI and leaf biomass times (1 + t): without the biomass the midnight update would undo it;
        all snow layers times (1 + t). What is perturbed in no member is stored once for all, and cannot be written.
        """
        count = len(self.names)
        alike = State(*(np.broadcast_to(v[:, None], (len(v), count, *v.shape[1:])) for v in map(np.asarray, state)))
        changed = ("soil_water", "leaf_area_index", "biomass") + ("snow_water_equivalent",) * bool(self.is_snow.any())
        members = alike._replace(**{name: getattr(alike, name).copy() for name in changed})
        for member, name in enumerate(self.names):
            here, size = self.present[:, member], relative_size[name]
            if name == "LAI":
                members.leaf_area_index[here, member] *= 1.0 + size
                members.biomass[here, member, 0] *= 1.0 + size
            elif name == "SWE":
                members.snow_water_equivalent[:, member] *= 1.0 + size
            else:
                members.soil_water[here, member, int(name[2:]) - 1] += size * self.dynamic_range[here]
        return members

    def limited(self, state: State, increment: Array) -> Array:
        """Increments (column[, member], control) that respect the bounds of every variable; zero where not present."""
        axes = (slice(None),) + (None,) * (increment.ndim - 2)
        values, lower, upper = self.values(state), self.lower[axes], self.upper[axes]
        if self.is_snow.any():
            lower = np.where(self.is_snow, values / LARGEST_SNOW_FACTOR, lower)
            upper = np.where(self.is_snow, values * LARGEST_SNOW_FACTOR, upper)
        limited = limit_increments(increment, values, lower, upper, self.largest)
        return np.where(self._present_like(increment), limited, 0.0)

    def add(self, state: State, increment: Array) -> State:
        """The state plus limited increments (column[, member], control); LAI takes leaf biomass along, SWE changes all
        snow layers by one factor (docs/science/sekf.md, section 7).

        What has no increment keeps its bits. LAI >= LAImin holds exactly where LAI changed (SURFEX enforces it on
        restart): an increment that ends on the minimum may end one rounding error below it.
        """
        soil_water, lai, biomass = state.soil_water.copy(), state.leaf_area_index.copy(), state.biomass.copy()
        snow = state.snow_water_equivalent
        for control, name in enumerate(self.names):
            change = increment[..., control]
            changed = change != 0.0
            if name == "LAI":
                column = np.nonzero(changed)[0]
                lai[changed] = np.maximum(lai[changed] + change[changed], MINIMUM_LAI[self.patch[column]])
                biomass[changed, 0] += self.leaf_biomass[column] * change[changed]
            elif name == "SWE":
                # heat is per volume, so that density, temperature and liquid share of a layer stay as they are
                factor = 1.0 + change / np.where(changed, read_variable(state, name), 1.0)
                snow = np.where(changed[..., None], snow * factor[..., None], snow)
            else:
                soil_water[changed, int(name[2:]) - 1] += change[changed]
        return state._replace(soil_water=soil_water, leaf_area_index=lai, biomass=biomass, snow_water_equivalent=snow)


def control_vector(
    parameters: Parameters,
    cells: int,
    names: Sequence[str] = DEFAULT_CONTROLS,
    leaf_biomass: Literal["BSLAI", "legacy"] = "BSLAI",
) -> ControlVector:
    """The control vector of the columns of a land model; `cells` is the length of the forcing's cell axis.

    Raises:
        FilterConfigurationError: an unknown or repeated control variable.
    """
    checked_controls(names)
    cell = np.asarray(parameters.cell, dtype=np.int64)
    patch = np.asarray(parameters.patch, dtype=np.int64) - 1
    fraction = np.zeros((cells, PATCHES))
    fraction[cell, patch] = parameters.fraction

    lower, upper = np.full((cell.size, len(names)), MINIMUM_SOIL_MOISTURE), np.full((cell.size, len(names)), np.inf)
    for control, name in enumerate(names):
        if name == "LAI":
            lower[:, control] = MINIMUM_LAI[patch]
        elif name != "SWE":  # its bounds follow from the state
            upper[:, control] = parameters.soil("porosity")[:, int(name[2:]) - 1]
    sizes = {"LAI": LARGEST_LAI_INCREMENT, "SWE": np.inf}
    largest = [sizes.get(name, LARGEST_SOIL_MOISTURE_INCREMENT) for name in names]
    alpha = parameters.leaf_biomass_ratio if leaf_biomass == "BSLAI" else LEGACY_LEAF_BIOMASS[patch]
    return ControlVector(
        names=tuple(names),
        cells=cells,
        cell=cell,
        patch=patch,
        fraction=fraction,
        moist_layers=parameters.moist_layers,
        vegetated=parameters.vegetated > 0.5,
        lower=lower,
        upper=upper,
        largest=np.array(largest),
        leaf_biomass=alpha,
        dynamic_range=dynamic_range(parameters.clay),
    )


class ControlsOfModel:
    """The control vector of a model's columns, kept: window after window asks for that of the same model."""

    def __init__(self, cells: int, names: Sequence[str], leaf_biomass: Literal["BSLAI", "legacy"]) -> None:
        """See `control_vector`."""
        self._settings = cells, names, leaf_biomass
        self._last: tuple[Parameters, ControlVector] | None = None

    def of(self, parameters: Parameters) -> ControlVector:
        """The control vector for these parameters.

        Raises:
            FilterConfigurationError: as `control_vector` does.
        """
        if self._last is None or self._last[0] is not parameters:
            self._last = parameters, control_vector(parameters, *self._settings)
        return self._last[1]


def checked_controls(names: Sequence[str]) -> None:
    """Raises FilterConfigurationError unless the names are LAI, SWE or WG1..WG14, at least one, none twice."""
    known = {"LAI", "SWE", *(f"WG{layer}" for layer in range(1, 15))}
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) != len(names) or not names:
        raise FilterConfigurationError(
            f"control variables must be LAI, SWE or WG1 to WG14, each once and at least one; got {list(names)}"
            + (f", of which {unknown} are unknown" if unknown else "")
        )
