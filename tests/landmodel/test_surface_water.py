"""Interception, surface runoff and respiration step by step against their equations
(docs/science/interception_runoff.md, sections 1 to 6, and docs/science/vegetation.md, sections 5 and 7), from the
outputs of runs: rain on part of a cell, infiltration excess with and without it and with melt water, saturation runoff,
a column that overflows. The reference runs never met most of these."""

import numpy as np
import pytest

from ldas.landmodel import Options, Parameters
from ldas.landmodel.constants import DRY_MATTER_PER_CO2
from tests.landmodel.heat import at_start_of_steps
from tests.landmodel.support import (
    VEGETATION,
    Array,
    Steps,
    at_all_times,
    at_start,
    cold_start,
    constant_forcing,
    random_forcing,
    random_state,
    run_steps,
    simple_columns,
    thickness,
)

VAPORISATION = 2.5008e6


def weather(run: Steps) -> tuple[Array, Array, Array]:
    """Cover, capacity of the leaves (kg m-2) and rain that reaches them or the ground (kg m-2 s-1), (step, column). The
    rain is all of the precipitation in these tests, or is cold enough to be snow."""
    lai = np.nan_to_num(at_start(run, run.before.leaf_area_index, "LAI"))
    parameters = run.parameters
    given = parameters.vegetation_cover
    cover = np.where(given < 0.0, 1.0 - np.exp(-0.6 * lai), given)
    return cover, parameters.interception_coefficient * cover * lai, lai


def raining_share(rain: Array, parameters: Parameters) -> Array:
    """MUF (docs/science/interception_runoff.md, section 3)"""
    beta = 0.2 + 0.5 * np.exp(-0.01 * parameters.cell_size)
    wide = 1.0 - np.exp(-beta * rain * 3600.0)
    return np.where(rain > 0.0, np.where(parameters.cell_size < 15.0, 1.0, wide), 0.0)


def expected_drip(run: Steps, rain: Array) -> tuple[Array, Array]:
    """Content of the leaves (kg m-2) at the end and drip (kg m-2 s-1) of every step.
    Source: docs/science/interception_runoff.md, sections 2 and 3."""
    cover, capacity, _ = weather(run)
    dt = run.step_s
    caught = cover * rain
    water = at_start(run, run.before.intercepted_water, "WR") - dt * (run.outputs["LER"] / VAPORISATION - caught)
    short = np.minimum(0.0, water / dt)
    water = np.maximum(0.0, water)
    drip = np.zeros_like(water)
    if run.options.drip == "SGH":
        share = raining_share(rain, run.parameters)
        for where in np.ndindex(water.shape):
            drip[where] = subgrid_drip(water[where], capacity[where], caught[where], share[where], dt)
        water = water - dt * drip
        short += np.minimum(0.0, water / dt)
        water = np.maximum(0.0, water)
    drip += np.maximum(0.0, (water - capacity) / dt)
    return np.minimum(water, capacity), drip + short


def subgrid_drip(water: float, capacity: float, rain: float, share: float, dt: float) -> float:
    """The rule for one column, with the OWN convention that emptied leaves are exactly empty."""

    def rate(content: float, period: float) -> float:
        return rain * np.exp(share * (content - capacity) / (rain * period))

    if rain <= 0.01 / dt or water <= 0.0:
        return 0.0
    if dt <= 300.0:
        return min(rate(water, dt), water / dt)
    left = water - dt * rate(water, dt) if rate(water, dt) < water / dt else 0.0
    if left <= 0.0:
        half = 0.5 * dt
        left = water - half * rate(water, half) if rate(water, half) < water / half else 0.0
    return min(rate(left, dt), water / dt) if left > 0.0 else 0.0


def infiltration_capacity(run: Steps) -> Array:
    """Imax (kg m-2 s-1) at the start of every step, over the layers down to 0.1 m (all columns have them)."""
    _, water, ice = at_start_of_steps(run)
    soil = run.parameters.soil
    depth = thickness(run.parameters)[:, :3]
    water, ice = water[..., :3], ice[..., :3]
    free = np.maximum(0.001, soil("porosity")[:, :3] - ice)
    saturation = np.minimum(1.0, water / free)
    impedance = 10.0 ** (-6.0 * ice / (ice + water))
    suction = soil("retention_exponent")[:, :3] * soil("entry_potential")[:, :3] * (saturation - 1.0)
    rate = depth * impedance * soil("hydraulic_conductivity")[:, :3] * (suction / depth + 1.0)
    return 1000.0 * rate.sum(axis=-1) / 0.1


