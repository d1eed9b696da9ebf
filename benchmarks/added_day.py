"""What one added day costs, compared with the same day inside a long run.

The SYNTHETIC southwestern France of the twin (seed 1, 248 cells): open loop and a daily SEKF of backscatter and leaf
area, default period, one block (`--cells-per-block 64` is the default of experiments). A run over all days, then one
over all but the last, to which that day is added.

    python benchmarks/added_day.py [--cells 248] [--days 365] [--cells-per-block 256] [--repetitions 3] [--json FILE]

`ratio_to_the_day_inside`: processor time of the tasks of the added day (from restart to restart: everything that
`run_task` does, of all blocks of open loop and SEKF; median of the repetitions, each on a copy of the store), over that
of the same day inside the long run: the SEKF's window of that day, measured by itself there; the land model of the open
loop over that day, measured by itself where it is added, as the long run is one call of the model; and of what else the
tasks of the long run take, the share of one day. All in one thread of this process, libraries loaded and code compiled
before. `ratio_to_the_mean_day`: the same with the open loop's mean day, whose weather costs the model more or less.
`command_wall_s`, `command_processor_s`: of `ldas run` as a program of its own that adds the day: start of Python,
libraries, cluster, templates and ledger included. `processor_s_by_day`: of the mean day inside.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldas.pipeline.execution.threads import limit_threads  # noqa: E402

limit_threads()

from benchmarks.twin_experiment import run  # noqa: E402
from ldas.assim.sekf_cycle import SimplifiedEKF  # noqa: E402
from ldas.pipeline.execution.stage import Stage, finish, prepare, run_task  # noqa: E402
from ldas.pipeline.ingest.write import FORCING_CHUNKS, FORCING_SHARDS  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.experiment import ExperimentConfig  # noqa: E402
from ldas.pipeline.settings.twin import TwinConfig, default_nature  # noqa: E402
from ldas.pipeline.stages.open_loop import OpenLoop  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import open_dataset, open_store  # noqa: E402
from ldas.pipeline.store.groups import write_group  # noqa: E402
from ldas.pipeline.twin.land import make_land  # noqa: E402
from ldas.pipeline.twin.stages import twin_stages  # noqa: E402

START = np.datetime64("2007-01-01")
INPUTS = ("land", "forcing", "observations/sigma40", "observations/lai")
SUBSETS = ("demo", "stations", "all")
MEASURED = ("open_loop", "ekf")


def content(path: Path, days: int, training_days: int, block: int) -> dict[str, Any]:
    """The experiment file of a run over some days, with blocks of some cells."""
    return {
        "name": "added_day",
        "synthetic": True,
        "store": {"url": str(path)},
        "period": {"start": str(START), "end": str(START + days - 1)},
        "operators": [
            {
                "name": "cloud",
                "kind": "water_cloud",
                "training": {"start": str(START), "end": str(START + training_days - 1)},
                "lai": None,
                "water_cloud": {"minimum_samples": 5},
            }
        ],
        "assimilation": [{"name": "ekf", "observations": [{"name": "sigma40", "operator": "cloud"}, {"name": "lai"}]}],
        "report": False,
        "execution": {"cells_per_block": block, "cluster": {"workers": 1}},
    }


def make_inputs(folder: Path, cells: int, days: int) -> Path:
    """A store with land, weather and observations of the first cells of the twin."""
    nature = folder / "nature.yaml"
    settings = {**default_nature().model_dump(mode="json"), "spin_up_years": 0}
    nature.write_text(yaml.safe_dump(settings), encoding="utf-8")
    subset = next(name for name in SUBSETS if make_land(TwinConfig(subset=name)).sizes["cell"] >= cells)
    twin = {**content(folder / "twin", days, days, 64), "twin": {"seed": 1, "subset": subset, "nature": str(nature)}}
    config = ExperimentConfig.model_validate({**twin, "operators": [], "assimilation": []})
    assert config.twin is not None
    for stage in twin_stages(config, config.twin):
        run_here(stage)
    path = folder / "inputs"
    for name in INPUTS:
        chunks = {"chunks": FORCING_CHUNKS, "shards": FORCING_SHARDS} if name == "forcing" else {}
        part = open_dataset(config.location, name).isel(cell=slice(cells))
        write_group(open_store(path, "a"), name, part.drop_attrs(), **chunks)
    shutil.rmtree(folder / "twin")
    return path


def run_here(stage: Stage, told: Callable[[str], None] = lambda text: None) -> float:
    """A stage in this process; processor seconds of its tasks."""
    prepare(stage)
    total = 0.0
    for block in ledger.blocks_of(stage.cells, stage.cells_per_block):
        for period in stage.periods():
            began = time.process_time()
            run_task(stage, block, period)
            total += time.process_time() - began
            told(f"{stage.name}: block {block.index}, {total:.1f} s of processor time so far")
    finish(stage, open_store(stage.location, "a"))
    return total


def run_all(path: Path, days: int, training_days: int, block: int, *, tell: bool = False) -> dict[str, float]:
    """All stages; processor seconds of their tasks by name."""
    config = ExperimentConfig.model_validate(content(path, days, training_days, block))
    told = (lambda text: print(text, flush=True)) if tell else (lambda text: None)
    return {stage.name: run_here(stage, told) for stage in build_stages(config)}


@contextmanager
def seconds_of(owner: type, name: str) -> Iterator[list[float]]:
    """Processor time of every call of a method, in their order."""
    method, seconds = getattr(owner, name), list[float]()

    def timed(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        result = method(*given, **named)
        seconds.append(time.process_time() - began)
        return result

    setattr(owner, name, timed)
    try:
        yield seconds
    finally:
        setattr(owner, name, method)


def day_inside(path: Path, days: int, training_days: int, block: int) -> dict[str, Any]:
    """Processor seconds of the last day inside a run over all days, without the open loop's model; of the mean day."""
    with seconds_of(SimplifiedEKF, "cycle") as windows, seconds_of(OpenLoop, "run_model") as model:
        spent = run_all(path, days, training_days, block, tell=True)
    number = days - 1  # the first day has no window
    by_block = np.array(windows).reshape(-1, number)
    rest = spent["ekf"] - by_block.sum()
    last = {"open_loop": (spent["open_loop"] - sum(model)) / days, "ekf": float(by_block[:, -1].sum() + rest / number)}
    return {"last": last, "mean": {"open_loop": spent["open_loop"] / days, "ekf": spent["ekf"] / number}}


