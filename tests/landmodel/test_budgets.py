"""Water, biomass and heat close step by step, from the outputs alone."""

import numpy as np
import pytest
from scipy.linalg import solve_banded

from ldas.landmodel import Isba, Options, OutputRequest, cold_start
from tests.landmodel.heat import (
    FREEZING,
    LATENT,
    at_start_of_steps,
    conductance,
    conductivity,
    heat_residual,
    volumetric_heat_capacity,
)
from tests.landmodel.support import (
    REGIMES,
    VEGETATION,
    Steps,
    at_start,
    biomass_residual,
    constant_forcing,
    random_forcing,
    random_state,
    run_steps,
    simple_columns,
    thickness,
    water_residual,
    with_snow,
)

WATER_BOUND = 1.0e-9  # kg m-2 per step
BIOMASS_BOUND = 1.0e-12  # kg m-2 per step
# W m-2: temperatures round at 6e-14 K, which 25 MJ m-2 K-1 of a column turn into 5e-9 W m-2 over 300 s; measured 6e-9
HEAT_BOUND = 2.0e-8

OPTIONS = (
    Options(),
    Options(runoff="DT92", horton=True, drip="SGH", snow_layers=3),
    Options(pedotransfer="CO84", light_scheme="carrer", horton=True, soil_respiration="PRM", snow_layers=3),
    Options(runoff="DT92", drip="SGH", light_scheme="carrer"),
)


def all_types(options: Options, regime: str, step_s: float, seed: int = 0) -> Steps:
    """Two days of a regime over every vegetation type, started at noon so that the daily update lies inside."""
    random = np.random.default_rng(seed)
    parameters = simple_columns(VEGETATION, options, clay=0.2, sand=0.35)
    state = random_state(random, parameters, options, regime)
    forcing = random_forcing(random, regime, 49, len(VEGETATION))
    return run_steps(parameters, options, state, forcing, "2007-03-09T12", step_s)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("step_s", [300.0, 900.0, 1800.0])
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_water_and_biomass_close(regime: str, step_s: float, number: int) -> None:
    run = all_types(OPTIONS[number], regime, step_s, seed=number)
    water = np.abs(water_residual(run))
    step, column = np.unravel_index(water.argmax(), water.shape)
    assert water.max() <= WATER_BOUND, f"step {step}, {VEGETATION[column]}"
    biomass = np.abs(biomass_residual(run))
    step, column = np.unravel_index(biomass.argmax(), biomass.shape)
    assert biomass.max() <= BIOMASS_BOUND, f"step {step}, {VEGETATION[column]}"
    assert (run.outputs["LITTER"] > 0.0).any()


def test_water_residual_notices_a_lost_drop() -> None:
    run = all_types(Options(), "mild", 1800.0)
    run.outputs["WG"][-1, 3, 5] -= 1.0e-8  # over 0.2 m: 2e-6 kg m-2
    assert np.abs(water_residual(run)).max() == pytest.approx(2.0e-6, rel=1e-3)


def test_biomass_clipped_at_zero_is_counted() -> None:
    """Leaves below zero and more respiration than a structural pool holds: both pools end at 0, and BIOMASS_CLIP
    is what had to be added."""
    options = Options()
    parameters = simple_columns(["GRAS", "TEBD"], options)
    state = cold_start(parameters, leaf_area_index=1.0)
    state = state._replace(
        biomass=np.array([[-0.01, 0.02, 0.001]] * 2),
        respired_biomass=np.array([[0.05, 0.01]] * 2),
        daily_net_assimilation=np.array([-0.001, -0.001]),
        maximum_leaf_assimilation=np.full(2, 1e-7),
    )
    run = run_steps(parameters, options, state, constant_forcing(2, 2), "2007-03-10T00", 1800.0, steps=1)
    assert np.abs(biomass_residual(run)).max() <= BIOMASS_BOUND
    clip = run.outputs["BIOMASS_CLIP"][0] * 1800.0
    # 0.01 of leaves, 0.05 - 0.02 (1 - turnover) of the active and 0.01 - 0.001 (1 - turnover) of the passive pool
    turnover = 1.0 - np.exp(-86400.0 / parameters.senescence_time)
    expected = 0.01 + (0.05 - 0.02 * (1.0 - turnover)) + (0.01 - 0.001 * (1.0 - turnover))
    np.testing.assert_allclose(clip, expected, rtol=1e-12)
    np.testing.assert_array_equal(run.after.biomass[:, 1:], 0.0)


