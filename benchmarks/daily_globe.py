"""The globe analysed for one day: what a daily step of the SEKF costs, from restart to restart, on two cores.

Synthetic land, weather and observations at the size of the globe's land at 0.25 degrees: 244,000 cells with some 4.8
columns each, an observation of leaf area index in each cell, so that control and perturbed members all run. The day
before, which no observation disturbs, makes the restart; then a process of its own lengthens the run by a day as `ldas
run` does: templates, ledger, restarts read and written, output, on two threads. Afterwards the same process runs
`Isba.run` alone over the same columns, weather and members, on two threads too: that is what processor time is
compared with. Land and weather are those of the synthetic globe (`ldas.pipeline.twin.globe`).
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

# run as a script, this file's folder comes first in the path, and other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scaling import Seconds, peak_memory_mb  # noqa: E402
from ldas import landmodel  # noqa: E402
from ldas.pipeline.execution.cluster import connected  # noqa: E402
from ldas.pipeline.execution.run_stages import run_stages  # noqa: E402
from ldas.pipeline.execution.stage import Stage  # noqa: E402
from ldas.pipeline.plan import build_stages  # noqa: E402
from ldas.pipeline.settings.execution import ClusterConfig  # noqa: E402
from ldas.pipeline.settings.experiment import ExperimentConfig  # noqa: E402
from ldas.pipeline.settings.land_options import model_options  # noqa: E402
from ldas.pipeline.settings.twin import GlobeConfig  # noqa: E402
from ldas.pipeline.stages.assimilate import Assimilate  # noqa: E402
from ldas.pipeline.store import ledger  # noqa: E402
from ldas.pipeline.store.arrays import existing_array, open_store  # noqa: E402
from ldas.pipeline.store.groups import write_group  # noqa: E402
from ldas.pipeline.store.icechunk_store import published, unfinished  # noqa: E402
from ldas.pipeline.store.ledger import Block, Period  # noqa: E402
from ldas.pipeline.store.location import Location  # noqa: E402
from ldas.pipeline.store.packed_view import STATE, fields_of  # noqa: E402
from ldas.pipeline.store.restart import columns_of, read_restart, restart_path  # noqa: E402
from ldas.pipeline.twin.globe import globe_land, globe_places, globe_weather  # noqa: E402

GLOBE = 244_000
FIRST_DAY = np.datetime64("1986-07-01", "D")
DAYS = 3  # the open loop runs two; analyses end at the analysis hour of the second and, measured, of the third
THREADS = 2
MOST_CELLS = 10_500  # of a block: tasks of some seconds, a gigabyte and a half projected, and few objects


def make_inputs(location: Location, cells: int, cells_per_block: int) -> None:
    """Land, hourly forcing and the observations of the measured day."""
    settings = GlobeConfig(cells=cells)
    land, hours = globe_land(settings), 24 * DAYS + 1
    days, numbers = FIRST_DAY + np.arange(DAYS + 1), np.arange(cells)
    hourly = globe_weather(settings.seed, days, globe_places(settings), numbers)
    fields = {name: xr.Variable(("time", "cell"), values[:hours]) for name, values in hourly.items()}
    times = FIRST_DAY.astype("datetime64[s]") + np.arange(hours) * np.timedelta64(3600, "s")
    coordinates = {"cell": np.arange(cells)}
    observed = FIRST_DAY.astype("datetime64[s]") + np.timedelta64(DAYS - 1, "D")
    lai = xr.DataArray(np.full((1, cells), 2.5, "float32"), dims=("time", "cell"))
    with published(location, "synthetic inputs"):
        root = open_store(location, "a")
        blocks = {"cell": cells_per_block}
        write_group(root, "land", land)
        chunks = {"time": 24, **blocks}
        write_group(root, "forcing", xr.Dataset(fields, {"time": times, **coordinates}), chunks=chunks)
        lai_group = xr.Dataset({"value": lai}, {"time": [observed], **coordinates})
        write_group(root, "observations/lai", lai_group, chunks=blocks)


def stages_until(location: Location, layout: tuple[int, int], day: int) -> list[Stage]:
    """Open loop and assimilation of an experiment that ends with a day, counted from 0.

    Args:
        layout: cells per block and days per period.
    """
    content = {
        "name": "globe",
        "synthetic": True,
        "store": {"url": location.url},
        "period": {"start": str(FIRST_DAY), "end": str(FIRST_DAY + day)},
        "open_loop": {"restart_on": [str(FIRST_DAY)]},
        "assimilation": [{"name": "ekf", "observations": [{"name": "lai"}]}],
        "report": False,
        "execution": {"cells_per_block": layout[0], "days_per_period": layout[1]},
    }
    return list(build_stages(ExperimentConfig.model_validate(content)))


def run(stages: list[Stage]) -> Seconds:
    """Prepares and runs stages on two threads of this process."""
    listener = Seconds()
    with connected(ClusterConfig(workers=THREADS)) as client:
        outcomes = run_stages(stages, client, tasks_in_flight=lambda: 3 * THREADS, retries=0, listener=listener)
    for name, outcome in outcomes.items():
        if not outcome.complete:
            raise RuntimeError(f"{name}: {outcome}")
    return listener


def roughen(location: Location, path: str) -> None:
    """Noise in the last digits of a restart whose soil and plants began everywhere alike, so that the codec finds as
    little to shorten as in a real one."""
    random = np.random.default_rng(1)
    with published(location, "noise"):
        array = existing_array(open_store(location, "a"), path, STATE)
        fields = fields_of(array.attrs)
        for first in range(0, array.shape[0], array.chunks[0]):
            cells = slice(first, first + array.chunks[0])
            values = np.array(array[cells])
            for name in ("soil_temperature", "soil_water", "biomass", "respired_biomass"):
                part = values[..., fields[name].rows]
                part *= 1.0 - 1e-7 * random.random(part.shape)
            array[cells] = values


def _make(location: Location, cells: int, layout: tuple[int, int], send: Any) -> None:
    """What is there before the measured day."""
    make_inputs(location, cells, layout[0])
    print("inputs are there", flush=True)
    stages = stages_until(location, layout, DAYS - 2)
    run(stages)
    roughen(location, restart_path("ekf", stages[-1].periods()[-1].stop))
    send.send(None)


def _step(location: Location, layout: tuple[int, int], began: float, send: Any) -> None:
    """The measured day, then the model alone."""
    stage = next(stage for stage in stages_until(location, layout, DAYS - 1) if stage.name == "ekf")
    assert isinstance(stage, Assimilate)
    warm_up(stage)
    start = {"wall": time.time() - began, "cpu": time.process_time()}
    listener = run([stage])
    wall, cpu, peak = time.time() - began, time.process_time(), peak_memory_mb()
    print(
        f"{stage.cells} cells: {wall:.1f} s, {cpu:.1f} s of processor, {peak:.0f} MB; now the model alone", flush=True
    )
    with unfinished(location):
        columns, column_steps, model_cpu = model_alone(stage)
    send.send(
        {
            "cells": stage.cells,
            "columns": columns,
            "cells_per_block": stage.cells_per_block,
            "days_per_period": stage.config.execution.days_per_period,
            "tasks": listener.tasks,
            "projected_task_mb": stage.memory_bytes(min(stage.cells, stage.cells_per_block)) / 2**20,
            "wall_s": wall,
            "start_s": start["wall"],
            "peak_mb": peak,
            "cpu_s": cpu,
            "model_cpu_s": model_cpu,
            "ratio_to_model": cpu / model_cpu,
            "ratio_to_model_without_start": (cpu - start["cpu"]) / model_cpu,
            "column_steps": column_steps,
            "nominal_column_steps": columns * 48 * stage.settings.method.model_runs,
            "column_steps_per_cpu_second": column_steps / model_cpu,
        }
    )


def last_day(stage: Assimilate) -> Period:
    """The measured window as a period."""
    stop = stage.periods()[-1].stop
    return Period(0, stop - np.timedelta64(1, "D"), stop, slice(0, 1))


def warm_up(stage: Assimilate) -> None:
    """Loads the compiled model: part of the start, not of the step."""
    with unfinished(stage.location):
        root = stage.root()
        block, period = Block(0, 0, 1), last_day(stage)
        parameters = stage.parameters(root, block)
        state = landmodel.cold_start(parameters, air_temperature=285.0)
        forcing = stage.forcing(root, block, period.start, period.stop, parameters)
    stage.run_model(parameters, state, forcing, period.start, period.stop)


def model_alone(stage: Assimilate) -> tuple[int, int, float]:
    """Columns, column-steps run, and processor seconds of `Isba.run` in the last window of all blocks: the control run
    and the perturbed members of the controls that each column has.

    They start from the restart that the step left, as the one before it may be gone.
    """
    root, period = stage.root(), last_day(stage)
    steps = int((period.stop - period.start) / np.timedelta64(stage.config.model.time_step_s, "s"))
    relative = stage.settings.sekf.relative_perturbation()

    def members(block: Block) -> tuple[int, int, float]:
        parameters = stage.parameters(root, block)
        controls = stage.filter_of(root, block).controls_of(parameters)
        forcing = stage.forcing(root, block, period.start, period.stop, parameters)
        state = read_restart(
            root, restart_path(stage.name, period.stop), landmodel.State, landmodel.State._fields,
            columns_of(parameters), block, model=stage.model_identity(),
        )  # fmt: skip
        perturbed = controls.perturbed_members(state, relative)
        where = controls.perturbation(state, relative) != 0.0
        model = landmodel.Isba(parameters, model_options(stage.config.model))
        request = stage.output_request()
        began = time.thread_time()
        model.run(state, forcing.forcing, period.start, 1800.0, steps, forcing.step_s, request)
        model.run(perturbed, forcing.forcing, period.start, 1800.0, steps, forcing.step_s, where=where)
        return parameters.columns, (parameters.columns + int(where.sum())) * steps, time.thread_time() - began

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(members, ledger.blocks_of(stage.cells, stage.cells_per_block)))
    columns, column_steps, seconds = zip(*found, strict=True)
    return sum(columns), sum(column_steps), sum(seconds)


def apart(function: Any, *arguments: Any) -> Any:
    """What a function sends from a process of its own."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*arguments, send))
    process.start()
    send.close()
    try:
        return receive.recv()
    finally:
        process.join()


