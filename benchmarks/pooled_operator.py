"""The pooled operator against one network per cell: in the SYNTHETIC twin, in two real places, and up to 10,000 cells.

    python benchmarks/pooled_operator.py [--twin STORE] [--every N] [--hawaii STORE] [--growth 1000 3000] [--json FILE]

Twin: the store that `ldas run examples/southwest_france_twin.yaml` makes (or one of fewer cells), trained on 2007-2014
and judged in the hidden years 2015-2018, with all samples and with 300 a cell: `median_rmsd` (dB), `worst` (largest
RMSD above the cell's own network), `better_cells` and `processor_s` of one thread, compilation included. A small
version for a machine with other work: `--every 4 --growth 500`.

Transfer: the network of the synthetic twin, corrected by few real samples of 43.625N 0.875E (LDAS_SHARED or ../shared)
and, with the store of `make hawaii`, of Silver Sword, against a network of these samples alone; judged in 2014-2016 and
2018-2020. No field of the land is an input there; a place outside the range of the pool is refused without samples
(null).

Growth: the two training stages on synthetic samples of 2557 days, each number of cells in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ldas.pipeline.execution.threads import limit_threads  # noqa: E402

limit_threads()

from benchmarks.region import region_experiment  # noqa: E402
from benchmarks.training_by_blocks import START, make_samples  # noqa: E402
from ldas.operators.batched_training import import_tensorflow  # noqa: E402
from ldas.operators.cells import cell_ids_from_coordinates  # noqa: E402
from ldas.operators.neural import NeuralOperator  # noqa: E402
from ldas.operators.options import NeuralOptions, PooledOptions  # noqa: E402
from ldas.operators.pooled import PooledOperator  # noqa: E402
from ldas.operators.protocol import DEFAULT_PREDICTORS, Names  # noqa: E402
from ldas.operators.scores import predict_where_observed, score  # noqa: E402
from ldas.pipeline.execution.stage import finish, prepare, run_task  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.experiment import ExperimentConfig  # noqa: E402
from ldas.pipeline.stages.land import read_land  # noqa: E402
from ldas.pipeline.stages.train import Train  # noqa: E402
from ldas.pipeline.stages.train_shared import TrainShared  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import open_store  # noqa: E402
from ldas.pipeline.tables.table import parse_window, read_training_table  # noqa: E402

SHARED = Path(os.environ.get("LDAS_SHARED", REPOSITORY.parent / "shared"))
REAL_TABLE = SHARED / "data" / "ldas" / "isba_ascat_43.625N_0.875E_2007-2016.nc"
TWIN = {
    "training": {"start": "2007-01-01", "end": "2014-12-31"},
    "test": {"start": "2015-01-01", "end": "2018-12-31"},
}
HAWAII = {
    "training": {"start": "2010-06-24", "end": "2017-12-31"},
    "test": {"start": "2018-01-01", "end": "2020-12-31"},
}
DAYS = 2557
FEW = 300


def say(line: str) -> None:
    """A line at once."""
    print(line, flush=True)


def samples_of_store(store: str, windows: Mapping[str, Any], every: int, **operator: Any) -> dict[str, Any]:
    """Samples of both windows by name, identities and fields of every n-th cell."""
    content = yaml.safe_load((REPOSITORY / "examples" / "southwest_france_twin.yaml").read_text(encoding="utf-8"))
    content |= {"store": {"url": store}, "assimilation": [], "twin": None, "synthetic": False}
    content["operators"] = [{"name": "pooled_benchmark", "kind": "pooled", **windows, **operator}]
    stage = next(stage for stage in build_stages(ExperimentConfig.model_validate(content)) if isinstance(stage, Train))
    root, whole = open_store(store), ledger.Block(0, 0, stage.cells)
    chosen = slice(None, None, every)
    parts = {}
    for name, window in stage.windows.items():
        found = stage.samples(root, whole, window)
        parts[name] = (found.predictors[chosen], found.target[chosen])
    fields = {name: values[chosen] for name, values in stage.static(root, whole)["static"].items()}
    ids = cell_ids_from_coordinates(*(read_land(root, name)[chosen] for name in ("latitude", "longitude")))
    return {**parts, "cell_ids": ids, "static": fields}


def with_few(target: np.ndarray, number: int) -> np.ndarray:
    """The target with this many samples of each cell, spread over the whole window."""
    few = np.full_like(target, np.nan)
    for cell, values in enumerate(target):
        there = np.flatnonzero(np.isfinite(values))
        chosen = np.random.default_rng([0, cell]).permutation(there)[:number]
        few[cell, chosen] = values[chosen]
    return few


def trained(operator: Any, data: Mapping[str, Any], target: np.ndarray, **more: Any) -> tuple[Any, float]:
    """The operator trained with other targets, and processor seconds."""
    import_tensorflow()
    begin = time.process_time()
    operator.fit(data["training"][0], target, cell_ids=data["cell_ids"], **more)
    return operator, time.process_time() - begin


def compare_in_twin(data: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of all variants by number of samples."""
    figures: dict[str, Any] = {"cells": len(data["cell_ids"])}
    variants: dict[str, dict[str, Any]] = {
        "pooled, no correction": {"correction": "none"},
        "pooled, level and scale": {"correction": "linear"},
        "pooled": {},
        "auto": {"policy": "auto"},
    }
    for number in (None, FEW):
        target = data["training"][1] if number is None else with_few(data["training"][1], number)
        own, seconds = trained(NeuralOperator(), data, target, workers=1)
        base = score(predict_where_observed(own, *data["test"]), data["test"][1]).rmsd
        rows: dict[str, Any] = {"own networks": _row(base, base, own.usable, seconds)}
        say(f"{number or 'all'} samples, own networks: {rows['own networks']}")
        for name, options in variants.items():
            operator, seconds = trained(PooledOperator(PooledOptions(**options)), data, target, static=data["static"])
            rmsd = score(predict_where_observed(operator, *data["test"]), data["test"][1]).rmsd
            rows[name] = _row(rmsd, base, operator.usable, seconds)
            say(f"{number or 'all'} samples, {name}: {rows[name]}")
        figures["all_samples" if number is None else f"{number}_samples"] = rows
    return figures


