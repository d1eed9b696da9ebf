"""What the observation operator itself is worth: its error with observed LAI, and that of each predictor held still.

Figures 3 and 4 of Corchia et al. (2023): the network with the open loop's soil moisture and temperature and the
observed leaf area index, against observed backscatter.
"""

import numpy as np
import xarray as xr

from ldas.assim.predictors import SEASON, season
from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array, Days
from ldas.operators.protocol import ObservationOperator
from ldas.operators.scores import predict_where_observed, score
from ldas.operators.sensitivity import predictor_sensitivity
from ldas.pipeline.evaluation.plan import Experiment, Plan
from ldas.pipeline.evaluation.reading import Reader, attributes
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.observations import interpolated_in_time, read_observations
from ldas.pipeline.store.arrays import has_group
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import operator_path


def windows(reader: Reader, operator: str) -> dict[str, tuple[np.datetime64, np.datetime64]]:
    """First and last day of the operator's windows (`training`, `test`), as far as they were stored."""
    stored = attributes(reader.root, operator_path(operator)).get("windows", {})
    return {name: (np.datetime64(first, "D"), np.datetime64(last, "D")) for name, (first, last) in stored.items()}


def operator_scores(reader: Reader, plan: Plan, operator: ObservationOperator, places: slice) -> xr.Dataset | None:
    """RMSD and R (cell,) in each window, and the loss of each predictor in the training window, (predictor, cell).

    None where the store lacks what is needed: windows, observations of the output, or of LAI where it is a predictor.
    """
    assert plan.operator is not None
    assert plan.open_loop is not None
    spans = windows(reader, plan.operator)
    run = plan.experiment(plan.open_loop)
    if not spans or not has_group(reader.root, f"observations/{operator.output_name}"):
        return None
    if not all(_available(reader, run, name) for name in operator.predictor_names):
        return None
    dataset = xr.Dataset()
    for window, (first, last) in sorted(spans.items()):
        days = np.arange(max(first, run.days[0]), min(last, run.days[-1]) + np.timedelta64(1, "D"))
        if not len(days):
            continue
        predictors = np.stack(
            [_predictor(reader, run, name, days, places, plan.hour) for name in operator.predictor_names], axis=-1
        )
        target = reader.usable_observations(operator.output_name, days, places, plan.hour).T
        found = score(predict_where_observed(operator, predictors, target), target)
        dataset[f"rmsd_{window}"] = ("cell", found.rmsd, {"units": operator.output_unit})
        dataset[f"r_{window}"] = ("cell", found.correlation, {"units": "1"})
        dataset[f"n_{window}"] = ("cell", found.pairs, {"units": "1"})
        if window == "training":
            loss = predictor_sensitivity(operator, predictors, target).difference.T
            dataset["predictor_loss"] = (("predictor", "cell"), loss, {"units": operator.output_unit})
    return dataset.assign_coords(predictor=list(operator.predictor_names)) if dataset.data_vars else None


def _available(reader: Reader, run: Experiment, name: str) -> bool:
    if name in SEASON:
        return True
    return has_group(reader.root, "observations/lai") if name == "LAI" else name in run.variables


def _predictor(reader: Reader, run: Experiment, name: str, days: Days, places: slice, hour: int) -> Array:
    """A predictor (cell, day): observed LAI between its dates, as in training; the open loop's states; season."""
    if name in SEASON:
        return np.broadcast_to(season(name, instants(days, hour)), (places.stop - places.start, len(days)))
    if name == "LAI":
        times, arrays = read_observations(reader.root, "lai", Block(0, places.start, places.stop))
        values = arrays["value"]
        if "quality" in arrays:
            values = np.where(arrays["quality"] == int(Quality.USED), values, np.nan)
        return interpolated_in_time(times, values, instants(days, hour)).T
    return reader.daily(f"runs/{run.name}", name, days, places).T
