"""States of the open loop at the overpasses of observations: what an operator of overpasses is trained on.

`runs/<open loop>` holds them as `<variable>_<observation>` over (time, overpass, cell), in the places of the overpasses
in `observations/<observation>`: day by UTC day, NaN where there was no overpass.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from ldas import landmodel
from ldas.assim.overpasses import nearest_steps
from ldas.landmodel import Parameters
from ldas.landmodel.array_types import IntArray
from ldas.pipeline import registry
from ldas.pipeline.errors import StoreError
from ldas.pipeline.settings.assimilation import state_name
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages import labels
from ldas.pipeline.stages.observations import days_of_group, overpass_times, overpasses_a_day, require_hours
from ldas.pipeline.store.arrays import absence, has_group
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.template import ArraySpec


def overpass_variables(config: ExperimentConfig) -> dict[str, tuple[str, ...]]:
    """Variables that are stored at overpasses, by observation: the predictors of operators that match them."""
    found: dict[str, dict[str, None]] = {}
    for operator in config.operators:
        if operator.time_matching == "overpass":
            for observation in operator.observations:
                found.setdefault(observation, {}).update(dict.fromkeys(operator.state_names))
    return {observation: tuple(names) for observation, names in found.items()}


def overpass_axis(root: zarr.Group, config: ExperimentConfig) -> int:
    """Length of the overpass axis that the open loop needs; 0 where it stores no overpass.

    StoreError where observations are absent or have no hours: the open loop stops at their times.
    """
    lengths = [0]
    for name in overpass_variables(config):
        path = f"observations/{name}"
        if not has_group(root, path):
            raise StoreError(
                f"'{path}': {absence(root, path)}; `time_matching: overpass` needs it before the open loop runs"
            )
        require_hours(root, name)
        lengths.append(overpasses_a_day(root, name) or 0)
    return max(lengths)


def overpass_specs(config: ExperimentConfig) -> dict[str, ArraySpec]:
    """The arrays of the open loop at overpasses."""
    return {
        state_name(variable, observation): ArraySpec(
            ("time", "overpass", "cell"),
            "float32",
            None,
            {
                **registry.attributes(variable),
                "cell_methods": "time: point",
                "comment": f"at the model step nearest to each overpass of observations/{observation}, in its places",
                **labels.OF_MEANS,
            },
        )
        for observation, variables in overpass_variables(config).items()
        for variable in variables
    }


def overpass_steps(
    root: zarr.Group, config: ExperimentConfig, block: Block, period: Period, overpasses: int
) -> dict[str, IntArray]:
    """Model steps of a period at which each cell is seen, (day, overpass, cell) by observation; -1 for none."""
    days = np.arange(period.start.astype("datetime64[D]"), period.stop.astype("datetime64[D]")).astype("datetime64[s]")
    steps = {}
    for name in overpass_variables(config):
        stored = days_of_group(root, f"observations/{name}")
        first, last = np.searchsorted(stored, days[0]), np.searchsorted(stored, days[-1], side="right")
        found = np.full((len(days), overpasses, block.cells), -1, dtype=np.int64)
        if first < last:
            times = overpass_times(root, name, block.region, slice(int(first), int(last)))
            nearest = nearest_steps(times, period.start, config.model.time_step_s)
            place = np.searchsorted(days, stored[first:last])
            found[place, : times.shape[1]] = np.where(np.isnat(times), -1, nearest)
        steps[name] = found
    return steps


def step_requests(config: ExperimentConfig, steps: Mapping[str, IntArray], cell: IntArray) -> dict[str, Any]:
    """Fields `at` and `at_steps` of the request to the land model; cell (column,): the cell of each column."""
    if not steps:
        return {}
    names = {registry.base_name(name) for names in overpass_variables(config).values() for name in names}
    places = np.concatenate([found.reshape(-1, found.shape[-1]) for found in steps.values()])
    return {"at": tuple(sorted(names)), "at_steps": np.ascontiguousarray(places.T[cell])}


def overpass_states(
    config: ExperimentConfig,
    outputs: Mapping[str, np.ndarray],
    steps: Mapping[str, IntArray],
    parameters: Parameters,
    lost: np.ndarray,
) -> dict[str, np.ndarray]:
    """Cell means at overpasses, (day, overpass, cell) by stored name; NaN where there is none, and in lost cells."""
    values, begin = {}, 0
    for observation, variables in overpass_variables(config).items():
        found = steps[observation]
        places = found.shape[0] * found.shape[1]
        for name in variables:
            means = np.full(found.shape, np.nan)
            if outputs:
                layer = registry.variable(name).layer
                output = outputs[f"{registry.base_name(name)}_at"][begin : begin + places]
                columns = output if layer is None else output[..., layer - 1]
                means = landmodel.aggregate(columns, parameters, len(lost)).reshape(found.shape)
            means[(found < 0) | lost] = np.nan
            values[state_name(name, observation)] = means
        begin += places
    return values
