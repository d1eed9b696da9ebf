"""The prognostic state of many columns: everything a run needs to resume bit for bit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array
from ldas.landmodel.checks import STATE_RANGES, per_column
from ldas.landmodel.compile import cached_entry
from ldas.landmodel.constants import SOIL_LAYERS
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.layout import STATE_FIELDS, STATE_ROWS, STATE_SIZE
from ldas.landmodel.parameters import Parameters
from ldas.landmodel.snow_layers import MINIMUM_DENSITY
from ldas.landmodel.vegetation import total_from_leaf

_DRIEST = 1.0e-4  # m3 m-3: below the 1e-3 that a step leaves, so that perturbed states pass
_SURPLUS = 0.05  # m3 m-3 above the porosity that hoar on a full layer, or an analysis, may leave


class State(NamedTuple):
    """Prognostic state; float64 arrays with leading axes `column` or (`column`, `member`), then layers or pools.

    Units and meaning are in `quantities.STATE`, which these fields repeat for readers and type checkers. Layers below
    the moisture column carry no water: `soil_water` and `soil_ice` are 0 there. Without snow the layers have no mass,
    density 50 kg m-3, and heat, age and albedo 0; with 3 snow layers the rest stays so.
    """

    soil_temperature: Array
    soil_water: Array
    soil_ice: Array
    intercepted_water: Array
    snow_water_equivalent: Array
    snow_density: Array
    snow_heat: Array
    snow_age: Array
    snow_albedo: Array
    leaf_area_index: Array
    biomass: Array
    respired_biomass: Array
    daily_net_assimilation: Array
    maximum_leaf_assimilation: Array
    net_assimilation: Array
    latent_heat_flux: Array
    aerodynamic_resistance: Array

    def to_rows(self, out: Array | None = None) -> Array:
        """The state as one C-contiguous matrix (column x member, value), `out` if it is given."""
        leading = self.intercepted_water.shape
        rows = np.empty((int(np.prod(leading)), STATE_SIZE)) if out is None else out
        for name, values in zip(self._fields, self, strict=True):
            where = STATE_ROWS[name]
            rows[:, where.start : where.stop] = np.asarray(values, dtype=np.float64).reshape(-1, len(where))
        return rows

    @classmethod
    def from_rows(cls, rows: Array, leading: tuple[int, ...]) -> "State":
        """Inverse of `to_rows`: views of the matrix."""
        fields = []
        for name, count in STATE_FIELDS.items():
            where = STATE_ROWS[name]
            shape = (*leading, count) if count else leading
            fields.append(rows[:, where.start : where.stop].reshape(shape))
        return cls(*fields)

    def take(self, columns: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "State":
        """The state of some columns."""
        return State(*(np.array(values[columns]) for values in self))

    def members(self, count: int) -> "State":
        """The state (column, ...) repeated along a new member axis (column, member, ...)."""
        return State(*(np.repeat(values[:, None], count, axis=1) for values in self))

    def member(self, number: int) -> "State":
        """One member of a state with a member axis."""
        return State(*(np.array(values[:, number]) for values in self))


def check_state(state: State, columns: int) -> tuple[int, ...]:
    """Leading axes of a state for a number of columns.

    Raises:
        LandModelError: if shapes disagree with each other or with the columns.
    """
    leading = np.shape(state.intercepted_water)
    if not leading or leading[0] != columns or len(leading) > 2:
        raise LandModelError(
            f"state: expected leading axes ({columns},) or ({columns}, member), got {leading} for intercepted_water"
        )
    for name, values in zip(state._fields, state, strict=True):
        count = STATE_FIELDS[name]
        expected = (*leading, count) if count else leading
        if np.shape(values) != expected:
            raise LandModelError(f"state: expected shape {expected} for {name}, got {np.shape(values)}")
    return leading


def cold_start(
    parameters: Parameters,
    air_temperature: float | Array = 285.0,
    relative_moisture: float = 1.0,
    leaf_area_index: float | Array | None = None,
) -> State:
    """A state to begin a spin-up with (OWN; the rules for biomass are those of SURFEX PREP).

    Soil at the mean air temperature (K, scalar or per column), water at `relative_moisture` between wilting point (0)
    and field capacity (1), no ice, no snow, LAI at its minimum unless given.
    """
    columns = parameters.columns
    moist = np.arange(14)[None, :] < parameters.moist_layers[:, None]
    wilting = parameters.soil("wilting_point")
    water = np.where(moist, wilting + relative_moisture * (parameters.soil("field_capacity") - wilting), 0.0)
    vegetated = parameters.vegetated > 0.5
    given = parameters.minimum_lai if leaf_area_index is None else leaf_area_index
    lai = np.where(vegetated, np.maximum(per_column(given, columns, "leaf_area_index"), parameters.minimum_lai), 0.0)
    temperature = per_column(air_temperature, columns, "air_temperature")
    return initial_state(parameters, np.repeat(temperature[:, None], SOIL_LAYERS, axis=1), water, lai)


def initial_state(parameters: Parameters, soil_temperature: Array, soil_water: Array, leaf_area_index: Array) -> State:
    """A snow- and ice-free state from soil temperature (K) and water (m3 m-3), (column, 14), and LAI (m2 m-2).

    Leaf biomass belongs to the LAI, active structural biomass to it by allometry (SURFEX PREP); Ra = 100 s m-1, LE = 0,
    ANFM = 1e-8.
    """
    columns = parameters.columns
    vegetated = parameters.vegetated > 0.5
    leaf = np.where(vegetated, leaf_area_index * parameters.leaf_biomass_ratio, 0.0)
    active = np.maximum(0.0, _allometric_total(leaf) - leaf)
    zero = np.zeros(columns)
    snow = np.zeros((columns, STATE_FIELDS["snow_density"]))
    return State(
        soil_temperature=np.array(soil_temperature, dtype=np.float64),
        soil_water=np.array(soil_water, dtype=np.float64),
        soil_ice=np.zeros((columns, 14)),
        intercepted_water=zero.copy(),
        snow_water_equivalent=snow.copy(),
        snow_density=snow + MINIMUM_DENSITY,
        snow_heat=snow.copy(),
        snow_age=snow.copy(),
        snow_albedo=zero.copy(),
        leaf_area_index=np.where(vegetated, leaf_area_index, 0.0),
        biomass=np.stack([leaf, active, zero], axis=-1),
        respired_biomass=np.zeros((columns, 2)),
        daily_net_assimilation=zero.copy(),
        maximum_leaf_assimilation=np.where(vegetated, 1.0e-8, 0.0),
        net_assimilation=zero.copy(),
        latent_heat_flux=zero.copy(),
        aerodynamic_resistance=zero + 100.0,
    )


def _allometric_total(leaf: Array) -> Array:
    total = np.empty(len(leaf))
    _fill_allometric_total(np.ascontiguousarray(leaf), total)
    return total


@cached_entry
def _fill_allometric_total(leaf: Array, total: Array) -> None:
    for i in range(len(leaf)):
        total[i] = total_from_leaf(leaf[i])


def validate_state(state: State, parameters: Parameters) -> None:
    """Refuse a state that no column can be in.

    Raises:
        LandModelError: naming variable, column, cell and value.
    """
    leading = check_state(state, parameters.columns)
    for name, values in zip(state._fields, state, strict=True):
        where = STATE_RANGES[name].first_outside(values)
        if where is not None:
            raise LandModelError(
                f"state: {name} of {_place(parameters, where)}: {STATE_RANGES[name].message(np.asarray(values)[where])}"
            )
    per_member = (slice(None),) + (None,) * (len(leading) - 1)
    moist = (np.arange(SOIL_LAYERS)[None, :] < parameters.moist_layers[:, None])[per_member]
    dry = np.argwhere(moist & ~(np.asarray(state.soil_water) >= _DRIEST))
    if len(dry):
        where = tuple(int(i) for i in dry[0])
        raise LandModelError(
            f"state: soil_water of {_place(parameters, where)}: expected at least {_DRIEST} m3 m-3 in the "
            f"{int(parameters.moist_layers[where[0]])} moist layers of this column, got "
            f"{float(np.asarray(state.soil_water)[where])!r} (is the state of another soil depth?)"
        )
    content = np.asarray(state.soil_water) + np.asarray(state.soil_ice)
    full = np.argwhere(moist & (content > parameters.soil("porosity")[per_member] + _SURPLUS))
    if len(full):
        where = tuple(int(i) for i in full[0])
        porosity = float(parameters.soil("porosity")[where[0], where[-1]])
        raise LandModelError(
            f"state: soil_water + soil_ice of {_place(parameters, where)}: expected at most the porosity {porosity!r} "
            f"m3 m-3, got {float(content[where])!r} (is the state of another soil?)"
        )


def _place(parameters: Parameters, where: tuple[int, ...]) -> str:
    return (
        f"column {where[0]} (cell {int(parameters.cell[where[0]])}, patch {int(parameters.patch[where[0]])}), element "
        f"{where[1:]}"
    )
