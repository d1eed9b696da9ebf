"""Branches that no reference run takes (docs/science/index.md, section 4), each against its equations: layers below the
minimum of water, ice above the pore space, the snow grid of 3 layers, snow lightened to 50 kg m-3 by sublimation,
layers that vanish.
"""

import math
from typing import Any

import numpy as np
import pytest
from numba import njit

from ldas.landmodel import Options, cold_start
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.records import record, rows
from ldas.landmodel.snow import share_ground_flux
from ldas.landmodel.snow_layers import regrid_snow
from ldas.landmodel.snow_melt import sublimate
from ldas.landmodel.soil_freezing import soil_freezing
from ldas.landmodel.soil_water import limit_water
from tests.landmodel.records import air_record, empty_parameters, empty_state, option_record, work_record
from tests.landmodel.support import Array, constant_forcing, run_steps, simple_columns, water_residual, with_snow

THICKNESS = np.diff([0.0, 0.01, 0.04, 0.10, 0.20, 0.40, 0.60, 0.80, 1.00, 1.50, 2.00, 3.00, 5.00, 8.00, 12.00])
FUSION, TRIPLE = 3.337e5, 273.16


@njit
def _limit(column, parameters, work, out):
    rows(out)[0] = limit_water(record(column), record(parameters), record(work), 900.0)


def limited(water: Array, porosity: float | Array, layers: int) -> tuple[Array, float]:
    """Water (14,) after the limits and what leaves at the bottom (m s-1), in the first of eight equal lanes."""
    state = empty_state(soil_water=water)
    work = work_record(layers, thickness=THICKNESS, free_porosity=np.broadcast_to(porosity, (14,)))
    out = np.zeros((1, WIDTH))
    _limit(state, empty_parameters(moist_layers=layers), work, out)
    return state["soil_water"][0][:, 0].copy(), float(out[0, 0])


def test_dry_layers_are_raised_at_the_expense_of_the_layer_below() -> None:
    water = np.array([-0.002, 0.0005, 0.3, 0.3, 0.0, 0.3, 0.3, 0.3, *[0.0] * 6])
    after, leaving = limited(water, 0.45, 8)
    expected = water.copy()
    taken = (0.001 - expected[0]) * 0.01
    expected[0] = 0.001
    taken = (0.001 - (expected[1] - taken / 0.03)) * 0.03
    expected[1] = 0.001
    expected[2] -= taken / 0.06
    expected[5] -= 0.001 * 0.2 / 0.2
    expected[4] = 0.001
    np.testing.assert_allclose(after, expected, rtol=1e-14)
    assert leaving == 0.0


def test_a_dry_lowest_layer_takes_from_the_drainage() -> None:
    water = np.array([0.3] * 7 + [-0.01] + [0.0] * 6)
    after, leaving = limited(water, 0.45, 8)
    assert after[7] == 0.001
    assert leaving == pytest.approx(-0.011 * 0.2 / 900.0, rel=1e-14)
    np.testing.assert_array_equal(after[:7], 0.3)
    np.testing.assert_array_equal(after[8:], 0.0)


def test_a_whole_dry_column_hands_its_lack_down() -> None:
    after, leaving = limited(np.array([0.0] * 8 + [0.0] * 6), 0.45, 8)
    np.testing.assert_array_equal(after[:8], 0.001)
    assert leaving == pytest.approx(-0.001 * 1.0 / 900.0, rel=1e-14)


def test_supersaturation_is_handed_down_and_leaves_at_the_bottom() -> None:
    water = np.array([0.5, 0.45, 0.44, 0.45, 0.45, 0.45, 0.45, 0.46, *[0.0] * 6])
    after, leaving = limited(water, 0.45, 8)
    kept = water.copy()
    kept[0] = 0.45
    kept[2] = 0.44 + 0.05 * 0.01 / 0.06  # layer 2 is full and passes it on
    kept[7] = 0.45
    np.testing.assert_allclose(after, kept, rtol=1e-14)
    assert leaving == pytest.approx(0.01 * 0.2 / 900.0, rel=1e-12)


@njit
def _freeze(column, parameters, work, sublimation, out):
    rows(out)[0] = soil_freezing(record(column), record(parameters), record(work), 900.0, rows(sublimation)[0])


