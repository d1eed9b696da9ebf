"""Writing ingested datasets to the store: checked in full before the first byte; whole or appended, never mixed."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.array_types import Times
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError, PipelineError, RegistryError
from ldas.pipeline.forcing.check import outside_range
from ldas.pipeline.ingest import filter_states, forcing_fields, gaps, rechunk
from ldas.pipeline.ingest.config import ForcingConfig, IngestConfig
from ldas.pipeline.ingest.gaps import HOUR, MissingValues
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.ingest.seam import StoredEnd, state_after
from ldas.pipeline.settings.acceptance import way_on
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import existing_group, has_group, open_dataset, open_store
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import exists
from ldas.pipeline.store.provenance import code_version, configured, provenance

FORCING_CHUNKS = {"time": 183, "cell": 256}  # a day reads a week, not a year
FORCING_SHARDS = {"time": 8784, "cell": 256}
OBSERVATION_CHUNKS = {"time": 366, "cell": 64}
SAME_PLACE_DEGREES = 1e-4
# Settings that an appended ingest may have otherwise: they say where data are and how they are written, or what is done
# about data that are missing, but not what the values mean.
FREE_TO_CHANGE = {
    *("store", "accept", "append", "chunks", "shards", "memory_mb", "scratch", "files", "cells", "period"),
    *("gaps", "out_of_range", "max_gap_days", "grid", "url", "url_options", "timeout_s"),
    *("nothing_usable", "date"),
}
READERS = ("netcdf4", "h5netcdf", "pandas", "eccodes", "ismn", "ascat", "cubed")
SMALL_FRACTION = 0.25  # of the memory: data that are larger go through the scratch folder


@dataclass(frozen=True)
class Origin:
    """What an ingested group was made from."""

    source: str
    command: str
    inputs: Mapping[str, str]  #: file name or URL -> checksum
    configuration: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)  #: of the settings: those that an earlier version lacked

    @staticmethod
    def of_files(source: str, config_path: Path, config: IngestConfig, paths: Sequence[Path]) -> "Origin":
        """The origin of data from local files, with their SHA-256."""
        return Origin(
            source,
            f"ldas ingest {source} --config {config_path.name}",
            {name: f"sha256:{files.checksum(path)}" for name, path in files.distinct_names(paths).items()},
            config.model_dump(mode="json"),
            default_settings(config),
        )

    def record(self, dataset: xr.Dataset) -> dict[str, Any]:
        """The entry of this ingest in the group's attribute `ingests`."""
        span = {}
        if "time" in dataset.coords and dataset.sizes.get("time", 0):
            times = dataset["time_bnds" if "time_bnds" in dataset else "time"].to_numpy()
            span = {"first": files.instant(times.min()), "last": files.instant(times.max())}
        notes = _list(dataset.attrs.get("notes"))
        return {
            "source": self.source,
            "command": self.command,
            "configuration": configured(self.configuration),
            "inputs": dict(self.inputs),
            "ldas": code_version(),
            "readers": _reader_versions(),
            **({"notes": notes} if notes else {}),
            **span,
        }


def default_settings(config: IngestConfig) -> dict[str, Any]:
    """The settings that have a default, with it, as `Origin.configuration` holds settings."""
    return type(config).model_construct().model_dump(mode="json")