def test_litter_is_zero_between_the_daily_updates() -> None:
    run = all_types(Options(), "mild", 1800.0)
    updates = np.zeros(len(run.rain), dtype=bool)
    updates[[24, 72]] = True  # the steps that start at 00 UTC
    assert (run.outputs["LITTER"][~updates] == 0.0).all()
    assert (run.outputs["BIOMASS_CLIP"][~updates] == 0.0).all()
    vegetated = run.parameters.vegetated > 0.5
    assert (run.outputs["LITTER"][updates][:, vegetated] > 0.0).all()


@pytest.mark.parametrize("conserve_heat", [False, True])
@pytest.mark.parametrize("step_s", [300.0, 900.0, 1800.0])
def test_heat_closes_without_phase_change(conserve_heat: bool, step_s: float) -> None:
    """What enters the surface is found in it and in the soil, but for the share of the conduction that SURFEX creates:
    layer 2 receives it in full, the surface loses only CG/CT of it (docs/science/soil_heat.md, section 5)."""
    options = Options(conserve_heat=conserve_heat)
    parameters = simple_columns(VEGETATION, options)
    random = np.random.default_rng(3)
    forcing = random_forcing(random, "dense", 49, len(VEGETATION))
    run = run_steps(parameters, options, cold_start(parameters, 290.0, 0.6, 2.0), forcing, step_s=step_s)
    assert np.abs(heat_residual(run)).max() <= HEAT_BOUND
    imbalance = np.abs(run.outputs["GFLUX_IMBALANCE"])
    bare = parameters.vegetated < 0.5
    if conserve_heat:
        assert (imbalance == 0.0).all()
    else:
        assert imbalance[:, bare].max() <= 1e-12
        assert imbalance[:, ~bare].max(axis=0).min() > 5.0  # W m-2: not a small term


def test_surface_storage_is_the_inertia_of_soil_and_leaves() -> None:
    """SURFACE_STORAGE = dT1 / (CT dt) with CT of docs/science/soil_heat.md, sections 1 to 3, snow- and ice-free."""
    options = Options()
    parameters = simple_columns(VEGETATION, options)
    forcing = random_forcing(np.random.default_rng(4), "dense", 25, len(VEGETATION))
    run = run_steps(parameters, options, cold_start(parameters, 290.0, 0.6, 2.0), forcing, "2007-06-01T12")
    temperature, water, ice = at_start_of_steps(run)
    composite = composite_inertia(run, volumetric_heat_capacity(parameters, temperature, water, ice)[..., 0])
    expected = (run.outputs["TG"][..., 0] - temperature[..., 0]) / (composite * run.step_s)
    # both are small differences of temperatures near 290 K
    np.testing.assert_allclose(run.outputs["SURFACE_STORAGE"], expected, rtol=0.0, atol=HEAT_BOUND)


def composite_inertia(run: Steps, capacity: np.ndarray) -> np.ndarray:
    """CT (step, column), K m2 J-1, of a run that does not start with a daily update"""
    cover = np.concatenate([run.outputs["VEG"][:1], run.outputs["VEG"][:-1]])
    leaves = at_start(run, run.before.intercepted_water, "WR")
    bare = np.minimum(1e-4, 1.0 / (0.01 * capacity))
    green = np.minimum(1e-4, 1.0 / (0.2 / run.parameters.vegetation_inertia_coefficient + 4218.0 * leaves))
    return 1.0 / ((1.0 - cover) / bare + cover / green)


