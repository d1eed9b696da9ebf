"""What the runs of a store were computed from: a checksum of each day and cell of the forcing, of each time and cell of
observations. Compared with what the store holds now, it tells which of them were corrected, or came late.

The group `cycle` holds it, in one of two groups that take turns: the other one is written in full before the attribute
`current` names it, so that there always is a whole record.
"""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from ldas.pipeline.store.arrays import (
    CYCLE,
    dimensions,
    existing_array,
    existing_group,
    has_group,
    read_region,
    read_times,
)
from ldas.pipeline.store.template import ArraySpec, create_template

FORCING = "forcing"
DAY = np.timedelta64(1, "D")
NOTHING = 0  #: checksum of a time and cell without an observation
_TURNS = ("a", "b")
_MISSING = 1  # the quality code of a value that is not there
_OBSERVED = ("value", "uncertainty", "quality", "overpass_hour")  # what the results follow from
_CELLS, _TIMES = 256, 366  # read at a time


@dataclass(frozen=True)
class Checksums:
    """Of an input group: times (time,), rising, and the checksum of each time and cell (time, cell). The time of a day
    of forcing is its 00 UTC: it has the records after that, up to its 24 UTC."""

    times: np.ndarray
    values: np.ndarray

    def since(self, first: np.datetime64) -> "Checksums":
        """Those of the times from one on."""
        chosen = self.times >= first
        return Checksums(self.times[chosen], self.values[chosen])


@dataclass(frozen=True)
class Changes:
    """Times (time,) of each input group at which it is not what was recorded, and in which cells (time, cell)."""

    times: Mapping[str, np.ndarray]
    cells: Mapping[str, np.ndarray]

    def first(self, group: str, begin: np.datetime64 | None = None, stop: np.datetime64 | None = None) -> np.ndarray:
        """The first change of each cell (cell,), datetime64[s], NaT for none; from `begin` on, before `stop`."""
        changed = self.within(group, begin, stop)
        times = self.times[group]
        if not len(times):
            return np.full(changed.shape[1], np.datetime64("NaT", "s"))
        return np.where(changed.any(axis=0), times[changed.argmax(axis=0)], np.datetime64("NaT", "s"))

    def within(self, group: str, begin: np.datetime64 | None = None, stop: np.datetime64 | None = None) -> np.ndarray:
        """Which times and cells of a group changed (time, cell), those outside of a span left out."""
        times, changed = self.times[group], self.cells[group]
        inside = np.ones(len(times), dtype=bool)
        if begin is not None:
            inside &= times >= begin
        if stop is not None:
            inside &= times < stop
        return np.asarray(changed & inside[:, None])


def checksums(root: zarr.Group, group: str, first: np.datetime64 | None = None) -> Checksums:
    """Of what a group of forcing or observations holds now, from a day on; read some cells and days at a time."""
    times = read_times(root, group)
    labels = times
    if group == FORCING:
        labels = (times - np.timedelta64(1, "s")).astype("datetime64[D]").astype("datetime64[s]")
    skipped = 0 if first is None else int(np.searchsorted(labels, first))
    # the same for all sources: rows are consecutive times with the same label
    days, starts = np.unique(labels[skipped:], return_index=True)
    edges = [*(skipped + starts).tolist(), len(times)]
    names, cells = _arrays(root, group)
    values = np.empty((len(days), cells), dtype=np.int64)
    for begin in range(0, len(days), _TIMES):
        end = min(begin + _TIMES, len(days))
        rows = [edge - edges[begin] for edge in edges[begin : end + 1]]
        for start in range(0, cells, _CELLS):
            region = {"time": slice(edges[begin], edges[end]), "cell": slice(start, min(start + _CELLS, cells))}
            parts = {name: _cells_first(root, group, name, region) for name in names}
            values[begin:end, region["cell"]] = _row_checksums(parts, rows, group != FORCING)
    return Checksums(days, values)


def _arrays(root: zarr.Group, group: str) -> tuple[list[str], int]:
    """Names of the arrays over time and cell that the results follow from, and the number of cells."""
    stored = existing_group(root, group)
    known = sorted(stored.array_keys()) if group == FORCING else [name for name in _OBSERVED if name in stored]
    names = [name for name in known if {"time", "cell"} <= set(dimensions(existing_array(root, group, name)))]
    array = existing_array(root, group, names[0])
    return names, array.shape[dimensions(array).index("cell")]


