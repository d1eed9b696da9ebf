"""What a run of a size costs: CPU hours, memory, objects, bytes, extrapolated from a small real run.

The run: open loop and an assimilation of leaf area index (SEKF) over one block of the synthetic region, default output,
one worker process. Measured: processor seconds, bytes and objects of each group, memory. Everything grows with cells
x years; the arithmetic is printed with the table.
"""

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distributed import Client  # noqa: E402

from benchmarks.region import make_region, region_experiment  # noqa: E402
from benchmarks.scaling import Seconds  # noqa: E402
from ldas.pipeline.execution.cluster import connected  # noqa: E402
from ldas.pipeline.execution.run_stages import run_stages  # noqa: E402
from ldas.pipeline.execution.stage import Stage, prepare  # noqa: E402
from ldas.pipeline.forcing.analytic import START  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.execution import ClusterConfig  # noqa: E402
from ldas.pipeline.store.arrays import open_store, read_region  # noqa: E402
from ldas.pipeline.store.groups import write_group  # noqa: E402

DEFAULT_CELLS, DEFAULT_DAYS = 64, 366
STEPS_PER_YEAR = 48 * 365.25
GROUPS = ("forcing", "runs/open_loop", "restarts/open_loop", "runs/ekf", "restarts/ekf", "ledger")
AXES = {"time", "cell", "patch", "layer", "snow_layer", "pool", "respired_pool", "period"}
REGIONS = (
    ("a site", 1, 15),
    ("southwestern France, 0.25 degrees", 247, 12),
    ("Europe, 0.25 degrees", 15_000, 12),
    ("land of the globe, 0.25 degrees", 244_000, 12),
    ("land of the globe, 0.1 degrees", 1_525_000, 12),
)


def write_lai(path: Path, cells: int, days: int) -> None:
    """An observation every day: a window without one would need the control run only."""
    time = (START.astype("datetime64[D]") + np.arange(days)).astype("datetime64[s]")
    value = np.full((len(time), cells), 1.5, dtype="float32")
    lai = xr.Dataset({"value": (("time", "cell"), value)}, coords={"time": time, "cell": np.arange(cells)})
    write_group(open_store(path, "a"), "observations/lai", lai)


def cpu_seconds(client: Client) -> float:
    """Processor time of the worker process so far."""
    return float(sum(client.run(time.process_time).values()))


def peak_memory(client: Client) -> int:
    """Highest resident memory of the worker process, bytes."""
    peaks = client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return max(int(kilobytes) * 1024 for kilobytes in peaks.values())


def run(stage: Stage, client: Client) -> dict[str, float]:
    """Processor seconds of a stage, and what the memory check projects for a default block."""
    prepare(stage)
    before = cpu_seconds(client)
    if not run_stages([stage], client, tasks_in_flight=lambda: 1, retries=0, listener=Seconds())[stage.name].complete:
        raise RuntimeError(f"{stage.name}: cells were set aside")
    return {"cpu_seconds": cpu_seconds(client) - before, "default_block_bytes": stage.memory_bytes(DEFAULT_CELLS)}


def measure(path: Path, cells: int, days: int) -> dict[str, Any]:
    """The small run and what it left."""
    make_region(path, cells, days)
    write_lai(path, cells, days)
    assimilation = [{"name": "ekf", "observations": [{"name": "lai"}]}]
    config = region_experiment(path, days, cells, assimilation=assimilation)
    stages = {}
    with connected(ClusterConfig(workers=1, processes=True)) as client:
        # The first task loads libraries and compiled code: a run of a few days before what is measured.
        warm = region_experiment(path, 2, cells, open_loop={"name": "warm"})
        run(next(build_stages(warm)), client)
        idle = peak_memory(client)
        for stage in build_stages(config):
            stages[stage.name] = run(stage, client)
        peak = peak_memory(client)
    columns = int((read_region(open_store(path), "land", "patch_fraction") > 0).sum())
    groups = {}
    for name in GROUPS:
        files = [file for file in (path / name).rglob("*") if file.is_file() and "warm" not in file.parts]
        # Metadata and axes are there once, whatever the size.
        data = [file for file in files if "c" in file.parts and not AXES & set(file.parts)]
        groups[name] = {"bytes": sum(file.stat().st_size for file in data), "objects": len(data)}
    return {
        "cells": cells,
        "days": days,
        "columns_per_cell": columns / cells,
        "stages": stages,
        "groups": groups,
        "worker_idle_bytes": idle,
        "worker_peak_bytes": peak,
    }


