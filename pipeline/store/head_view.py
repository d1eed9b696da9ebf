"""The head of a run as readers see it: its latest days, which are not in the shards of its arrays yet.

A run of many arrays that gets a day longer would replace as many shards for one day each. Instead, the day of a block
of cells is one object in `heads/<path of the run>`, whose array `days` has the dimensions (slot, row, cell): row 0 is
the number of the day on the run's time axis, NaN where the slot is empty, and the others are the values of all its
arrays: attribute `rows` has the first row of each, their number, and where its axis of cells is. A day lies in the slot
of its number modulo the number of slots. `ldas.pipeline.store.head` writes it.

All that goes through this view reads shards that hold the days of the head too; and as a shard that gets longer is read
before it is replaced, writing takes them into it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath, WrapperStore

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.plain_arrays import plain_metadata

HEADS = "heads"
"""Group of the heads of all runs."""
DAYS, ROWS = "days", "rows"
_MOST_KEPT = 4  # blocks of cells, and shards
Days = dict[int, np.ndarray]  # by number of the day: (row, cell)
Rows = dict[str, tuple[int, int, int]]
Key = TypeVar("Key")
Value = TypeVar("Value")


def head_path(path: str) -> str:
    """Group of the head of a run."""
    return f"{HEADS}/{path}"


class HeadView(WrapperStore[Store]):
    """A store in which the shards of a run hold the days of its head too, as they are when they are first asked for.

    path: of the run. head: what describes the array of its head.
    """

    def __init__(self, store: Store, path: str, head: ArrayV3Metadata) -> None:
        super().__init__(store)
        self._path, self._head, self._rows = path, head, rows_of(head.attributes, f"{head_path(path)}/{DAYS}")
        self._described: dict[str, ArrayV3Metadata] = {}
        self._days_of = _Kept[int, Days]()
        self._shards = _Kept[str, MemoryStore]()

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.abc.store.Store`."""
        inside = key.startswith(f"{self._path}/")
        name, _, place = key.removeprefix(f"{self._path}/").partition("/c/")
        if not inside or not place or name not in self._rows:
            return await self._store.get(key, prototype, byte_range)
        if key not in self._shards:  # kept, as its index and its chunks must be of the same days
            spare = await self._with_days(key, name, place)
            if spare is None:
                return await self._store.get(key, prototype, byte_range)
            self._shards.keep(key, spare)
        return await self._shards[key].get(key, prototype, byte_range)

    async def _with_days(self, key: str, name: str, place: str) -> MemoryStore | None:
        """A shard of an array with the days that the head has of it; None if it has none."""
        metadata = await self._metadata(name)
        dims, shape, shard = metadata.dimension_names or (), metadata.shape, _shard(metadata)
        region = {
            str(dim): slice(int(at) * step, min((int(at) + 1) * step, size))
            for dim, at, step, size in zip(dims, place.split("/"), shard, shape, strict=True)
        }
        days = await self._days(region["cell"])  # first: what is gone from there by now is in the shard
        numbers = sorted(day for day in days if region["time"].start <= day < region["time"].stop)
        if not numbers:
            return None
        spare = MemoryStore()
        if (stored := await self._store.get(key, default_buffer_prototype())) is not None:
            await spare.set(key, stored)
        array: Any = AsyncArray(metadata, StorePath(spare, f"{self._path}/{name}"))
        first, count, axis = self._rows[name]
        for part in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):  # of days that follow each other
            rows = np.stack([days[day][first : first + count] for day in part])
            values = rows[:, 0] if len(shape) == 2 else rows.swapaxes(1, 2) if axis == 1 else rows
            region["time"] = slice(int(part[0]), int(part[-1]) + 1)
            await array.setitem(tuple(region.values()), values.astype(metadata.dtype.to_native_dtype()))
        return spare

    async def _metadata(self, name: str) -> ArrayV3Metadata:
        if name not in self._described:
            array: Any = await AsyncArray.open(StorePath(self._store, f"{self._path}/{name}"), zarr_format=3)
            self._described[name] = array.metadata
        return self._described[name]

    async def _days(self, cells: slice) -> Days:
        """The days that the head has of a block of cells."""
        if cells.start not in self._days_of:
            array: Any = AsyncArray(self._head, StorePath(self._store, f"{head_path(self._path)}/{DAYS}"))
            slots = await array.getitem((slice(None), slice(None), cells))
            days = {int(slot[0, 0]): slot for slot in slots if np.isfinite(slot[0, 0])}
            self._days_of.keep(cells.start, days)
        return self._days_of[cells.start]


class _Kept(OrderedDict[Key, Value]):
    """The last few of what was read."""

    def keep(self, key: Key, value: Value) -> None:
        """Adds one; the oldest goes, where there are too many."""
        self[key] = value
        while len(self) > _MOST_KEPT:
            self.popitem(last=False)


def rows_of(attributes: Mapping[str, Any], where: str) -> Rows:
    """Of each array of the run: its first row, the number of its rows, and its axis of cells.

    Raises:
        StoreError: attributes that are not those of a head.
    """
    try:
        return {name: (int(first), int(count), int(axis)) for name, (first, count, axis) in attributes[ROWS].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(
            f"'{where}' does not say which of its rows are of which array (attribute '{ROWS}'): the store was changed "
            "or damaged; restore this group from a copy"
        ) from None


def _shard(metadata: ArrayV3Metadata) -> tuple[int, ...]:
    grid: Any = metadata.chunk_grid
    return tuple(grid.chunk_shape)


async def seen_with_head(store: Store, path: str) -> Store:
    """The store as a reader of a group sees it: with the days of its head, where it has one."""
    place = f"{head_path(path)}/{DAYS}"
    document = await store.get(f"{place}/zarr.json", default_buffer_prototype())
    return store if document is None else HeadView(store, path, plain_metadata(document, place))
