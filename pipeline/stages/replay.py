"""What of a run follows from days of input that were corrected or came late: which cells, and from which instant on."""

from collections.abc import Mapping

import numpy as np
import zarr

from ldas.assim.windows import DAY, window_end
from ldas.pipeline.errors import StoreError
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.assimilation import AssimilatedConfig
from ldas.pipeline.stages import spin_up
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.forecast import Forecast
from ldas.pipeline.stages.observations import overpasses_a_day
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.open_loop_departures import OLDEST_LAI, judging_lai
from ldas.pipeline.stages.overpass_states import overpass_variables
from ldas.pipeline.stages.spin_up import SpinUp
from ldas.pipeline.store import ledger
from ldas.pipeline.store.input_record import FORCING, Changes

_NEVER = np.datetime64("NaT", "s")


def affected_from(
    root: zarr.Group, stage: Stage, changes: Changes, earlier: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """From which instant on each cell of a stage has to be computed again (cell,), NaT where it has not.

    None for a stage that never is: an operator stays as it was trained.

    Args:
        earlier: the same of the stages before it, by name.
    """
    if isinstance(stage, SpinUp):
        return _spin_up(stage, changes)
    if isinstance(stage, OpenLoop):
        return _open_loop(stage, changes, earlier)
    if isinstance(stage, Assimilate):
        return _assimilation(root, stage, changes, earlier)
    if isinstance(stage, Forecast):
        return _forecasts(stage, changes, earlier)
    return None


def require_restarts(root: zarr.Group, stage: Stage, instants: np.ndarray) -> None:
    """Refuses what cannot be computed again, before anything is set back.

    Args:
        instants: from which on each cell is to be computed again.

    Raises:
        StoreError: a restart that is not there, or of another version or model.
    """
    begins = np.array(ledger.stored_periods(root, stage.name), dtype="datetime64[s]")[:, 0]
    periods = np.searchsorted(begins, instants[~np.isnat(instants)], side="right") - 1
    for begin in begins[np.unique(periods[periods > 0])]:
        try:
            stage.require_restart(root, begin)
        except StoreError as error:
            raise StoreError(
                f"{stage.name} cannot be computed again from {begin} on: {error}; to make the run anew, delete its "
                "groups in runs, restarts and ledger together"
            ) from error


def _spin_up(stage: SpinUp, changes: Changes) -> np.ndarray:
    """All of it, where a record of its year changed: the first one belongs to the day before."""
    begin, stop = stage.year
    return _all_of(changes.first(FORCING, begin - DAY, stop), begin)


def _open_loop(stage: OpenLoop, changes: Changes, earlier: Mapping[str, np.ndarray]) -> np.ndarray:
    """From the changed day on; states at overpasses follow from the hours of these too."""
    begin = stage.periods()[0].start
    instants = [np.maximum(changes.first(FORCING, begin - DAY), begin), _all_of(earlier.get(spin_up.NAME), begin)]
    for name in overpass_variables(stage.config):
        group = f"observations/{name}"
        if group in changes.times:
            instants.append(np.maximum(changes.first(group, begin) - DAY, begin))
    return _first(stage, instants)


def _assimilation(
    root: zarr.Group, stage: Assimilate, changes: Changes, earlier: Mapping[str, np.ndarray]
) -> np.ndarray:
    """From the window on that holds the change. From its beginning, where what it starts from changed: the open loop
    there, the climatology of rescaled observations, errors estimated from another run; a LAI that biases are judged
    with counts from its own time on."""
    begin = stage.periods()[0].start
    run_begins = np.datetime64(stage.config.period.start, "s")
    instants = [
        np.maximum(changes.first(FORCING, run_begins - DAY), begin),
        _all_of(earlier.get(spin_up.NAME), begin),
    ]
    for entry in stage.settings.observations:
        group = f"observations/{entry.name}"
        if group in changes.times:
            instants.append(_windows_from(root, changes, entry.name, stage.hour, begin))
        if entry.rescale != "none":
            instants.append(_all_of(_in_climatology(changes, stage, entry), begin))
        if (source := entry.error_model.from_run) is not None:
            instants.append(_all_of(earlier.get(source), begin))
    for name in judging_lai(root, stage.config, stage.settings):
        if (group := f"observations/{name}") in changes.times:
            first = changes.first(group, begin - OLDEST_LAI)
            instants.append(np.where(np.isnat(first), _NEVER, np.maximum(window_end(first, stage.hour) - DAY, begin)))
    return _first(stage, instants)


def _forecasts(stage: Forecast, changes: Changes, earlier: Mapping[str, np.ndarray]) -> np.ndarray:
    """From the first forecast on that starts from a changed analysis, or has a changed record of forcing in its days; a
    forcing of their own is not looked at."""
    instants = [earlier.get(stage.analyses.name, np.full(1, _NEVER))]
    if stage.settings.forcing is None:
        begin = stage.periods()[0].start
        instants.append(changes.first(FORCING, begin - DAY) - stage.settings.days * DAY)
    return _first(stage, instants)


def _windows_from(root: zarr.Group, changes: Changes, name: str, hour: int, begin: np.datetime64) -> np.ndarray:
    """Beginning of the window of each cell that its first changed observation lies in; where overpasses keep their
    hours, of the first window that an overpass of that day may lie in."""
    group = f"observations/{name}"
    first = changes.first(group, begin)
    there = ~np.isnat(first)
    times = np.where(there, first, begin)
    if overpasses_a_day(root, name) is not None:  # their day is labelled with its beginning or its end
        times = times - DAY
    return np.where(there, np.maximum(window_end(times, hour) - DAY, begin), _NEVER)


def _in_climatology(changes: Changes, stage: Assimilate, entry: AssimilatedConfig) -> np.ndarray:
    """The first change of forcing or observations that the climatology of rescaled observations follows from."""
    last = stage.config.period.end
    if entry.rescale_period is not None:
        last = min(last, entry.rescale_period.end)
    end = np.datetime64(last, "s")
    found = [changes.first(FORCING, np.datetime64(stage.config.period.start, "s") - DAY, end + DAY)]
    if (group := f"observations/{entry.name}") in changes.times:
        found.append(changes.first(group, None, end + np.timedelta64(stage.hour or 24, "h") + np.timedelta64(1, "s")))
    return np.asarray(np.fmin.reduce(found))


def _all_of(changed: np.ndarray | None, begin: np.datetime64) -> np.ndarray:
    """The beginning, in cells that changed anywhere."""
    return np.full(1, _NEVER) if changed is None else np.where(np.isnat(changed), _NEVER, begin)


def _first(stage: Stage, instants: list[np.ndarray]) -> np.ndarray:
    return np.fmin.reduce([np.broadcast_to(each, stage.cells) for each in instants]).astype("datetime64[s]")
