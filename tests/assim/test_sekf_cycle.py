"""Whole cycles of the simplified EKF with small models whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.assim import Window, sekf_analysis
from ldas.assim import testing as toy
from ldas.assim.observations import ObservationError, WindowObservations
from ldas.assim.quality import Quality
from ldas.assim.sekf_cycle import SEKFConfiguration, SimplifiedEKF
from ldas.assim.testing import START, observed
from tests.assim.cycles import PATCHES, assert_same_bits, lai_type, random_transition, sigma_type, ssm_type, three_cells

# -- the Kalman filter ------------------------------------------------------------------------------------------------


def test_ten_cycles_equal_an_exact_kalman_filter():
    """A model that only adds known increments: x_f = x_a + b, P_f = B. The exact filter is written out per cell."""
    parameters = toy.parameters([0, 0, 1], [7, 10, 4], [0.6, 0.4, 1.0])
    state = toy.state(parameters, seed=4)
    state.leaf_area_index[:] = [2.4, 3.0, 2.7]  # far from the limits, which the exact filter does not have
    random = np.random.default_rng(5)
    drift = np.zeros((3, 15))
    drift[:, 0], drift[:, 1:9] = 0.02, random.uniform(-1e-3, 1e-3, (3, 8))
    model = toy.LinearModel(parameters, drift=drift)
    kalman = SimplifiedEKF(
        SEKFConfiguration(),
        [sigma_type([0, 1]), ssm_type([0, 1]), lai_type([0, 1], ObservationError("absolute", 0.5))],
        np.arange(2),
    )
    cofswi = 0.001 * (89.0467 * 25**0.3496 - 37.1342 * 5.0)
    x = np.concatenate([state.leaf_area_index[:, None], state.soil_water[:, 1:8]], axis=1)
    temperature = state.soil_temperature[:, 1]
    for cycle in range(10):
        values = random.uniform([-11.5, 0.2, 2.5], [-10.0, 0.35, 3.5], (2, 3))
        values[random.uniform(size=values.shape) < 0.3] = np.nan
        start = np.datetime64(START) + np.timedelta64(cycle, "D")
        result = kalman.cycle(
            model,
            state,
            Window.cut(toy.forcing(2), start),
            observed(sigma40=values[:, 0], ssm=values[:, 1], lai=values[:, 2]),
        )
        state = result.state
        assert (np.abs(result.increment) < [1.0] + [0.1] * 7).all()

        x = x + drift[:, [0, 2, 3, 4, 5, 6, 7, 8]]
        for cell, columns in ((0, [0, 1]), (1, [2])):
            f = np.array([0.6, 0.4]) if cell == 0 else np.array([1.0])
            lai, wg2, tg2 = f @ x[columns, 0], f @ x[columns, 1], f @ temperature[columns]
            rows = np.zeros((3, len(columns), 8))
            rows[0, :, 0], rows[0, :, 1] = f * 0.4 / np.cosh(lai - 2.0) ** 2, f * 12.0
            rows[1, :, 1], rows[2, :, 0] = f, f
            predicted = [-14 + 12 * wg2 + 0.02 * (tg2 - 285) + 0.4 * np.tanh(lai - 2), wg2, lai]
            there = np.isfinite(values[cell])
            h = rows.reshape(3, -1)[there]
            sigma_b = np.full((len(columns), 8), 0.02 * cofswi / 0.1)
            sigma_b[:, 1] = 0.04 * cofswi / 0.1
            sigma_b[:, 0] = np.where(x[columns, 0] >= 2, 0.2 * x[columns, 0], 0.4)
            P = np.diag(sigma_b.ravel() ** 2)
            R = np.diag(np.array([0.33, 0.05, 0.5])[there] ** 2)
            K = P @ h.T @ np.linalg.inv(h @ P @ h.T + R)
            x[columns] += (K @ (values[cell] - predicted)[there]).reshape(len(columns), 8)
        ours = np.concatenate([state.leaf_area_index[:, None], state.soil_water[:, 1:8]], axis=1)
        np.testing.assert_allclose(ours, x, rtol=0, atol=1e-10)
    assert (result.quality <= Quality.MISSING).all()


def test_increment_is_the_regression_on_the_window_start():
    """With dynamics M the SEKF's increment is Cov(x0, y) Cov(y, y)^-1 d, x0 at the start of the window."""
    parameters = toy.parameters([0, 0], [7, 10], [0.6, 0.4])
    M, H = random_transition(), np.zeros((2, 2, 15))
    H[0, :, 2], H[1, :, 0] = [0.6, 0.4], [0.6, 0.4]
    state = toy.state(parameters, seed=2)
    kalman = SimplifiedEKF(
        SEKFConfiguration(background="C"),
        [ssm_type([0], ObservationError("dynamic_range", 0.4)), lai_type([0], ObservationError("absolute", 0.5))],
        np.arange(1),
    )
    controls = [0, 2, 3, 4, 5, 6, 7, 8]
    result = kalman.cycle(
        toy.LinearModel(parameters, M), state, Window.cut(toy.forcing(1), START), observed(ssm=[0.21], lai=[2.2])
    )
    joint = np.concatenate([(H[:, p] @ M)[:, controls] for p in range(2)], axis=1)
    end_lai = result.forecast.leaf_area_index
    cofswi = sekf_analysis.dynamic_range(0.25)
    sigma = np.array([[*np.where(lai >= 2, [0.2 * lai], [0.4]), 0.4 * cofswi, *[0.2 * cofswi] * 6] for lai in end_lai])
    B = np.diag(sigma.ravel() ** 2)
    covariance = joint @ B @ joint.T + np.diag([(0.4 * cofswi) ** 2, 0.25])
    expected = B @ joint.T @ np.linalg.inv(covariance) @ result.innovation[0]
    np.testing.assert_allclose(result.increment.ravel(), expected, rtol=0, atol=1e-10)


