"""Where every quantity of a column lies on the card. Here, and nowhere else, the layout is tuned.

State, scratch and fluxes are in the thread's memory: a group of its own for each array, so that the compiler keeps
single numbers in registers. Parameters lie in tiles of `TILE` columns; what follows from the soil grid alone, which is
the same for most columns, in tables that columns share. Where the texture of the soil does not vary with depth
(`uniform`), its constants are one number instead of one a layer.
"""

from typing import NamedTuple

import numpy as np

from ldas.landmodel import quantities
from ldas.landmodel.array_types import Array, IntArray
from ldas.landmodel.parameters import Parameters
from ldas.landmodel.quantities import SOIL, Quantity

TILE = 32
"""Columns of a tile: the threads that the card runs together."""
GRID_ROWS = ("layer_bottom", "thickness", "inverse_thickness", "inverse_spacing")
GRID_STRIDE = 16  # numbers between two of these in a table
GRID_SIZE = len(GRID_ROWS) * GRID_STRIDE
SOIL_CONSTANTS = (
    "porosity", "wilting_point", "field_capacity", "retention_exponent", "entry_potential", "hydraulic_conductivity",
    "dry_conductivity", "solid_conductivity",
)  # fmt: skip
"""Parameters of the texture, one value a layer."""
_FROM_CONSTANTS = (
    "log_solid_conductivity", "inverse_porosity", "inverse_exponent", "inverse_entry_potential", "inverse_air_space",
    "saturated_conductivity",
)  # fmt: skip


class Place(NamedTuple):
    """Where a field lies: its group, how many numbers from the group's start, number of rows (0: a number), how many
    numbers from row to row, and kind."""

    group: str
    first: int
    rows: int
    stride: int
    kind: str = "real"


class RecordLayout(NamedTuple):
    """A record: groups in the thread's memory with their number of rows, groups that are given, and fields."""

    name: str
    own: dict[str, int]
    given: tuple[str, ...]
    fields: dict[str, Place]

    def kind(self, group: str) -> str:
        """Kind of the numbers of a group."""
        return next(place.kind for place in self.fields.values() if place.group == group)


_GRID = {name: Place("grid", GRID_STRIDE * number, SOIL, 1) for number, name in enumerate(GRID_ROWS)}


def own(name: str, *tables: tuple[Quantity, ...], rows: bool = False) -> RecordLayout:
    """A record in the thread's memory: single numbers in one group, every array in its own; `rows`: that group is also
    the field `<name>_rows`, so that its rows can be indexed."""
    single = f"{name}_single"
    sizes: dict[str, int] = {}
    fields = {}
    for quantity in (q for table in tables for q in table):
        group = quantity.name if quantity.rows else single
        fields[quantity.name] = Place(group, 0 if quantity.rows else sizes.get(group, 0), quantity.rows, 1)
        sizes[group] = quantity.rows or sizes.get(group, 0) + 1
    if rows:
        fields[f"{name}_rows"] = Place(single, 0, sizes[single], 1)
    return RecordLayout(name, sizes, (), fields)


def in_tiles(name: str, *tables: tuple[Quantity, ...]) -> RecordLayout:
    """A record in tiles, its rows one after the other."""
    fields = {}
    row = 0
    for quantity in (q for table in tables for q in table):
        fields[quantity.name] = Place("tile", row * TILE, quantity.rows, TILE)
        row += max(quantity.rows, 1)
    return RecordLayout(name, {}, ("tile",), fields)


def parameter_layout(uniform: bool) -> RecordLayout:
    """Parameters: given are the column's place in the tiles, and its soil grid."""
    tiles = in_tiles("parameters", quantities.LAYER_PARAMETERS, quantities.COLUMN_PARAMETERS)
    constants = {name: tiles.fields[name]._replace(stride=0) for name in SOIL_CONSTANTS} if uniform else {}
    fields = tiles.fields | constants | {"layer_bottom": _GRID["layer_bottom"]}
    return RecordLayout(f"parameters_{uniform}", {}, ("tile", "grid"), fields)


def work_layout(uniform: bool) -> RecordLayout:
    """Scratch space; the surface, which is put out, is a group of its own, in the order of the output."""
    surface = own("surface", quantities.SURFACE, rows=True)
    arrays = [q for q in (*quantities.SOIL_SCRATCH, *quantities.SNOW_SCRATCH) if q.name not in _GRID]
    few = [q._replace(rows=1) for q in arrays if uniform and q.name in _FROM_CONSTANTS]
    many = [q for q in arrays if not uniform or q.name not in _FROM_CONSTANTS]
    rest = own("work", quantities.SCRATCH, tuple(many), tuple(few))
    for quantity in few:
        rest.fields[quantity.name] = Place(quantity.name, 0, 1, 0)
    whole = {q.name: Place(q.name, 0, q.rows, 1, "whole") for q in quantities.WHOLE_NUMBERS}
    sizes = surface.own | rest.own | {q.name: max(q.rows, 1) for q in quantities.WHOLE_NUMBERS}
    grid = {name: place for name, place in _GRID.items() if name != "layer_bottom"}
    return RecordLayout(f"work_{uniform}", sizes, ("grid",), surface.fields | rest.fields | whole | grid)


STATE_OWN = own("state", quantities.STATE)
STATE_TILES = in_tiles("state_tiles", quantities.STATE)
FLUX = own("flux", quantities.FLUXES, rows=True)
AIR = own("air", quantities.AIR)
FORCING = own("forcing", quantities.FORCING, rows=True)


def is_uniform(parameters: Parameters) -> bool:
    """Whether no column's texture varies with depth."""
    return all(parameters.layers[name].shape[1] == 1 for name in SOIL_CONSTANTS)


def grid_tables(layer_bottom: Array) -> tuple[IntArray, Array]:
    """The distinct soil grids of columns (column, 14): the number of each column's, and the tables (grid, `GRID_SIZE`).

    The numbers are those of `start.set_soil_grid`.
    """
    # grids differ in depth, so in the sum over the layers; what makes rows unique is slow for millions of columns
    _, first, number = np.unique(layer_bottom.sum(axis=1), return_index=True, return_inverse=True)
    distinct = layer_bottom[first]
    if not np.array_equal(distinct[number.ravel()], layer_bottom):
        distinct, number = np.unique(layer_bottom, axis=0, return_inverse=True)
    thickness = np.diff(distinct, prepend=0.0, axis=1)
    tables = np.zeros((len(distinct), len(GRID_ROWS), GRID_STRIDE))
    tables[:, 0, :SOIL] = distinct
    tables[:, 1, :SOIL] = thickness
    tables[:, 2, :SOIL] = 1.0 / thickness
    tables[:, 3, : SOIL - 1] = 1.0 / (0.5 * (thickness[:, :-1] + thickness[:, 1:]))
    return number.ravel().astype(np.int64), tables.reshape(len(distinct), GRID_SIZE)