def test_heat_closes_with_phase_change() -> None:
    """Freezing and thawing soil: heat diffuses first, then every layer exchanges (Cv + Capp) dT for latent heat
    (docs/science/soil_water.md, section 6). The temperatures in between are found here by solving the diffusion below
    the known surface."""
    options = Options(
        energy_substep_s=600.0
    )  # one energy and one water sub-step, so that the surface in between is known
    codes = ("NO", "C3", "GRAS", "TENE", "TEBD", "C4")
    parameters = simple_columns(codes, options)
    count = len(codes)
    state = cold_start(parameters, 273.4, 0.9, 1.5)
    hours = np.arange(241)[:, None] / 24.0 + np.linspace(0.0, 0.5, count)
    frost = np.clip(np.arange(241)[:, None] - 120.0, 0.0, 60.0) / 10.0  # five days around 0 C, then down to -6 C
    forcing = constant_forcing(
        241, count, Tair=271.0 - frost + 6.0 * np.sin(2 * np.pi * hours), Qair=0.0026, LWdown=270.0 - 5.0 * frost,
        SWdown=np.maximum(0.0, 350.0 * np.sin(2 * np.pi * hours)),
    )  # fmt: skip
    run = run_steps(parameters, options, state, forcing, "2007-01-10T12", 600.0)
    out, dt = run.outputs, run.step_s
    temperature, water, ice = at_start_of_steps(run)
    depth = thickness(parameters)
    capacity = volumetric_heat_capacity(parameters, temperature, water, ice)
    between = conductance(parameters, conductivity(parameters, temperature, water, ice))
    surface = temperature[..., 0] + out["SURFACE_STORAGE"] * composite_inertia(run, capacity[..., 0]) * dt
    diffused = np.concatenate([surface[..., None], np.empty_like(temperature[..., 1:])], axis=-1)
    storage = capacity * depth / dt
    for step, column in np.ndindex(surface.shape):
        c = between[step, column]
        bands = np.zeros((3, 13))
        bands[1] = storage[step, column, 1:] + c + np.append(c[1:], 0.0)
        bands[0, 1:] = bands[2, :-1] = -c[1:]
        right = storage[step, column, 1:] * temperature[step, column, 1:]
        right[0] += c[0] * surface[step, column]
        diffused[step, column, 1:] = solve_banded((1, 1), bands, right)
    entered = out["GFLUX"] + out["GFLUX_IMBALANCE"]
    stored = out["SURFACE_STORAGE"] + (storage * (diffused - temperature))[..., 1:].sum(axis=-1)
    assert np.abs(stored - entered).max() <= HEAT_BOUND

    # phase change of the step: the layer's ice before sublimation, the water as Richards left it
    moist = np.arange(14)[None, :] < parameters.moist_layers[:, None]
    ice_after = np.nan_to_num(out["WGI"])
    ice_after[..., 0] += out["LEGI"] / 2.8345e6 * dt / 1000.0 / depth[:, 0]
    liquid = np.nan_to_num(out["WG"]) + ice_after - ice
    apparent = apparent_capacity(run, diffused, np.where(moist, liquid, 0.3))
    latent = LATENT * (ice_after - ice)
    # ice below 1e-6 melts at once, by the capacity of the soil alone: left to the other steps
    traced = (np.nan_to_num(out["WGI"]) == 0.0) & (ice > 0.0)
    gained = np.where(traced | ~moist, 0.0, (capacity + apparent) * (out["TG"] - diffused) - latent) * depth / dt
    assert (apparent > 0.0).sum() > 50
    assert (np.abs(latent) > 1.0).any(axis=0).all(axis=0)[:3].all()  # the first layers of all columns froze or thawed
    assert np.abs(gained.sum(axis=-1)).max() <= 5.0e-9  # W m-2; measured 5e-10


