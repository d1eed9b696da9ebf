"""The analysis of the ensemble square root filter (EnSRF), on plain arrays.

Every grid cell is analysed alone, one scalar observation after the other (Whitaker and Hamill 2002; in LDAS-Monde:
Bonan et al. 2020, doi:10.5194/hess-24-325-2020). With the ensemble means xm, hm of state and prediction, perturbations
x', h' and n members:

    P H^T  = sum x' h' / (n - 1)          H P H^T = sum h' h' / (n - 1)
    K      = P H^T / (H P H^T + R)        a = 1 / (1 + sqrt(R / (H P H^T + R)))
    xm    <- xm + K (y - hm)              x' <- x' - a K h'

The predictions of the other observations are updated by the same rule, as if they were part of the state. An
observation that is not used has K = 0 and changes nothing.

Observations whose errors are correlated, R = L L^T, are made independent first: of L^-1 y and L^-1 h the errors have
the covariance L^-1 R L^-T = I.
"""

from typing import NamedTuple

import numpy as np

from ldas.landmodel.array_types import Array, BoolArray


class EnsembleAnalysis(NamedTuple):
    """What `analyse` finds, before any limit.

    increment (cell, member, unknown); predicted_increment (cell, member, observation), the change of the predictions;
    background_variance (cell, observation), the prior H P H^T; degrees_of_freedom (cell, observation), the diagonal of
    H P H^T (H P H^T + R)^-1; chi_square (cell,).
    """

    increment: Array
    predicted_increment: Array
    background_variance: Array
    degrees_of_freedom: Array
    chi_square: Array


def member_mean(values: Array) -> Array:
    """(cell, member, ...) -> (cell, ...); members are added one after the other, whatever the number of cells."""
    total = values[:, 0].copy()
    for member in range(1, values.shape[1]):
        total += values[:, member]
    return np.asarray(total / values.shape[1])


def analyse(
    ensemble: Array,
    predicted: Array,
    observation: Array,
    observation_covariance: Array,
    used: BoolArray,
) -> EnsembleAnalysis:
    """Increments of every member.

    ensemble (cell, member, unknown), zeros for unknowns that a cell does not have; predicted (cell, member,
    observation), observation and used (cell, observation); observation_covariance: R (cell, observation, observation),
    with rows of the identity where used is False, or its diagonal (cell, observation) where the errors are
    independent. Where used is False the observation and that diagonal are not looked at; predictions are zero.
    """
    freedom = ensemble.shape[1] - 1
    x = ensemble - member_mean(ensemble)[:, None]
    h = predicted - member_mean(predicted)[:, None]
    d = np.where(used, observation - member_mean(predicted), 0.0)
    correlated = observation_covariance.ndim == 3
    R = np.ones(used.shape) if correlated else np.where(used, observation_covariance, 1.0)

    HPHt = h.transpose(0, 2, 1) @ h / freedom
    HPHt = np.where(used[:, :, None] & used[:, None, :], HPHt, 0.0)
    S = HPHt + (observation_covariance if correlated else R[:, :, None] * np.eye(R.shape[1]))
    HK = np.linalg.solve(S, HPHt)
    chi_square = (d[:, None, :] @ np.linalg.solve(S, d[:, :, None]))[:, 0, 0]
    prior = np.diagonal(HPHt, axis1=1, axis2=2).copy()

    if correlated:
        root = np.linalg.cholesky(observation_covariance)
        h = np.linalg.solve(root, h.transpose(0, 2, 1)).transpose(0, 2, 1)
        d = np.linalg.solve(root, d[:, :, None])[:, :, 0]
    dx, dh = np.zeros_like(x), np.zeros_like(h)
    for k in range(R.shape[1]):
        hk = h[:, :, k : k + 1].copy()
        variance = (hk.transpose(0, 2, 1) @ hk)[:, 0] / freedom
        total = variance + R[:, k : k + 1]
        a = 1.0 / (1.0 + np.sqrt(R[:, k : k + 1] / total))
        for perturbations, increment in ((x, dx), (h, dh)):
            K = np.where(used[:, k : k + 1], (hk.transpose(0, 2, 1) @ perturbations)[:, 0] / freedom / total, 0.0)
            change = -(a * K)[:, None] * hk
            increment += K[:, None] * (d[:, k] - member_mean(dh)[:, k])[:, None, None] + change
            perturbations += change
    if correlated:
        dh = dh @ root.transpose(0, 2, 1)
    return EnsembleAnalysis(dx, dh, prior, np.diagonal(HK, axis1=1, axis2=2).copy(), chi_square)