def objects(folder: Path) -> dict[Path, int]:
    """The objects of a store, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def size_of_step(folder: Path, before: dict[Path, int]) -> dict[str, float]:
    """Objects and bytes that were written since, and those of the restart among them."""
    written = [path for path, when in objects(folder).items() if before.get(path) != when]
    restart = [path for path in written if "restarts" in path.parts]
    return {
        "objects_written": len(written),
        "mb_written": sum(path.stat().st_size for path in written) / 1e6,
        "restart_objects": len(restart),
        "restart_mb": sum(path.stat().st_size for path in restart) / 1e6,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=GLOBE)
    parser.add_argument("--cells-per-block", type=int, help="default: equal blocks of some 10,000, an even number")
    parser.add_argument("--days-per-period", type=int, default=1)
    parser.add_argument("--icechunk", action="store_true", help="in an Icechunk repository instead of plain Zarr")
    parser.add_argument("--folder", help="where the store goes, for the time of the benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    blocks = THREADS * -(-chosen.cells // (THREADS * MOST_CELLS))
    layout = chosen.cells_per_block or -(-chosen.cells // blocks), chosen.days_per_period
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name) / "globe"
        location = Location(f"{'icechunk+' if chosen.icechunk else ''}file://{folder}")
        apart(_make, location, chosen.cells, layout)
        before = objects(folder)
        figures = apart(_step, location, layout, time.time())
        figures |= {"icechunk": chosen.icechunk, **size_of_step(folder, before)}
    print(
        f"{figures['wall_s']:.1f} s (wanted: 300), of which {figures['start_s']:.1f} s to start; "
        f"{figures['peak_mb']:.0f} MB (wanted: 4000); {figures['cpu_s']:.1f} s of processor, "
        f"{figures['ratio_to_model']:.3f} times that of the model alone (wanted: 1.15), without the start "
        f"{figures['ratio_to_model_without_start']:.3f}"
    )
    print(
        f"{figures['column_steps']:,} column-steps of {figures['columns']:,} columns "
        f"({figures['nominal_column_steps']:,} if each had all controls)"
    )
    print(
        f"{figures['objects_written']} objects written, {figures['mb_written']:.1f} MB, of which the restart "
        f"{figures['restart_objects']} and {figures['restart_mb']:.1f} MB; the memory check projects "
        f"{figures['projected_task_mb']:.0f} MB a task"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
