#!/usr/bin/env bash
# distributed 2026.7.1: `Client.scheduler_info(n_workers=-1)` now and then answers that there are no workers while all of them
# are at work. The client itself asks the scheduler every two seconds (`distributed.client.scheduler-info-interval`) for no worker
# at all, and puts that answer in the same attribute that `scheduler_info` fills and then returns: whichever comes last is given.
# Here the client asks more often, so that a few hundred calls show it; at two seconds a program that waits for its workers
# meets it about once in some thousand calls, and takes a healthy cluster for an empty one. What works:
# `client.sync(client.scheduler.identity, n_workers=-1)`, whose answer belongs to the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet distributed==2026.7.1 dask==2026.7.1
cd "$folder"
cat >race.py <<'PYTHON'
import sys
from importlib.metadata import version

import dask

dask.config.set({"distributed.client.scheduler-info-interval": "2ms"})
from distributed import Client, LocalCluster  # noqa: E402  (the configuration is read when a client is made)

CALLS = 500
with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
    with Client(cluster) as client:
        client.wait_for_workers(2)
        info = [len(client.scheduler_info(n_workers=-1)["workers"]) for _ in range(CALLS)]
        asked = [len(client.sync(client.scheduler.identity, n_workers=-1)["workers"]) for _ in range(CALLS)]
print("dask", version("dask"), "distributed", version("distributed"))
print(f"scheduler_info: {info.count(0)} of {CALLS} answers without workers, {info.count(2)} with both")
print(f"asked directly: {asked.count(0)} without workers, {asked.count(2)} with both")
sys.exit(0 if info.count(0) > 0 and asked.count(2) == CALLS else 1)
PYTHON
"$folder/env/bin/python" race.py
