"""The calibration of the water cloud model: all cells of a training block at once, against SciPy cell by cell.

    python benchmarks/water_cloud.py [--cells 64] [--days 2557] [--noise 0.3] [--json FILE]

Synthetic daily samples with noise (dB). `ldas_ms`, `scipy_ms`: processor time per cell, with the same model,
derivatives, starts and bounds; `ratio`: SciPy's over that of ldas. `parameters`: the largest difference in a cell, in
units of the width of the bounds, the median of the cells and the highest; `rmsd`: the lowest and highest difference of
the RMSD of a cell, in dB, ldas minus SciPy.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldas.pipeline.execution.threads import limit_threads  # noqa: E402

limit_threads()

from scipy.optimize import least_squares  # noqa: E402

from ldas.operators.water_cloud import STARTS, WaterCloudOperator  # noqa: E402
from ldas.operators.water_cloud_calibration import Samples  # noqa: E402

LOWEST, HIGHEST = np.array([0.02, 0.05, -20.0, 15.0]), np.array([0.15, 0.4, -14.0, 35.0])  # of the true parameters


def made_up(cells: int, days: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Predictors (cell, day, 2) and backscatter (cell, day) with noise (dB), synthetic."""
    random = np.random.default_rng(0)
    season = np.sin(2.0 * np.pi * np.arange(days) / 365.25)
    moisture = np.clip(0.25 - 0.05 * season + random.normal(0.0, 0.04, (cells, days)), 0.05, 0.45)
    leaf_area = np.clip(2.0 + 1.5 * season + random.normal(0.0, 0.2, (cells, days)), 0.1, 7.0)
    truth = random.uniform(LOWEST, HIGHEST, (cells, 4))[..., None]
    samples = Samples(moisture, leaf_area, np.zeros((cells, days)), np.full(cells, days))
    sigma = WaterCloudOperator().residuals(truth.swapaxes(0, 1), samples)[0]
    return np.stack([moisture, leaf_area], axis=-1), sigma + random.normal(0.0, noise, (cells, days))


def by_scipy(operator: WaterCloudOperator, predictors: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Parameters and RMSD of one cell by SciPy's trust region reflective."""
    samples = Samples(predictors[:, 0], predictors[:, 1], target, np.array([target.size]))
    lowest, highest = operator.options.bounds
    margin = 0.01 * (highest - lowest)
    ends = [
        least_squares(
            lambda place: operator.residuals(place, samples)[0],
            np.clip(start, lowest + margin, highest - margin),
            jac=lambda place: np.stack(operator.residuals(place, samples)[1], axis=1),
            bounds=(lowest, highest),
            x_scale=highest - lowest,
        )
        for start in STARTS
    ]
    best = min(ends, key=lambda end: float(end.cost))
    return best.x, float(np.sqrt(2.0 * best.cost / target.size))


def measure(cells: int, days: int, noise: float) -> dict[str, Any]:
    """All figures of the module's docstring."""
    predictors, target = made_up(cells, days, noise)
    WaterCloudOperator().fit(predictors[:2], target[:2])
    begin = time.process_time()
    operator = WaterCloudOperator().fit(predictors, target)
    ours = time.process_time() - begin
    begin = time.process_time()
    found = [by_scipy(operator, predictors[cell], target[cell]) for cell in range(cells)]
    theirs = time.process_time() - begin
    width = operator.options.bounds[1] - operator.options.bounds[0]
    difference = np.abs(operator.parameters - np.array([parameters for parameters, _ in found])) / width
    worst = difference.max(axis=1)
    rmsd = operator.training_rmsd - np.array([value for _, value in found])
    return {
        "cells": cells,
        "days": days,
        "noise": noise,
        "ldas_ms": 1e3 * ours / cells,
        "scipy_ms": 1e3 * theirs / cells,
        "ratio": theirs / ours,
        "parameters": [float(np.median(worst)), float(worst.max())],
        "rmsd": [float(rmsd.min()), float(rmsd.max())],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--days", type=int, default=2557)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args()
    text = json.dumps(measure(chosen.cells, chosen.days, chosen.noise), indent=2)
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
