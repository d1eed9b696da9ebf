"""A device in the host's memory, whose kernel is the processor's: what the driver of a card does, without a card.

Copies are made as late as the card might make them: a forcing that is sent, when a launch needs it; an output that is
fetched, when the host waits for it. What the driver overwrites too early comes out wrong.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel import Forcing, layout
from ldas.landmodel.array_types import Array
from ldas.landmodel.driver import run_blocks
from ldas.landmodel.gpu.device import Columns, Kernel, positions
from ldas.landmodel.gpu.kernel_layout import TILE
from ldas.landmodel.isba import _workspace
from ldas.landmodel.outputs import OutputRequest, Schedule

SURFACE, FLUX = len(layout.SURFACE), layout.FLUX_SIZE
EVERY_ROW = np.arange(layout.STATE_SIZE + SURFACE + FLUX)
END_OF_INTERVAL = [Forcing._fields.index(name) for name in ("Rainf", "Snowf")]
LINEAR = [number for number in range(len(Forcing._fields)) if number not in END_OF_INTERVAL]


class HostDevice:
    """See `ldas.landmodel.gpu.device.Device`."""

    def __init__(self) -> None:
        self.launches: list[tuple[int, int]] = []
        """First step and number of steps of each launch."""
        self.opened = False

    def open(self, kernel: Kernel, members: int, output_values: int, records_a_day: int) -> None:
        assert not self.opened
        assert kernel.positions == positions(kernel.positions)
        self.opened, self.kernel = True, kernel
        self.to_send: dict[int, tuple[Array, Array]] = {}
        self.to_fetch: dict[int, tuple[Array, Array]] = {}

    def close(self) -> None:
        assert self.opened
        self.opened = False

    def put(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.array(values)

    def empty(self, count: int, dtype: str = "float64") -> NDArray[Any]:
        return np.full(count, np.nan, dtype)

    def host(self, shape: tuple[int, ...], dtype: str = "float64") -> NDArray[Any]:
        return np.full(shape, np.nan, dtype)

    def into_tiles(self, tiles: Array, rows: Array, first: int) -> None:
        for number, row in enumerate(rows, start=first):
            tiles.reshape(-1, rows.shape[1], TILE)[number // TILE, :, number % TILE] = row

    def from_tiles(self, tiles: Array, rows: Array, first: int) -> None:
        whole = self.rows_of(tiles, rows.shape[1])
        rows[:] = whole[first : first + len(rows)]

    @staticmethod
    def rows_of(tiles: Array, values: int) -> Array:
        return np.ascontiguousarray(tiles.reshape(-1, values, TILE).transpose(0, 2, 1).reshape(-1, values))

    def send(self, slot: int, target: Array, values: NDArray[Any]) -> None:
        assert slot not in self.to_send, "a buffer is sent before the one before it has left"
        self.to_send[slot] = target, values

    def sent(self, slot: int) -> None:
        if slot in self.to_send:
            target, values = self.to_send.pop(slot)
            target[:] = values.ravel()

    def fetch(self, slot: int, values: NDArray[Any], source: Array) -> None:
        assert slot not in self.to_fetch, "an output is fetched into a buffer that is waited for"
        self.to_fetch[slot] = values, source

    def fetched(self, slot: int) -> None:
        values, source = self.to_fetch.pop(slot)
        values[:] = source.reshape(values.shape)

    def advance(self, slot: int, columns: Columns, forcing: Array, first_record: int, first: int, steps: int) -> None:
        """The processor's kernel, with weather for every step and every row put out after each."""
        self.sent(slot)
        self.launches.append((first, steps))
        kernel, count = self.kernel, self.kernel.positions
        option = np.zeros(1, dtype=layout.OPTION_DTYPE)
        for name, value in kernel.options:
            option[name] = value
        state = self.rows_of(columns.state, layout.STATE_SIZE)
        parameters = self.rows_of(columns.parameters, layout.PARAMETER_SIZE)[columns.owner]
        weather = self.every_step(forcing.reshape(-1, 9, kernel.cells), first_record, first, steps)
        schedule = Schedule(OutputRequest(end=("LE",), interval_s=1.0), np.datetime64(0, "s"), 1.0, steps)
        nothing = np.zeros(0, np.int64)
        schedule.rows = (nothing, EVERY_ROW, nothing)
        ends = np.full((count, steps, len(EVERY_ROW)), np.nan)
        empty = np.zeros((count, steps, 0))
        run_blocks(
            np.arange(count), 0, 1, state, parameters, columns.cells, weather, 1, columns.sun[first : first + steps],
            columns.day_starts[first : first + steps] > 0, option, *_workspace(schedule), (*schedule.rows, nothing), 1,
            -1, np.zeros((count, 0), np.int64), (empty, ends, empty, np.zeros((count, 0, 0))),
        )  # fmt: skip
        self.into_tiles(columns.state, state, 0)
        self.into_tiles(columns.last, ends[:, -1, layout.STATE_SIZE :], 0)
        sums = columns.sums.reshape(kernel.positions // TILE, kernel.selected, TILE)
        for number, row in enumerate(columns.selected):
            if row >= layout.STATE_SIZE:
                for step in range(steps):
                    sums[:, number] += ends[:, step, row].reshape(-1, TILE)

    def every_step(self, forcing: NDArray[Any], first_record: int, first: int, steps: int) -> Array:
        """Forcing (cell, step, variable) whose records are the steps, with the values that the kernel would
        interpolate."""
        records = forcing.astype(np.float64)
        weather = np.zeros((records.shape[2], steps + 1, records.shape[1]))
        weather[:, steps, LINEAR] = 1.0  # nothing is read there but rain and snow
        for number in range(steps):
            record, part = divmod(first + number, self.kernel.steps_per_record)
            before, after = records[record - first_record], records[record - first_record + 1]
            between = before + (after - before) * (part / self.kernel.steps_per_record)
            weather[:, number, LINEAR] = between[LINEAR].T
            weather[:, number + 1, END_OF_INTERVAL] = after[END_OF_INTERVAL].T
        return weather

    def add_state(self, columns: Columns) -> None:
        state = columns.state.reshape(-1, layout.STATE_SIZE, TILE)
        sums = columns.sums.reshape(self.kernel.positions // TILE, self.kernel.selected, TILE)
        for number, row in enumerate(columns.selected):
            if row < layout.STATE_SIZE:
                sums[:, number] += state[:, row]

    def _into(self, target: Array, rows: Array, columns: Columns) -> None:
        used = columns.destination >= 0
        target.reshape(-1, self.kernel.rows)[:, columns.destination[used]] = rows[used].T

    def take(self, target: Array, selected: Array, count: int, columns: Columns) -> None:
        rows = np.hstack([self.rows_of(columns.state, layout.STATE_SIZE), self.rows_of(columns.last, SURFACE + FLUX)])
        self._into(target, rows[:, selected], columns)

    def take_means(self, target: Array, scale: float, columns: Columns) -> None:
        self._into(target, self.rows_of(columns.sums, self.kernel.selected) * scale, columns)
        columns.sums[:] = 0.0
