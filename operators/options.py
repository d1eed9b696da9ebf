"""How the networks are built and trained; everything that changes the numbers is here."""

from dataclasses import dataclass
from typing import Literal

from ldas.operators.errors import OperatorOptionError


@dataclass(frozen=True)
class NeuralOptions:
    """Shape and training of the networks; the defaults are those of Corchia et al. (2023), Table 2, where it says.

    hidden: neurons of each hidden layer, ReLU (paper: one layer of 40). learning_rate, epochs: of Adam (paper: 0.001,
    250). batch_size: samples per step and cell (Keras' default; the paper is silent). seed: of weights and shuffles.
    validation_fraction: share of each cell's samples kept out of the training, see `samples.validation_samples`.
    early_stopping_patience: epochs without a better validation error after which a cell stops and takes its best
    weights back; None, as in the paper: all epochs. minimum_samples: a cell with fewer training samples is left out.
    block_size: cells trained together; part of the options so that it never depends on how work is spread.
    precision: of the training; prediction is always in float64.
    """

    hidden: tuple[int, ...] = (40,)
    learning_rate: float = 0.001
    epochs: int = 250
    batch_size: int = 32
    seed: int = 0
    validation_fraction: float = 0.1
    early_stopping_patience: int | None = None
    minimum_samples: int = 100
    block_size: int = 32
    precision: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        _check(
            len(self.hidden) > 0 and all(neurons > 0 for neurons in self.hidden),
            f"hidden must be one or more positive numbers of neurons, got {self.hidden}",
        )
        _check(self.learning_rate > 0.0, f"learning_rate must be positive, got {self.learning_rate}")
        for name in ("epochs", "batch_size", "block_size"):
            _check(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        _check(self.seed >= 0, f"seed must not be negative, got {self.seed}")
        _check(
            0.0 <= self.validation_fraction < 1.0,
            f"validation_fraction must be at least 0 and below 1, got {self.validation_fraction}",
        )
        _check(self.minimum_samples >= 2, f"minimum_samples must be at least 2, got {self.minimum_samples}")
        _check(self.precision in ("float32", "float64"), f"precision must be float32 or float64, got {self.precision}")
        if self.early_stopping_patience is not None:
            _check(
                self.early_stopping_patience > 0,
                f"early_stopping_patience must be positive or None, got {self.early_stopping_patience}",
            )
            _check(
                self.validation_fraction > 0.0,
                "early stopping watches the validation error: set validation_fraction above 0",
            )


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise OperatorOptionError(f"training options: {message}")
