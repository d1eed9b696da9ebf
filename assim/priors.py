"""Prior distributions between two bounds, and the standard normal variable that stands for each.

An ensemble method wants Gaussian unknowns without limits. With the cumulative distribution F of a prior on [low, high]
and that of the standard normal, Phi, the variable z = Phi^-1(F(x)) is standard normal, and x = F^-1(Phi(z)) stays in
the bounds, whatever an analysis adds to z.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from ldas.assim.errors import FilterConfigurationError
from ldas.landmodel.array_types import Array

Kind = Literal["uniform", "log_uniform", "normal"]


@dataclass(frozen=True)
class Prior:
    """A distribution on [low, high]: uniform, uniform in the logarithm, or normal cut off at the bounds.

    mean, standard_deviation: of the normal distribution before it is cut off.

    Raises:
        FilterConfigurationError: bounds out of order, or numbers that the kind cannot have.
    """

    low: float
    high: float
    kind: Kind = "uniform"
    mean: float = np.nan
    standard_deviation: float = np.nan

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise FilterConfigurationError(f"expected low < high, got {self.low:g} and {self.high:g}")
        if self.kind == "log_uniform" and self.low <= 0.0:
            raise FilterConfigurationError(f"log_uniform needs low > 0, got {self.low:g}")
        if self.kind == "normal" and not (self.standard_deviation > 0.0 and self.low <= self.mean <= self.high):
            raise FilterConfigurationError(
                f"normal needs a mean inside {self.low:g} to {self.high:g} and a standard deviation > 0, got "
                f"{self.mean:g} and {self.standard_deviation:g}"
            )

    def values(self, z: Array) -> Array:
        """Values of the quantity for values of the standard normal variable."""
        share = ndtr(z)
        if self.kind == "uniform":
            return np.asarray(self.low + share * (self.high - self.low))
        if self.kind == "log_uniform":
            return np.clip(self.low * (self.high / self.low) ** share, self.low, self.high)
        below, above = self._ends()
        return np.clip(
            self.mean + self.standard_deviation * ndtri(below + share * (above - below)), self.low, self.high
        )

    def _ends(self) -> tuple[float, float]:
        """Shares of the normal distribution below the two bounds."""
        low, high = ((bound - self.mean) / self.standard_deviation for bound in (self.low, self.high))
        return float(ndtr(low)), float(ndtr(high))
