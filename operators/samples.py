"""Training samples of a cell: what is valid, what is kept for validation, how it is scaled, or why it is unusable."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array, BoolArray, IntArray
from ldas.operators.checks import physical_range
from ldas.operators.errors import DuplicateTimesError, EmptyTrainingWindowError, PredictorShapeError
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import Names

_VALIDATION_PIECES = 10


class CellSamples(NamedTuple):
    """The valid samples of one cell, in the order given, in physical units, or the reason why there are none to use.

    predictors (sample, predictor) and target (sample,) are those to train with; the validation ones come after them.
    """

    outcome: Outcome
    reason: str
    predictors: Array
    target: Array
    validation_predictors: Array
    validation_target: Array


def checked_samples(
    predictors: ArrayLike, target: ArrayLike, names: Names, times: ArrayLike | None, outputs: tuple[int, ...] = ()
) -> tuple[Array, Array]:
    """Predictors (cell, sample, predictor) and target (cell, sample), of fitting shapes; not copied if they are arrays.

    With `outputs`, their number, the target is (cell, sample, output). Bad values in single cells are no error here:
    they become that cell's outcome.

    Raises:
        PredictorShapeError: shapes that do not fit the names or each other.
        DuplicateTimesError: times (sample,) that repeat.
    """
    x, y = np.asarray(predictors), np.asarray(target)
    if x.ndim != 3 or x.shape[2] != len(names.predictor_names) or y.shape != (*x.shape[:2], *outputs):
        of_target = ", ".join(("cell", "sample", *map(str, outputs)))
        raise PredictorShapeError(
            f"predictors must have shape (cell, sample, {len(names.predictor_names)}) for "
            f"{', '.join(names.predictor_names)} and the target {names.output_name} ({of_target}), got {x.shape} and "
            f"{y.shape}"
        )
    if times is not None:
        check_times(times, x.shape[1])
    return x, y


def require_target(target: Array, names: Names) -> None:
    """EmptyTrainingWindowError if not one target (cell, sample) is there in any cell."""
    if np.isnan(target).all():
        raise EmptyTrainingWindowError(
            f"no cell has a single valid {names.output_name} in the training window ({target.shape[0]} cells, "
            f"{target.shape[1]} samples, all missing): check the window's dates against the period of the observations"
        )


def check_times(times: ArrayLike, samples: int) -> None:
    """Raises unless `times` are `samples` distinct times."""
    given = np.asarray(times)
    if given.shape != (samples,):
        raise PredictorShapeError(f"times must have shape ({samples},), one per sample, got {given.shape}")
    unique, counts = np.unique(given, return_counts=True)
    if unique.size != samples:
        repeated = unique[counts > 1]
        raise DuplicateTimesError(
            f"{repeated.size} times come more than once in {samples} samples, first {repeated[0]}: average or drop them"
        )


def mask_incomplete(predictors: ArrayLike, target: ArrayLike) -> tuple[Array, IntArray]:
    """A copy of the target with NaN wherever a predictor is NaN, and how many targets that cost in each cell.

    For model series with gaps. `fit` itself takes a NaN predictor under a valid target for a mistake.
    """
    y = np.array(target, dtype=np.float64)
    lost = np.isnan(np.asarray(predictors, dtype=np.float64)).any(axis=-1) & ~np.isnan(y)
    y[lost] = np.nan
    return y, lost.sum(axis=-1)


def cell_samples(
    predictors: Array, target: Array, names: Names, validation_fraction: float, minimum_samples: int
) -> CellSamples:
    """Valid samples of one cell from predictors (sample, predictor) and target (sample,), NaN target = missing."""
    valid = ~np.isnan(target)
    x, y = predictors[valid].astype(np.float64), target[valid].astype(np.float64)
    kept_out = validation_samples(y.size, validation_fraction)
    outcome, reason = _outcome(x, y, ~kept_out, names, minimum_samples)
    if outcome is not Outcome.TRAINED:
        return CellSamples(outcome, reason, x[:0], y[:0], x[:0], y[:0])
    return CellSamples(outcome, "", x[~kept_out], y[~kept_out], x[kept_out], y[kept_out])


def validation_samples(count: int, fraction: float) -> BoolArray:
    """(count,) True for the samples kept out of the training: the last `fraction` of each tenth of the series.

    Neighbouring days are alike, so single samples drawn at random would show little; the last years in one piece would
    take the samples nearest to the time of use from the training. Ten pieces avoid both.
    """
    kept_out = np.zeros(count, np.bool_)
    for first, end in itertools.pairwise(np.linspace(0, count, _VALIDATION_PIECES + 1).astype(int)):
        kept_out[end - int((end - first) * fraction) : end] = True
    return kept_out


def _outcome(x: Array, y: Array, used: BoolArray, names: Names, minimum_samples: int) -> tuple[Outcome, str]:
    """The code and its reason in words with names and numbers; TRAINED where nothing speaks against training."""
    training = int(used.sum())
    output = f"{names.output_name} ({names.output_unit})"
    if y.size == 0:
        return Outcome.NO_DATA, f"no valid {output} in the training window"
    if training < minimum_samples:
        return Outcome.TOO_FEW_SAMPLES, f"{training} samples to train with, at least {minimum_samples} are needed"
    target_problem = _target_problem(y, names)
    if target_problem:
        return Outcome.TARGET_OUT_OF_RANGE, target_problem
    for index, (name, unit) in enumerate(zip(names.predictor_names, names.predictor_units, strict=True)):
        problem = _predictor_problem(x[:, index], x[used, index], f"{name} ({unit})", unit)
        if problem is not None:
            return problem
    if np.ptp(y[used]) == 0.0:
        return Outcome.CONSTANT_TARGET, f"{output} is {y[0]:.6g} in all {training} training samples"
    return Outcome.TRAINED, ""


def _target_problem(y: Array, names: Names) -> str:
    """What is wrong with the target's values; empty if nothing."""
    allowed = physical_range(names.output_unit)
    outside = ~((y >= allowed.lowest) & (y <= allowed.highest)) | ~np.isfinite(y)
    found = f"{names.output_name} is {y.min():.6g} to {y.max():.6g}"
    if outside.any():
        return (
            f"{found}; {outside.sum()} of {y.size} values are outside {allowed.lowest:g} to {allowed.highest:g} "
            f"{names.output_unit}: {allowed.usual_cause}"
        )
    # Land scatters back much less than it receives: in dB hardly a value is positive, in linear units all are.
    if names.output_unit == "dB" and y.min() >= 0.0:
        return f"{found}, never negative: {allowed.usual_cause}"
    return ""


