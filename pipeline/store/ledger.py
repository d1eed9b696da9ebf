"""What is done: one status per (period, cell) of an experiment, and the configuration that its bytes depend on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.store.arrays import existing_array, existing_group, has_array, has_group, read_region, write_region
from ldas.pipeline.store.provenance import scrubbed, without_places
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template

NOT_STARTED, STARTED, DONE, FAILED, SET_ASIDE = range(5)
STATUS_NAMES = ("not started", "started", "done", "failed", "set aside")
DAY = np.timedelta64(1, "D")
DEVICE = "execution.device"  # key of an identity; absent where a run is computed on the processor
# Of a run that was extended, until all of it is done: days done, and status then, of each cell; the earlier ends.
_REACHED, _STATUS_THERE, _INTERIM = "reached", "status_there", "interim_stops"
_PERIODS_A_CHUNK = 366  # of a block, one object, which its one writer replaces: a year of daily periods


@dataclass(frozen=True)
class Block:
    """Neighbouring cells that one task runs: `start` to `stop` (not included) of the cell axis.

    chosen: places in the block of the cells that are computed, where the others keep what they have; None: all.
    """

    index: int
    start: int
    stop: int
    chosen: tuple[int, ...] | None = None

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.stop - self.start

    @property
    def region(self) -> slice:
        """The cells as a slice."""
        return slice(self.start, self.stop)

    @property
    def mask(self) -> np.ndarray | None:
        """Which of its cells are computed (boolean); None: all."""
        return None if self.chosen is None else np.isin(np.arange(self.cells), self.chosen)


@dataclass(frozen=True)
class Period:
    """A time span that one task runs: `start` to `stop` (datetime64[s]); `days` is its slice of the time axis.

    Of a period that has become longer, a task runs what is left of it (see `rest_of`), under the same index.
    """

    index: int
    start: np.datetime64
    stop: np.datetime64
    days: slice
    is_rest: bool = False

    def __str__(self) -> str:
        return f"{self.start.astype('datetime64[D]')} to {self.stop.astype('datetime64[D]')}"


def blocks_of(cells: int, cells_per_block: int) -> list[Block]:
    """The cell axis cut into blocks."""
    starts = range(0, cells, cells_per_block)
    return [Block(index, start, min(start + cells_per_block, cells)) for index, start in enumerate(starts)]


def periods_of(start: np.datetime64, days: int, days_per_period: int) -> list[Period]:
    """A number of days cut into periods, counted from the first day, so that a later end only adds to them."""
    begin = start.astype("datetime64[s]")
    return [
        Period(index, begin + first * DAY, begin + last * DAY, slice(first, last))
        for index, first in enumerate(range(0, days, days_per_period))
        if (last := min(first + days_per_period, days))
    ]


def day_axis(start: np.datetime64, days: int) -> np.ndarray:
    """Midnights of the days of a run: the labels of daily output."""
    return (start.astype("datetime64[D]") + np.arange(days)).astype("datetime64[s]")


def path_of(experiment: str) -> str:
    """Group of an experiment's ledger."""
    return f"ledger/{experiment}"


def create(
    root: zarr.Group,
    experiment: str,
    *,
    periods: Sequence[Period],
    cells: int,
    cells_per_block: int,
    identity: Mapping[str, Any],
) -> None:
    """A new ledger: nothing started."""
    create_template(
        root,
        path_of(experiment),
        {"status": ArraySpec(("period", "cell"), "int8", 0, _flags())},
        coordinates={
            "period": (("period",), np.arange(len(periods))),
            "cell": (("cell",), np.arange(cells)),
        },
        chunks={"period": _PERIODS_A_CHUNK, "cell": cells_per_block},
        attributes={"identity": flatten(identity), "failures": {}, "period_bounds": _bounds(periods)},
    )


def _flags() -> dict[str, Any]:
    return {
        "long_name": "status of the task",
        "flag_values": list(range(len(STATUS_NAMES))),
        "flag_meanings": " ".join(name.replace(" ", "_") for name in STATUS_NAMES),
    }


def _bounds(periods: Sequence[Period]) -> list[list[str]]:
    return [[str(period.start), str(period.stop)] for period in periods]