def _completed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, with the default of those that an earlier version did not have."""
    inner = {
        key: _completed(value, defaults[key])
        for key, value in settings.items()
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping)
    }
    return {**defaults, **settings, **inner}


@dataclass(frozen=True)
class Ingested:
    """What an ingest wrote."""

    group: str
    store: str
    variables: tuple[str, ...]
    sizes: Mapping[str, int]
    first: str | None
    last: str | None
    appended: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        span = f", {self.first} to {self.last}" if self.first else ""
        sizes = ", ".join(f"{size} {name}" for name, size in self.sizes.items())
        done = "appended to" if self.appended else "wrote"
        return "\n".join(
            [f"{done} {self.group} of {self.store}: {', '.join(self.variables)} ({sizes}{span})", *self.notes]
        )


def write(
    dataset: xr.Dataset,
    group: str,
    location: Location,
    config: IngestConfig,
    origin: Origin,
    state: xr.Dataset | None = None,
    replaced: int = 0,
) -> Ingested:
    """Writes a new group, or appends later times to one that is there (`append: true`).

    Everything that can be refused is refused before the first byte is written.

    Args:
        state: what the next append needs to know of the last time (see `filter_states`).
        replaced: how many of the first times are the last stored ones, whose values take the place of those.

    Raises:
        IngestError: a group that already exists, times that overlap, other cells than the store has.
        StoreError: other variables or coordinates than the group to append to.
    """
    new = dataset.isel(time=slice(replaced, None)) if replaced else dataset
    check_writable(new, group, location, config, origin)
    root = open_store(location, "a")
    record = origin.record(new)
    if state is not None:
        filter_states.keep(root, group, dataset, state)
    appended = config.append and is_complete(root, group) and "time" in dataset.dims
    try:
        if appended:
            earlier = _list(existing_group(root, group).attrs.get("ingests"))
            ingests = {"ingests": [*earlier, record]}
            groups.append_group(root, group, dataset, attributes=ingests, replaced=replaced)
        else:
            attributes = {**provenance(origin.configuration, origin.inputs), "ingests": [record]}
            chunks, shards = _layout(dataset, config)
            groups.write_group(root, group, dataset, chunks=chunks, shards=shards or None, attributes=attributes)
    except OSError as error:
        raise IngestError(f"{group} cannot be written to {location.url}: {error}") from error
    if state is not None:
        filter_states.forget_earlier(root, group, dataset)
    return Ingested(
        group=group,
        store=location.url,
        variables=tuple(map(str, dataset.data_vars)),
        sizes={str(name): size for name, size in new.sizes.items()},
        first=record.get("first"),
        last=record.get("last"),
        appended=appended,
        notes=tuple(_list(dataset.attrs.get("notes"))),
    )


def write_all(
    datasets: Mapping[str, xr.Dataset],
    location: Location,
    config: IngestConfig,
    origin: Origin,
    states: Mapping[str, xr.Dataset | None] | None = None,
    replaced: Mapping[str, int] | None = None,
) -> list[Ingested]:
    """Writes several groups: all are checked before the first is written, and after an error no new one is left.

    Args:
        states: what the next append needs to know of them, where it needs something.
        replaced: of each group, as in `write`.
    """
    replaced = replaced or {}
    for group, dataset in datasets.items():
        new = dataset.isel(time=slice(replaced[group], None)) if replaced.get(group) else dataset
        check_writable(new, group, location, config, origin)
    done: list[Ingested] = []
    try:
        for group, dataset in datasets.items():
            state = (states or {}).get(group)
            done.append(write(dataset, group, location, config, origin, state, replaced.get(group, 0)))
    except BaseException:
        for item in done:
            if not item.appended:
                groups.remove_group(open_store(location, "a"), item.group)
        raise
    return done


def check_writable(dataset: xr.Dataset, group: str, location: Location, config: IngestConfig, origin: Origin) -> None:
    """Refuses a dataset whose group already exists, that overlaps or does not match what is stored, or has other
    cells.

    An ingest of several groups checks all of them before it writes the first.
    """
    _layout(dataset, config)
    if not exists(location):
        return
    root = open_store(location)
    _check_cells(root, location, group, dataset)
    if not is_complete(root, group):
        return
    if not config.append or "time" not in dataset.dims:
        raise IngestError(
            f"group '{group}' of {location.url} already exists; `append: true` adds later times, anything else needs "
            "another store or name"
        )
    _check_same_making(root, group, location, origin)
    last = open_dataset(location, group)["time"].to_numpy()[-1]
    if not dataset.sizes["time"]:
        raise IngestError(
            f"{group} of {location.url} ends at {files.instant(last)}, and the files hold nothing later to append"
        )
    first = dataset["time"].to_numpy()[0]
    if first <= last:
        raise IngestError(
            f"{group} of {location.url} ends at {files.instant(last)}, the new data begin at {files.instant(first)}: "
            "only later times can be appended; set period.start"
        )


def _check_same_making(root: zarr.Group, group: str, location: Location, origin: Origin) -> None:
    """Times that are appended must be made as the stored ones: of the same source, with the same settings."""
    ingests = _list(existing_group(root, group).attrs.get("ingests"))
    if not ingests:
        return
    last = ingests[-1]
    before = configured(_completed(last.get("configuration", {}), origin.defaults))
    now = configured(origin.configuration)
    different = [
        f"{key} {before.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted((before.keys() | now.keys()) - FREE_TO_CHANGE)
        if before.get(key) != now.get(key)
    ]
    if last["source"] != origin.source:
        different.insert(0, f"source {last['source']!r} there, {origin.source!r} now")
    if different:
        raise IngestError(
            f"{group} of {location.url} was made in another way ({'; '.join(different)}): append with the same "
            "settings, or ingest into another store or name"
        )


def is_complete(root: zarr.Group, group: str) -> bool:
    """Whether a group is there and was finished; an unfinished one is replaced."""
    return has_group(root, group) and bool(existing_group(root, group).attrs.get("complete", True))


def _reader_versions() -> dict[str, str]:
    """Versions of the libraries that decode product files; those that are not installed are left out."""
    found = {}
    for name in READERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _layout(dataset: xr.Dataset, config: IngestConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Chunks and shards per dimension; IngestError for shards that are not a whole number of chunks."""
    chunks, shards = {}, {}
    if "Tair" in dataset:
        chunks, shards = FORCING_CHUNKS, FORCING_SHARDS
    elif {"time", "cell"} <= set(dataset.dims):
        chunks = OBSERVATION_CHUNKS
    shards = {**shards, **config.shards}
    fitting = {name: size for name, size in chunks.items() if not shards.get(name, size) % size}
    chunks = {**fitting, **config.chunks}  # without one, a shard is one chunk
    for name, shard in shards.items():
        if shard % min(chunks.get(name, shard), shard):
            raise IngestError(
                f"shards of {shard} along {name} are not a multiple of chunks of {chunks[name]}: set both, `chunks` "
                "and `shards`"
            )
    return chunks, shards


