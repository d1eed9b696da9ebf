"""ISBA for many columns on plain arrays."""

import difflib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel import layout, quantities
from ldas.landmodel.array_types import Array, IntArray
from ldas.landmodel.checks import FORCING_RANGES
from ldas.landmodel.constants import SOIL_LAYERS
from ldas.landmodel.driver import run_blocks
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.options import Options
from ldas.landmodel.parameters import Parameters
from ldas.landmodel.state import State, check_state, validate_state
from ldas.landmodel.sun import sun_of_times


class Forcing(NamedTuple):
    """Atmospheric forcing, arrays (record, cell) under their ALMA names.

    Record k is valid at the start plus k forcing steps; within an interval everything is linear in time except rain and
    snow, which are the means over the interval stored at its end.
    """

    Tair: ArrayLike
    """K"""
    Qair: ArrayLike
    """kg kg-1"""
    Wind: ArrayLike
    """m s-1"""
    PSurf: ArrayLike
    """Pa"""
    SWdown: ArrayLike
    """W m-2"""
    LWdown: ArrayLike
    """W m-2"""
    Rainf: ArrayLike
    """kg m-2 s-1"""
    Snowf: ArrayLike
    """kg m-2 s-1"""
    CO2air: ArrayLike
    """kg m-3"""


STATE_NAMES = {q.surfex: q for q in quantities.STATE if q.surfex != "LE"}  # that of a step is put out as a flux
SURFACE_NAMES = {q.surfex: q.name for q in quantities.SURFACE}
OUTPUT_NAMES = (*STATE_NAMES, *SURFACE_NAMES, *layout.FLUXES)
"""Everything that can be put out, by SURFEX name."""

_LARGEST_PART = 512  # columns run at a time, with all their members


@dataclass(frozen=True)
class OutputRequest:
    """What `Isba.run` returns over time.

    `mean`: means over `interval_s`; `end`: values at the end of each interval; `instant`: values once per interval at
    `instant_hour` UTC (the end of the step that ends there). Names: `OUTPUT_NAMES`.

    `at`: names of the state that are returned as `<name>_at` (place, column[, member][, layer]) after the steps
    `at_steps` (column, place), in any order: 0 is the start of the run, -1 stands for none (NaN there).
    """

    mean: Sequence[str] = ()
    end: Sequence[str] = ()
    instant: Sequence[str] = ()
    interval_s: float = 86400.0
    instant_hour: float = 0.0
    at: Sequence[str] = ()
    at_steps: IntArray | None = None


