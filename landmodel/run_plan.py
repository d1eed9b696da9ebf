"""What a run computes, checked before anything is: its steps, what it puts out, and the order of its columns."""

from collections.abc import Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel import layout
from ldas.landmodel.array_types import Array, BoolArray, IntArray, Times
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.options import Options
from ldas.landmodel.outputs import SCREEN_LEVEL, OutputRequest, Schedule, Wanted, whole
from ldas.landmodel.parameters import Parameters
from ldas.landmodel.state import State
from ldas.landmodel.sun import sun_of_times

_EXCHANGE = ("RI", "CH", "CD")


class RunPlan(NamedTuple):
    """A run of `Isba` that can be computed, on whatever device.

    `leading`: axes of the state before layers; `chosen` (column, member): what is run; `steps_per_record`: steps
    between two records of the forcing; `times` (step,): starts of the steps; `sun` (step, 4) and `day_starts` (step,);
    `option`: the record of options (1,).
    """

    parameters: Parameters
    leading: tuple[int, ...]
    chosen: BoolArray
    steps_per_record: int
    times: Times
    sun: Array
    day_starts: BoolArray
    option: NDArray[Any]
    schedule: Schedule
    wanted: Wanted

    @property
    def members(self) -> int:
        """Members of each column, 1 without a member axis."""
        return self.leading[1] if len(self.leading) == 2 else 1

    @property
    def rows(self) -> int:
        """Columns times members."""
        return self.parameters.columns * self.members

    def named(self, results: tuple[Array, ...]) -> dict[str, Array]:
        """Outputs by name, from means, ends, instants and chosen states (column x member, time, row)."""
        named = self.schedule.named(results[:3], self.leading, self.parameters)
        return named | self.wanted.named(results[3], self.leading, self.parameters)


def plan_run(
    parameters: Parameters,
    options: Options,
    leading: tuple[int, ...],
    records: int,
    start: str | np.datetime64,
    step_s: float,
    steps: int | None,
    forcing_step_s: float,
    output: OutputRequest | None,
    where: BoolArray | None,
) -> RunPlan:
    """The plan of a run; arguments as those of `Isba.run`, `records`: of the forcing.

    Raises:
        LandModelError: times, steps or outputs that do not fit.
    """
    if where is not None and np.shape(where) != leading:
        raise LandModelError(f"where: expected the state's shape {leading}, got {np.shape(where)}")
    per_record = whole(forcing_step_s / step_s, f"forcing_step_s={forcing_step_s} over step_s={step_s}")
    available = (records - 1) * per_record
    steps = available if steps is None else steps
    if steps < 1 or steps > available:
        raise LandModelError(
            f"steps: expected 1 to {available} ({records} forcing records of {forcing_step_s} s are "
            f"{available} steps of {step_s} s), got {steps}"
        )
    times = _seconds(start) + (np.arange(steps) * step_s).astype("timedelta64[s]")
    schedule = Schedule(output or OutputRequest(interval_s=steps * step_s), times[0], step_s, steps)
    wanted = Wanted(output or OutputRequest(), parameters.columns, steps)
    asked_for = {*wanted.names, *(name for names in schedule.names for name in names)}
    members = leading[1] if len(leading) == 2 else 1
    chosen = np.broadcast_to(True if where is None else where, leading).reshape(-1, members)
    return RunPlan(
        parameters, leading, chosen, per_record, times, sun_of_times(times), _starts_of_day(times, step_s),
        option_record(options, step_s, asked_for), schedule, wanted,
    )  # fmt: skip


def order_of_rows(parameters: Parameters, where: BoolArray, air_temperature: Array) -> IntArray:
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


def check_steps(step_s: float, forcing_step_s: float, steps: int | None) -> None:
    """Refuse steps that are no lengths, or no whole number: raises `LandModelError`."""
    for name, value in (("step_s", step_s), ("forcing_step_s", forcing_step_s)):
        if not 1.0 <= value <= 86400.0:
            raise LandModelError(f"{name}: expected 1 to 86400 s, got {value!r}")
    if steps is not None and steps != int(steps):
        raise LandModelError(f"steps: expected a whole number, got {steps!r}")


def check_snow_layers(state: State, options: Options) -> None:
    """Refuse snow in layers that the options do not have: raises `LandModelError`."""
    beyond = np.asarray(state.snow_water_equivalent)[..., options.snow_layers :] > 0.0
    if beyond.any():
        where = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise LandModelError(
            f"state: column {where[0]} has snow in layer {where[-1] + options.snow_layers + 1}, but "
            f"snow_layers={options.snow_layers}: the state is of a run with more layers; use its options"
        )


def check_finite(rows: Array, parameters: Parameters, members: int, first: int, end: np.datetime64) -> None:
    """Refuse states (column x member, value) that are not finite: raises `LandModelError` naming the first."""
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


def _seconds(time: str | np.datetime64) -> Times:
    try:
        seconds = np.asarray(time, dtype="datetime64[s]")
    except ValueError as error:
        raise LandModelError(f"start: expected a UTC time such as 2007-01-01T00, got {time!r}") from error
    if np.isnat(seconds):
        raise LandModelError(f"start: expected a UTC time such as 2007-01-01T00, got {time!r}")
    return seconds


def _starts_of_day(times: Times, step_s: float) -> BoolArray:
    """The first step of each UTC day, at 00 UTC or less than a step later.
    Source: docs/science/vegetation.md, section 1."""
    return (times - times.astype("datetime64[D]")).astype("timedelta64[s]").astype(np.float64) < step_s


def option_record(options: Options, step_s: float, asked_for: Set[str]) -> NDArray[Any]:
    """The options as the kernel reads them (1,); asked_for: names of everything that is put out."""
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
    record["diagnose_exchange"] = not asked_for.isdisjoint(_EXCHANGE + SCREEN_LEVEL)
    record["diagnose_screen_level"] = not asked_for.isdisjoint(SCREEN_LEVEL)
    return record