def frozen(
    temperature: Array, water: Array, ice: Array, sublimation: float = 0.0, layers: int = 4
) -> tuple[Any, float]:
    """State after the phase change of 900 s and what is pushed out at the bottom (m s-1)."""
    state = empty_state(soil_temperature=temperature, soil_water=water, soil_ice=ice)
    parameters = empty_parameters(
        moist_layers=layers, porosity=[0.45] * 14, entry_potential=[-0.3] * 14, retention_exponent=[7.0] * 14
    )
    inverses = {
        "inverse_porosity": [1.0 / 0.45] * 14, "inverse_entry_potential": [-1.0 / 0.3] * 14,
        "inverse_exponent": [1.0 / 7.0] * 14,
    }  # fmt: skip
    work = work_record(layers, thickness=THICKNESS, heat_capacity=[2.0e6] * 14, freezing_insulation=1.0, **inverses)
    out = np.zeros((1, WIDTH))
    _freeze(state, parameters, work, np.full(WIDTH, sublimation), out)
    return state, float(out[0, 0])


def phase_change(temperature: float, water: float, ice: float) -> tuple[float, float, float]:
    """One layer after 900 s (docs/science/soil_water.md, section 6), without ice beyond the pores or traces of it."""
    limit = min(-0.3, FUSION * (temperature - TRIPLE) / (9.80665 * temperature))
    most = 0.45 * (limit / -0.3) ** (-1.0 / 7.0)
    potential = -0.3 * (water / 0.45) ** -7.0
    departure = temperature - FUSION * TRIPLE / (FUSION - 9.80665 * potential)
    sensible, latent = 2106.0 * 917.0, FUSION * 1000.0
    excess = max(0.0, water - most)
    apparent = 0.0
    if departure < 0.0 and water >= most and sensible / latent * -departure >= excess:
        apparent = -TRIPLE * 1000.0 * FUSION**2 / 9.80665 * most / (limit * 7.0 * temperature**2)
    melt = 900.0 / 3300.0 * min(sensible * max(0.0, departure), ice * latent)
    freeze = 900.0 / 3300.0 * min(sensible * max(0.0, -departure), excess * latent)
    volume = (freeze - melt) / latent
    return temperature + (freeze - melt) / (2.0e6 + apparent), water - volume, ice + volume


def test_ice_beyond_the_pores_moves_down_after_the_phase_change() -> None:
    """Layers too full of ice pass it on when all layers have frozen or thawed; below the last it leaves."""
    temperature = np.array([271.0, 272.0, 275.0, 270.0, *[280.0] * 10])
    water = np.array([0.2, 0.2, 0.2, 0.2, *[0.0] * 10])
    ice = np.array([0.46, 0.2, 0.2, 0.455, *[0.0] * 10])
    state, leaving = frozen(temperature, water, ice)
    changed = [phase_change(*layer) for layer in zip(temperature[:4], water[:4], ice[:4], strict=True)]
    expected_ice = np.array([layer[2] for layer in changed])
    surplus = (expected_ice[0] - 0.449) * 0.01
    assert surplus > 0.0
    expected_ice[0] = 0.449
    expected_ice[1] += surplus / 0.03
    out = (expected_ice[3] - 0.449) * 0.1
    assert out > 0.0
    expected_ice[3] = 0.449
    np.testing.assert_allclose(state["soil_ice"][0][:4, 0], expected_ice, rtol=1e-13)
    np.testing.assert_allclose(state["soil_water"][0][:4, 0], [layer[1] for layer in changed], rtol=1e-12)
    np.testing.assert_allclose(state["soil_temperature"][0][:4, 0], [layer[0] for layer in changed], rtol=1e-14)
    assert leaving == pytest.approx(out / 900.0, rel=1e-12)


def test_ice_pushed_into_warm_soil_melts_in_the_next_sub_step_only() -> None:
    temperature = np.array([271.0, 279.0, 280.0, 280.0, *[280.0] * 10])
    water = np.array([0.2, 0.2, 0.2, 0.2, *[0.0] * 10])
    state, leaving = frozen(temperature, water, np.array([0.46, *[0.0] * 13]))
    ice = phase_change(271.0, 0.2, 0.46)[2]
    assert ice > 0.46
    assert state["soil_ice"][0][1, 0] == pytest.approx((ice - 0.449) * 0.01 / 0.03, rel=1e-12)
    assert state["soil_temperature"][0][1, 0] == 279.0
    assert state["soil_water"][0][1, 0] == 0.2
    assert leaving == 0.0


