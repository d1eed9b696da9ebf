"""A run on a device: columns put there once, the forcing day by day, outputs back as they are complete.

Two buffers hold the forcing: while the device works with one day, the next is checked, copied and sent. A launch ends
where the day of forcing ends, where an output interval or an instant ends, and at every step after which some column's
state was asked for; so outputs are taken between launches, and means alone are added up in the kernel. Outputs have two
buffers each too.
"""

from collections.abc import Iterator

import numpy as np

from ldas.landmodel import layout, quantities
from ldas.landmodel.array_types import Array, IntArray
from ldas.landmodel.forcing import Forcing, check_shapes, check_values
from ldas.landmodel.gpu import kernel_layout
from ldas.landmodel.gpu.device import Columns, Device, Kernel, positions
from ldas.landmodel.run_plan import RunPlan, check_finite, order_of_rows
from ldas.landmodel.state import State

_CHUNK = 1 << 16  # rows that are carried to the device, or back, at a time
_DAY = 86400.0


def run_on_device(
    device: Device,
    plan: RunPlan,
    state: State,
    forcing: Forcing,
    forcing_step_s: float,
    final: Array | None,
    allow_nonfinite: bool,
) -> tuple[Array, ...]:
    """Run a plan on a device and return means, ends, instants and chosen states (column x member, time, row).

    Args:
        device: the card, or what stands in for it.
        plan: what to run.
        state: (column, ...) or (column, member, ...).
        forcing: (record, cell); float32 is carried as such.
        forcing_step_s: distance of its records (s).
        final: receives the state in the end, (column x member, value), or None: that of `state` is overwritten.
        allow_nonfinite: return states that are not finite.

    Raises:
        LandModelError: forcing outside its ranges, or a state that is no longer finite.
        CardError: a device without the memory for this run.
    """
    weather = _Weather(forcing, plan, forcing_step_s)
    order = order_of_rows(plan.parameters, plan.chosen, weather.temperature)
    rows = state.to_rows(final)
    outputs = _Outputs(plan)
    if len(order):
        kernel = _kernel(plan, order, weather)
        try:
            device.open(kernel, plan.members, outputs.values, weather.most_records)
            columns = _load(device, plan, order, rows, weather, kernel)
            outputs.begin(device, rows)
            _run(device, plan, weather, columns, outputs)
            for first in range(0, len(order), _CHUNK):
                part = np.empty((min(_CHUNK, len(order) - first), layout.STATE_SIZE))
                device.from_tiles(columns.state, part, first)
                rows[order[first : first + _CHUNK]] = part
        finally:
            device.close()
    if not allow_nonfinite:
        check_finite(rows, plan.parameters, plan.members, 0, plan.times[-1])
    if final is None:
        for target, values in zip(state, State.from_rows(rows, plan.leading), strict=True):
            target[...] = values
    return outputs.results


