"""Diagnostics on innovations whose statistics are known."""

import numpy as np
import pytest

from ldas.assim import diagnostics, sekf_analysis


def consistent_series(times=4000, cells=3, sigma_o=0.4, sigma_b=0.6, seed=0):
    """Innovations d = e_o - e_b of a scalar direct observation, and residuals of the filter that knows both errors."""
    random = np.random.default_rng(seed)
    innovation = random.normal(0.0, sigma_o, (times, cells)) - random.normal(0.0, sigma_b, (times, cells))
    gain = sigma_b**2 / (sigma_b**2 + sigma_o**2)
    return innovation, (1.0 - gain) * innovation


def test_desroziers_recovers_both_errors():
    innovation, residual = consistent_series()
    innovation[::7], residual[3::11] = np.nan, np.nan
    estimate = diagnostics.desroziers(innovation, residual)
    there = np.isfinite(innovation) & np.isfinite(residual)
    np.testing.assert_array_equal(estimate.number, there.sum(axis=0))
    np.testing.assert_allclose(estimate.observation, 0.16, rtol=0.1)
    np.testing.assert_allclose(estimate.background, 0.36, rtol=0.1)
    np.testing.assert_allclose(estimate.observation + estimate.background, estimate.innovation, rtol=1e-12)


def test_desroziers_of_the_sekf_uses_its_linear_residual():
    """With the SEKF's own S the linear residual is R S^-1 d, so <d_a d_b> = R when d ~ N(0, S)."""
    random = np.random.default_rng(3)
    cells = 3000
    H, B = random.normal(size=(1, 2, 3, 4)).repeat(cells, axis=0), np.full((cells, 3, 4), 0.3)
    R = np.tile([0.5, 0.8], (cells, 1))
    h = H[0].reshape(2, -1)
    S = h @ h.T * 0.3 + np.diag(R[0])
    d = random.multivariate_normal(np.zeros(2), S, cells)
    analysis = sekf_analysis.analyse(H, B, R, d)
    residual = d - sekf_analysis.linear_change(H, analysis.increment)
    np.testing.assert_allclose(residual, np.linalg.solve(S, d.T).T * R, rtol=1e-9)
    estimate = diagnostics.desroziers(d[:, None], residual[:, None])
    np.testing.assert_allclose(estimate.observation[0], [0.5, 0.8], rtol=0.1)
    ratio = diagnostics.chi_square_ratio(analysis.chi_square[:, None], np.full((cells, 1), 2))
    assert ratio[0] == pytest.approx(1.0, abs=0.05)


def test_innovation_statistics():
    random = np.random.default_rng(1)
    white = 0.3 + random.normal(0.0, 2.0, 5000)
    red = np.zeros(5000)
    for n in range(1, 5000):
        red[n] = 0.8 * red[n - 1] + random.normal()
    innovation = np.stack([white, red, np.full(5000, np.nan), np.r_[1.0, np.full(4999, np.nan)]], axis=1)
    innovation[::5, 0] = np.nan
    statistics = diagnostics.innovation_statistics(innovation)
    np.testing.assert_array_equal(statistics.number, [4000, 5000, 0, 1])
    assert statistics.mean[0] == pytest.approx(np.nanmean(white[innovation[:, 0] == white]), rel=1e-12)
    assert statistics.standard_deviation[0] == pytest.approx(np.nanstd(innovation[:, 0]), rel=1e-12)
    assert statistics.lag_one_correlation[0] == pytest.approx(0.0, abs=0.05)
    assert statistics.lag_one_correlation[1] == pytest.approx(0.8, abs=0.05)
    assert np.isnan(statistics.mean[2])
    assert np.isnan(statistics.standard_deviation[3])


def test_estimated_error_is_bounded_and_falls_back():
    innovation, residual = consistent_series(cells=4)
    residual[:, 1] = -residual[:, 1]  # a negative estimate
    innovation[50:, 2] = np.nan  # too few
    residual[:, 3] = 20.0 * innovation[:, 3]  # far too large
    estimate = diagnostics.desroziers(innovation, residual)
    sigma = diagnostics.estimated_error(estimate, default=0.5)
    assert sigma[0] == pytest.approx(np.sqrt(estimate.observation[0]), rel=1e-12)
    assert sigma[0] == pytest.approx(0.4, abs=0.03)
    assert sigma[1:].tolist() == [0.5, 0.5, 1.0]


