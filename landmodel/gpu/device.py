"""What the driver needs of a device: memory, copies and five kernels.

`cuda_device.CudaDevice` is the card. The tests have a device in the host's memory whose `advance` is the processor's
kernel, so that all of the driver (buffers, days, sums, members, restart) runs without a card.

Work that is queued runs in the order in which it was asked for, except that copies may overlap with kernels: a buffer
that is sent belongs to a slot, and so does an output that is fetched.
"""

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from ldas.landmodel.array_types import Array

THREADS = 256
"""Threads of a block; with 128 the prototype was slower (docs/performance.md)."""
Memory = Any
"""An array in the memory of a device: only the device knows what it is."""


class Columns(NamedTuple):
    """What is on the device for a whole run; positions (column x member in the order of the run) are padded to blocks.

    `state`, `parameters`: tiles; `last`: tiles of surface and fluxes of the last step; `owner`, `cells`, `grids`
    (position,): place of the parameters, cell in the forcing, number of the soil grid; `tables`: soil grids;
    `destination` (position,): row in outputs, -1 for none; `sun` (step, 4), `day_starts` (step,); `selected`: rows
    whose means are wanted, `sums`: tiles of their sums.
    """

    state: Memory
    parameters: Memory
    last: Memory
    owner: Memory
    cells: Memory
    grids: Memory
    tables: Memory
    destination: Memory
    sun: Memory
    day_starts: Memory
    selected: Memory
    sums: Memory


class Kernel(NamedTuple):
    """What decides on the code and the size of a launch.

    `options`: names and values of the record of options; `uniform`: no texture varies with depth; `forcing`: "float32"
    or "float64"; `positions`: padded number; `rows`: of outputs, columns times members; `cells` of the forcing;
    `steps_per_record`; `selected`: number of means.
    """

    options: tuple[tuple[str, float], ...]
    uniform: bool
    forcing: str
    positions: int
    rows: int
    cells: int
    steps_per_record: int
    selected: int


class Device(Protocol):
    """A device that can run the land model."""

    def open(self, kernel: Kernel, members: int, output_values: int, records_a_day: int) -> None:
        """Prepare a run: machine code and memory are there, or a `CardError` says which is not."""

    def put(self, values: NDArray[Any]) -> Memory:
        """A copy of an array on the device."""

    def empty(self, count: int, dtype: str = "float64") -> Memory:
        """An array on the device, its contents undefined."""

    def host(self, shape: tuple[int, ...], dtype: str = "float64") -> NDArray[Any]:
        """An array of the host that `send` and `fetch` copy quickly."""

    def into_tiles(self, tiles: Memory, rows: Array, first: int) -> None:
        """Copy rows (row, value) into tiles from a position on."""

    def from_tiles(self, tiles: Memory, rows: Array, first: int) -> None:
        """Copy rows (row, value) out of tiles from a position on, when all work before is done."""

    def send(self, slot: int, target: Memory, values: NDArray[Any]) -> None:
        """Begin to copy an array of `host` to the device, after the launches that read the slot before."""

    def sent(self, slot: int) -> None:
        """Wait until the array that was last sent for a slot may be overwritten."""

    def advance(self, slot: int, columns: Columns, forcing: Memory, first_record: int, first: int, steps: int) -> None:
        """Advance all columns by steps from step `first` on, with the forcing (record, variable, cell) that was sent
        for a slot and begins with a record; add up the means of surface and fluxes."""

    def add_state(self, columns: Columns) -> None:
        """Add the state to the sums of its means."""

    def take(self, target: Memory, selected: Memory, count: int, columns: Columns) -> None:
        """Put selected rows of state and last step into (row, column x member)."""

    def take_means(self, target: Memory, scale: float, columns: Columns) -> None:
        """Put the sums times a scale into (row, column x member), and empty them."""

    def fetch(self, slot: int, values: NDArray[Any], source: Memory) -> None:
        """Begin to copy an array to one of `host`, after the work before."""

    def fetched(self, slot: int) -> None:
        """Wait until what was last fetched for a slot is there."""

    def close(self) -> None:
        """Free the memory of the run."""


def positions(rows: int) -> int:
    """Number of positions for rows: whole blocks."""
    return -(-rows // THREADS) * THREADS
