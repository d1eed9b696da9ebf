"""Constants, saturation, soil and thermal properties against golden values, which an independent script computed
from the equations, and the vertical grid against its rules (docs/science/soil_parameters.md, section 1)."""

import math

import numpy as np
import pytest

from ldas.landmodel import constants
from ldas.landmodel.soil_freezing import freeze_or_thaw
from ldas.landmodel.soil_properties import (
    LAYER_BOTTOMS,
    cumulative_root_fraction,
    dynamic_range,
    hydraulic_properties,
    runoff_depth,
    soil_grid,
)
from ldas.landmodel.soil_thermal import frozen_fraction, heat_capacity, saturated_conductivity, thermal_conductivity
from ldas.landmodel.sun import sun_of_times
from ldas.landmodel.thermodynamics import (
    air_density,
    exner,
    saturation_humidity,
    saturation_humidity_and_slope,
    saturation_vapour_pressure,
)
from tests.landmodel.support import simple_columns

CLAY, SAND = np.array([[0.25]]), np.array([[0.40]])


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (constants.STEFAN_BOLTZMANN, 5.670508538e-8),
        (constants.GAS_CONSTANT_DRY_AIR, 287.0596737),
        (constants.GAS_CONSTANT_VAPOUR, 461.5249933),
        (constants.HEAT_CAPACITY_DRY_AIR, 1004.708858),
        (constants.HEAT_CAPACITY_VAPOUR, 1846.099973),
        (constants.FUSION_HEAT, 3.337e5),
        (constants.DRY_MATTER_PER_CO2, 12.0 / (44.0 * 0.40)),
    ],
)
def test_constants(value: float, golden: float) -> None:
    assert value == pytest.approx(golden, rel=1e-9)


@pytest.mark.parametrize(
    ("temperature", "pressure", "humidity", "slope"),
    [
        (263.16, 259.96914, 1.61854866e-3, 1.43811056e-4),
        (273.16, 611.14, 3.80997522e-3, 3.14321190e-4),  # the ice branch holds at the triple point itself
        (283.15, 1226.49670, 7.66410753e-3, 5.15461035e-4),
        (298.15, 3161.60920, 1.99024656e-2, 1.19874043e-3),
    ],
)
def test_saturation(temperature: float, pressure: float, humidity: float, slope: float) -> None:
    assert saturation_vapour_pressure(temperature) == pytest.approx(pressure, rel=3e-8)
    computed = saturation_humidity(temperature, 1.0e5)
    assert computed == pytest.approx(humidity, rel=3e-9)
    assert saturation_humidity_and_slope(temperature, 1.0e5)[1] == pytest.approx(slope, rel=3e-9)


@pytest.mark.parametrize("temperature", [240.0, 262.0, 280.0, 310.0])
def test_saturation_slope_is_the_derivative(temperature: float) -> None:
    step = 1.0e-3
    difference = saturation_humidity(temperature + step, 9.0e4) - saturation_humidity(temperature - step, 9.0e4)
    slope = saturation_humidity_and_slope(temperature, 9.0e4)[1]
    assert slope == pytest.approx(difference / (2.0 * step), rel=1e-8)


def test_air_and_exner() -> None:
    assert air_density(298.15, 0.010, 1.0e5, 2.0) == pytest.approx(1.16108116, rel=1e-8)
    # Poisson's equation: the exponent is 2/7 of an ideal diatomic gas
    assert exner(9.0e4) == pytest.approx(0.9 ** (2.0 / 7.0), rel=1e-14)


@pytest.mark.parametrize(
    ("pedotransfer", "golden"),
    [
        ("CH78", (0.451105, 0.185671, 0.33211947, 6.926, -0.31477483, 4.47513643e-6)),
        ("CO84", (0.43895, 0.170655, 0.31022788, 6.905, -0.24015963, 3.91319253e-6)),
    ],
)
def test_soil_hydraulics(pedotransfer: str, golden: tuple[float, ...]) -> None:
    soil = hydraulic_properties(CLAY, SAND, pedotransfer)
    names = ("porosity", "wilting_point", "field_capacity", "retention_exponent", "entry_potential",
             "hydraulic_conductivity")  # fmt: skip
    for name, value in zip(names, golden, strict=True):
        assert soil[name][0, 0] == pytest.approx(value, rel=2e-8), name


