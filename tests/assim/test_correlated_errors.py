"""Observations whose errors are correlated: R as a full matrix in both filters, and the part of it that is used."""

from dataclasses import replace

import numpy as np
import pytest

from ldas.assim import EnSRFConfiguration, Quality, SEKFConfiguration, Window, ensrf_analysis, sekf_analysis
from ldas.assim import testing as toy
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.observation_covariance import covariance_of_rows
from ldas.assim.observations import WindowObservations, correlations_of_types
from ldas.assim.overpasses import observation_rows
from tests.assim.cycles import assert_same_bits, lai_type, sigma_type, ssm_type, three_cells

IDS = [0, 1, 2]
OPTIONS = {"controls": ("LAI", "WG2")}
RHO = np.array([0.7, -0.4, 0.5])


def types(rho=RHO, other="ssm"):
    return [replace(sigma_type(), error_correlation={other: rho}), lai_type(), ssm_type()]


def cycle(configuration, kinds, **values):
    parameters, state, forcing = three_cells()
    method = configuration.make(kinds, IDS)
    model, window = toy.LinearModel(parameters), Window.cut(forcing, toy.START)
    return method.cycle(model, method.initial_state(parameters, state), window, toy.observed(**values))


VALUES = {"sigma40": [-11.0, -9.5, -10.0], "lai": [2.0, 2.2, 1.4], "ssm": [0.25, 0.31, 0.2]}


def test_the_sekf_analysis_is_the_kalman_step_by_hand():
    """Two observations of one unknown, x = 0, B = 1, H = (1, 1), R = [[1, 0.5], [0.5, 2]], d = (1, 3)."""
    R = np.array([[[1.0, 0.5], [0.5, 2.0]]])
    found = sekf_analysis.analyse(np.ones((1, 2, 1, 1)), np.ones((1, 1, 1)), R, np.array([[1.0, 3.0]]))
    # S = [[2, 1.5], [1.5, 3]], det 3.75; K = (1, 1) S^-1 = (3 - 1.5, 2 - 1.5) / 3.75 = (0.4, 2 / 15)
    assert found.increment.item() == pytest.approx(0.4 + 0.4, rel=1e-14)
    np.testing.assert_allclose(found.gain.ravel(), [0.4, 2.0 / 15.0], rtol=1e-14)
    # d^T S^-1 d = (3 - 2 * 1.5 * 3 + 2 * 9) / 3.75
    assert found.chi_square.item() == pytest.approx((3.0 - 9.0 + 18.0) / 3.75, rel=1e-14)
    np.testing.assert_allclose(found.degrees_of_freedom[0], [0.4, 2.0 / 15.0], rtol=1e-14)


def test_a_diagonal_matrix_gives_what_its_diagonal_gives():
    random = np.random.default_rng(3)
    H, B, d = random.normal(size=(5, 3, 12, 4)), random.uniform(0.1, 2.0, (5, 12, 4)), random.normal(size=(5, 3))
    R = random.uniform(0.1, 2.0, (5, 3))
    for one, other in zip(
        sekf_analysis.analyse(H, B, R, d), sekf_analysis.analyse(H, B, R[:, :, None] * np.eye(3), d), strict=True
    ):
        assert one.tobytes() == other.tobytes()


def test_the_ensemble_has_mean_and_covariance_of_the_exact_kalman_filter():
    """Made independent, one after the other: as all at once with the full R; the third is not used."""
    random = np.random.default_rng(0)
    cells, members, unknowns = 4, 20, 6
    ensemble, H = random.normal(size=(cells, members, unknowns)), random.normal(size=(cells, 3, unknowns))
    y, sigma = random.normal(size=(cells, 3)), random.uniform(0.5, 1.5, (cells, 3))
    R = sigma[:, :, None] * np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 1.0]]) * sigma[:, None, :]
    R[:, 2, 2] = 1.0
    used = np.ones((cells, 3), dtype=bool)
    used[:, 2] = False
    predicted = np.where(used[:, None], ensemble @ H.transpose(0, 2, 1), 0.0)
    analysis = ensrf_analysis.analyse(ensemble, predicted, y, R, used)
    after = ensemble + analysis.increment
    for cell in range(cells):
        P, h, r = np.cov(ensemble[cell].T), H[cell, :2], R[cell, :2, :2]
        S = h @ P @ h.T + r
        K = P @ h.T @ np.linalg.inv(S)
        d = y[cell, :2] - h @ ensemble[cell].mean(axis=0)
        np.testing.assert_allclose(after[cell].mean(axis=0), ensemble[cell].mean(axis=0) + K @ d, rtol=0, atol=1e-10)
        np.testing.assert_allclose(np.cov(after[cell].T), P - K @ h @ P, rtol=0, atol=1e-10)
        change = analysis.predicted_increment[cell]
        np.testing.assert_allclose(predicted[cell, :, :2] + change[:, :2], after[cell] @ h.T, rtol=0, atol=1e-10)
        assert not change[:, 2].any()
        np.testing.assert_allclose(analysis.degrees_of_freedom[cell], [*np.diag(h @ K), 0.0], rtol=1e-9, atol=1e-15)
        assert analysis.chi_square[cell] == pytest.approx(d @ np.linalg.solve(S, d), rel=1e-10)