def stored_periods(root: zarr.Group, experiment: str) -> list[list[str]]:
    """Start and stop of each period that the ledger was made for."""
    bounds: Any = existing_group(root, path_of(experiment)).attrs["period_bounds"]
    return [[str(start), str(stop)] for start, stop in bounds]


def stored_identity(root: zarr.Group, experiment: str) -> dict[str, Any]:
    """The flat configuration that the ledger was made for."""
    identity: Any = existing_group(root, path_of(experiment)).attrs["identity"]
    return dict(identity)


# Keys that earlier versions accepted although they had no effect on any result: they do not make a run another one.
_RETIRED = frozenset({"assimilation.sekf.analysis_hour_utc", "assimilation.ensrf.analysis_hour_utc"})


def _with_effect(identity: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration without what has no effect beside its other choices, which is refused in files now."""
    chosen = identity.get("assimilation.filter")
    idle = tuple(f"assimilation.{name}." for name in ("sekf", "ensrf") if name != chosen)
    if any(key.startswith("spin_up.") for key in identity):
        idle += ("model.initial_temperature_k",)
    if identity.get("assimilation.sekf.background", "A") != "A":
        idle += ("assimilation.sekf.typical_range",)
    kept = {key: value for key, value in identity.items() if key not in _RETIRED and not key.startswith(idle)}
    if "assimilation.observations" in kept:
        kept["assimilation.observations"] = [
            {key: value for key, value in entry.items() if key != "rescale_months" or entry.get("rescale") != "none"}
            for entry in kept["assimilation.observations"]
        ]
    return kept


def differences(root: zarr.Group, experiment: str, identity: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose value differs from the one that made the experiment: key -> (stored, now)."""
    stored, now = scrubbed(stored_identity(root, experiment)), flatten(identity)
    if "source.store" in stored:  # of earlier versions: where the observed run lay, instead of what made it
        del stored["source.store"]
        now.pop("source.made_by", None)
    if DEVICE in stored or DEVICE in now:
        stored.setdefault(DEVICE, "cpu")  # as all runs were before there was a choice
        now.setdefault(DEVICE, "cpu")
    stored, now = _with_effect(stored), _with_effect(now)
    keys = sorted({*stored, *now})
    return {key: (stored.get(key), now.get(key)) for key in keys if stored.get(key) != now.get(key)}


def refuse_differences(experiment: str, different: Mapping[str, tuple[Any, Any]]) -> None:
    """ConfigurationError naming every differing key, if there is one."""
    if different:
        resumed = "; `accept: [other_device]` resumes on another device, whose last digits differ"
        listed = "\n".join(f"  {key}: {old!r} in the store, {new!r} now" for key, (old, new) in different.items())
        raise ConfigurationError(
            f"experiment '{experiment}' is in the store with another configuration:\n{listed}\n"
            "Give these keys their old values, or start a new experiment: another run name or another store.url"
            f"{resumed if DEVICE in different else ''}"
        )


def set_identity(root: zarr.Group, experiment: str, identity: Mapping[str, Any]) -> None:
    """Records that the experiment has a later end, before anything is made for it (see `extend`), or another device."""
    existing_group(root, path_of(experiment)).attrs["identity"] = flatten(identity)


def extend(
    root: zarr.Group,
    experiment: str,
    periods: Sequence[Period],
    places_until: Callable[[Period, np.datetime64], int],
) -> None:
    """Takes in a later end: new periods are not started; a last one that has become longer has its new days left to do.

    How far each cell is in that one is kept until `settle`. Interrupted and repeated, it comes to the same.

    Args:
        places_until: how many places of a period a run had done that ended at an instant.
    """
    path = path_of(experiment)
    group, old, status = existing_group(root, path), stored_periods(root, experiment), statuses(root, experiment)
    reached, interim = {}, interim_stops(root, experiment)
    last, cut = len(old) - 1, np.datetime64(old[-1][1], "s")
    longer = cut != periods[last].stop
    if longer:
        was_done = np.isin(status[last], (DONE, SET_ASIDE))
        done = periods[last].days.start + places_until(periods[last], cut)
        now = {_REACHED: done, _STATUS_THERE: status[last]}
        for name, dtype in ((_REACHED, "int32"), (_STATUS_THERE, "int8")):
            before = read_region(root, path, name) if name in group else np.zeros(status.shape[1], dtype)
            reached[name] = ("cell",), np.where(was_done, now[name], before).astype(dtype)
        interim = [*interim, *({cut} - set(interim))]
    extend_template(root, path, "period", np.arange(len(periods)), reached)
    if longer:
        status = statuses(root, experiment)
        status[last] = NOT_STARTED  # after what it says was kept
        write_region(root, path, {"status": status}, {})
    # Both in one write.
    group.update_attributes({"period_bounds": _bounds(periods), _INTERIM: [str(stop) for stop in interim]})


def interim_stops(root: zarr.Group, experiment: str) -> list[np.datetime64]:
    """Earlier ends of an experiment, inside the periods that they cut short, from which blocks may still continue."""
    stops: Any = existing_group(root, path_of(experiment)).attrs.get(_INTERIM, [])
    return [np.datetime64(stop, "s") for stop in stops]


def rest_of(root: zarr.Group, experiment: str, block: Block, period: Period) -> Period:
    """What a block has left to do of a period: all of it, or the days after the earlier end that all its (chosen) cells
    had reached."""
    path = path_of(experiment)
    if not has_array(root, path, _REACHED):
        return period
    reached = read_region(root, path, _REACHED, {"cell": block.region})
    first = int(reached.min() if block.mask is None else reached[block.mask].min())
    if not period.days.start < first < period.days.stop:
        return period
    start = period.start + (first - period.days.start) * DAY
    return Period(period.index, start, period.stop, slice(first, period.days.stop), is_rest=True)


def status_before(root: zarr.Group, experiment: str, block: Block, period: Period) -> np.ndarray | None:
    """Status of a block's cells when a period, or what is left of one, begins; None at the beginning of the run."""
    if period.days.start == 0:
        return None
    if period.is_rest:
        return read_region(root, path_of(experiment), _STATUS_THERE, {"cell": block.region})
    return np.asarray(block_status(root, experiment, block)[period.index - 1])


def settle(root: zarr.Group, experiment: str) -> None:
    """Forgets earlier ends, when all periods are done: the ledger is that of one run."""
    group = existing_group(root, path_of(experiment))
    for name in (_REACHED, _STATUS_THERE):
        if name in group:
            del group[name]
    if _INTERIM in group.attrs:
        del group.attrs[_INTERIM]


def statuses(root: zarr.Group, experiment: str) -> np.ndarray:
    """Status of every (period, cell)."""
    return read_region(root, path_of(experiment), "status")


def done_tasks(statuses: np.ndarray, cells_per_block: int) -> np.ndarray:
    """Whether each task (period, block) is done: all its cells are done or set aside."""
    finished = np.isin(statuses, (DONE, SET_ASIDE))
    return np.logical_and.reduceat(finished, np.arange(0, statuses.shape[1], cells_per_block), axis=1)


def is_complete(root: zarr.Group, experiment: str) -> bool:
    """Whether every task of an experiment is done."""
    return bool(np.isin(statuses(root, experiment), (DONE, SET_ASIDE)).all())


def is_begun(root: zarr.Group, experiment: str) -> bool:
    """Whether a task of an experiment was started."""
    return bool((statuses(root, experiment) != NOT_STARTED).any())


def complete_until(root: zarr.Group, experiment: str) -> np.datetime64:
    """The instant up to which all cells are done or set aside; of a run that was extended, inside its last period."""
    finished = np.isin(statuses(root, experiment), (DONE, SET_ASIDE)).all(axis=1)
    bounds = np.array(stored_periods(root, experiment), dtype="datetime64[s]")
    if finished.all():
        return np.datetime64(bounds[-1, 1])
    until = bounds[int(np.argmin(finished)), 0]
    if _REACHED in existing_group(root, path_of(experiment)):
        reached = bounds[0, 0] + int(read_region(root, path_of(experiment), _REACHED).min()) * DAY
        until = max(until, reached)
    return np.datetime64(until)


def tasks_with(statuses: np.ndarray, cells_per_block: int, status: int) -> np.ndarray:
    """Whether each task (period, block) has cells of a status."""
    return np.logical_or.reduceat(statuses == status, np.arange(0, statuses.shape[1], cells_per_block), axis=1)


def block_status(root: zarr.Group, experiment: str, block: Block) -> np.ndarray:
    """Status of every period and cell of a block."""
    return read_region(root, path_of(experiment), "status", {"cell": block.region})


def mark(
    root: zarr.Group,
    experiment: str,
    block: Block,
    period: Period,
    status: int | np.ndarray,
    known: np.ndarray | None = None,
) -> None:
    """Sets the status of a block's cells in a period; only the block's own task, or the driver after it, may.

    Args:
        known: what `block_status` gave, if it was asked for.
    """
    current = block_status(root, experiment, block) if known is None else known.copy()
    given = np.broadcast_to(np.asarray(status), block.cells)
    current[period.index] = given if block.mask is None else np.where(block.mask, given, current[period.index])
    write_region(root, path_of(experiment), {"status": current}, {"cell": block.region})


def mark_all(root: zarr.Group, experiment: str, period: Period, status: int) -> None:
    """Sets the status of all cells in a period; only the driver may, when no task is left."""
    current = statuses(root, experiment)
    current[period.index] = status
    write_region(root, path_of(experiment), {"status": current}, {})


def left_of(block: Block, status: np.ndarray) -> Block:
    """A block with those of its cells that are not done, by their status (cell,) in a period."""
    left = ~np.isin(status, (DONE, SET_ASIDE))
    return block if left.all() else replace(block, chosen=tuple(np.flatnonzero(left).tolist()))


def reopen(root: zarr.Group, experiment: str, instants: np.ndarray) -> np.ndarray:
    """Cells have to be computed again from an instant on: they are not started in the period that holds it and in all
    later ones. The next run does it, of these cells alone.

    Args:
        instants: of each cell (datetime64[s]); NaT where nothing changed.

    Returns:
        The cells (boolean) whose periods hold or follow the instant.
    """
    bounds = np.array(stored_periods(root, experiment), dtype="datetime64[s]")
    touched = ~np.isnat(instants) & (instants < bounds[-1, 1])
    if touched.any():
        first = np.searchsorted(bounds[:, 0], np.where(touched, instants, bounds[-1, 1]), side="right") - 1
        status = statuses(root, experiment)  # of more periods, where an extension was interrupted
        again = touched & (np.arange(len(status))[:, None] >= first)
        path = path_of(experiment)
        if has_array(root, path, _REACHED):  # of an extension under way: these cells do not continue there
            reached = np.where(touched, 0, read_region(root, path, _REACHED))
            write_region(root, path, {_REACHED: reached.astype("int32")}, {})
        write_region(root, path, {"status": np.where(again, NOT_STARTED, status).astype("int8")}, {})
    return np.asarray(touched)


def set_failures(root: zarr.Group, experiment: str, failures: Mapping[int, str], url: str) -> None:
    """What went wrong, by block index; written by the driver only.

    Args:
        url: of the store, which is not stored.
    """
    existing_group(root, path_of(experiment)).attrs["failures"] = {
        str(index): without_places(text, url) for index, text in failures.items()
    }


def add_seconds(root: zarr.Group, experiment: str, seconds: float, task_seconds: float) -> None:
    """Adds to the wall-clock time of a stage and to that of all its tasks together, over all its resumptions.

    Written by the driver only. Stages may have run side by side: then only the second tells what each of them cost.
    """
    attributes = existing_group(root, path_of(experiment)).attrs
    for name, more in (("seconds", seconds), ("task_seconds", task_seconds)):
        before: Any = attributes.get(name, 0.0)
        attributes[name] = round(float(before) + more, 3)


def failures(root: zarr.Group, experiment: str) -> dict[int, str]:
    """Messages of the blocks that failed."""
    stored: Any = existing_group(root, path_of(experiment)).attrs.get("failures", {})
    return {int(index): str(text) for index, text in stored.items()}


def experiments(root: zarr.Group) -> list[str]:
    """Names of the experiments that have a ledger; one that was killed while its ledger was made has none."""
    if not has_group(root, "ledger"):
        return []
    return sorted(name for name, group in existing_group(root, "ledger").groups() if "status" in group)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys and plain JSON values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = scrubbed(value)
    return flat


def block_size(root: zarr.Group, experiment: str) -> int:
    """Cells per block of an experiment."""
    array = existing_array(root, path_of(experiment), "status")
    return int(array.chunks[1])
