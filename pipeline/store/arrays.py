"""Zarr groups: opened, read, written in whole-shard regions by one writer each, hashed.

Every store carries a format version. Groups hold plain numbers (and nothing that could be executed): floating point,
integers, booleans; times are whole seconds since 1970; text is kept as integer codes with its meanings in attributes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import ZarrStore
from xarray.backends.store import StoreBackendEntrypoint
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.group import GroupMetadata
from zarr.storage import StorePath

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store import cf
from ldas.pipeline.store.at_once import at_once
from ldas.pipeline.store.committed_view import CommittedView
from ldas.pipeline.store.head_view import HEADS
from ldas.pipeline.store.in_place import answer, answers
from ldas.pipeline.store.lazy_tree import lazy_tree
from ldas.pipeline.store.location import Location, as_location, check_name, check_path
from ldas.pipeline.store.opening import AccessMode, open_root
from ldas.pipeline.store.packed_view import FIELDS, STATE
from ldas.pipeline.store.plain_arrays import check_plain_array, plain_metadata
from ldas.pipeline.store.portable import portable
from ldas.pipeline.store.views import as_read

FORMAT_VERSION = 1
#: what else would depend on a setting of the process, which other packages change (findings/cubed_zarr_setting.sh)
AS_STORED: ArrayConfigParams = {"write_empty_chunks": False}
FILTER_STATES = "filter_states"
"""Group of what the next append to an observation needs."""
CYCLE = "cycle"
"""Group of what the next `ldas cycle` needs, and of how the last one ended."""
TIME_ATTRIBUTES = {"units": cf.TIME_UNITS, "calendar": "proleptic_gregorian"}
_CHUNK_VALUES = 2**18  # at most: a megabyte, a year of hours in 29 cells
Region = Mapping[str, slice]


# --- opening -----------------------------------------------------------------------------------------------------


def open_store(where: str | Path | Location, mode: AccessMode = "r") -> zarr.Group:
    """Root group of a store. `r`: must exist, read only; `a`: made if there is none.

    Raises:
        StoreError: if there is no store, or one of another format version.
    """
    location = as_location(where)
    root = open_root(location, mode)
    version = root.attrs.get("ldas_format")
    if version is None and mode == "a" and not any(True for _ in root):
        root.attrs.update({"ldas_format": FORMAT_VERSION, "Conventions": "CF-1.11"})
    elif version != FORMAT_VERSION:
        raise StoreError(
            f"{location.url} has store format {version!r}, this version of ldas works with {FORMAT_VERSION}: use the "
            "version that wrote it, or write a new store"
            if version is not None
            else f"{location.url} is a Zarr group that ldas did not make (no 'ldas_format'): choose another URL"
        )
    return root


def open_run(where: str | Path | Location, *, everything: bool = False) -> xr.DataTree:
    """The groups of a store as one lazy `xarray.DataTree` with CF attributes and decoded times.

    A group is opened when something of it is asked for, and refused then where it holds other things than numbers.

    Each can be written with `to_netcdf`: nested attributes, such as `provenance`, are JSON text (see `portable`).
    Restarts, ledgers, states of filters and the record of `ldas cycle` are left out unless `everything` is asked for:
    the next run needs them only.
    """
    root = open_store(where)
    skipped = (HEADS,) if everything else (HEADS, "restarts", "ledger", FILTER_STATES, CYCLE)
    return lazy_tree(_Group(root, skipped))


class _Group:
    """A group, as the source of a node: which arrays and groups are in it is asked for once, when that is needed."""

    def __init__(self, group: zarr.Group, skipped: Sequence[str] = ()) -> None:
        self._group, self._skipped = group, skipped

    @cached_property
    def _opened(self) -> ZarrStore:
        return _with_members(self._group)

    @cached_property
    def _groups(self) -> dict[str, "_Group"]:
        members = sorted(self._opened.members.items())
        return {
            name: _Group(item) for name, item in members if isinstance(item, zarr.Group) and name not in self._skipped
        }

    @cached_property
    def _has_dataset(self) -> bool:
        """Whether it is complete and holds arrays."""
        return bool(self._group.attrs.get("complete", True)) and bool(self._opened.array_keys())

    @cached_property
    def _is_node(self) -> bool:
        return self._has_dataset or any(child._is_node for child in self._groups.values())

    def dataset(self) -> xr.Dataset:
        return portable(_dataset_of(self._opened), self._group.path) if self._has_dataset else xr.Dataset()

    def children(self) -> list[str]:
        at_once(lambda child: child._is_node, list(self._groups.values()))
        return [name for name, child in self._groups.items() if child._is_node]

    def child(self, name: str) -> "_Group | None":
        child = self._groups.get(name)
        return child if child is not None and child._is_node else None


def open_dataset(where: str | Path | Location, path: str) -> xr.Dataset:
    """One group as a lazy dataset on Dask; of a group whose last append was interrupted, the part that is complete.

    Raises:
        StoreError: a group that is missing or was never finished.
    """
    return _open_group(open_store(where), path)


def open_lazily(root: zarr.Group, path: str) -> xr.Dataset:
    """One group of an open store as `open_dataset` gives it, without Dask: an array is read when its values are asked
    for."""
    return _open_group(root, path, on_dask=False)


def _open_group(root: zarr.Group, path: str, *, on_dask: bool = True) -> xr.Dataset:
    group = existing_group(root, path)
    if not group.attrs.get("complete", True):
        raise StoreError(f"group '{path}' of {root.store} was never finished: run the command that makes it again")
    return _dataset_of(_with_members(group), on_dask=on_dask)


def _with_members(group: zarr.Group) -> ZarrStore:
    """A group that has asked once what is in it; of one that is being lengthened, what is complete."""
    view = answer(group.store, as_read(group.store, group.path))
    if sizes := committed_sizes(group):
        view = CommittedView(view, group.path, sizes)
    if view is not group.store:
        group = zarr.open_group(view, path=group.path, mode="r", zarr_format=3, use_consolidated=False)
    return ZarrStore(_as_it_is(group), mode="r", use_zarr_fill_value_as_mask=False)


def _dataset_of(group: ZarrStore, *, on_dask: bool = True) -> xr.Dataset:
    for _, array in group.arrays():
        check_plain_array(array)
    chunks: dict[str, int] | None = {} if on_dask else None
    # By class: to find an engine by its name, xarray imports those of all packages, and rioxarray takes a second.
    return xr.open_dataset(
        group, engine=StoreBackendEntrypoint, chunks=chunks, decode_coords="all", decode_timedelta=False
    )


def committed_sizes(group: zarr.Group) -> dict[str, int]:
    """Sizes up to which a group made by `write_group` and `append_group` is complete (empty for other groups)."""
    sizes: Any = group.attrs.get("committed", {})
    return {str(dim): int(size) for dim, size in sizes.items()}


def has_group(root: zarr.Group, path: str) -> bool:
    """Whether the group is there."""
    place = root.store_path / check_path(path)
    return answer(place.store, (place / "zarr.json").exists())


def has_array(root: zarr.Group, path: str, name: str) -> bool:
    """Whether a group has an array of that name."""
    return has_group(root, f"{path}/{check_name(name)}")


def absence(root: zarr.Group, path: str) -> str:
    """Why a group is not found: it is not there, or another program wrote it in Zarr format 2."""
    try:
        zarr.open_group(root.store, path=check_path(path), mode="r", zarr_format=2)
    except FileNotFoundError:
        return "not in the store"
    return "written in Zarr format 2, ldas reads format 3: write it with zarr_format=3"


def existing_group(root: zarr.Group, path: str) -> zarr.Group:
    """A group that must be there; StoreError with the groups that are there otherwise."""
    place = root.store_path / check_path(path)
    document = answer(place.store, (place / "zarr.json").get())
    if document is None:
        there = ", ".join(sorted(name for name, item in root.members(max_depth=2) if isinstance(item, zarr.Group)))
        reason = absence(root, path)
        raise StoreError(f"group '{path}' of {root.store}: {reason}; there are: {there or 'none'}") from None
    content = json.loads(document.to_bytes())
    if content.get("node_type") != "group":
        raise StoreError(f"'{path}' in {root.store} is an array, a group was expected")
    content.pop("consolidated_metadata", None)  # a copy that another program may have left there: it may be older
    return zarr.Group(zarr.AsyncGroup(GroupMetadata.from_dict(content), place))


def _as_it_is(group: zarr.Group) -> zarr.Group:
    """The group without the copy of its metadata that another program may have left there: that may be older."""
    if group.metadata.consolidated_metadata is None:
        return group
    return zarr.open_group(group.store, path=group.path, mode="r" if group.read_only else "r+", use_consolidated=False)


def existing_array(root: zarr.Group, path: str, name: str) -> zarr.Array:
    """An array that must be there, checked to be plain."""
    return existing_arrays(root, path, (name,))[0]


def existing_arrays(root: zarr.Group, path: str, names: Sequence[str]) -> list[zarr.Array]:
    """Arrays of a group that must be there, checked to be plain."""
    store = answer(root.store, as_read(root.store, check_path(path)))
    places = [StorePath(store, path) / check_name(name) for name in names]
    documents = answers(store, lambda place: (place / "zarr.json").get(), places)
    arrays = []
    for name, place, document in zip(names, places, documents, strict=True):
        if document is None:
            there = ", ".join(sorted(existing_group(root, path).array_keys()))
            raise StoreError(f"no variable '{name}' in group '{path}'; there are: {there or 'none'}")
        arrays.append(zarr.Array(zarr.AsyncArray(plain_metadata(document, place.path), place, AS_STORED)))
    return arrays


def chunk_cells(shard_cells: int, records: int) -> int:
    """Cells of a chunk of so many records, in a shard of so many cells: few, as a time series of one cell reads whole
    chunks, but not so few that a block is read in crumbs; and a divisor, as whole chunks make a shard."""
    most = max(1, _CHUNK_VALUES // records)
    return max(size for size in range(1, min(most, shard_cells) + 1) if shard_cells % size == 0)


# --- templates and regions ---------------------------------------------------------------------------------------


def encode(values: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Values as they are stored, with the attributes that tell how: times as whole seconds, text as codes."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]").astype("int64"), dict(TIME_ATTRIBUTES)
    if values.dtype.kind in "OUT":
        return encode_labels([str(value) for value in values.ravel()])
    return values, {}


def encode_labels(labels: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Text as integer codes in order of first appearance, with CF `flag_values`, `flag_meanings` and exact `labels`."""
    known = list(dict.fromkeys(labels))
    codes = np.array([known.index(label) for label in labels], dtype="int32")
    meanings = " ".join(label.replace(" ", "_") for label in known)
    return codes, {"flag_values": list(range(len(known))), "flag_meanings": meanings, "labels": known}