def copied(store: Path, to: Path) -> Path:
    """A copy of a store; files are linked, because a store replaces its objects as a whole."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(store, to, copy_function=os.link))


def measure(folder: Path, cells: int, days: int, block: int, repetitions: int) -> dict[str, Any]:
    """The figures."""
    training_days = min(300, days - 1)
    print(f"SYNTHETIC inputs of {cells} cells, {days} days", flush=True)
    inputs = make_inputs(folder, cells, days)
    run_all(copied(inputs, folder / "warm"), 6, 5, block)  # libraries are loaded, code is compiled
    run_all(folder / "warm", 7, 5, block)
    print(f"a run over {days} days", flush=True)
    inside = day_inside(copied(inputs, folder / "long"), days, training_days, block)
    print(f"a run over {days - 1} days, to which one is added", flush=True)
    run_all(copied(inputs, folder / "shorter"), days - 1, training_days, block, tell=True)
    added, models = [], []
    for number in range(repetitions):
        with seconds_of(OpenLoop, "run_model") as model:
            spent = run_all(copied(folder / "shorter", folder / "added"), days, training_days, block)
        models.append(sum(model))
        added.append({name: spent[name] for name in MEASURED})
        print(f"repetition {number}: {added[-1]}", flush=True)
    file = folder / "experiment.yaml"
    later = content(copied(folder / "shorter", folder / "added"), days, training_days, block)
    file.write_text(yaml.safe_dump(later), encoding="utf-8")
    command = run(file)
    of_added = {name: statistics.median(each[name] for each in added) for name in MEASURED}
    inside["last"]["open_loop"] += statistics.median(models)
    of_mean_weather = inside["mean"]["open_loop"] + inside["last"]["ekf"]
    return {
        "cells": cells,
        "days": days,
        "cells_per_block": block,
        "day_inside_processor_s": inside["last"],
        "processor_s_by_day": inside["mean"],
        "added_day_processor_s": of_added,
        "repetitions": added,
        "ratio_by_stage": {name: of_added[name] / inside["last"][name] for name in MEASURED},
        "ratio_to_the_day_inside": sum(of_added.values()) / sum(inside["last"].values()),
        "ratio_to_the_mean_day": sum(of_added.values()) / of_mean_weather,
        "command_wall_s": command["seconds"],
        "command_processor_s": command["cpu_seconds"],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=248)
    parser.add_argument("--days", type=int, default=365, help="of the long run; one less is run before the added day")
    parser.add_argument("--cells-per-block", type=int, default=256, help="64 is the default of experiments")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="added_day_") as folder:
        figures = measure(Path(folder), options.cells, options.days, options.cells_per_block, options.repetitions)
    print(json.dumps(figures, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
