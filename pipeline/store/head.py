"""The head of a run written (see `ldas.pipeline.store.head_view`): a day of a block of cells in one object.

It is taken into the shards when its slots are full, when its period is complete, and when days are computed again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import zarr
from zarr.storage import StorePath

from ldas.pipeline.store.arrays import dimensions, existing_array, existing_group, has_array, write_region
from ldas.pipeline.store.groups import remove_group
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
    numbers, has_head = range(days.start, days.stop), has_array(root, head_path(path), DAYS)
    longer = days.start % per_period > 0 and days.stop % per_period > 0 and len(numbers) <= SLOTS
    if has_head and longer and block.mask is None:
        array = existing_array(root, head_path(path), DAYS)
        rows = rows_of(array.attrs.asdict())
        if rows.keys() == values.keys() and not _there(array, block, [day % SLOTS for day in numbers]):
            packed = np.full((len(numbers), array.shape[1], block.cells), np.nan, dtype="float32")
            packed[:, 0] = np.array(numbers)[:, None]
            for name, (first, count, axis) in rows.items():
                packed[:, first : first + count] = _by_row(values[name], axis)
            for day, content in zip(numbers, packed, strict=True):
                region = {"slot": slice(day % SLOTS, day % SLOTS + 1), "cell": block.region}
                write_region(root, head_path(path), {DAYS: content[None]}, region)
            return
    write_region(root, path, values, {"time": days, "cell": block.region}, continued="time", cells=block.mask)
    if has_head:  # what it holds is in the shards
        array = existing_array(root, head_path(path), DAYS)
        answers(root.store, lambda slot: _place(array, block, slot).delete(), _there(array, block, range(SLOTS)))


def remove_head(root: zarr.Group, path: str) -> None:
    """Removes the head of a run, which is made anew."""
    remove_group(root, head_path(path))


def _by_row(values: np.ndarray, axis: int) -> np.ndarray:
    """Values of a run over (day, cell), (day, row, cell) or (day, cell, row), as (day, row, cell)."""
    if values.ndim == 2:
        return values[:, None]
    return values.swapaxes(1, 2) if axis == 1 else values


def _there(array: zarr.Array, block: Block, slots: Sequence[int]) -> list[int]:
    """Those of the slots that hold a day of a block."""
    found = answers(array.store_path.store, lambda slot: _place(array, block, slot).exists(), slots)
    return [slot for slot, there in zip(slots, found, strict=True) if there]


def _place(array: zarr.Array, block: Block, slot: int) -> StorePath:
    """Where a day of a block is stored."""
    return array.store_path / array.metadata.encode_chunk_key((slot, 0, block.start // array.chunks[2]))
