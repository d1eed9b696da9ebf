"""The SEKF's algebra against textbook forms of the Kalman filter, and the properties that its shape promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ldas.assim import sekf_analysis


def random_problem(cells=7, observations=3, patches=12, controls=8, seed=0):
    random = np.random.default_rng(seed)
    H = random.normal(size=(cells, observations, patches, controls))
    B = random.uniform(0.1, 2.0, (cells, patches, controls))
    R = random.uniform(0.1, 2.0, (cells, observations))
    d = random.normal(size=(cells, observations))
    return H, B, R, d


def test_dynamic_range_of_loam():
    assert sekf_analysis.dynamic_range(np.array(0.25)) == pytest.approx(0.0887, abs=5e-5)


def test_increment_is_that_of_the_information_form():
    """dx = (B^-1 + H^T R^-1 H)^-1 H^T R^-1 d, the same estimate written without S or K."""
    H, B, R, d = random_problem()
    analysis = sekf_analysis.analyse(H, B, R, d)
    for cell in range(H.shape[0]):
        h = H[cell].reshape(H.shape[1], -1)
        precision = np.diag(1.0 / B[cell].ravel()) + h.T @ np.diag(1.0 / R[cell]) @ h
        expected = np.linalg.solve(precision, h.T @ (d[cell] / R[cell]))
        np.testing.assert_allclose(analysis.increment[cell].ravel(), expected, rtol=0, atol=1e-12)
        gain = analysis.gain[cell].reshape(H.shape[1], -1).T
        np.testing.assert_allclose(gain @ d[cell], expected, rtol=0, atol=1e-12)
        S = h @ np.diag(B[cell].ravel()) @ h.T + np.diag(R[cell])
        assert analysis.chi_square[cell] == pytest.approx(d[cell] @ np.linalg.inv(S) @ d[cell], rel=1e-12)
        np.testing.assert_allclose(analysis.degrees_of_freedom[cell], np.diag(h @ gain), rtol=1e-10)
        np.testing.assert_allclose(analysis.background_variance[cell], np.diag(S) - R[cell], rtol=1e-12)


def test_one_lai_observation_of_one_patch():
    """H = 1, f = 1: dx = B / (B + R) d, by hand."""
    B, R, d = np.full((1, 1, 1), 0.36), np.full((1, 1), 0.64), np.full((1, 1), 0.5)
    analysis = sekf_analysis.analyse(np.ones((1, 1, 1, 1)), B, R, d)
    assert analysis.increment.item() == pytest.approx(0.18, rel=1e-15)
    assert analysis.degrees_of_freedom.item() == pytest.approx(0.36, rel=1e-15)


def test_unused_observation_changes_nothing():
    H, B, R, d = random_problem(observations=2)
    H[:, 1], R[:, 1], d[:, 1] = 0.0, 1.0, 0.0
    both = sekf_analysis.analyse(H, B, R, d)
    alone = sekf_analysis.analyse(H[:, :1].copy(), B, R[:, :1].copy(), d[:, :1].copy())
    np.testing.assert_allclose(both.increment, alone.increment, rtol=1e-13, atol=1e-16)
    assert (both.gain[:, 1] == 0.0).all()
    assert (both.degrees_of_freedom[:, 1] == 0.0).all()


def test_no_observation_type_at_all():
    H, B, R, d = random_problem(observations=0)
    assert (sekf_analysis.analyse(H, B, R, d).increment == 0.0).all()


@pytest.mark.parametrize("observations", [1, 2, 3])
def test_a_cell_alone_equals_a_cell_in_a_block_bit_for_bit(observations):
    problem = random_problem(cells=33, observations=observations)
    block = sekf_analysis.analyse(*problem)
    for cell in (0, 13, 32):
        alone = sekf_analysis.analyse(*(array[cell : cell + 1].copy() for array in problem))
        for in_block, by_itself in zip(block, alone, strict=True):
            assert (in_block[cell] == by_itself[0]).all()


def test_permuting_cells_and_patches_permutes_the_results():
    H, B, R, d = random_problem()
    random = np.random.default_rng(3)
    cells, patches = random.permutation(H.shape[0]), random.permutation(H.shape[2])
    plain = sekf_analysis.analyse(H, B, R, d)
    moved = sekf_analysis.analyse(H[cells][:, :, patches], B[cells][:, patches], R[cells], d[cells])
    np.testing.assert_allclose(moved.increment, plain.increment[cells][:, patches], rtol=1e-11, atol=1e-13)


def test_grid_mean_and_jacobian_of_a_known_function():
    """y_p = c_p x_p: H = f_p c_p whatever the perturbation, and patches without perturbation have none."""
    fraction = np.array([[0.5, 0.3, 0.2]])
    slope = np.array([[2.0, -1.0, 4.0]])
    x, eps = np.array([[1.0, 2.0, 3.0]]), np.array([[[1e-3], [1e-2], [0.0]]])
    H = sekf_analysis.window_jacobian(fraction, slope * x, (slope * (x + eps[..., 0]))[..., None], eps)
    np.testing.assert_allclose(H[0, :, 0], [1.0, -0.3, 0.0], rtol=1e-11)
    assert sekf_analysis.grid_mean(fraction, slope * x) == pytest.approx(0.5 * 2 - 0.3 * 2 + 0.2 * 12)


def test_background_variance_of_lai_changes_at_two():
    lai = np.array([[1.999, 2.0, 5.0, 0.0]])
    present = np.array([[[True, True], [True, True], [True, False], [False, True]]])
    B = sekf_analysis.background_variance(lai, np.full((1, 4, 2), 0.02), np.array([True, False]), present)
    np.testing.assert_allclose(B[0, :, 0], [0.16, 0.16, 1.0, 0.0])
    np.testing.assert_allclose(B[0, :, 1], [4e-4, 4e-4, 0.0, 4e-4])


@pytest.mark.parametrize(
    ("increment", "background", "lower", "upper", "largest", "expected"),
    [
        (0.5, 1.0, 0.3, np.inf, 1.0, 0.5),  # inside
        (-2.0, 1.0, 0.3, np.inf, 1.0, -0.7),  # bound first
        (-9.0, 5.0, 0.3, np.inf, 1.0, -1.0),  # then size
        (3.0, 5.0, 0.3, np.inf, 1.0, 1.0),
        (0.2, 0.40, 0.001, 0.45, 0.1, 0.05),
        (0.01, 0.46, 0.001, 0.45, 0.1, -0.01),  # supersaturated: the source brings it back
        (1e-30, 0.46, 0.001, 0.45, 0.1, 0.0),  # nothing to say: left alone
        (0.0, 0.46, 0.001, 0.45, 0.1, 0.0),
        (0.0, 0.2, 0.3, np.inf, 1.0, 0.0),
    ],
)
def test_limits(increment, background, lower, upper, largest, expected):
    limited = sekf_analysis.limit_increments(*map(np.array, (increment, background, lower, upper, largest)))
    assert limited == pytest.approx(expected, abs=1e-15)


finite = st.floats(-10.0, 10.0, allow_nan=False)


@given(hnp.arrays(np.float64, (4, 3), elements=finite), hnp.arrays(np.float64, (4, 3), elements=st.floats(0.001, 0.45)))
@settings(deadline=None)
def test_limited_increments_stay_inside(increment, background):
    """Inside bounds and size, and never of the other sign, when the background is inside."""
    limited = sekf_analysis.limit_increments(increment, background, np.array(0.001), np.array(0.45), np.array(0.1))
    assert (np.abs(limited) <= 0.1).all()
    assert (background + limited >= 0.001 - 1e-16).all()
    assert (background + limited <= 0.45 + 1e-16).all()
    assert (limited * increment >= 0.0).all()


@given(
    hnp.arrays(np.float64, (2, 2, 3, 2), elements=finite),
    hnp.arrays(np.float64, (2, 3, 2), elements=st.floats(0.0, 5.0)),
    hnp.arrays(np.float64, (2, 2), elements=st.floats(0.01, 5.0)),
    hnp.arrays(np.float64, (2, 2), elements=finite),
)
@settings(deadline=None)
def test_the_analysis_never_fits_worse_than_the_background(H, B, R, d):
    """J(dx) = dx^T B^-1 dx + (d - H dx)^T R^-1 (d - H dx) is smallest at the analysis, so at most J(0)."""
    analysis = sekf_analysis.analyse(H, B, R, d)
    after = d - sekf_analysis.linear_change(H, analysis.increment)
    before_fit, after_fit = (d**2 / R).sum(axis=1), (after**2 / R).sum(axis=1)
    assert (after_fit <= before_fit * (1 + 1e-9) + 1e-12).all()
    assert ((analysis.degrees_of_freedom > -1e-9) & (analysis.degrees_of_freedom < 1 + 1e-9)).all()
    assert (analysis.chi_square <= before_fit * (1 + 1e-9) + 1e-12).all()