def test_jacobian_has_a_plateau_and_the_default_sits_on_it():
    """A curved model: forward differences converge to central ones until rounding takes over."""

    class Curved(toy.LinearModel):
        def run(self, state, forcing, **options):
            end, outputs = super().run(state, forcing, **options)
            water = end.soil_water.copy()
            water[..., 1] = 0.3 * np.tanh(3.0 * water[..., 1]) + 0.05 * end.leaf_area_index / 5.0 * water[..., 2]
            return end._replace(soil_water=np.where(np.isfinite(end.soil_water), water, np.nan)), outputs

    parameters = toy.parameters([0, 0], [7, 10], [0.6, 0.4])
    model, state = Curved(parameters, random_transition()), toy.state(parameters)
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type([0])], np.arange(1))
    exact = kalman.window_jacobian(model, state, Window.cut(toy.forcing(1), START), factor=10.0, central=True)
    error = {}
    for factor in (1e-6, 1e-3, 1e-1, 1.0, 10.0, 1e3):
        H = kalman.window_jacobian(model, state, Window.cut(toy.forcing(1), START), factor=factor)
        error[factor] = np.abs(H - exact).max() / np.abs(exact).max()
    assert error[1.0] < 1e-4
    assert error[1e-1] < 1e-4
    assert error[1e3] > 10.0 * error[1.0]
    assert error[1e-6] > 10.0 * error[1e-1]
    used = kalman.cycle(model, state, Window.cut(toy.forcing(1), START), observed(sigma40=[-9])).jacobian
    np.testing.assert_array_equal(used, kalman.window_jacobian(model, state, Window.cut(toy.forcing(1), START)))


# -- what must change nothing -----------------------------------------------------------------------------------------