def carried_on(measured: dict[str, Any], cells: int, years: int) -> dict[str, float]:
    """The costs of a size, from those of the small run."""
    share = cells * years / (measured["cells"] * measured["days"] / 365.25)
    tasks = math.ceil(cells / DEFAULT_CELLS) * math.ceil(365.25 * years / DEFAULT_DAYS)
    found: dict[str, float] = {"cells": cells, "years": years, "tasks": tasks}
    for name, stage in measured["stages"].items():
        found[f"cpu_hours_{name}"] = stage["cpu_seconds"] * share / 3600.0
    for part in ("forcing", "open_loop", "ekf"):
        groups = [value for name, value in measured["groups"].items() if name.split("/")[-1] == part]
        found[f"gigabytes_{part}"] = sum(group["bytes"] for group in groups) * share / 1e9
        # The small run is one block and one period long.
        found[f"objects_{part}"] = sum(group["objects"] for group in groups) * tasks
    return found


def short(value: float) -> str:
    """Two digits that count, or whole numbers."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def table(measured: dict[str, Any]) -> str:
    """Measured figures, arithmetic and table, as Markdown."""
    cell_years = measured["cells"] * measured["days"] / 365.25
    lines = [
        f"measured: {measured['cells']} cells, {measured['days']} days ({cell_years:.1f} cell-years), "
        f"{measured['columns_per_cell']:.1f} columns a cell",
    ]
    for name, stage in measured["stages"].items():
        per_step = stage["cpu_seconds"] / (cell_years * measured["columns_per_cell"] * STEPS_PER_YEAR)
        lines.append(
            f"{name}: {stage['cpu_seconds']:.1f} s of processor / {cell_years:.1f} cell-years = "
            f"{stage['cpu_seconds'] / cell_years:.2f} s a cell-year ({1e6 * per_step:.2f} us a column-step); the "
            f"memory check projects {stage['default_block_bytes'] / 2**20:.0f} MiB for {DEFAULT_CELLS} cells and "
            f"{measured['days']} days"
        )
    for name, group in measured["groups"].items():
        lines.append(
            f"{name}: {group['bytes'] / 1e6:.2f} MB / {cell_years:.1f} cell-years = "
            f"{group['bytes'] / cell_years / 1e3:.1f} kB a cell-year; {group['objects']} objects a block and period"
        )
    lines += [
        f"worker: {measured['worker_idle_bytes'] / 2**20:.0f} MiB before the run, "
        f"{measured['worker_peak_bytes'] / 2**20:.0f} MiB at most in it",
        "",
        "| region | cells x years | tasks a stage | CPU hours: open loop, SEKF | GB: forcing, open loop, SEKF "
        "| objects: forcing, open loop, SEKF |",
        "|---|---|---|---|---|---|",
    ]
    for name, cells, years in REGIONS:
        row = carried_on(measured, cells, years)
        hours = ", ".join(short(row[f"cpu_hours_{stage}"]) for stage in measured["stages"])
        gigabytes = ", ".join(short(row[f"gigabytes_{part}"]) for part in ("forcing", "open_loop", "ekf"))
        objects = ", ".join(f"{row[f'objects_{part}']:,.0f}" for part in ("forcing", "open_loop", "ekf"))
        lines.append(f"| {name} | {cells:,} x {years} | {row['tasks']:,.0f} | {hours} | {gigabytes} | {objects} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=32)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--folder", help="where the store goes, for the time of the benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    if not 0 < chosen.days <= DEFAULT_DAYS:
        parser.error(f"--days: one period, so at most {DEFAULT_DAYS}")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        measured = measure(Path(folder) / "store", chosen.cells, chosen.days)
    print(table(measured))
    if chosen.json:
        rows = [{"region": name, **carried_on(measured, cells, years)} for name, cells, years in REGIONS]
        chosen.json.write_text(json.dumps({"measured": measured, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
