"""Columns, states and forcing for the tests of the land model, and its budgets computed from outputs alone."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel import Forcing, Isba, Options, OutputRequest, Parameters, State, cold_start, columns
from ldas.landmodel.constants import DRY_MATTER_PER_CO2, FREEZING_POINT, FUSION_HEAT, HEAT_CAPACITY_ICE
from ldas.landmodel.layout import FLUXES
from ldas.landmodel.outputs import OUTPUT_NAMES
from ldas.landmodel.quantities import SNOW
from ldas.landmodel.vegetation_table import vegetation_table

Array = NDArray[np.float64]

VEGETATION = tuple(vegetation_table())
STATE_OUTPUTS = tuple(name for name in OUTPUT_NAMES if name not in FLUXES)
FLUX_OUTPUTS = tuple(name for name in FLUXES if name not in ("RI", "CH", "CD", "T2M", "Q2M", "HU2M"))
DIAGNOSTICS = ("SWE", "SNOW_DEPTH", "TS", "TSRAD")


class Steps(NamedTuple):
    """A run with every output of every step."""

    parameters: Parameters
    options: Options
    before: State
    after: State
    outputs: dict[str, Array]
    step_s: float
    rain: Array
    """(step, column) rain and snowfall, kg m-2 s-1"""


def constant_forcing(records: int, cells: int = 1, **changes: Any) -> Forcing:
    """Forcing of a mild dry day without gradients in time; `changes`: numbers or arrays (record, cell)."""
    values: dict[str, Any] = {
        "Tair": 288.0, "Qair": 0.006, "Wind": 3.0, "PSurf": 1.0e5, "SWdown": 0.0, "LWdown": 330.0, "Rainf": 0.0,
        "Snowf": 0.0, "CO2air": 7.0e-4,
    } | changes  # fmt: skip
    return Forcing(*(np.broadcast_to(np.asarray(values[name], dtype=np.float64), (records, cells)).copy()
                     for name in Forcing._fields))  # fmt: skip


def simple_columns(
    vegetation: tuple[str, ...] | list[str], options: Options | None = None, **changes: Any
) -> Parameters:
    """One column a cell, on loam at 45 N, 0 E."""
    count = len(vegetation)
    arguments: dict[str, Any] = {
        "cell": np.arange(count), "patch": 7, "fraction": 1.0, "clay": 0.25, "sand": 0.40, "latitude": 45.0,
        "longitude": 0.0, "options": options,
    } | changes  # fmt: skip
    return columns(list(vegetation), **arguments)


def run_steps(
    parameters: Parameters,
    options: Options,
    state: State,
    forcing: Forcing,
    start: str = "2007-06-01T00",
    step_s: float = 1800.0,
    forcing_step_s: float = 3600.0,
    steps: int | None = None,
) -> Steps:
    """Run a state without members and keep every output of every step."""
    request = OutputRequest(mean=FLUX_OUTPUTS, end=STATE_OUTPUTS, interval_s=step_s)
    after, outputs = Isba(parameters, options).run(
        state, forcing, start, step_s, steps, forcing_step_s, request, allow_nonfinite=True
    )
    per_record = round(forcing_step_s / step_s)
    wet = (np.asarray(forcing.Rainf) + np.asarray(forcing.Snowf))[1:, parameters.cell]
    rain = np.repeat(wet, per_record, axis=0)[: len(outputs["RN"])]
    return Steps(parameters, options, state, after, outputs, step_s, rain)


def thickness(parameters: Parameters) -> Array:
    """(column, 14) m"""
    return np.diff(parameters.soil("layer_bottom"), axis=1, prepend=0.0)


def at_start(run: Steps, first: Array, name: str) -> Array:
    """An output at the start of every step: the state before, then the ends of the steps."""
    return np.concatenate([first[None], run.outputs[name][:-1]])


def at_all_times(run: Steps, first: Array, name: str) -> Array:
    """An output at the start of the run and at the end of every step."""
    return np.concatenate([first[None], run.outputs[name]])


def _with_start(before: Array, outputs: Array) -> Array:
    return np.concatenate([before[None], outputs])


def water_residual(run: Steps) -> Array:
    """(step, column) kg m-2 of water that appears (> 0) or is lost in a step.
    Source: docs/science/soil_water.md, section 7."""
    out, before = run.outputs, run.before
    moist = np.arange(14)[None, :] < run.parameters.moist_layers[:, None]
    soil_before = np.where(moist, before.soil_water + before.soil_ice, 0.0)
    soil = np.where(moist, np.nan_to_num(out["WG"]) + np.nan_to_num(out["WGI"]), 0.0)
    # differences layer by layer first: the sum over 3 m of water would round at 1e-13
    change = (np.diff(_with_start(soil_before, soil), axis=0) * thickness(run.parameters) * 1000.0).sum(axis=-1)
    change += np.diff(at_all_times(run, before.intercepted_water, "WR"), axis=0)
    change += np.diff(at_all_times(run, before.snow_water_equivalent, "SNOW_SWE"), axis=0).sum(axis=-1)
    return change - (run.rain - out["EVAP"] - out["RUNOFF"] - out["DRAINAGE"]) * run.step_s


def biomass_residual(run: Steps) -> Array:
    """(step, column) kg m-2 of dry matter that appears in a step: pools with what is assimilated and respired since
    the last daily update, against GPP, respiration, litter and the clipping of negative pools."""
    out, before = run.outputs, run.before

    def total(biomass: Array, assimilated: Array, respired: Array) -> Array:
        return biomass.sum(axis=-1) + assimilated * DRY_MATTER_PER_CO2 - respired.sum(axis=-1)

    start = total(before.biomass, before.daily_net_assimilation, before.respired_biomass)
    stock = _with_start(start, total(out["BIOMASS"], out["ANDAY"], out["RESP_BIOMASS"]))
    flux = DRY_MATTER_PER_CO2 * (out["GPP"] - out["RESP_AUTO"]) - out["LITTER"] + out["BIOMASS_CLIP"]
    vegetated = run.parameters.vegetated > 0.5
    return np.where(vegetated, np.diff(stock, axis=0) - flux * run.step_s, 0.0)


def snow_albedo(density: Array, age: Array, pressure: float = 1.0e5) -> Array:
    """Albedo of snow (1). Source: docs/science/snow.md, section 13."""
    size = np.minimum(2.796e-3, 1.6e-4 + 1.1e-13 * density**4 + 0.5e-4 * np.minimum(15.0, age))
    aging = 0.2 * np.clip(pressure / 87000.0, 0.5, 1.5)
    first = np.maximum(0.6, np.minimum(0.92, 0.96 - 1.58 * np.sqrt(size)) - aging * np.minimum(365.0, age) / 60.0)
    second = np.maximum(0.3, 0.9 - 15.4 * np.sqrt(size))
    limited = np.minimum(2.3e-3, size)
    third = np.maximum(0.0, 346.3 * limited - 32.31 * np.sqrt(limited) + 0.88)
    return 0.71 * first + 0.21 * second + 0.08 * third


def with_snow(state: State, mass: Any, density: Any, temperature: Any, layers: int = 12, age: Any = 0.0) -> State:
    """The state with a dry pack of equal layers: mass (kg m-2), density (kg m-3), temperature (K) per column."""
    count = len(state.intercepted_water)
    mass, density, temperature, age = (
        np.broadcast_to(np.asarray(value, dtype=np.float64), (count,)) for value in (mass, density, temperature, age)
    )
    used = (np.arange(SNOW) < layers)[None, :] & (mass > 0.0)[:, None]
    heat = density * (HEAT_CAPACITY_ICE * (temperature - FREEZING_POINT) - FUSION_HEAT)
    return state._replace(
        snow_water_equivalent=np.where(used, (mass / layers)[:, None], 0.0),
        snow_density=np.where(used, density[:, None], 50.0),
        snow_heat=np.where(used, heat[:, None], 0.0),
        snow_age=np.where(used, age[:, None], 0.0),
        snow_albedo=np.where(mass > 0.0, snow_albedo(density, age), 0.0),
    )


REGIMES = ("mild", "hot", "cold", "flooded", "dry", "dense", "snowfall", "polar night", "thaw")


def random_columns(random: np.random.Generator, options: Options, count: int) -> Parameters:
    """Columns of any type, texture, depth and place."""
    sand = random.uniform(0.01, 0.98, count)
    clay = random.uniform(0.01, 1.0, count) * (0.99 - sand) + 0.001
    clay = np.maximum(clay, 0.01)
    return columns(
        list(random.choice(VEGETATION, count)), np.arange(count), 7, 1.0, clay, np.minimum(sand, 1.0 - clay),
        random.uniform(-85.0, 85.0, count), random.uniform(-180.0, 180.0, count), options,
        cell_size_km=random.choice([5.0, 25.0, 100.0], count), air_height=random.choice([2.0, 20.0], count),
    )  # fmt: skip


def random_state(random: np.random.Generator, parameters: Parameters, options: Options, regime: str) -> State:
    """A state any run could have left behind: dry to saturated, warm to frozen, bare to deep snow."""
    count = parameters.columns
    porosity = parameters.soil("porosity")
    warm = {"hot": 308.0, "dry": 300.0, "cold": 262.0, "snowfall": 271.0, "polar night": 250.0, "thaw": 273.0}.get(
        regime, 286.0
    )
    lai = random.uniform(3.0, 7.0, count) if regime == "dense" else random.uniform(0.0, 4.0, count)
    state = cold_start(parameters, leaf_area_index=lai)
    moist = np.arange(14)[None, :] < parameters.moist_layers[:, None]
    depth = np.exp(-np.cumsum(thickness(parameters), axis=1))
    mean = random.normal(warm, 3.0, (count, 1))
    temperature = mean + random.normal(0.0, 6.0, (count, 1)) * depth + random.normal(0.0, 0.3, (count, 14))
    low, high = {"flooded": (0.7, 1.0), "dry": (0.003, 0.4), "hot": (0.003, 0.8)}.get(regime, (0.05, 1.0))
    total = np.maximum(0.0015, porosity * random.uniform(low, high, (count, 14)))
    frozen = np.where(temperature < 273.0, random.uniform(0.0, 1.0, (count, 14)), 0.0)
    ice = np.where(frozen > 0.01, np.minimum(frozen * (total - 0.001), porosity - 0.0015), 0.0)
    state = state._replace(
        soil_temperature=temperature,
        soil_water=np.where(moist, total - ice, 0.0),
        soil_ice=np.where(moist, ice, 0.0),
        intercepted_water=random.uniform(0.0, 0.05, count) * state.leaf_area_index,
        daily_net_assimilation=random.uniform(-1e-3, 2e-2, count) * (parameters.vegetated > 0.5),
        maximum_leaf_assimilation=random.uniform(1e-8, 1e-6, count) * (parameters.vegetated > 0.5),
        latent_heat_flux=random.uniform(-20.0, 200.0, count),
        aerodynamic_resistance=random.uniform(10.0, 300.0, count),
    )
    biomass = state.biomass.copy()
    biomass[:, 1] += random.uniform(0.0, 0.3, count) * (parameters.vegetated > 0.5)
    biomass[:, 2] = random.uniform(0.0, 0.5, count) * (parameters.vegetated > 0.5)
    state = state._replace(biomass=biomass)
    if regime in ("cold", "snowfall", "polar night", "thaw"):
        mass = random.choice([0.0, 1e-3, 0.1, 2.0, 30.0, 400.0], count) * random.uniform(0.5, 1.5, count)
        density = random.uniform(60.0, 500.0, count)
        snow_temperature = FREEZING_POINT - random.choice([0.0, 0.5, 5.0, 20.0], count)
        state = with_snow(state, mass, density, snow_temperature, options.snow_layers, random.uniform(0.0, 30.0, count))
    return state


def random_forcing(random: np.random.Generator, regime: str, records: int, cells: int) -> Forcing:
    """Hourly weather of a regime, with a daily cycle and noise, different in every cell."""
    mean, swing, humidity, sun, sky, rain, snow = {
        "mild": (288.0, 6.0, 0.7, 600.0, 0.82, 2e-4, 0.0),
        "hot": (312.0, 10.0, 0.15, 1050.0, 0.75, 0.0, 0.0),
        "cold": (255.0, 12.0, 0.8, 300.0, 0.7, 0.0, 5e-5),
        "flooded": (289.0, 3.0, 0.95, 200.0, 0.95, 1.5e-2, 0.0),
        "dry": (303.0, 9.0, 0.05, 900.0, 0.7, 0.0, 0.0),
        "dense": (298.0, 5.0, 0.8, 800.0, 0.9, 5e-4, 0.0),
        "snowfall": (269.0, 4.0, 0.95, 150.0, 0.95, 1e-5, 3e-3),
        "polar night": (238.0, 5.0, 0.9, 0.0, 0.7, 0.0, 1e-5),
        "thaw": (274.0, 5.0, 0.9, 400.0, 0.9, 5e-4, 5e-4),
    }[regime]
    shape = (records, cells)
    hour = (np.arange(records)[:, None] + random.uniform(0.0, 24.0, (1, cells))) % 24.0
    cycle = np.cos(2.0 * np.pi * (hour - 14.0) / 24.0)
    fronts = np.cumsum(random.normal(0.0, 0.5, shape), axis=0)
    temperature = mean + random.normal(0.0, 4.0, (1, cells)) + swing * cycle + fronts
    pressure = random.uniform(6.0e4, 1.04e5, (1, cells)) + random.normal(0.0, 100.0, shape)
    saturation = 0.622 * 611.0 * np.exp(17.3 * (temperature - 273.16) / (temperature - 35.9)) / pressure
    blowing = random.choice([0.0, 1.0, 1.0, 1.0], (1, cells))
    showers = random.uniform(0.0, 1.0, shape) < 0.4
    return Forcing(
        Tair=temperature,
        Qair=np.clip(humidity * random.uniform(0.6, 1.1, shape), 0.0, 1.02) * saturation,
        Wind=np.minimum(20.0, random.gamma(2.0, 2.0, (1, cells)) * random.uniform(0.3, 1.5, shape)) * blowing,
        PSurf=pressure,
        SWdown=np.maximum(0.0, cycle * sun * random.uniform(0.3, 1.0, shape)),
        LWdown=sky * 5.67e-8 * temperature**4 * random.uniform(0.9, 1.05, shape),
        Rainf=np.where(showers, rain * random.uniform(0.0, 1.0, shape) ** 2, 0.0),
        Snowf=np.where(showers, snow * random.uniform(0.0, 1.0, shape) ** 2, 0.0),
        CO2air=np.full(shape, 7.0e-4),
    )
