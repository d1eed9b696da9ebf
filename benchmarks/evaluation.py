"""Memory and time of an evaluation as the number of cells grows: memory must not grow with it.

Stores of made-up numbers (12 years, daily, an open loop and an analysis, three kinds of observations) of growing size
are evaluated, each in a process of its own, on Dask with two threads. Reported are the highest resident memory of that
process, what the evaluation added to it, the time, and the growth between the sizes, extrapolated to 244,000 cells.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store.arrays import open_store, write_region
from ldas.pipeline.store.template import ArraySpec, create_template

SIZES = (256, 512, 1024)
DAYS = 4383
GLOBAL_CELLS = 244_000
BLOCK = 64
FIRST_DAY = np.datetime64("2007-01-01", "D")
MEGABYTE = 2**20


def make_store(path: Path, cells: int, days: int) -> None:
    """Random numbers in the form of a store, written block by block."""
    root = open_store(path, "a")
    side = int(np.ceil(np.sqrt(cells)))
    number = np.arange(cells)
    coordinates = {"cell": (("cell",), number)}
    create_template(
        root,
        "land",
        {name: ArraySpec(("cell",), "float64") for name in ("latitude", "longitude")},
        coordinates=coordinates,
        chunks={"cell": cells},
    )
    write_region(root, "land", {"latitude": 42 + number // side * 0.25, "longitude": number % side * 0.25}, {})
    analysed = ("LAI", "LAI_forecast", "WG2", "WG2_forecast", "innovation_lai", "increment_WG2")
    _fill(root, "runs/open_loop", ("LAI", "WG2"), cells, days)
    _fill(root, "runs/ekf", analysed, cells, days)
    for name in ("lai", "swi", "ssm"):
        _fill(root, f"observations/{name}", ("value",), cells, days)


def _fill(root: zarr.Group, path: str, names: tuple[str, ...], cells: int, days: int) -> None:
    create_template(
        root,
        path,
        {name: ArraySpec(("time", "cell")) for name in names},
        coordinates={
            "time": (("time",), (FIRST_DAY + np.arange(days)).astype("datetime64[s]")),
            "cell": (("cell",), np.arange(cells)),
        },
        chunks={"time": 366, "cell": 64},
        shards={"time": 366, "cell": BLOCK},
    )
    random = np.random.default_rng(abs(hash(path)) % 2**32)
    for start in range(0, cells, BLOCK):
        stop = min(start + BLOCK, cells)
        for name in names:
            values = random.random((days, stop - start), dtype=np.float32)
            write_region(root, path, {name: values}, {"cell": slice(start, stop)})


def measure(path: str, queue: "multiprocessing.Queue[dict[str, float]]") -> None:
    """Evaluates a store and reports time and highest memory, in a process of its own."""
    stop, highest = threading.Event(), [0.0]

    def watch() -> None:
        while not stop.wait(0.02):
            highest[0] = max(highest[0], _resident())

    with connected(ClusterConfig(workers=1, threads_per_worker=2)) as client:
        before = _resident()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        began = time.perf_counter()
        cpu_before = time.process_time()
        evaluate(path, client=client)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_before
        stop.set()
        watcher.join()
    queue.put({"seconds": seconds, "cpu_seconds": cpu, "before_mb": before, "peak_mb": highest[0]})


def _resident() -> float:
    """Resident memory of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MEGABYTE


def run(sizes: tuple[int, ...], days: int) -> dict[str, Any]:
    """All sizes; rows with cells, memory above the start (MB), seconds."""
    rows = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="ldas-benchmark-") as folder:
        for cells in sizes:
            path = Path(folder) / f"{cells}.zarr"
            make_store(path, cells, days)
            queue: multiprocessing.Queue[dict[str, float]] = context.Queue()
            process = context.Process(target=measure, args=(str(path), queue))
            process.start()
            found = queue.get()
            process.join()
            rows.append(
                {
                    "cells": cells,
                    "working_memory_mb": found["peak_mb"] - found["before_mb"],
                    "peak_memory_mb": found["peak_mb"],
                    "seconds": found["seconds"],
                    "cpu_seconds": found["cpu_seconds"],
                    "stored_mb": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / MEGABYTE,
                }
            )
    return {"days": days, "rows": rows, "extrapolated": _extrapolated(rows)}


def _extrapolated(rows: list[dict[str, float]]) -> dict[str, float]:
    """Straight lines through the sizes: growth per 1000 cells, and what they give for 244,000 cells."""
    cells = np.array([row["cells"] for row in rows], dtype=float)
    result: dict[str, float] = {"cells": GLOBAL_CELLS}
    for name in ("working_memory_mb", "seconds", "cpu_seconds"):
        slope, offset = np.polyfit(cells, [row[name] for row in rows], 1)
        result[f"{name}_per_1000_cells"] = float(1000 * slope)
        result[name] = float(offset + slope * GLOBAL_CELLS)
    return result


def main() -> None:
    """Prints the growth; `--json FILE` writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures as JSON too")
    parser.add_argument("--cells", type=int, nargs="+", default=list(SIZES), help="numbers of cells")
    parser.add_argument("--days", type=int, default=DAYS, help="length of the period")
    arguments = parser.parse_args()
    found = run(tuple(arguments.cells), arguments.days)
    print(f"{'cells':>8} {'stored MB':>10} {'working memory MB':>18} {'peak MB':>9} {'seconds':>9}")
    for row in found["rows"]:
        print(
            f"{row['cells']:8d} {row['stored_mb']:10.0f} {row['working_memory_mb']:18.0f} {row['peak_memory_mb']:9.0f} "
            f"{row['seconds']:9.1f}"
        )
    more = found["extrapolated"]
    print(
        f"per 1000 cells more: {more['working_memory_mb_per_1000_cells']:.1f} MB, "
        f"{more['seconds_per_1000_cells']:.0f} s ({more['cpu_seconds_per_1000_cells']:.0f} s of processor time)"
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