class _Weather:
    """The forcing of the cells that columns lie in, day by day."""

    def __init__(self, forcing: Forcing, plan: RunPlan, forcing_step_s: float) -> None:
        cell = plan.parameters.cell
        self.records, cells = check_shapes(forcing, int(cell.max(initial=-1)) + 1)
        self.used, self.cell = np.unique(cell, return_inverse=True)
        self._all = len(self.used) == cells
        self._values = [np.asarray(values) for values in forcing]
        small = all(values.dtype == np.float32 for values in self._values)
        self.dtype = "float32" if small else "float64"
        self.steps_per_record = plan.steps_per_record
        self.steps = len(plan.times)
        self._records_a_day = max(1, round(_DAY / forcing_step_s))
        self.temperature = self._values[0].mean(axis=0, dtype=np.float64)

    @property
    def most_records(self) -> int:
        """Records of a buffer: a day and its end, or all."""
        return min(self._records_a_day, self.records - 1) + 1

    def days(self) -> Iterator[tuple[int, int, int]]:
        """First record, first step and step behind the last, of each day."""
        length = self._records_a_day * self.steps_per_record
        for first in range(0, self.steps, length):
            yield first // self.steps_per_record, first, min(first + length, self.steps)

    def pack(self, target: Array, first_record: int, steps: int) -> None:
        """Copy the records of steps into a buffer (record, variable, cell), checked."""
        records = slice(first_record, first_record - (-steps // self.steps_per_record) + 1)
        for variable, (name, given) in enumerate(zip(Forcing._fields, self._values, strict=True)):
            values = given[records] if self._all else given[records][:, self.used]
            check_values(name, values, self.used, first_record)
            target[: len(values), variable] = values


def _kernel(plan: RunPlan, order: IntArray, weather: _Weather) -> Kernel:
    names = plan.option.dtype.names or ()
    return Kernel(
        options=tuple((name, plan.option[name][0].item()) for name in names),
        uniform=kernel_layout.is_uniform(plan.parameters),
        forcing=weather.dtype,
        positions=positions(len(order)),
        rows=plan.rows,
        cells=len(weather.used),
        steps_per_record=plan.steps_per_record,
        selected=len(plan.schedule.rows[0]),
    )


def _load(device: Device, plan: RunPlan, order: IntArray, rows: Array, weather: _Weather, kernel: Kernel) -> Columns:
    """Put columns and members on the device, in their order; the positions left over repeat the last."""
    count, selected = kernel.positions, plan.schedule.rows[0]
    filled = np.concatenate([order, np.full(count - len(order), order[-1])])
    column = filled // plan.members
    new = np.concatenate([[True], column[1:] != column[:-1]])  # the members of a column follow each other
    owner, owners = np.cumsum(new) - 1, column[new]
    state = device.empty(count * layout.STATE_SIZE)
    for first in range(0, count, _CHUNK):
        device.into_tiles(state, rows[filled[first : first + _CHUNK]], first)
    parameters = device.empty(positions(len(owners)) * layout.PARAMETER_SIZE)
    for first in range(0, len(owners), _CHUNK):
        device.into_tiles(parameters, plan.parameters.take(owners[first : first + _CHUNK]).to_rows(), first)
    grids, tables = kernel_layout.grid_tables(plan.parameters.soil("layer_bottom"))
    destination = np.concatenate([order, np.full(count - len(order), -1)])
    return Columns(
        state=state,
        parameters=parameters,
        last=device.empty(count * (len(layout.SURFACE) + layout.FLUX_SIZE)),
        owner=device.put(owner.astype(np.int64)),
        cells=device.put(weather.cell.ravel()[column].astype(np.int64)),
        grids=device.put(grids[column]),
        tables=device.put(tables),
        destination=device.put(destination.astype(np.int64)),
        sun=device.put(plan.sun),
        day_starts=device.put(plan.day_starts.astype(np.int8)),
        selected=device.put(selected),
        sums=device.put(np.zeros(count * len(selected))),
    )


def _run(device: Device, plan: RunPlan, weather: _Weather, columns: Columns, outputs: "_Outputs") -> None:
    """All steps: day after day of forcing, launch after launch."""
    shape = (weather.most_records, len(quantities.FORCING), len(weather.used))
    host = [device.host(shape, weather.dtype) for _ in range(2)]
    buffers = [device.empty(int(np.prod(shape)), weather.dtype) for _ in range(2)]
    state_means = bool((plan.schedule.rows[0] < layout.STATE_SIZE).any())
    for day, (first_record, start, end) in enumerate(weather.days()):
        slot = day % 2
        device.sent(slot)
        weather.pack(host[slot], first_record, end - start)
        device.send(slot, buffers[slot], host[slot])
        step = start
        while step < end:
            after = step + 1 if state_means else min(end, outputs.next_after(step))
            device.advance(slot, columns, buffers[slot], first_record, step, after - step)
            if state_means:
                device.add_state(columns)
            outputs.take(after, columns)
            step = after
    outputs.collect()


class _Output:
    """One kind of output: two buffers on the device, two on the host, and where the values go."""

    def __init__(self, selected: IntArray, count: int, plan: RunPlan) -> None:
        self.selected = selected
        self.values = np.empty((count, len(selected), plan.rows))  # as the device gives them, each time all rows
        if not plan.chosen.any():
            self.values[:] = np.nan
        self._waiting: list[tuple[int, int]] = []

    def begin(self, device: Device, number: int, rows: int) -> None:
        self._device, self._slots = device, (2 * number, 2 * number + 1)
        self._rows = device.put(self.selected)
        empty = np.full((len(self.selected), rows), np.nan)  # rows that are not run stay undefined
        self._buffers = [device.put(empty) for _ in range(2)]
        self._host = [device.host(empty.shape) for _ in range(2)]
        self._turn = 0

    def put(self, place: int, columns: Columns, scale: float | None = None) -> None:
        """Take values for a place; `scale`: of sums, instead of those of the last step."""
        if len(self._waiting) == 2:
            self._collect()
        turn = self._turn
        if scale is None:
            self._device.take(self._buffers[turn], self._rows, len(self.selected), columns)
        else:
            self._device.take_means(self._buffers[turn], scale, columns)
        self._device.fetch(self._slots[turn], self._host[turn], self._buffers[turn])
        self._waiting.append((turn, place))
        self._turn = 1 - turn

    def collect(self) -> None:
        """Wait for what was taken."""
        while self._waiting:
            self._collect()

    def _collect(self) -> None:
        turn, place = self._waiting.pop(0)
        self._device.fetched(self._slots[turn])
        self._store(place, self._host[turn])

    def _store(self, place: int, values: Array) -> None:
        self.values[place] = values


class _ChosenStates(_Output):
    """What is put out after chosen steps: of each the columns that asked for it."""

    def __init__(self, plan: RunPlan) -> None:
        super().__init__(plan.wanted.rows, 0, plan)
        self.members, self.steps, self._run = plan.members, plan.wanted.steps, plan.chosen.ravel()
        self.chosen = plan.wanted.allocate(plan.members)

    def at_start(self, rows: Array) -> None:
        """States that were asked for before the first step, from rows (column x member, value)."""
        padded = np.pad(rows, ((0, 0), (0, 1)), constant_values=np.nan)
        self._store(0, np.where(self._run, padded[:, np.minimum(self.selected, rows.shape[1])].T, np.nan))

    def _store(self, place: int, values: Array) -> None:
        column, number = np.nonzero(self.steps == place)
        row = (column[:, None] * self.members + np.arange(self.members)).ravel()
        self.chosen[row, number.repeat(self.members)] = values[:, row].T


class _Outputs:
    """Means, ends, instants and chosen states of a run."""

    def __init__(self, plan: RunPlan) -> None:
        self._interval, self._instant = plan.schedule.times()
        count = plan.schedule.count if plan.schedule.requested else 0
        self._mean, self._end, self._at = (_Output(rows, count, plan) for rows in plan.schedule.rows)
        self._chosen = _ChosenStates(plan)
        self._all = (self._mean, self._end, self._at, self._chosen)
        self._steps = {int(step) for step in np.unique(plan.wanted.steps)}
        self._last = len(plan.times)

    @property
    def values(self) -> int:
        """Values of one column and member that are put out at a time."""
        return sum(len(output.selected) for output in self._all)

    @property
    def results(self) -> tuple[Array, ...]:
        """Means, ends, instants and chosen states (column x member, time, row)."""
        named = (output.values.transpose(2, 0, 1) for output in self._all[:3])
        return (*named, self._chosen.chosen)

    def begin(self, device: Device, rows: Array) -> None:
        """Make the buffers; states that were asked for at the start are those of `rows` (column x member, value)."""
        for number, output in enumerate(self._all):
            if len(output.selected):
                output.begin(device, number, len(rows))
        if 0 in self._steps:
            self._chosen.at_start(rows)

    def next_after(self, step: int) -> int:
        """The next number of steps after which something is put out."""
        found = [self._last]
        if self._interval:
            within = step % self._interval
            found.append(step - within + self._interval)
            if self._instant >= within:
                found.append(step - within + self._instant + 1)
        found += [wanted for wanted in self._steps if wanted > step]
        return min(found)

    def take(self, steps: int, columns: Columns) -> None:
        """Take what is due after a number of steps."""
        if self._interval:
            place, within = divmod(steps - 1, self._interval)
            if within == self._instant:
                self._at.put(place, columns)
            if within == self._interval - 1:
                if len(self._end.selected):
                    self._end.put(place, columns)
                if len(self._mean.selected):
                    self._mean.put(place, columns, 1.0 / self._interval)
        if steps in self._steps and len(self._chosen.selected):
            self._chosen.put(steps, columns)

    def collect(self) -> None:
        """Wait for all that was taken."""
        for output in self._all:
            output.collect()