def decode_labels(array: xr.DataArray) -> np.ndarray:
    """The text that `encode_labels` made codes of."""
    return np.array(array.attrs["labels"], dtype=object)[np.asarray(array.values, dtype="int64")]


def dimensions(array: zarr.Array) -> tuple[str, ...]:
    """Dimension names of a stored array."""
    names = getattr(array.metadata, "dimension_names", None) or ()
    if len(names) != array.ndim or None in names:
        raise StoreError(f"array '{array.path}' has no dimension names: write it with them (xarray does)")
    return tuple(str(name) for name in names)


def check_alignment(array: zarr.Array, region: Region, continued: str | None = None) -> tuple[slice, ...]:
    """The region as slices per axis, once it is certain that it consists of whole shards.

    Args:
        continued: a dimension along which the region may begin inside a shard, see `write_region`.

    Raises:
        StoreError: a region that cuts a shard; names the race that this would cause.
    """
    unit = array.shards or array.chunks
    slices = []
    dims = dimensions(array)
    unknown = set(region) - set(dims)
    for dim, size, step in zip(dims, array.shape, unit, strict=True):
        wanted = region.get(dim, slice(None))
        start, stop, stride = wanted.indices(size)
        beyond = wanted.stop is not None and wanted.stop > size
        cut = start % step and dim != continued
        if stride != 1 or beyond or cut or (stop % step and stop != size) or (size and stop <= start):
            raise StoreError(
                f"writing {dim} {wanted.start}:{wanted.stop} of '{array.path}' (size {size}, shards of {step}) is not "
                "a whole number of shards: two writers would each read, change and write back the same shard, and the "
                f"last one would overwrite the other's data; write {dim} in multiples of {step}"
            )
        slices.append(slice(start, stop))
    if unknown and not set(dims) & set(region):
        raise StoreError(
            f"'{array.path}' has dimensions {', '.join(dims)}, the region names {', '.join(sorted(unknown))}"
        )
    return tuple(slices)


