"""Leaf, canopy, surface exchange and biomass against golden values, which an independent script computed
from the equations, and against its equations where the reference runs never went (tropical and offensive trees)."""

import math
from typing import Any

import numpy as np
import pytest
from numba import njit

from ldas.landmodel import Parameters, cold_start
from ldas.landmodel.canopy_light import gauss_canopy_light
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.leaf import leaf
from ldas.landmodel.parameters import DEFAULT_CO2
from ldas.landmodel.photosynthesis import PPM_CO2, stressed_leaf, temperature_response
from ldas.landmodel.records import record, rows
from ldas.landmodel.surface_exchange import exchange_coefficients, heat_conductance, momentum_drag, richardson_number
from ldas.landmodel.thermodynamics import air_density, exner
from ldas.landmodel.vegetation import daily_biomass, set_surface_from_leaf_area, total_from_leaf
from tests.landmodel.records import air_record, empty_parameters, parameter_record, state_record, work_record
from tests.landmodel.support import Array, simple_columns


@njit
def _stressed(stress, parameters, work, out):
    conductance, deficit, ratio = stressed_leaf(rows(stress)[0], record(parameters), record(work))
    rows(out)[0] = conductance
    rows(out)[1] = deficit
    rows(out)[2] = ratio


def under_stress(code: str, stress: float | Array, **overrides: float) -> Array:
    """gm (m s-1), Dmax (kg kg-1) and f0 (1) of a vegetation type under F2: three numbers, or (3, lane)."""
    out = np.zeros((3, WIDTH))
    parameters = parameter_record(simple_columns([code], overrides=overrides))
    _stressed(np.broadcast_to(np.asarray(stress, dtype=np.float64), (WIDTH,)).copy(), parameters, work_record(), out)
    return out if np.ndim(stress) else out[:, 0]


LEAVES = [
    ("GRAS", 1.0, 1.000000e-3, 0.049470, 4.375763e-7, 1.025249e-2, 4.909570e-8),
    ("GRAS", 0.6, 4.362027e-4, 0.192630, 2.230755e-7, 1.150689e-2, 2.478806e-8),
    ("GRAS", 0.2, 3.328649e-4, 0.200000, 1.735015e-7, 9.378165e-3, 1.927804e-8),
    ("C3", 1.0, 1.750000e-3, 0.019775, 6.097056e-7, 6.471442e-3, 7.135846e-8),
    ("C3", 0.6, 1.494247e-3, 0.025618, 5.729352e-7, 7.712211e-3, 6.607981e-8),
    ("C3", 0.2, 9.046421e-4, 0.030000, 3.956848e-7, 6.499810e-3, 4.424425e-8),
    ("C4", 1.0, 9.800000e-3, 0.030124, 1.119699e-6, 5.562811e-3, 1.548856e-7),
    ("C4", 0.6, 1.944375e-3, 0.184339, 5.803430e-7, 3.484676e-3, 6.568397e-8),
    ("TEBD", 1.0, 1.8e-3, 0.58746, 4.633683e-7, 2.997187e-3, 5.286441e-8),
    ("TEBD", 0.6, 9.252706e-4, 0.58746, 2.731946e-7, 1.827757e-3, 3.040388e-8),
    ("TEBD", 0.2, 1.794823e-4, 0.64538, 6.542934e-8, 6.220564e-4, 7.269927e-9),
    ("BONE", 1.0, 1.9e-3, 0.57974, 4.830635e-7, 2.939816e-3, 5.543007e-8),
    ("BONE", 0.6, 1.9e-3, 0.42463, 3.787536e-7, 1.709492e-3, 4.297821e-8),
    ("BONE", 0.2, 1.266667e-3, 0.36623, 2.373367e-7, 9.747231e-4, 2.644434e-8),
]


@pytest.mark.parametrize(("code", "stress", "conductance", "shape", "net", "vapour", "dark"), LEAVES)
def test_leaf_under_stress(
    code: str, stress: float, conductance: float, shape: float, net: float, vapour: float, dark: float
) -> None:
    """25 deg C, 380 ppm, 200 W m-2 of PAR, a deficit of 5 g kg-1, air of 1.2 kg m-3; `shape` is Dmax of herbs, f0 of
    trees."""
    parameters = simple_columns([code])
    values = {name: float(array[0]) for name, array in parameters.values.items()}
    computed, deficit, ratio = under_stress(code, stress)
    assert computed == pytest.approx(conductance, rel=4e-7)
    assert (ratio if values["woody"] > 0.5 else deficit) == pytest.approx(shape, rel=2e-5)
    density = 1.2
    mesophyll = computed * temperature_response(25.0, 1.0, values["mesophyll_low"], values["mesophyll_high"])
    capacity = values["assimilation_capacity"] * temperature_response(
        25.0, 1.0, values["capacity_low"], values["capacity_high"]
    )
    result = leaf(
        200.0, 380.0 * PPM_CO2, 0.005, mesophyll, values["cuticular_conductance"], capacity / density,
        values["compensation_point"] * PPM_CO2, values["quantum_efficiency"] / density, ratio, deficit,
        min(1.0, stress / 1e-12), 1.0,
    )  # fmt: skip
    assert result[0] * density == pytest.approx(net, rel=4e-7)
    assert result[1] == pytest.approx(vapour, rel=4e-7)
    assert result[2] * density == pytest.approx(dark, rel=4e-7)


