"""The experiment of the paper in the SYNTHETIC twin, for several seeds: what it costs and what assimilation brings.

For each seed `ldas run` makes the experiment in a process of its own (one that is there is continued), then `ldas
report` scores it. Printed for each: seconds of every stage, of which some run side by side, and of all its tasks
together; column-steps (of the experiment, every window with all its members, and those that were run, because cells
without an observation to use are not perturbed, nor are variables that a column does not have); the time that
`benchmarks/landmodel.py`, run before and after (mean of the two rates), would need for them on all cores; peak memory;
the cost of a day of assimilation against a day of open loop; and by experiment the part of the cells that the 24 h
forecast improves against the open loop, the analysis beside it.
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

from ldas import landmodel  # noqa: E402
from ldas.assim import Quality  # noqa: E402
from ldas.assim.controls import control_vector  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment  # noqa: E402
from ldas.pipeline.stages.open_loop import OpenLoop  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import existing_group, open_store, read_region  # noqa: E402
from ldas.pipeline.twin.nature import make_nature  # noqa: E402
from ldas.pipeline.twin.observation_stage import observed_land  # noqa: E402

EXPERIMENT = REPOSITORY / "examples" / "southwest_france_twin.yaml"
LDAS = [sys.executable, "-m", "ldas.pipeline.program"]
JUDGED = ("sigma40_rmsd", "lai_rmsd", "ssm_r")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
# Codes of observations that passed the screening against the forecast: only where there is one, the filter perturbs.
PERTURBED = (Quality.USED, Quality.JACOBIAN_FAILED)


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


def region_parameters(config: ExperimentConfig) -> landmodel.Parameters:
    """All columns of the experiment."""
    stage = next(stage for stage in build_stages(config) if isinstance(stage, OpenLoop))
    return stage.parameters(stage.root(), ledger.Block(0, 0, stage.cells))


def column_days(config: ExperimentConfig, parameters: landmodel.Parameters, *, run: bool) -> float:
    """Days times columns and members of all stages; run: without the members that the filter did not need."""
    root = open_store(config.location)
    columns, cells = parameters.columns, len(read_region(root, "land", "latitude"))
    total = float(columns * config.period.days)
    if config.spin_up is not None:
        total += columns * 365 * config.spin_up.repetitions
    if config.twin is not None:
        nature = config.twin.nature_settings()
        land = observed_land(root, ledger.Block(0, 0, cells))
        fields = make_nature(nature, config.twin.seed, land, config.model.time_step_s).parameters.columns
        total += float(fields) * (config.period.days + 365 * nature.spin_up_years)
    for entry in config.assimilation:
        first, last = entry.start or config.period.start, entry.end or config.period.end
        members = entry.method.model_runs
        if run and entry.filter == "sekf":
            present = control_vector(parameters, cells, entry.sekf.controls).present.sum(axis=1)
            codes = [read_region(root, f"runs/{entry.name}", f"quality_{kind.name}") for kind in entry.observations]
            perturbed = np.any([np.isin(code, PERTURBED) for code in codes], axis=0)
            total += columns * (last - first).days
            total += float((perturbed @ np.bincount(parameters.cell, present, cells)).sum())
        else:
            total += columns * members * (last - first).days
    return total


def cost(config: ExperimentConfig, rate: float) -> dict[str, Any]:
    """Seconds of the stages, and column-steps with the time that the land model alone would take."""
    root = open_store(config.location)
    ledgers = {name: existing_group(root, ledger.path_of(name)).attrs for name in ledger.experiments(root)}
    seconds = {name: attributes.get("seconds") for name, attributes in ledgers.items()}
    # of all tasks together: stages run side by side
    task_seconds = {name: attributes.get("task_seconds") for name, attributes in ledgers.items()}
    parameters = region_parameters(config)
    steps, steps_run = (
        column_days(config, parameters, run=run) * 86400 / config.model.time_step_s for run in (False, True)
    )
    open_loop = task_seconds[config.open_loop.name] / config.period.days
    return {
        "cells": len(read_region(root, "land", "latitude")),
        "columns": parameters.columns,
        "stage_seconds": seconds,
        "task_seconds": task_seconds,
        "column_steps": steps,
        "column_steps_run": steps_run,
        "land_model_column_steps_per_second": rate,
        "land_model_seconds": steps / rate,
        "land_model_seconds_run": steps_run / rate,
        "assimilation_day_to_open_loop_day": {
            entry.name: task_seconds[entry.name]
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
    stages, tasks = (
        ", ".join(f"{name} {seconds:.0f}" for name, seconds in found[key].items() if seconds)
        for key in ("stage_seconds", "task_seconds")
    )
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found["assimilation_day_to_open_loop_day"].items())
    steps, run = found["column_steps"], found["column_steps_run"]
    print(
        f"seed {seed}: {found['cells']} cells, {found['columns']} columns, {steps / 1e9:.3f}e9 column-steps, "
        f"{run / 1e9:.3f}e9 of them run"
    )
    print(f"  seconds by stage: {stages}; of its tasks together: {tasks}")
    print(f"  a day of assimilation against a day of open loop: {ratios}")
    print(
        f"  {found['seconds']:.0f} s in all ({found['cpu_seconds']:.0f} s of processor time), "
        f"{found['seconds'] / found['land_model_seconds']:.2f} times the {found['land_model_seconds']:.0f} s that the "
        f"land model alone would take for all column-steps ({found['seconds'] / found['land_model_seconds_run']:.2f} "
        f"times the {found['land_model_seconds_run']:.0f} s for those run, at "
        f"{found['land_model_column_steps_per_second']:,.0f} a second); peak memory {found['peak_memory_mb']:.0f} MB"
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
    figures: dict[str, Any] = {"seeds": {}}
    for seed in arguments.seeds:
        path = experiment_file(arguments.experiment, seed, arguments.folder)
        before = land_model_rate()
        measured = run(path)
        after = land_model_rate()
        rate = 0.5 * (before + after)
        print(f"land model alone: {before:,.0f} column-steps per second on all cores before, {after:,.0f} after")
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
