"""The ensemble square root filter: its algebra against the Kalman filter of its own covariances, and whole cycles."""

import numpy as np
import pytest

from ldas.assim import Window, ensrf_analysis
from ldas.assim import testing as toy
from ldas.assim.ensrf_cycle import EnsembleSquareRootFilter, EnSRFConfiguration
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.noise import autoregressive, centred, standard_normal
from ldas.assim.observations import ObservationError, ObservationType, WindowObservations
from ldas.assim.quality import Quality
from ldas.assim.sekf_cycle import SEKFConfiguration, SimplifiedEKF
from ldas.operators.direct import DirectOperator

START = "2015-01-01T09"
CELLS, PATCHES, FRACTIONS = [0, 0, 0, 1, 1, 2], [1, 7, 10, 2, 4, 3], [0.2, 0.5, 0.3, 0.4, 0.6, 1.0]


def types(cells=(0, 1, 2), sigma=0.33, lai=0.3):
    return [
        ObservationType("sigma40", toy.Backscatter(cells), ObservationError("absolute", sigma)),
        ObservationType("lai", DirectOperator.leaf_area_index(cells), ObservationError("absolute", lai)),
    ]


def observed(**values):
    return {name: WindowObservations(np.asarray(value, dtype=float)) for name, value in values.items()}


def test_mean_and_covariance_are_those_of_the_exact_kalman_filter():
    """Serial updates with a linear operator: P_a = (I - K H) P_f and x_a = x_f + K d of the joint update."""
    random = np.random.default_rng(0)
    cells, members, unknowns = 4, 20, 10
    ensemble = random.normal(size=(cells, members, unknowns))
    H = random.normal(size=(cells, 3, unknowns))
    y, R = random.normal(size=(cells, 3)), random.uniform(0.2, 2.0, (cells, 3))
    analysis = ensrf_analysis.analyse(ensemble, ensemble @ H.transpose(0, 2, 1), y, R, np.ones((cells, 3), dtype=bool))
    after = ensemble + analysis.increment
    for cell in range(cells):
        P, h = np.cov(ensemble[cell].T), H[cell]
        S = h @ P @ h.T + np.diag(R[cell])
        K = P @ h.T @ np.linalg.inv(S)
        d = y[cell] - h @ ensemble[cell].mean(axis=0)
        np.testing.assert_allclose(after[cell].mean(axis=0), ensemble[cell].mean(axis=0) + K @ d, rtol=0, atol=1e-10)
        np.testing.assert_allclose(np.cov(after[cell].T), P - K @ h @ P, rtol=0, atol=1e-10)
        predicted = ensemble[cell] @ h.T + analysis.predicted_increment[cell]
        np.testing.assert_allclose(predicted, after[cell] @ h.T, rtol=0, atol=1e-10)
        np.testing.assert_allclose(analysis.background_variance[cell], np.diag(h @ P @ h.T), rtol=1e-12)
        np.testing.assert_allclose(analysis.degrees_of_freedom[cell], np.diag(h @ K), rtol=1e-9)
        assert analysis.chi_square[cell] == pytest.approx(d @ np.linalg.solve(S, d), rel=1e-10)


def test_unused_observations_change_no_bit():
    random = np.random.default_rng(1)
    ensemble, predicted = random.normal(size=(3, 20, 5)), random.normal(size=(3, 20, 2))
    y, used = random.normal(size=(3, 2)), np.array([[True, False], [False, False], [False, True]])
    analysis = ensrf_analysis.analyse(
        ensemble, np.where(used[:, None], predicted, 0.0), y, np.where(used, 0.5, np.nan), used
    )
    assert (analysis.increment[1] == 0.0).all()
    alone = ensrf_analysis.analyse(
        ensemble[:1], predicted[:1, :, :1], y[:1, :1], np.full((1, 1), 0.5), np.ones((1, 1), bool)
    )
    np.testing.assert_array_equal(analysis.increment[0], alone.increment[0])
    assert (analysis.degrees_of_freedom[~used] == 0.0).all()