def test_woody_offensive_stress_is_that_of_the_equations() -> None:
    """docs/science/photosynthesis.md, section 2, over the whole range of F2 at once, written here with math."""
    stress = np.array([0.0, 1e-9, 0.1, 0.2999999, 0.3, 0.5, 0.9, 1.0])
    computed = under_stress("SHRB", stress)
    unstressed, critical = 0.0016, 0.3
    optimum = (4.7 - math.log(1000.0 * unstressed)) / 7.0
    stressed = math.exp(2.8 - 7.0 * optimum) / 1000.0
    for lane, f in enumerate(stress):
        if f >= critical:
            expected = (unstressed - (unstressed - stressed) * (1.0 - f) / (1.0 - critical), optimum)
        else:
            least = stressed * f / critical
            expected = (least, min(0.95, (2.8 - math.log(1000.0 * max(least, 1e-12))) / 7.0))
        np.testing.assert_allclose(computed[[0, 2], lane], expected, rtol=1e-13, atol=1e-300)
        assert computed[1, lane] == 0.109  # Dmax of trees stays


def test_tropical_evergreen_stress_is_linear() -> None:
    stress = np.linspace(0.0, 1.0, WIDTH)
    computed = under_stress("TRBE", stress)
    np.testing.assert_allclose(computed[0], 0.0012 * stress, rtol=1e-15)
    np.testing.assert_array_equal(computed[2], 0.74)
    np.testing.assert_array_equal(computed[1], 0.124)


def test_exhausted_offensive_herbs() -> None:
    """Below Dmax = 0.03 kg kg-1 an offensive herb closes with the conductance of that deficit
    (docs/science/photosynthesis.md, section 2)."""
    stress = 0.02
    conductance, deficit, _ = under_stress("GRAS", stress)
    assert 0.3 * stress / 0.3 < 0.03
    assert deficit == 0.03
    expected = math.exp(2.381 - 0.6103 * math.log(30.0)) / 1000.0 * stress / 0.3
    assert conductance == pytest.approx(expected, rel=1e-13)


def test_stress_of_mixed_neighbours() -> None:
    """Herb, tree and tropical tree in one block: each is what it is alone."""
    codes = ["GRAS", "SHRB", "TRBE", "C3", "BONE", "C4", "TEBD", "IRR"]
    out = np.zeros((3, WIDTH))
    stress = np.linspace(0.05, 0.95, WIDTH)
    _stressed(stress, parameter_record(simple_columns(codes)), work_record(), out)
    for lane, code in enumerate(codes):
        np.testing.assert_array_equal(out[:, lane], under_stress(code, stress)[:, lane])


@pytest.mark.parametrize(("code", "golden"), [("GRAS", 3.948398e-7), ("C3", 6.529492e-7), ("C4", 1.610941e-6)])
def test_optimal_assimilation(code: str, golden: float) -> None:
    parameters = simple_columns([code], reference_co2=DEFAULT_CO2)
    assert parameters.optimal_assimilation[0] == pytest.approx(golden, rel=2e-7)


def test_light_of_the_gauss_levels() -> None:
    cosine = math.cos(math.radians(40.0))
    light = [gauss_canopy_light(node, 800.0, cosine, 3.0) for node in range(3)]
    np.testing.assert_allclose(light, [68.7754864, 145.2864303, 308.2437804], rtol=2e-9)
    assert gauss_canopy_light(1, 800.0, cosine, 0.0) == pytest.approx(0.48 * 800.0, rel=1e-15)
    # the sun is not followed below cos Z = 0.01
    assert gauss_canopy_light(0, 5.0, -0.3, 2.0) == gauss_canopy_light(0, 5.0, 0.01, 2.0)


@njit
def _exchange(parameters, air, work, surface, humidity, out):
    exchange_coefficients(record(parameters), record(air), record(work))
    number = richardson_number(rows(surface)[0], rows(humidity)[0], record(work))
    rows(out)[0] = number
    rows(out)[1] = 1.0 / heat_conductance(number, record(work))
    rows(out)[2] = momentum_drag(number, record(parameters), record(work))


