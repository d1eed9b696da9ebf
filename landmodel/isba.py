"""ISBA for many columns on plain arrays."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel import layout
from ldas.landmodel.array_types import Array
from ldas.landmodel.driver import run_blocks
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.forcing import Forcing, check_shapes, stack_forcing
from ldas.landmodel.gpu.device import Device
from ldas.landmodel.gpu.driver import run_on_device
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.options import Options
from ldas.landmodel.outputs import OutputRequest, Schedule
from ldas.landmodel.parameters import Parameters
from ldas.landmodel.run_plan import RunPlan, check_finite, check_snow_layers, check_steps, order_of_rows, plan_run
from ldas.landmodel.state import State, check_state, validate_state

_LARGEST_PART = 512  # columns run at a time, with all their members


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
        device: Literal["cpu", "gpu"] | Device = "cpu",
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
            device: "gpu" runs on the first card (docs/architecture.md); its numbers differ in the last digits, and
                `threads` is for the processor alone.

        Returns:
            The final state and name -> (time, column[, member][, layer]). Undefined values (water below the moisture
            column, LAI of bare soil, albedo of no snow) are NaN in outputs.

        Raises:
            LandModelError: forcing, state, times and device that do not fit, and a state that is no longer finite;
                `CardError` where there is no card that can be used.
        """
        if device == "gpu":
            from ldas.landmodel.gpu.cuda_device import first_card

            device = first_card()
        elif isinstance(device, str) and device != "cpu":
            raise LandModelError(f"device: expected cpu, gpu or a device, got {device!r}")
        leading = check_state(state, self.parameters.columns)
        if not allow_nonfinite:
            validate_state(state, self.parameters)
            check_snow_layers(state, self.options)
        check_steps(step_s, forcing_step_s, steps)
        records, _ = check_shapes(forcing, int(self.parameters.cell.max(initial=-1)) + 1)
        plan = plan_run(
            self.parameters, self.options, leading, records, start, step_s, steps, forcing_step_s, output, where
        )  # fmt: skip
        final = None if overwrite_state else np.empty((plan.rows, layout.STATE_SIZE))
        if device == "cpu":
            stacked = stack_forcing(forcing, self.parameters.cell)
            results = self._run_on_cpu(plan, state, stacked, final, threads, allow_nonfinite)
        else:
            results = run_on_device(device, plan, state, forcing, forcing_step_s, final, allow_nonfinite)
        after = state if final is None else State.from_rows(final, leading)
        return after, plan.named(results)

    def _run_on_cpu(
        self, plan: RunPlan, state: State, records: Array, final: Array | None, threads: int, allow_nonfinite: bool
    ) -> tuple[Array, ...]:
        """Run the columns in parts and return means, ends, instants and chosen states (column x member, time, row).

        records: forcing (cell, record, variable); final: receives the state in the end, (column x member, value), or
        None: that of `state` is overwritten.
        """
        members = plan.members
        results = (*plan.schedule.allocate(plan.rows), plan.wanted.allocate(members))
        air_temperature = records[:, :, Forcing._fields.index("Tair")].mean(axis=1)

        def part(columns: slice) -> None:
            parameters = self.parameters.take(columns)
            place = None if final is None else final[columns.start * members : columns.stop * members]
            rows = State(*(values[columns] for values in state)).to_rows(place)
            cells = np.array(parameters.cell, dtype=np.int64)  # C-contiguous and writable, whatever was given
            order = order_of_rows(parameters, plan.chosen[columns], air_temperature)
            run_blocks(
                order, columns.start * members, members, rows, self._parameter_rows(columns), cells, records,
                plan.steps_per_record, plan.sun, plan.day_starts, plan.option, *_workspace(plan.schedule),
                (*plan.schedule.rows, plan.wanted.rows), *plan.schedule.times(), plan.wanted.steps[columns], results,
            )  # fmt: skip
            if not allow_nonfinite:
                check_finite(rows, parameters, members, columns.start, plan.times[-1])
            if final is None:
                ends = State.from_rows(rows, (parameters.columns, *plan.leading[1:]))
                for target, values in zip(state, ends, strict=True):
                    target[columns] = values

        parts = _parts(self.parameters.columns, threads)
        if threads > 1 and len(parts) > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, parts))
        else:
            for columns in parts:
                part(columns)
        return results


def _parts(columns: int, threads: int) -> list[slice]:
    """Parts of the columns that are run at a time: few enough to keep what a run takes small."""
    share = -(-columns // max(1, threads))
    size = max(WIDTH, min(_LARGEST_PART, -(-share // WIDTH) * WIDTH))
    return [slice(first, min(first + size, columns)) for first in range(0, columns, size)]


def _workspace(schedule: Schedule) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Memory of one thread: records of a block, the same as matrices, and buffers."""
    dtypes = (layout.STATE_DTYPE, layout.PARAMETER_DTYPE, layout.AIR_DTYPE, layout.WORK_DTYPE, layout.FLUX_DTYPE)
    block = tuple(np.zeros(1, dtype=dtype) for dtype in (*dtypes, layout.FORCING_DTYPE, layout.FORCING_DTYPE))
    state, parameters, _, work, flux, before, after = block
    surface = work.view(np.uint8)[: len(layout.SURFACE) * WIDTH * 8]
    flat = tuple(a.view(np.float64).reshape(-1, WIDTH) for a in (state, parameters, surface, flux, before, after))
    sums = tuple(np.zeros((len(rows), WIDTH)) for rows in schedule.rows)
    lanes = tuple(np.zeros(WIDTH, dtype=np.int64) for _ in range(3))
    return block, flat, (*lanes, *sums)