def _check_cells(root: zarr.Group, location: Location, group: str, dataset: xr.Dataset) -> None:
    """Groups over cells share one axis: the places must be those of `land`, or of `forcing` where there is no land."""
    if "cell" not in dataset.dims:
        return
    for other in ("land", "forcing"):
        if other == group or not has_group(root, other):
            continue
        there = open_dataset(location, other)
        for name in ("latitude", "longitude"):
            ours, theirs = dataset[name].to_numpy(), there[name].to_numpy()
            if ours.shape != theirs.shape or np.abs((ours - theirs + 180.0) % 360.0 - 180.0).max() > SAME_PLACE_DEGREES:
                raise IngestError(
                    f"{group}: its {len(ours)} cells are not the {len(theirs)} cells of group '{other}' in "
                    f"{location.url}; use `cells: {{from_group: {other}}}`, or another store"
                )
        return


def check_appendable(location: Location, group: str, times: Times, config: IngestConfig) -> None:
    """Appended hourly data must follow the stored hour by hour: no overlap, no hole."""
    if not config.append or not exists(location) or not is_complete(open_store(location), group):
        return
    last = open_dataset(location, group)["time"].to_numpy()[-1]
    if times[0] != last + HOUR:
        what = "overlap" if times[0] <= last else "leave a hole"
        raise IngestError(
            f"{group} of {location.url} ends at {files.instant(last)}, the new data begin at "
            f"{files.instant(times[0])}: they {what}; set period.start to {files.instant(last + HOUR)}"
        )


def write_forcing(
    dataset: xr.Dataset,
    group: str,
    location: Location,
    config: ForcingConfig,
    origin: Origin,
    end: StoredEnd | None = None,
    replaced: int = 0,
) -> Ingested:
    """Checks a lazy hourly forcing dataset block by block, rechunks it out of core where it is large, and writes it.

    Args:
        end: of the stored forcing that it is appended to: the last stored record is made again (see `seam`).
        replaced: how many of the last stored hours the dataset may begin with; their values are replaced.

    Raises:
        IngestError: values out of range or missing against the gap policy; nothing is written then.
    """
    times = dataset["time"].to_numpy()
    known = 0 if end is None else int(np.searchsorted(times, end.last, side="right"))
    known = known if known <= replaced and known < len(times) else 0
    check_appendable(location, group, times[known:], config)
    check_writable(dataset.isel(time=slice(known, None)), group, location, config, origin)
    # The stored record before the first hour: hours missing at the seam are filled from both sides, as elsewhere.
    before = end if end is not None and not known and end.fits(dataset) else None
    lead = 0 if before is None else 1
    cells = Cells(dataset["latitude"].to_numpy(), dataset["longitude"].to_numpy())
    names = registry.names("forcing")
    shape = (lead + dataset.sizes["time"], dataset.sizes["cell"])
    total = 4 * shape[0] * shape[1] * len(names)
    with rechunk.scratch_folder(config.scratch) as folder:
        in_memory = total <= config.memory_mb * 1e6 * SMALL_FRACTION
        if not in_memory:
            rechunk.check_space(folder, 3 * total)
        block = forcing_fields.block_records(shape[1], config.memory_mb)
        arrays: dict[str, Any] = {
            name: np.full(shape, np.nan, dtype=np.float32)
            if in_memory
            else rechunk.create_time_major(folder / "time", name, shape, block)
            for name in names
        }
        found = [MissingValues(name, shape[1]) for name in names]
        for start, stop in _blocks(dataset, block):
            part = _computed(dataset.isel(time=slice(start, stop)), origin.source)
            for name, missing in zip(names, found, strict=True):
                if before is not None and start == 0:
                    mean = part.get(forcing_fields.HOUR_MEAN.format(name))
                    value = before.made_again(name, None if mean is None else mean.to_numpy()[0], origin.source)
                    missing.add(value[None], np.array([before.last]))
                    arrays[name][0] = value
                values = _in_range(name, part[name], cells, config, origin.source)
                missing.add(values, part["time"].to_numpy())
                arrays[name][lead + start : lead + stop] = values
        state = state_after(part)
        keep = gaps.cells_to_keep(found, config.gaps, cells, origin.source)
        if not in_memory:
            shard = (FORCING_SHARDS | config.shards)["time"], (FORCING_SHARDS | config.shards)["cell"]
            sources = {name: folder / "time" / name for name in names}
            arrays = dict(rechunk.rechunk(sources, shard, folder, config.memory_mb))
        if config.gaps.action == "fill":
            for name, missing in zip(names, found, strict=True):
                _fill(arrays[name], missing.longest > 0)
        final = xr.Dataset(
            {
                name: (
                    ("time", "cell"),
                    array if in_memory else dask.array.from_zarr(array, chunks=array.chunks),
                    registry.attributes(name),
                )
                for name, array in arrays.items()
            },
            coords={
                "time": times if before is None else np.append(before.last, times),
                **{name: dataset[name] for name in ("latitude", "longitude")},
            },
            attrs=dataset.attrs,
        )
        notes = _notes(dataset.isel(time=slice(known, None)), before)
        if not keep.all():
            final, state = (item.isel(cell=np.flatnonzero(keep)) for item in (final, state))
            lost = [cells.name(int(i)) for i in np.flatnonzero(~keep)]
            notes.append(f"{len(lost)} cells excluded for missing values: {', '.join(lost[:20])}")
        if notes:
            final.attrs["notes"] = notes
        return write(final, group, location, config, origin, state, known + lead)