def _row(rmsd: np.ndarray, base: np.ndarray, usable: np.ndarray, seconds: float) -> dict[str, float]:
    both = np.isfinite(rmsd) & np.isfinite(base)
    return {
        "median_rmsd": round(float(np.nanmedian(rmsd)), 4),
        "mean_rmsd": round(float(np.nanmean(rmsd)), 4),
        "better_cells": round(float((rmsd[both] < base[both]).mean()), 3),
        "worst": round(float((rmsd[both] - base[both]).max()), 4),
        "usable": int(usable.sum()),
        "processor_s": round(seconds, 1),
    }


def real_cell() -> dict[str, Any]:
    """Daily means of the real cell, as samples of one cell."""
    table = read_training_table(REAL_TABLE, Names(DEFAULT_PREDICTORS, ("m3 m-3", "K", "m2 m-2"), "sigma40", "dB"))
    windows = {"training": "2007-2013", "test": "2014-2016"}
    days = {name: table.part(parse_window(window)).daily_means() for name, window in windows.items()}
    return {name: (part.predictors[None], part.target[None]) for name, part in days.items()}


def transfer(twin: Mapping[str, Any], real: Mapping[str, Any]) -> dict[str, Any]:
    """RMSD (dB) at a real place in the hidden years by number of its samples: own network, and that of the twin."""
    pool = PooledOperator(PooledOptions(static=(), minimum_samples=2))
    pool.fit(*twin["training"], cell_ids=twin["cell_ids"])
    shared, (x, y) = pool.shared_arrays(), real["training"]
    figures = {}
    for number in (0, 30, 100, 300, 1000, int(np.isfinite(y).sum())):
        target = with_few(y, number)
        row = {}
        if number:
            own = NeuralOperator(NeuralOptions(minimum_samples=20)).fit(x, target, workers=1)
            row["own network"] = _rmsd(own, real)
        for name, options in {"pooled": {}, "auto": {"policy": "auto"}}.items():
            chosen = PooledOptions(static=(), minimum_samples=2 if number == 0 else 20, **options)
            row[name] = _rmsd(PooledOperator(chosen).with_shared(shared).fit_block(x, target), real)
        figures[str(number)] = row
        say(f"{number} samples: {row}")
    return figures


