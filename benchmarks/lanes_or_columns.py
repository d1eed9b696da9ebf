"""One column at a time, or eight in the lanes of a vector register? The same science functions timed both ways.

Three processes: saturation humidity with its slope, the leaf of the photosynthesis model, freezing of a soil layer. The
functions are written once (`landmodel/lanes.py`): called with floats they compute one column.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numba import njit

from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.leaf import leaf
from ldas.landmodel.records import rows
from ldas.landmodel.soil_freezing import freeze_or_thaw
from ldas.landmodel.thermodynamics import saturation_humidity_and_slope

ROWS = 512  # of eight columns: what fits the first-level cache
CALLS = 200


@njit(error_model="numpy")
def _saturation_columns(x, out):
    for row in range(len(x)):
        for lane in range(WIDTH):
            out[row, lane] = saturation_humidity_and_slope(x[row, lane], 1.0e5)[1]


@njit(error_model="numpy")
def _saturation_lanes(x, out):
    for row in range(len(x)):
        rows(out)[row] = saturation_humidity_and_slope(rows(x)[row], 1.0e5)[1]


@njit(error_model="numpy")
def _leaf(x):
    # every argument varies, so that the compiler can take nothing out of the loop
    return leaf(x, 5.8e-4 + 1e-9 * x, 1e-5 * x, 1e-3 + 1e-6 * x, 2.5e-4, 1.4e-6 + 1e-9 * x, 7e-5, 1.4e-8, 0.95,
                0.05, 1.0, 1.0)[0]  # fmt: skip


@njit(error_model="numpy")
def _leaf_columns(x, out):
    for row in range(len(x)):
        for lane in range(WIDTH):
            out[row, lane] = _leaf(x[row, lane])


@njit(error_model="numpy")
def _leaf_lanes(x, out):
    for row in range(len(x)):
        rows(out)[row] = _leaf(rows(x)[row])


SOIL = (0.45, -0.33, 8.0)
PER_SOIL = tuple(1.0 / value for value in SOIL)


@njit(error_model="numpy")
def _freezing_columns(x, out):
    for row in range(len(x)):
        for lane in range(WIDTH):
            out[row, lane] = freeze_or_thaw(x[row, lane], 0.25, 0.05, 2e6, SOIL, PER_SOIL, 1.0, 900.0)[0]


@njit(error_model="numpy")
def _freezing_lanes(x, out):
    for row in range(len(x)):
        rows(out)[row] = freeze_or_thaw(rows(x)[row], 0.25, 0.05, 2e6, SOIL, PER_SOIL, 1.0, 900.0)[0]


PROCESSES = {
    "saturation humidity and slope": (_saturation_columns, _saturation_lanes, (255.0, 310.0)),
    "leaf": (_leaf_columns, _leaf_lanes, (0.0, 400.0)),
    "freezing of a layer": (_freezing_columns, _freezing_lanes, (260.0, 276.0)),
}


def nanoseconds(function, x: np.ndarray, out: np.ndarray) -> float:
    """Processor time per column: best of three."""
    function(x, out)
    best = np.inf
    for _ in range(3):
        begin = time.thread_time()
        for _ in range(CALLS):
            function(x, out)
        best = min(best, time.thread_time() - begin)
    return best / CALLS / x.size * 1e9


def main() -> None:
    """Print the table; `--json FILE` writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name, (columns, lanes, (low, high)) in PROCESSES.items():
        x = np.random.default_rng(0).uniform(low, high, (ROWS, WIDTH))
        one, eight = np.empty_like(x), np.empty_like(x)
        a, b = nanoseconds(columns, x, one), nanoseconds(lanes, x, eight)
        difference = float(np.abs(one - eight).max())
        rows.append({"process": name, "columns_ns": a, "lanes_ns": b, "ratio": a / b, "largest_difference": difference})
        print(f"{name:32s} {a:7.1f} ns one by one, {b:6.1f} ns in lanes: {a / b:.1f} times; difference {difference:g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