def expected_runoff(run: Steps, rain: Array) -> tuple[Array, Array]:
    """Infiltration excess and saturation runoff (kg m-2 s-1) before the column is full.
    Source: docs/science/interception_runoff.md, sections 4 and 5."""
    cover, _, _ = weather(run)
    options, out, dt = run.options, run.outputs, run.step_s
    reaching = (1.0 - cover) * rain * (1.0 - out["PSN"]) + out["DRIP"]
    melt = out["SNOWMELT"]
    incoming = reaching + melt
    horton = np.zeros_like(reaching)
    dunne = np.zeros_like(reaching)
    area = np.zeros_like(reaching)
    depth = run.parameters.runoff_depth
    if options.runoff == "DT92":
        _, water, ice = at_start_of_steps(run)
        weight = run.parameters.soil("runoff_weight") / depth[:, None]
        weight = np.where(np.arange(14)[None, :] < run.parameters.moist_layers[:, None], weight, 0.0)
        water = (weight * water).sum(axis=-1)
        ice = 0.0 if options.horton else (weight * ice).sum(axis=-1)
        porosity = (weight * run.parameters.soil("porosity")).sum(axis=-1)
        wilting = (weight * run.parameters.soil("wilting_point")).sum(axis=-1)
        area = 1.0 - (1.0 - np.clip((water + ice - wilting) / (porosity - wilting), 0.0, 1.0)) ** (1.0 / 3.0)
    if options.horton:
        most = infiltration_capacity(run)
        if options.drip == "SGH":
            share = raining_share(rain, run.parameters)
            safe = np.where(reaching > 0.0, reaching, 1.0)
            excess = np.where(reaching > 0.0, safe / (most * share / safe + 1.0), 0.0)
        else:
            excess = np.maximum(0.0, reaching - most)
        horton = (1.0 - area) * (excess + np.maximum(0.0, melt - most))
    if options.runoff == "DT92":
        supply = incoming - horton
        content = np.minimum(porosity, water + ice)
        room = porosity - wilting
        added = supply * dt / (1000.0 * depth)
        curve = np.maximum(0.0, (1.0 - (content - wilting) / room) ** (2.0 / 3.0) - added / (1.5 * room))
        excess = np.maximum(0.0, added - (porosity - content) + room * curve**1.5)
        dunne = excess * depth * 1000.0 / dt
        dunne = np.where((content <= wilting) | (supply - dunne <= 0.0), 0.0, dunne)
    return np.where(incoming < 0.0, 0.0, horton), np.where(incoming < 0.0, 0.0, dunne)


def rainy_run(options: Options, step_s: float, regime: str, cell_size_km: float) -> tuple[Steps, Array]:
    """All vegetation types under showers of all strengths; the rain alone (kg m-2 s-1) of every step."""
    random = np.random.default_rng(7)
    count = len(VEGETATION)
    parameters = simple_columns(
        VEGETATION, options, clay=random.uniform(0.1, 0.6, count), sand=0.3, cell_size_km=cell_size_km,
        overrides={"DROOT": 1.5, "DG2": 1.0},
    )  # fmt: skip
    state = random_state(random, parameters, options, regime)
    forcing = random_forcing(random, regime, 49, count)
    rain = np.where(random.uniform(size=(49, count)) < 0.6, 10.0 ** random.uniform(-6.0, -1.8, (49, count)), 0.0)
    forcing = forcing._replace(Rainf=rain)
    run = run_steps(parameters, options, state, forcing, "2007-04-11T12", step_s)
    return run, np.repeat(rain[1:], round(3600.0 / step_s), axis=0)


