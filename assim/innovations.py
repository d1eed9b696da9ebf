"""Observations against the model: predictions by the operators, innovations, and a quality code for each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ldas.assim.controls import SNOW, ControlVector, ObservedState
from ldas.assim.masks import FrozenRule, frozen_soil, snow_cover
from ldas.assim.observations import ObservationType, WindowObservations
from ldas.assim.overpasses import Row
from ldas.assim.predictors import predictor
from ldas.assim.quality import CodeArray, Quality
from ldas.landmodel import State
from ldas.landmodel.array_types import Array, BoolArray
from ldas.operators.checks import physical_range
from ldas.operators.protocol import ObservationOperator


class Equivalent(NamedTuple):
    """What an operator makes of the model.

    predicted (cell, ...) and jacobian (cell, ..., predictor), NaN where it cannot; absent (cell,): the cell has no
    usable operator; failed (cell,): it has one, which could not be applied.
    """

    predicted: Array
    jacobian: Array
    absent: BoolArray
    failed: BoolArray


class Comparison(NamedTuple):
    """Observations y (without the bias that is estimated of them), their equivalents Y, y - Y, sigma_o and codes of
    `Quality`: all (cell, observation)."""

    observation: Array
    predicted: Array
    innovation: Array
    sigma: Array
    quality: CodeArray


class Masks(NamedTuple):
    """State of the cells when they are observed, each (cell,): finite and not set aside, frozen, under snow."""

    finite: BoolArray
    frozen: BoolArray
    snow: BoolArray


def masks_of_rows(
    controls: ControlVector,
    states: Sequence[State | ObservedState],
    finite: BoolArray,
    frozen_rule: FrozenRule,
    snow_threshold: float,
) -> list[Masks]:
    """The masks of each row, from the state that it is compared with; states that are the same are looked at once."""
    made: dict[int, Masks] = {}
    for state in states:
        if id(state) not in made:
            frozen, snow = frozen_soil(controls, state, frozen_rule), snow_cover(controls, state, snow_threshold)
            made[id(state)] = Masks(finite, frozen, snow)
    return [made[id(state)] for state in states]


def predictors(controls: ControlVector, state: State | ObservedState, row: Row) -> Array:
    """The predictors of a row's operator: grid means of the state, and the season, (cell[, member], predictor)."""
    names = row.kind.operator.predictor_names
    return np.stack([predictor(controls, state, name, row.time) for name in names], axis=-1)


def equivalent(operator: ObservationOperator, predictors: Array) -> Equivalent:
    """Applies an operator to grid means (cell, ..., predictor); a cell that it cannot take never stops the others."""
    cells = operator.usable.size
    inside = np.ones(predictors.shape, dtype=bool)
    for index, unit in enumerate(operator.predictor_units):
        lowest, highest, _ = physical_range(unit)
        inside[..., index] = (predictors[..., index] >= lowest) & (predictors[..., index] <= highest)
    applicable = operator.usable & inside.reshape(cells, -1).all(axis=1)

    predicted = np.full(predictors.shape[:-1], np.nan)
    jacobian = np.full(predictors.shape, np.nan)
    if applicable.any():
        part = operator if applicable.all() else operator.select(applicable)
        predicted[applicable] = part.predict(predictors[applicable])
        jacobian[applicable] = part.jacobian(predictors[applicable])
    finite = np.isfinite(predicted).reshape(cells, -1).all(axis=1)
    return Equivalent(predicted, jacobian, ~operator.usable, operator.usable & ~finite)


def predicted_at_end(controls: ControlVector, state: State, rows: Sequence[Row]) -> Array:
    """Observations predicted from a state at the window's end, (cell[, member], observation).

    NaN where an operator cannot, and in the rows of overpasses, which are compared with another state.
    """
    members = state.leaf_area_index.shape[1:]
    predicted = np.full((controls.cells, *members, len(rows)), np.nan)
    for column, row in enumerate(rows):
        if row.step is None:
            predicted[..., column] = equivalent(row.kind.operator, predictors(controls, state, row)).predicted
    return predicted


def compared(
    rows: Sequence[Row], equivalents: Sequence[Equivalent], masks: Sequence[Masks], dynamic_range: Array
) -> Comparison:
    """All rows against their equivalents, whose predictions are (cell,).

    Args:
        rows: the rows of the analysis.
        equivalents: of each row.
        masks: of each row.
        dynamic_range: (cell,), COFSWI, m3 m-3.
    """
    columns = []
    for (kind, given, *_), prediction, mask in zip(rows, equivalents, masks, strict=True):
        sigma = given.sigma(kind.error, dynamic_range)
        observed = given.corrected
        innovation = observed - prediction.predicted
        quality = screened(kind, given, sigma, prediction, innovation, mask)
        columns.append((observed, prediction.predicted, innovation, sigma, quality))
    if not columns:
        nothing = np.zeros((dynamic_range.size, 0))
        return Comparison(nothing, nothing, nothing, nothing, nothing.astype(np.int8))
    return Comparison(*(np.stack(parts, axis=-1) for parts in zip(*columns, strict=True)))


def screened_by_sensitivity(comparison: Comparison, finite: BoolArray) -> Comparison:
    """The comparison with code JACOBIAN_FAILED for used observations whose Jacobian (or covariance) is not finite.

    finite (cell, observation), bool. It is known only after the members that the screened observations called for.
    """
    failed = ~finite & (comparison.quality == Quality.USED)
    return comparison._replace(quality=np.where(failed, np.int8(Quality.JACOBIAN_FAILED), comparison.quality))


def screened(
    kind: ObservationType,
    given: WindowObservations,
    sigma: Array,
    prediction: Equivalent,
    innovation: Array,
    masks: Masks,
) -> CodeArray:
    """One code per cell: the first reason, in this order, that keeps an observation out, or USED; arrays (cell,)."""
    lowest, highest = kind.valid_range
    value, everywhere = given.value, np.ones(given.value.shape, dtype=bool)
    snow_alone = SNOW.keys() >= set(kind.operator.predictor_names)
    prepared = np.zeros(value.shape, dtype=np.int8) if given.quality is None else given.quality
    reasons = (
        (~masks.finite, Quality.STATE_NOT_FINITE),
        (np.isnan(value), Quality.MISSING),
        (prepared != Quality.USED, prepared),
        (np.isinf(value) | (value < lowest) | (value > highest), Quality.OUTSIDE_VALID_RANGE),
        (~(np.isfinite(sigma) & (sigma > 0.0)), Quality.ERROR_NOT_POSITIVE),
        (prediction.absent, Quality.OPERATOR_ABSENT),
        (prediction.failed, Quality.OPERATOR_FAILED),
        (masks.frozen & kind.reject_frozen, Quality.MASKED_FROZEN),
        (masks.snow & kind.reject_snow, Quality.MASKED_SNOW),
        (snow_alone & kind.assimilate & (value > 0.0) & (prediction.predicted == 0.0), Quality.NO_SNOW_IN_MODEL),
        (np.abs(innovation) > kind.innovation_limit, Quality.REJECTED_INNOVATION),
        (everywhere & (not kind.assimilate), Quality.NOT_ASSIMILATED),
    )
    return np.select(
        [condition for condition, _ in reasons],
        [np.broadcast_to(np.int8(code), value.shape) for _, code in reasons],
        default=np.int8(Quality.USED),
    )
