"""Training by blocks: two workers against one and against one training of all cells, on synthetic samples.

A store gets synthetic states of an open loop and synthetic backscatter; its training stage is run on workers that have
trained a block before (import and compilation are timed apart), in one run of this script. The machine must have two
idle cores.

    python benchmarks/training_by_blocks.py [--cells 2000] [--days 2557] [--epochs 250] [--json FILE]

`ratio_of_two_workers` is the wall time of one worker, from the first batch to the last, over that of two;
`processor_ratio` the processor time of one worker over that of the same training as a single task in one thread, which
reads, trains, scores and writes all cells together; `peak_mb` the highest memory of the one worker after a quarter of
the cells, and after all.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldas.pipeline.execution.threads import ONE_THREAD, limit_threads  # noqa: E402

limit_threads()

from distributed import Client  # noqa: E402

from benchmarks.region import region_experiment  # noqa: E402
from benchmarks.scaling import Seconds  # noqa: E402
from ldas.operators.neural import NeuralOperator  # noqa: E402
from ldas.pipeline.execution.cluster import connected  # noqa: E402
from ldas.pipeline.execution.run_stages import run_stages  # noqa: E402
from ldas.pipeline.execution.stage import prepare  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.execution import ClusterConfig  # noqa: E402
from ldas.pipeline.stages.train import Train  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import existing_group, open_store  # noqa: E402
from ldas.pipeline.store.groups import write_group  # noqa: E402
from ldas.pipeline.store.ledger import Block, day_axis  # noqa: E402

START = np.datetime64("1986-01-01", "s")
CELLS_PER_BLOCK = 64
WARM = "warm"


def make_samples(path: Path, cells: int, days: int) -> None:
    """Land, states of an open loop at the analysis hour and daily backscatter, all synthetic, and a ledger for them."""
    root, random = open_store(str(path), "a"), np.random.default_rng(0)
    row, column = np.divmod(np.arange(cells), 100)
    land = {"latitude": ("cell", 40.0 + 0.1 * row), "longitude": ("cell", 0.1 * column)}
    write_group(root, "land", xr.Dataset({**land, "patch_fraction": (("cell", "patch"), np.ones((cells, 1)))}))
    time = day_axis(START, days)
    season = np.sin(2.0 * np.pi * np.arange(days) / 365.25)[:, None]
    states = {
        "WG2": 0.25 + 0.05 * season + random.normal(0.0, 0.03, (days, cells)),
        "TG2": 285.0 - 8.0 * season + random.normal(0.0, 3.0, (days, cells)),
        "LAI": 2.0 + season + random.normal(0.0, 0.1, (days, cells)),
    }
    sigma = -14.0 + 20.0 * states["WG2"] + 0.5 * states["LAI"] + random.normal(0.0, 0.3, (days, cells))
    sizes = {"time": 366, "cell": CELLS_PER_BLOCK}
    for group, content, hour in (("runs/open_loop", states, 0), ("observations/sigma40", {"value": sigma}, 6)):
        arrays = {name: (("time", "cell"), values.astype("float32")) for name, values in content.items()}
        coordinates = {"time": time + np.timedelta64(hour, "h")}
        write_group(root, group, xr.Dataset(arrays, coords=coordinates), chunks=sizes)
    periods = ledger.periods_of(START, days, days)
    ledger.create(
        root, "open_loop", periods=periods, cells=cells, cells_per_block=CELLS_PER_BLOCK, identity={"synthetic": True}
    )
    for block in ledger.blocks_of(cells, CELLS_PER_BLOCK):
        ledger.mark(root, "open_loop", block, periods[0], ledger.DONE)


def training(path: Path, name: str, days: int, epochs: int) -> Train:
    """The stage that trains an operator of this name on all days."""
    end = str((START.astype("datetime64[D]") + days - 1).astype(object))
    operator = {"name": name, "lai": None, "training": {"start": "1986-01-01", "end": end}}
    config = region_experiment(
        path, days, CELLS_PER_BLOCK, operators=[{**operator, "neural": {"epochs": epochs}}],
        output={"instant": ["WG2", "TG2", "LAI"]},
    )  # fmt: skip
    return next(stage for stage in build_stages(config) if isinstance(stage, Train))


def warm(client: Client, stage: Train) -> list[tuple[float, float]]:
    """Each worker trains the first block, which is not stored: processor seconds of import and compilation."""

    def once(stage: Train) -> tuple[float, float]:
        begin = time.process_time()
        from ldas.operators.batched_training import import_tensorflow

        import_tensorflow()
        imported = time.process_time()
        samples = stage.samples(stage.root(), Block(0, 0, 8), stage.settings.training)
        one_epoch = replace(stage.settings.neural, epochs=1)
        seconds = []
        for _ in range(2):
            begun = time.process_time()
            NeuralOperator(one_epoch).fit_block(*samples)
            seconds.append(time.process_time() - begun)
        return imported - begin, seconds[0] - seconds[1]

    return list(client.run(once, stage).values())


def processor_seconds(client: Client) -> float:
    """Of all workers so far."""
    return float(sum(client.run(time.process_time).values()))


def peak_mb(client: Client) -> list[float]:
    """Highest resident memory of each worker so far."""
    return [peak / 1024 for peak in client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).values()]


def timed(stage: Train, client: Client) -> dict[str, float]:
    """Wall-clock seconds of a training whose templates are there, its finish included, and processor seconds."""
    prepare(stage)
    before, begin, listener = processor_seconds(client), time.perf_counter(), Seconds()
    outcomes = run_stages([stage], client, tasks_in_flight=lambda: 4, retries=0, listener=listener)
    wall = time.perf_counter() - begin
    if not outcomes[stage.name].complete:
        raise RuntimeError(f"{stage.name}: {outcomes[stage.name]}")
    return {"wall_s": wall, "processor_s": processor_seconds(client) - before, "task_s": listener.seconds}


class AllAtOnce(Train):
    """The same training as one task: reads, trains, scores and writes all cells together."""

    by_blocks = False


def all_at_once(stage: Train) -> float:
    """Processor seconds of that task, in one thread of this process, import and compilation apart."""
    samples = stage.samples(stage.root(), Block(0, 0, 8), stage.settings.training)
    NeuralOperator(replace(stage.settings.neural, epochs=1)).fit_block(*samples)
    task = AllAtOnce(**{field.name: getattr(stage, field.name) for field in fields(stage)})
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # as many threads train as there are processors
    try:
        begin = time.process_time()
        task.compute(open_store(task.location, "a"), Block(0, 0, task.cells), task.periods()[0])
        return time.process_time() - begin
    finally:
        os.sched_setaffinity(0, allowed)


def measure(folder: Path, cells: int, days: int, epochs: int) -> dict[str, Any]:
    """All figures of the module's docstring."""
    whole, quarter = folder / "whole", folder / "quarter"
    make_samples(whole, cells, days)
    make_samples(quarter, max(cells // 4, 1), days)
    with (
        connected(ClusterConfig(workers=1, processes=True)) as one,
        connected(ClusterConfig(workers=2, processes=True)) as two,
    ):
        two.wait_for_workers(2)
        apart = [cost for client in (one, two) for cost in warm(client, training(whole, WARM, days, epochs))]
        timed(training(quarter, "small", days, epochs), one)
        peaks = {"quarter": peak_mb(one)}
        single, double = (
            timed(training(whole, name, days, epochs), client) for name, client in (("single", one), ("double", two))
        )
        peaks["all"] = peak_mb(one)
    seconds = all_at_once(training(whole, "at_once", days, epochs))
    root = open_store(str(whole))
    names = ("single", "double", "at_once")
    hashes = {str(existing_group(root, f"operators/{name}").attrs["content_hash"]) for name in names}
    return {
        "cells": cells,
        "days": days,
        "epochs": epochs,
        "threads": {name: os.environ[name] for name in ONE_THREAD},
        "import_s": [imported for imported, _ in apart],
        "compilation_s": [compiled for _, compiled in apart],
        "one_worker": single,
        "two_workers": double,
        "all_at_once_processor_s": seconds,
        "ratio_of_two_workers": single["wall_s"] / double["wall_s"],
        "processor_ratio": single["processor_s"] / seconds,
        "peak_mb": peaks,
        "same_bytes": len(hashes) == 1,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in (("cells", 2000), ("days", 2557), ("epochs", 250)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), chosen.cells, chosen.days, chosen.epochs)
    text = json.dumps(found, indent=2)
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n", encoding="utf-8")
    if not found["same_bytes"]:
        raise SystemExit("the operators differ")


if __name__ == "__main__":
    main()