def _predictor_problem(values: Array, training_values: Array, label: str, unit: str) -> tuple[Outcome, str] | None:
    """Outcome and reason if a predictor cannot be used; None if it can."""
    bad = int((~np.isfinite(values)).sum())
    if bad:
        reason = f"{label} is NaN or infinite in {bad} of {values.size} samples with a target"
        return Outcome.NON_FINITE_PREDICTOR, reason
    allowed = physical_range(unit)
    outside = int(((values < allowed.lowest) | (values > allowed.highest)).sum())
    if outside:
        return Outcome.PREDICTOR_OUT_OF_RANGE, (
            f"{label} is {values.min():.6g} to {values.max():.6g}; {outside} of {values.size} values are outside "
            f"{allowed.lowest:g} to {allowed.highest:g}: {allowed.usual_cause}"
        )
    if np.ptp(training_values) == 0.0:
        return Outcome.CONSTANT_PREDICTOR, f"{label} is {values[0]:.6g} in all {training_values.size} training samples"
    return None


class BlockSamples(NamedTuple):
    """Samples of a block of cells, z-scored and padded with zeros to common lengths, ready to be trained with.

    inputs (cell, sample, predictor), targets (cell, sample), counts (cell,) of real samples; the same for validation;
    input_mean, input_std (cell, predictor), target_mean, target_std (cell,) of the training samples.
    Of several targets, targets are (cell, sample, output) with 0 where one is missing, target_mean and target_std
    (cell, output), and `present` says where each is there, 1 or 0: those to train with and those of the validation.
    A cell that cannot be trained has counts of 0, a mean of 0 and a standard deviation of 1.
    """

    inputs: Array
    targets: Array
    counts: IntArray
    validation_inputs: Array
    validation_targets: Array
    validation_counts: IntArray
    input_mean: Array
    input_std: Array
    target_mean: Array
    target_std: Array
    present: tuple[Array, ...] = ()


def sample_counts(of_samples: IntArray, present: Sequence[Array]) -> IntArray:
    """Samples of each cell (cell,), or of each of several targets (cell, output), of which `present` has the places."""
    return np.asarray(present[0].sum(axis=1).astype(np.int64)) if present else of_samples


def scaled_block(
    cells: Sequence[CellSamples],
    block_size: int,
    samples: int,
    validation_samples: int,
    predictors: int,
    outputs: tuple[int, ...] = (),
) -> BlockSamples:
    """The block of up to `block_size` cells, each scaled by its own training samples; empty cells fill it up.

    With `outputs`, the number of targets, those of the cells are (sample, output), NaN where missing.
    """
    mean, deviation = (np.nanmean, np.nanstd) if outputs else (np.mean, np.std)
    block = BlockSamples(
        inputs=np.zeros((block_size, samples, predictors)),
        targets=np.zeros((block_size, samples, *outputs)),
        counts=np.zeros(block_size, np.int64),
        validation_inputs=np.zeros((block_size, validation_samples, predictors)),
        validation_targets=np.zeros((block_size, validation_samples, *outputs)),
        validation_counts=np.zeros(block_size, np.int64),
        input_mean=np.zeros((block_size, predictors)),
        input_std=np.ones((block_size, predictors)),
        target_mean=np.zeros((block_size, *outputs)),
        target_std=np.ones((block_size, *outputs)),
        present=tuple(np.zeros((block_size, of, *outputs)) for of in (samples, validation_samples) if outputs),
    )
    for position, cell in enumerate(cells):
        if cell.outcome is not Outcome.TRAINED:
            continue
        count, validation_count = len(cell.target), len(cell.validation_target)
        input_mean, input_std = cell.predictors.mean(axis=0), cell.predictors.std(axis=0)
        target_mean, target_std = mean(cell.target, axis=0), deviation(cell.target, axis=0)
        block.inputs[position, :count] = (cell.predictors - input_mean) / input_std
        block.targets[position, :count] = np.nan_to_num((cell.target - target_mean) / target_std)
        block.counts[position] = count
        block.validation_inputs[position, :validation_count] = (cell.validation_predictors - input_mean) / input_std
        scaled = (cell.validation_target - target_mean) / target_std
        block.validation_targets[position, :validation_count] = np.nan_to_num(scaled)
        block.validation_counts[position] = validation_count
        block.input_mean[position], block.input_std[position] = input_mean, input_std
        block.target_mean[position], block.target_std[position] = target_mean, target_std
        for present, target in zip(block.present, (cell.target, cell.validation_target), strict=False):
            present[position, : len(target)] = np.isfinite((target - target_mean) / target_std)
    return block
