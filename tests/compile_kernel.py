"""Compiles the land model and the networks once, before tests run side by side: otherwise each of them would."""

import time

import numpy as np

from ldas import landmodel
from ldas.operators import network_kernels
from ldas.operators.shuffle import fill_batches


def main() -> None:
    """One step of one column; a network of one neuron."""
    began = time.perf_counter()
    parameters = landmodel.columns_from_fractions(np.eye(12)[[6]], [0.3], [0.3], [43.0], [1.0])
    values = (285.0, 0.006, 3.0, 98000.0, 100.0, 300.0, 0.0, 0.0, 6.2e-4)
    forcing = landmodel.Forcing(*(np.full((2, 1), value) for value in values))
    landmodel.Isba(parameters).run(landmodel.cold_start(parameters), forcing, "2007-01-01T00")
    one = np.ones((1, 1))
    network = np.ones((1, 4)), np.array([1, 1, 1]), one, one
    network_kernels.evaluate(*network, one[0], one[0], np.ones((1, 1, 1)), one.copy())
    network_kernels.differentiate(*network, one[0], np.ones((1, 1, 1)), np.ones((1, 1, 1)))
    fill_batches(1, 0, np.array([0]), np.array([1]), np.zeros((1, 1, 1), np.int32))
    print(f"land model and networks compiled, or taken from the cache, in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
