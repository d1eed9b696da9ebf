"""Parameters of many columns, from vegetation type, texture and place, with overrides by SURFEX name."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array
from ldas.landmodel.checks import (
    CO2_RATIO_RANGE,
    DEPTH_RANGES,
    PARAMETER_RANGES,
    Range,
    check_fractions,
    numbers,
    per_column,
    whole_per_column,
)
from ldas.landmodel.compile import cached_entry
from ldas.landmodel.constants import CO2_MOLAR_MASS, DRY_AIR_MOLAR_MASS, SOIL_LAYERS
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.layout import COLUMN_PARAMETERS, LAYER_PARAMETERS, PARAMETER_ROWS, PARAMETER_SIZE
from ldas.landmodel.leaf import leaf
from ldas.landmodel.options import Options
from ldas.landmodel.overrides import OVERRIDES, SCALAR_OVERRIDES, SOIL_OVERRIDES
from ldas.landmodel.photosynthesis import PPM_CO2, temperature_response
from ldas.landmodel.soil_properties import (
    check_texture,
    cumulative_root_fraction,
    hydraulic_properties,
    runoff_depth,
    soil_grid,
)
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH, vegetation_table

DEFAULT_CO2 = 380.0e-6 * CO2_MOLAR_MASS / DRY_AIR_MOLAR_MASS
"""CO2 mixing ratio (kg kg-1) of 380 ppm."""


class Parameters(NamedTuple):
    """Parameters of columns; a column is a (cell, patch) pair with a non-zero fraction."""

    cell: NDArray[np.int64]
    """(column,) index of the cell in forcing and land"""
    patch: NDArray[np.int64]
    """(column,) patch number 1 to 12"""
    fraction: Array
    """(column,) share of the cell, 1"""
    clay: Array
    """(column,) of the first layer, 1"""
    layers: dict[str, Array]
    """soil by layer: (column, 14), or (column, 1) where all layers are equal; names of `layout.LAYER_PARAMETERS`"""
    values: dict[str, Array]
    """(column,) everything else; names of `layout.COLUMN_PARAMETERS`"""

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.cell)

    def __getattr__(self, name: str) -> Array:
        """A parameter of `values` or `layers` by its name."""
        for group in (self.values, self.layers):
            if name in group:
                return group[name]
        raise AttributeError(name)

    def soil(self, name: str) -> Array:
        """A parameter of `layers`, (column, 14)."""
        return np.broadcast_to(self.layers[name], (self.columns, SOIL_LAYERS))

    def take(self, columns: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "Parameters":
        """The parameters of some columns."""
        return Parameters(
            self.cell[columns],
            self.patch[columns],
            self.fraction[columns],
            self.clay[columns],
            {name: values[columns] for name, values in self.layers.items()},
            {name: values[columns] for name, values in self.values.items()},
        )

    def to_rows(self) -> Array:
        """All numbers the kernel needs as one C-contiguous matrix (column, value)."""
        rows = np.empty((self.columns, PARAMETER_SIZE))
        start = 0
        for name, count in PARAMETER_ROWS.items():
            width = max(count, 1)
            rows[:, start : start + width] = self.soil(name) if count else self.values[name][:, None]
            start += width
        return rows


def columns(
    vegetation: Sequence[str],
    cell: ArrayLike,
    patch: ArrayLike,
    fraction: ArrayLike,
    clay: ArrayLike,
    sand: ArrayLike,
    latitude: ArrayLike,
    longitude: ArrayLike,
    options: Options | None = None,
    overrides: Mapping[str, Any] | None = None,
    air_height: ArrayLike = 2.0,
    wind_height: ArrayLike = 10.0,
    cell_size_km: ArrayLike = 25.0,
    reference_co2: ArrayLike = DEFAULT_CO2,
) -> Parameters:
    """Parameters of columns of one vegetation type each.

    Args:
        vegetation: SURFEX code per column (`vegetation_table`).
        cell, patch, fraction: (column,) see `Parameters`.
        clay, sand: fractions; scalar, (column,) or (column, 14).
        latitude, longitude: degrees; scalar or (column,).
        overrides: SURFEX name -> scalar, (column,) or, for soil properties, (column, 14); None is skipped.
        air_height, wind_height: of the forcing (m). cell_size_km: of a cell, for rain over a part of it.
        reference_co2: CO2 mixing ratio (kg kg-1) of the leaf's optimal assimilation; SURFEX takes the first record.

    Raises:
        LandModelError: unknown types or names and values outside their ranges.
    """
    options = options or Options()
    count = len(vegetation)
    if count == 0:
        raise LandModelError("columns: expected at least one column, got none")
    given = _given_overrides(overrides or {}, count)
    table = vegetation_table()
    codes = list(dict.fromkeys(vegetation))
    for code in codes:
        if code not in table:
            close = difflib.get_close_matches(code, table, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise LandModelError(f"vegetation type: expected one of {', '.join(table)}, got {code!r}{hint}")

    place = {code: number for number, code in enumerate(codes)}
    code_of_column = np.array([place[code] for code in vegetation])

    def entry(name: str) -> Array:
        if name in given and given[name].ndim == 1:
            return given[name]
        return np.array([table[code][name] for code in codes])[code_of_column]

    clay_layers, sand_layers = _by_layer(clay, count, "clay"), _by_layer(sand, count, "sand")
    check_texture(clay_layers, sand_layers)
    cells = whole_per_column(cell, count, "cell", 0, 10**8)
    shares = per_column(fraction, count, "fraction")
    check_fractions(cells, shares)
    vegetated = (~np.isin(np.asarray(vegetation), ("NO", "ROCK", "SNOW"))).astype(np.float64)
    layers = hydraulic_properties(clay_layers, sand_layers, options.pedotransfer)
    for name, target in SOIL_OVERRIDES.items():
        if name in given:
            layers[target] = given[name].reshape(count, -1)
    for name, allowed in DEPTH_RANGES.items():
        _check_range(name, allowed, entry(name))
    layers.update(_vertical_structure(entry, given, vegetated, count))
    latitudes, longitudes = per_column(latitude, count, "latitude"), per_column(longitude, count, "longitude")
    _check_range("latitude", Range(-90.0, 90.0, "degrees"), latitudes)
    _check_range("longitude", Range(-180.0, 360.0, "degrees"), longitudes)
    values = _column_values(vegetation, entry, vegetated, latitudes, longitudes, sand_layers, cells, shares, options)
    values["moist_layers"] = layers.pop("moist_layers")[:, 0]
    values["runoff_depth"] = layers.pop("runoff_depth")[:, 0]
    for name, height in (("air_height", air_height), ("wind_height", wind_height), ("cell_size", cell_size_km)):
        values[name] = per_column(height, count, name)
    for name, target in SCALAR_OVERRIDES.items():
        if name in given:
            values[target] = given[name].copy()
    layers["runoff_weight"] = _runoff_weight(layers["layer_bottom"], values["runoff_depth"])
    if "ANMAX" not in given:
        co2 = per_column(reference_co2, count, "reference_co2")
        _check_range("reference_co2", CO2_RATIO_RANGE, co2)
        values["optimal_assimilation"] = optimal_assimilation(values, entry("TOPT"), co2)
    values["senescence_time"] = given["SEFOLD"].copy() if "SEFOLD" in given else entry("SEFOLD") * 86400.0
    parameters = Parameters(
        cells,
        whole_per_column(patch, count, "patch", 1, 12),
        shares,
        clay_layers[:, 0].copy(),
        {name: layers[name] for name in LAYER_PARAMETERS},
        {name: values[name] for name in COLUMN_PARAMETERS},
    )
    _check_ranges(parameters)
    return parameters


def columns_from_fractions(
    patch_fraction: ArrayLike,
    clay: ArrayLike,
    sand: ArrayLike,
    latitude: ArrayLike,
    longitude: ArrayLike,
    options: Options | None = None,
    vegetation_of_patch: Sequence[str] = VEGETATION_OF_PATCH,
    minimum_fraction: float = 0.0,
    overrides: Mapping[str, Any] | None = None,
    **heights: Any,
) -> Parameters:
    """Parameters of the active columns of cells.

    Args:
        patch_fraction: (cell, 12), each row adding to 1.
        clay, sand: scalar, (cell,) or (cell, 14) fractions; latitude, longitude: scalar or (cell,) degrees.
        vegetation_of_patch: type that stands for each patch.
        minimum_fraction: smaller patches are left out and the others scaled up (OWN).
        overrides: SURFEX name -> scalar, or (patch,) one value for each of the 12 patches.
        heights: further arguments of `columns`.

    Raises:
        LandModelError: if fractions do not add to 1 or are negative.
    """
    fractions = numbers(patch_fraction, "patch_fraction")
    if len(vegetation_of_patch) != 12:
        raise LandModelError(f"vegetation_of_patch: expected 12 types, got {len(vegetation_of_patch)}")
    if fractions.ndim != 2 or fractions.shape[1] != 12:
        raise LandModelError(f"patch_fraction: expected shape (cell, 12), got {fractions.shape}")
    bad = ~(np.abs(fractions.sum(axis=1) - 1.0) < 1.0e-6) | (fractions < 0.0).any(axis=1)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise LandModelError(
            f"patch_fraction of cell {where}: expected 12 fractions from 0 to 1 that add to 1, got "
            f"{fractions[where].tolist()} (sum {float(fractions[where].sum())!r})"
        )
    fractions = np.where(fractions > minimum_fraction, fractions, 0.0)
    if (fractions.sum(axis=1) <= 0.0).any():
        where = int(np.flatnonzero(fractions.sum(axis=1) <= 0.0)[0])
        raise LandModelError(f"cell {where}: no patch is larger than minimum_fraction={minimum_fraction}")
    fractions = fractions / fractions.sum(axis=1, keepdims=True)
    cell, patch = np.nonzero(fractions)
    given: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        array = None if value is None else numbers(value, f"parameter override {name}")
        given[name] = array[patch] if array is not None and array.shape == (12,) else array
    count = len(fractions)
    return columns(
        [vegetation_of_patch[int(p)] for p in patch],
        cell,
        patch + 1,
        fractions[cell, patch],
        _texture_of_columns(clay, cell, count, "clay"),
        _texture_of_columns(sand, cell, count, "sand"),
        per_column(latitude, count, "latitude")[cell],
        per_column(longitude, count, "longitude")[cell],
        options,
        given,
        **heights,
    )


def override_value(name: str, parameters: Parameters, column: int, vegetation: str) -> float:
    """The value that a parameter of `OVERRIDES` has in a column of a vegetation type; of soil layers, in the first.

    DG2 is the depth of the column's moist layers; CE_NITRO, CF_NITRO and CNA_NITRO are those of the table.
    """
    if name in SOIL_OVERRIDES:
        return float(parameters.soil(SOIL_OVERRIDES[name])[column, 0])
    if name == "DG2":
        return float(parameters.soil("layer_bottom")[column, int(parameters.moist_layers[column]) - 1])
    target = {**SCALAR_OVERRIDES, "SEFOLD": "senescence_time", "H_TREE": "plant_height"}.get(name)
    return float(parameters.values[target][column]) if target else vegetation_table()[vegetation][name]


def optimal_assimilation(values: Mapping[str, Array], optimum: Array, co2: ArrayLike) -> Array:
    """ANMAX (kg kg-1 m s-1): net assimilation of an unstressed leaf at its optimal temperature
    (docs/science/photosynthesis.md, section 8)."""
    names = (
        "mesophyll_conductance", "mesophyll_low", "mesophyll_high", "assimilation_capacity", "capacity_low",
        "capacity_high", "compensation_point", "cuticular_conductance", "quantum_efficiency", "ci_ratio",
    )  # fmt: skip
    ratios = np.broadcast_to(np.asarray(co2, dtype=np.float64), optimum.shape)
    leaves = np.ascontiguousarray(np.stack([optimum, ratios, *(values[name] for name in names)], axis=-1))
    result = np.empty(len(optimum))
    _assimilate_at_optimum(leaves, result)
    return np.where(values["vegetated"] > 0.5, result, 1.0)


@cached_entry
def _assimilate_at_optimum(leaves: Array, result: Array) -> None:
    density, light = 1.2, 500.0
    for i in range(len(leaves)):
        temperature, co2, conductance, conductance_low = leaves[i, 0], leaves[i, 1], leaves[i, 2], leaves[i, 3]
        conductance_high, capacity, capacity_low, capacity_high = leaves[i, 4], leaves[i, 5], leaves[i, 6], leaves[i, 7]
        compensation, cuticular, efficiency, ratio = leaves[i, 8], leaves[i, 9], leaves[i, 10], leaves[i, 11]
        q10 = 2.0 ** ((temperature - 25.0) / 10.0)
        mesophyll = conductance * temperature_response(temperature, q10, conductance_low, conductance_high)
        saturated = capacity * temperature_response(temperature, q10, capacity_low, capacity_high)
        point = compensation * PPM_CO2 * 1.5 ** ((temperature - 25.0) / 10.0)
        # leaf of LAI 1 under a tenth of it: the respiration profile gives exp(-0.2 x 0.1)
        result[i] = leaf(
            light, co2, 0.0, mesophyll, cuticular, saturated / density, point, efficiency / density, ratio, 1.0, 1.0,
            math.exp(-0.02),
        )[0]  # fmt: skip


def aggregate(values: Array, parameters: Parameters, cells: int) -> Array:
    """Cell means of column values.

    Args:
        values: (..., column).
        parameters: of the columns.
        cells: number of cells.

    Returns:
        (..., cell): the sum of fraction times value; undefined (NaN) values count 0, as in SURFEX.

    Raises:
        LandModelError: if the last axis is not that of the columns, or a column lies in no cell.
    """
    array = np.asarray(values, dtype=np.float64)
    needed = int(parameters.cell.max(initial=-1)) + 1
    if array.ndim == 0 or array.shape[-1] != parameters.columns or needed > cells:
        raise LandModelError(
            f"aggregate: expected (..., {parameters.columns}) values and at least {needed} cells, got {array.shape} "
            f"and {cells}"
        )
    result = np.zeros((*array.shape[:-1], cells))
    weighted = np.nan_to_num(array, nan=0.0) * parameters.fraction
    for columns_of_rank in _columns_by_rank(parameters.cell):
        # one column of every cell at a time: the sum of a cell does not depend on the other cells
        result[..., parameters.cell[columns_of_rank]] += weighted[..., columns_of_rank]
    return result


def _columns_by_rank(cell: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """First columns of all cells, second columns, and so on."""
    order = np.argsort(cell, kind="stable")
    sorted_cells = cell[order]
    first = np.r_[True, sorted_cells[1:] != sorted_cells[:-1]]
    starts = np.flatnonzero(first)
    rank = np.arange(len(cell)) - np.repeat(starts, np.diff(np.r_[starts, len(cell)]))
    return [order[rank == number] for number in range(int(rank.max(initial=-1)) + 1)]


def _given_overrides(overrides: Mapping[str, Any], count: int) -> dict[str, Array]:
    given: dict[str, Array] = {}
    for name, value in overrides.items():
        if name not in OVERRIDES:
            close = difflib.get_close_matches(name, OVERRIDES, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(OVERRIDES)}"
            raise LandModelError(f"parameter override {name!r} is not a parameter that can be given{hint}")
        if value is None:
            continue
        array = numbers(value, f"parameter override {name}")
        if array.ndim == 0:
            array = np.full(count, float(array))
        shapes = [(count,), (count, SOIL_LAYERS)] if name in SOIL_OVERRIDES else [(count,)]
        if array.shape not in shapes:
            allowed = " or ".join(map(str, shapes))
            raise LandModelError(f"parameter override {name}: expected a number or shape {allowed}, got {array.shape}")
        given[name] = array
    return given


def _by_layer(values: ArrayLike, count: int, name: str) -> Array:
    array = numbers(values, name)
    if array.ndim < 2:
        return per_column(array, count, name)[:, None]
    if array.shape != (count, SOIL_LAYERS):
        raise LandModelError(f"{name}: expected ({count},) or ({count}, {SOIL_LAYERS}), got {array.shape}")
    return array


def _texture_of_columns(values: ArrayLike, cell: NDArray[np.int64], count: int, name: str) -> Array:
    layers = _by_layer(values, count, name)[cell]
    return layers[:, 0] if layers.shape[1] == 1 else layers


def _vertical_structure(entry: Any, given: Mapping[str, Array], vegetated: Array, count: int) -> dict[str, Array]:
    """Layer bottoms, root share of every layer, number of moist layers and runoff depth."""
    roots_depth = entry("DROOT")
    bare_depth = entry("DG2")
    depth = bare_depth if "DG2" in given else np.where(vegetated > 0.5, np.maximum(1.0, roots_depth), bare_depth)
    extinction, linear = entry("ROOT_EXTINCTION"), entry("ROOT_LINEAR")
    # Few columns differ in this: of the twelve patches there are twelve kinds at most, unless depths are given.
    kinds, kind = np.unique(
        np.stack([depth, roots_depth, vegetated, extinction, linear], axis=1), axis=0, return_inverse=True
    )
    bottoms, roots = np.empty((2, len(kinds), SOIL_LAYERS))
    moist, runoff = np.empty((2, len(kinds), 1))
    for i, (deep, rooted, covered, decrease, part) in enumerate(kinds.tolist()):
        bottoms[i], number = soil_grid(max(deep, rooted if covered else 0.0))
        moist[i] = number
        limited = min(rooted, float(bottoms[i, number - 1]))
        cumulative = cumulative_root_fraction(bottoms[i], limited, decrease, part)
        runoff[i] = runoff_depth(bottoms[i], number, cumulative, deep)
        roots[i] = np.diff(cumulative, prepend=0.0) * covered
    made = {"layer_bottom": bottoms, "root_fraction": roots, "moist_layers": moist, "runoff_depth": runoff}
    return {name: values[kind.reshape(count)] for name, values in made.items()}


def _runoff_weight(bottoms: Array, depth: Array) -> Array:
    tops = np.concatenate([np.zeros((len(bottoms), 1)), bottoms[:, :-1]], axis=1)
    return np.maximum(0.0, np.minimum(bottoms, depth[:, None]) - tops)


def _column_values(
    vegetation: Sequence[str], entry: Any, vegetated: Array, latitude: Array, longitude: Array, sand: Array,
    cell: NDArray[np.int64], fraction: Array, options: Options,
) -> dict[str, Array]:  # fmt: skip
    """The parameters of `values` that come from tables, place and texture."""
    woody = entry("WOODY")
    tropical = (np.asarray(vegetation) == "TRBE").astype(np.float64)
    gmes = entry("GMES")
    with np.errstate(divide="ignore", invalid="ignore"):  # a conductance that is not positive is refused by its range
        ratio = np.where(woody > 0.5, (4.7 - np.log(1000.0 * gmes)) / 7.0, entry("FZERO"))
    shadow = np.maximum(5.76 - 0.64 * np.arctan(np.abs(np.radians(latitude))), 3.8)
    share = np.zeros(int(cell.max()) + 1)
    np.add.at(share, cell, fraction * vegetated)
    visible = 0.05 + (0.05 + np.maximum(0.30 * sand[:, 0], 0.10)) * (1.0 - 0.9 * share[cell] ** 2)
    return {
        "sin_latitude": np.sin(np.radians(latitude)),
        "cos_latitude": np.cos(np.radians(latitude)),
        "sin_longitude": np.sin(np.radians(longitude)),
        "cos_longitude": np.cos(np.radians(longitude)),
        "vegetated": vegetated,
        "woody": woody,
        "tropical": tropical,
        "forest_fraction": woody.copy(),
        "defensive": entry("LSTRESS"),
        "mesophyll_conductance": gmes,
        "cuticular_conductance": entry("GC"),
        "maximum_deficit": entry("DMAX"),
        "critical_stress": entry("F2I"),
        "assimilation_capacity": entry("AMAX"),
        "ci_ratio": np.where(tropical > 0.5, 0.74, ratio),
        "quantum_efficiency": entry("EPSO"),
        "compensation_point": entry("GAMM"),
        "mesophyll_low": entry("T1GMES"),
        "mesophyll_high": entry("T2GMES"),
        "capacity_low": entry("T1AMAX"),
        "capacity_high": entry("T2AMAX"),
        "herb_intercept": entry("AH"),
        "herb_slope": entry("BH"),
        "minimum_lai": entry("LAIMIN"),
        "leaf_biomass_ratio": 1.0 / (entry("CE_NITRO") * entry("CNA_NITRO") + entry("CF_NITRO")),
        "shadow_lai": np.full(len(vegetation), 5.30) if options.light_scheme == "carrer" else shadow,
        "vegetation_cover": entry("VEG"),
        "height_law": entry("HEIGHT_LAW"),
        "plant_height": entry("H_TREE"),
        "vegetation_inertia_coefficient": entry("CV"),
        "interception_coefficient": entry("WRMAX_CF"),
        "albedo_vegetation_near_infrared": entry("ALBNIR_VEG"),
        "albedo_vegetation_visible": entry("ALBVIS_VEG"),
        "albedo_soil_near_infrared": visible + 0.10,
        "albedo_soil_visible": visible,
        "soil_respiration_25": entry("RE25"),
        "shading_leaf_area": entry("LAI_SHADE"),
        "clumping_upper": entry("B_SUP"),
        "clumping_lower": entry("B_INF"),
    }


def _check_range(name: str, allowed: Range, values: Array) -> None:
    where = allowed.first_outside(values)
    if where is not None:
        raise LandModelError(f"{name} of column {where[0]}: {allowed.message(values[where])}")


def _check_ranges(parameters: Parameters) -> None:
    known_as = {target: name for name, target in (SCALAR_OVERRIDES | SOIL_OVERRIDES).items()} | {
        "senescence_time": "SEFOLD",
        "plant_height": "H_TREE",
    }
    for name, allowed in PARAMETER_RANGES.items():
        values = np.atleast_2d(getattr(parameters, name).T).T
        outside = allowed.first_outside(values)
        if outside is not None:
            surfex = f" ({known_as[name]})" if name in known_as else ""
            in_layer = f", layer {outside[1] + 1}" if name in LAYER_PARAMETERS else ""
            place = f"(cell {int(parameters.cell[outside[0]])}, patch {int(parameters.patch[outside[0]])})"
            raise LandModelError(
                f"parameter {name}{surfex} of column {outside[0]}{in_layer} {place}: {allowed.message(values[outside])}"
            )
    order = (parameters.soil("wilting_point") < parameters.soil("field_capacity")) & (
        parameters.soil("field_capacity") < parameters.soil("porosity")
    )
    if not order.all():
        column, layer = (int(i) for i in np.argwhere(~order)[0])
        raise LandModelError(
            f"soil of column {column}, layer {layer + 1}: expected wilting point < field capacity < porosity, got "
            f"{float(parameters.soil('wilting_point')[column, layer])!r}, "
            f"{float(parameters.soil('field_capacity')[column, layer])!r}, "
            f"{float(parameters.soil('porosity')[column, layer])!r}"
        )