def test_more_sublimation_than_ice_takes_liquid_water() -> None:
    state, _ = frozen(np.full(14, 272.0), np.full(14, 0.08), np.array([0.002, *[0.0] * 13]), sublimation=1.0e-7)
    temperature, water, ice = phase_change(272.0, 0.08, 0.002)
    lost = 1.0e-7 * 900.0 / 0.01
    assert lost > ice
    assert state["soil_ice"][0][0, 0] == 0.0
    assert state["soil_water"][0][0, 0] == pytest.approx(water + ice - lost, rel=1e-13)
    assert state["soil_temperature"][0][0, 0] == pytest.approx(temperature, rel=1e-15)


def test_a_trace_of_ice_melts_at_once() -> None:
    state, _ = frozen(np.full(14, 274.0), np.full(14, 0.2), np.array([5.0e-7, *[0.0] * 13]))
    temperature, water, ice = phase_change(274.0, 0.2, 5.0e-7)
    assert 0.0 < ice < 1.0e-6
    assert state["soil_ice"][0][0, 0] == 0.0
    assert state["soil_water"][0][0, 0] == pytest.approx(water + ice, rel=1e-15)
    assert state["soil_temperature"][0][0, 0] == pytest.approx(temperature - ice * FUSION * 1000.0 / 2.0e6, rel=1e-15)


@njit
def _regrid(work, options, active):
    regrid_snow(record(work), options[0], rows(active)[0] > 0.5)


def regridded(layers: int, depth: Any, density: Any, heat: Any, age: Any) -> dict[str, Array]:
    """Layers (layer, lane) after the grid was made anew; arguments (layer, lane)."""
    work = work_record()
    for name, values in (("thickness", depth), ("density", density), ("heat", heat), ("age", age)):
        work[f"snow_{name}"][0][:layers] = values
    _regrid(work, option_record(Options(snow_layers=layers)), np.ones(WIDTH))  # type: ignore[arg-type]
    return {name: work[f"snow_{name}"][0][:layers].copy() for name in ("thickness", "density", "heat", "age")}


def test_target_of_three_layers() -> None:
    depth = np.array([0.031, 0.04, 0.041, 0.2, 0.21, 0.5, 1.5, 4.0])
    rng = np.random.default_rng(1)
    shares = rng.dirichlet([2.0, 2.0, 2.0], WIDTH).T
    result = regridded(3, depth * shares, np.full((3, WIDTH), 200.0), -6.7e7 * depth * shares, np.ones((3, WIDTH)))
    for lane, total in enumerate(depth):
        if total <= 0.04:
            edge = min(0.01, total / 3.0)
            expected = [edge, total - 2.0 * edge, edge]
        elif total <= 0.20:
            expected = [0.25 * total, 0.5 * total, 0.25 * total]
        else:
            second = min(0.5, 0.34 * (total - 0.05) + 0.05)
            expected = [0.05, second, total - 0.05 - second]
        np.testing.assert_allclose(result["thickness"][:, lane], expected, rtol=1e-12)
        np.testing.assert_allclose(result["density"][:, lane], 200.0, rtol=1e-12)  # a uniform pack stays one
        np.testing.assert_allclose(result["heat"][:, lane] / expected, -6.7e7, rtol=1e-11)


@pytest.mark.parametrize("layers", [3, 12])
def test_regridding_moves_overlaps(layers: int) -> None:
    """Mass, heat and mass-weighted age of a new layer are those of the stretches of old layers inside it, found here by
    cutting both grids into all their pieces."""
    rng = np.random.default_rng(layers)
    thickness = rng.dirichlet(np.ones(layers), WIDTH).T * np.array([0.05, 0.1, 0.15, 0.3, 0.6, 1.0, 2.0, 3.0])
    density = rng.uniform(60.0, 600.0, (layers, WIDTH))
    heat = -rng.uniform(3e5, 4e5, (layers, WIDTH)) * density * thickness
    age = rng.uniform(0.0, 50.0, (layers, WIDTH))
    result = regridded(layers, thickness, density, heat, age)
    for lane in range(WIDTH):
        old = np.concatenate([[0.0], np.cumsum(thickness[::-1, lane])])  # heights from the ground
        new = np.concatenate([[0.0], np.cumsum(result["thickness"][::-1, lane])])
        assert new[-1] == pytest.approx(old[-1], rel=1e-13)
        cuts = np.unique(np.concatenate([old, new]))
        middle = 0.5 * (cuts[1:] + cuts[:-1])
        of_old = layers - 1 - (np.searchsorted(old, middle) - 1).clip(0, layers - 1)
        of_new = layers - 1 - (np.searchsorted(new, middle) - 1).clip(0, layers - 1)
        mass = np.diff(cuts) * density[of_old, lane]
        warmth = np.diff(cuts) * (heat / thickness)[of_old, lane]
        for layer in range(layers):
            inside = of_new == layer
            part = mass[inside].sum()
            assert result["density"][layer, lane] * result["thickness"][layer, lane] == pytest.approx(part, rel=1e-10)
            assert result["heat"][layer, lane] == pytest.approx(warmth[inside].sum(), rel=1e-10)
            expected = (mass[inside] * age[of_old[inside], lane]).sum() / part
            assert result["age"][layer, lane] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("layers", [3, 12])