def test_a_very_large_error_leaves_the_forecast_bit_for_bit():
    parameters, state, forcing = three_cells()
    state.soil_water[1, 4] = 0.47  # supersaturated: a limit must not act on its own
    state.leaf_area_index[2] = 0.1  # below the minimum, likewise
    model = toy.LinearModel(parameters, random_transition())
    types = [sigma_type(sigma=1e30), ssm_type(error=ObservationError("absolute", 1e30))]
    kalman = SimplifiedEKF(SEKFConfiguration(), types, np.arange(3))
    free, analysed = state, state
    for day in range(3):
        start = np.datetime64(START) + np.timedelta64(day, "D")
        result = kalman.cycle(
            model, analysed, Window.cut(forcing, start), observed(sigma40=[-11, -10, -9], ssm=[0.1, 0.2, 0.3])
        )
        analysed = result.state
        free, _ = model.run(
            free, forcing, start=start, step_s=1800, steps=48, forcing_step_s=3600, output=None, threads=1,
            allow_nonfinite=False,
        )  # fmt: skip
        assert (result.quality == Quality.USED).all()
        assert_same_bits(analysed, free)


def test_observations_equal_to_the_prediction_give_zero_increments():
    parameters, state, forcing = three_cells()
    model = toy.LinearModel(parameters, random_transition())
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), ssm_type()], np.arange(3))
    forecast = kalman.cycle(model, state, Window.cut(forcing, START), {})
    result = kalman.cycle(
        model,
        state,
        Window.cut(forcing, START),
        observed(sigma40=forecast.predicted[:, 0], ssm=forecast.predicted[:, 1]),
    )
    assert (result.quality == Quality.USED).all()
    assert (result.increment == 0.0).all()
    assert_same_bits(result.state, forecast.state)
    np.testing.assert_array_equal(result.residual, 0.0)


def test_missing_observations_cost_nothing():
    parameters, state, forcing = three_cells()
    model = toy.LinearModel(parameters)
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), lai_type()], np.arange(3))
    result = kalman.cycle(model, state, Window.cut(forcing, START), observed(sigma40=[-9, np.nan, np.nan]))
    assert result.quality[:, 0].tolist() == [Quality.USED, Quality.MISSING, Quality.MISSING]
    assert (result.quality[:, 1] == Quality.MISSING).all()
    assert (result.increment[3:] == 0.0).all()
    assert (result.increment[:3] != 0.0).any()
    assert np.isfinite(result.predicted).all()
    assert result.used_count.tolist() == [1, 0, 0]
    single = SimplifiedEKF(SEKFConfiguration(), [sigma_type()], np.arange(3))
    alone = single.cycle(model, state, Window.cut(forcing, START), observed(sigma40=[-9, np.nan, np.nan]))
    np.testing.assert_allclose(alone.increment, result.increment, rtol=1e-12)


@pytest.mark.parametrize("missing", [[], [1], [0, 2], [0, 1, 2]])
def test_cells_without_an_observation_are_not_perturbed(missing):
    """Only the others run again, in the members that differ from the forecast; all other cells are the same bits."""
    parameters, state, forcing = three_cells()
    model = toy.LinearModel(parameters, random_transition())
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), lai_type()], np.arange(3))
    everywhere = kalman.cycle(model, state, Window.cut(forcing, START), observed(sigma40=[-9, -10, -11]))
    values = np.array([-9.0, -10.0, -11.0])
    values[missing] = np.nan
    model.shapes.clear()
    model.where.clear()
    result = kalman.cycle(model, state, Window.cut(forcing, START), observed(sigma40=values))
    hidden = np.isin(parameters.cell, missing)
    assert model.shapes == [(parameters.columns,), (parameters.columns, 8)][: 2 if len(missing) < 3 else 1]
    for where in model.where[1:]:
        np.testing.assert_array_equal(where, kalman.controls_of(parameters).present & ~hidden[:, None])
    assert_same_bits(result.forecast, everywhere.forecast)
    for name, output in everywhere.outputs.items():
        np.testing.assert_array_equal(result.outputs[name], output)
    seen = np.setdiff1d(np.arange(3), missing)
    np.testing.assert_array_equal(result.jacobian[seen], everywhere.jacobian[seen])
    np.testing.assert_array_equal(result.increment[~hidden], everywhere.increment[~hidden])
    assert (result.jacobian[missing] == 0.0).all()
    assert (result.increment[hidden] == 0.0).all()


