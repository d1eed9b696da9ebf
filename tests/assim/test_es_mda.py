"""ES-MDA against the exact posterior of a linear problem with Gaussian errors; priors against SciPy's distributions."""

import numpy as np
import pytest
from scipy import stats

from ldas.assim.errors import FilterConfigurationError, ObservationInputError
from ldas.assim.es_mda import es_mda_step
from ldas.assim.priors import Prior

PARAMETERS, OBSERVATIONS, MEMBERS = 3, 5, 40


def orthogonal_samples(columns: int) -> np.ndarray:
    """(member, column) of mean 0 and variance 1, every pair of columns without any correlation."""
    random = np.random.default_rng(3)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(MEMBERS), random.standard_normal((MEMBERS, columns))]))
    return basis[:, 1:] * np.sqrt(MEMBERS - 1)


@pytest.mark.parametrize("inflations", [(1.0,), (4.0, 4.0, 4.0, 4.0), (10.0, 5.0, 10.0 / 7.0)])
def test_mean_and_covariance_are_those_of_the_exact_posterior(inflations: tuple[float, ...]) -> None:
    """Where the sampled noise is uncorrelated with all before it, as of an infinite ensemble, they are exactly so."""
    assert sum(1.0 / factor for factor in inflations) == pytest.approx(1.0)
    random = np.random.default_rng(0)
    mean = random.standard_normal(PARAMETERS)
    root = random.standard_normal((PARAMETERS, PARAMETERS))
    covariance = root @ root.T
    H = random.standard_normal((OBSERVATIONS, PARAMETERS))
    observed, error = random.standard_normal(OBSERVATIONS), random.uniform(0.3, 2.0, OBSERVATIONS)
    samples = orthogonal_samples(PARAMETERS + OBSERVATIONS * len(inflations))
    ensemble = mean + samples[:, :PARAMETERS] @ root.T
    for step, factor in enumerate(inflations):
        first = PARAMETERS + step * OBSERVATIONS
        ensemble = es_mda_step(
            ensemble, ensemble @ H.T, observed, error, factor, samples[:, first : first + OBSERVATIONS]
        )
    information = np.linalg.inv(covariance) + H.T @ np.diag(error**-2) @ H
    exact = np.linalg.solve(information, np.linalg.solve(covariance, mean) + H.T @ (observed / error**2))
    np.testing.assert_allclose(ensemble.mean(axis=0), exact, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.cov(ensemble.T), np.linalg.inv(information), rtol=0, atol=1e-10)


def test_what_cannot_be_assimilated_is_refused() -> None:
    good = {"parameters": np.zeros((3, 1)), "predicted": np.zeros((3, 2)), "noise": np.zeros((3, 2))}
    for change, text in (
        ({"parameters": np.zeros((1, 1)), "predicted": np.zeros((1, 2)), "noise": np.zeros((1, 2))}, "got 1"),
        ({"error": np.array([1.0, 0.0])}, "errors > 0"),
        ({"observed": np.array([1.0, np.nan])}, "finite"),
    ):
        given = {**good, "observed": np.zeros(2), "error": np.ones(2), **change}
        with pytest.raises(ObservationInputError, match=text):
            es_mda_step(**given, inflation=1.0)


def test_priors_are_the_distributions_of_scipy() -> None:
    z = np.linspace(-4.0, 4.0, 33)
    share = stats.norm.cdf(z)
    np.testing.assert_allclose(Prior(2.0, 5.0).values(z), stats.uniform(2.0, 3.0).ppf(share), rtol=1e-12)
    np.testing.assert_allclose(
        Prior(1e-4, 1e-2, "log_uniform").values(z), stats.loguniform(1e-4, 1e-2).ppf(share), rtol=1e-12
    )
    cut = stats.truncnorm((1.0 - 2.0) / 0.8, (2.5 - 2.0) / 0.8, 2.0, 0.8)
    np.testing.assert_allclose(Prior(1.0, 2.5, "normal", 2.0, 0.8).values(z), cut.ppf(share), rtol=1e-9)
    far = np.array([-40.0, 40.0])
    for prior in (Prior(2.0, 5.0), Prior(1e-4, 1e-2, "log_uniform"), Prior(1.0, 2.5, "normal", 2.0, 0.8)):
        np.testing.assert_allclose(prior.values(far), [prior.low, prior.high])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((2.0, 2.0), "low < high"),
        ((0.0, 1.0, "log_uniform"), "low > 0"),
        ((0.0, 1.0, "normal", 2.0, 1.0), "mean inside 0 to 1"),
        ((0.0, 1.0, "normal", 0.5, 0.0), "standard deviation > 0"),
    ],
)
def test_priors_that_are_none_are_refused(given: tuple[float, ...], text: str) -> None:
    with pytest.raises(FilterConfigurationError, match=text):
        Prior(*given)  # type: ignore[arg-type]