def _cells_first(root: zarr.Group, group: str, name: str, region: Mapping[str, slice]) -> np.ndarray:
    """An array of a region, (cell, time, ...)."""
    dims = dimensions(existing_array(root, group, name))
    others = [dim for dim in dims if dim not in ("time", "cell")]
    values = read_region(root, group, name, region, dims=("cell", "time", *others))
    return np.ascontiguousarray(values).reshape(*values.shape[:2], -1)


def _row_checksums(parts: Mapping[str, np.ndarray], rows: list[int], observed: bool) -> np.ndarray:
    """The checksum of each row (row, cell), the part of the times between two edges."""
    cells = next(iter(parts.values())).shape[0]
    found = np.empty((len(rows) - 1, cells), dtype=np.int64)
    for row, (begin, end) in enumerate(itertools.pairwise(rows)):
        taken = [np.ascontiguousarray(values[:, begin:end]).reshape(cells, -1) for values in parts.values()]
        text = np.concatenate([values.view(np.uint8) for values in taken], axis=1)
        found[row] = [_checksum(line) for line in text]
        if observed:
            absent = np.isnan(parts["value"][:, begin:end]).all(axis=(1, 2))
            if "quality" in parts:
                absent &= (parts["quality"][:, begin:end] == _MISSING).all(axis=(1, 2))
            found[row, absent] = NOTHING
    return found


def _checksum(line: np.ndarray) -> int:
    """64 bits of a BLAKE2b hash, as a whole number other than `NOTHING`."""
    return int.from_bytes(hashlib.blake2b(line.data, digest_size=8).digest(), "little", signed=True) or 1


def changes(root: zarr.Group, now: Mapping[str, Checksums]) -> Changes:
    """Where inputs are not what was recorded; none in a group that was not recorded, or before what was.

    A time that only one of the two has is one without an observation in the other.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for group, present in now.items():
        before = recorded(root, group)
        if before is None or not len(before.times) or not len(present.times):
            found[group] = np.array([], "datetime64[s]"), np.zeros((0, present.values.shape[1]), dtype=bool)
            continue
        first = max(before.times[0], present.times[0])
        old, new = before.since(first), present.since(first)
        times = np.union1d(old.times, new.times)
        found[group] = times, _on(times, old) != _on(times, new)
    return Changes({group: item[0] for group, item in found.items()}, {group: item[1] for group, item in found.items()})


def _on(times: np.ndarray, known: Checksums) -> np.ndarray:
    """Checksums on other times that hold all of theirs."""
    values = np.full((len(times), known.values.shape[1]), NOTHING, dtype=np.int64)
    values[np.searchsorted(times, known.times)] = known.values
    return values


def recorded(root: zarr.Group, group: str) -> Checksums | None:
    """What was recorded of an input group; None for nothing."""
    current = existing_group(root, CYCLE).attrs.get("current") if has_group(root, CYCLE) else None
    path = f"{CYCLE}/{current}/{group}"
    if current is None or not has_group(root, path):
        return None
    return Checksums(read_region(root, path, "time"), read_region(root, path, "checksum"))


def keep(root: zarr.Group, now: Mapping[str, Checksums]) -> None:
    """Takes down what the inputs are now, in place of what was recorded."""
    group = existing_group(root, CYCLE) if has_group(root, CYCLE) else root.create_group(CYCLE)
    before: Any = group.attrs.get("current")
    current = next(name for name in _TURNS if name != before)
    if current in group:
        del group[current]
    for name, item in now.items():
        path = f"{CYCLE}/{current}/{name}"
        times, cells = (np.arange(size) for size in item.values.shape)
        template = create_template(
            root,
            path,
            {"checksum": ArraySpec(("time", "cell"), "int64")},
            coordinates={"time": (("time",), item.times), "cell": (("cell",), cells)},
            chunks={"time": max(len(times), 1), "cell": 4096},
        )
        if item.values.size:
            existing_array(root, template.path, "checksum")[...] = item.values
    group.attrs["current"] = current
    if before is not None and before in group:
        del group[before]


def same(before: Mapping[str, Checksums | None], now: Mapping[str, Checksums]) -> bool:
    """Whether there is nothing new to take down."""
    return all(
        (old := before[group]) is not None
        and np.array_equal(old.times, item.times)
        and np.array_equal(old.values, item.values)
        for group, item in now.items()
    )


def input_groups(root: zarr.Group, names: Iterable[str]) -> list[str]:
    """Forcing and the observations of these names, as far as they are there and have a value."""
    groups = [FORCING, *(f"observations/{name}" for name in dict.fromkeys(names))]
    return [group for group in groups if has_group(root, group) and len(read_times(root, group))]
