"""What each experiment is judged by: median scores, and the part of the cells in which it is better."""

from typing import Any

import numpy as np

from ldas.pipeline.evaluation.plan import JUDGED, Comparison, primary
from ldas.pipeline.evaluation.scores import Scores
from ldas.pipeline.evaluation.tables import median

STORED_PRECISION = 1e-5


def summary(scores: Scores) -> dict[str, Any]:
    """Per experiment: median scores, and the part of the cells in which it is better than the open loop.

    `<what>_improved_fraction` counts the cells that have both scores; it is None where there is nothing to compare.
    `<what>_nic_median` is the median normalised information contribution. `<what>_reference` says against what,
    `<what>_cells` in how many cells. `<what>_nic_low` and `_high` are 95 % limits of that median,
    `<what>_surely_improved_cells` and `_surely_worsened_cells` the cells whose own limits lie on one side of zero
    (`evaluation.gain`). An experiment's forecasts are what is compared (24 h before the analysis); `_analysis_` keys
    have the same for its analyses.
    """
    return {experiment.name: _of_experiment(scores, experiment.name) for experiment in scores.plan.experiments}


def _of_experiment(scores: Scores, experiment: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (score, less_is_better, references) in JUDGED.items():
        comparison = scores.comparison(*references)
        found[f"{key}_reference"] = None if comparison is None else comparison.reference_path
        found |= judged(scores, experiment, comparison, key, score, less_is_better)
    return found


def judged(
    scores: Scores,
    experiment: str,
    comparison: Comparison | None,
    key: str,
    score: str,
    less_is_better: bool,
) -> dict[str, Any]:
    """`<key>_median` of an experiment against a reference and, unless it is the open loop itself, what has improved."""
    nothing: dict[str, Any] = {f"{key}_median": None}
    if experiment != scores.plan.open_loop:
        nothing |= {f"{key}_improved_fraction": None, f"{key}_cells": 0, f"{key}_median_change": None}
    if comparison is None:
        return nothing
    stored = scores.dataset(comparison.name)
    found = dict(nothing)
    for one in comparison.series:
        if one.experiment != experiment:
            continue
        values = stored[score].sel(series=one.label).values
        what = f"{key}_analysis" if one.kind == "analysis" else key
        found[f"{what}_median"] = median(values)
        reference = scores.open_loop(primary(comparison.series))
        if reference is not None and reference.experiment != experiment:
            before = stored[score].sel(series=reference.label).values
            found |= improvement(before, values, what, less_is_better)
            found[f"{what}_nic_median"] = median(stored[f"nic_{score}"].sel(series=one.label).values)
            found |= _certainty(scores, comparison, one.label, what, score)
    return found


def _certainty(scores: Scores, comparison: Comparison, label: str, what: str, score: str) -> dict[str, Any]:
    """95 % limits of the median gain, and the cells in which the gain is beyond chance, either way."""
    if not scores.has(f"gain_{comparison.name}"):
        return {}
    domain = scores.dataset(f"gain_{comparison.name}").sel(series=label)
    cells = scores.dataset(comparison.name).sel(series=label)
    return {
        f"{what}_nic_low": float(domain["median_low"]),
        f"{what}_nic_high": float(domain["median_high"]),
        f"{what}_surely_improved_cells": int((cells[f"nic_{score}_low"] > 0.0).sum()),
        f"{what}_surely_worsened_cells": int((cells[f"nic_{score}_high"] < 0.0).sum()),
    }


def improvement(before: np.ndarray, after: np.ndarray, what: str, less_is_better: bool) -> dict[str, Any]:
    """Part of the cells that got better and worse, how many there are, median change, from scores (cell,)."""
    there = np.isfinite(before) & np.isfinite(after)
    change = np.asarray(after - before, dtype=np.float64)[there]
    gain = -change if less_is_better else change
    # Runs are stored in single precision: a smaller change is the rounding of what the scores were made from.
    least = STORED_PRECISION * np.abs(before[there])
    return {
        f"{what}_improved_fraction": float((gain > least).mean()) if change.size else None,
        f"{what}_worsened_fraction": float((gain < -least).mean()) if change.size else None,
        f"{what}_cells": int(change.size),
        f"{what}_median_change": median(change),
    }
