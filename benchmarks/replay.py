"""What it costs to compute again what follows from one late day of forcing in one of a hundred cells.

A synthetic region is run once (open loop, and an assimilation of leaf area index by the SEKF with an observation every
day). Then the forcing of one day changes in one percent of the cells, neighbours on the axis: the ledger is set back
and the tasks run, as `ldas cycle` does it. `ratio_to_just_that_work` is the processor time of these tasks over that of
the same periods in a store that has these cells alone, medians of repetitions that take turns. The search for the
change, which reads all input, and the whole command `ldas cycle` are given beside it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.region import make_region, region_experiment  # noqa: E402
from benchmarks.scaling import Seconds  # noqa: E402
from benchmarks.sizing import write_lai  # noqa: E402
from ldas.pipeline.commands.cycle import run_cycle  # noqa: E402
from ldas.pipeline.execution.stage import is_done, prepare, run_task  # noqa: E402
from ldas.pipeline.forcing.analytic import START  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.experiment import ExperimentConfig  # noqa: E402
from ldas.pipeline.store import input_record, ledger  # noqa: E402
from ldas.pipeline.store.arrays import existing_array, open_dataset, open_store  # noqa: E402
from ldas.pipeline.store.groups import write_group  # noqa: E402
from ldas.pipeline.store.input_record import checksums  # noqa: E402

INPUTS = ("forcing", "observations/lai")
RUNS = [{"name": "ekf", "observations": [{"name": "lai"}]}]


def experiment(path: Path, days: int, cells_per_block: int, days_per_period: int) -> ExperimentConfig:
    """Open loop and assimilation of a store."""
    execution = {"cells_per_block": cells_per_block, "days_per_period": days_per_period, "cluster": {"workers": 1}}
    return region_experiment(path, days, cells_per_block, assimilation=RUNS, execution=execution)


def run_tasks(config: ExperimentConfig, said: str = "") -> float:
    """Runs what is not done, here and one task after the other; its processor seconds."""
    began = time.process_time()
    for stage in build_stages(config):
        prepare(stage)
        done = ledger.done_tasks(ledger.statuses(stage.root(), stage.name), stage.cells_per_block)
        blocks, periods = ledger.blocks_of(stage.cells, stage.cells_per_block), stage.periods()
        for block in blocks:
            for period in periods:
                if not done[period.index, block.index]:
                    run_task(stage, block, period)
            if said:
                print(f"{said}: {stage.name}, block {block.index + 1} of {len(blocks)}", file=sys.stderr, flush=True)
    return time.process_time() - began


def set_back(config: ExperimentConfig, instants: np.ndarray) -> int:
    """Marks cells as not done from an instant on; the periods of the open loop that this touches."""
    root = open_store(config.location, "a")
    for stage in build_stages(config):
        ledger.reopen(root, stage.name, instants)
    return int(sum(not is_done(row) for row in ledger.statuses(root, config.open_loop.name)))


def alone(path: Path, source: Path, cells: slice) -> None:
    """A store with the land and the input of some cells of another one."""
    root = open_store(path, "a")
    for group in ("land", *INPUTS):
        part = open_dataset(source, group).isel(cell=cells).load()
        part["cell"] = np.arange(part.sizes["cell"])
        write_group(root, group, part.drop_encoding())


def measure(
    folder: Path, *, cells: int, days: int, days_per_period: int, late: int, repetitions: int
) -> dict[str, Any]:
    """The figures of a region."""
    changed = max(1, cells // 100)
    begin = min(cells // 3, cells - changed)
    chosen = slice(begin, begin + changed)
    make_region(folder / "all", cells, days)
    write_lai(folder / "all", cells, days)
    alone(folder / "alone", folder / "all", chosen)
    whole = experiment(folder / "all", days, 64, days_per_period)
    part = experiment(folder / "alone", days, changed, days_per_period)
    run_tasks(part)
    first_run = run_tasks(whole, "first run")
    day = START.astype("datetime64[D]").astype("datetime64[s]") + np.timedelta64(days - 1 - late, "D")
    instants = np.full(cells, np.datetime64("NaT", "s"))
    instants[chosen] = day
    replayed, just_that = [], []
    for number in range(repetitions):
        periods = set_back(part, instants[chosen])
        just_that.append(run_tasks(part))
        set_back(whole, instants)
        replayed.append(run_tasks(whole))
        print(
            f"repetition {number + 1}: {replayed[-1]:.2f} s, alone {just_that[-1]:.2f} s", file=sys.stderr, flush=True
        )
    root = open_store(folder / "all", "a")
    began = time.process_time()
    now = {group: checksums(root, group) for group in INPUTS}
    search = time.process_time() - began
    input_record.keep(root, now)
    temperature = existing_array(root, "forcing", "Tair")
    row = 24 * (days - 1 - late) + 12
    temperature[row, chosen] = np.asarray(temperature[row, chosen]) + np.float32(1.0)
    wall, processor = time.perf_counter(), time.process_time()
    result = run_cycle(whole, Seconds())
    command = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
    if result.replayed != {"open_loop": changed, "ekf": changed}:
        raise RuntimeError(f"the cycle computed other cells again: {result.replayed}")
    return {
        "cells": cells,
        "days": days,
        "changed_cells": changed,
        "late_days": late,
        "days_per_period": days_per_period,
        "periods_again": periods,
        "first_run_processor_s": first_run,
        "replay_processor_s": statistics.median(replayed),
        "just_that_work_processor_s": statistics.median(just_that),
        "ratio_to_just_that_work": statistics.median(replayed) / statistics.median(just_that),
        "search_processor_s": search,
        "command": command,
    }


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--days-per-period", type=int, default=30)
    parser.add_argument("--late", type=int, default=20, help="days between the late day and the last one")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder),
            cells=given.cells,
            days=given.days,
            days_per_period=given.days_per_period,
            late=given.late,
            repetitions=given.repetitions,
        )
    text = json.dumps(found, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