def write_region(
    root: zarr.Group,
    path: str,
    values: Mapping[str, np.ndarray],
    region: Region,
    *,
    continued: str | None = None,
    cells: np.ndarray | None = None,
) -> None:
    """Writes one region of several arrays of a group; dimensions that `region` does not name are written whole.

    Names, shapes and alignment to shards are checked for all arrays before the first byte is written.

    Args:
        continued: a dimension along which the region may begin inside a shard whose earlier part the same writer wrote;
            that shard is read, and replaced as a whole.
        cells: which cells of the region (boolean) are written; the others keep what they have.
    """
    names = list(values)
    ready: list[tuple[zarr.Array, tuple[slice, ...], np.ndarray]] = []
    for name, array in zip(names, existing_arrays(root, path, names), strict=True):
        slices = check_alignment(array, region, continued)
        data = encode(np.asarray(values[name]))[0]
        expected = tuple(part.stop - part.start for part in slices)
        if data.shape != expected:
            raise StoreError(f"'{path}/{name}': the region has shape {expected}, the values {data.shape}")
        if not np.can_cast(data.dtype, array.dtype, casting="same_kind"):
            raise StoreError(f"'{path}/{name}' is stored as {array.dtype}, {data.dtype} cannot be written there")
        ready.append((array, slices, data))

    async def write(item: tuple[zarr.Array, tuple[slice, ...], np.ndarray]) -> None:
        array, slices, data = item
        data = data.astype(array.dtype, copy=False)
        if cells is not None:
            along = cells.reshape([-1 if dim == "cell" else 1 for dim in dimensions(array)])
            data = np.where(along, data, np.asarray(await array.async_array.getitem(slices)))
        await array.async_array.setitem(slices, data)

    answers(root.store, write, ready)