def exchange(surface: Any, humidity: Any, air: Any, air_humidity: Any, wind: Any, roughness: float = 0.05) -> Array:
    """Ri, Ra (s m-1) and CD at Ps 1e5 Pa, T and q 2 m, wind 10 m above z0 and z0h = z0/10: (3, lane)."""
    density = air_density(air, air_humidity, 1.0e5, 2.0)
    heights = {"air_height": 2.0, "wind_height": 10.0}
    record = air_record(
        temperature=air, humidity=air_humidity, wind=wind, pressure=1.0e5, density=density,
        exner_surface=exner(1.0e5), exner_air=exner(1.0e5 - density * 2.0 * 9.80665),
    )  # fmt: skip
    out = np.zeros((3, WIDTH))
    lanes = (np.broadcast_to(np.asarray(v, dtype=np.float64), (WIDTH,)).copy() for v in (surface, humidity))
    work = work_record(roughness=roughness, roughness_heat=roughness / 10.0)
    _exchange(empty_parameters(**heights), record, work, *lanes, out)
    return out


def test_drag() -> None:
    richardson, resistance, _ = exchange(303.15, 0.012, 298.15, 0.010, 3.0)[:, 0]
    assert richardson == pytest.approx(-0.96829436, rel=1e-7)
    assert resistance == pytest.approx(28.0837986, rel=1e-8)
    richardson, resistance, _ = exchange(285.15, 0.008, 288.15, 0.008, 3.0)[:, 0]
    assert richardson == 0.2
    assert resistance == pytest.approx(346.720739, rel=1e-8)


def test_drag_is_the_logarithmic_law_without_stratification() -> None:
    # equal virtual potential temperatures: that of the air, brought down to the surface
    density = air_density(288.15, 0.008, 1.0e5, 2.0)
    neutral = 288.15 / exner(1.0e5 - density * 2.0 * 9.80665) * exner(1.0e5)
    richardson, resistance, drag = exchange(neutral, 0.008, 288.15, 0.008, 5.0)[:, 0]
    assert abs(richardson) < 1e-12
    momentum, heat = math.log(10.0 / 0.05), math.log(2.0 / 0.005)
    assert resistance == pytest.approx(momentum * heat / (0.16 * 5.0), rel=1e-9)
    assert drag == pytest.approx((0.4 / momentum) ** 2, rel=1e-9)


def test_drag_rises_with_instability_and_wind_has_a_floor() -> None:
    surface = 288.15 + np.linspace(-6.0, 20.0, WIDTH)
    richardson, resistance, drag = exchange(surface, 0.008, 288.15, 0.008, 4.0)
    assert (np.diff(richardson) <= 0.0).all()
    assert (np.diff(resistance) <= 0.0).all()
    assert (np.diff(drag) >= 0.0).all()
    np.testing.assert_array_equal(
        exchange(290.0, 0.008, 288.15, 0.008, 0.0), exchange(290.0, 0.008, 288.15, 0.008, 1.0)
    )


def test_roughness_is_limited_by_the_heights() -> None:
    """z0 <= half the height of the wind, z0h <= half that of the temperature: a forest under a 2 m thermometer."""
    np.testing.assert_array_equal(
        exchange(290.0, 0.008, 288.15, 0.008, 3.0, 50.0)[1], exchange(290.0, 0.008, 288.15, 0.008, 3.0, 10.0)[1]
    )


@njit
def _biomass(column, parameters, leaf_area, out):
    result = daily_biomass(record(column), record(parameters), rows(leaf_area)[0])
    for row in range(5):
        rows(out)[row] = result[row]


def a_day(parameters: Parameters, biomass: Any, respired: Any, assimilated: float, largest: float) -> Array:
    """Leaf, active and passive biomass, litter and clipped biomass (kg m-2) after a day, LAI = B1 / BSLAI before."""
    state = cold_start(parameters)
    state = state._replace(
        biomass=np.array([biomass]), respired_biomass=np.array([respired]),
        daily_net_assimilation=np.array([assimilated]), maximum_leaf_assimilation=np.array([largest]),
    )  # fmt: skip
    out = np.zeros((5, WIDTH))
    area = np.full(WIDTH, biomass[0] / parameters.leaf_biomass_ratio[0])
    _biomass(state_record(state), parameter_record(parameters), area, out)
    return out[:, 0]


