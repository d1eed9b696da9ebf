"""How well an operator predicts, cell by cell: root mean square difference, correlation, bias."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array, IntArray
from ldas.operators.joint import JointOperator
from ldas.operators.protocol import ObservationOperator


class Scores(NamedTuple):
    """All (cell,): rmsd and bias (predicted minus observed) in the output's unit, Pearson correlation, pairs of values.

    NaN where a cell has no pair, and for the correlation where one of the two series does not vary.
    """

    rmsd: Array
    correlation: Array
    bias: Array
    pairs: IntArray


def predict_where_observed(operator: ObservationOperator, predictors: ArrayLike, target: ArrayLike) -> Array:
    """Predictions (cell, sample) of samples that have a target and all predictors; NaN elsewhere.

    For series with gaps, predictors (cell, sample, predictor) and target (cell, sample): `predict` itself refuses NaN.
    """
    x = np.array(predictors, dtype=np.float64)
    observed = ~np.isnan(np.asarray(target, dtype=np.float64)) & ~np.isnan(x).any(axis=-1)
    has_some = observed.any(axis=1)
    for cell in np.flatnonzero(has_some):
        # Any valid sample of the cell fills the gaps; what is predicted there is thrown away.
        x[cell, ~observed[cell]] = x[cell, np.argmax(observed[cell])]
    predicted = np.full(observed.shape, np.nan)
    predicted[has_some] = operator.select(has_some).predict(x[has_some])
    predicted[~observed] = np.nan
    return predicted


def scores_of(operator: ObservationOperator, predictors: ArrayLike, target: ArrayLike) -> Scores:
    """Scores of an operator where it can be compared, (cell,), or (cell, output) of several observations.

    predictors (cell, sample, predictor); target (cell, sample), or (cell, sample, output).
    """
    if not isinstance(operator, JointOperator):
        return score(predict_where_observed(operator, predictors, target), target)
    targets = np.moveaxis(np.asarray(target), -1, 0)
    outputs = [operator.output(name) for name in operator.output_names]
    each = [scores_of(one, predictors, values) for one, values in zip(outputs, targets, strict=True)]
    return Scores(*(np.stack(values, axis=-1) for values in zip(*each, strict=True)))


def score(predicted: ArrayLike, observed: ArrayLike) -> Scores:
    """Scores per cell from predicted and observed (cell, sample); pairs with a NaN are left out.

    `ldas.pipeline.evaluation.metrics` has these scores too, along any dimension of chunked data and with a least number
    of pairs. It adds up in another order: both kinds are stored, so neither can take the last bits of the other.
    """
    model, data = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    paired = ~np.isnan(model) & ~np.isnan(data)
    count = paired.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A cell without pairs divides 0 by 0, a constant series too: both are NaN on purpose.
        difference = np.where(paired, model - data, 0.0)
        model_anomaly = np.where(paired, model - (np.where(paired, model, 0.0).sum(axis=1) / count)[:, None], 0.0)
        data_anomaly = np.where(paired, data - (np.where(paired, data, 0.0).sum(axis=1) / count)[:, None], 0.0)
        covariance = (model_anomaly * data_anomaly).sum(axis=1)
        spread = np.sqrt((model_anomaly**2).sum(axis=1) * (data_anomaly**2).sum(axis=1))
        return Scores(
            rmsd=np.sqrt((difference**2).sum(axis=1) / count),
            correlation=covariance / spread,
            bias=difference.sum(axis=1) / count,
            pairs=count,
        )
