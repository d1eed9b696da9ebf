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


@dataclass(frozen=True)
class PooledOptions(NeuralOptions):
    """Of one network for many cells, with a correction of each; what is inherited is of the cells' own networks.

    policy: pooled: the pooled network with the cell's correction; per_cell: the cell's own network; auto: the cell's
    own where its error in the validation samples is smaller by more than its standard error (Breiman et al. 1984). In
    all three a cell that cannot have a network of its own has the pooled one. static: fields of the land that are
    inputs of the pooled network besides the predictors; mean and standard deviation of each predictor in the cell
    always are. correction: head: of all weights of the output layer; linear: of level and scale; none. pool_samples:
    samples it is trained with, of all cells alike. pool_epochs, pool_batch_size, pool_learning_rate: of its training.
    """

    hidden: tuple[int, ...] = (40, 20)
    policy: Literal["pooled", "per_cell", "auto"] = "pooled"
    static: tuple[str, ...] = ("clay", "sand", "patch_fraction")
    correction: Literal["head", "linear", "none"] = "head"
    pool_samples: int = 200_000
    pool_epochs: int = 60
    pool_batch_size: int = 256
    pool_learning_rate: float = 0.002

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pool_samples", "pool_epochs", "pool_batch_size"):
            _check(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        _check(self.pool_learning_rate > 0.0, f"pool_learning_rate must be positive, got {self.pool_learning_rate}")
        for name, known in (("policy", ("pooled", "per_cell", "auto")), ("correction", ("head", "linear", "none"))):
            _check(getattr(self, name) in known, f"{name} must be {' or '.join(known)}, got {getattr(self, name)}")
        if self.policy == "pooled":
            own = ("learning_rate", "epochs", "batch_size", "early_stopping_patience")
            idle = [name for name in own if getattr(self, name) != getattr(NeuralOptions, name)]
            said = ", ".join(idle)
            _check(not idle, f"{said}: no effect with policy: pooled, whose cells have no networks of their own")
        if self.policy == "auto":
            _check(
                self.validation_fraction > 0.0,
                "policy: auto compares networks in the validation samples: set validation_fraction above 0",
            )


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise OperatorOptionError(f"training options: {message}")
