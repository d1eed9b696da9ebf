"""The trained networks of all cells, with their scalers and learning curves, as one set of stacked arrays."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldas.landmodel.array_types import Array, IntArray
from ldas.operators.arrays import check_finite, checked_outcome, required_array
from ldas.operators.errors import OperatorFormatError
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import OperatorArrays

_DIMENSIONS: dict[str, tuple[str, ...]] = {
    "cell_ids": ("cell",),
    "outcome": ("cell",),
    "input_mean": ("cell", "predictor"),
    "input_std": ("cell", "predictor"),
    "target_mean": ("cell",),
    "target_std": ("cell",),
    "training_count": ("cell",),
    "validation_count": ("cell",),
    "training_rmsd": ("cell", "epoch"),
    "validation_rmsd": ("cell", "epoch"),
}


_OF_OUTPUTS = ("target_mean", "target_std", "training_count", "validation_count", "training_rmsd", "validation_rmsd")


@dataclass(frozen=True)
class Networks:
    """Every array's first axis is the cell. Of networks with several outputs, the arrays of the target, its samples and
    its errors have a last axis of them.

    cell_ids, outcome (cell,); kernels (cell, in, out) and biases (cell, out) a layer, for scaled values;
    input_mean, input_std (cell, predictor), target_mean, target_std (cell,) the scalers, of the training samples;
    training_count, validation_count (cell,) samples; training_rmsd, validation_rmsd (cell, epoch) the learning curves
    in the output's unit, NaN after a cell stopped. Cells whose outcome is not TRAINED have NaN weights.
    """

    cell_ids: IntArray
    outcome: NDArray[np.int8]
    kernels: tuple[NDArray[np.floating], ...]
    biases: tuple[NDArray[np.floating], ...]
    input_mean: Array
    input_std: Array
    target_mean: Array
    target_std: Array
    training_count: IntArray
    validation_count: IntArray
    training_rmsd: NDArray[np.float32]
    validation_rmsd: NDArray[np.float32]

    def select(self, cells: ArrayLike) -> Self:
        """The networks of some cells: positions or a mask along the cell axis."""
        chosen = np.asarray(cells)
        return self._from_parts(
            lambda value: tuple(part[chosen] for part in value) if isinstance(value, tuple) else value[chosen], [self]
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Networks"]) -> Self:
        """The networks of several sets of cells, in their order."""
        return cls._from_parts(
            lambda *values: (
                tuple(np.concatenate(layer) for layer in zip(*values, strict=True))
                if isinstance(values[0], tuple)
                else np.concatenate(values)
            ),
            parts,
        )

    @classmethod
    def untrained(
        cls, cell_ids: IntArray, widths: Sequence[int], epochs: int, precision: str, outputs: tuple[int, ...] = ()
    ) -> Self:
        """Arrays of the types and shapes that training leaves, with nothing in them.

        Args:
            widths: of all layers, inputs first.
            outputs: the number of outputs, where there are several.
        """
        layers, cells = list(itertools.pairwise(widths)), cell_ids.size
        of_target = (cells, *outputs)
        return cls(
            cell_ids=cell_ids,
            outcome=np.full(cells, Outcome.NO_DATA, np.int8),
            kernels=tuple(np.full((cells, *layer), np.nan, precision) for layer in layers),
            biases=tuple(np.full((cells, width_out), np.nan, precision) for _, width_out in layers),
            input_mean=np.zeros((cells, widths[0])),
            input_std=np.ones((cells, widths[0])),
            target_mean=np.zeros(of_target),
            target_std=np.ones(of_target),
            training_count=np.zeros(of_target, np.int64),
            validation_count=np.zeros(of_target, np.int64),
            training_rmsd=np.full((cells, epochs, *outputs), np.nan, np.float32),
            validation_rmsd=np.full((cells, epochs, *outputs), np.nan, np.float32),
        )

    @classmethod
    def _from_parts(cls, combine: Any, parts: Sequence["Networks"]) -> Self:
        return cls(**{field.name: combine(*(getattr(part, field.name) for part in parts)) for field in fields(cls)})

    def output(self, place: int) -> Self:
        """The networks of one of several outputs alone."""
        last = slice(place, place + 1)
        return replace(
            self,
            kernels=(*self.kernels[:-1], self.kernels[-1][..., last]),
            biases=(*self.biases[:-1], self.biases[-1][..., last]),
            **{name: getattr(self, name)[..., place] for name in _OF_OUTPUTS},
        )

    def take(self, position: int, other: "Networks") -> None:
        """Puts the network of another set, at the same position, in the place of one."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            for to, of in zip(mine, theirs, strict=True) if isinstance(mine, tuple) else [(mine, theirs)]:
                to[position] = of[position]

    def to_arrays(self) -> tuple[dict[str, NDArray[np.generic]], dict[str, tuple[str, ...]]]:
        """All arrays by name (kernel_0, bias_0, kernel_1, ...) and the names of their axes."""
        arrays: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in _DIMENSIONS}
        dimensions = dict(_DIMENSIONS)
        if self.target_mean.ndim == 2:
            dimensions |= {name: (*_DIMENSIONS[name], "output") for name in _OF_OUTPUTS}
        widths = ["predictor", *(f"neuron_{layer}" for layer in range(len(self.kernels) - 1)), "output"]
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            arrays[f"kernel_{layer}"], arrays[f"bias_{layer}"] = kernel, bias
            dimensions[f"kernel_{layer}"] = ("cell", widths[layer], widths[layer + 1])
            dimensions[f"bias_{layer}"] = ("cell", widths[layer + 1])
        return arrays, dimensions

    @classmethod
    def from_arrays(
        cls, stored: OperatorArrays, predictors: int, hidden: Sequence[int], outputs: tuple[int, ...] = ()
    ) -> Self:
        """The networks in a stored operator; OperatorFormatError where an array is missing, misshapen or not finite.

        Args:
            outputs: the number of outputs, where there are several.
        """
        cells = required_array(stored, "cell_ids").size
        outcome = checked_outcome(stored, cells)
        parts: dict[str, Any] = {
            name: required_array(stored, name, cells)
            for name, dimensions in _DIMENSIONS.items()
            if dimensions[1:] in ((), ("epoch",))
        }
        for name in ("input_mean", "input_std"):
            parts[name] = required_array(stored, name, shape=(cells, predictors))
        for name in _OF_OUTPUTS:
            if parts[name].shape[1 + _DIMENSIONS[name].count("epoch") :] != outputs:
                raise OperatorFormatError(
                    f"stored {stored.kind} operator: array {name!r} has shape {parts[name].shape}, expected "
                    f"{outputs[0] if outputs else 'one'} outputs"
                )
        widths = (predictors, *hidden, *(outputs or (1,)))
        kernels, biases = [], []
        for layer, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            kernels.append(required_array(stored, f"kernel_{layer}", shape=(cells, width_in, width_out)))
            biases.append(required_array(stored, f"bias_{layer}", shape=(cells, width_out)))
        layers = [f"{kind}_{layer}" for kind in ("kernel", "bias") for layer in range(len(widths) - 1)]
        trained = outcome == Outcome.TRAINED
        check_finite(stored, [*layers, "input_mean", "input_std", "target_mean", "target_std"], trained)
        for name in ("input_std", "target_std"):
            if not (np.asarray(parts[name])[trained] > 0).all():
                raise OperatorFormatError(f"stored {stored.kind} operator: {name} must be positive in trained cells")
        return cls(**(parts | {"outcome": outcome, "kernels": tuple(kernels), "biases": tuple(biases)}))