def test_soil_of_the_reference_runs() -> None:
    soil = hydraulic_properties(np.array([[0.37]]), np.array([[0.37]]), "CH78")
    golden = {"porosity": 0.454345, "wilting_point": 0.22587852, "field_capacity": 0.35287504,
              "retention_exponent": 8.57, "entry_potential": -0.33450299,
              "hydraulic_conductivity": 2.0946890e-6}  # fmt: skip
    for name, value in golden.items():
        assert soil[name][0, 0] == pytest.approx(value, rel=2e-8), name


def test_dynamic_range_is_the_force_restore_one() -> None:
    assert float(dynamic_range(0.25)) == pytest.approx(0.08869965, rel=1e-7)


@pytest.mark.parametrize(
    ("water", "ice", "conductivity", "capacity"),
    [(0.25, 0.0, 1.20264685, 2.14081809e6), (0.10, 0.15, 1.48350105, 1.79779839e6)],
)
def test_thermal_properties(water: float, ice: float, conductivity: float, capacity: float) -> None:
    soil = {name: float(value[0, 0]) for name, value in hydraulic_properties(CLAY, SAND, "CH78").items()}
    frozen = frozen_fraction(water, ice)
    saturated = saturated_conductivity(math.log(soil["solid_conductivity"]), soil["porosity"], frozen)
    computed = thermal_conductivity(water, ice, 1.0 / soil["porosity"], soil["dry_conductivity"], saturated, frozen)
    assert computed == pytest.approx(conductivity, rel=5e-9)
    assert heat_capacity(water, ice, soil["porosity"]) == pytest.approx(capacity, rel=5e-9)


def test_thermal_conductivity_is_limited_below_a_tenth_of_saturation() -> None:
    soil = {name: float(value[0, 0]) for name, value in hydraulic_properties(CLAY, SAND, "CH78").items()}
    saturated = saturated_conductivity(math.log(soil["solid_conductivity"]), soil["porosity"], 0.0)
    arguments = (1.0 / soil["porosity"], soil["dry_conductivity"], saturated, 0.0)
    assert thermal_conductivity(0.001, 0.0, *arguments) == pytest.approx(soil["dry_conductivity"], rel=1e-14)
    assert thermal_conductivity(soil["porosity"], 0.0, *arguments) == pytest.approx(saturated, rel=1e-14)


def test_liquid_water_below_freezing() -> None:
    """psimax -377.864192 m and wmax 0.16205873 at 270.16 K: a long freezing step ends at no less liquid than that."""
    soil = {name: float(value[0, 0]) for name, value in hydraulic_properties(CLAY, SAND, "CH78").items()}
    limit = constants.FUSION_HEAT * (270.16 - constants.FREEZING_POINT) / (constants.GRAVITY * 270.16)
    assert limit == pytest.approx(-377.864192, rel=1e-8)
    most = soil["porosity"] * (limit / soil["entry_potential"]) ** (-1.0 / soil["retention_exponent"])
    assert most == pytest.approx(0.16205873, rel=1e-7)
    # so much is left above it that the layer freezes at its full speed: 1800/3300 of what the cold can freeze
    constant = (soil["porosity"], soil["entry_potential"], soil["retention_exponent"])
    inverse = tuple(1.0 / value for value in constant)
    _, water, ice = freeze_or_thaw(270.16, 0.30, 0.0, 2.0e6, constant, inverse, 1.0, 1800.0)
    potential = soil["entry_potential"] * (0.30 / soil["porosity"]) ** -soil["retention_exponent"]
    departure = 270.16 - constants.FUSION_HEAT * constants.FREEZING_POINT / (
        constants.FUSION_HEAT - constants.GRAVITY * potential
    )
    cold = constants.HEAT_CAPACITY_ICE * constants.ICE_DENSITY * -departure
    assert ice == pytest.approx(1800.0 / 3300.0 * min(cold, (0.30 - most) * 3.337e8) / 3.337e8, rel=1e-12)
    assert water + ice == pytest.approx(0.30, rel=1e-15)
    # at the limit nothing more freezes
    _, _, ice = freeze_or_thaw(270.16, most * (1.0 - 1e-12), 0.1, 2.0e6, constant, inverse, 1.0, 1800.0)
    assert ice == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("water", [0.15, 0.162, 0.1621, 0.17, 0.25, 0.45])
