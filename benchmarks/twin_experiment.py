"""The experiment of the paper in the SYNTHETIC twin, for several seeds: what it costs and what assimilation brings.

For each seed `ldas run` makes the experiment in a process of its own (one that is there is continued), then `ldas
report` scores it. Printed for each: seconds of every stage, column-steps, the time that `benchmarks/landmodel.py`, run
just before, would need for them on all cores, peak memory, the cost of a day of assimilation against a day of open
loop, and by experiment the part of the cells that the 24 h forecast improves against the open loop, the analysis beside
it.
Costs are those of the last call only if it began with an empty folder, on a machine with nothing else to do.
"""

import argparse
import json
import os
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

import landmodel  # noqa: E402
from pipeline import ledger  # noqa: E402
from pipeline.config import ExperimentConfig, load_experiment  # noqa: E402
from pipeline.stages.build import build_stages  # noqa: E402
from pipeline.stages.open_loop import OpenLoop  # noqa: E402
from pipeline.store import existing_group, open_store, read_region  # noqa: E402

EXPERIMENT = REPOSITORY / "examples" / "southwest_france_twin.yaml"
LDAS = [sys.executable, "-m", "pipeline.cli"]
JUDGED = ("sigma40_rmsd", "lai_rmsd", "ssm_r")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def land_model_rate() -> float:
    """Column-steps per second of the land model alone, on all cores."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, str(REPOSITORY / "benchmarks" / "landmodel.py"), "--json", str(out)]
        subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        return float(json.loads(out.read_text(encoding="utf-8"))["column_steps_per_second"]["all_cores"])


def experiment_file(template: Path, seed: int, folder: Path) -> Path:
    """A copy of the experiment with this seed and a store of its own."""
    content = yaml.safe_load(template.read_text(encoding="utf-8"))
    content["twin"]["seed"] = seed
    content["store"]["url"] = str((folder / f"seed{seed}.zarr").resolve())
    path = folder / f"seed{seed}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def region_rate(config: ExperimentConfig) -> float:
    """Column-steps per second of processor time of the land model on the first block of the region, for 60 days."""
    stage = next(stage for stage in build_stages(config) if isinstance(stage, OpenLoop))
    block = ledger.blocks_of(stage.cells, stage.cells_per_block)[0]
    start = np.datetime64(config.period.start, "s")
    stop = start + np.timedelta64(60, "D")
    parameters = stage.parameters(stage.root(), block)
    forcing = stage.forcing(stage.root(), block, start, stop)
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    stage.run_model(parameters, state, forcing, start, start + np.timedelta64(1, "D"))  # compiled, or read from disk
    began = time.process_time()
    stage.run_model(parameters, state, forcing, start, stop)
    steps = 60 * 86400 / config.model.time_step_s
    return float(parameters.cell.size * steps / (time.process_time() - began))


def run(path: Path) -> dict[str, float]:
    """Runs the experiment: seconds on the wall, of processor time, and peak memory (MB) of the process."""
    began = time.monotonic()
    process = subprocess.Popen([*LDAS, "run", str(path)], env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"ldas run {path} ended with status {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1024.0,  # KiB on Linux
    }


def column_days(config: ExperimentConfig) -> dict[str, float]:
    """Days that the land model runs, by stage, times columns (and members)."""
    columns = int((read_region(open_store(config.location), "land", "patch_fraction") > 0).sum())
    days: dict[str, float] = {config.open_loop.name: config.period.days}
    if config.spin_up is not None:
        days["spin_up"] = 365 * config.spin_up.repetitions
    if config.twin is not None:
        days["twin"] = config.period.days + 365 * config.twin.nature_settings().spin_up_years
    for entry in config.assimilation:
        members = 1 + len(entry.sekf.controls) if entry.filter == "sekf" else entry.ensrf.members
        first, last = entry.start or config.period.start, entry.end or config.period.end
        days[entry.name] = (last - first).days * members
    return {name: number * columns for name, number in days.items()}


def cost(config: ExperimentConfig, rate: float) -> dict[str, Any]:
    """Seconds of the stages, and column-steps with the time that the land model alone would take."""
    root = open_store(config.location)
    seconds = {
        name: existing_group(root, ledger.path_of(name)).attrs.get("seconds") for name in ledger.experiments(root)
    }
    worked = column_days(config)
    steps = sum(worked.values()) * 86400 / config.model.time_step_s
    open_loop = seconds[config.open_loop.name] / config.period.days
    return {
        "cells": len(read_region(root, "land", "latitude")),
        "stage_seconds": seconds,
        "column_steps": steps,
        "land_model_seconds": steps / rate,
        "assimilation_day_to_open_loop_day": {
            entry.name: seconds[entry.name]
            / ((entry.end or config.period.end) - (entry.start or config.period.start)).days
            / open_loop
            for entry in config.assimilation
        },
    }


def scores(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    """The summary of `ldas report --json`."""
    out = folder / "scores.json"
    command = [*LDAS, "report", config.store.url, "--out", str(folder / "report"), "--json", str(out)]
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    return dict(json.loads(out.read_text(encoding="utf-8"))["summary"])


def print_cost(seed: int, found: dict[str, Any]) -> None:
    """The cost of one seed."""
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in found["stage_seconds"].items() if seconds)
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found["assimilation_day_to_open_loop_day"].items())
    print(f"seed {seed}: {found['cells']} cells, {found['column_steps'] / 1e9:.3f}e9 column-steps")
    print(f"  seconds by stage: {stages}")
    print(f"  a day of assimilation against a day of open loop: {ratios}")
    print(
        f"  {found['seconds']:.0f} s in all ({found['cpu_seconds']:.0f} s of processor time), "
        f"{found['seconds'] / found['land_model_seconds']:.2f} times the {found['land_model_seconds']:.0f} s that the "
        f"land model alone would take; peak memory {found['peak_memory_mb']:.0f} MB"
    )
    own = found["region_column_steps_per_cpu_second"]
    print(f"  the land model on the region's own columns: {own:,.0f} column-steps per second of processor time")


def print_scores(seed: int, summary: dict[str, Any]) -> None:
    """Improved parts of the cells, one line an experiment."""
    for experiment, found in summary.items():
        parts = []
        for key in JUDGED:
            forecast, analysis = (found.get(f"{key}{kind}_improved_fraction") for kind in ("", "_analysis"))
            if forecast is not None:
                beside = "" if analysis is None else f" (analysis {100 * analysis:.1f} %)"
                parts.append(f"{key} {100 * forecast:.1f} %{beside}, median {found[f'{key}_median']:.3f}")
            elif found.get(f"{key}_median") is not None:
                parts.append(f"{key} median {found[f'{key}_median']:.3f}")
        print(f"seed {seed} {experiment}: {'; '.join(parts)}")


def main() -> None:
    """Prints the figures; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT, help="experiment file with a section `twin`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "twin_experiment", help="for the stores")
    parser.add_argument("--json", type=Path, help="write the figures as JSON too")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rate = land_model_rate()
    print(f"land model alone: {rate:,.0f} column-steps per second on all cores")
    figures: dict[str, Any] = {"land_model_column_steps_per_second": rate, "seeds": {}}
    for seed in arguments.seeds:
        path = experiment_file(arguments.experiment, seed, arguments.folder)
        measured = run(path)
        config = load_experiment(path)
        found = {
            **measured,
            **cost(config, rate),
            "region_column_steps_per_cpu_second": region_rate(config),
            "summary": scores(config, arguments.folder),
        }
        print_cost(seed, found)
        print_scores(seed, found["summary"])
        figures["seeds"][seed] = found
    _print_least(figures["seeds"])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _print_least(seeds: dict[int, dict[str, Any]]) -> None:
    """The worst seed of each score."""
    experiments = {name for found in seeds.values() for name in found["summary"]}
    for experiment in sorted(experiments):
        for key in JUDGED:
            values = [found["summary"][experiment].get(f"{key}_improved_fraction") for found in seeds.values()]
            there = [value for value in values if value is not None]
            if there:
                print(f"{experiment}: {key} improved in at least {100 * np.min(there):.1f} % of the cells of any seed")


if __name__ == "__main__":
    main()
