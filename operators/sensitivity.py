"""What each predictor is worth: the error when it is held at its mean (Corchia et al. 2023, Figure 3)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array
from ldas.operators.protocol import ObservationOperator
from ldas.operators.scores import predict_where_observed, score


class Sensitivity(NamedTuple):
    """rmsd (cell,) with all predictors; neutralised_rmsd (cell, predictor) with one held at its mean; their difference.

    All in the output's unit; a positive `difference` (cell, predictor) says that the predictor is of use.
    """

    predictor_names: tuple[str, ...]
    rmsd: Array
    neutralised_rmsd: Array
    difference: Array


def predictor_sensitivity(operator: ObservationOperator, predictors: ArrayLike, target: ArrayLike) -> Sensitivity:
    """Sensitivity of a trained operator on a period: predictors (cell, sample, predictor), target (cell, sample).

    The operator is left as it is; a predictor's mean is that of the cell's samples with a target. NaN = missing.
    """
    x, y = np.array(predictors, dtype=np.float64), np.array(target, dtype=np.float64)
    y[np.isnan(x).any(axis=-1)] = np.nan
    x[np.isnan(y)] = np.nan
    count = np.maximum((~np.isnan(y)).sum(axis=1), 1)
    rmsd = score(predict_where_observed(operator, x, y), y).rmsd
    neutralised = np.empty((x.shape[0], x.shape[2]))
    for index in range(x.shape[2]):
        held = x.copy()
        mean = np.nansum(x[..., index], axis=1) / count
        held[..., index] = np.where(np.isnan(y), np.nan, mean[:, None])
        neutralised[:, index] = score(predict_where_observed(operator, held, y), y).rmsd
    return Sensitivity(tuple(operator.predictor_names), rmsd, neutralised, neutralised - rmsd[:, None])