def read_region(
    root: zarr.Group,
    path: str,
    name: str,
    region: Region | None = None,
    *,
    dims: Sequence[str] | None = None,
    unit: str | None = None,
) -> np.ndarray:
    """One array of a group, or a region of it, as NumPy: decoded as its CF attributes say (times as datetime64[s]).

    Args:
        dims: the order of dimensions to have; needed wherever another program may have written the group.
        unit: the unit of the registry to have.

    Raises:
        StoreError: if that cannot be done; names group, variable and attribute.
    """
    return read_regions(root, path, (name,), region, dims=None if dims is None else (dims,), units=(unit,))[name]


def read_regions(
    root: zarr.Group,
    path: str,
    names: Sequence[str],
    region: Region | None = None,
    *,
    dims: Sequence[Sequence[str]] | None = None,
    units: Sequence[str | None] | None = None,
) -> dict[str, np.ndarray]:
    """Several arrays of a group by name, each as `read_region` gives it; `dims` and `units` of each."""
    found = read_arrays(root, path, names, region, dims=dims)
    return {
        name: values if unit is None else cf.in_unit(values, str(given.get("units", unit)), unit, f"'{path}/{name}'")
        for (name, (values, given)), unit in zip(found.items(), units or [None] * len(names), strict=True)
    }


