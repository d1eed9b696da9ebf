"""What observed snow and observed air at 2 m are worth: two SYNTHETIC twins. Tables of docs/assimilation.md.

Three cells of the formula weather of `ldas.pipeline.forcing.analytic` (no data needed). A truth is run, observed with
noise, and assimilated into a model that is wrong in a known way:

* snow: 3 to 7 K colder, the model gets 0.7 times the snowfall and air that is 0.5 K too warm, from January to May; snow
  water equivalent or snow depth is observed once a day, 09 UTC.
* air at 2 m: the model begins on 1 June with half of the truth's water above the wilting point; temperature and
  relative humidity are observed at 12 and 15 UTC, with forcing from 20 m, and with forcing from 2 m.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

# run as a script, the folder of this file comes first in the path: other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldas import landmodel  # noqa: E402
from ldas.assim import (  # noqa: E402
    ObservationError,
    ObservationType,
    SEKFConfiguration,
    Window,
    WindowObservations,
)
from ldas.assim.controls import read_variable  # noqa: E402
from ldas.landmodel import Forcing, Isba, OutputRequest, State  # noqa: E402
from ldas.operators.direct import DirectOperator  # noqa: E402
from ldas.pipeline.forcing.analytic import LATITUDE, LONGITUDE, START, STEP_S, analytic_weather  # noqa: E402

CELLS = np.arange(3)
HOUR = np.timedelta64(9, "h")
DAY = np.timedelta64(24, "h")
STEPS_PER_DAY = 86400 // STEP_S
CO2 = 0.00062  # kg m-3
UNITS = {"SWE": "kg m-2", "SNOW_DEPTH": "m", "T2M": "K", "HU2M": "1"}
ERRORS = {"SWE": 10.0, "SNOW_DEPTH": 0.04, "T2M": 1.0, "HU2M": 0.1}
SOIL = ("WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8")
THICKNESS = np.array([0.03, 0.06, 0.1, 0.2, 0.2, 0.2, 0.2])  # m, of these layers


class Twin(NamedTuple):
    """Errors against the truth over the days of a twin: (day, cell), of the open loop and of the analysis."""

    open_loop: np.ndarray
    analysis: np.ndarray
    increments: np.ndarray  # (day,) largest

    def figures(self) -> dict[str, float]:
        """Root mean square errors, and in how many cells the analysis has the smaller one."""
        free, analysed = (np.sqrt((errors**2).mean(axis=0)) for errors in (self.open_loop, self.analysis))
        return {
            "open_loop": float(np.sqrt((free**2).mean())),
            "analysis": float(np.sqrt((analysed**2).mean())),
            "better_cells": int((analysed < free).sum()),
        }


def weather(days: int, *, colder: Sequence[float] = (0, 0, 0), warmer: float = 0.0, snowfall: float = 1.0) -> Forcing:
    """Half-hourly forcing of the three cells; vapour and longwave radiation follow the temperature."""
    values = {name: np.repeat(v[:, None], 3, axis=1) for name, v in analytic_weather(days * STEPS_PER_DAY + 1).items()}
    before = values["Tair"]
    values["Tair"] = before - np.asarray(colder) + warmer
    ratio = values["Tair"] / before
    frozen = before - np.asarray(colder) < 273.16  # phase and amount follow the truth's weather
    fallen = np.concatenate([np.zeros((1, 3)), values["precipitation"][:-1]])
    return Forcing(
        Tair=values["Tair"],
        Qair=values["Qair"] * ratio**20.0,
        Wind=values["Wind"],
        PSurf=values["PSurf"],
        SWdown=values["SWdown"],
        LWdown=values["LWdown"] * ratio**4,
        Rainf=np.where(frozen, 0.0, fallen),
        Snowf=np.where(frozen, snowfall * fallen, 0.0),
        CO2air=np.full(before.shape, CO2),
    )


def land(air_height: float = 2.0) -> Isba:
    """Grass; crops with bare ground; needleleaf trees with grass."""
    parameters = landmodel.columns(
        ["GRAS", "C3", "NO", "BONE", "GRAS"], [0, 1, 1, 2, 2], [10, 7, 1, 5, 10], [1.0, 0.7, 0.3, 0.6, 0.4],
        clay=0.25, sand=0.40, latitude=LATITUDE, longitude=LONGITUDE, air_height=air_height,
    )  # fmt: skip
    return Isba(parameters)


def kind(variable: str) -> ObservationType:
    """An observation type that is a model variable."""
    operator = DirectOperator(CELLS, predictor_name=variable, unit=UNITS[variable], output_name=variable.lower())
    snow = variable in ("SWE", "SNOW_DEPTH")
    error = ObservationError("absolute", ERRORS[variable])
    return ObservationType(variable, operator, error, reject_snow=not snow, reject_frozen=not snow)


def window(forcing: Forcing, start: np.datetime64, begin: np.datetime64) -> Window:
    """The 24 h from `start`, of forcing that begins at `begin`."""
    return Window.cut(forcing, start, forcing_start=begin, step_s=STEP_S, forcing_step_s=STEP_S)


def cell_means(model: Isba, values: np.ndarray) -> np.ndarray:
    """(..., column) -> (..., cell)."""
    return landmodel.aggregate(values, model.parameters, len(CELLS))


def snow_twin(observed: str, days: int = 150, seed: int = 1) -> Twin:
    """Snow water equivalent (kg m-2) with SWE or SNOW_DEPTH observed."""
    random = np.random.default_rng(seed)
    model, colder = land(), (3.0, 5.0, 7.0)
    true_air, air = weather(days + 2, colder=colder), weather(days + 2, colder=colder, warmer=0.5, snowfall=0.7)
    begin = START
    filter_ = SEKFConfiguration(controls=("SWE",)).make([kind(observed)], CELLS)
    truth = free = state = landmodel.cold_start(model.parameters, 276.0)
    errors, increments = [], []
    for day in range(days):
        start = begin + HOUR + day * DAY
        truth, _ = window(true_air, start, begin).run(model, truth)
        free, _ = window(air, start, begin).run(model, free)
        seen = cell_means(model, read_variable(truth, observed)) + ERRORS[observed] * random.normal(size=3)
        given = {observed: WindowObservations(np.maximum(0.0, seen))}
        result = filter_.cycle(model, state, window(air, start, begin), given)
        state = result.state
        increments.append(np.abs(result.increment).max())
        errors.append([cell_means(model, read_variable(s, "SWE") - read_variable(truth, "SWE")) for s in (free, state)])
    return Twin(*np.moveaxis(np.array(errors), 1, 0), np.array(increments))


def root_zone(state: State) -> np.ndarray:
    """Mean soil moisture (m3 m-3) from 0.01 to 1 m, (column,)."""
    layers = np.stack([read_variable(state, name) for name in SOIL], axis=-1)
    return np.asarray(layers @ THICKNESS / THICKNESS.sum())


def screen_twin(observed: Sequence[str], air_height: float = 20.0, days: int = 30, seed: int = 1) -> Twin:
    """Soil moisture from 0.01 to 1 m (m3 m-3) with T2M, HU2M or both observed."""
    random = np.random.default_rng(seed)
    model, before = land(air_height), 151
    air = weather(before + days + 2)
    cold = landmodel.cold_start(model.parameters, 282.0)
    spun_up, _ = model.run(
        cold, air, start=START, step_s=STEP_S, steps=before * STEPS_PER_DAY + 9 * 3600 // STEP_S, forcing_step_s=STEP_S
    )
    dry = np.where(spun_up.soil_water > 0.0, model.parameters.soil("wilting_point"), 0.0)
    truth, free = spun_up, spun_up._replace(soil_water=dry + 0.5 * np.maximum(0.0, spun_up.soil_water - dry))
    state = free
    filter_ = SEKFConfiguration(controls=SOIL).make([kind(name) for name in observed], CELLS)
    hours = np.array([12, 15]) - 9
    steps = np.tile(hours * 3600 // STEP_S, (model.parameters.columns, 1))
    errors, increments = [], []
    for day in range(days):
        start = START + HOUR + (before + day) * DAY
        now = window(air, start, START)
        truth, seen = now.run(model, truth, output=OutputRequest(at=tuple(observed), at_steps=steps, interval_s=86400))
        free, _ = now.run(model, free)
        time = np.tile(start + hours.astype("timedelta64[h]"), (len(CELLS), 1))
        given = {}
        for name in observed:
            value = cell_means(model, seen[f"{name}_at"]).T
            given[name] = WindowObservations(value + ERRORS[name] * random.normal(size=value.shape), time=time)
        result = filter_.cycle(model, state, now, given)
        state = result.state
        increments.append(np.abs(result.increment).max())
        errors.append([cell_means(model, root_zone(s) - root_zone(truth)) for s in (free, state)])
    return Twin(*np.moveaxis(np.array(errors), 1, 0), np.array(increments))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the twins and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snow-days", type=int, default=150, help="days of the snow twin, from 1 January")
    parser.add_argument("--screen-days", type=int, default=60, help="days of the twin of air at 2 m, from 1 June")
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args(arguments)
    twins: dict[str, tuple[str, Callable[[], Twin]]] = {
        name: ("SWE (kg m-2)", partial(snow_twin, name, chosen.snow_days)) for name in ("SWE", "SNOW_DEPTH")
    }
    for height in (20.0, 2.0):
        for names in (("T2M",), ("HU2M",), ("T2M", "HU2M")):
            made = partial(screen_twin, names, height, chosen.screen_days)
            twins[f"{', '.join(names)}, forcing from {height:g} m"] = "soil moisture, 0.01 to 1 m (m3 m-3)", made
    print("SYNTHETIC twins, three cells; root mean square errors against the truth\n")
    print("| observed | of | open loop | analysis | better cells |\n|---|---|---|---|---|")
    figures = {}
    for name, (of, make) in twins.items():
        figures[name] = found = make().figures()
        errors = f"{found['open_loop']:.3g} | {found['analysis']:.3g}"
        print(f"| {name} | {of} | {errors} | {found['better_cells']:g} of 3 |", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
