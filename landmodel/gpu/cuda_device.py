"""The card as a device: memory, copies and launches through the driver's interface.

Kernels run in one stream, the forcing comes in another and outputs go in a third; an event of each slot says when a
buffer may be written again.
"""

import ctypes
import logging
import math
import re
import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import Array
from ldas.landmodel.gpu.card import Card, asked, check_memory, find_card, loaded_driver
from ldas.landmodel.gpu.code import advance_code, small_code
from ldas.landmodel.gpu.device import THREADS, Columns, Kernel

_SLOTS = 16
_SLOW = 8  # float32 rate over float64 rate from which a card is slow for this model
_CHAIN = 4096  # products and sums of a thread when the rate is measured


class _Memory:
    """Memory of the card: where it begins and how many bytes it has."""

    def __init__(self, pointer: int, size: int) -> None:
        self.pointer, self.size = pointer, size


class CudaDevice:
    """A card; see `device.Device` for the methods.

    Kernels that were loaded stay until the process ends; memory belongs to a run.
    """

    def __init__(self, card: Card | None = None) -> None:
        self.card = card or find_card()
        self._driver = loaded_driver()
        self._context = asked(self._driver.cuDevicePrimaryCtxRetain(asked(self._driver.cuDeviceGet(self.card.number))))
        self._enter()
        self._compute, self._in, self._out = (asked(self._driver.cuStreamCreate(1)) for _ in range(3))
        self._sent, self._read, self._taken, self._fetched = (
            [asked(self._driver.cuEventCreate(2)) for _ in range(_SLOTS)] for _ in range(4)
        )
        self._lock = threading.Lock()  # one run at a time
        self._functions: dict[Any, Any] = {}
        self._memory: list[_Memory] = []
        self._pinned: list[int] = []
        if self.card.float64_divisor > _SLOW:
            logging.getLogger(__name__).warning(
                "%s computes float64, which the land model needs, at 1/%d of its float32 rate (measured: %.0f "
                "GFLOP/s): the processor may be faster",
                self.card.name,
                self.card.float64_divisor,
                self.float64_rate() / 1e9,
            )

    def float64_rate(self) -> float:
        """Measured rate of products and sums in float64, each counted (s-1)."""
        threads = self.card.multiprocessors * 8 * THREADS
        memory = self._allocated(8 * threads)
        begin, end = (asked(self._driver.cuEventCreate(0)) for _ in range(2))
        for _ in range(2):  # the first loads the code
            asked(self._driver.cuEventRecord(begin, self._compute))
            self._small("multiply_add", threads, memory, _CHAIN)
            asked(self._driver.cuEventRecord(end, self._compute))
            asked(self._driver.cuEventSynchronize(end))
        milliseconds = asked(self._driver.cuEventElapsedTime(begin, end))
        self._freed(memory)
        return 2.0 * 4.0 * _CHAIN * threads / (milliseconds * 1e-3)

    def _enter(self) -> None:
        """Calls of this thread go to the card."""
        asked(self._driver.cuCtxSetCurrent(self._context))

    def open(self, kernel: Kernel, members: int, output_values: int, records_a_day: int) -> None:
        """Prepare a run: memory and machine code are there."""
        self._lock.acquire()
        self._enter()
        free, total = asked(self._driver.cuMemGetInfo())
        card = self.card._replace(free_bytes=int(free), total_bytes=int(total))
        check_memory(card, math.ceil(kernel.rows / members), members, output_values, records_a_day)
        self._kernel = kernel
        self._advance = self._loaded(
            (kernel.options, kernel.uniform, kernel.forcing), lambda: advance_code(kernel, self.card.compute_capability)
        )

    def _loaded(self, key: Any, code: Any) -> Any:
        """The function of a kernel, loaded once."""
        if key not in self._functions:
            text = code()
            entry = re.search(r"\.entry (\w+)", text)
            assert entry is not None
            module = asked(self._driver.cuModuleLoadData(text.encode() + b"\0"))
            self._functions[key] = asked(self._driver.cuModuleGetFunction(module, entry[1].encode()))
        return self._functions[key]

    def put(self, values: NDArray[Any]) -> _Memory:
        """A copy of an array on the card."""
        values = np.ascontiguousarray(values)
        memory = self._allocated(values.nbytes)
        if values.nbytes:
            asked(self._driver.cuMemcpyHtoD(memory.pointer, values.ctypes.data, values.nbytes))
            # the last of the copy may still be under way, which streams of ours would not wait for
            asked(self._driver.cuStreamSynchronize(0))
        return memory

    def empty(self, count: int, dtype: str = "float64") -> _Memory:
        """An array on the card."""
        return self._allocated(count * np.dtype(dtype).itemsize)

    def _allocated(self, size: int) -> _Memory:
        memory = _Memory(int(asked(self._driver.cuMemAlloc(max(size, 8)))), size)
        self._memory.append(memory)
        return memory

    def host(self, shape: tuple[int, ...], dtype: str = "float64") -> NDArray[Any]:
        """An array in page-locked memory of the host."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pointer = int(asked(self._driver.cuMemHostAlloc(max(size, 8), 0)))
        self._pinned.append(pointer)
        memory = (ctypes.c_byte * size).from_address(pointer)
        return np.asarray(memory).view(dtype).reshape(shape)

    def into_tiles(self, tiles: _Memory, rows: Array, first: int) -> None:
        """Copy rows (row, value) into tiles."""
        memory = self.put(rows)
        self._small("into_tiles", len(rows), tiles, memory, first, *rows.shape)
        asked(self._driver.cuStreamSynchronize(self._compute))
        self._freed(memory)

    def from_tiles(self, tiles: _Memory, rows: Array, first: int) -> None:
        """Copy rows (row, value) out of tiles."""
        memory = self._allocated(rows.nbytes)
        self._small("from_tiles", len(rows), tiles, memory, first, *rows.shape)
        asked(self._driver.cuStreamSynchronize(self._compute))
        asked(self._driver.cuMemcpyDtoH(rows.ctypes.data, memory.pointer, rows.nbytes))
        self._freed(memory)

    def send(self, slot: int, target: _Memory, values: NDArray[Any]) -> None:
        """Begin to copy an array to the card."""
        asked(self._driver.cuStreamWaitEvent(self._in, self._read[slot], 0))
        asked(self._driver.cuMemcpyHtoDAsync(target.pointer, values.ctypes.data, values.nbytes, self._in))
        asked(self._driver.cuEventRecord(self._sent[slot], self._in))

    def sent(self, slot: int) -> None:
        """Wait until the array that was sent may be overwritten."""
        self._enter()
        asked(self._driver.cuEventSynchronize(self._sent[slot]))

    def advance(self, slot: int, columns: Columns, forcing: _Memory, first_record: int, first: int, steps: int) -> None:
        """Advance all columns."""
        kernel = self._kernel
        asked(self._driver.cuStreamWaitEvent(self._compute, self._sent[slot], 0))
        self._launch(
            self._advance, kernel.positions, columns.state, columns.parameters, columns.owner, columns.cells,
            columns.grids, columns.tables, forcing, kernel.cells, columns.sun, columns.day_starts,
            kernel.steps_per_record, first_record, first, steps, columns.selected, kernel.selected, columns.sums,
            columns.last,
        )  # fmt: skip
        asked(self._driver.cuEventRecord(self._read[slot], self._compute))

    def add_state(self, columns: Columns) -> None:
        """Add the state to the sums of its means."""
        selected = self._kernel.selected
        self._small("add_state", self._kernel.positions, columns.sums, columns.selected, selected, columns.state)

    def take(self, target: _Memory, selected: _Memory, count: int, columns: Columns) -> None:
        """Put selected rows into (row, column x member)."""
        self._small(
            "take", self._kernel.positions, target, selected, count, columns.state, columns.last, columns.destination,
            self._kernel.rows,
        )  # fmt: skip

    def take_means(self, target: _Memory, scale: float, columns: Columns) -> None:
        """Put the sums times a scale into (row, column x member), and empty them."""
        self._small(
            "take_means", self._kernel.positions, target, self._kernel.selected, columns.sums, scale,
            columns.destination, self._kernel.rows,
        )  # fmt: skip

    def fetch(self, slot: int, values: NDArray[Any], source: _Memory) -> None:
        """Begin to copy an array from the card."""
        asked(self._driver.cuEventRecord(self._taken[slot], self._compute))
        asked(self._driver.cuStreamWaitEvent(self._out, self._taken[slot], 0))
        asked(self._driver.cuMemcpyDtoHAsync(values.ctypes.data, source.pointer, values.nbytes, self._out))
        asked(self._driver.cuEventRecord(self._fetched[slot], self._out))

    def fetched(self, slot: int) -> None:
        """Wait until what was fetched is there."""
        asked(self._driver.cuEventSynchronize(self._fetched[slot]))

    def synchronise(self) -> None:
        """Wait until all work is done."""
        self._enter()
        asked(self._driver.cuCtxSynchronize())

    def close(self) -> None:
        """Free the memory of the run, when its work has ended."""
        for stream in (self._in, self._compute, self._out):
            self._driver.cuStreamSynchronize(stream)  # whatever it answers: an error has been raised already
        for memory in list(self._memory):
            self._freed(memory)
        for pointer in self._pinned:
            self._driver.cuMemFreeHost(pointer)
        self._pinned.clear()
        self._lock.release()

    def _freed(self, memory: _Memory) -> None:
        self._driver.cuMemFree(memory.pointer)
        self._memory.remove(memory)

    def _small(self, name: str, threads: int, *arguments: Any) -> None:
        """Launch one of the kernels that carry rows."""
        function = self._loaded(name, lambda: small_code(name, self.card.compute_capability))
        self._launch(function, threads, *arguments)

    def _launch(self, function: Any, threads: int, *arguments: Any) -> None:
        """Launch a kernel: pointers and numbers of eight bytes, as its types say."""
        packed = [
            np.array(a.pointer if isinstance(a, _Memory) else a, np.float64 if isinstance(a, float) else np.int64)
            for a in arguments
        ]
        pointers = np.array([value.ctypes.data for value in packed], dtype=np.uint64)
        blocks = -(-threads // THREADS)
        asked(self._driver.cuLaunchKernel(
            function, blocks, 1, 1, THREADS, 1, 1, 0, self._compute, pointers.ctypes.data, 0
        ))  # fmt: skip


_first_lock = threading.Lock()


def first_card() -> CudaDevice:
    """The first card of this machine, with the kernels that this process has loaded: one for all its threads, whose
    runs take turns.

    Raises:
        CardError: as `find_card`.
    """
    with _first_lock:
        return _first_card()


@cache
def _first_card() -> CudaDevice:
    return CudaDevice()