def apparent_capacity(run: Steps, temperature: np.ndarray, liquid: np.ndarray) -> np.ndarray:
    """Capp (step, column, 14), J m-3 K-1. Source: docs/science/soil_water.md, section 6."""
    parameters = run.parameters
    porosity, exponent, entry = (parameters.soil(n) for n in ("porosity", "retention_exponent", "entry_potential"))
    cover = np.concatenate([run.outputs["VEG"][:1], run.outputs["VEG"][:-1]])
    insulation = np.ones_like(temperature)
    lai = np.concatenate([run.before.leaf_area_index[None], np.nan_to_num(run.outputs["LAI"][:-1])])
    insulation[..., 0] = np.where(parameters.vegetated > 0.5, (1.0 - 0.2 * cover) * (1.0 - lai / 30.0), 1.0)
    fusion, gravity = 3.337e5, 9.80665
    limit = np.minimum(entry, fusion * (temperature - FREEZING) / (gravity * temperature))
    most = porosity * (limit / entry) ** (-1.0 / exponent)
    potential = entry * (liquid / porosity) ** -exponent
    departure = temperature - fusion * FREEZING / (fusion - gravity * potential)
    excess = np.maximum(0.0, liquid - most)
    cold = 2106.0 * 917.0 / LATENT * insulation * np.maximum(0.0, -departure)
    buffered = (departure < 0.0) & (liquid >= most) & (cold >= excess)
    value = -FREEZING * 1000.0 * fusion**2 / gravity * most / (limit * exponent * temperature**2)
    return np.where(buffered, value, 0.0)


@pytest.mark.parametrize("layers", [3, 12])
def test_heat_of_a_full_snow_cover_closes(layers: int) -> None:
    """A cold pack over bare ground (snow fraction 1): what the surface gains and the soil does not receive is in the
    heat of the layers."""
    options = Options(snow_layers=layers)
    parameters = simple_columns(["NO"] * 4, options)
    state = cold_start(parameters, 270.0)
    state = with_snow(state, [20.0, 60.0, 150.0, 400.0], [150.0, 200.0, 300.0, 400.0], 262.0, layers, 3.0)
    hours = np.arange(49)[:, None] / 24.0
    forcing = constant_forcing(
        49, 4, Tair=263.0 + 4.0 * np.sin(2 * np.pi * hours), Qair=0.0014, LWdown=220.0,
        SWdown=np.maximum(0.0, 200.0 * np.sin(2 * np.pi * hours)), Wind=4.0,
    )  # fmt: skip
    run = run_steps(parameters, options, state, forcing, "2007-01-10T00", 1800.0)
    out = run.outputs
    assert (out["PSN"] == 1.0).all()
    assert (out["SNOWMELT"] == 0.0).all()

    def heat(mass: np.ndarray, density: np.ndarray, per_volume: np.ndarray) -> np.ndarray:
        return (per_volume * mass / density).sum(axis=-1)

    start = heat(run.before.snow_water_equivalent, run.before.snow_density, run.before.snow_heat)
    stock = np.concatenate([start[None], heat(out["SNOW_SWE"], out["SNOW_RHO"], out["SNOW_HEAT"])])
    residual = np.diff(stock, axis=0) / run.step_s - (out["GFLUX"] - out["SNOW_TO_SOIL"])
    assert np.abs(residual).max() <= 1.0e-9  # W m-2; measured 5e-11


def test_gflux_imbalance_is_counted_in_the_daily_mean() -> None:
    """The daily mean of the imbalance is the mean over the steps, so that a user can close the budget of a day."""
    options = Options()
    parameters = simple_columns(["C3", "TEBD"], options)
    state = cold_start(parameters, 290.0, leaf_area_index=2.0)
    forcing = random_forcing(np.random.default_rng(5), "mild", 25, 2)
    run = run_steps(parameters, options, state, forcing)
    _, daily = Isba(parameters, options).run(
        state, forcing, "2007-06-01T00", output=OutputRequest(mean=("GFLUX_IMBALANCE", "SURFACE_STORAGE", "GFLUX"))
    )
    for name in daily:
        np.testing.assert_allclose(daily[name][0], run.outputs[name].mean(axis=0), rtol=1e-12, atol=1e-12)