def test_a_thin_pack_is_uniform(layers: int) -> None:
    rng = np.random.default_rng(layers)
    thickness = rng.dirichlet(np.ones(layers), WIDTH).T * 0.029
    density = rng.uniform(60.0, 600.0, (layers, WIDTH))
    heat = -3.4e5 * density * thickness
    age = rng.uniform(0.0, 50.0, (layers, WIDTH))
    result = regridded(layers, thickness, density, heat, age)
    mass = (density * thickness).sum(axis=0)
    np.testing.assert_allclose(result["thickness"], np.full((layers, WIDTH), 0.029 / layers), rtol=1e-12)
    np.testing.assert_allclose(result["density"], np.tile(mass / 0.029, (layers, 1)), rtol=1e-12)
    np.testing.assert_allclose(result["heat"], np.tile(heat.sum(axis=0) / layers, (layers, 1)), rtol=1e-12)
    np.testing.assert_allclose(result["age"], np.tile(age.mean(axis=0), (layers, 1)), rtol=1e-12)


def test_twelve_layers_keep_their_grid_until_an_edge_leaves_its_range() -> None:
    depth = 1.0
    inside = np.full((12, WIDTH), depth / 12.0)
    inside[0], inside[1], inside[11] = 0.0149, 0.0745, 0.0299  # just below 1.5 x 0.01, 0.05, 0.02
    inside[5:8] += (depth - inside.sum(axis=0)) / 3.0
    density = np.tile(np.linspace(80.0, 400.0, 12)[:, None], (1, WIDTH))
    heat = -3.4e5 * density * inside
    kept = regridded(12, inside, density, heat, np.zeros((12, WIDTH)))
    np.testing.assert_array_equal(kept["thickness"], inside)
    np.testing.assert_array_equal(kept["density"], density)
    outside = inside.copy()
    outside[0] = 0.0151
    outside[5] -= 0.0002
    made = regridded(12, outside, density, heat, np.zeros((12, WIDTH)))
    np.testing.assert_allclose(made["thickness"][[0, 1, 11], 0], [0.01, 0.05, 0.02], rtol=1e-12)


@njit
def _sublimate(air, work, options, cover, out):
    rows(out)[0] = sublimate(record(air), record(work), options[0], rows(cover)[0])


def sublimated(
    thickness: Any, density: Any, temperature: float, latent: float, cover: float = 0.8, air: float = 268.0
) -> tuple[Any, float]:
    """The pack (3 dry layers) after 1800 s and what the soil has to make up for (kg m-2 s-1)."""
    thickness, density = np.asarray(thickness, dtype=np.float64), np.asarray(density, dtype=np.float64)
    work = work_record(snow_latent_heat=latent)
    heat = thickness * density * (2106.0 * (temperature - TRIPLE) - FUSION)
    for name, values in (("thickness", thickness), ("density", density), ("heat", heat)):
        work[f"snow_{name}"][0][:3] = values[:, None]
    work["snow_temperature"][0][:3] = temperature
    out = np.zeros((1, WIDTH))
    _sublimate(air_record(temperature=air), work, option_record(Options(snow_layers=3)), np.full(WIDTH, cover), out)
    return work, float(out[0, 0])


def test_snow_lighter_than_50_is_made_denser_from_the_soil() -> None:
    """rho_1 is raised to 50 kg m-3 at its thickness; the mass comes from the soil (soilcor); then it sublimates."""
    work, lacking = sublimated([0.01, 0.02, 0.01], [42.0, 150.0, 200.0], 265.0, 100.0)
    assert lacking == pytest.approx((50.0 - 42.0) * 0.01 / 1800.0, rel=1e-11)
    assert work["snow_density"][0][0, 0] == 50.0
    loss = 0.8 * 100.0 * 1800.0 / (2.8345e6 * 50.0)
    assert work["snow_thickness"][0][0, 0] == pytest.approx(0.01 - loss, rel=1e-12)
    # its heat stays, over another mass: the temperature follows from it
    heat = 0.01 * 42.0 * (2106.0 * (265.0 - TRIPLE) - FUSION)
    expected = TRIPLE + (heat / (0.01 - loss) + FUSION * 50.0) / (2106.0 * 50.0)
    assert work["snow_temperature"][0][0, 0] == pytest.approx(min(TRIPLE, max(expected, 253.0)), rel=1e-12)


