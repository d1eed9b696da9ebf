"""The head of a run as readers see it: its latest days, which are not in the shards of its arrays yet.

A run of many arrays that gets a day longer would replace as many shards for one day each. Instead, the day of a block
of cells is one object in `heads/<path of the run>`, whose array `days` has the dimensions (slot, row, cell): row 0 is
the number of the day on the run's time axis, NaN where the slot is empty, and the others are the values of all its
arrays: attribute `rows` has the first row of each, their number, and where its axis of cells is. A day lies in the slot
of its number modulo the number of slots. `ldas.pipeline.store.head` writes it.

All that goes through this view reads shards that hold the days of the head too; and as a shard that gets longer is read
before it is replaced, writing takes them into it.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath, WrapperStore

HEADS = "heads"
"""Group of the heads of all runs."""
DAYS, ROWS = "days", "rows"
_BLOCKS_KEPT = 4
Days = dict[int, np.ndarray]  # by number of the day: (row, cell)
Rows = dict[str, tuple[int, int, int]]


def head_path(path: str) -> str:
    """Group of the head of a run."""
    return f"{HEADS}/{path}"


class HeadView(WrapperStore[Store]):
    """A store in which the shards of a run hold the days of its head too.

    path: of the run. head: what describes the array of its head.
    """

    def __init__(self, store: Store, path: str, head: ArrayV3Metadata) -> None:
        super().__init__(store)
        self._path, self._head, self._rows = path, head, rows_of(head.attributes)
        self._described: dict[str, ArrayV3Metadata] = {}
        self._blocks: OrderedDict[int, Days] = OrderedDict()

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.abc.store.Store`."""
        name, _, place = key.removeprefix(f"{self._path}/").partition("/c/")
        if not place or name not in self._rows or not key.startswith(f"{self._path}/"):
            return await self._store.get(key, prototype, byte_range)
        metadata = await self._metadata(name)
        dims, shape, shard = metadata.dimension_names or (), metadata.shape, _shard(metadata)
        region = {
            str(dim): slice(int(at) * step, min((int(at) + 1) * step, size))
            for dim, at, step, size in zip(dims, place.split("/"), shard, shape, strict=True)
        }
        days = await self._days(region["cell"])  # first: what is gone from there by now is in the shard
        inside = sorted(day for day in days if region["time"].start <= day < region["time"].stop)
        if not inside:
            return await self._store.get(key, prototype, byte_range)
        spare = MemoryStore()
        if (stored := await self._store.get(key, prototype)) is not None:
            await spare.set(key, stored)
        array: Any = AsyncArray(metadata, StorePath(spare, f"{self._path}/{name}"))
        first, count, axis = self._rows[name]
        for part in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):  # of days that follow each other
            rows = np.stack([days[day][first : first + count] for day in part])
            values = rows[:, 0] if len(shape) == 2 else rows.swapaxes(1, 2) if axis == 1 else rows
            region["time"] = slice(int(part[0]), int(part[-1]) + 1)
            await array.setitem(tuple(region.values()), values.astype(metadata.dtype.to_native_dtype()))
        return await spare.get(key, prototype, byte_range)

    async def _metadata(self, name: str) -> ArrayV3Metadata:
        if name not in self._described:
            array: Any = await AsyncArray.open(StorePath(self._store, f"{self._path}/{name}"), zarr_format=3)
            self._described[name] = array.metadata
        return self._described[name]

    async def _days(self, cells: slice) -> Days:
        """The days that the head has of a block of cells."""
        if cells.start not in self._blocks:
            array: Any = AsyncArray(self._head, StorePath(self._store, f"{head_path(self._path)}/{DAYS}"))
            slots = await array.getitem((slice(None), slice(None), cells))
            self._blocks[cells.start] = {int(slot[0, 0]): slot for slot in slots if np.isfinite(slot[0, 0])}
            while len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[cells.start]


def rows_of(attributes: Mapping[str, Any]) -> Rows:
    """Of each array of the run: its first row, the number of its rows, and its axis of cells."""
    return {name: (first, count, axis) for name, (first, count, axis) in attributes[ROWS].items()}


def _shard(metadata: ArrayV3Metadata) -> tuple[int, ...]:
    grid: Any = metadata.chunk_grid
    return tuple(grid.chunk_shape)


async def seen_with_head(store: Store, path: str) -> Store:
    """The store as a reader of a group sees it: with the days of its head, where it has one."""
    document = await store.get(f"{head_path(path)}/{DAYS}/zarr.json", default_buffer_prototype())
    return (
        store if document is None else HeadView(store, path, ArrayV3Metadata.from_dict(json.loads(document.to_bytes())))
    )
