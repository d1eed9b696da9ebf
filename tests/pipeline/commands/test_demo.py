"""The main job, as a user starts it: `ldas demo`, from an empty folder to the report."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml

from ldas import open_run
from ldas.pipeline.commands.demo import EXPERIMENT, experiment_text
from ldas.pipeline.evaluation.stations import cell_at
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment
from ldas.pipeline.settings.yaml_file import validate
from ldas.pipeline.twin.geography import geography
from ldas.pipeline.twin.land import make_land
from tests.support import REPOSITORY

JUDGED = ("RMSD of backscatter", "RMSD of leaf area index", "R of surface soil moisture")


def ldas(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    command = [sys.executable, "-m", "ldas.pipeline.program", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a finished demo of four cells, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    folder.mkdir()
    small = yaml.safe_load(experiment_text()) | {"twin": {"seed": 1, "subset": "demo"}}
    small["execution"]["cells_per_block"] = 2
    (folder / EXPERIMENT).write_text(yaml.safe_dump(small), encoding="utf-8")  # it is kept
    return folder, ldas("demo", "--out", str(folder), "--json", str(folder.with_suffix(".json")))


@pytest.fixture(scope="module")
def overview(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> pd.DataFrame:
    """The first table of its report."""
    return pd.read_csv(demo[0] / "store_report" / "tables" / "overview.csv", index_col=["score", "experiment"])


def test_the_demo_runs_and_says_that_it_is_synthetic(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo
    assert done.returncode == 0, done.stderr[-2000:]
    assert "SYNTHETIC" in done.stderr
    page = (folder / "store_report" / "index.html").read_text(encoding="utf-8")
    assert "synthetic" in page.lower()
    tree = open_run(str(folder / "store.zarr"))
    for group in ("land", "forcing", "truth", "observations/sigma40", "runs/open_loop", "runs/EKF"):
        assert tree[group].attrs["synthetic"] == "true", group
    outcomes = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    assert {"spin_up", "open_loop", "train-neural", "EKF", "EKF_SWI_LAI"} <= set(outcomes)
    assert all(not outcome["failures"] for outcome in outcomes.values())


def test_the_whole_demo_is_a_small_region_of_crops_and_forest() -> None:
    config = validate(yaml.safe_load(experiment_text()), ExperimentConfig, source="demo.yaml")
    assert config.twin is not None
    land = make_land(config.twin)
    dominant = land["patch_fraction"].to_numpy().argmax(axis=1) + 1
    conifers, crops = dominant == 5, np.isin(dominant, (7, 8))
    assert (len(dominant), int(conifers.sum()), int(crops.sum())) == (46, 7, 35)
    places = (station.place for station in geography().stations.values())
    cells = [cell_at(*place, land["latitude"].to_numpy(), land["longitude"].to_numpy()) for place in places]
    assert sum(cell is not None for cell in cells) == 8


def test_the_first_tutorial_runs_on_it(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """All but its first command, `ldas demo`, which has just run."""
    run = runpy.run_path(str(REPOSITORY / "docs" / "notebooks.py"))["run"]
    first = "!ldas demo --out demo > demo.log 2>&1\n!tail -n 1 demo.log"
    notebook = run(REPOSITORY / "docs" / "tutorials" / "demo.ipynb", demo[0].parent, {first: "pass"})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    printed = "".join(output.get("text", "") or output.data["text/plain"] + "\n" for output in outputs)
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    rows = {words[0]: words[1:] for words in lines}
    tree = open_run(str(demo[0] / "store.zarr"))
    median = [float(np.median(tree[f"truth_error/{name}"]["LAI_rmsd"])) for name in ("open_loop", "EKF")]
    assert ["LAI", f"{median[0]:.4f}", f"{median[1]:.4f}"] in [words[:3] for words in lines]
    assert int(rows["assimilated"][0]) == int((tree["runs/EKF"]["quality_sigma40"] == 0).sum())
    forecast, increment, analysis, _ = map(float, rows["WG2"])  # of the last table, that of one window
    assert forecast + increment == pytest.approx(analysis, abs=1.5e-4)
    assert float(rows["innovation"][0]) * increment != 0.0


@pytest.mark.parametrize("score", JUDGED)
def test_assimilation_of_backscatter_improves_most_cells(overview: pd.DataFrame, score: str) -> None:
    """Of four cells, on the 24 h forecast; the figures of the whole region are in docs/twin.md."""
    assert overview.loc[(score, "EKF"), "cells improved"] >= 0.75


def test_the_benchmark_of_the_experiment_counts_what_was_run(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    module = benchmark()
    config = load_experiment(demo[0] / "experiment.yaml")
    found = module.cost(config, rate=1e6)
    columns = int((open_run(str(demo[0] / "store.zarr"))["land"].patch_fraction > 0).sum())
    assert 3 * found["cells"] < columns < 12 * found["cells"]
    of_nature = (found["column_steps"] / 48 - columns * (731 + 3 * 365 + 2 * 365 * 9)) / (731 + 2 * 365)
    assert columns < of_nature == int(of_nature) <= columns + found["cells"]  # a second field of C3 crops in most cells
    least = columns * (731 + 3 * 365 + 2 * 365) + of_nature * (731 + 2 * 365)
    assert least < found["column_steps_run"] / 48 < found["column_steps"] / 48
    assert found["land_model_seconds"] == pytest.approx(found["column_steps"] / 1e6)
    assert set(found["assimilation_day_to_open_loop_day"]) == {"EKF", "EKF_SWI_LAI"}
    assert all(ratio > 1.0 for ratio in found["assimilation_day_to_open_loop_day"].values())
    assert found["stage_seconds"]["spin_up"] > 0.0


def benchmark() -> ModuleType:
    """benchmarks/twin_experiment.py as a module."""
    spec = importlib.util.spec_from_file_location("twin_experiment", REPOSITORY / "benchmarks" / "twin_experiment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module
