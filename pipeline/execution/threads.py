"""One task is one thread: libraries that start threads of their own would fight over the cores with the other tasks."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


# CPython's 5 ms is long beside what a task does between two calls of compiled code, and a thread that comes back from
# such a call waits for it.
_SWITCH_INTERVAL_S = 5.0e-4


@contextmanager
def short_switches() -> Iterator[None]:
    """Threads of this process take turns more often; as it was before at the end."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def limit_threads() -> None:
    """One thread for BLAS, OpenMP, Numba and TensorFlow, unless the environment says otherwise; before their import."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
