"""Scaling: two worker processes against one, the share of the scheduler, and a campaign of very many blocks.

Speed: the open loop of the real land model, little output, on one and on two worker processes in turn; the machine
must have two idle cores. Overhead: with one worker and the default block (64 cells, 366 days), the part of the time in
which no task ran. Campaign: tasks that do nothing but keep the ledger, with the scheduler in a process of its own whose
highest memory is read; the most tasks in flight are counted.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distributed import Client, LocalCluster  # noqa: E402

from benchmarks.region import make_region, region_experiment  # noqa: E402
from ldas.pipeline.execution.cluster import connected  # noqa: E402
from ldas.pipeline.execution.run_stages import run_stages  # noqa: E402
from ldas.pipeline.execution.stage import Stage, TaskResult, prepare  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.execution import ClusterConfig  # noqa: E402
from ldas.pipeline.stages.open_loop import OpenLoop  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.ledger import Block, Period  # noqa: E402
from ldas.pipeline.store.location import Location  # noqa: E402

WINDOW = 6


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Seconds:
    """A listener that adds up what the tasks took, and shows the memory after every ten thousand."""

    def __init__(self) -> None:
        self.tasks = 0
        self.seconds = 0.0
        self.began = time.perf_counter()

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """See `execution.Listener`."""

    def task_done(self, name: str, result: TaskResult) -> None:
        """See `execution.Listener`."""
        self.tasks += 1
        self.seconds += result.seconds
        if self.tasks % 10_000 == 0:
            rate = self.tasks / (time.perf_counter() - self.began)
            print(f"{self.tasks} tasks, {rate:.0f} a second, {peak_memory_mb():.0f} MB", flush=True)

    def block_failed(self, name: str, block: Block, period: Period, message: str) -> None:
        """See `execution.Listener`."""
        raise RuntimeError(message)

    def stage_finished(self, name: str) -> None:
        """See `execution.Listener`."""


def open_loop(path: Path, days: int, cells_per_block: int) -> OpenLoop:
    """The stage of a region with little output."""
    config = region_experiment(path, days, cells_per_block, output={"mean": ["LE"], "instant": ["LAI"]})
    stage = next(build_stages(config))
    assert isinstance(stage, OpenLoop)
    return stage


def timed(stage: Stage, client: Client) -> tuple[float, Seconds]:
    """Wall-clock seconds of a stage whose templates are there."""
    prepare(stage)
    listener = Seconds()
    began = time.perf_counter()
    if not run_stages([stage], client, tasks_in_flight=lambda: WINDOW, retries=0, listener=listener)[
        stage.name
    ].complete:
        raise RuntimeError("cells were set aside")
    return time.perf_counter() - began, listener


def speed(folder: Path, blocks: int, cells_per_block: int, days: int, pairs: int) -> dict[str, Any]:
    """Two worker processes against one, in turn, each pair on fresh output."""
    store = folder / "speed"
    make_region(store, blocks * cells_per_block, days)
    stage = open_loop(store, days, cells_per_block)
    ratios, seconds = [], []
    with (
        connected(ClusterConfig(workers=1, processes=True)) as one,
        connected(ClusterConfig(workers=2, processes=True)) as two,
    ):
        for client in (one, two):
            two.wait_for_workers(2)
            timed(replace(stage, name=f"warm-{client is two}"), client)  # compiled code and libraries are loaded
        for pair in range(pairs):
            times = [timed(replace(stage, name=f"run-{pair}-{number}"), c)[0] for number, c in enumerate((one, two))]
            seconds.append(times)
            ratios.append(times[0] / times[1])
            print(f"pair {pair}: {times[0]:.2f} s with one, {times[1]:.2f} s with two: {ratios[-1]:.3f}", flush=True)
    return {
        "blocks": blocks,
        "cells_per_block": cells_per_block,
        "days": days,
        "seconds": seconds,
        "speed_up_median": statistics.median(ratios),
        "speed_up_least": min(ratios),
        "speed_up_most": max(ratios),
    }


def overhead(folder: Path, blocks: int, cells_per_block: int, days: int) -> dict[str, Any]:
    """The part of the time in which the one worker had no task, in percent."""
    store = folder / "overhead"
    make_region(store, blocks * cells_per_block, days)
    stage = open_loop(store, days, cells_per_block)
    with connected(ClusterConfig(workers=1, processes=True)) as client:
        timed(replace(stage, name="warm"), client)
        wall, listener = timed(replace(stage, name="run"), client)
    return {
        "tasks": listener.tasks,
        "cells_per_block": cells_per_block,
        "days": days,
        "seconds_per_task": listener.seconds / listener.tasks,
        "overhead_percent": 100.0 * (wall - listener.seconds) / wall,
    }


@dataclass(frozen=True)
class Nothing(Stage):
    """Blocks of one cell whose tasks only keep the ledger."""

    def periods(self) -> Sequence[Period]:
        """See `Stage.periods`."""
        return ledger.periods_of(np.datetime64("2007-01-01", "s"), 1, 1)

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return {"blocks": self.cells}

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def memory_bytes(self, cells: int) -> int:
        """See `Stage.memory_bytes`."""
        return cells


def _campaign_driver(url: str, blocks: int, send: Any) -> None:
    """Scheduler, one worker of two threads and driver in one process, so that its memory bounds that of each."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        before = peak_memory_mb()
        most = 0
        submit = client.submit

        def counted(*arguments: Any, **settings: Any) -> Any:
            nonlocal most
            future = submit(*arguments, **settings)
            most = max(most, sum(state.status == "pending" for state in list(client.futures.values())))
            return future

        client.submit = counted
        wall, listener = timed(Nothing("campaign", Location(url), blocks, 1), client)
        peak = peak_memory_mb()
    send.send((wall, listener.tasks, before, peak, most))


