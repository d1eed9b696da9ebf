"""Overpasses at their own hour or at the window's end: what it brings in the SYNTHETIC twin, and what it costs.

A part of southwestern France at half a degree, with sigma40 at two hours a day: one open loop, an operator for each
`time_matching`, trained on the same years, and an EKF with each. By cell, both runs on common overpasses: RMSD of the
24 h forecast of sigma40, overpass by overpass (a run that does not keep them apart has one forecast for those of a
window) and as means of windows; R of WG2 with the truth at the analysis hour, of forecast and analysis. Then the
processor time of a day of the EKF with two overpasses in every cell, against one observation, taken in turn.

    python benchmarks/time_matching.py [--analysis-hour 9] [--folder FOLDER] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# run as a script, the folder of this file comes first in the path: other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ldas import landmodel  # noqa: E402
from ldas.assim import Window, WindowObservations  # noqa: E402
from ldas.pipeline.evaluation.evaluate import evaluate  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment  # noqa: E402
from ldas.pipeline.stages.assimilate import Assimilate  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import open_dataset  # noqa: E402

NATURE = REPOSITORY / "pipeline" / "twin" / "nature.yaml"
LDAS = [sys.executable, "-m", "ldas.pipeline.program"]
RUNS = {"window_end": "at_window_end", "overpass": "at_overpass"}
WINDOW_S = 86400
TIMED_WINDOWS = 10


def experiment_file(folder: Path, hours: list[float], analysis_hour: int) -> Path:
    """The experiment and its nature, with sigma40 at these hours (UTC)."""
    nature = yaml.safe_load(NATURE.read_text(encoding="utf-8"))
    nature["observations"]["sigma40"]["overpass_hours"] = hours
    (folder / "nature.yaml").write_text(yaml.safe_dump(nature), encoding="utf-8")
    windows = {
        "training": {"start": "2007-01-01", "end": "2009-12-31"},
        "test": {"start": "2010-01-01", "end": "2010-12-31"},
    }
    content = {
        "name": "time_matching",
        "synthetic": True,
        "store": {"url": "store.zarr"},
        "twin": {
            "seed": 1,
            "nature": "nature.yaml",
            "region": {"south": 43.0, "north": 45.0, "west": -1.0, "east": 3.0, "step": 0.5},
        },
        "period": {"start": "2007-01-01", "end": "2010-12-31"},
        "model": {"analysis_hour_utc": analysis_hour},
        "spin_up": {"year": 2007, "repetitions": 3},
        "output": {"mean": ["LE", "GPP"], "instant": ["WG1", "WG2", "WG3", "WG4", "TG1", "TG2", "WGI2", "LAI", "SWE"]},
        "open_loop": {"restart_on": ["2010-01-01"]},
        "operators": [{"name": matching, "time_matching": matching, **windows} for matching in RUNS],
        "assimilation": [
            {"name": name, "start": "2010-01-01", "observations": [{"name": "sigma40", "operator": matching}]}
            for matching, name in RUNS.items()
        ],
        "execution": {"cells_per_block": 8, "days_per_period": 366},
        "report": False,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def by_cell(scores: Path, group: str, score: str, series: str) -> np.ndarray:
    """A score of a series, by cell."""
    found = open_dataset(scores, f"scores/{group}").load()
    return found[score].to_numpy()[found["series"].attrs["labels"].index(series)]


def brought(scores: Path) -> dict[str, Any]:
    """The figures of both runs, and the share of the cells in which overpasses do at least as well."""
    asked = {
        "sigma40_forecast_rmsd_by_overpass": ("sigma40_observations_by_overpass", "rmsd", "", -1.0),
        "sigma40_forecast_rmsd_of_window_means": ("sigma40_observations", "rmsd", "", -1.0),
        "WG2_forecast_r": ("WG2_truth", "r", "", 1.0),
        "WG2_analysis_r": ("WG2_truth", "r", " (analysis)", 1.0),
        "WG2_analysis_rmsd": ("WG2_truth", "rmsd", " (analysis)", -1.0),
    }
    figures: dict[str, Any] = {}
    for what, (group, score, kind, sign) in asked.items():
        end, own = (by_cell(scores, group, score, f"{RUNS[matching]}{kind}") for matching in ("window_end", "overpass"))
        there = np.isfinite(end) & np.isfinite(own)
        figures[what] = {
            "open_loop": float(np.nanmedian(by_cell(scores, group, score, "open_loop"))),
            "window_end": float(np.median(end[there])),
            "overpass": float(np.median(own[there])),
            "share_at_least_as_good": float((sign * own >= sign * end)[there].mean()),
            "cells": int(there.sum()),
        }
    return figures


def filter_figures(store: Path) -> dict[str, Any]:
    """What the filters did: deviation of the increments of WG2, and degrees of freedom by hour of the observation."""
    figures = {}
    for matching, name in RUNS.items():
        run = open_dataset(store, f"runs/{name}").load()
        degrees = run["dfs_sigma40"].to_numpy()
        by_hour = {"window's end": float(np.nanmean(degrees))}
        if matching == "overpass":
            hours = run["overpass_hour_sigma40"].to_numpy() % 24.0
            by_hour = {
                f"{hour:g} UTC": float(np.nanmean(degrees[hours == hour])) for hour in np.unique(hours[hours >= 0])
            }
        deviation = float(np.nanstd(run["increment_WG2"].to_numpy()))
        figures[matching] = {"increment_WG2_deviation": deviation, "degrees_of_freedom": by_hour}
    return figures


def cost(config: ExperimentConfig) -> dict[str, float]:
    """Seconds of processor time of an EKF day with one observation and with two overpasses in every cell."""
    stage = next(one for one in build_stages(config) if isinstance(one, Assimilate))
    root = stage.root()
    block = ledger.blocks_of(stage.cells, stage.cells_per_block)[0]
    parameters = stage.parameters(root, block)
    model, method = landmodel.Isba(parameters), stage.filter_of(root, block)
    begin = np.datetime64("2010-05-01T09", "s")
    days = np.timedelta64(TIMED_WINDOWS + 1, "D")
    forcing = stage.forcing(root, block, begin, begin + days, parameters)
    state = landmodel.cold_start(parameters, air_temperature=288.0, leaf_area_index=2.0)
    value, spent = np.full(block.cells, -10.0), {"one": [], "two": []}
    for number in range(TIMED_WINDOWS + 1):
        start = begin + np.timedelta64(number, "D")
        window = Window.cut(forcing.forcing, start, forcing_start=forcing.start, step_s=config.model.time_step_s)
        times = np.tile(start + np.array([45000, 84600]).astype("timedelta64[s]"), (block.cells, 1))
        given = {"one": WindowObservations(value), "two": WindowObservations(np.stack([value] * 2, axis=1), time=times)}
        for what, observations in given.items():
            began = time.process_time()
            result = method.cycle(model, state, window, {"sigma40": observations})
            spent[what].append(time.process_time() - began)
        state = result.state
    one, two = (float(np.median(seconds[1:])) for seconds in spent.values())  # the first compiles
    return {"one_observation_s": one, "two_overpasses_s": two, "ratio": two / one}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[9.5, 20.5], help="of the overpasses (UTC)")
    parser.add_argument("--analysis-hour", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the run is kept, or continued")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ldas-time-matching-") as spare:
        folder = arguments.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        path = experiment_file(folder, arguments.hours, arguments.analysis_hour)
        began = time.monotonic()
        subprocess.run([*LDAS, "run", str(path)], check=True)
        config = load_experiment(path)
        evaluate(config.location)
        figures = {
            "overpass_hours": arguments.hours,
            "analysis_hour": arguments.analysis_hour,
            **brought(folder / "store.zarr"),
            "filters": filter_figures(folder / "store.zarr"),
            "cost": cost(config),
            "seconds": time.monotonic() - began,
        }
    print(json.dumps(figures, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
