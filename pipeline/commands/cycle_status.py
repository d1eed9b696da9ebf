"""How a daily analysis stands: the last day of each input and of each run, what is left to do, scores of the last day.

It is the attribute `status` of the group `cycle`: JSON in any store. Only what was found is stored; how late an input
is by now, its reader works out.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import zarr

from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import input_record, ledger
from ldas.pipeline.store.arrays import CYCLE, existing_group, has_group, read_region, read_times
from ldas.pipeline.store.input_record import FORCING
from ldas.pipeline.store.provenance import code_version, library_versions

_OF_ONE_CYCLE = ("finished", "replayed", "versions")  # what does not make another status
_HOUR, _DAY = np.timedelta64(3600, "s"), np.timedelta64(86400, "s")


def facts(root: zarr.Group, config: ExperimentConfig, observed: Sequence[str], until: date | None) -> dict[str, Any]:
    """How the analysis of an experiment stands, whose period ends with the last day that was asked of the stages."""
    end = np.datetime64(config.period.stop, "s")
    target = end if until is None else max(end, np.datetime64(until, "s") + _DAY)
    assimilations = {run.name: [entry.name for entry in run.observations] for run in config.assimilation}
    there = set(ledger.experiments(root))
    runs = {name: _run(root, name) for name in (config.open_loop.name, *assimilations) if name in there}
    last_day = _last_day(runs, config.open_loop.name) if len(runs) == len(assimilations) + 1 else None
    done = np.datetime64(config.period.start, "s") if last_day is None else np.datetime64(last_day, "s") + _DAY
    return {
        "experiment": config.name,
        "first_day": str(config.period.start),
        "last_day": last_day,
        "until": None if until is None else str(until),
        "days_missing": int((target - done) / _DAY),
        "inputs": {group: _input(root, group, target) for group in input_record.input_groups(root, observed)},
        "runs": runs,
        "scores": {name: _scores(root, name, names) for name, names in assimilations.items() if name in there},
    }


def _last_day(runs: Mapping[str, Mapping[str, Any]], open_loop: str) -> str | None:
    """The last day that all runs have; one that ends earlier by its own configuration does not count."""
    days = [run["last_day"] for run in runs.values() if run["tasks_left"]] or [runs[open_loop]["last_day"]]
    return None if None in days else str(min(days))


def _input(root: zarr.Group, group: str, target: np.datetime64) -> dict[str, Any]:
    """The last time at which there is something, and how many hours it is before the end of what was asked for."""
    times = read_times(root, group)
    last = times[-1] if group == FORCING else _last_observed(root, group, times)
    if last is None:
        return {"last": None, "hours_behind": None}
    return {"last": str(last), "hours_behind": round(float(max(target - last, np.timedelta64(0, "s")) / _HOUR), 2)}


def _last_observed(root: zarr.Group, group: str, times: np.ndarray) -> np.datetime64 | None:
    """The last time at which a cell has something, among those that were recorded."""
    known = input_record.recorded(root, group)
    if known is None:
        return np.datetime64(times[-1])
    there = (known.values != input_record.NOTHING).any(axis=1)
    return np.datetime64(known.times[there][-1]) if there.any() else None


def _run(root: zarr.Group, name: str) -> dict[str, Any]:
    """The last day that is done in all cells, tasks that are left, cells that are set aside."""
    statuses = ledger.statuses(root, name)
    done = np.isin(statuses, (ledger.DONE, ledger.SET_ASIDE)).all(axis=1)
    periods = ledger.stored_periods(root, name)
    whole = int(done.argmin()) if not done.all() else done.size
    last = str((np.datetime64(periods[whole - 1][1], "s") - 1).astype("datetime64[D]")) if whole else None
    tasks = ledger.done_tasks(statuses, ledger.block_size(root, name))
    return {
        "last_day": last,
        "tasks_left": int((~tasks).sum()),
        "cells_set_aside": int((statuses[-1] == ledger.SET_ASIDE).sum()),
    }


def _scores(root: zarr.Group, run: str, observed: Sequence[str]) -> dict[str, Any]:
    """Innovations and residuals of the last day over all cells: number, mean, standard deviation, root mean square."""
    path = f"runs/{run}"
    last = len(read_times(root, path)) - 1
    return {
        name: {
            family: _statistics(read_region(root, path, f"{family}_{name}", {"time": slice(last, last + 1)}))
            for family in ("innovation", "residual")
        }
        for name in observed
    }


def _statistics(values: np.ndarray) -> dict[str, float | int | None]:
    """Of those that are there; None of none."""
    there = values[np.isfinite(values)].astype(np.float64)
    if not there.size:
        return {"number": 0, "mean": None, "standard_deviation": None, "root_mean_square": None}
    numbers = {"mean": there.mean(), "standard_deviation": there.std(), "root_mean_square": np.sqrt((there**2).mean())}
    return {"number": int(there.size), **{name: float(f"{value:.6g}") for name, value in numbers.items()}}


def concluded(status: Mapping[str, Any], replayed: Mapping[str, int]) -> dict[str, Any]:
    """The status with what belongs to this one cycle: when it ended, cells that were computed again, versions."""
    return {
        **status,
        "replayed": dict(replayed),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"ldas": code_version(), **library_versions()},
    }


def stored(root: zarr.Group) -> dict[str, Any]:
    """What the last cycle took down; empty where there was none."""
    found: Any = existing_group(root, CYCLE).attrs.get("status", {}) if has_group(root, CYCLE) else {}
    return dict(found)


def differs(root: zarr.Group, status: Mapping[str, Any]) -> bool:
    """Whether the analysis stands otherwise than the last cycle took down."""
    before = {key: value for key, value in stored(root).items() if key not in _OF_ONE_CYCLE}
    return before != dict(status)


def write(root: zarr.Group, status: Mapping[str, Any]) -> None:
    """Takes down how the analysis stands."""
    group = existing_group(root, CYCLE) if has_group(root, CYCLE) else root.create_group(CYCLE)
    group.attrs["status"] = dict(status)


def lines(status: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """The status in words, for a terminal or a log."""
    missing = f", {status['days_missing']} days less than asked for" if status["days_missing"] else ""
    analysed = (
        f"analysed from {status['first_day']} to {status['last_day']}" if status["last_day"] else "nothing analysed"
    )
    yield f"{status['experiment']}: {analysed}{missing}"
    for group, item in status["inputs"].items():
        yield f"{group}: {_age(item['last'], now)}"
    for run, observed in status["scores"].items():
        for name, families in observed.items():
            innovation, residual = families["innovation"], families["residual"]
            words = f"{innovation['number']} observations"
            if innovation["number"]:
                words += f", innovation {innovation['mean']:.3g} +- {innovation['standard_deviation']:.3g}"
            if residual["number"]:
                words += f", residual {residual['mean']:.3g}"
            yield f"{run}, {name} on the last day: {words}"


def _age(last: str | None, now: datetime) -> str:
    """How long ago the last value of an input was."""
    if last is None:
        return "no value"
    hours = (now - datetime.fromisoformat(last).replace(tzinfo=UTC)).total_seconds() / 3600.0
    return f"up to {last}, {hours:.0f} hours ago" if hours < 72 else f"up to {last}, {hours / 24:.0f} days ago"