@pytest.mark.parametrize("ice", [0.0, 0.05])
@pytest.mark.parametrize("temperature", [255.0, 270.16, 272.9, 273.16, 273.5, 280.0])
@pytest.mark.parametrize("insulation", [1.0, 0.3])
def test_freezing_conserves_heat_with_the_apparent_capacity(
    water: float, ice: float, temperature: float, insulation: float
) -> None:
    """(Cv + Capp) dT = Lm rho dice (docs/science/soil_water.md, section 6), Capp written here from its definition."""
    porosity, entry, exponent, capacity = 0.451105, -0.31477483, 6.926, 2.0e6
    latent, gravity, fusion = 3.337e8, constants.GRAVITY, constants.FUSION_HEAT
    constant = (porosity, entry, exponent)
    inverse = tuple(1.0 / value for value in constant)
    new, new_water, new_ice = freeze_or_thaw(temperature, water, ice, capacity, constant, inverse, insulation, 900.0)
    limit = min(entry, fusion * (temperature - 273.16) / (gravity * temperature))
    most = porosity * (limit / entry) ** (-1.0 / exponent)
    potential = entry * (water / porosity) ** -exponent
    departure = temperature - fusion * 273.16 / (fusion - gravity * potential)
    apparent = 0.0
    if departure < 0.0 and water >= most and 2106.0 * 917.0 / latent * insulation * -departure >= water - most:
        apparent = -273.16 * 1000.0 * fusion**2 / gravity * most / (limit * exponent * temperature**2)
        assert apparent > 0.0
    assert (capacity + apparent) * (new - temperature) == pytest.approx(latent * (new_ice - ice), rel=1e-7, abs=1e-3)
    assert new_water + new_ice == pytest.approx(water + ice, rel=1e-15)
    assert new_ice >= 0.0
    if temperature > 273.16:
        assert new_ice <= ice


@pytest.mark.parametrize(
    ("depth", "layers", "moved"),
    [
        (0.2, 4, {}), (0.5, 6, {}), (1.0, 8, {}), (1.1, 8, {}), (1.2, 9, {9: 1.25}), (1.25, 9, {9: 1.25}),
        (1.29, 9, {9: 1.25}), (1.5, 9, {}), (1.54, 9, {}), (1.6, 10, {9: 1.25, 10: 1.75}), (2.0, 10, {}),
        (2.2, 10, {10: 2.25}), (2.5, 11, {11: 2.5}), (2.7, 11, {11: 2.75}), (3.0, 11, {}), (3.3, 11, {11: 3.5}),
        (4.0, 12, {12: 4.0}), (4.6, 12, {12: 5.0}), (5.0, 12, {}), (5.4, 12, {12: 5.5}), (7.0, 13, {}), (9.0, 14, {}),
    ],
)  # fmt: skip
def test_grid(depth: float, layers: int, moved: dict[int, float]) -> None:
    bottoms, number = soil_grid(depth)
    expected = LAYER_BOTTOMS.copy()
    for layer, bottom in moved.items():
        expected[layer - 1] = bottom
    assert number == layers
    np.testing.assert_array_equal(bottoms, expected)
    assert (np.diff(bottoms) > 0.0).all()


def test_depths_of_the_vegetation_types() -> None:
    """Bare soil 8 moist layers, crops and grass 9, trees 10: the "8 to 10 layers, 1 m to 2 m" of the paper."""
    parameters = simple_columns(["NO", "C3", "GRAS", "TEBD", "TENE", "ROCK"])
    assert parameters.moist_layers.tolist() == [8.0, 9.0, 9.0, 10.0, 10.0, 4.0]