SETTINGS = [
    (Options(), "mild"),
    (Options(drip="SGH"), "mild"),
    (Options(horton=True), "mild"),
    (Options(horton=True, drip="SGH"), "flooded"),
    (Options(runoff="DT92"), "mild"),
    (Options(runoff="DT92", horton=True), "flooded"),
    (Options(runoff="DT92", horton=True, drip="SGH"), "mild"),
    (Options(runoff="DT92", horton=True, snow_layers=3), "thaw"),
    (Options(horton=True), "thaw"),
    (Options(horton=True, drip="SGH"), "thaw"),
    (Options(runoff="DT92"), "cold"),
]


@pytest.mark.parametrize(("options", "regime"), SETTINGS)
@pytest.mark.parametrize(("step_s", "cell_size_km"), [(300.0, 5.0), (300.0, 40.0), (1800.0, 25.0)])
def test_interception_and_runoff(options: Options, regime: str, step_s: float, cell_size_km: float) -> None:
    run, rain = rainy_run(options, step_s, regime, cell_size_km)
    existed = np.concatenate([run.before.snow_water_equivalent.sum(axis=-1)[None], run.outputs["SWE"][:-1]]) > 0.0
    on_ground = rain * np.where(existed, 1.0 - run.outputs["PSN"], 1.0)
    if options.drip == "DEF":
        water, drip = expected_drip(run, on_ground)
        np.testing.assert_allclose(run.outputs["WR"], water, rtol=0.0, atol=1e-13)
        np.testing.assert_allclose(run.outputs["DRIP"], drip, rtol=1e-9, atol=1e-15)
    elif regime == "mild":  # without snow MUF is that of the rain on the ground; its branches hang on the last bit
        water, drip = expected_drip(run, on_ground)
        close = np.isclose(run.outputs["DRIP"], drip, rtol=1e-9, atol=1e-15)
        assert close.mean() > 0.999
        np.testing.assert_allclose(run.outputs["WR"][close], water[close], rtol=0.0, atol=1e-13)
        dripping = (run.outputs["DRIP"] > 0.0) & (run.outputs["WR"] < 0.9 * weather(run)[1])
        assert dripping.any()  # leaves drip before they are full
    horton, dunne = expected_runoff(run, rain)
    before_full = run.outputs["HORTON"] - run.outputs["OVERFLOW"]
    np.testing.assert_allclose(before_full, horton, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(run.outputs["RUNOFF"] - run.outputs["HORTON"], dunne, rtol=1e-9, atol=1e-12)
    if options.horton:
        assert (horton > 0.0).any()
    if options.runoff == "DT92":
        assert (dunne > 0.0).any()
    if options.horton and regime == "thaw":
        assert ((horton > 0.0) & (rain == 0.0)).any()  # melt water alone


def test_rain_on_part_of_a_cell_runs_off_more() -> None:
    """The smaller the raining share of the cell (MUF), the more of the same rain exceeds what the soil takes."""
    runs = [rainy_run(Options(horton=True, drip="SGH"), 1800.0, "mild", size)[0] for size in (5.0, 15.0, 100.0)]
    bare = run_total = [run.outputs["HORTON"][:, 0].sum() for run in runs]
    assert run_total[0] < run_total[1] < run_total[2]
    assert bare[0] > 0.0


@pytest.mark.parametrize("code", ["NO", "C3", "TEBD"])
def test_overflow_of_a_full_column(code: str) -> None:
    """What the whole column cannot take within a sub-step runs off: left of the infiltration after filling from the top
    (docs/science/soil_water.md, section 2). One sub-step, so that the pores at its start are those of the step."""
    options = Options()
    parameters = simple_columns([code] * 3, options, overrides={"CONDSAT": 1e-9, "DROOT": 1.0, "DG2": 1.0})
    porosity = parameters.soil("porosity")
    moist = np.arange(14)[None, :] < parameters.moist_layers[:, None]
    lacking = np.array([0.0, 1e-3, 0.02])[:, None]
    state = cold_start(parameters, 285.0, leaf_area_index=1.0)
    state = state._replace(soil_water=np.where(moist, porosity - lacking, 0.0))
    forcing = constant_forcing(7, 3, Rainf=2.0e-2, Tair=285.0, Qair=0.0085)
    run = run_steps(parameters, options, state, forcing, "2007-05-01T01", 600.0)
    out = run.outputs
    _, water, _ = at_start_of_steps(run)
    cover, _, _ = weather(run)
    infiltration = ((1.0 - cover) * run.rain + out["DRIP"]) * run.step_s
    room = (np.where(moist, np.maximum(0.0, porosity - water), 0.0) * thickness(parameters)).sum(axis=-1) * 1000.0
    expected = np.maximum(0.0, infiltration - room) / run.step_s
    np.testing.assert_allclose(out["OVERFLOW"], expected, rtol=1e-9, atol=1e-13)
    assert (out["OVERFLOW"][0] > 0.0).tolist() == [True, True, False]
    assert (out["OVERFLOW"][-1] > 0.0).all()
    np.testing.assert_array_equal(out["RUNOFF"], out["HORTON"])


@pytest.mark.parametrize("soil_respiration", ["DEF", "PRM"])
def test_ecosystem_respiration(soil_respiration: str) -> None:
    """docs/science/vegetation.md, section 7, both laws, with the water and temperature of the end of the step."""
    options = Options(soil_respiration=soil_respiration)  # type: ignore[arg-type]
    run, _ = rainy_run(options, 1800.0, "mild", 25.0)
    out, parameters = run.outputs, run.parameters
    depth = thickness(parameters)
    top = depth[:, :3]
    water = np.nan_to_num(out["WG"])[..., :3]
    within = np.clip(1.0 - (parameters.soil("layer_bottom") - depth), 0.0, depth)
    within = np.where(np.arange(14)[None, :] < parameters.moist_layers[:, None], within, 0.0)
    mean = (out["TG"] * within).sum(axis=-1) / within.sum(axis=-1)
    warmth = 2.0 ** (0.1 * (mean - 298.16))
    if soil_respiration == "PRM":
        relative = (np.minimum(1.0, water / parameters.soil("field_capacity")[:, :3]) * top).sum(axis=-1) / 0.1
        expected = parameters.soil_respiration_25 * relative * warmth
        assert expected.max() > 0.0
    else:
        lai = np.nan_to_num(out["LAI"])
        soil = 4.4e-8 * (13.5 + 5.4 * lai) * (water * top).sum(axis=-1) / 0.1 * warmth
        # the leaves' part is what is left of the plants' respiration after their structural pools
        respired = np.diff(at_all_times(run, run.before.respired_biomass, "RESP_BIOMASS"), axis=0)
        update = (respired < 0.0).any(axis=-1) | (out["LITTER"] > 0.0)
        passive = respired[..., 1] / run.step_s / DRY_MATTER_PER_CO2
        expected = soil + out["RESP_AUTO"] - np.where(update, np.nan, passive)
        expected = np.where(parameters.vegetated > 0.5, expected, 0.0)  # nothing respires in bare soil
    known = np.isfinite(expected)
    assert known.mean() > 0.9
    np.testing.assert_allclose(out["RECO"][known], expected[known], rtol=1e-9, atol=1e-20)


def test_respiration_of_the_structural_pools() -> None:
    """docs/science/vegetation.md, section 5: herbs by Q10, wood by the Arrhenius law of the source; the passive pool
    with the first metre."""
    run, _ = rainy_run(Options(), 1800.0, "mild", 25.0)
    out, parameters = run.outputs, run.parameters
    respired = at_all_times(run, run.before.respired_biomass, "RESP_BIOMASS")
    updated = np.zeros(len(out["RN"]), dtype=bool)
    updated[[24, 72]] = True  # after the update the accumulators start from 0
    added = np.where(updated[:, None, None], out["RESP_BIOMASS"], np.diff(respired, axis=0))
    surface = out["TG"][..., 0]
    herb = 1.16e-7 * 2.0 ** (0.1 * (surface - 298.16))
    wood = np.maximum(0.0, 1.25 * np.exp(3500.0 * (1.0 / 288.0 - 1.0 / surface))) / (365.0 * 86400.0)
    rate = np.where(parameters.woody > 0.5, wood, herb) * (parameters.vegetated > 0.5)
    np.testing.assert_allclose(added[..., 0], out["BIOMASS"][..., 1] * rate * run.step_s, rtol=1e-9, atol=1e-17)