def campaign(folder: Path, blocks: int) -> dict[str, Any]:
    """Very many blocks: memory of the process with the scheduler, tasks in flight, tasks per second."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_campaign_driver, args=(str(folder / "campaign"), blocks, send))
    process.start()
    send.close()
    wall, tasks, before, peak, most = receive.recv()
    process.join()
    if most > WINDOW:
        raise RuntimeError(f"{most} tasks in flight, the window is {WINDOW}")
    return {
        "blocks": blocks,
        "tasks": tasks,
        "seconds": wall,
        "tasks_per_second": tasks / wall,
        "memory_before_mb": before,
        "highest_memory_mb": peak,
        "window": WINDOW,
        "most_in_flight": most,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=("speed", "overhead", "campaign"), default=["speed", "overhead"])
    parser.add_argument("--blocks", type=int, default=8, help="blocks of the speed-up")
    parser.add_argument("--cells-per-block", type=int, default=32, help="cells of each")
    parser.add_argument("--days", type=int, default=365, help="days of each, and of the overhead")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved runs")
    parser.add_argument("--default-blocks", type=int, default=4, help="blocks of the default size for the overhead")
    parser.add_argument("--campaign-blocks", type=int, default=100_000)
    parser.add_argument("--folder", help="where the stores go, for the time of the benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        if "speed" in chosen.parts:
            figures["speed"] = found = speed(folder, chosen.blocks, chosen.cells_per_block, chosen.days, chosen.pairs)
            print(
                f"two processes are {found['speed_up_median']:.2f} times as fast as one "
                f"({found['speed_up_least']:.2f} to {found['speed_up_most']:.2f}; wanted: 1.8)"
            )
        if "overhead" in chosen.parts:
            figures["overhead"] = found = overhead(folder, chosen.default_blocks, 64, chosen.days)
            print(
                f"a task takes {found['seconds_per_task']:.1f} s; {found['overhead_percent']:.2f} % of the time "
                "no task ran (wanted: less than 2 %)"
            )
        if "campaign" in chosen.parts:
            figures["campaign"] = found = campaign(folder, chosen.campaign_blocks)
            print(
                f"{found['tasks']} tasks, {found['tasks_per_second']:.0f} a second; highest memory "
                f"{found['highest_memory_mb']:.0f} MB ({found['memory_before_mb']:.0f} MB before), at most "
                f"{found['most_in_flight']} in flight"
            )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
