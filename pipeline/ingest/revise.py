"""Files that were corrected, or came after later ones: what the store has otherwise is replaced.

The files are read as by a first ingest, into a store of their own, and compared with what is stored up to its last
time; what is later, an append takes. Where the files begin later than the store, the first days are left as they are:
they follow from what came before.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.config import FilesConfig
from ldas.pipeline.ingest.run import Job, configured_source, provisional_hours, run_ingest
from ldas.pipeline.ingest.write import Origin
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import (
    FILTER_STATES,
    dimensions,
    existing_array,
    existing_group,
    has_group,
    open_dataset,
    open_store,
    read_times,
)
from ldas.pipeline.store.icechunk_store import published
from ldas.pipeline.store.location import Location

_EDGE = np.timedelta64(2, "D")  # what the first files may lack of what came before them
_CELLS = 64  # compared at a time


def revise_group(source: str, config_path: Path, location: Location, group: str) -> str | None:
    """Takes over what the files of an ingest have otherwise than a group of the store; what was done, None for nothing.

    Files that the group was made from, and that are as they were, are not read again.

    Raises:
        IngestError: a source without files, files that cannot be used, or another group than the stored one.
    """
    _, config = configured_source(source, config_path)
    if not isinstance(config, FilesConfig):
        raise IngestError(f"{source} reads no files: leave `revise` out, or ingest from files")
    job = Job(source, config_path, location)
    origin = job.origin(config, job.paths(config))
    root = open_store(location)
    ingests: Any = existing_group(root, group).attrs.get("ingests", [])
    known = {name: checksum for entry in ingests for name, checksum in entry["inputs"].items()}
    if origin.inputs.items() <= known.items():
        return None
    with tempfile.TemporaryDirectory(prefix="ldas-revise-", dir=config.scratch) as folder:
        fresh = Location(f"{folder}/store.zarr")
        if has_group(root, "land"):
            land = open_dataset(location, "land").load().drop_encoding()
            groups.write_group(open_store(fresh, "a"), "land", land)
        run_ingest(source, config_path, fresh)
        if not has_group(open_store(fresh), group):
            raise IngestError(f"{config_path} makes no '{group}': correct `makes` of the experiment's step")
        with published(location, f"revise {group}"):
            return _taken_over(open_store(location, "a"), location, group, open_dataset(fresh, group), origin)


def _taken_over(root: zarr.Group, location: Location, group: str, found: xr.Dataset, origin: Origin) -> str | None:
    stored = open_dataset(location, group)
    _require_alike(root, location, group, stored, found)
    before, now = stored["time"].to_numpy(), found["time"].to_numpy()
    last = before[-1] - np.timedelta64(provisional_hours(existing_group(root, group).attrs), "h")
    first = now[0] if now[0] <= before[0] else now[0] + _EDGE
    found = found.isel(time=(now >= first) & (now <= last))
    if not found.sizes["time"]:
        begin = files.instant(now[0])
        return (
            f"{group} of {location.url} is not revised: the files begin at {begin}, and their first two days follow "
            "from what came before; keep the files of the days before beside them"
            if now[0] <= last
            else None
        )
    now = found["time"].to_numpy()
    earlier: Any = existing_group(root, group).attrs.get("ingests", [])
    attributes = {"ingests": [*earlier, {**origin.record(found), "revised": True}]}
    late = np.setdiff1d(now, before)
    if late.size:
        groups.replace_group(root, group, _merged(stored, found), attributes)
        return f"revised {group} of {location.url}: {late.size} late times from {files.instant(late[0])} on"
    changed = sum(_replaced(root, group, name, found) for name in map(str, found.variables) if name != "time")
    existing_group(root, group).attrs.update(attributes)
    return f"revised {group} of {location.url}: {changed} values" if changed else None


def _require_alike(root: zarr.Group, location: Location, group: str, stored: xr.Dataset, found: xr.Dataset) -> None:
    """IngestError where the files cannot be compared with the group."""
    differing = [name for name in ("latitude", "longitude") if not np.array_equal(stored[name], found[name])]
    names, found_names = ({str(name) for name in part.data_vars} for part in (stored, found))
    if names != found_names or differing:
        what = ", ".join(differing or sorted(names ^ found_names))
        raise IngestError(f"{group} of {location.url} has other cells or variables than its files now make: {what}")
    if ("time_label" in stored.attrs) != ("time_label" in found.attrs):
        raise IngestError(f"{group} of {location.url} has the time labels of version 0.1.0: it cannot be revised")
    observed = group.startswith("observations/")
    recursive = observed and has_group(root, f"{FILTER_STATES}/{group.removeprefix('observations/')}")
    if recursive and found["time"].to_numpy()[0] > stored["time"].to_numpy()[0]:
        raise IngestError(
            f"{group} of {location.url} follows from all files since {files.instant(stored['time'].to_numpy()[0])}: "
            "keep them beside the new ones, or leave `revise` out"
        )


def _merged(stored: xr.Dataset, found: xr.Dataset) -> xr.Dataset:
    """The stored times with those of the files in their places, in memory."""
    kept = stored.isel(time=~np.isin(stored["time"].to_numpy(), found["time"].to_numpy())).load()
    parts = [part.drop_encoding() for part in (kept, found.load())]
    merged = xr.concat(
        parts, dim="time", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override"
    )
    return merged.sortby("time").assign_attrs(stored.attrs)


def _replaced(root: zarr.Group, group: str, name: str, found: xr.Dataset) -> int:
    """Writes what an array has otherwise, some cells at a time; how many values that are."""
    array = existing_array(root, group, name)
    dims = dimensions(array)
    if "time" not in dims:
        return 0
    rows = np.searchsorted(read_times(root, group), found["time"].to_numpy().astype("datetime64[s]"))
    item = groups.encode_variable(found[name]).transpose(*dims)
    number, digest = 0, hashlib.sha256(str(array.attrs.get("sha256", "")).encode())
    cells = found.sizes["cell"] if "cell" in dims else 1
    for start in range(0, cells, _CELLS):
        part = {"cell": slice(start, start + _CELLS)} if "cell" in dims else {}
        fresh = np.asarray(item.isel(part)).astype(array.dtype, copy=False)
        where = tuple(
            slice(int(rows[0]), int(rows[-1]) + 1) if dim == "time" else part.get(dim, slice(None)) for dim in dims
        )
        there = np.asarray(array[where])
        values = there.copy()
        values[tuple(rows - rows[0] if dim == "time" else slice(None) for dim in dims)] = fresh
        differ = (values != there) & ~((values != values) & (there != there))  # NaN is NaN
        if differ.any():
            number += int(differ.sum())
            array[where] = values
            digest.update(values.tobytes())
    if number:
        array.attrs["sha256"] = digest.hexdigest()
    return number