def _rmsd(operator: Any, real: Mapping[str, Any]) -> float | None:
    if not operator.usable[0]:
        return None
    return round(float(score(predict_where_observed(operator, *real["test"]), real["test"][1]).rmsd[0]), 4)


def train_synthetic(cells: int) -> dict[str, float]:
    """Both training stages over synthetic samples of many cells, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        # In a process of its own: the samples of all cells are in its memory at once.
        subprocess.run([sys.executable, __file__, "--make-samples", str(store), str(cells)], check=True)
        end = str((START.astype("datetime64[D]") + DAYS - 1).astype(object))
        operator = {"name": "p", "kind": "pooled", "lai": None, "training": {"start": "1986-01-01", "end": end}}
        config = region_experiment(
            store, DAYS, 64, operators=[{**operator, "pooled": {"static": ["patch_fraction"]}}],
            output={"instant": ["WG2", "TG2", "LAI"]},
        )  # fmt: skip
        begin, seconds = time.process_time(), {}
        for stage in build_stages(config):
            if not isinstance(stage, Train | TrainShared):
                continue
            prepare(stage)
            for block in ledger.blocks_of(stage.cells, stage.cells_per_block):
                for period in stage.periods():
                    run_task(stage, block, period)
            finish(stage, open_store(str(store), "a"))
            seconds[f"{'shared' if isinstance(stage, TrainShared) else 'blocks'}_processor_s"] = round(
                time.process_time() - begin, 1
            )
            begin = time.process_time()
    return {**seconds, "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)}


def growth(cells: int) -> dict[str, Any]:
    """Processor seconds and peak memory of this many cells."""
    command = [sys.executable, __file__, "--train-synthetic", str(cells)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    say(f"{cells} cells: {figures}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twin", type=Path, default=REPOSITORY / "runs" / "southwest_france_twin.zarr")
    parser.add_argument("--every", type=int, default=1, help="use every n-th cell of the twin")
    parser.add_argument("--hawaii", type=Path, help="store of `make hawaii`")
    parser.add_argument("--growth", type=int, nargs="*", default=[1000, 3000, 10_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make-samples", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--train-synthetic", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_samples:
        make_samples(Path(arguments.make_samples[0]), int(arguments.make_samples[1]), DAYS)
        return
    if arguments.train_synthetic:
        say(json.dumps(train_synthetic(arguments.train_synthetic)))
        return
    figures: dict[str, Any] = {}

    def keep(name: str, found: Any) -> None:
        figures[name] = found
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")

    for cells in arguments.growth:
        keep("growth", {**figures.get("growth", {}), str(cells): growth(cells)})
    if not arguments.twin.exists():
        say(f"no twin at {arguments.twin}: make it with `ldas run examples/southwest_france_twin.yaml`")
        return
    twin = samples_of_store(str(arguments.twin), TWIN, arguments.every)
    keep("twin", compare_in_twin(twin))
    if REAL_TABLE.exists():
        say("real cell 43.625N 0.875E, network of the synthetic twin")
        keep("transfer_43.625N_0.875E", transfer(twin, real_cell()))
    if arguments.hawaii:
        say("Silver Sword, network of the synthetic twin")
        keep("transfer_silver_sword", transfer(twin, samples_of_store(str(arguments.hawaii), HAWAII, 1, lai=None)))


if __name__ == "__main__":
    main()
