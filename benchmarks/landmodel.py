"""Speed and memory of the land model: column-steps per second, one core and all cores, with and without members.

The twelve patches in equal parts, 1800 s steps, on the HAPEX 1986 half-hourly forcing where the reference data are
(LDAS_SHARED or ../shared), else on a synthetic year. Rates are given per wall-clock second and per second of processor
time: on a shared machine only the second is steady. Compare with the Fortran model on such a machine: 222,000
(-O3 -march=native) and 159,000 (-O2) column-steps per second and core.
"""

import argparse
import json
import os
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

# A script's folder comes first in the path, and there this file hides the package of its name: from itself, and from
# the other benchmarks, which import this file in its place.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
if __name__ == "landmodel":
    del sys.modules[__name__]

from ldas import landmodel  # noqa: E402
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH  # noqa: E402

FORTRAN_O3 = 222_000.0
FORTRAN_O2 = 159_000.0


def hapex_forcing() -> tuple[landmodel.Forcing, str]:
    """The forcing of the benchmark and its name."""
    shared = Path(os.environ.get("LDAS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    file = shared / "reference" / "surfex" / "forcing_hapex.nc"
    if file.exists():
        import xarray as xr

        with xr.open_dataset(file) as data:
            arrays = {n: data[n].values.astype(np.float64)[:, None] for n in data.data_vars if n.startswith("forc_")}
        names = ("tair", "qair", "wind", "psurf", "swdown", "lwdown", "rain", "snow", "co2")
        arrays["forc_swdown"] = arrays["forc_swdown"] + arrays["forc_swdif"]
        return landmodel.Forcing(*(arrays[f"forc_{name}"] for name in names)), "HAPEX 1986"
    records = 17521
    hour = np.arange(records)[:, None] / 2.0
    season = np.cos(2.0 * np.pi * (hour / 24.0 - 17.0) / 365.0)
    daily = np.cos(2.0 * np.pi * (hour - 14.0) / 24.0)
    temperature = 285.0 - 9.0 * season + 5.0 * daily
    sun = np.maximum(0.0, 500.0 * daily * (1.0 - 0.4 * season))
    rain = np.where((hour % 97.0) < 6.0, 3.0e-4, 0.0)
    constant = np.ones_like(hour)
    return landmodel.Forcing(
        temperature, 0.007 * constant, 3.0 * constant, 1.0e5 * constant, sun, 320.0 * constant, rain, 0.0 * constant,
        6.2e-4 * constant,
    ), "synthetic year"  # fmt: skip


def model_of(columns: int) -> tuple[landmodel.Isba, landmodel.State]:
    """Columns of the twelve patches in equal parts, in one cell."""
    patch = np.arange(columns) % 12
    parameters = landmodel.columns(
        [VEGETATION_OF_PATCH[p] for p in patch], np.zeros(columns, int), patch + 1, np.full(columns, 1.0 / columns),
        0.37, 0.37, 43.68, -0.1,
    )  # fmt: skip
    return landmodel.Isba(parameters), landmodel.cold_start(parameters, 282.0)


def rate(model: landmodel.Isba, state: landmodel.State, forcing: landmodel.Forcing, steps: int, threads: int) -> dict:
    """Column-steps per second: best of three runs."""
    rows = state.to_rows().shape[0]
    wall = cpu = np.inf
    for _ in range(3):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        model.run(state, forcing, "1986-01-01", 1800.0, steps, forcing_step_s=1800.0, threads=threads)
        wall = min(wall, time.perf_counter() - begin)
        cpu = min(cpu, time.process_time() - begin_cpu)
    return {"per_second": rows * steps / wall, "per_cpu_second": rows * steps / cpu}


def memory_per_column(model: landmodel.Isba, state: landmodel.State, forcing: landmodel.Forcing) -> float:
    """Bytes per column and member at the peak of a run beyond forcing: parameters, state and what the run takes.

    The state is overwritten, as the stages do.
    """
    rows = state.to_rows().shape[0]
    standing = sum(np.asarray(v).nbytes for v in state) + sum(
        np.asarray(v).nbytes for v in (*model.parameters.layers.values(), *model.parameters.values.values())
    )
    short = landmodel.Forcing(*(np.asarray(v)[:3] for v in forcing))
    tracemalloc.start()
    model.run(state, short, "1986-01-01", 1800.0, 2, forcing_step_s=1800.0, overwrite_state=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (standing + peak) / rows


def main() -> None:
    """Print the figures; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--columns", type=int, default=480)
    parser.add_argument("--days", type=int, default=120)
    arguments = parser.parse_args()
    forcing, name = hapex_forcing()
    model, state = model_of(arguments.columns)
    begin = time.perf_counter()
    model.run(state, forcing, "1986-01-01", 1800.0, 2, forcing_step_s=1800.0)
    first_call = time.perf_counter() - begin
    steps = arguments.days * 48
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    one = rate(model, state, forcing, steps, 1)
    everything = rate(model, state, forcing, steps, cores)
    few_model, few_state = model_of(96)
    members = rate(few_model, few_state.members(9), forcing, steps, 1)
    large_model, large_state = model_of(4800)
    result = {
        "forcing": name,
        "columns": arguments.columns,
        "steps": steps,
        "cores": cores,
        "first_call_seconds": first_call,
        "column_steps_per_second": {
            "one_core": one["per_second"],
            "all_cores": everything["per_second"],
            "one_core_per_cpu_second": one["per_cpu_second"],
            "nine_members_one_core": members["per_second"],
            "nine_members_per_cpu_second": members["per_cpu_second"],
        },
        "speed_up_of_all_cores": everything["per_second"] / one["per_second"],
        "ratio_to_fortran_O3": one["per_second"] / FORTRAN_O3,
        "ratio_to_fortran_O2": one["per_second"] / FORTRAN_O2,
        "bytes_per_column": memory_per_column(large_model, large_state, forcing),
        "bytes_per_column_and_member": memory_per_column(large_model, large_state.members(9), forcing),
    }
    print(f"forcing {name}, {arguments.columns} columns, {steps} steps of 1800 s; first call {first_call:.1f} s")
    for key, value in result["column_steps_per_second"].items():
        print(f"  {key:28s} {value:12,.0f} column-steps per second")
    print(f"  speed-up of {cores} threads         {result['speed_up_of_all_cores']:.2f}")
    print(
        f"  one core against Fortran -O3   {result['ratio_to_fortran_O3']:.2f}, -O2 {result['ratio_to_fortran_O2']:.2f}"
    )
    print(f"  memory per column              {result['bytes_per_column']:.0f} bytes, with 9 members "
          f"{result['bytes_per_column_and_member']:.0f} bytes per column and member")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
