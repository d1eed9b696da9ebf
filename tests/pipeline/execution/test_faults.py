"""A worker, the scheduler or the whole run is killed with kill -9 at random moments: no day is lost, none is doubled.

One moment each; `make faults` takes twenty. The same with the real model and filter is in `test_bit_identical`.
"""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_store, read_region
from ldas.pipeline.store.ledger import day_axis
from tests.helpers.runs import run_stage, tasks_done
from tests.helpers.toy import START, Silence, toy
from tests.helpers.toy_cluster import SCHEDULER_LOST, ToyCluster

MOMENTS = int(os.environ.get("LDAS_FAULT_MOMENTS", "1"))
TASKS, TASK_S = 12, 0.15


def go_on(path: Path, client: Client) -> Silence:
    """Runs what is not done."""
    listener = Silence()
    prepare(toy(path))
    assert run_stage(toy(path), client, tasks_in_flight=4, retries=2, listener=listener).complete
    return listener


@pytest.mark.faults
@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("killed", ["worker", "scheduler", "run"])
def test_bit_identical_after_kill_9(
    toy_truth: dict[str, str], threads: Client, tmp_path: Path, killed: str, moment: int
) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    chosen = random.Random(seed)
    # Of two workers each has begun at most one more task by then: the moment lies inside the run.
    after, wait = chosen.randrange(TASKS - 2), chosen.uniform(0.0, 0.8 * TASK_S)
    path = tmp_path / "store"
    with ToyCluster(toy(path, seconds=TASK_S), tmp_path / "log") as cluster:
        while cluster.run.is_alive() and (not path.exists() or tasks_done(path, "toy") < after):
            time.sleep(0.01)
        time.sleep(wait)
        there = tasks_done(path, "toy")
        if killed == "worker":
            cluster.kill(chosen.choice(cluster.workers))
            cluster.run.join(timeout=60)
            assert cluster.run.exitcode == 0, (tmp_path / "log").read_text()
        elif killed == "scheduler":
            was_running = cluster.run.is_alive()
            cluster.kill(cluster.scheduler)
            cluster.run.join(timeout=60)
            # The last task may have come back between the look and the kill.
            assert cluster.run.exitcode in ((SCHEDULER_LOST, 0) if was_running else (0,))
            if cluster.run.exitcode:
                assert "the connection to the Dask scheduler is lost" in (tmp_path / "log").read_text()
        else:
            cluster.kill(cluster.run, cluster.scheduler, *cluster.workers)
        # Workers whose scheduler is gone may still be busy: what they write must not hurt the run that goes on.
        listener = go_on(path, threads)
    print(f"{killed} {moment}: seed {seed}, killed with {there} of {TASKS} tasks done, {wait:.3f} s after {after}")
    assert listener.done_before + len(listener.results) == TASKS
    root = open_store(str(path))
    assert (ledger.statuses(root, "toy") == ledger.DONE).all()
    np.testing.assert_array_equal(read_region(root, "runs/toy", "time"), day_axis(START, 20))
    assert array_hashes(str(path)) == toy_truth