def _notes(dataset: xr.Dataset, before: StoredEnd | None) -> list[str]:
    """What a user must know of a forcing that is written, or appended after a stored end."""
    notes = list(_list(dataset.attrs.get("notes")))
    preliminary = int(dataset["preliminary"].sum()) if "preliminary" in dataset.coords else 0
    if preliminary:
        notes.append(
            f"{preliminary} of {dataset.sizes['time']} hours are preliminary (ERA5T): the final data, which come two "
            "to three months later, may differ"
        )
    if before is not None and before.state is None and forcing_fields.HOUR_MEAN.format("SWdown") in dataset:
        notes.append(
            f"radiation at {files.instant(before.last)} stays that of the hour before, as an earlier version of ldas "
            "wrote it"
        )
    return notes


def _blocks(dataset: xr.Dataset, block: int) -> Iterator[tuple[int, int]]:
    """Blocks in time of about `block` records that end where the dataset's own chunks end: each is read once."""
    chunks = next(iter(dataset.data_vars.values())).chunks
    sizes = chunks[0] if chunks is not None else ()
    records = dataset.sizes["time"]
    ends = np.cumsum(sizes).tolist() if sizes and max(sizes) <= 2 * block else list(range(block, records, block))
    start = 0
    for end, following in itertools.pairwise([*ends, records + block]):
        if following - start > block and end > start:
            yield start, min(end, records)
            start = end
    if start < records:
        yield start, records


def _computed(part: xr.Dataset, source: str) -> xr.Dataset:
    try:
        return part.compute(scheduler="synchronous")
    except PipelineError:
        raise
    except Exception as error:  # a file that breaks on reading, or any error of a remote file system
        times = part["time"].to_numpy()
        raise IngestError(
            f"{source}: the files cannot be read between {files.instant(times[0])} and {files.instant(times[-1])}: "
            f"{error}"
        ) from error


def _in_range(name: str, array: xr.DataArray, cells: Cells, config: ForcingConfig, source: str) -> Any:
    """Values (time, cell) as float32; one outside the range stops, or becomes missing."""
    values = array.transpose("time", "cell").to_numpy()
    found = {kind: where for kind, where in outside_range(name, values).items() if kind not in config.accept}
    outside = np.any(list(found.values()), axis=0)
    if config.out_of_range == "missing":
        values = np.where(outside, np.nan, values)
    elif outside.any():
        times = [files.instant(time) for time in array["time"].to_numpy()]
        places = [cells.name(index).removeprefix("cell ") for index in range(len(cells))]
        try:
            registry.check_range(
                name,
                np.where(outside, values, np.nan),
                where=source,
                allow_missing=True,
                labels=(("time", np.array(times)), ("cell", np.array(places))),
            )
        except RegistryError as error:
            hint = "`out_of_range: missing` treats such values as missing"
            more = "" if found["impossible"].any() else f". {way_on([k for k, where in found.items() if where.any()])}"
            raise IngestError(f"{error}; {hint}{more}") from error
    return values.astype(np.float32)


def _fill(array: Any, affected: np.ndarray) -> None:
    """Fills the series of the affected cells, in groups of cells as they are chunked."""
    width = array.chunks[1] if hasattr(array, "chunks") else array.shape[1]
    for start in range(0, array.shape[1], width):
        if affected[start : start + width].any():
            array[:, start : start + width] = gaps.fill_values(array[:, start : start + width])
