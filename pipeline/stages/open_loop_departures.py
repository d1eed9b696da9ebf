"""What the bias of an observation is judged by: its departure from its operator in the states that it was trained on,
those of the open loop. No analysis touches them, so that what lasts is no error of the analysis.

The observed LAI of the training is taken as it was last known, where training interpolates to the next one: a run that
is extended day by day sees what one that ran at once sees.
"""

import numpy as np
import zarr

from ldas.assim.predictors import SEASON, season
from ldas.assim.windows import DAY
from ldas.operators.protocol import ObservationOperator
from ldas.operators.scores import predict_where_observed
from ldas.pipeline.settings.assimilation import AssimilatedConfig, AssimilationConfig, state_name
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.observations import (
    WindowSeries,
    days_of,
    days_of_group,
    good_values,
    measured_overpasses,
    near_windows,
    overpasses_a_day,
    read_observations,
    rows_between,
)
from ldas.pipeline.store.arrays import read_region, read_times
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import trained_with

OLDEST_LAI = 30 * DAY
"""Age beyond which an observed LAI is not taken for that of a day."""


def is_judged(
    root: zarr.Group | None, config: ExperimentConfig, run: AssimilationConfig, entry: AssimilatedConfig
) -> bool:
    """Whether the bias of an observation is judged by the open loop: where an operator was trained on it, which a
    direct one is not. Without a store, operators that are not in the file are taken for trained."""
    if run.bias is None or run.bias.judged_by == "innovations" or entry.operator is None:
        return False
    kind, _ = _kind_and_lai(root, config, entry.operator)
    return kind != "direct"


def observed_lai(root: zarr.Group, config: ExperimentConfig, operator: str) -> str | None:
    """Observation group whose LAI an operator was trained with; None for the model's own, or none."""
    return _kind_and_lai(root, config, operator)[1]


def _kind_and_lai(root: zarr.Group | None, config: ExperimentConfig, operator: str) -> tuple[str, str | None]:
    """Of an operator, from the file or from what the store says of its training."""
    for here in config.operators:
        if here.name == operator:
            return here.kind, here.observed_lai
    known = {} if root is None else trained_with(root, operator)
    return known.get("kind", "neural"), known.get("lai")


def judging_lai(root: zarr.Group, config: ExperimentConfig, run: AssimilationConfig) -> list[str]:
    """Observation groups of the LAI that the biases of an assimilation are judged with."""
    operators = [entry.operator for entry in run.observations if is_judged(root, config, run, entry)]
    found = [observed_lai(root, config, operator) for operator in operators if operator is not None]
    return [name for name in dict.fromkeys(found) if name is not None]


def open_loop_departures(
    root: zarr.Group,
    config: ExperimentConfig,
    series: WindowSeries,
    operator: ObservationOperator,
    lai: str | None,
    block: Block,
    ends: np.ndarray,
) -> np.ndarray:
    """Observation minus operator in the open loop, of the shape of the series: (window, cell), or with overpasses
    (window, overpass, cell). NaN where the observation, a state or a LAI of the last thirty days is missing.

    Args:
        series: the observations, of the operator's output.
        lai: observation group whose LAI is a predictor, None for the open loop's own.
        ends: (window,) of the windows.
    """
    at = np.broadcast_to(ends[:, None], series.value.shape) if series.time is None else series.time
    states = [name for name in operator.predictor_names if name not in SEASON and (name != "LAI" or lai is None)]
    if series.time is None:
        model = _at_ends(root, config, states, block, ends)
    else:
        model = _at_overpasses(root, config, operator.output_name, states, block, ends)
    model |= {name: season(name, at) for name in SEASON}
    if lai is not None and "LAI" in operator.predictor_names:
        begin, end = near_windows(ends)
        times, arrays = read_observations(root, lai, block, (begin - OLDEST_LAI, end))
        model["LAI"] = last_known(times, good_values(arrays), at, OLDEST_LAI)
    predictors = np.stack([model[name] for name in operator.predictor_names], axis=-1)
    value = np.moveaxis(series.value, -1, 0)  # the operator has the cell first
    x = np.moveaxis(predictors, -2, 0).reshape(block.cells, -1, predictors.shape[-1])
    predicted = predict_where_observed(operator, x, value.reshape(block.cells, -1))
    return np.asarray(np.moveaxis(value - predicted.reshape(value.shape), 0, -1))


def _at_ends(
    root: zarr.Group, config: ExperimentConfig, states: list[str], block: Block, ends: np.ndarray
) -> dict[str, np.ndarray]:
    """The open loop's states at the ends of windows, (window, cell) by name."""
    path = f"runs/{config.open_loop.name}"
    first = read_region(root, path, "time").astype("datetime64[D]")[0]
    rows = (days_of(ends).astype("datetime64[D]") - first).astype(np.int64)  # one after the other
    region = {"time": slice(int(rows[0]), int(rows[-1]) + 1), "cell": block.region}
    return {name: np.asarray(read_region(root, path, name, region), dtype=np.float64) for name in states}


def _at_overpasses(
    root: zarr.Group, config: ExperimentConfig, name: str, states: list[str], block: Block, ends: np.ndarray
) -> dict[str, np.ndarray]:
    """The open loop's states at the overpasses of an observation, (window, overpass, cell) by name."""
    path = f"runs/{config.open_loop.name}"
    near = near_windows(ends)
    times, arrays = read_observations(root, name, block, near)
    place, _ = measured_overpasses(times, arrays, ends, config.model.analysis_hour_utc)
    overpasses = overpasses_a_day(root, name) or 1
    run = read_region(root, path, "time").astype("datetime64[D]")
    group = f"observations/{name}"
    days = days_of_group(root, group)[rows_between(read_times(root, group), near)]
    rows = (days.astype("datetime64[D]") - run[0]).astype(np.int64)
    row, overpass = rows[place // overpasses], place % overpasses
    known = (place >= 0) & (row >= 0) & (row < len(run))
    if not known.any():
        return {state: np.full(place.shape, np.nan) for state in states}
    first, last = int(row[known].min()), int(row[known].max())
    region = {"time": slice(first, last + 1), "cell": block.region}
    cells = np.broadcast_to(np.arange(block.cells), place.shape)
    found = {}
    for state in states:
        values = np.asarray(read_region(root, path, state_name(state, name), region), dtype=np.float64)
        found[state] = np.where(known, values[np.clip(row - first, 0, last - first), overpass, cells], np.nan)
    return found


def last_known(times: np.ndarray, values: np.ndarray, at: np.ndarray, oldest: np.timedelta64) -> np.ndarray:
    """The last valid one of values (time, cell) up to instants (..., cell), NaN where it is older; NaT: NaN."""
    result = np.full(at.shape, np.nan)
    for cell in range(values.shape[1]):
        valid = np.isfinite(values[:, cell])
        if valid.any():
            known, when, instants = values[valid, cell], times[valid], at[..., cell]
            place = np.searchsorted(when, instants, side="right") - 1
            young = (place >= 0) & (instants - when[np.maximum(place, 0)] <= oldest)
            result[..., cell] = np.where(young, known[np.maximum(place, 0)], np.nan)
    return result