class Isba:
    """The land model for given columns.

    Example:
        >>> model = Isba(parameters, Options())
        >>> state, outputs = model.run(state, forcing, start="2007-01-01T00", step_s=1800, steps=48)
    """

    def __init__(self, parameters: Parameters, options: Options | None = None) -> None:
        self.parameters = parameters
        self.options = options or Options()
        self._kept_rows: Array | None = None

    def _parameter_rows(self, columns: slice) -> Array:
        """Parameters of a part for the kernel. Those of few columns, which a filter runs again and again, are kept."""
        if self.parameters.columns > _LARGEST_PART:
            return self.parameters.take(columns).to_rows()
        if self._kept_rows is None:
            self._kept_rows = self.parameters.to_rows()
        return self._kept_rows[columns]

    def run(
        self,
        state: State,
        forcing: Forcing,
        start: str | np.datetime64,
        step_s: float = 1800.0,
        steps: int | None = None,
        forcing_step_s: float = 3600.0,
        output: OutputRequest | None = None,
        threads: int = 1,
        allow_nonfinite: bool = False,
        overwrite_state: bool = False,
        where: NDArray[np.bool_] | None = None,
    ) -> tuple[State, dict[str, Array]]:
        """Run from `start` (the time of the forcing's first record) over `steps` steps, or to the forcing's end.

        Args:
            state: (column, ...) or (column, member, ...).
            forcing: (record, cell); the columns' `cell` index its second axis, what no column reads may be undefined.
            step_s, forcing_step_s: ISBA step and distance of the records (s), the second a multiple of the first.
            output: what to return beside the final state.
            threads: blocks of columns are shared among so many threads; results do not depend on it.
            allow_nonfinite: return states that are not finite instead of raising.
            overwrite_state: put the final state into the arrays of `state` to save their memory.
            where: (column,) or (column, member) like the state, True where it is run (default: everywhere). The others
                keep their state, and what is put out of them is NaN.

        Returns:
            The final state and name -> (time, column[, member][, layer]). Undefined values (water below the moisture
            column, LAI of bare soil, albedo of no snow) are NaN in outputs.

        Raises:
            LandModelError: forcing, state and times that do not fit, and a state that is no longer finite.
        """
        leading = check_state(state, self.parameters.columns)
        if not allow_nonfinite:
            validate_state(state, self.parameters)
            _check_snow_layers(state, self.options)
        if where is not None and np.shape(where) != leading:
            raise LandModelError(f"where: expected the state's shape {leading}, got {np.shape(where)}")
        _check_steps(step_s, forcing_step_s, steps)
        records = _stack_forcing(forcing, self.parameters.cell)
        per_record = _whole(forcing_step_s / step_s, f"forcing_step_s={forcing_step_s} over step_s={step_s}")
        available = (records.shape[1] - 1) * per_record
        steps = available if steps is None else steps
        if steps < 1 or steps > available:
            raise LandModelError(
                f"steps: expected 1 to {available} ({records.shape[1]} forcing records of {forcing_step_s} s are "
                f"{available} steps of {step_s} s), got {steps}"
            )
        times = _seconds(start) + (np.arange(steps) * step_s).astype("timedelta64[s]")
        request = output or OutputRequest(interval_s=steps * step_s)
        schedule = _Schedule(request, times[0], step_s, steps)
        wanted = _Wanted(request, self.parameters.columns, steps)
        members = leading[1] if len(leading) == 2 else 1
        results = (*schedule.allocate(self.parameters.columns * members), wanted.allocate(members))
        final = None if overwrite_state else np.empty((self.parameters.columns * members, layout.STATE_SIZE))
        option = _option_record(self.options, step_s, schedule)
        sun, day_starts = sun_of_times(times), _starts_of_day(times, step_s)
        air_temperature = records[:, :, Forcing._fields.index("Tair")].mean(axis=1)
        chosen = np.broadcast_to(True if where is None else where, leading).reshape(-1, members)

        def part(columns: slice) -> None:
            parameters = self.parameters.take(columns)
            place = None if final is None else final[columns.start * members : columns.stop * members]
            rows = State(*(values[columns] for values in state)).to_rows(place)
            cells = np.array(parameters.cell, dtype=np.int64)  # C-contiguous and writable, whatever was given
            order = _order(parameters, chosen[columns], air_temperature)
            run_blocks(
                order, columns.start * members, members, rows, self._parameter_rows(columns),
                cells, records, per_record, sun, day_starts, option, *_workspace(schedule),
                (*schedule.rows, wanted.rows), *schedule.times(), wanted.steps[columns], results,
            )  # fmt: skip
            if not allow_nonfinite:
                _check_finite(rows, parameters, members, columns.start, times[-1])
            if overwrite_state:
                ends = State.from_rows(rows, (parameters.columns, *leading[1:]))
                for target, values in zip(state, ends, strict=True):
                    target[columns] = values

        parts = _parts(self.parameters.columns, threads)
        if threads > 1 and len(parts) > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, parts))
        else:
            for columns in parts:
                part(columns)
        after = state if final is None else State.from_rows(final, leading)
        named = schedule.named(results[:3], leading, self.parameters)
        return after, named | wanted.named(results[3], leading, self.parameters)


