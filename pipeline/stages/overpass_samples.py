"""Training samples of operators that match overpasses: each overpass with the states of the open loop at its time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import zarr

from ldas.assim.overpasses import nearest_steps
from ldas.assim.predictors import SEASON, season
from ldas.landmodel.array_types import Array, IntArray, Times
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.assimilation import OperatorConfig, state_name
from ldas.pipeline.stages.observations import (
    days_of_group,
    good_values,
    interpolated_in_time,
    overpasses_a_day,
    read_observations,
)
from ldas.pipeline.store.arrays import read_region
from ldas.pipeline.store.ledger import Block

_NONE = np.iinfo(np.int64).max  # number of an overpass that there is not


class _Seen(NamedTuple):
    """What one observation saw, and the states by name, all (day, overpass, cell): NaT and NaN for no overpass."""

    time: Times
    target: Array
    states: Mapping[str, Array]


def overpass_samples(
    root: zarr.Group,
    settings: OperatorConfig,
    run: str,
    step_s: int,
    block: Block,
    days: np.ndarray,
    region: Mapping[str, slice],
) -> tuple[Array, Array]:
    """Each overpass of some days with the open loop's states of the model step nearest to it.

    Targets of the same step are of one overpass, as their errors are in the analysis.

    Args:
        settings: of the operator.
        run: group of the open loop.
        step_s: time step of the model.
        days: (day,) of the open loop.
        region: where these days and the cells of the block are in the open loop.

    Returns:
        Predictors (cell, overpass, predictor), and target (cell, overpass), or (cell, overpass, observation) of
        several, NaN where there is none.

    Raises:
        ConfigurationError: for overpasses without state; for targets that are never of one overpass.
    """
    seen = [_seen(root, settings, run, name, block, days, region) for name in settings.observations]
    time, places = common_overpasses([one.time for one in seen], days[0].astype("datetime64[s]"), step_s)
    model = {
        name: _together(time, places, [one.states[name] for one in seen]).reshape(-1, block.cells)
        for name in settings.state_names
    }
    count = len(seen)
    targets = [_together(time, places[n : n + 1], [one.target]).reshape(-1, block.cells) for n, one in enumerate(seen)]
    at = time.reshape(-1, block.cells)
    if settings.observed_lai is not None:
        lai_times, lai = read_observations(root, settings.observed_lai, block)
        model["LAI"] = interpolated_in_time(lai_times, good_values(lai), at)
    model |= {name: season(name, at) for name in SEASON}
    predictors = np.stack([model[name] for name in settings.predictor_names], axis=-1)
    target = np.stack(targets, axis=-1)
    target[~np.isfinite(predictors).all(axis=-1)] = np.nan
    there = np.isfinite(target)
    if count > 1 and there.any(axis=(0, 1)).all() and not (there.sum(axis=-1) > 1).any():
        raise ConfigurationError(
            f"operator {settings.name}: no two of {', '.join(settings.observations)} were ever measured in the same "
            f"model step from {days[0]} to {days[-1]}: ingest them with the same hours, or train an operator of each"
        )
    target = np.swapaxes(target, 0, 1)
    return np.swapaxes(predictors, 0, 1), target if count > 1 else target[..., 0]


def _seen(
    root: zarr.Group,
    settings: OperatorConfig,
    run: str,
    observation: str,
    block: Block,
    days: np.ndarray,
    region: Mapping[str, slice],
) -> _Seen:
    """The overpasses of one observation on these days."""
    times, arrays = read_observations(root, observation, block)
    overpasses = overpasses_a_day(root, observation) or 0
    rows = (days_of_group(root, f"observations/{observation}").astype("datetime64[D]") - days[0]).astype(np.int64)
    inside = (rows >= 0) & (rows < len(days))

    def by_day(values: np.ndarray, nothing: Any) -> np.ndarray:
        """(day, overpass, cell) of these days, from what the group holds one after the other."""
        placed = np.full((len(days), overpasses, block.cells), nothing)
        placed[rows[inside]] = values.reshape(-1, overpasses, block.cells)[inside]
        return placed

    states = {
        name: np.asarray(read_region(root, run, state_name(name, observation), region), dtype=np.float64)[
            :, :overpasses
        ]
        for name in settings.state_names
    }
    target = by_day(good_values(arrays), np.nan)
    first = settings.state_names[0]
    lost = np.isnan(read_region(root, run, first, region))[:, None]
    late = int((np.isfinite(target) & ~np.isfinite(states[first]) & ~lost).sum())
    if late:
        raise ConfigurationError(
            f"operator {settings.name}: {late} overpasses of {observation} have no state of the open loop, "
            "which ran before they were ingested: run it with these observations, in another store"
        )
    return _Seen(by_day(times, np.datetime64("NaT", "s")), target, states)


def common_overpasses(times: Sequence[Times], start: np.datetime64, step_s: int) -> tuple[Times, list[IntArray]]:
    """The overpasses of several observations of each cell on one axis; those of the same model step are one.

    Args:
        times: of each observation, (day, overpass, cell), NaT for none.
        start: an instant at which a step begins.
        step_s: length of a step.

    Returns:
        Their times (day, overpass, cell), rising, NaT behind the last; and by observation the place of its overpasses
        on that axis, (day, overpass, cell), -1 for none. A single observation keeps its axis as it is.
    """
    if len(times) == 1:
        (own,) = times
        return own, [np.broadcast_to(np.arange(own.shape[1])[:, None], own.shape)]
    most = max(own.shape[1] for own in times)
    keys = [_keys(own, start, step_s, most) for own in times]
    every = np.sort(np.concatenate(keys, axis=1), axis=1)  # none comes last
    every[:, 1:][every[:, 1:] == every[:, :-1]] = _NONE
    every.sort(axis=1)
    every = every[:, : max(1, int((every != _NONE).any(axis=(0, 2)).sum()))]
    together = np.full(every.shape, np.datetime64("NaT", "s"))
    places = []
    for key, own in zip(keys, times, strict=True):
        same = (key[:, :, None] == every[:, None]) & (key != _NONE)[:, :, None]
        places.append(np.where(same.any(axis=2), same.argmax(axis=2), -1))
        day, overpass, cell = np.nonzero(places[-1] >= 0)
        place = places[-1][day, overpass, cell]
        known = together[day, place, cell]
        together[day, place, cell] = np.where(np.isnat(known), own[day, overpass, cell], known)
    return together, places


def _keys(times: Times, start: np.datetime64, step_s: int, most: int) -> IntArray:
    """Numbers of the overpasses of one observation, at most so many a day: `most` times the model step, and how many of
    the same step come before."""
    there = ~np.isnat(times)
    step = np.where(there, nearest_steps(np.where(there, times, start), start, step_s), -1)
    earlier = (step[:, :, None] == step[:, None]) & np.tri(times.shape[1], k=-1, dtype=bool)[:, :, None]
    return np.where(there, step * most + earlier.sum(axis=2), _NONE)


def _together(time: Times, places: Sequence[IntArray], values: Sequence[Array]) -> Array:
    """Values of observations (day, overpass, cell) on their common axis; NaN where none has one."""
    found = np.full(time.shape, np.nan)
    for place, given in zip(places, values, strict=True):
        day, overpass, cell = np.nonzero((place >= 0) & np.isfinite(given))
        found[day, place[day, overpass, cell], cell] = given[day, overpass, cell]
    return found
