"""The analysis of the simplified extended Kalman filter (SEKF) of SURFEX/SODA and LDAS-Monde, on plain arrays.

Every grid cell is analysed alone. Its unknowns are the control variables l (LAI, WG2..WG8) of its patches p:

    Y         = sum_p f_p y_p                              observation equivalent
    H_k,(p,l) = f_p (y_p[run l] - y_p[control]) / eps_p,l  Jacobian over the window, from perturbed runs
    B, R      error covariances of background, diagonal, and observations
    S         = H B H^T + R
    K         = B H^T S^-1
    dx        = K (y - Y)                                  then the limits, and LAI takes its leaf biomass along

Axes: (cell, patch, control) for unknowns, (cell, observation) for observations. Patches that a cell does not have,
and layers that a patch does not have, carry zeros in H and B, and so stay out of the sums. An observation that is not
used carries a zero row of H, a zero innovation and, in R, a row of the identity, and so changes nothing. Every
function works cell by cell: the result of a cell is the same bit for bit whatever other cells are beside it.

Source: SURFEX v8.1 `assim_nature_isba_ekf.F90`; Mahfouf et al. (2009), doi:10.1029/2008JD011077; Barbu et al. (2014),
doi:10.5194/hess-18-173-2014. Errors, limits and their sources: docs/science/sekf.md, sections 1 to 9.
"""

from typing import NamedTuple

import numpy as np

from ldas.landmodel.array_types import Array, BoolArray


class Analysis(NamedTuple):
    """What `analyse` finds, before any limit.

    gain (cell, observation, patch, control) K^T; increment (cell, patch, control) dx; background_variance
    (cell, observation), the diagonal of H B H^T; degrees_of_freedom (cell, observation), the diagonal of H K;
    chi_square (cell,), d^T S^-1 d.
    """

    gain: Array
    increment: Array
    background_variance: Array
    degrees_of_freedom: Array
    chi_square: Array


def dynamic_range(clay: Array) -> Array:
    """Dynamic range of soil moisture COFSWI (m3 m-3) from the clay fraction (0-1) of layer 1.

    Field capacity minus wilting point in the force-restore formulas of CH78 (Noilhan and Mahfouf 1996), whatever the
    pedotransfer function of the model. It scales perturbations and errors, and is not the model's own wfc - wwilt.
    """
    percent = 100.0 * np.asarray(clay, dtype=np.float64)
    return np.asarray(0.001 * (89.0467 * percent**0.3496 - 37.1342 * np.sqrt(percent)))


def grid_mean(fraction: Array, values: Array) -> Array:
    """Y = sum_p f_p y_p: (cell, patch), (cell, patch, ...) -> (cell, ...). Absent patches must hold zeros.

    Patches are added one after the other, so that the rounding does not depend on how many cells there are.
    """
    weight = fraction.reshape(fraction.shape + (1,) * (values.ndim - 2))
    total = weight[:, 0] * values[:, 0]
    for patch in range(1, fraction.shape[1]):
        total = total + weight[:, patch] * values[:, patch]
    return np.asarray(total)


def window_jacobian(fraction: Array, control: Array, perturbed: Array, perturbation: Array) -> Array:
    """H = f_p (y_p[run l] - y_p[control]) / eps_p,l, the response of a grid mean to each unknown.

    fraction (cell, patch), control (cell, patch), perturbed and perturbation (cell, patch, control) ->
    (cell, patch, control); zero where nothing was perturbed (eps = 0). Nothing is clipped, as in SURFEX v8.1.
    """
    response = fraction[:, :, None] * (perturbed - control[:, :, None])
    return np.divide(response, perturbation, out=np.zeros_like(response), where=perturbation != 0.0)


def background_variance(
    lai: Array,
    soil_moisture_error: Array,
    is_lai: BoolArray,
    present: BoolArray,
    lai_relative_error: float = 0.2,
) -> Array:
    """Diagonal of B: (error of WG)^2; LAI: (0.2 LAI)^2 where LAI >= 2 m2 m-2, else 0.4^2. Zero where not present.

    lai (cell, patch) of the control run at the end of the window; soil_moisture_error (cell, patch, control)
    in m3 m-3, ignored for LAI; is_lai (control,); present (cell, patch, control).
    """
    lai_error = np.where(lai >= 2.0, lai_relative_error * lai, 0.4)
    error = np.where(is_lai, lai_error[:, :, None], soil_moisture_error)
    return np.where(present, error * error, 0.0)


def analyse(jacobian: Array, background: Array, observation_covariance: Array, innovation: Array) -> Analysis:
    """The Kalman gain and its increment, for all cells at once.

    jacobian H (cell, observation, patch, control), background: diagonal of B (cell, patch, control),
    observation_covariance: R (cell, observation, observation), or its diagonal (cell, observation) where the errors
    are independent, innovation d = y - Y (cell, observation).
    """
    cells, observations, patches, controls = jacobian.shape
    H = jacobian.reshape(cells, observations, patches * controls)
    B = background.reshape(cells, 1, patches * controls)
    R = observation_covariance
    if R.ndim == 2:
        R = R[:, :, None] * np.eye(observations)
    d = innovation[:, :, None]

    HB = H * B
    HBHt = HB @ H.transpose(0, 2, 1)
    S = HBHt + R
    Kt = np.linalg.solve(S, HB)  # K = B H^T S^-1; S is symmetric, hence K^T = S^-1 (B H^T)^T
    dx = Kt.transpose(0, 2, 1) @ d
    HK = H @ Kt.transpose(0, 2, 1)

    return Analysis(
        gain=np.asarray(Kt.reshape(jacobian.shape)),
        increment=dx.reshape(background.shape),
        background_variance=np.diagonal(HBHt, axis1=1, axis2=2).copy(),
        degrees_of_freedom=np.diagonal(HK, axis1=1, axis2=2).copy(),
        chi_square=(d.transpose(0, 2, 1) @ np.linalg.solve(S, d))[:, 0, 0],
    )


def linear_change(jacobian: Array, increment: Array) -> Array:
    """H dx, the change of the observations' equivalents that the Jacobian expects: (cell, observation)."""
    cells, observations, patches, controls = jacobian.shape
    H = jacobian.reshape(cells, observations, patches * controls)
    return np.asarray((H @ increment.reshape(cells, patches * controls, 1))[:, :, 0])


def limit_increments(increment: Array, background: Array, lower: Array, upper: Array, largest: Array) -> Array:
    """Increments that keep `background + increment` inside [lower, upper], then cut to +-largest.

    All arrays broadcast. LAI: lower = LAImin, upper = infinity, largest = 1 m2 m-2; WG: 0.001, wsat, 0.1 m3 m-3.
    The order is the source's: bounds first, size second, which can undo the first in magnitude only.

    An increment too small to change its variable (x + dx == x) is zero and the bounds are not applied: a filter that
    has nothing to say leaves the forecast as it is, bit for bit, also where the model itself is outside the bounds
    (a supersaturated layer). That is why a run with a very large R equals the open loop.
    """
    ignorable = background + increment == background
    bounded = np.maximum(np.minimum(increment, upper - background), lower - background)
    return np.where(ignorable, 0.0, np.maximum(np.minimum(bounded, largest), -largest))
