"""Whole groups, such as ingestion makes: written shard by shard, marked complete at the end, appended to later."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import ZarrBackendEntrypoint

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import (
    committed_sizes,
    dimensions,
    encode,
    existing_array,
    existing_group,
    has_group,
    read_region,
)
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template

_REPLACING = "replacing"  # group of groups that are about to take the place of others


def write_group(
    root: zarr.Group,
    path: str,
    dataset: xr.Dataset,
    *,
    chunks: Mapping[str, int] | None = None,
    shards: Mapping[str, int] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Writes a dataset as a new group, one shard in memory at a time, marked complete at the very end.

    An unfinished group of that name is replaced; a complete one is refused (StoreError): see `append_group`. After an
    error the group is removed again; what a killed program leaves is never complete, and readers refuse it.
    """
    if has_group(root, path) and existing_group(root, path).attrs.get("complete", True):
        raise StoreError(f"group '{path}' already exists: append to it, or choose another store or name")
    names = [str(name) for name in dataset.data_vars]
    coordinates = {str(name): (dims_of(c), c.values) for name, c in dataset.coords.items()}
    for dim, size in dataset.sizes.items():
        coordinates.setdefault(str(dim), ((str(dim),), np.arange(size, dtype="int64")))
    encoded = {name: encode_variable(dataset[name]) for name in names}
    specs = {
        name: ArraySpec(dims_of(item), str(item.dtype), item.attrs.get("_FillValue"), _without_fill(item.attrs))
        for name, item in encoded.items()
    }
    try:
        group = create_template(
            root,
            path,
            specs,
            coordinates=coordinates,
            chunks=chunks or {},
            shards=shards,
            attributes={**dataset.attrs, **(attributes or {}), "complete": False},
        )
        for name in names:
            array = existing_array(root, path, name)
            _keep_checksum(array, _write_variable(array, encoded[name], {}))
        group.attrs.update({"complete": True, "committed": {str(dim): size for dim, size in dataset.sizes.items()}})
    except BaseException:
        remove_group(root, path)
        raise


def remove_group(root: zarr.Group, path: str) -> None:
    """Removes a group, where it is there, as well as that can be done."""
    with suppress(Exception):  # it follows an error, which the user must see instead of another one of the same disk
        if has_group(root, path):
            del root[path]


def replace_group(root: zarr.Group, path: str, dataset: xr.Dataset, attributes: Mapping[str, Any]) -> None:
    """Puts a dataset in the place of a group, in the same chunks. It is written whole beside it first: what a killed
    program leaves, `finish_replacing` ends."""
    spare = f"{_REPLACING}/{path}"
    remove_group(root, spare)
    write_group(root, spare, dataset, **_layout_of(root, path), attributes=attributes)
    _put_in_place(root, path)


def finish_replacing(root: zarr.Group) -> None:
    """Ends what a killed program has left of `replace_group`: the new group takes its place, or, unfinished, goes."""
    if not has_group(root, _REPLACING):
        return
    for name, group in existing_group(root, _REPLACING).members(max_depth=None):
        if isinstance(group, zarr.Group) and group.attrs.get("complete"):
            _put_in_place(root, name)
    remove_group(root, _REPLACING)


def _put_in_place(root: zarr.Group, path: str) -> None:
    """Writes a group once more, from the spare one; that one goes last."""
    spare = existing_group(root, f"{_REPLACING}/{path}")
    dataset = xr.open_dataset(  # the engine by class, see `arrays`
        root.store,  # type: ignore[arg-type]
        engine=ZarrBackendEntrypoint,
        chunks={},
        group=spare.path,
        consolidated=False,
        zarr_format=3,
        decode_coords="all",
        decode_timedelta=False,
    )
    remove_group(root, path)
    write_group(root, path, dataset.drop_encoding(), **_layout_of(root, spare.path))
    remove_group(root, spare.path)


def _layout_of(root: zarr.Group, path: str) -> dict[str, Mapping[str, int] | None]:
    """Chunks and shards by dimension of the arrays of a group that are no coordinates."""
    chunks, shards = dict[str, int](), dict[str, int]()
    for _, array in existing_group(root, path).arrays():
        dims = dimensions(array)
        if len(dims) > 1:
            chunks |= dict(zip(dims, array.chunks, strict=True))
            shards |= dict(zip(dims, array.shards, strict=True)) if array.shards else {}
    return {"chunks": chunks, "shards": shards or None}


