"""The kernels of the card: a thread for each column and member, many steps a launch; and what carries rows in and out.

Positions are threads. What a thread works on lies in tiles (`kernel_layout.TILE`), [tile][row][position in the tile];
the number of positions is a whole number of blocks, the last ones repeating a column whose results are not used.
"""

from collections.abc import Callable
from typing import Any

from numba import cuda
from numba.cuda import types

from ldas.landmodel import layout, quantities
from ldas.landmodel.gpu import kernel_layout
from ldas.landmodel.gpu.compile import science_module
from ldas.landmodel.gpu.kernel_layout import FLUX, GRID_SIZE, TILE
from ldas.landmodel.gpu.records import beyond, copy_fields, maker, options_maker

STATE_SIZE, PARAMETER_SIZE = layout.STATE_SIZE, layout.PARAMETER_SIZE
SURFACE_SIZE, FORCING_SIZE = len(layout.SURFACE), len(quantities.FORCING)
LAST_SIZE = SURFACE_SIZE + layout.FLUX_SIZE
"""Values of the last step beside the state: surface, then fluxes, as in outputs."""

_REAL, _WHOLE, _TRUTH = types.CPointer(types.float64), types.CPointer(types.int64), types.CPointer(types.int8)
_INT = types.int64


def advance_types(forcing: str) -> tuple[Any, ...]:
    """Types of the arguments of `advance`; forcing: "float32" or "float64"."""
    return (_REAL, _REAL, _WHOLE, _WHOLE, _WHOLE, _REAL, types.CPointer(getattr(types, forcing)), _INT, _REAL,
            _TRUTH, _INT, _INT, _INT, _INT, _WHOLE, _INT, _REAL, _REAL)  # fmt: skip