def test_a_cell_alone_equals_the_cell_in_its_block_bit_for_bit():
    random = np.random.default_rng(2)
    problem = (random.normal(size=(17, 20, 96)), random.normal(size=(17, 20, 2)), random.normal(size=(17, 2)))
    R, used = np.full((17, 2), 0.3), np.ones((17, 2), dtype=bool)
    block = ensrf_analysis.analyse(*problem, R, used)
    alone = ensrf_analysis.analyse(*(array[5:6].copy() for array in problem), R[:1], used[:1])
    for whole, single in zip(block, alone, strict=True):
        assert (whole[5] == single[0]).all()


# -- noise ------------------------------------------------------------------------------------------------------------


def test_noise_is_standard_normal_and_uncorrelated():
    draws = standard_normal(7, np.arange(400)[:, None], np.arange(250))
    assert abs(draws.mean()) < 4 / np.sqrt(draws.size)
    assert draws.std() == pytest.approx(1.0, abs=0.01)
    assert (np.abs(draws) > 2).mean() == pytest.approx(0.0455, abs=0.003)
    assert abs((draws[:, 1:] * draws[:, :-1]).mean()) < 4 / np.sqrt(draws.size)
    assert abs((draws[1:] * draws[:-1]).mean()) < 4 / np.sqrt(draws.size)
    assert np.unique(draws).size == draws.size


def test_noise_depends_on_seed_cell_and_day_only():
    ids = np.array([11, 12, 99])
    block = autoregressive(3, ids, 16000, 20, [0, 2, 3], 3.0)
    np.testing.assert_array_equal(autoregressive(3, ids[1:2], 16000, 20, [0, 2, 3], 3.0)[0], block[1])
    np.testing.assert_array_equal(autoregressive(3, ids, 16000, 20, [2], 3.0)[:, :, 0], block[:, :, 1])
    assert (autoregressive(4, ids, 16000, 20, [0, 2, 3], 3.0) != block).all()


@pytest.mark.parametrize("memory", [0.0, 1.0, 3.0])
def test_autoregressive_memory_and_variance(memory):
    ids = np.arange(600)
    days = np.stack([autoregressive(0, ids, day, 10, [5], memory)[:, :, 0].ravel() for day in range(100, 104)])
    expected = np.exp(-1.0 / memory) if memory else 0.0
    assert days.std() == pytest.approx(1.0, abs=0.03)
    assert (days[1:] * days[:-1]).mean() == pytest.approx(expected, abs=0.04)
    assert (days[2:] * days[:-2]).mean() == pytest.approx(expected**2, abs=0.04)


def test_centred_noise_has_no_mean_and_keeps_its_variance():
    noise = centred(standard_normal(1, np.arange(4000)[:, None], np.arange(20)))
    np.testing.assert_allclose(noise.mean(axis=1), 0.0, atol=1e-15)
    assert noise.std() == pytest.approx(1.0, abs=0.01)


# -- cycles -----------------------------------------------------------------------------------------------------------


def three_cells(**options):
    parameters = toy.parameters(CELLS, PATCHES, FRACTIONS)
    ensemble_filter = EnsembleSquareRootFilter(EnSRFConfiguration(**options), types(), np.arange(3))
    state = ensemble_filter.initial_state(parameters, toy.state(parameters))
    return parameters, ensemble_filter, state


def test_initial_ensemble_is_spread_around_the_run_inside_the_bounds():
    parameters, _, ensemble = three_cells()
    single = toy.state(parameters)
    assert ensemble.soil_water.shape == (6, 20, 14)
    np.testing.assert_array_equal(ensemble.soil_temperature, np.repeat(single.soil_temperature[:, None], 20, axis=1))
    np.testing.assert_array_equal(ensemble.soil_water[:, 0, 8:], single.soil_water[:, 8:])
    assert (ensemble.soil_water[:, :, 1].std(axis=1) > 0.01).all()
    assert (ensemble.soil_water[:3, :, :8] >= 0.001).all()
    assert (ensemble.soil_water[:3, :, :8] <= parameters.soil("porosity")[0, 0] + 1e-15).all()
    lai = ensemble.leaf_area_index[[1, 2, 4]]
    assert (lai >= 0.3).all()
    assert (lai.std(axis=1) > 0.1).all()
    np.testing.assert_allclose(
        ensemble.biomass[[1, 2, 4], :, 0] - single.biomass[[1, 2, 4], 0, None],
        parameters.leaf_biomass_ratio[[1, 2, 4], None] * (lai - single.leaf_area_index[[1, 2, 4], None]),
        atol=1e-14,
    )