@pytest.mark.parametrize(
    ("biomass", "respired", "assimilated", "largest", "golden", "lai"),
    [
        ((0.08, 0.03, 0.01), (2e-4, 5e-5), 0.012, 8e-7, (0.087584063, 0.029333216, 0.010155434), 1.2224983),
        ((0.08, 0.03, 0.01), (2e-4, 5e-5), 0.0003, 3e-7, (0.078620439, 0.029600665, 0.0098835551), 1.0973841),
        ((0.02, 0.001, 0.0), (2e-5, 0.0), 0.004, 8e-7, (0.022727273, 0.0, 0.00098), 0.31722727),
    ],
)
def test_daily_biomass(
    biomass: Any, respired: Any, assimilated: float, largest: float, golden: tuple[float, ...], lai: float
) -> None:
    parameters = simple_columns(["GRAS"], latitude=44.0, overrides={"ANMAX": 9e-7})
    ratio = float(parameters.leaf_biomass_ratio[0])
    assert ratio == pytest.approx(0.071643502, rel=1e-8)
    assert parameters.shadow_lai[0] == pytest.approx(5.3408722, rel=1e-8)
    result = a_day(parameters, biomass, respired, assimilated, largest)
    np.testing.assert_allclose(result[:3], golden, rtol=5e-8, atol=5e-10)
    assert max(0.3 * ratio, result[0]) / ratio == pytest.approx(lai, rel=5e-8)
    # what is not in the pools any more has been respired or fallen
    gained = assimilated * 12.0 / (44.0 * 0.4) - sum(respired)
    assert sum(result[:3]) - sum(biomass) == pytest.approx(gained - result[3] + result[4], abs=1e-16)


def test_life_span_of_leaves_shortens_in_the_shade_of_others_and_never_below_a_tenth() -> None:
    parameters = simple_columns(["GRAS"], latitude=44.0, overrides={"ANMAX": 9e-7})
    lost = [a_day(parameters, (0.5, 0.3, 0.1), (0.0, 0.0), 0.0, largest)[0] for largest in (9e-7, 3e-7, 1e-9, 0.0)]
    # leaves that fix less than the best live shorter, down to 15 days
    assert lost[0] > lost[1] > lost[2]
    assert lost[2] == lost[3] == pytest.approx(0.5 * math.exp(-1.0 / 15.0), rel=1e-12)


def test_allometry() -> None:
    """W = (B / 0.31425531725)^(1/0.62) (docs/science/vegetation.md, section 3)"""
    for biomass in (1e-6, 0.02, 0.5, 3.0):
        assert total_from_leaf(biomass) == pytest.approx((biomass / 0.31425531725) ** (1.0 / 0.62), rel=1e-14)
    assert total_from_leaf(0.0) == 0.0


@njit
def _surface(column, parameters, work):
    set_surface_from_leaf_area(record(column), record(parameters), record(work))


@pytest.mark.parametrize(
    ("code", "lai", "cover", "height"),
    [
        ("C3", 3.0, 1.0 - math.exp(-1.8), math.exp(-0.5 / 1.3)), ("C3", 6.0, 1.0 - math.exp(-3.6), 1.0),
        ("C4", 6.0, 1.0 - math.exp(-3.6), 2.5), ("IRR", 4.0, 1.0 - math.exp(-2.4), math.exp(0.5 / 1.3)),
        ("GRAS", 3.0, 0.95, 0.5), ("PARK", 1.2, 0.95, 0.2), ("TEBD", 3.0, 0.95, 10.0), ("TRBE", 5.0, 1.0, 30.0),
        ("NO", 0.0, 0.0, 0.1), ("ROCK", 0.0, 0.0, 1.0), ("SNOW", 0.0, 0.0, 0.01),
    ],
)  # fmt: skip
def test_surface_from_leaf_area(code: str, lai: float, cover: float, height: float) -> None:
    parameters = simple_columns([code])
    state = state_record(cold_start(parameters, leaf_area_index=lai))
    work = work_record()
    _surface(state, parameter_record(parameters), work)
    assert work["vegetation_fraction"][0, 0] == pytest.approx(cover, rel=1e-14, abs=1e-300)
    assert work["vegetation_roughness"][0, 0] == pytest.approx(max(0.001, 0.13 * height), rel=1e-13)
    assert work["emissivity"][0, 0] == pytest.approx(0.97 * cover + 0.94 * (1.0 - cover), rel=1e-14)
    # dry soil of 40 % sand, whole cell vegetated or bare (docs/science/vegetation.md, section 6)
    visible = 0.05 + (0.05 + 0.12) * (1.0 - 0.9 * float(parameters.vegetated[0]))
    soil = 0.5 * (visible + visible + 0.10)
    plants = 0.5 * float(parameters.albedo_vegetation_near_infrared[0] + parameters.albedo_vegetation_visible[0])
    assert work["albedo"][0, 0] == pytest.approx((1.0 - cover) * soil + cover * plants, rel=1e-14)