def advance(options: tuple[tuple[str, float], ...], uniform: bool) -> Callable[..., None]:
    """The kernel that advances columns, with its options as constants.

    Args:
        options: names and values of a record of options.
        uniform: whether no column's texture varies with depth.
    """
    isba_step = science_module("step").isba_step
    read_air = science_module("air").read_air
    start_columns = science_module("start").start_columns
    column_of, tile_of = maker(kernel_layout.STATE_OWN), maker(kernel_layout.STATE_TILES)
    parameters_of, work_of = maker(kernel_layout.parameter_layout(uniform)), maker(kernel_layout.work_layout(uniform))
    flux_of, air_of, weather_of = maker(FLUX), maker(kernel_layout.AIR), maker(kernel_layout.FORCING)
    options_of = options_maker(options)

    def kernel(state: Any, parameter_tiles: Any, owner: Any, cells: Any, grids: Any, tables: Any, forcing: Any,
    forcing_cells: int, sun: Any, day_starts: Any, per_record: int, first_record: int, first: int, steps: int, selected:
    Any, selected_count: int, sums: Any, last: Any) -> None:  # fmt: skip
        position = cuda.grid(1)
        tile, lane = position // TILE, position % TILE
        own = owner[position]
        grid = beyond(tables, grids[position] * GRID_SIZE)
        tiles = tile_of((beyond(state, tile * (STATE_SIZE * TILE) + lane),))
        parameters = parameters_of((beyond(parameter_tiles, own // TILE * (PARAMETER_SIZE * TILE) + own % TILE), grid))
        column, work, flux, air = column_of(()), work_of((grid,)), flux_of(()), air_of(())
        before, after = weather_of(()), weather_of(())
        option = options_of()
        copy_fields(column, tiles)
        start_columns(column, parameters, work)
        cell = cells[position]
        for step in range(first, first + steps):
            record = step // per_record
            part = step - record * per_record
            if part == 0 or step == first:
                at = (record - first_record) * (FORCING_SIZE * forcing_cells) + cell
                for variable in range(FORCING_SIZE):
                    before.forcing_rows[variable] = forcing[at + variable * forcing_cells]
                    after.forcing_rows[variable] = forcing[at + (FORCING_SIZE + variable) * forcing_cells]
            angles = sun[4 * step], sun[4 * step + 1], sun[4 * step + 2], sun[4 * step + 3]
            read_air(parameters, air, before, after, part / per_record, angles)
            isba_step(column, parameters, air, work, flux, option, day_starts[step] != 0)
            for number in range(selected_count):
                row = selected[number] - STATE_SIZE
                if row >= SURFACE_SIZE:
                    sums[(tile * selected_count + number) * TILE + lane] += flux.flux_rows[row - SURFACE_SIZE]
                elif row >= 0:
                    sums[(tile * selected_count + number) * TILE + lane] += work.surface_rows[row]
        copy_fields(tiles, column)
        here = tile * (LAST_SIZE * TILE) + lane
        for row in range(SURFACE_SIZE):
            last[here + row * TILE] = work.surface_rows[row]
        for row in range(LAST_SIZE - SURFACE_SIZE):
            last[here + (row + SURFACE_SIZE) * TILE] = flux.flux_rows[row]

    return kernel


def into_tiles(tiles: Any, rows: Any, first: int, count: int, values: int) -> None:
    """Rows (row, value) into tiles from a position on."""
    number = cuda.grid(1)
    if number < count:
        here = (first + number) // TILE * (values * TILE) + (first + number) % TILE
        for value in range(values):
            tiles[here + value * TILE] = rows[number * values + value]


def from_tiles(tiles: Any, rows: Any, first: int, count: int, values: int) -> None:
    """The inverse of `into_tiles`."""
    number = cuda.grid(1)
    if number < count:
        here = (first + number) // TILE * (values * TILE) + (first + number) % TILE
        for value in range(values):
            rows[number * values + value] = tiles[here + value * TILE]


def add_state(sums: Any, selected: Any, selected_count: int, state: Any) -> None:
    """Add the selected rows of the state to the sums; the others are added in `advance`."""
    position = cuda.grid(1)
    tile, lane = position // TILE, position % TILE
    for number in range(selected_count):
        if selected[number] < STATE_SIZE:
            value = state[(tile * STATE_SIZE + selected[number]) * TILE + lane]
            sums[(tile * selected_count + number) * TILE + lane] += value


def take(
    target: Any, selected: Any, selected_count: int, state: Any, last: Any, destination: Any, columns: int
) -> None:
    """Put the selected rows of state and last step to their places in (row, column x member)."""
    position = cuda.grid(1)
    place = destination[position]
    tile, lane = position // TILE, position % TILE
    if place >= 0:
        for number in range(selected_count):
            row = selected[number]
            if row < STATE_SIZE:
                value = state[(tile * STATE_SIZE + row) * TILE + lane]
            else:
                value = last[(tile * LAST_SIZE + row - STATE_SIZE) * TILE + lane]
            target[number * columns + place] = value


def take_means(target: Any, selected_count: int, sums: Any, scale: float, destination: Any, columns: int) -> None:
    """Put sums times a scale to their places in (row, column x member), and empty them."""
    position = cuda.grid(1)
    place = destination[position]
    tile, lane = position // TILE, position % TILE
    for number in range(selected_count):
        here = (tile * selected_count + number) * TILE + lane
        if place >= 0:
            target[number * columns + place] = sums[here] * scale
        sums[here] = 0.0


def multiply_add(values: Any, count: int) -> None:
    """Four chains of products and sums a thread, to measure the rate of float64."""
    position = cuda.grid(1)
    a, b, c, d = 1.0, 2.0, 3.0, values[position]
    for _ in range(count):
        a = a * 0.999 + 0.001
        b = b * 0.999 + 0.001
        c = c * 0.999 + 0.001
        d = d * 0.999 + 0.001
    values[position] = a + b + c + d


SMALL: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
    "into_tiles": (into_tiles, (_REAL, _REAL, _INT, _INT, _INT)),
    "from_tiles": (from_tiles, (_REAL, _REAL, _INT, _INT, _INT)),
    "add_state": (add_state, (_REAL, _WHOLE, _INT, _REAL)),
    "take": (take, (_REAL, _WHOLE, _INT, _REAL, _REAL, _WHOLE, _INT)),
    "multiply_add": (multiply_add, (_REAL, _INT)),
    "take_means": (take_means, (_REAL, _INT, _REAL, types.float64, _WHOLE, _INT)),
}
"""The kernels that carry rows, with the types of their arguments."""
