"""The numbers of an evaluation in one place, as plain JSON: what `ldas report RUN --json FILE` writes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ldas.pipeline.evaluation.evaluate import Evaluation
from ldas.pipeline.evaluation.plan import Comparison
from ldas.pipeline.evaluation.stations import is_synthetic
from ldas.pipeline.evaluation.tables import baseline, comparison_named, median, primary, score_table, station_table
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.provenance import code_version, name_of

STORED_PRECISION = 1e-5
# What an experiment is judged by: key -> (score, whether less is better, references in order of preference). Truth is
# the first where there is one (a twin experiment), except for backscatter, which is judged as the satellite sees it.
JUDGED = {
    "sigma40_rmsd": ("rmsd", True, ("sigma40_observations", "sigma40_truth")),
    "lai_rmsd": ("rmsd", True, ("LAI_truth", "lai_observations")),
    "ssm_r": ("r", False, ("WG2_truth", "swi_observations", "ssm_observations")),
}


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Per experiment: median scores, and the part of the cells in which it is better than the open loop.

    `<what>_improved_fraction` counts the cells that have both scores; it is None where there is nothing to compare.
    `<what>_nic_median` is the median normalised information contribution. `<what>_reference` says against what,
    `<what>_cells` in how many cells. An experiment's forecasts are what is
    compared (24 h before the analysis); `_analysis_` keys have the same for its analyses.
    """
    return {experiment.name: _of_experiment(evaluation, experiment.name) for experiment in evaluation.plan.experiments}


def _of_experiment(evaluation: Evaluation, experiment: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (score, less_is_better, references) in JUDGED.items():
        comparison = comparison_named(evaluation, *references)
        found[f"{key}_reference"] = None if comparison is None else reference_name(comparison)
        found |= judged(evaluation, experiment, comparison, key, score, less_is_better)
    return found


def reference_name(comparison: Comparison) -> str:
    """`observations/sigma40` or `truth`."""
    return comparison.reference_path


def judged(
    evaluation: Evaluation,
    experiment: str,
    comparison: Comparison | None,
    key: str,
    score: str,
    less_is_better: bool,
) -> dict[str, Any]:
    """`<key>_median` of an experiment against a reference and, unless it is the open loop itself, what has improved."""
    nothing: dict[str, Any] = {f"{key}_median": None}
    if experiment != evaluation.plan.open_loop:
        nothing |= {f"{key}_improved_fraction": None, f"{key}_cells": 0, f"{key}_median_change": None}
    if comparison is None:
        return nothing
    scores = evaluation.dataset(comparison.name)
    found = dict(nothing)
    for one in comparison.series:
        if one.experiment != experiment:
            continue
        values = scores[score].sel(series=one.label).values
        what = f"{key}_analysis" if one.kind == "analysis" else key
        found[f"{what}_median"] = median(values)
        reference = baseline(evaluation, primary(comparison.series))
        if reference is not None and reference.experiment != experiment:
            before = scores[score].sel(series=reference.label).values
            found |= improvement(before, values, what, less_is_better)
            found[f"{what}_nic_median"] = median(scores[f"nic_{score}"].sel(series=one.label).values)
    return found


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


def report_numbers(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that `--json` writes."""
    plan = evaluation.plan
    table3, table4 = (comparison_named(evaluation, f"{name}_observations") for name in ("sigma40", "lai"))
    quality = {}
    for experiment in plan.experiments:
        if evaluation.has(f"quality_{experiment.name}"):
            counts = evaluation.dataset(f"quality_{experiment.name}")
            labels = counts["code"].values
            quality[experiment.name] = {
                str(name): {str(label): int(value) for label, value in zip(labels, values.values, strict=True) if value}
                for name, values in counts.data_vars.items()
            }
    return plain(
        {
            "run": name_of(evaluation.location.url),
            "code": code_version(),
            "synthetic": is_synthetic(open_store(evaluation.location)),
            "cells": plan.cells,
            "open_loop": plan.open_loop,
            "experiments": {e.name: {"first": str(e.days[0]), "last": str(e.days[-1])} for e in plan.experiments},
            "compared": {"first": str(plan.days[0]), "last": str(plan.days[-1]), "days": len(plan.days)},
            "notes": list(evaluation.notes),
            "summary": summary(evaluation),
            "tables": {
                "sigma40": [] if table3 is None else score_table(evaluation, table3).to_dict("records"),
                "lai": [] if table4 is None else score_table(evaluation, table4).to_dict("records"),
                "stations": station_table(evaluation).to_dict("records"),
            },
            "quality": quality,
        }
    )


def plain(value: Any) -> Any:
    """Numbers that every reader of JSON knows: not a number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
