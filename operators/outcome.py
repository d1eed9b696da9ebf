"""What became of each cell when its operator was trained or calibrated."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Outcome(IntEnum):
    """Per-cell outcome code; stored as an integer with CF `flag_values` and `flag_meanings`.

    Only `TRAINED` cells are used. Every other code is the reason why a cell is left out of the assimilation.
    """

    TRAINED = 0
    NO_DATA = 1
    TOO_FEW_SAMPLES = 2
    CONSTANT_TARGET = 3
    CONSTANT_PREDICTOR = 4
    NON_FINITE_PREDICTOR = 5
    PREDICTOR_OUT_OF_RANGE = 6
    TARGET_OUT_OF_RANGE = 7
    DIVERGED = 8
    OUTSIDE_TRAINING_RANGE = 9

    @property
    def words(self) -> str:
        """The code in words, as it appears in messages."""
        return self.name.lower().replace("_", " ")


FLAG_VALUES: tuple[int, ...] = tuple(int(outcome) for outcome in Outcome)
FLAG_MEANINGS: str = " ".join(outcome.name.lower() for outcome in Outcome)


def outcome_counts(outcome: NDArray[np.integer]) -> dict[str, int]:
    """How many cells had which outcome; only outcomes that occurred.

    Args:
        outcome: (cell,).
    """
    codes, counts = np.unique(outcome, return_counts=True)
    return {Outcome(int(code)).words: int(count) for code, count in zip(codes, counts, strict=True)}
