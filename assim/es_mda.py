"""The ensemble smoother with multiple data assimilation (ES-MDA), on plain arrays.

An ensemble of parameters is corrected several times with the same observations, whose error variances R are multiplied
by a factor a_i in step i. Where 1/a_1 + ... + 1/a_n = 1, the mean and the covariance of a linear model with Gaussian
errors are, after the last step, those of its exact posterior but for the finite ensemble (Emerick and Reynolds 2013,
doi:10.1016/j.cageo.2012.03.011). With the perturbations m' and d' of parameters and predictions, N members and
observations perturbed for every member j with noise e_j of unit variance:

    m_j <- m_j + C_md (C_dd + a R)^-1 (y + sqrt(a R) e_j - d_j),   C_md = m'^T d' / (N - 1),   C_dd = d'^T d' / (N - 1)

The gain is computed in the space of the members, by the identity

    d' (d'^T d' + a (N - 1) R)^-1 = (d' R^-1 d'^T + a (N - 1) I)^-1 d' R^-1

so that there may be many more observations than members: nothing larger than (member, member) is inverted.
"""

import numpy as np

from ldas.assim.errors import ObservationInputError
from ldas.landmodel.array_types import Array


def es_mda_step(
    parameters: Array, predicted: Array, observed: Array, error: Array, inflation: float, noise: Array
) -> Array:
    """One step: the parameters of every member after it.

    Args:
        parameters: (member, parameter), in any unit in which they are about Gaussian.
        predicted: (member, observation), what the model makes of them.
        observed: (observation,) observations, in the units of `predicted`.
        error: (observation,) standard deviation of the observation error.
        inflation: factor a of the error variance in this step.
        noise: (member, observation) of mean 0 and variance 1.

    Returns:
        (member, parameter), in the units of `parameters`.

    Raises:
        ObservationInputError: fewer than two members, values that are not finite, errors that are not positive.
    """
    members = len(parameters)
    if members < 2:
        raise ObservationInputError(f"ES-MDA: expected at least 2 members, got {members}")
    if not (error > 0.0).all() or not all(np.isfinite(values).all() for values in (parameters, predicted, observed)):
        raise ObservationInputError("ES-MDA: expected finite parameters, predictions and observations, and errors > 0")
    m = parameters - parameters.mean(axis=0)
    d = (predicted - predicted.mean(axis=0)) / error
    innovation = (observed - predicted) / error + np.sqrt(inflation) * noise
    weights = np.linalg.solve(d @ d.T + inflation * (members - 1) * np.eye(members), d @ innovation.T)
    return np.asarray(parameters + weights.T @ m)
