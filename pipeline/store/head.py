"""The head of a run written (see `ldas.pipeline.store.head_view`): a day of a block of cells in one object.

It is taken into the shards when its slots are full, when its period is complete, and when days of that period are
computed again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.storage import StorePath

from ldas.pipeline.store.arrays import dimensions, existing_array, existing_group, has_array, has_group, write_region
from ldas.pipeline.store.head_view import DAYS, ROWS, head_path, rows_of
from ldas.pipeline.store.in_place import answers
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.template import ArraySpec, create_template

SLOTS = 16


def make_head(root: zarr.Group, path: str) -> None:
    """Gives a run a head, unless it has one, or values that single precision does not hold."""
    if has_array(root, head_path(path), DAYS):
        return
    rows, number, cells, width = dict[str, tuple[int, int, int]](), 1, 0, 0
    for name, array in sorted(existing_group(root, path).arrays()):
        dims = dimensions(array)
        if "time" in dims and "cell" in dims:
            if not np.can_cast(array.dtype, np.float32) or len(dims) > 3 or dims[0] != "time":
                return
            axis = dims.index("cell")
            cells, width = array.shape[axis], (array.shards or array.chunks)[axis]
            rows[name] = number, array.shape[3 - axis] if len(dims) == 3 else 1, axis
            number += rows[name][1]
    create_template(
        root,
        head_path(path),
        {DAYS: ArraySpec(("slot", "row", "cell"), attributes={ROWS: rows})},
        coordinates={dim: ((dim,), np.arange(n)) for dim, n in (("slot", SLOTS), ("row", number), ("cell", cells))},
        chunks={"slot": 1, "cell": width},
    )


def write_days(
    root: zarr.Group, path: str, values: Mapping[str, np.ndarray], block: Block, days: slice, *, per_period: int
) -> None:
    """Writes days of a block of a run (see `write_region`): into its head, where they make a period longer and do not
    complete it."""
    has_head = has_array(root, head_path(path), DAYS)
    array = existing_array(root, head_path(path), DAYS) if has_head else None
    if array is not None and days.start % per_period and days.stop % per_period and block.mask is None:
        rows, slots = rows_of(array.attrs.asdict(), array.path), array.shape[0]
        numbers = range(days.start, days.stop)
        are_free = len(numbers) <= slots and not _held(array, block, [day % slots for day in numbers])
        if are_free and rows.keys() == values.keys():
            packed = np.full((len(numbers), array.shape[1], block.cells), np.nan, dtype="float32")
            packed[:, 0] = np.array(numbers)[:, None]
            for name, (first, count, axis) in rows.items():
                packed[:, first : first + count] = _by_row(values[name], axis)
            for day, content in zip(numbers, packed, strict=True):
                region = {"slot": slice(day % slots, day % slots + 1), "cell": block.region}
                write_region(root, head_path(path), {DAYS: content[None]}, region)
            return
    write_region(root, path, values, {"time": days, "cell": block.region}, continued="time", cells=block.mask)
    if array is not None:  # what it has of this period is in the shards
        held = _held(array, block, range(array.shape[0]))
        taken = [slot for slot, day in held.items() if day // per_period == days.start // per_period]
        answers(root.store, lambda slot: _place(array, block, slot).delete(), taken)


def remove_head(root: zarr.Group, path: str) -> None:
    """Removes the head of a run, which is made anew."""
    if has_group(root, head_path(path)):
        del root[head_path(path)]


def _by_row(values: np.ndarray, axis: int) -> np.ndarray:
    """Values of a run over (day, cell), (day, row, cell) or (day, cell, row), as (day, row, cell)."""
    if values.ndim == 2:
        return values[:, None]
    return values.swapaxes(1, 2) if axis == 1 else values


def _held(array: zarr.Array, block: Block, slots: Sequence[int]) -> dict[int, int]:
    """The number of the day of a block that each slot holds; without those that are empty."""
    days: Any = array.async_array
    numbers = answers(array.store_path.store, lambda slot: days.getitem((slot, 0, block.start)), slots)
    return {slot: int(day) for slot, day in zip(slots, numbers, strict=True) if np.isfinite(day)}


def _place(array: zarr.Array, block: Block, slot: int) -> StorePath:
    """Where a day of a block is stored."""
    return array.store_path / array.metadata.encode_chunk_key((slot, 0, block.start // array.chunks[2]))