def test_an_observation_that_the_forecast_rules_out_perturbs_nothing():
    """Frozen soil, snow, or an innovation beyond its limit: known when the forecast is there."""
    parameters, state, forcing = three_cells()
    state.soil_ice[parameters.cell == 0, 1] = 0.1
    state.snow_water_equivalent[parameters.cell == 1, 0] = 5.0
    model = toy.LinearModel(parameters)
    kind = replace(sigma_type(), innovation_limit=1e-6)
    kalman = SimplifiedEKF(SEKFConfiguration(), [kind], np.arange(3))
    result = kalman.cycle(model, state, Window.cut(forcing, START), observed(sigma40=[-9, -9, -9]))
    expected = [Quality.MASKED_FROZEN, Quality.MASKED_SNOW, Quality.REJECTED_INNOVATION]
    assert result.quality[:, 0].tolist() == expected
    assert model.shapes == [(parameters.columns,)]
    assert (result.jacobian == 0.0).all()


def test_a_flagged_or_impossible_observation_perturbs_nothing():
    parameters, state, forcing = three_cells()
    model = toy.LinearModel(parameters)
    kind = replace(sigma_type(), valid_range=(-20.0, 0.0))
    kalman = SimplifiedEKF(SEKFConfiguration(), [kind], np.arange(3))
    flagged = WindowObservations(np.array([-9.0, 5.0, -9.0]), quality=np.array([9, 0, 9], dtype=np.int8))
    result = kalman.cycle(model, state, Window.cut(forcing, START), {"sigma40": flagged})
    assert model.shapes == [(parameters.columns,)]
    assert result.quality[:, 0].tolist() == [9, Quality.OUTSIDE_VALID_RANGE, 9]


def test_without_observation_types_the_filter_is_a_forecast():
    parameters, state, forcing = three_cells()
    result = SimplifiedEKF(SEKFConfiguration(), [], np.arange(3)).cycle(
        toy.LinearModel(parameters), state, Window.cut(forcing, START), {}
    )
    assert_same_bits(result.state, result.forecast)
    assert result.innovation.shape == (3, 0)


# -- where increments go ----------------------------------------------------------------------------------------------


def test_increments_reach_every_patch_inside_the_limits_and_the_leaf_biomass():
    parameters, state, forcing = three_cells()
    model = toy.LinearModel(parameters, random_transition())
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), lai_type()], np.arange(3))
    result = kalman.cycle(
        model, state, Window.cut(forcing, START), observed(sigma40=[-2, -14, -9], lai=[0.1, 9.0, 2.0])
    )
    dx, before, after = result.increment, result.forecast, result.state
    vegetated = np.array(PATCHES) >= 4
    assert (dx[~vegetated, 0] == 0.0).all()  # no leaves on bare soil, rock, snow
    assert (dx[[3, 5], 4:] == 0.0).all()  # rock and snow have four water layers
    assert (np.abs(dx) <= [1.0] + [0.1] * 7).all()
    np.testing.assert_array_equal(after.leaf_area_index[vegetated], (before.leaf_area_index + dx[:, 0])[vegetated])
    np.testing.assert_allclose(after.biomass[:, 0], before.biomass[:, 0] + parameters.leaf_biomass_ratio * dx[:, 0])
    np.testing.assert_array_equal(after.soil_water[:3, 1:8], before.soil_water[:3, 1:8] + dx[:3, 1:])
    np.testing.assert_array_equal(after.soil_water[:, 8:], before.soil_water[:, 8:])
    np.testing.assert_array_equal(after.soil_temperature, before.soil_temperature)
    assert (after.leaf_area_index[vegetated] >= 0.3).all()


