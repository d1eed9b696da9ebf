"""Snow and air at 2 m as direct observations: the analysis by hand, Jacobians, limits, and two synthetic twins."""

import importlib.util

import numpy as np
import pytest

from ldas.assim import EnSRFConfiguration, SEKFConfiguration, Window, WindowObservations
from ldas.assim import testing as toy
from ldas.assim.controls import read_variable
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.filter import WINDOW_S
from ldas.assim.observations import ObservationError, ObservationType
from ldas.assim.quality import Quality
from ldas.assim.sekf_analysis import dynamic_range
from ldas.assim.testing import START, observed
from ldas.landmodel import Isba, OutputRequest, cold_start
from ldas.operators.direct import DirectOperator
from tests.assim.cycles import CELLS, assert_same_bits, random_transition, three_cells
from tests.landmodel.support import constant_forcing, simple_columns, with_snow
from tests.support import REPOSITORY

UNITS = {"SWE": "kg m-2", "SNOW_DEPTH": "m", "T2M": "K", "Q2M": "kg kg-1", "HU2M": "1"}
ERRORS = {"SWE": 10.0, "SNOW_DEPTH": 0.04, "T2M": 1.0, "Q2M": 1e-3, "HU2M": 0.1}
MASS, DENSITY = np.array([40.0, 0.0, 90.0, 12.0, 5.0, 0.0]), np.array([150.0, 50.0, 300.0, 200.0, 100.0, 50.0])
FRACTION = np.array([0.2, 0.5, 0.3, 0.4, 0.6, 1.0])


def kind(name, cells=(0, 1, 2), **options):
    operator = DirectOperator(cells, predictor_name=name, unit=UNITS[name], output_name=name.lower())
    screening = {"reject_snow": False, "reject_frozen": False} | options
    return ObservationType(name, operator, ObservationError("absolute", ERRORS[name]), **screening)


def snowy():
    """Three cells: snow in two of three patches, in both, in none."""
    parameters, state, forcing = three_cells()
    return parameters, with_snow(state, MASS, DENSITY, 265.0), Window.cut(forcing, START)


