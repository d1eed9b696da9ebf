"""Time of every process of one ISBA step, each timed alone in a loop over the same block of columns (CPU time).

The twelve patches in equal parts, a June midday and a January night of the formula forcing. Only the shares count:
a process timed alone finds its data in the first-level cache.
"""

import argparse
import json
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
from numba import njit

from ldas import landmodel
from ldas.landmodel import (
    energy_budget,
    hydrology,
    interception,
    isba,
    outputs,
    photosynthesis,
    run_plan,
    soil_freezing,
    soil_stress,
    soil_thermal,
    soil_water,
    start,
    step,
    surface_exchange,
    vegetation,
)
from ldas.landmodel.carbon import carbon_fluxes, mean_temperature_first_metre
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.records import record
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH

CALLS = 5000


_Block = namedtuple("_Block", ("column", "parameters", "air", "work", "flux"))


@njit(inline="always")
def _opened(block):
    return _Block(record(block[0]), record(block[1]), record(block[2]), record(block[3]), record(block[4]))


@njit(error_model="numpy")
def _step(n, block, o):
    r = _opened(block)
    for _ in range(n):
        step.isba_step(r.column, r.parameters, r.air, r.work, r.flux, o, False)


@njit(error_model="numpy")
def _thermal(n, block, o):
    r = _opened(block)
    for _ in range(n):
        soil_thermal.soil_thermal_properties(r.column, r.parameters, r.work, o)


@njit(error_model="numpy")
def _photosynthesis(n, block, o):
    r = _opened(block)
    for _ in range(n):
        photosynthesis.photosynthesis(r.column, r.parameters, r.air, r.work, r.flux, o)


@njit(error_model="numpy")
def _energy(n, block, o):
    r = _opened(block)
    for _ in range(n):
        energy_budget.energy_budget(r.column, r.air, r.work, o)


@njit(error_model="numpy")
def _hydrology(n, block, o):
    r = _opened(block)
    for _ in range(n):
        hydrology.hydrology(r.column, r.parameters, r.air, r.work, r.flux, o)


@njit(error_model="numpy")
def _vapour(n, block, o):
    r = _opened(block)
    for _ in range(n):
        soil_water.vapour_pressures(r.column, r.air, r.work)


@njit(error_model="numpy")
def _water_properties(n, block, o):
    r = _opened(block)
    for _ in range(n):
        soil_water.soil_water_properties(r.column, r.parameters, r.air, r.work)
        soil_water.soil_water_properties(r.column, r.parameters, r.air, r.work)


@njit(error_model="numpy")
def _richards(n, block, o):
    r = _opened(block)
    zero = r.work.wet_fraction * 0.0
    for _ in range(n):
        soil_water.solve_richards(r.column, r.parameters, r.work, 900.0, zero, zero)
        soil_water.solve_richards(r.column, r.parameters, r.work, 900.0, zero, zero)


@njit(error_model="numpy")
def _freezing(n, block, o):
    r = _opened(block)
    zero = r.work.wet_fraction * 0.0
    for _ in range(n):
        soil_freezing.soil_freezing(r.column, r.parameters, r.work, 900.0, zero)
        soil_freezing.soil_freezing(r.column, r.parameters, r.work, 900.0, zero)


@njit(error_model="numpy")
def _rest(n, block, o):
    r = _opened(block)
    for _ in range(n):
        surface_exchange.effective_roughness(r.parameters, r.work)
        surface_exchange.exchange_coefficients(r.parameters, r.air, r.work)
        soil_stress.soil_moisture_stress(r.column, r.parameters, r.work)
        interception.wet_leaf_fraction(r.column, r.parameters, r.work)
        surface_exchange.ground_relative_humidity(r.column, r.parameters, r.work)
        step.aggregate_fluxes(r.column, r.air, r.work, r.flux, o)
        mean = mean_temperature_first_metre(r.column, r.parameters, r.work)
        vegetation.plant_respiration(r.column, r.parameters, r.work, r.flux, o, mean)
        carbon_fluxes(r.column, r.parameters, r.air, r.work, r.flux, o, mean)


PARTS = {
    "whole step": _step,
    "soil thermal properties": _thermal,
    "photosynthesis": _photosynthesis,
    "energy budget (6 sub-steps)": _energy,
    "hydrology (2 sub-steps)": _hydrology,
    "  vapour pressures": _vapour,
    "  potential and conductivity": _water_properties,
    "  Richards solution": _richards,
    "  freezing": _freezing,
    "everything else": _rest,
}


def block_of_patches(air: dict[str, float], temperature: float):
    """Records of a block of eight patches in some weather."""
    codes = [VEGETATION_OF_PATCH[i] for i in (0, 3, 4, 6, 7, 8, 9, 11)]
    parameters = landmodel.columns(
        codes, np.zeros(8, int), np.arange(8) + 1, np.full(8, 0.125), 0.37, 0.37, 43.68, -0.1
    )
    state = landmodel.cold_start(parameters, temperature, leaf_area_index=2.0, relative_moisture=0.6)
    schedule = outputs.Schedule(landmodel.OutputRequest(interval_s=1800.0), np.datetime64("1986-06-01", "s"), 1800.0, 1)
    records, _, _ = isba._workspace(schedule)
    column, values, atmosphere, work, _ = block = records[:5]
    column.view(np.float64).reshape(-1, WIDTH)[:] = state.to_rows().T
    values.view(np.float64).reshape(-1, WIDTH)[:] = parameters.to_rows().T
    for name, value in air.items():
        atmosphere[name] = value
    option = run_plan.option_record(landmodel.Options(), 1800.0, frozenset())
    _start(column, values, work)
    return block, option[0]


@njit(error_model="numpy")
def _start(column, parameters, work):
    start.set_soil_grid(record(parameters), record(work))
    start.start_columns(record(column), record(parameters), record(work))


def main() -> None:
    """Print the table; `--json FILE` writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    day = {"temperature": 298.0, "humidity": 0.010, "wind": 3.0, "pressure": 1.0e5, "shortwave": 700.0,
           "longwave": 350.0, "rain": 0.0, "snow": 0.0, "co2": 5.2e-4, "density": 1.16, "exner_air": 1.0,
           "exner_surface": 1.0, "cosine_zenith": 0.8}  # fmt: skip
    night = day | {"temperature": 276.0, "humidity": 0.004, "shortwave": 0.0, "longwave": 280.0, "cosine_zenith": -0.3}
    rows = []
    for name, function in PARTS.items():
        row = {"process": name}
        for label, air, temperature in (("day", day, 295.0), ("night", night, 277.0)):
            records = block_of_patches(air, temperature)
            _step(2, *records)
            function(1, *records)
            best = np.inf
            for _ in range(3):
                records = block_of_patches(air, temperature)
                _step(2, *records)
                begin = time.thread_time()
                function(CALLS, *records)
                best = min(best, time.thread_time() - begin)
            row[label] = best / CALLS / WIDTH * 1e9
        rows.append(row)
        print(f"{name:32s} {row['day']:8.0f} {row['night']:8.0f}  ns per column")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
