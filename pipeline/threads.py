"""One task is one thread: libraries that start threads of their own would fight over the cores with the other tasks."""

import os

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


def limit_threads() -> None:
    """One thread for BLAS, OpenMP, Numba and TensorFlow, unless the environment says otherwise; before their import."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
