#!/usr/bin/env bash
# distributed 2026.7.1: a worker that Dask starts takes a page fault for each 4 kB of every larger array, the same code in a process of
# its own none. Its nanny sets MALLOC_TRIM_THRESHOLD_ in the worker's environment, so that freed memory goes back to the system; but
# with any value of it, glibc no longer adapts its limit of mapped blocks (M_MMAP_THRESHOLD, mallopt(3)), which then stays at
# 128 kB: each larger array is mapped, zeroed by the system page by page, and unmapped again. Seen: arrays of 4 MB made 300
# times, none in a plain process, about 290,000 in a worker; a TensorFlow training in a worker took a sixth more
# processor time, all of it in the system. Way on: `distributed.nanny.pre-spawn-environ` without that variable where tasks
# take the same memory again and again, or with MALLOC_MMAP_THRESHOLD_ beside it. Linux with glibc only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet distributed==2026.7.1 dask==2026.7.1 numpy==2.4.6
cd "$folder"
unset MALLOC_TRIM_THRESHOLD_ MALLOC_MMAP_THRESHOLD_
cat >faults.py <<'PYTHON'
import resource
import subprocess
import sys
from importlib.metadata import version

import dask
import numpy as np
from distributed import Client, LocalCluster


def faults():
    """Page faults of 300 arrays of 4 MB, one after the other, once 20 have been made."""
    a = np.ones(500_000)
    for _ in range(20):
        a * 2.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(300):
        a * 2.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def in_a_worker(settings):
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return client.submit(faults).result()


WAYS = {
    "alone": faults,
    "in a worker": lambda: in_a_worker({}),
    "in a worker without the variable": lambda: in_a_worker(
        {"distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": "1"}}
    ),
}


def in_a_new_process(way):
    """Each in a process of its own: the nanny leaves what it sets in the environment of the process that starts it."""
    run = subprocess.run([sys.executable, __file__, way], capture_output=True, text=True, check=True)
    return int(run.stdout)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(WAYS[sys.argv[1]]())
        raise SystemExit
    print(", ".join(f"{name} {version(name)}" for name in ("distributed", "numpy")))
    found = {way: in_a_new_process(way) for way in WAYS}
    print("page faults:", ", ".join(f"{number} {way}" for way, number in found.items()))
    alone, default, without = found.values()
    raise SystemExit(int(not (default > 100_000 and alone < 10_000 and without < 10_000)))
PYTHON
env/bin/python faults.py
