"""Restarts: the complete model state of all cells at one instant, float64, in one array; one group an instant.

On disk a state is (cell, patch, ...), so that a restart does not depend on how cells were cut into blocks; the model's
columns are the (cell, patch) pairs with a non-zero fraction.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import zarr

from ldas.landmodel import quantities
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    existing_array,
    existing_arrays,
    existing_group,
    has_array,
    has_group,
    read_arrays,
    read_regions,
    write_region,
)
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.packed_view import FIELDS, STATE, fields_of
from ldas.pipeline.store.template import ArraySpec, create_template

_AXES = {quantity.name: quantity.axis for quantity in quantities.STATE if quantity.axis}
_LEVEL = 1  # in half the time of zstd's own choice, and 3 % larger
StateType = TypeVar("StateType")


class Columns(NamedTuple):
    """Where the columns of a block lie: index of the cell within the block, and of the patch (from 0)."""

    cell: np.ndarray
    patch: np.ndarray


def columns_of(parameters: Any) -> Columns:
    """Columns of `landmodel.Parameters`."""
    return Columns(np.asarray(parameters.cell, dtype=np.int64), np.asarray(parameters.patch, dtype=np.int64) - 1)


def restart_path(experiment: str, instant: np.datetime64) -> str:
    """Group of the restart at an instant (whole hours): `restarts/open_loop/20150101T09`."""
    return f"restarts/{experiment}/{instant_name(instant)}"


def instant_name(instant: np.datetime64) -> str:
    """An instant (whole hours) as part of the name of a group: `20150101T09`."""
    return str(instant.astype("datetime64[h]")).replace("-", "")


def create_restart(
    root: zarr.Group,
    experiment: str,
    instant: np.datetime64,
    example: NamedTuple,
    *,
    cells: int,
    patches: int,
    cells_per_block: int,
    model: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> None:
    """Template of a restart.

    Args:
        example: any state, for names and sizes of its fields.
        model: options it belongs to.
    """
    sizes: dict[str, int] = {"cell": cells, "patch": patches}
    fields, rows = dict[str, tuple[int, int, str]](), 0
    for name, values in example._asdict().items():
        axis = _AXES.get(name, f"{name}_part") if np.ndim(values) == 2 else ""
        count = int(np.shape(values)[1]) if axis else 1
        fields[name] = rows, count, axis
        rows += count
        if axis:
            sizes[axis] = count
    sizes["row"] = rows
    create_template(
        root,
        restart_path(experiment, instant),
        {STATE: ArraySpec(("cell", "patch", "row"), "float64", attributes={FIELDS: fields}, level=_LEVEL)},
        coordinates={dim: ((dim,), np.arange(size) + (dim != "cell")) for dim, size in sizes.items()},
        chunks={"cell": cells_per_block},
        attributes={**attributes, "instant": str(instant), "model": ledger.flatten(model)},
    )


def write_restart(
    root: zarr.Group,
    path: str,
    state: NamedTuple,
    columns: Columns,
    block: Block,
) -> None:
    """Writes the state of a block, or of its chosen cells; patches without a column are NaN."""
    region, stored = {"cell": block.region}, _state_of(root, path)
    if stored is None:
        arrays = existing_arrays(root, path, state._fields)
        values = {
            name: np.full((block.cells, *array.shape[1:]), np.nan)
            for name, array in zip(state._fields, arrays, strict=True)
        }
        for name, field in state._asdict().items():
            values[name][columns.cell, columns.patch] = field
        write_region(root, path, values, region, cells=block.mask)
        return
    rows = np.empty((len(columns.cell), stored.shape[2]))
    for name, place in fields_of(stored.attrs).items():
        rows[:, place.rows] = np.reshape(getattr(state, name), (len(rows), place.size))
    packed = np.full((block.cells, *stored.shape[1:]), np.nan)
    packed[columns.cell, columns.patch] = rows
    write_region(root, path, {STATE: packed}, region, cells=block.mask)


def _state_of(root: zarr.Group, path: str) -> zarr.Array | None:
    """The array of the state; None in a restart of an earlier version, which has an array for each field."""
    return existing_array(root, path, STATE) if has_array(root, path, STATE) else None


def read_restart(
    root: zarr.Group,
    path: str,
    kind: Callable[..., StateType],
    fields: Sequence[str],
    columns: Columns,
    block: Block,
    *,
    model: Mapping[str, Any],
) -> StateType:
    """The state of a block's columns.

    Raises:
        StoreError: a restart that is not there, was not written for these cells, or belongs to a model with other
            options (each differing one named).
    """
    check_restart(root, path, model=model)
    region = {"cell": block.region}
    if not has_array(root, path, STATE):
        stored = read_regions(root, path, fields, region)
        values = {name: np.ascontiguousarray(dense[columns.cell, columns.patch]) for name, dense in stored.items()}
    else:
        packed, attributes = read_arrays(root, path, (STATE,), region)[STATE]
        rows, places = packed[columns.cell, columns.patch], fields_of(attributes)
        found = {name: rows[:, places[name].rows] for name in fields}
        values = {name: np.ascontiguousarray(v if places[name].axis else v[:, 0]) for name, v in found.items()}
    first = values[fields[0]]
    empty = np.isnan(first).all(axis=tuple(range(1, first.ndim)))
    if empty.any():
        cell = block.start + int(columns.cell[np.argmax(empty)])
        raise StoreError(
            f"restart '{path}' holds nothing for cell {cell}: it was not written, or with other patch fractions"
        )
    return kind(**values)


def check_restart(root: zarr.Group, path: str, fields: Sequence[str] = (), *, model: Mapping[str, Any]) -> None:
    """Refuses what a run cannot be continued from, without reading states.

    Args:
        fields: of the state, which must all be there.

    Raises:
        StoreError: a restart that is not there, lacks a field, or belongs to a model with other options (each differing
            one named).
    """
    if not has_group(root, path):
        raise StoreError(
            f"no restart '{path}' in the store: run the stage that makes it up to that instant first, or bring it back "
            "from a copy of the store"
        )
    group = existing_group(root, path)
    stored: Any = group.attrs["model"]
    now = ledger.flatten(model)
    different = [
        f"{k}: {stored.get(k)!r} there, {now.get(k)!r} now"
        for k in sorted({*stored, *now})
        if stored.get(k) != now.get(k)
    ]
    if different:
        raise StoreError(f"restart '{path}' is of a model with other options: {'; '.join(different)}")
    if not fields:
        return
    state = _state_of(root, path)
    absent = sorted(set(fields) - set(group.array_keys() if state is None else fields_of(state.attrs)))
    if absent:
        raise StoreError(f"restart '{path}' has no {', '.join(absent)}: another version of ldas wrote it")