def load_benchmark():
    file = REPOSITORY / "benchmarks/snow_and_screen_level.py"
    specification = importlib.util.spec_from_file_location("snow_and_screen_level", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# -- the analysis ------------------------------------------------------------------------------------------------------


def test_snow_equals_a_kalman_step_by_hand():
    """Snow that stays as it is: y = sum f m, and depth sum f m / rho; B = (0.3 m)^2."""
    parameters, state, window = snowy()
    method = SEKFConfiguration(controls=("WG2", "SWE")).make([kind("SWE"), kind("SNOW_DEPTH")], [0, 1, 2])
    values = {"SWE": np.array([42.0, 6.0, np.nan]), "SNOW_DEPTH": np.array([0.14, np.nan, np.nan])}
    result = method.cycle(toy.LinearModel(parameters), state, window, observed(**values))
    assert result.quality.tolist() == [[0, 0], [0, 1], [1, 1]]
    increment = np.zeros(6)
    for cell, columns, names in ((0, [0, 1, 2], ("SWE", "SNOW_DEPTH")), (1, [3, 4], ("SWE",))):
        f, m, rho = FRACTION[columns], MASS[columns], DENSITY[columns]
        rows = {"SWE": f * (m > 0.0), "SNOW_DEPTH": f * (m > 0.0) / rho}
        h = np.array([rows[name] for name in names])
        d = np.array([values[name][cell] for name in names]) - h @ m
        B, R = np.diag((0.3 * m) ** 2), np.diag([ERRORS[name] ** 2 for name in names])
        increment[columns] = B @ h.T @ np.linalg.inv(h @ B @ h.T + R) @ d
    np.testing.assert_allclose(result.increment[:, 1], increment, rtol=1e-9, atol=1e-12)
    assert (result.increment[:, 0] == 0.0).all()  # soil moisture does not change the snow of this model
    assert np.abs(increment[:5]).max() > 3.0

    # all layers by one factor; density, heat per volume, age and albedo stay
    analysed, factor = result.state, np.where(MASS > 0.0, 1.0 + increment / np.where(MASS > 0.0, MASS, 1.0), 1.0)
    np.testing.assert_allclose(
        analysed.snow_water_equivalent, state.snow_water_equivalent * factor[:, None], rtol=1e-12
    )
    assert_same_bits(analysed._replace(snow_water_equivalent=state.snow_water_equivalent), state)


def test_snow_is_at_most_doubled_or_halved_and_never_made():
    parameters, state, window = snowy()
    method = SEKFConfiguration(controls=("SWE",), snow_error=50.0).make([kind("SWE")], [0, 1, 2])
    result = method.cycle(toy.LinearModel(parameters), state, window, observed(SWE=[900.0, 0.0, 30.0]))
    assert result.quality[:, 0].tolist() == [Quality.USED, Quality.USED, Quality.NO_SNOW_IN_MODEL]
    after = read_variable(result.state, "SWE")
    np.testing.assert_allclose(after, MASS * [2.0, 1.0, 2.0, 0.5, 0.5, 1.0], rtol=1e-12)
    assert result.innovation[2, 0] == 30.0

    bare = method.cycle(toy.LinearModel(parameters), state, window, observed(SWE=[np.nan, np.nan, 0.0]))
    assert bare.quality[2, 0] == Quality.USED
    assert_same_bits(bare.state, state)


def test_impossible_and_gross_values_of_snow_have_a_code():
    parameters, state, window = snowy()
    types = [kind("SWE", valid_range=(0.0, 5000.0), innovation_limit=60.0), kind("SNOW_DEPTH", assimilate=False)]
    method = SEKFConfiguration(controls=("SWE",)).make(types, [0, 1, 2])
    given = observed(SWE=[-1.0, 100.0, np.nan], SNOW_DEPTH=[0.1, 0.1, 0.1])
    result = method.cycle(toy.LinearModel(parameters), state, window, given)
    assert result.quality[:2, 0].tolist() == [Quality.OUTSIDE_VALID_RANGE, Quality.REJECTED_INNOVATION]
    assert (result.quality[:, 1] == Quality.NOT_ASSIMILATED).all()  # compared only: nothing is to be made
    assert_same_bits(result.state, state)


class AirOfSoil(toy.LinearModel):
    """A linear model whose air at 2 m follows the soil at the window's end."""

    def run(self, state, forcing, *, output, **options):
        end, outputs = super().run(state, forcing, output=output, **options)
        if output is not None and output.at:
            assert set(output.at) >= {"T2M"}
            assert (output.at_steps == WINDOW_S // options["step_s"]).all()
            every = {"TG": end.soil_temperature, "WG": end.soil_water, "WGI": end.soil_ice, "LAI": end.leaf_area_index}
            every |= {"SNOW_SWE": end.snow_water_equivalent, "T2M": 300.0 - 20.0 * end.soil_water[..., 1]}
            outputs |= {f"{name}_at": every[name][None] for name in output.at}
        return end, outputs


def test_air_at_2_m_equals_a_kalman_step_by_hand():
    parameters, state, forcing = three_cells()
    window, M = Window.cut(forcing, START), random_transition()
    method = SEKFConfiguration(controls=("WG2", "WG3")).make([kind("T2M")], [0, 1, 2])
    model = AirOfSoil(parameters, M)
    y = np.array([293.0, 297.0, 295.0])
    result = method.cycle(model, state, window, observed(T2M=y))
    sigma = np.array([0.04, 0.02]) * dynamic_range(0.25) / 0.10
    end, _ = toy.LinearModel(parameters, M).run(
        state, forcing, start=window.start, step_s=1800, steps=48, forcing_step_s=3600, output=None, threads=1,
        allow_nonfinite=False,
    )  # fmt: skip
    for cell in range(3):
        columns = [column for column, of in enumerate(CELLS) if of == cell]
        f = FRACTION[columns]
        h = np.concatenate([-20.0 * f * M[2, 2], -20.0 * f * M[2, 3]])
        B = np.diag(np.repeat(sigma**2, len(columns)))
        d = y[cell] - f @ (300.0 - 20.0 * end.soil_water[columns, 1])
        expected = B @ h / (h @ B @ h + 1.0) * d
        # 1e-14 of 300 K, over a perturbation of 9e-6 m3 m-3
        np.testing.assert_allclose(result.increment[columns].T.ravel(), expected, rtol=0, atol=1e-11)
        # no state has it, so that what the analysis makes of it is linear
        assert result.residual[cell, 0] == pytest.approx(d - h @ expected, rel=1e-8)
    np.testing.assert_array_equal(
        result.jacobian, method.window_jacobian(model, state, window), "the same when it is looked at alone"
    )


# -- with the land model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("warmth", "curvature"), [(-8.0, 0.01), (4.0, 0.15)])
def test_jacobian_of_snow_against_central_differences(warmth, curvature):
    """By hand. Melting snow jumps where layers are merged: the sides of a difference are not quite the same."""
    parameters = simple_columns(("GRAS", "BONE"))
    state = with_snow(cold_start(parameters, 272.0), [60.0, 90.0], 250.0, 268.0)
    forcing = constant_forcing(25, 2, Tair=273.16 + warmth, Qair=0.003, SWdown=150.0, LWdown=270.0)
    window, model = Window.cut(forcing, "2007-02-01T09"), Isba(parameters)
    method = SEKFConfiguration(controls=("SWE",)).make([kind("SWE", (0, 1)), kind("SNOW_DEPTH", (0, 1))], [0, 1])
    found = method.window_jacobian(model, state, window)[:, :, 6, 0]
    ends = []
    for factor in (0.9, 1.0, 1.1):
        scaled = state._replace(snow_water_equivalent=state.snow_water_equivalent * factor)
        end, _ = window.run(model, scaled)
        ends.append(np.array([read_variable(end, name) for name in ("SWE", "SNOW_DEPTH")]).T)
    size = 0.1 * np.array([[60.0], [90.0]])
    np.testing.assert_allclose(found, (ends[2] - ends[1]) / size, rtol=1e-9)
    np.testing.assert_allclose(found, (ends[2] - ends[0]) / (2.0 * size), rtol=curvature)
    assert (found[:, 0] > 0.95).all()
    if warmth < 0.0:  # nothing jumps in cold snow: any step gives the same
        small = method.window_jacobian(model, state, window, factor=1e-4)[:, :, 6, 0]
        np.testing.assert_allclose(small, found, rtol=0.01)


@pytest.mark.parametrize("name", ["T2M", "Q2M", "HU2M"])
def test_jacobian_of_the_air_against_central_differences(name):
    parameters = simple_columns(("NO", "C3"), air_height=20.0)
    state = cold_start(parameters, 290.0, leaf_area_index=2.0)
    state.soil_water[:] *= 0.6
    forcing = constant_forcing(25, 2, Tair=295.0, SWdown=500.0)
    window, model = Window.cut(forcing, "2007-06-01T09"), Isba(parameters)
    method = SEKFConfiguration(controls=("WG1", "WG2", "WG4")).make([kind(name, (0, 1))], [0, 1])
    value = np.full((2, 1), 290.0 if name == "T2M" else 1.0)
    given = {name: WindowObservations(value, time=np.full((2, 1), np.datetime64("2007-06-01T15", "s")))}
    result = method.cycle(model, state, window, given)
    request = OutputRequest(at=(name,), at_steps=np.full((2, 1), 12), interval_s=WINDOW_S)
    for control, layer in enumerate((0, 1, 3)):
        values = []
        for change in (-1e-4, 1e-4):
            moved = state._replace(soil_water=state.soil_water.copy())
            moved.soil_water[:, layer] += change
            _, outputs = window.run(model, moved, output=request)
            values.append(outputs[f"{name}_at"][0])
        expected = (values[1] - values[0]) / 2e-4
        np.testing.assert_allclose(
            result.jacobian[:, 0, 6, control], expected, rtol=0.02, atol=2e-4 * np.abs(expected).max()
        )
        assert control == 2 or (expected[0] < 0.0) == (name == "T2M")  # wet ground: cooler, moister air
    np.testing.assert_array_equal(result.predicted[:, 0], window.run(model, state, output=request)[1][f"{name}_at"][0])


def test_air_that_is_forced_at_2_m_corrects_nothing():
    parameters = simple_columns(("NO", "C3"))
    state = cold_start(parameters, 290.0)
    window = Window.cut(constant_forcing(25, 2, SWdown=500.0), "2007-06-01T09")
    method = SEKFConfiguration().make([kind("T2M", (0, 1)), kind("HU2M", (0, 1))], [0, 1])
    result = method.cycle(Isba(parameters), state, window, observed(T2M=[280.0, 295.0], HU2M=[0.1, 0.9]))
    assert (result.quality == Quality.USED).all()
    assert (result.predicted[:, 0] == 288.0).all()
    assert not result.jacobian.any()
    assert_same_bits(result.state, window.run(Isba(parameters), state)[0])


def test_the_ensemble_corrects_snow_where_its_snowfall_differs():
    parameters = simple_columns(("GRAS", "BONE"), air_height=10.0)
    options = EnSRFConfiguration(controls=("LAI", "WG2", "SWE"), members=4)
    method = options.make([kind("SWE", (0, 1)), kind("T2M", (0, 1))], [0, 1])
    state = method.initial_state(parameters, with_snow(cold_start(parameters, 270.0), [30.0, 0.0], 200.0, 265.0))
    assert (read_variable(state, "SWE") == [[30.0] * 4, [0.0] * 4]).all()
    forcing = constant_forcing(25, 2, Tair=265.0, Qair=0.0015, LWdown=230.0, Snowf=2e-4)
    window = Window.cut(forcing, "2007-02-01T09")
    result = method.cycle(Isba(parameters), state, window, observed(SWE=[60.0, 40.0], T2M=[265.0, 265.0]))
    assert (result.quality == Quality.USED).all()
    assert (result.increment[:, 2] > 0.0).all()
    after = read_variable(result.analysis, "SWE")
    assert (np.abs(after - [60.0, 40.0]) < np.abs(result.innovation[:, 0])).all()


def test_controls_and_options_of_snow_that_cannot_be_meant():
    for wrong, words in (
        ({"controls": ("SNOW_DEPTH",)}, "LAI, SWE or WG1 to WG14"),
        ({"snow_error": 0.0}, "snow_error"),
    ):
        with pytest.raises(FilterConfigurationError, match=words):
            SEKFConfiguration(**wrong)


def test_air_in_another_unit_or_out_of_range_is_said():
    operator = DirectOperator([0], predictor_name="T2M", unit="degC", output_name="t2m")
    with pytest.raises(FilterConfigurationError, match=r"takes \('T2M',\) in \('degC',\).*gives them in \('K',\)"):
        ObservationType("t2m", operator, ObservationError("absolute", 1.0))
    parameters = simple_columns(("NO",), air_height=10.0)
    method = SEKFConfiguration(controls=("WG1",)).make([kind("HU2M", [0], valid_range=(0.0, 1.0))], [0])
    window = Window.cut(constant_forcing(25), "2007-06-01T09")
    result = method.cycle(Isba(parameters), cold_start(parameters, 290.0), window, observed(HU2M=[65.0]))
    assert result.quality.tolist() == [[Quality.OUTSIDE_VALID_RANGE]]


# -- twins -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param("SWE", marks=pytest.mark.long), "SNOW_DEPTH"])
def test_synthetic_twin_of_snow(name):
    found = load_benchmark().snow_twin(name, days=50).figures()
    assert found["better_cells"] == 3
    assert found["analysis"] < 0.5 * found["open_loop"]


def test_synthetic_twin_of_air_at_2_m():
    benchmark = load_benchmark()
    twin = benchmark.screen_twin(("T2M", "HU2M"), 20.0, days=15)
    assert twin.figures()["better_cells"] == 3
    assert (np.abs(twin.analysis[-1]) < 0.95 * np.abs(twin.open_loop[-1])).all()
    assert not benchmark.screen_twin(("T2M", "HU2M"), 2.0, days=2).increments.any()