def test_lai_never_ends_below_its_minimum_not_even_by_rounding():
    parameters = toy.parameters(np.arange(200), np.full(200, 7), np.ones(200))
    state = toy.state(parameters)
    kalman = SimplifiedEKF(SEKFConfiguration(controls=("LAI",)), [], np.arange(200))
    controls = kalman.controls_of(parameters)
    to_minimum = controls.limited(state, np.full((200, 1), -9.0))
    to_minimum[state.leaf_area_index > 1.3] = 0.3 - state.leaf_area_index[state.leaf_area_index > 1.3, None]
    assert (state.leaf_area_index + to_minimum[:, 0] < 0.3).any()  # rounding alone would
    assert (controls.add(state, to_minimum).leaf_area_index >= 0.3).all()


def test_legacy_leaf_biomass():
    parameters, state, forcing = three_cells()
    kalman = SimplifiedEKF(SEKFConfiguration(leaf_biomass="legacy"), [lai_type()], np.arange(3))
    result = kalman.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, START), observed(lai=[1.0, 1.0, 1.0]))
    gain_of_c3 = (result.state.biomass[1, 0] - result.forecast.biomass[1, 0]) / result.increment[1, 0]
    assert gain_of_c3 == pytest.approx(0.06771856, rel=1e-9)
    assert result.state.biomass[0, 0] == result.forecast.biomass[0, 0]


def test_perturbed_members_are_what_the_model_gets():
    parameters, state, _ = three_cells()
    kalman = SimplifiedEKF(SEKFConfiguration(controls=("LAI", "WG2")), [], np.arange(3))
    members = kalman.controls_of(parameters).perturbed_members(state, {"LAI": 1e-3, "WG2": 1e-4})
    assert members.soil_water.shape == (6, 2, 14)
    np.testing.assert_array_equal(members.leaf_area_index[1], state.leaf_area_index[1] * np.array([1.001, 1]))
    np.testing.assert_array_equal(members.biomass[1, :, 0], state.biomass[1, 0] * np.array([1.001, 1]))
    eps = 1e-4 * sekf_analysis.dynamic_range(0.25)
    np.testing.assert_array_equal(members.soil_water[1, :, 1], state.soil_water[1, 1] + np.array([0, eps]))
    np.testing.assert_array_equal(members.biomass[1, :, 1], state.biomass[1, 1])
    assert (members.leaf_area_index[0] == 0.0).all()  # bare soil


@pytest.mark.parametrize(
    ("options", "surface", "below"),
    [
        ({"background": "A"}, 0.04 * 0.0887 / 0.1, 0.02 * 0.0887 / 0.1),
        ({"background": "A", "typical_range": 0.08}, 0.04 * 0.0887 / 0.08, 0.02 * 0.0887 / 0.08),
        ({"background": "B"}, 0.04, 0.02),
        ({"background": "C"}, 0.4 * 0.0887, 0.2 * 0.0887),
        ({"background": "C", "soil_moisture_error": {"WG2": 0.15, "WG3": 0.1}}, 0.15 * 0.0887, 0.1 * 0.0887),
    ],
)
def test_readings_of_the_background_error(options, surface, below):
    sigma = SEKFConfiguration(controls=("LAI", "WG2", "WG3"), **options).soil_moisture_sigma(np.array([0.0887]))
    np.testing.assert_allclose(sigma, [[0.0, surface, below]], rtol=1e-14)


# -- cells are alone --------------------------------------------------------------------------------------------------


