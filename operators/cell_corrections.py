"""Corrections of single cells to a network that all cells share: a linear mixed model (Laird and Ware 1982).

What the shared network leaves of cell c's scaled target is r = Z d_c + e: Z are the terms of each sample (1 and the
last hidden layer), d_c is normal with mean zero and the covariance D of all cells, e has the variance s2. D and s2 are
estimated from all cells by expectation and maximisation; a cell's correction is the mean of d_c given its own samples,
D (s2 I + G D)^-1 h with G = Z'Z and h = Z'r. This is ridge regression whose penalty the cells have set: a cell without
samples has a correction of exactly zero, and one with many has nearly its own least squares.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ldas.landmodel.array_types import Array

_ITERATIONS = 60


class Moments(NamedTuple):
    """Sums over a cell's samples: G = Z'Z (term, term), h = Z'r (term,), r'r, and their number."""

    gram: Array
    product: Array
    square: float
    number: int


class Prior(NamedTuple):
    """Covariance of the corrections among cells (term, term), and variance of what no correction explains."""

    covariance: Array
    noise_variance: float


def correction_of(moments: Moments, prior: Prior) -> Array:
    """(term,) the correction of a cell, the mean of d_c given its samples."""
    return np.asarray(prior.covariance @ np.linalg.solve(_damped(moments.gram, prior), moments.product))


def estimated_prior(cells: Sequence[Moments], directions: Array) -> Prior:
    """The prior of these cells' corrections within the span of `directions` (term, direction).

    Every term of its own: the identity. No direction: no correction.
    """
    gram = np.stack([directions.T @ cell.gram @ directions for cell in cells])
    product = np.stack([directions.T @ cell.product for cell in cells])
    square, count = sum(cell.square for cell in cells), sum(cell.number for cell in cells)
    size = directions.shape[1]
    noise = max(square / count, np.finfo(np.float64).tiny)
    if size == 0:
        return Prior(np.zeros((len(directions), len(directions))), noise)
    # To begin with, each direction explains its share of what is left; one that no sample has, such as a neuron that
    # never fires, is not corrected.
    power = np.einsum("cii->i", gram) / count
    share = np.divide(noise, size * power, out=np.zeros(size), where=power > np.finfo(np.float64).eps)
    prior = Prior(np.diag(share), noise)
    for _ in range(_ITERATIONS):
        inverse = np.linalg.inv(_damped(gram, prior))
        mean = np.einsum("ij,cjk,ck->ci", prior.covariance, inverse, product)
        spread = prior.noise_variance * (prior.covariance @ inverse)
        covariance = (np.einsum("ci,cj->ij", mean, mean) + spread.sum(axis=0)) / len(cells)
        left = square - 2.0 * np.sum(mean * product) + np.einsum("ci,cij,cj->", mean, gram, mean)
        left += np.einsum("cij,cji->", gram, spread)
        prior = Prior(0.5 * (covariance + covariance.T), max(left / count, np.finfo(np.float64).tiny))
    return Prior(directions @ prior.covariance @ directions.T, prior.noise_variance)


def _damped(gram: Array, prior: Prior) -> Array:
    """s2 I + G D, (..., term, term)."""
    return np.asarray(prior.noise_variance * np.eye(gram.shape[-1]) + gram @ prior.covariance)