def _parts(columns: int, threads: int) -> list[slice]:
    """Parts of the columns that are run at a time: few enough to keep what a run takes small."""
    share = -(-columns // max(1, threads))
    size = max(WIDTH, min(_LARGEST_PART, -(-share // WIDTH) * WIDTH))
    return [slice(first, min(first + size, columns)) for first in range(0, columns, size)]


def _order(parameters: Parameters, where: NDArray[np.bool_], air_temperature: Array) -> NDArray[np.int64]:
    """Order in which the rows to run, (column, member), fill the lanes: alike ones together, so that a block can skip
    what none of them needs.

    First by the number of members, so that those of a column fill blocks; then by the number of layers with soil water,
    and by the mean air temperature of the cells, (cell,), which decides on snow and frost and keeps the columns of a
    cell together.
    """
    keys = (parameters.patch, air_temperature[parameters.cell], parameters.values["moist_layers"], -where.sum(axis=1))
    order = np.lexsort(keys)
    columns, members = np.nonzero(where[order])
    return order[columns] * where.shape[1] + members


class _Schedule:
    """Which rows are put out, when, and under which names."""

    def __init__(self, request: OutputRequest, start: np.datetime64, step_s: float, steps: int) -> None:
        self.names = (list(request.mean), list(request.end), list(request.instant))
        for names in self.names:
            _check_names(names, OUTPUT_NAMES)
        self.requested = any(self.names)
        self.steps = _whole(request.interval_s / step_s, f"output interval {request.interval_s} s over step {step_s} s")
        self.count = steps // self.steps
        if self.requested and self.count * self.steps != steps:
            raise LandModelError(
                f"output interval: {steps} steps of {step_s} s are not whole intervals of {request.interval_s} s"
            )
        self.instant = self._instant_step(request, start, step_s) if request.instant else -1
        self.rows = tuple(
            np.array([row for name in names for row in _rows(name)], dtype=np.int64) for names in self.names
        )

    def _instant_step(self, request: OutputRequest, start: np.datetime64, step_s: float) -> int:
        if request.interval_s != 86400.0:
            raise LandModelError(f"instant outputs need interval_s=86400, got {request.interval_s}")
        since_midnight = (start - start.astype("datetime64[D]")).astype(np.int64)
        wait = (request.instant_hour * 3600.0 - float(since_midnight)) % 86400.0 or 86400.0
        return _whole(wait / step_s, f"time to instant_hour={request.instant_hour} over step {step_s} s") - 1

    def allocate(self, rows: int) -> tuple[Array, Array, Array]:
        count = self.count if self.requested else 0
        mean, end, instant = (np.full((rows, count, len(selected)), np.nan) for selected in self.rows)
        return mean, end, instant

    def times(self) -> tuple[int, int]:
        return self.steps if self.requested else 0, self.instant

    def exchange(self) -> bool:
        return any(name in ("RI", "CH", "CD") for names in self.names for name in names)

    def named(self, results: tuple[Array, ...], leading: tuple[int, ...], parameters: Parameters) -> dict[str, Array]:
        """Output arrays (time, column[, member][, layer]) by name."""
        named: dict[str, Array] = {}
        for names, array in zip(self.names, results, strict=True):
            for name, values in _split(names, array, leading, parameters):
                key = name if name not in named else f"{name}_{'end' if names is self.names[1] else 'instant'}"
                named[key] = values
        return named


class _Wanted:
    """States that are put out after chosen steps of each column."""

    def __init__(self, request: OutputRequest, columns: int, steps: int) -> None:
        self.names = list(request.at)
        _check_names(self.names, tuple(STATE_NAMES))
        given = np.zeros((columns, 0), dtype=np.int64) if request.at_steps is None else np.asarray(request.at_steps)
        if given.ndim != 2 or len(given) != columns or bool(self.names) != (request.at_steps is not None):
            raise LandModelError(
                f"at: expected names and at_steps of shape ({columns} columns, place), got {self.names} and shape "
                f"{given.shape}"
            )
        if given.size and not (given.min() >= -1 and given.max() <= steps):
            raise LandModelError(f"at_steps: expected -1 to {steps}, got {given.min()} to {given.max()}")
        later = np.where(given < 0, steps + 1, given).astype(np.int64)  # a step that is never reached
        self.order = np.argsort(later, axis=1, kind="stable")
        self.steps = np.ascontiguousarray(np.take_along_axis(later, self.order, axis=1))
        self.rows = np.array([row for name in self.names for row in _rows(name)], dtype=np.int64)

    def allocate(self, members: int) -> Array:
        columns, places = self.steps.shape
        return np.full((columns * members, places, len(self.rows)), np.nan)

    def named(self, result: Array, leading: tuple[int, ...], parameters: Parameters) -> dict[str, Array]:
        """Arrays (place, column[, member][, layer]) by name, the places in the order in which they were asked for."""
        if not self.names:
            return {}
        members = len(result) // max(len(self.order), 1)  # there may be no column
        back = np.argsort(self.order, axis=1).repeat(members, axis=0)
        placed = np.take_along_axis(result, back[:, :, None], axis=1)
        return {f"{name}_at": values for name, values in _split(self.names, placed, leading, parameters)}


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise LandModelError(f"output {name!r} is not known{hint}; known are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise LandModelError(f"output: expected every name once, got {', '.join(names)}")


def _split(
    names: Sequence[str], rows: Array, leading: tuple[int, ...], parameters: Parameters
) -> Iterator[tuple[str, Array]]:
    """Each name with its values (time, column[, member][, layer]) from rows (column x member, time, row)."""
    start = 0
    for name in names:
        count = len(_rows(name))
        values = np.swapaxes(rows[:, :, start : start + count], 0, 1)
        start += count
        shaped = values.reshape(len(values), *leading, count)
        if not _is_layered(name):
            shaped = shaped[..., 0]
        yield name, _undefined_as_nan(name, shaped, leading, parameters)


def _undefined_as_nan(name: str, values: Array, leading: tuple[int, ...], parameters: Parameters) -> Array:
    if name in ("WG", "WGI"):
        below = np.arange(SOIL_LAYERS)[None, :] >= parameters.moist_layers[:, None]
        return np.where(below if len(leading) == 1 else below[:, None, :], np.nan, values)
    if name == "LAI":
        bare = parameters.vegetated < 0.5
        return np.where(bare if len(leading) == 1 else bare[:, None], np.nan, values)
    if name == "SNOW_ALBEDO":
        return np.where(values > 0.0, values, np.nan)
    return values


def _rows(name: str) -> range:
    """Rows of an output in the sequence state, surface, fluxes."""
    if name in STATE_NAMES:
        return layout.STATE_ROWS[STATE_NAMES[name].name]
    if name in SURFACE_NAMES:
        first = layout.STATE_SIZE + layout.SURFACE.index(SURFACE_NAMES[name])
    else:
        first = layout.STATE_SIZE + len(layout.SURFACE) + layout.FLUXES.index(name)
    return range(first, first + 1)


def _is_layered(name: str) -> bool:
    return name in STATE_NAMES and STATE_NAMES[name].rows > 0


def _whole(value: float, what: str) -> int:
    if value < 1.0 - 1e-9 or abs(value - round(value)) > 1e-9:
        raise LandModelError(f"{what}: expected a whole number of at least 1, got {value!r}")
    return round(value)


def _stack_forcing(forcing: Forcing, cell_of_column: NDArray[np.int64]) -> Array:
    """Forcing as one C-contiguous array (cell, record, variable): a block of columns reads along the time of cells.

    Cells that no column lies in may hold anything.
    """
    cells = int(cell_of_column.max(initial=-1)) + 1
    shapes = {name: np.shape(values) for name, values in zip(forcing._fields, forcing, strict=True)}
    first = shapes["Tair"]
    for name, shape in shapes.items():
        if len(shape) != 2 or shape != first:
            raise LandModelError(f"forcing: expected {name} of shape (record, cell) = {first}, got {shape}")
    if first[0] < 2 or first[1] < cells:
        raise LandModelError(f"forcing: expected at least 2 records of at least {cells} cells, got {first}")
    stacked = np.empty((first[1], first[0], len(forcing)))
    used = np.unique(cell_of_column)
    for variable, (name, given) in enumerate(zip(forcing._fields, forcing, strict=True)):
        values = np.asarray(given, dtype=np.float64)
        checked = values if used.size == first[1] else values[:, used]
        where = FORCING_RANGES[name].first_outside(checked)
        if where is not None:
            value = checked[where]
            raise LandModelError(
                f"forcing: {name} of record {where[0]}, cell {used[where[1]]}: {FORCING_RANGES[name].message(value)}"
                + ("" if np.isfinite(value) else "; fill gaps before the run")
            )
        stacked[:, :, variable] = values.T
    return stacked


def _seconds(time: str | np.datetime64) -> NDArray[np.datetime64]:
    try:
        seconds = np.asarray(time, dtype="datetime64[s]")
    except ValueError as error:
        raise LandModelError(f"start: expected a UTC time such as 2007-01-01T00, got {time!r}") from error
    if np.isnat(seconds):
        raise LandModelError(f"start: expected a UTC time such as 2007-01-01T00, got {time!r}")
    return seconds


def _starts_of_day(times: NDArray[np.datetime64], step_s: float) -> NDArray[np.bool_]:
    """The first step of each UTC day, at 00 UTC or less than a step later.
    Source: docs/science/vegetation.md, section 1."""
    return (times - times.astype("datetime64[D]")).astype("timedelta64[s]").astype(np.float64) < step_s


def _check_steps(step_s: float, forcing_step_s: float, steps: int | None) -> None:
    for name, value in (("step_s", step_s), ("forcing_step_s", forcing_step_s)):
        if not 1.0 <= value <= 86400.0:
            raise LandModelError(f"{name}: expected 1 to 86400 s, got {value!r}")
    if steps is not None and steps != int(steps):
        raise LandModelError(f"steps: expected a whole number, got {steps!r}")


def _check_snow_layers(state: State, options: Options) -> None:
    beyond = np.asarray(state.snow_water_equivalent)[..., options.snow_layers :] > 0.0
    if beyond.any():
        where = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise LandModelError(
            f"state: column {where[0]} has snow in layer {where[-1] + options.snow_layers + 1}, but "
            f"snow_layers={options.snow_layers}: the state is of a run with more layers; use its options"
        )


def _option_record(options: Options, step_s: float, schedule: _Schedule) -> NDArray[Any]:
    record = np.zeros(1, dtype=layout.OPTION_DTYPE)
    record["step"] = step_s
    record["energy_substeps"] = max(1, round(step_s / options.energy_substep_s))
    record["water_substeps"] = 1 if step_s < 900.0 else max(2, round(step_s / 900.0))
    record["snow_layers"] = options.snow_layers
    record["light_carrer"] = options.light_scheme == "carrer"
    record["runoff_saturation"] = options.runoff == "DT92"
    record["runoff_horton"] = options.horton
    record["drip_subgrid"] = options.drip == "SGH"
    record["respiration_prm"] = options.soil_respiration == "PRM"
    record["conserve_heat"] = options.conserve_heat
    record["diagnose_exchange"] = schedule.exchange()
    return record


def _workspace(schedule: _Schedule) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Memory of one thread: records of a block, the same as matrices, and buffers."""
    dtypes = (layout.STATE_DTYPE, layout.PARAMETER_DTYPE, layout.AIR_DTYPE, layout.WORK_DTYPE, layout.FLUX_DTYPE)
    block = tuple(np.zeros(1, dtype=dtype) for dtype in (*dtypes, layout.FORCING_DTYPE, layout.FORCING_DTYPE))
    state, parameters, _, work, flux, before, after = block
    surface = work.view(np.uint8)[: len(layout.SURFACE) * WIDTH * 8]
    flat = tuple(a.view(np.float64).reshape(-1, WIDTH) for a in (state, parameters, surface, flux, before, after))
    sums = tuple(np.zeros((len(rows), WIDTH)) for rows in schedule.rows)
    lanes = tuple(np.zeros(WIDTH, dtype=np.int64) for _ in range(3))
    return block, flat, (*lanes, *sums)


def _check_finite(rows: Array, parameters: Parameters, members: int, first: int, end: np.datetime64) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    value = int(np.flatnonzero(~np.isfinite(rows[row]))[0])
    name = next(name for name, where in layout.STATE_ROWS.items() if value in where)
    column = row // members
    raise LandModelError(
        f"the model state is no longer finite: {name} of column {first + column} (cell {int(parameters.cell[column])}, "
        f"patch {int(parameters.patch[column])}) at {end}; {int(bad.sum())} of {len(rows)} rows are affected. Check "
        "forcing and parameters of this cell"
    )