def test_a_cell_alone_equals_the_cell_in_its_block_bit_for_bit():
    parameters, state, forcing = three_cells()
    transition = random_transition()
    values = {"sigma40": [-11.0, -10.0, -9.0], "lai": [2.0, np.nan, 3.0]}
    block = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), lai_type()], np.arange(3)).cycle(
        toy.LinearModel(parameters, transition), state, Window.cut(forcing, START), observed(**values)
    )
    for cell in range(3):
        of = parameters.cell == cell
        own = parameters.take(np.flatnonzero(of))._replace(cell=np.zeros(of.sum(), dtype=int))
        alone = SimplifiedEKF(SEKFConfiguration(), [sigma_type([cell]), lai_type([cell])], [cell]).cycle(
            toy.LinearModel(own, transition),
            state.take(np.flatnonzero(of)),
            Window.cut(toy.Forcing(*(values_[:, [cell]] for values_ in forcing)), START),
            observed(**{name: [value[cell]] for name, value in values.items()}),
        )
        assert_same_bits(alone.state, block.state.take(np.flatnonzero(of)))
        assert (alone.increment == block.increment[of]).all()
        np.testing.assert_array_equal(alone.residual[0], block.residual[cell])


@given(st.permutations(range(6)))
@settings(deadline=None, max_examples=20)
def test_the_order_of_columns_does_not_matter(order):
    """Columns in any order, patches of a cell apart: the same increments, to rounding of nothing at all."""
    parameters, state, forcing = three_cells()
    transition, values = random_transition(), observed(sigma40=[-11, -10, -9], lai=[2, 3, 3])
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), lai_type()], np.arange(3))
    plain = kalman.cycle(toy.LinearModel(parameters, transition), state, Window.cut(forcing, START), values)
    moved = kalman.cycle(
        toy.LinearModel(parameters.take(np.array(order)), transition),
        state.take(np.array(order)),
        Window.cut(forcing, START),
        values,
    )
    np.testing.assert_array_equal(moved.increment, plain.increment[list(order)])
    np.testing.assert_array_equal(moved.innovation, plain.innovation)


def test_a_cell_that_blows_up_is_set_aside_and_the_rest_goes_on():
    class Fragile(toy.LinearModel):
        def run(self, state, forcing, **options):
            end, outputs = super().run(state, forcing, **options)
            if options["start"] >= np.datetime64("2015-01-02T09"):
                end.soil_temperature[self.parameters.cell == 1] = np.nan
            return end, outputs

    parameters, state, forcing = three_cells()
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type(), lai_type()], np.arange(3))
    values = observed(sigma40=[-11, -10, -9], lai=[2, 3, 3])
    first = kalman.cycle(Fragile(parameters), state, Window.cut(forcing, START), values)
    assert not first.set_aside.any()
    second = kalman.cycle(Fragile(parameters), first.state, Window.cut(forcing, "2015-01-02T09"), values)
    healthy = kalman.cycle(toy.LinearModel(parameters), first.state, Window.cut(forcing, "2015-01-02T09"), values)
    assert second.set_aside.tolist() == [False, True, False]
    assert (second.quality[1] == Quality.STATE_NOT_FINITE).all()
    bad = parameters.cell == 1
    for good, broken, last in zip(healthy.state, second.state, first.state, strict=True):
        np.testing.assert_array_equal(broken[~bad], good[~bad])
        np.testing.assert_array_equal(broken[bad], last[bad])  # the last good restart is kept
    assert np.isnan(second.analysis.soil_water[bad]).all()
    assert np.isnan(second.outputs["WG"][:, bad]).all()
    assert (second.increment[bad] == 0.0).all()

    third = kalman.cycle(
        toy.LinearModel(parameters),
        second.state,
        Window.cut(forcing, "2015-01-03T09"),
        values,
        set_aside=second.set_aside,
    )
    assert third.set_aside.tolist() == [False, True, False]
    np.testing.assert_array_equal(third.state.soil_water[bad], first.state.soil_water[bad])


def test_a_state_that_comes_in_broken_is_set_aside_too():
    parameters, state, forcing = three_cells()
    state.soil_water[4, 2] = np.nan
    kalman = SimplifiedEKF(SEKFConfiguration(), [ssm_type()], np.arange(3))
    result = kalman.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, START), observed(ssm=[0.2, 0.2, 0.2]))
    assert result.set_aside.tolist() == [False, True, False]
    assert result.quality[:, 0].tolist() == [Quality.USED, Quality.STATE_NOT_FINITE, Quality.USED]