def test_a_first_layer_that_sublimates_away_takes_the_rest_from_the_soil() -> None:
    work, lacking = sublimated([1e-4, 0.02, 0.01], [100.0, 150.0, 200.0], 265.0, 300.0)
    wanted = 0.8 * 300.0 * 1800.0 / 2.8345e6
    assert lacking == pytest.approx((wanted - 1e-4 * 100.0) / 1800.0, rel=1e-11)
    # layers 2 and 3 are spread over three of equal mass, heat and thickness
    mass = 0.02 * 150.0 + 0.01 * 200.0
    np.testing.assert_allclose(work["snow_thickness"][0][:3, 0], 0.01, rtol=1e-13)
    np.testing.assert_allclose(work["snow_density"][0][:3, 0], mass / 0.03, rtol=1e-13)
    per_layer = work["snow_heat"][0][:3, 0]
    np.testing.assert_array_equal(per_layer, per_layer[0])


def test_sublimation_does_not_cool_the_first_layer_far_below_the_air() -> None:
    """T_1 >= Ta - 15 K; the heat for it comes from the layers below in proportion to their thickness."""
    work, lacking = sublimated([2e-4, 0.02, 0.01], [100.0, 150.0, 200.0], 255.0, 30.0, air=272.0)
    assert lacking == 0.0
    assert work["snow_temperature"][0][0, 0] == pytest.approx(257.0, rel=1e-14)
    before = np.array([2e-4, 0.02, 0.01]) * [100.0, 150.0, 200.0] * (2106.0 * (255.0 - TRIPLE) - FUSION)
    change = work["snow_heat"][0][:3, 0] - before
    assert change[0] > 0.0
    assert change.sum() == pytest.approx(0.0, abs=1e-8 * abs(before).sum())
    assert change[1] / change[2] == pytest.approx(2.0, rel=1e-6)


def test_snow_lightened_by_sublimation_in_a_run_closes_the_water_budget() -> None:
    """A pack of 50 kg m-3 in dry wind over moist soil, with each grid."""
    for layers in (3, 12):
        options = Options(snow_layers=layers)  # type: ignore[arg-type]
        parameters = simple_columns(["NO", "GRAS", "TENE"], options)
        state = with_snow(cold_start(parameters, 268.0), [0.6, 2.0, 5.0], 50.0, 264.0, layers)
        forcing = constant_forcing(25, 3, Tair=266.0, Qair=2e-4, Wind=9.0, SWdown=150.0, LWdown=200.0)
        run = run_steps(parameters, options, state, forcing, "2007-01-10T00", 900.0)
        assert np.abs(water_residual(run)).max() <= 1e-9
        assert run.outputs["LES"].max() > 20.0


@njit
def _share(work, options, cover, ground, residual):
    share_ground_flux(record(work), options[0], rows(cover)[0], rows(ground)[0], rows(residual)[0])


@pytest.mark.parametrize("ground", [-20.0, 2.0e4])
def test_heat_from_snow_is_shared_whole(ground: float) -> None:
    """The layers receive psn (G + Fcor) together, whether G warms the surface by more than 10 K in the step or not
    (docs/science/snow.md, section 12)."""
    work = work_record(thickness=THICKNESS, heat_capacity=np.linspace(1.8e6, 2.6e6, 14), inertia_composite=4.0e-5)
    _share(work, option_record(), np.full(WIDTH, 0.7), np.full(WIDTH, ground), np.full(WIDTH, 13.0))
    source = work["soil_heat_source"][0][:, 0]
    assert source.sum() == pytest.approx(0.7 * (ground + 13.0), rel=1e-12)
    assert (source[6:] == 0.0).all()  # nothing below 0.6 m
    weights = np.linspace(1.8e6, 2.6e6, 14)[:6] * THICKNESS[:6]
    weights[0] = 1.0 / 4.0e-5
    spread = 1800.0 * 4.0e-5 * 0.7 * abs(ground) >= 10.0
    assert spread == (ground > 1e4)
    below = 0.7 * (13.0 + (ground if spread else 0.0)) * weights / weights.sum()
    np.testing.assert_allclose(source[1:6], below[1:], rtol=1e-12)
    assert math.isclose(source[0], below[0] + (0.0 if spread else 0.7 * ground), rel_tol=1e-12)
