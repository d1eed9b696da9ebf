"""Which network shape is enough: the search of Corchia et al. (2023), Figure 2."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from numpy.typing import ArrayLike

from ldas.landmodel.array_types import Array
from ldas.operators.neural import NeuralOperator
from ldas.operators.options import NeuralOptions
from ldas.operators.scores import predict_where_observed, score

# The paper gives twelve shapes of one and two layers in a figure without numbers, except for the chosen 40; these
# counts are our reading of it.
NEURON_COUNTS: tuple[int, ...] = (5, 10, 20, 40, 80, 150)
ARCHITECTURES: tuple[tuple[int, ...], ...] = tuple((count,) for count in NEURON_COUNTS) + tuple(
    (count, count) for count in NEURON_COUNTS
)


class ArchitectureResult(NamedTuple):
    """One shape: neurons of its hidden layers, RMSD (cell,) after training on both windows, seconds it took.

    test_rmsd is None where no test samples were given; NaN marks cells that could not be trained.
    """

    hidden: tuple[int, ...]
    training_rmsd: Array
    test_rmsd: Array | None
    seconds: float


def search_architectures(
    predictors: ArrayLike,
    target: ArrayLike,
    *,
    operator: NeuralOperator | None = None,
    architectures: Sequence[tuple[int, ...]] = ARCHITECTURES,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    cell_ids: ArrayLike | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[ArchitectureResult]:
    """Trains every cell with every architecture, one after the other, and reports the errors of each.

    predictors (cell, sample, predictor), target (cell, sample) of the training window.

    Args:
        test: the same of another window.
        operator: names, units and options to train with (default: NeuralOperator()); only `hidden` is changed.
        progress: called with (architectures done, architectures).
    """
    template = operator or NeuralOperator()
    results = []
    for number, hidden in enumerate(architectures):
        started = time.perf_counter()
        options: NeuralOptions = replace(template.options, hidden=tuple(hidden))
        trained = template.untrained(options).fit(predictors, target, cell_ids=cell_ids, workers=workers)
        seconds = time.perf_counter() - started
        test_rmsd = None
        if test is not None:
            test_rmsd = score(predict_where_observed(trained, *test), test[1]).rmsd
        training_rmsd = score(predict_where_observed(trained, predictors, target), target).rmsd
        results.append(ArchitectureResult(tuple(hidden), training_rmsd, test_rmsd, seconds))
        if progress is not None:
            progress(number + 1, len(architectures))
    return results
