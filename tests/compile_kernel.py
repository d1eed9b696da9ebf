"""Compiles the land model once, before tests run side by side: otherwise each of them would, within its time limit."""

import time

import numpy as np

from ldas import landmodel


def main() -> None:
    """One step of one column."""
    began = time.perf_counter()
    parameters = landmodel.columns_from_fractions(np.eye(12)[[6]], [0.3], [0.3], [43.0], [1.0])
    values = (285.0, 0.006, 3.0, 98000.0, 100.0, 300.0, 0.0, 0.0, 6.2e-4)
    forcing = landmodel.Forcing(*(np.full((2, 1), value) for value in values))
    landmodel.Isba(parameters).run(landmodel.cold_start(parameters), forcing, "2007-01-01T00")
    print(f"land model compiled, or taken from the cache, in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
