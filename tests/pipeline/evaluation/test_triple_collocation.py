"""Triple collocation: against errors that are known, closed forms, and pytesmo."""

import numpy as np
import pytest
from pytesmo.metrics import tcol_metrics

from ldas.pipeline.evaluation.triple_collocation import triple_collocation

SCALE, OFFSET = np.array([1.0, 2.5, 0.4]), np.array([0.0, 3.0, -1.0])
ERRORS = np.array([0.02, 0.1, 0.03])  # of each series, in its own unit


def series(times: int = 20000, cells: int = 2) -> np.ndarray:
    """SYNTHETIC: a truth of standard deviation 0.05, seen by three series with errors of their own."""
    random = np.random.default_rng(8)
    truth = 0.25 + 0.05 * random.standard_normal((times, cells))
    noise = random.standard_normal((3, times, cells))
    return OFFSET[:, None, None] + SCALE[:, None, None] * truth + ERRORS[:, None, None] * noise


def test_errors_that_are_known() -> None:
    given = series()
    given[0, ::3], given[2, 1::7] = np.nan, np.nan
    found = triple_collocation(given)
    there = np.isfinite(given).all(axis=0).sum(axis=0)
    np.testing.assert_array_equal(found.number, there)
    np.testing.assert_allclose(found.error, ERRORS[:, None].repeat(2, axis=1), rtol=0.05)
    np.testing.assert_allclose(found.scaled_error, (ERRORS / SCALE)[:, None].repeat(2, axis=1), rtol=0.05)
    signal = 0.05 * SCALE
    np.testing.assert_allclose(found.r[:, 0], signal / np.hypot(signal, ERRORS), rtol=0.01)


def test_as_pytesmo_has_it() -> None:
    given = series(300, 1)
    found = triple_collocation(given)
    snr, error, beta = tcol_metrics(*given[..., 0])
    np.testing.assert_allclose(found.scaled_error[:, 0], error, rtol=1e-10)
    np.testing.assert_allclose(found.scaled_error[:, 0] / found.error[:, 0], beta, rtol=1e-10)
    power = 10.0 ** (snr / 10.0)
    np.testing.assert_allclose(found.r[:, 0] ** 2, power / (1.0 + power), rtol=1e-10)


def test_covariances_of_closed_form() -> None:
    """Truth and three errors that are orthogonal exactly: +-1 in all combinations."""
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, 16)
    truth, noise = np.tile(signs[0], 10), np.tile(signs[1:], 10)
    size = np.array([0.5, 2.0, 3.0])
    found = triple_collocation(
        np.stack([truth, 2.0 * truth, 4.0 * truth])[..., None] + (size[:, None] * noise)[..., None]
    )
    per = np.sqrt(160.0 / 159.0)  # variances are over n - 1
    np.testing.assert_allclose(found.error[:, 0], per * size, rtol=1e-12)
    np.testing.assert_allclose(found.scaled_error[:, 0], per * size / [1.0, 2.0, 4.0], rtol=1e-12)
    np.testing.assert_allclose(found.r[:, 0], np.array([1.0, 2.0, 4.0]) / np.hypot([1.0, 2.0, 4.0], size), rtol=1e-12)


def test_what_cannot_be_told() -> None:
    given = series(120, 4)
    given[0, 30:, 0] = np.nan  # too few
    given[1, :, 1] *= -1.0  # a covariance below zero
    given[2, :, 2] = 0.3  # no spread
    given[1, :, 3] = given[0, :, 3] + 0.3 * given[2, :, 3]  # no error but those of the others
    found = triple_collocation(given)
    assert found.number.tolist() == [30, 120, 120, 120]
    assert np.isnan(found.r[:, :3]).all()
    assert np.isnan(found.error[:, :3]).all()
    assert np.isnan(found.error[:, 3]).tolist() == np.isnan(found.r[:, 3]).tolist() == [False, True, False]


@pytest.mark.parametrize("minimum", [60, 120])
def test_the_fewest_triplets(minimum: int) -> None:
    given = series(120, 1)
    given[0, minimum:] = np.nan
    assert np.isfinite(triple_collocation(given, minimum).error[1:]).all()  # the first has hardly any
    given[0, minimum - 1] = np.nan
    assert np.isnan(triple_collocation(given, minimum).error).all()