@pytest.mark.parametrize("r_scale", [1.0, 4.0])
def test_a_cycle_of_the_sekf_uses_the_correlation_of_each_cell(r_scale):
    """The stored H, and R written out by hand, give chi-square and degrees of freedom of the cycle; where the errors of
    a type are scaled, its correlations stay."""
    method = SEKFConfiguration(**OPTIONS).make(types(), IDS)
    parameters, state, forcing = three_cells()
    given = toy.observed(**VALUES)
    given["sigma40"] = given["sigma40"]._replace(error_scale=np.full(3, r_scale), bias_variance=np.zeros(3))
    result = method.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, toy.START), given)
    assert (result.quality == Quality.USED).all()
    sigma = sigma_type().error.sigma(given["sigma40"].value, None, np.zeros(3))
    np.testing.assert_allclose(result.observation_variance[:, 0], r_scale * sigma**2, rtol=1e-12)
    controls = method.controls_of(parameters)
    B = method._background_variance(controls, result.forecast).reshape(3, -1)
    for cell in range(3):
        H = result.jacobian[cell].reshape(3, -1)
        R = np.diag(result.observation_variance[cell])
        R[0, 2] = R[2, 0] = RHO[cell] * np.sqrt(R[0, 0] * R[2, 2])
        S, d = (H * B[cell]) @ H.T + R, result.innovation[cell]
        assert result.chi_square[cell] == pytest.approx(d @ np.linalg.solve(S, d), rel=1e-10)
        gain = B[cell][:, None] * H.T @ np.linalg.inv(S)
        np.testing.assert_allclose(result.degrees_of_freedom[cell], np.diag(H @ gain), rtol=1e-9)


@pytest.mark.parametrize("configuration", [SEKFConfiguration(**OPTIONS), EnSRFConfiguration(**OPTIONS, members=8)])
def test_a_missing_target_leaves_the_other_as_if_it_were_alone(configuration):
    missing = {**VALUES, "ssm": [np.nan, 0.31, np.nan]}
    result = cycle(configuration, types(), **missing)
    alone = cycle(configuration, [sigma_type(), lai_type(), ssm_type()], **missing)
    correlated = np.array([False, True, False])
    assert (result.used_count == [2, 3, 2]).all()
    np.testing.assert_allclose(result.chi_square[~correlated], alone.chi_square[~correlated], rtol=1e-12)
    assert abs(result.chi_square[1] - alone.chi_square[1]) > 1e-3 * alone.chi_square[1]
    columns = np.array([0, 0, 0, 1, 1, 2]) != 1
    np.testing.assert_allclose(result.increment[columns], alone.increment[columns], rtol=1e-9, atol=1e-15)
    assert np.abs(result.increment[~columns] - alone.increment[~columns]).max() > 1e-6


@pytest.mark.parametrize("configuration", [SEKFConfiguration(**OPTIONS), EnSRFConfiguration(**OPTIONS, members=8)])
def test_no_correlation_is_that_of_zero(configuration):
    """Nothing said: the same path, bit for bit, as always; zero said: the same numbers."""
    never, zero = (
        cycle(configuration, kinds, **VALUES) for kinds in ([sigma_type(), lai_type(), ssm_type()], types(0.0))
    )
    np.testing.assert_allclose(zero.increment, never.increment, rtol=1e-10, atol=1e-16)
    assert_same_bits(zero.forecast, never.forecast)


def test_overpasses_are_correlated_at_the_same_step_only():
    """Two overpasses of each type, the second pair at one time; a third of one type at that time stays alone."""
    _, _, forcing = three_cells()
    window = Window.cut(forcing, toy.START)
    hours = {"sigma40": [2, 12, 12], "ssm": [8, 12]}
    given = {
        name: WindowObservations(
            np.ones((3, len(of))), time=np.stack([window.start + np.array(of) * np.timedelta64(1, "h")] * 3)
        )
        for name, of in hours.items()
    }
    kinds = [types()[0], ssm_type()]
    rows = observation_rows(kinds, given, window)
    sigma = np.broadcast_to(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), (3, 5))
    used = np.ones((3, 5), dtype=bool)
    used[2, 1] = False  # then the next one is the first of that time
    R = covariance_of_rows(rows, sigma, used, kinds, correlations_of_types(kinds, 3))
    for cell, (row, product) in enumerate([(1, 10.0), (1, 10.0), (2, 15.0)]):
        expected = np.diag([1.0, 4.0 if used[cell, 1] else 1.0, 9.0, 16.0, 25.0])
        expected[row, 4] = expected[4, row] = RHO[cell] * product
        np.testing.assert_allclose(R[cell], expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (types(1.0), "not positive definite at cell position 0"),
        (types(np.array([0.5, np.nan, 0.5])), "not positive definite at cell position 1"),
        (types(0.5, "vod"), "error correlation of sigma40 with vod: expected another of sigma40, lai, ssm"),
        (types(0.5, "sigma40"), "expected another of"),
        (types(np.array([0.5, 0.5])), "2 numbers for 3 cells"),
        (
            [replace(sigma_type(), error_correlation={"lai": 0.9, "ssm": 0.9}),
             replace(lai_type(), error_correlation={"ssm": -0.9}), ssm_type()],
            "those of three observations must be possible together",
        ),
        (
            [replace(sigma_type(), error_correlation={"lai": 0.9}),
             replace(lai_type(), error_correlation={"sigma40": 0.9}), ssm_type()],
            "of lai and sigma40 is given twice",
        ),
    ],
)  # fmt: skip
def test_correlations_that_cannot_be_meant_are_refused(kinds, said):
    with pytest.raises(FilterConfigurationError, match=said):
        SEKFConfiguration(**OPTIONS).make(kinds, IDS)
