#!/usr/bin/env bash
# dask 2026.7.1, distributed 2026.7.1: a worker's resource cannot be declared in capital letters by an environment variable, as images
# of workers set their configuration. DASK_DISTRIBUTED__WORKER__RESOURCES__GPU=1 makes the resource `gpu`: the names of
# configuration keys are put in lower case, and a resource's name is such a key. A task that asks for `GPU`, the name that Dask's
# own documentation uses, then waits forever without a message. What works: `dask worker --resources GPU=1`, or
# `distributed: {worker: {resources: {GPU: 1}}}` in a file of Dask's configuration, which keeps the capitals.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet distributed==2026.7.1 dask==2026.7.1
cd "$folder"
cat >resources.py <<'PYTHON'
import os
import sys
from importlib.metadata import version

os.environ["DASK_DISTRIBUTED__WORKER__RESOURCES__GPU"] = "1"
from distributed import Client, LocalCluster  # noqa: E402  (the configuration is read here)

with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
    (worker,) = client.scheduler_info()["workers"].values()
    task = client.submit(sum, [1, 2], resources={"GPU": 1})
    try:
        state = f"done: {task.result(timeout=5)}"
    except TimeoutError:
        state = f"{task.status} after 5 s"
print("dask", version("dask"), "distributed", version("distributed"))
print("declared:", dict(worker["resources"]), "; a task that asks for GPU:", state)
sys.exit(0 if worker["resources"] == {"gpu": 1} and "pending" in state else 1)
PYTHON
"$folder/env/bin/python" resources.py