def test_analysis_moves_towards_observations_and_shrinks_the_spread():
    parameters, ensemble_filter, state = three_cells()
    model = toy.LinearModel(parameters)
    free = ensemble_filter.cycle(model, state, Window.cut(toy.forcing(3), START), {})
    result = ensemble_filter.cycle(
        model, state, Window.cut(toy.forcing(3), START), observed(sigma40=[-11.5, -12, -11], lai=[2.5, 2, np.nan])
    )
    used = result.quality == Quality.USED
    assert used.tolist() == [[True, True], [True, True], [True, False]]
    assert (np.abs(result.residual[used]) < np.abs(result.innovation[used])).all()
    assert (np.abs(result.linear_residual[used]) < np.abs(result.innovation[used])).all()
    spread, before = result.state.soil_water[:, :, 1].std(axis=1), free.state.soil_water[:, :, 1].std(axis=1)
    assert (spread < before).all()
    np.testing.assert_allclose(result.analysis.soil_water[:3, 1], result.state.soil_water[:3, :, 1].mean(axis=1))
    np.testing.assert_allclose(
        result.increment[:3, 1], (result.analysis.soil_water - result.forecast.soil_water)[:3, 1], atol=1e-15
    )


def test_a_very_large_error_leaves_the_ensemble_bit_for_bit():
    parameters = toy.parameters(CELLS, PATCHES, FRACTIONS)
    deaf = EnsembleSquareRootFilter(EnSRFConfiguration(), types(sigma=1e30, lai=1e30), np.arange(3))
    state = deaf.initial_state(parameters, toy.state(parameters))
    model, forcing = toy.LinearModel(parameters), toy.forcing(3)
    free = deaf.cycle(model, state, Window.cut(forcing, START), {})
    result = deaf.cycle(model, state, Window.cut(forcing, START), observed(sigma40=[-8, -8, -8], lai=[1, 1, 1]))
    assert (result.quality == Quality.USED).all()
    for a, b in zip(result.state, free.state, strict=True):
        assert a.tobytes() == b.tobytes()


def test_results_do_not_depend_on_blocks():
    parameters, whole, state = three_cells()
    model, values = toy.LinearModel(parameters), {"sigma40": [-11.5, -12, -11], "lai": [2.5, 2, np.nan]}
    block = whole.cycle(model, state, Window.cut(toy.forcing(3), START), observed(**values))
    for cell in range(3):
        of = parameters.cell == cell
        own = parameters.take(np.flatnonzero(of))._replace(cell=np.zeros(of.sum(), dtype=int))
        single = EnsembleSquareRootFilter(EnSRFConfiguration(), types([cell]), [cell])
        start = single.initial_state(own, toy.state(parameters).take(np.flatnonzero(of)))
        forcing = toy.Forcing(*(v[:, [cell]] for v in toy.forcing(3)))
        alone = single.cycle(
            toy.LinearModel(own),
            start,
            Window.cut(forcing, START),
            observed(**{name: [v[cell]] for name, v in values.items()}),
        )
        for ours, theirs in zip(alone.state, block.state, strict=True):
            assert ours.tobytes() == np.ascontiguousarray(theirs[of]).tobytes()