def read_arrays(
    root: zarr.Group,
    path: str,
    names: Sequence[str],
    region: Region | None = None,
    *,
    dims: Sequence[Sequence[str]] | None = None,
) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """As `read_regions`, with the attributes of each array and in the unit in which it is stored."""
    arrays = existing_arrays(root, path, names)
    orders: Sequence[Sequence[str] | None] = dims or [None] * len(names)
    selections = []
    for name, array, order in zip(names, arrays, orders, strict=True):
        stored, where = dimensions(array), f"'{path}/{name}'"
        if order is not None and sorted(stored) != sorted(order):
            raise StoreError(
                f"{where} has the dimensions ({', '.join(stored)}), expected ({', '.join(order)}): rename them, or "
                "select"
            )
        selection = tuple((region or {}).get(dim, slice(None)) for dim in stored)
        for dim, size, part in zip(stored, array.shape, selection, strict=True):
            if part.stop is not None and part.stop > size:
                raise StoreError(f"{where} has {size} places along {dim}, {part.stop} are needed")
        selections.append((array.async_array, selection))
    read = answers(root.store, lambda item: item[0].getitem(item[1]), selections)
    found = {}
    for name, array, order, got in zip(names, arrays, orders, read, strict=True):
        attributes = array.attrs.asdict()
        values = cf.decode(np.asarray(got), attributes, f"'{path}/{name}'")
        if order is not None and tuple(order) != dimensions(array):
            values = np.ascontiguousarray(values.transpose([dimensions(array).index(dim) for dim in order]))
        found[name] = values, attributes
    return found


def read_times(root: zarr.Group, path: str) -> np.ndarray:
    """Times of a group as datetime64[s], up to what is complete.

    Raises:
        StoreError: undefined times, and later ones of which it cannot be known whether they are complete.
    """
    size = committed_sizes(existing_group(root, path)).get("time")
    times = read_region(root, path, "time", dims=("time",))
    there = len(times)
    if size is not None and there > size and not existing_group(root, path).attrs.get("appending", False):
        raise StoreError(
            f"'{path}' has {there} times, of which the first {size} were completed by ldas: an append was interrupted "
            "(ingest it again), or another program appended; if that one finished, set the group's attribute "
            f"'committed' to {{'time': {there}}}"
        )
    times = times[:size]
    if np.isnat(times).any():
        raise StoreError(f"'{path}/time': {int(np.isnat(times).sum())} of {len(times)} times are undefined")
    return times


# --- hashes ------------------------------------------------------------------------------------------------------


def array_hashes(where: str | Path | Location | zarr.Group, path: str = "") -> dict[str, str]:
    """SHA-256 of the values of every array below `path`, by name.

    Type, shape and the bytes of the values in C order go in, so that the same values give the same hash whatever the
    chunks, and one changed value gives another.
    """
    root = where if isinstance(where, zarr.Group) else open_store(where)
    group = existing_group(root, path) if path else root
    prefix = f"{path}/" if path else ""
    return {
        f"{prefix}{name}": _array_hash(array)
        for stored, item in sorted(group.members(max_depth=None))
        if isinstance(item, zarr.Array) and not item.path.startswith(f"{HEADS}/")
        for name, array in _as_read(root, stored, item)
    }


def _as_read(root: zarr.Group, stored: str, array: zarr.Array) -> Iterator[tuple[str, zarr.Array]]:
    """What readers see of a stored array: the days of a head too, and the fields of a state by themselves."""
    path, _, name = array.path.rpartition("/")
    if name == STATE and FIELDS in array.attrs:
        fields: Any = array.attrs[FIELDS]
        for field in fields:
            yield f"{stored.removesuffix(STATE)}{field}", existing_array(root, path, field)
    else:
        yield stored, existing_array(root, path, name) if path else array


def _array_hash(array: zarr.Array) -> str:
    check_plain_array(array)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if array.ndim == 0:
        digest.update(np.asarray(array[...]).tobytes())
        return digest.hexdigest()
    step = (array.shards or array.chunks)[0]
    for start in range(0, array.shape[0], step):
        digest.update(np.ascontiguousarray(array[start : start + step]).tobytes())
    return digest.hexdigest()
