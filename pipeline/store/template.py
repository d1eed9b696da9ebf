"""Groups made before anything is written into them: all arrays, empty, and their coordinates.

Data follow by `ldas.pipeline.store.arrays.write_region`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError, StoreError
from ldas.pipeline.store.arrays import AS_STORED, dimensions, encode, existing_array, existing_group
from ldas.pipeline.store.in_place import answers
from ldas.pipeline.store.location import check_path
from ldas.pipeline.store.plain_arrays import PLAIN_KINDS

_TIME_AXIS = {"standard_name": "time", "axis": "T"}
_NO_TIME = int(np.iinfo("int64").min)  # NaT: a place on the time axis that was made but not yet written
_GROWING_CHUNK = 1024


@dataclass(frozen=True)
class ArraySpec:
    """One array of a template: dimension names, type, fill value (NaN for floats, 0 else), extra attributes, and how
    much work zstd is to take (0: its own choice)."""

    dims: tuple[str, ...]
    dtype: str = "float32"
    fill_value: float | int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    level: int = 0


def create_template(
    root: zarr.Group,
    path: str,
    arrays: Mapping[str, ArraySpec],
    *,
    coordinates: Mapping[str, tuple[Sequence[str], np.ndarray]],
    chunks: Mapping[str, int],
    shards: Mapping[str, int] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Group:
    """Makes a group with all its arrays (empty) and coordinates (written); data follow by `write_region`.

    An array's attributes come from the variable registry, then from its `ArraySpec`.

    Args:
        coordinates: name -> (dimensions, values); every dimension of `arrays` gets its size from them.
        chunks, shards: size per dimension (whole axis where absent). One shard, or one chunk without shards, is what
            one writer writes.
    """
    group = root.create_group(check_path(path), overwrite=True, attributes=dict(attributes or {}))
    sizes: dict[str, int] = {}
    for name, (dims, values) in coordinates.items():
        for dim, size in zip(dims, np.shape(values), strict=True):
            if sizes.setdefault(dim, size) != size:
                raise StoreError(f"{path}: coordinate '{name}' has {size} along '{dim}', another has {sizes[dim]}")
        bounds = {"bounds": f"{name}_bnds"} if f"{name}_bnds" in {*arrays, *coordinates} else {}
        _write_coordinate(group, name, dims, np.asarray(values), bounds)
    for name, spec in arrays.items():
        if name in coordinates:
            raise StoreError(f"{path}/{name}: both an array and a coordinate")
        missing = [dim for dim in spec.dims if dim not in sizes]
        if missing:
            raise StoreError(f"{path}/{name}: no coordinate gives the size of {', '.join(missing)}")
    documents = {name: _document_of(group, name, spec, sizes, chunks, shards) for name, spec in arrays.items()}
    answers(
        group.store, lambda item: group.store.set(f"{group.path}/{item[0]}/zarr.json", item[1]), [*documents.items()]
    )
    return group


def extend_template(
    root: zarr.Group,
    path: str,
    dim: str,
    coordinate: np.ndarray,
    others: Mapping[str, tuple[Sequence[str], np.ndarray]] | None = None,
) -> None:
    """Lengthens a group along `dim`: every array that has it is resized, the coordinate gets its new values.

    What is stored stays as it is. Interrupted and repeated, it comes to the same.

    Args:
        coordinate: the whole new coordinate; it must begin with the old one.
        others: further coordinates, whole, which are made where an earlier version did not have them.
    """
    group = existing_group(root, path)
    axis = existing_array(root, path, dim)
    new = encode(np.asarray(coordinate))[0]
    old = np.asarray(axis[...])
    written = np.flatnonzero((old != _NO_TIME) & (old != axis.fill_value))  # an interrupted extension left others
    if written.size and (written[-1] >= len(new) or not np.array_equal(new[written], old[written])):
        raise StoreError(f"'{path}' cannot be extended along {dim}: the new axis does not begin with the stored one")
    for _, array in group.arrays():
        dims = dimensions(array)
        if dim in dims:
            array.resize(tuple(len(new) if d == dim else n for d, n in zip(dims, array.shape, strict=True)))
    existing_array(root, path, dim)[...] = new
    for name, (other_dims, values) in (others or {}).items():
        if name in group:
            existing_array(root, path, name)[...] = encode(np.asarray(values))[0]
        else:
            _write_coordinate(group, name, other_dims, np.asarray(values), {})


def _document_of(
    group: zarr.Group,
    name: str,
    spec: ArraySpec,
    sizes: Mapping[str, int],
    chunks: Mapping[str, int],
    shards: Mapping[str, int] | None,
) -> Buffer:
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in PLAIN_KINDS:
        raise StoreError(
            f"{group.path}/{name}: type {dtype} cannot be stored: numbers only (text as codes, see encode_labels)"
        )
    fill = spec.fill_value
    if fill is None:
        fill = np.nan if dtype.kind == "f" else 0
    outer = tuple((shards or chunks).get(dim, max(sizes[dim], 1)) for dim in spec.dims)
    inner = tuple(min(chunks.get(dim, size), size) for dim, size in zip(spec.dims, outer, strict=True))
    sharded = shards is not None and inner != outer
    attributes = {**_attributes(name), **_observed(group.path, name), **spec.attributes}
    return _array_document(
        tuple(sizes[dim] for dim in spec.dims),
        dtype,
        inner,
        outer if sharded else None,
        str(fill) if fill != fill else fill,  # NaN, as a key of the cache
        tuple(spec.dims),
        json.dumps(attributes),
        spec.level,
    )


@lru_cache(maxsize=4096)
def _array_document(
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    fill: float | str,
    dims: tuple[str, ...],
    attributes: str,
    level: int,
) -> Buffer:
    """The metadata of an array as Zarr writes them. Thousands of restarts have the same: made once, they are one
    request each, where Zarr makes eight to be sure that nothing is there and all groups above are."""
    store = MemoryStore()
    zarr.open_group(store, mode="a").create_array(
        "array",
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=float(fill) if isinstance(fill, str) else fill,
        dimension_names=dims,
        attributes=json.loads(attributes),
        compressors=ZstdCodec(level=level),
    )
    document = sync(store.get("array/zarr.json", default_buffer_prototype()))
    assert document is not None
    return document


def _observed(path: str, name: str) -> dict[str, Any]:
    """The unit of observations: that of the variable after which their group is named."""
    parent, _, variable = path.rpartition("/")
    known = _attributes(variable) if parent == "observations" and name in ("value", "uncertainty") else {}
    return {"units": known["units"]} if known else {}


@cache  # the registry looks for similar names before it refuses one, and every group of scores has the same names
def _attributes(name: str) -> dict[str, Any]:
    try:
        return registry.attributes(name)
    except RegistryError:
        return {}


def _write_coordinate(
    group: zarr.Group, name: str, dims: Sequence[str], values: np.ndarray, attributes: Mapping[str, Any]
) -> None:
    data, extra = encode(values)
    chunks = tuple(max(size, 1) for size in data.shape)
    if values.dtype.kind == "M":  # an axis that may grow: a growing file, not many small ones
        chunks = (max(chunks[0], _GROWING_CHUNK), *chunks[1:])
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=chunks,
        fill_value=_NO_TIME if values.dtype.kind == "M" else np.nan if data.dtype.kind == "f" else 0,
        dimension_names=tuple(dims),
        attributes={**_attributes(name), **extra, **(_TIME_AXIS if name == "time" else {}), **attributes},
        config=AS_STORED,
    )
    array[...] = data
