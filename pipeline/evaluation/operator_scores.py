"""What the observation operator itself is worth: its error with observed LAI, and that of each predictor held still.

Figures 3 and 4 of Corchia et al. (2023): the network with the open loop's soil moisture and temperature and the
observed leaf area index, against observed backscatter.
"""

import numpy as np
import xarray as xr

from operators.protocol import ObservationOperator
from operators.scores import predict_where_observed, score
from operators.sensitivity import predictor_sensitivity
from pipeline.evaluation.plan import Experiment, Plan
from pipeline.evaluation.reading import Days, FloatArray, Reader, attributes
from pipeline.operator_store import operator_path
from pipeline.store import has_group

LONGEST_GAP_DAYS = 30  # between two observations of LAI over which it is interpolated: two missing ones in a row


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
            [_predictor(reader, run, name, days, places) for name in operator.predictor_names], axis=-1
        )
        target = reader.usable_observations(operator.output_name, days, places).T
        found = score(predict_where_observed(operator, predictors, target), target)
        dataset[f"rmsd_{window}"] = ("cell", found.rmsd, {"units": operator.output_unit})
        dataset[f"r_{window}"] = ("cell", found.correlation, {"units": "1"})
        dataset[f"n_{window}"] = ("cell", found.pairs, {"units": "1"})
        if window == "training":
            loss = predictor_sensitivity(operator, predictors, target).difference.T
            dataset["predictor_loss"] = (("predictor", "cell"), loss, {"units": operator.output_unit})
    return dataset.assign_coords(predictor=list(operator.predictor_names)) if dataset.data_vars else None


def _available(reader: Reader, run: Experiment, name: str) -> bool:
    return has_group(reader.root, "observations/lai") if name == "LAI" else name in run.variables


def _predictor(reader: Reader, run: Experiment, name: str, days: Days, places: slice) -> FloatArray:
    """A predictor (cell, day): observed LAI between its dates, everything else from the open loop."""
    if name == "LAI":
        return interpolated(reader.usable_observations("lai", days, places)).T
    return reader.daily(f"runs/{run.name}", name, days, places).T


def interpolated(values: FloatArray) -> FloatArray:
    """Values (day, cell) with the days between two observations filled linearly, over at most LONGEST_GAP_DAYS."""
    filled = np.full(values.shape, np.nan)
    day = np.arange(len(values))
    for cell in range(values.shape[1]):
        known = np.flatnonzero(np.isfinite(values[:, cell]))
        if not len(known):
            continue
        line = np.interp(day, known, values[known, cell], left=np.nan, right=np.nan)
        after = np.minimum(np.searchsorted(known, day), len(known) - 1)
        before = np.maximum(np.searchsorted(known, day, side="right") - 1, 0)
        filled[:, cell] = np.where(known[after] - known[before] <= LONGEST_GAP_DAYS, line, np.nan)
    return filled