def append_group(
    root: zarr.Group,
    path: str,
    dataset: xr.Dataset,
    *,
    dim: str = "time",
    attributes: Mapping[str, Any] | None = None,
    replaced: int = 0,
) -> None:
    """Appends later times (another growing `dim`) to a complete group; all its variables must be there.

    Refuses (StoreError) times that are not after the last one stored, other variables or other coordinates. Until the
    last byte is written, readers see the group as it was.

    Args:
        attributes: of the group, changed in the moment in which the new times become part of it.
        replaced: how many of the first times of the dataset are the last stored ones, whose values take the place of
            those.
    """
    group = existing_group(root, path)
    committed = committed_sizes(group)
    if not group.attrs.get("complete", True):
        raise StoreError(f"group '{path}' was never finished: write it again instead of appending to it")
    if dim not in committed:
        raise StoreError(
            f"group '{path}' was written by another program, in a layout of its own: append with that program, or "
            "ingest into another name"
        )
    old_size = committed[dim]
    left = read_region(root, path, dim)[old_size:]
    left = left[~np.isnat(left)] if left.dtype.kind == "M" else left
    if not np.isin(left, dataset[dim].values.astype(left.dtype)).all():
        raise StoreError(
            f"'{path}' has {len(left)} times after {old_size} complete ones, from {left[0]}, which the new data do not "
            "have and would overwrite: append those first"
        )
    stored = read_region(root, path, dim, {dim: slice(0, old_size)})
    repeated, new = np.split(dataset[dim].values, [replaced])
    if not len(new):
        return
    if not np.array_equal(encode(repeated)[0], encode(np.asarray(stored[old_size - replaced :]))[0]):
        raise StoreError(f"'{path}': the {dim} to replace are not the last {replaced} stored ones")
    first, last = encode(np.asarray(new[:1]))[0][0], encode(np.asarray(stored[-1:]))[0][-1]
    if first <= last:
        raise StoreError(
            f"'{path}' holds {dim} up to {stored[-1]}, the new data begin at {new[0]}: only later data can be appended"
        )
    data_names = {name for name, array in group.arrays() if dim in dimensions(array) and name != dim}
    given = {str(name) for name, item in dataset.data_vars.items() if dim in item.dims}
    if data_names != given:
        raise StoreError(f"'{path}' holds {sorted(data_names)} along {dim}, the new data have {sorted(given)}")
    for name, coordinate in dataset.coords.items():
        if dim in coordinate.dims:
            continue
        if str(name) in group and not np.array_equal(
            read_region(root, path, str(name)), encode(coordinate.values)[0], equal_nan=coordinate.dtype.kind == "f"
        ):
            raise StoreError(f"'{path}': coordinate '{name}' of the new data differs from the stored one")
    arrays = {name: existing_array(root, path, name) for name in sorted(given)}
    # Readers know by it that times after the committed ones are not complete yet; the checksums are those before it.
    unfinished = group.attrs.get("appending")
    earlier = dict(unfinished) if isinstance(unfinished, Mapping) else {}
    earlier = {name: earlier.get(name, array.attrs.get("sha256", "")) for name, array in arrays.items()}
    group.attrs["appending"] = earlier
    existing_array(root, path, dim).resize((old_size,))  # what an interrupted append may have left
    extend_template(root, path, dim, np.concatenate([stored, new.astype(stored.dtype)]))
    offset = {dim: old_size - replaced}
    arrays = {name: existing_array(root, path, name) for name in arrays}  # of their new length
    checksums = {
        name: _write_variable(array, encode_variable(dataset[name]), offset, str(earlier[name]))
        for name, array in arrays.items()
    }
    for name, array in arrays.items():
        _keep_checksum(array, checksums[name])
    group.attrs.update({**(attributes or {}), "committed": {**committed, dim: old_size + len(new)}, "appending": False})


def hide_new(root: zarr.Group, path: str, dim: str = "time") -> None:
    """Readers keep seeing a group as it is now, while it is lengthened along `dim`, until `show`."""
    group = existing_group(root, path)
    committed = committed_sizes(group)
    if dim not in committed:
        size = existing_array(root, path, dim).shape[0]
        group.update_attributes({"committed": {**committed, dim: size}, "appending": True})


def show(root: zarr.Group, path: str) -> None:
    """Readers see all of a group that was lengthened (`hide_new`)."""
    if has_group(root, path):
        group = existing_group(root, path)
        if group.attrs.get("appending"):
            kept = {key: value for key, value in group.attrs.items() if key not in ("committed", "appending")}
            group.attrs.put(kept)


def _write_variable(array: zarr.Array, item: xr.DataArray, offset: Mapping[str, int], earlier: str = "") -> str:
    """Writes all of a variable, shard by shard, `offset` places after the beginning of the stored array's axes.

    Returns:
        The checksum of the values in the order in which they were written; what is appended is added to the `earlier`
        one.
    """
    item = item.transpose(*dimensions(array))
    digest = hashlib.sha256(earlier.encode())
    for region in shard_regions(array):
        source = {d: slice(max(r.start - offset.get(d, 0), 0), r.stop - offset.get(d, 0)) for d, r in region.items()}
        if any(part.stop <= 0 for part in source.values()):
            continue
        target = tuple(slice(max(r.start, offset.get(d, 0)), r.stop) for d, r in region.items())
        values = np.ascontiguousarray(np.asarray(item.isel(source).values).astype(array.dtype, copy=False))
        array[target] = values
        digest.update(values.tobytes())
    return digest.hexdigest()


def _keep_checksum(array: zarr.Array, checksum: str) -> None:
    array.attrs["sha256"] = checksum


def dims_of(item: xr.DataArray) -> tuple[str, ...]:
    """Dimension names as plain strings."""
    return tuple(str(dim) for dim in item.dims)


def encode_variable(item: xr.DataArray) -> xr.DataArray:
    """A variable as it is stored (see `encode`); numbers stay lazy."""
    if item.dtype.kind not in "MOUT":
        return item
    data, extra = encode(np.asarray(item.values))
    return item.copy(data=data.reshape(item.shape)).assign_attrs(extra)


def _without_fill(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in attributes.items() if name != "_FillValue"}


def shard_regions(array: zarr.Array) -> Iterator[dict[str, slice]]:
    """Regions that cover an array, each one shard: what a single writer goes through."""
    unit = array.shards or array.chunks
    ranges = [range(0, size, step) for size, step in zip(array.shape, unit, strict=True)]
    for starts in itertools.product(*ranges):
        yield {
            dim: slice(start, min(start + step, size))
            for dim, start, step, size in zip(dimensions(array), starts, unit, array.shape, strict=True)
        }
