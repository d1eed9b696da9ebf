#!/bin/sh
# Adaptive scaling of dask-jobqueue 0.9.0 (distributed 2026.8.0) with minimum = maximum = 2 workers replaces a lost job of one
# worker, and never replaces a lost job of two workers: Dask forgets a lost worker by its name, which is that of its job only
# when the job has one worker. Shown with the package's own LocalCluster, whose jobs are processes of this machine.
# Exits 1 when the behaviour has changed. Needs python3 and the package registry; takes about two minutes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env && env/bin/pip install -q dask-jobqueue==0.9.0 distributed==2026.8.0 dask==2026.8.0
cat >program.py <<'P'
import os, signal, time
from contextlib import contextmanager, suppress
import dask
from dask_jobqueue.local import LocalCluster
from distributed import Client

dask.config.set({"distributed.deploy.lost-worker-timeout": "2s"})

@contextmanager
def closing(cluster):
    yield
    with suppress(AssertionError):  # its close() expects states that its own jobs do not reach
        cluster.close()

def workers_after_a_lost_job(processes):
    """Workers that are there half a minute after a job was killed, and the number of workers that were lost."""
    options = {"dashboard_address": ":0"}
    cluster = LocalCluster(
        cores=processes, processes=processes, memory="1GiB", interface="lo", scheduler_options=options
    )
    with closing(cluster), Client(cluster) as client:
        cluster.adapt(minimum=2, maximum=2, interval="1s")
        client.wait_for_workers(2, timeout=60)
        job = next(iter(cluster.workers.values()))
        before = set(client.scheduler_info(n_workers=-1)["workers"])
        nanny = int(job.job_id)
        children = open(f"/proc/{nanny}/task/{nanny}/children").read().split()
        for pid in (nanny, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        time.sleep(30)
        after = set(client.scheduler_info(n_workers=-1)["workers"])
        return len(after), len(before - after)

if __name__ == "__main__":
    found = {processes: workers_after_a_lost_job(processes) for processes in (1, 2)}
    for processes, (left, lost) in found.items():
        print(f"{processes} workers a job: {lost} lost, {left} of 2 half a minute later", flush=True)
    os._exit(0 if found == {1: (2, 1), 2: (0, 2)} else 1)
P
env/bin/python program.py 2>log || { tail -5 log; exit 1; }
