"""What holds for all tests: one thread per library, no window system, no time limit inside hypothesis."""

import gc
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("LDAS_DASHBOARD", "none")  # its import takes a second of each process that starts a cluster

import pyproj  # noqa: E402, F401  (before ecCodes, see ldas.pipeline.files.eccodes)
from hypothesis import settings  # noqa: E402  (the environment must be set before numpy is imported)

# Numba compiles at the first example of a property: a time limit per example would be about the compiler.
settings.register_profile("ldas", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ldas")


def pytest_collection_finish() -> None:
    """What the libraries have made is there to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