def test_every_member_gets_its_own_forcing_with_the_mean_of_the_given_one():
    parameters, ensemble_filter, state = three_cells()
    given = []

    class Listening(toy.LinearModel):
        def run(self, state, forcing, **options):
            given.append((forcing, options["start"]))
            return super().run(state, forcing, **options)

    forcing = toy.forcing(3, hours=72)
    ensemble_filter.cycle(
        Listening(parameters), state, Window.cut(forcing, "2015-01-02T09", forcing_start="2015-01-01T09"), {}
    )
    assert len(given) == 20
    assert {start for _, start in given} == {np.datetime64("2015-01-02T09")}
    rain = np.stack([member.Rainf for member, _ in given])
    assert rain.shape == (20, 25, 3)
    np.testing.assert_allclose(rain.mean(axis=0), forcing.Rainf[24:49], rtol=1e-12)
    np.testing.assert_allclose(np.mean([m.SWdown for m, _ in given], axis=0), forcing.SWdown[24:49], rtol=1e-12)
    np.testing.assert_allclose(np.mean([m.LWdown for m, _ in given], axis=0), forcing.LWdown[24:49], rtol=1e-12)
    wet = forcing.Rainf[24:49] > 0
    assert (rain[:, wet] > 0).all()
    assert rain[:, wet].std(axis=0).min() > 0.1 * 1e-4
    np.testing.assert_array_equal(given[0][0].Tair, forcing.Tair[24:49])


def test_forcing_factors_have_the_spread_and_correlation_asked_for():
    cells = 2000
    options = EnSRFConfiguration(precipitation_noise=0.6, shortwave_noise=0.2, longwave_noise=15.0)
    perturbing = EnsembleSquareRootFilter(options, [], np.arange(cells))
    ones = toy.Forcing(*(np.ones((1, cells)) for _ in toy.Forcing._fields))
    members = perturbing._perturbed_forcing(ones, day=16000)
    rain, snow, sun, longwave = (
        np.stack([getattr(member, name)[0] for member in members]) for name in ("Rainf", "Snowf", "SWdown", "LWdown")
    )
    np.testing.assert_array_equal(rain, snow)
    assert rain.std() == pytest.approx(0.6, rel=0.05)  # dividing by the mean of 20 members takes 3 %
    assert sun.std() == pytest.approx(0.2, rel=0.05)
    assert longwave.std() == pytest.approx(15.0, rel=0.05)
    pairs = np.corrcoef(np.stack([np.log(rain).ravel(), np.log(sun).ravel(), longwave.ravel()]))
    np.testing.assert_allclose(pairs[np.triu_indices(3, 1)], [-0.8, 0.5, -0.5], atol=0.03)


def test_one_broken_member_sets_its_cell_aside():
    class Fragile(toy.LinearModel):
        def run(self, state, forcing, **options):
            end, outputs = super().run(state, forcing, **options)
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 4:
                end.soil_temperature[5, 3] = np.inf
            return end, outputs

    parameters, ensemble_filter, state = three_cells()
    result = ensemble_filter.cycle(
        Fragile(parameters), state, Window.cut(toy.forcing(3), START), observed(sigma40=[-11, -11, -11], lai=[2, 2, 2])
    )
    assert result.set_aside.tolist() == [False, False, True]
    assert (result.quality[2] == Quality.STATE_NOT_FINITE).all()
    np.testing.assert_array_equal(result.state.soil_water[5], state.soil_water[5])
    assert np.isnan(result.analysis.soil_water[5]).all()
    assert np.isfinite(result.analysis.soil_water[4]).all()


def test_both_filters_give_the_same_result_fields():
    """Same protocol: the assimilation stage cannot tell them apart, but for the member axis of the restart."""
    parameters, ensemble_filter, state = three_cells()
    model, values = toy.LinearModel(parameters), observed(sigma40=[-11, -11, -11])
    single = SimplifiedEKF(SEKFConfiguration(), types(), np.arange(3))
    ours = single.cycle(
        model, single.initial_state(parameters, toy.state(parameters)), Window.cut(toy.forcing(3), START), values
    )
    theirs = ensemble_filter.cycle(model, state, Window.cut(toy.forcing(3), START), values)
    for name in ("observation", "innovation", "residual", "quality", "increment", "chi_square", "used_count"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    for a, b in zip(ours.analysis, theirs.analysis, strict=True):
        assert a.shape == b.shape
    assert {name: v.shape for name, v in ours.outputs.items()} == {name: v.shape for name, v in theirs.outputs.items()}


@pytest.mark.parametrize("options", [{"members": 1}, {"surface_noise": -0.1}, {"longwave_noise": np.nan}])
def test_impossible_options_are_refused(options):
    with pytest.raises(FilterConfigurationError):
        EnSRFConfiguration(**options)
