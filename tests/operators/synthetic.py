"""A small region whose backscatter is known, for tests only."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def region(cells: int = 6, samples: int = 240, seed: int = 1, missing: float = 0.2) -> tuple[Array, Array]:
    """Predictors (cell, sample, [WG2, TG2, LAI]) and sigma40 (cell, sample) with its own gaps in every cell."""
    generator = np.random.default_rng(seed)
    season = np.sin(np.linspace(0.0, 4.0 * np.pi, samples))
    moisture = np.clip(0.25 - 0.08 * season + generator.normal(0.0, 0.04, (cells, samples)), 0.05, 0.5)
    temperature = 287.0 + 8.0 * season + generator.normal(0.0, 2.0, (cells, samples))
    leaf_area = np.clip(2.0 + 1.2 * season + generator.normal(0.0, 0.3, (cells, samples)), 0.3, 6.0)
    x = np.stack([moisture, temperature, leaf_area], axis=-1)
    wet = generator.uniform(15.0, 30.0, (cells, 1))
    y = -16.0 + wet * moisture * np.exp(-0.3 * leaf_area) + 0.6 * leaf_area + 0.02 * (temperature - 287.0)
    y = y + generator.normal(0.0, 0.2, y.shape)
    y[generator.random(y.shape) < missing] = np.nan
    return x, y