def test_root_fraction() -> None:
    depths = np.array([0.01, 0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5])
    golden = [0.054491, 0.200138, 0.425145, 0.663029, 0.872640, 0.942057, 0.968125, 0.980791, 1.0]
    np.testing.assert_allclose(cumulative_root_fraction(depths, 1.5, 0.943, 0.05), golden, rtol=0.0, atol=5e-7)
    below = cumulative_root_fraction(np.array([1.5, 3.0]), 1.5, 0.943, 0.05)
    np.testing.assert_array_equal(below, [1.0, 1.0])
    np.testing.assert_array_equal(cumulative_root_fraction(depths, 0.0, 0.943, 0.05), np.zeros(9))


@pytest.mark.parametrize(
    ("code", "depths", "expected"),
    [
        ("C3", {"DG2": 2.0, "DROOT": 1.5}, 0.8),
        ("C4", {"DG2": 2.0, "DROOT": 1.5}, 1.0),
        ("GRAS", {"DG2": 2.0, "DROOT": 1.5}, 0.6),
        ("BONE", {"DG2": 3.0, "DROOT": 2.0}, 0.6),
        ("NO", {"DG2": 1.0}, 0.6),
    ],
)
def test_runoff_depth_of_the_reference_runs(code: str, depths: dict[str, float], expected: float) -> None:
    assert simple_columns([code], overrides=depths).runoff_depth[0] == expected


def test_runoff_depth_of_shallow_bare_soil() -> None:
    assert runoff_depth(LAYER_BOTTOMS, 6, np.zeros(14), 0.5) == 0.5
    assert runoff_depth(LAYER_BOTTOMS, 4, np.array([0.5] * 13 + [1.0]), 0.2) == LAYER_BOTTOMS[3]


def cosine_zenith(times: np.ndarray, latitude: float, longitude: float) -> np.ndarray:
    """As the kernel makes it of what it gets (`driver.py`)."""
    sin_declination, cos_declination, cos_hour, sin_hour = sun_of_times(times).T
    local = cos_hour * math.cos(math.radians(longitude)) - sin_hour * math.sin(math.radians(longitude))
    phi = math.radians(latitude)
    return math.sin(phi) * sin_declination + math.cos(phi) * cos_declination * local


def test_sun() -> None:
    # noon of the equinox at the equator: overhead to within the equation of time
    equinox = np.array(["2007-03-21T12:00"], dtype="datetime64[s]")
    assert cosine_zenith(equinox, 0.0, 0.0)[0] == pytest.approx(1.0, abs=2e-3)
    # solstices: the declination is that of the tropics
    solstices = np.array(["2007-06-21T12:00", "2007-12-21T12:00"], dtype="datetime64[s]")
    declination = np.degrees(np.arcsin(sun_of_times(solstices)[:, 0]))
    np.testing.assert_allclose(declination, [23.45, -23.43], rtol=0.0, atol=0.05)
    # the formula of docs/science/air.md, section 4 in a leap year, after 29 February
    time = np.array(["2008-04-10T02:46:40"], dtype="datetime64[s]")
    day = 100.0 + 10000.0 / 86400.0
    a = 2.0 * math.pi * day / 366.0
    declined = (0.006918 - 0.399912 * math.cos(a) + 0.070257 * math.sin(a) - 0.006758 * math.cos(2 * a)
                + 0.000907 * math.sin(2 * a) - 0.002697 * math.cos(3 * a) + 0.00148 * math.sin(3 * a))  # fmt: skip
    equation = (7.67825 * math.sin(math.radians(1.00554 * day - 6.28306))
                + 10.09176 * math.sin(math.radians(1.93946 * day + 23.35089))) / 60.0  # fmt: skip
    hour_angle = math.radians(15.0 * (10000.0 / 3600.0 - equation + 110.0 / 15.0 - 12.0))
    expected = math.sin(math.radians(30.0)) * math.sin(declined) + math.cos(math.radians(30.0)) * math.cos(
        declined
    ) * math.cos(hour_angle)
    assert cosine_zenith(time, 30.0, 110.0)[0] == pytest.approx(expected, rel=1e-13)