def test_chi_square_ratio_and_degrees_of_freedom_count_used_observations_only():
    chi_square = np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    used_count = np.array([[2, 0], [1, 0], [0, 0]])
    ratio = diagnostics.chi_square_ratio(chi_square, used_count)
    assert ratio[0] == pytest.approx(2.0)
    assert np.isnan(ratio[1])
    freedom = np.array([[[0.2, 0.0]], [[0.6, 0.0]], [[0.0, 0.0]]])
    used = np.array([[[True, False]], [[True, False]], [[False, False]]])
    mean = diagnostics.mean_degrees_of_freedom(freedom, used)
    assert mean[0, 0] == pytest.approx(0.4)
    assert np.isnan(mean[0, 1])


def test_lag_correlations():
    """An autoregressive series of coefficient a has a^n; a period of four has 0, -1, 0, 1, whatever the gaps."""
    random = np.random.default_rng(2)
    red = np.zeros(4000)
    for n in range(1, 4000):
        red[n] = 0.7 * red[n - 1] + random.normal()
    series = np.full((8000, 3), np.nan)
    series[::2, 0] = red
    series[:400, 1] = 5.0 + np.tile([1.0, 0.0, -1.0, 0.0], 100)
    series[:4, 2] = [1.0, 2.0, 3.0, 7.0]
    lagged = diagnostics.lag_correlations(series)
    np.testing.assert_allclose(lagged[:, 0], 0.7 ** np.arange(1, 11), atol=0.08)
    np.testing.assert_allclose(lagged[:4, 1], [0.0, -0.995, 0.0, 0.99], atol=1e-12)
    assert np.isfinite(lagged[:, 2]).tolist() == [True, True] + [False] * 8


def test_spread_and_skill_of_a_scalar_filter():
    """d^2 = S: skill is spread, and what is found is what is expected; with innovations twice as large, S + 3 S - R."""
    h, R = np.array([[0.1], [0.2], [0.5], [0.7], [1.0], [3.0]]), 0.4
    S = h + R
    d = np.sqrt(S) * np.array([1, -1, 1, 1, -1, 1])[:, None]
    d, S, h = (np.concatenate([one, np.full((1, 1), np.nan)]) for one in (d, S, h))  # and one that is missing
    exact = diagnostics.spread_and_skill(d, d**2 / S, h / S)
    assert exact.number.tolist() == [6]
    assert exact.spread[0] == pytest.approx(np.sqrt(5.5 / 6), rel=1e-12)
    assert exact.skill[0] == pytest.approx(exact.spread[0], rel=1e-12)
    np.testing.assert_allclose(exact.expected[:, 0] ** 2, [0.55, 0.9, 1.1, 1.4, 3.4], rtol=1e-12)
    np.testing.assert_allclose(exact.found, exact.expected, rtol=1e-12)
    twice = diagnostics.spread_and_skill(2.0 * d, 4.0 * d**2 / S, h / S)
    assert twice.spread[0] == pytest.approx(exact.spread[0], rel=1e-12)
    assert twice.skill[0] == pytest.approx(np.sqrt(np.nanmean(4.0 * S) - R), rel=1e-12)
    np.testing.assert_allclose(twice.found, 2.0 * twice.expected, rtol=1e-12)
    small = diagnostics.spread_and_skill(0.1 * d, 0.01 * d**2 / S, h / S)
    assert np.isnan(small.skill[0])  # innovations smaller than the observation's error alone


def test_the_spread_is_that_of_the_analyses_themselves():
    """H B H^T of the SEKF, from its chi-square and degrees of freedom alone."""
    random = np.random.default_rng(4)
    H, B = random.normal(size=(30, 1, 3, 2)), random.uniform(0.1, 0.5, (30, 3, 2))
    R, d = random.uniform(0.2, 0.9, (30, 1)), random.normal(size=(30, 1))
    analysis = sekf_analysis.analyse(H, B, R, d)
    found = diagnostics.spread_and_skill(d, analysis.chi_square[:, None], analysis.degrees_of_freedom)
    assert found.spread[0] == pytest.approx(np.sqrt(analysis.background_variance.mean()), rel=1e-10)
    assert found.skill[0] == pytest.approx(np.sqrt((d**2 - R).mean()), rel=1e-10)
