"""The real land model, training and filter: the same bytes however the work is cut, spread, killed and resumed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from ldas.assim import Quality
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store, read_region, write_region
from tests.helpers.assimilation_run import CELLS, DAYS, EKF, whole
from tests.helpers.runs import run_stages, tasks_done
from tests.helpers.synthetic_store import make_store
from tests.helpers.toy import Silence
from tests.support import REPOSITORY

MOMENTS = int(os.environ.get("LDAS_FAULT_MOMENTS", "1"))  # of each kind
RESULTS = ("spin_up/", "runs/", "operators/", "restarts/")
CUT = (3, 7)  # cells and days of a task where runs are killed: two blocks of three periods
TASKS = 6
TRAINING_TASKS = 2


def run(config: ExperimentConfig, client: Client, last: str = "ekf", listener: Silence | None = None) -> None:
    """Runs what is not done, up to a stage."""
    for outcome in run_stages(config, client, retries=2, last=last, listener=listener):
        assert outcome.complete, outcome


def results(path: Path) -> dict[str, str]:
    """Hashes of everything that stages have computed."""
    return {name: value for name, value in array_hashes(str(path)).items() if name.startswith(RESULTS)}


def require_same(path: Path, truth: Path, expected: dict[str, str]) -> None:
    """Everything that stages have computed is as expected; what is not is printed, with its values in both stores."""
    found = results(path)
    for name in found.keys() & expected.keys():
        if found[name] != expected[name]:
            group, _, array = name.rpartition("/")
            ours, theirs = (read_region(open_store(str(store)), group, array) for store in (path, truth))
            places = np.nonzero(~((ours == theirs) | ((ours != ours) & (theirs != theirs))))
            print(f"{name} at {places}: {ours[places]!r} instead of {theirs[places]!r}")
    assert found == expected


def operator_hash(path: Path) -> str:
    """Content hash of the operator."""
    return str(existing_group(open_store(str(path)), "operators/neural").attrs["content_hash"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a year of weather and three weeks of observations, to be copied."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make_store(path, cells=CELLS, days=366, observed_days=DAYS)
    return path


@pytest.fixture(scope="module")
def truth(inputs: Path, threads: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in two threads, two cells and seven days at a time."""
    path = tmp_path_factory.mktemp("truth") / "store"
    shutil.copytree(inputs, path)
    run(whole(path, 2, 7), threads)
    return path


@pytest.fixture(scope="module")
def expected(truth: Path) -> dict[str, str]:
    """Hashes of its results, of some thousand small files: worked out once."""
    return results(truth)


@pytest.fixture(scope="module")
def trained(inputs: Path, processes: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to the training, in two processes, to be copied and gone on with."""
    path = tmp_path_factory.mktemp("trained") / "store"
    shutil.copytree(inputs, path)
    run(whole(path, *CUT), processes, "train-neural")
    return path


def test_the_run_does_something(truth: Path, expected: dict[str, str]) -> None:
    """All observation types are used and change the states."""
    root = open_store(str(truth))
    for name in ("sigma40", "swi", "lai"):
        code = read_region(root, "runs/ekf", f"quality_{name}")
        assert (code == Quality.USED).sum() > (5 if name == "lai" else 40)
        assert (code == Quality.MASKED_FROZEN).any()
    for name in ("LAI", "WG2", "WG8"):
        assert (np.abs(read_region(root, "runs/ekf", f"increment_{name}")) > 0.0).mean() > 0.3
    assert {name.split("/")[0] + "/" for name in expected} == set(RESULTS)
    for name in ("spin_up", "open_loop", "train-neural", "ekf"):
        assert (ledger.statuses(root, name) == ledger.DONE).all()


def test_bit_identical_one_process_blocks_of_64(
    truth: Path, expected: dict[str, str], inputs: Path, tmp_path: Path
) -> None:
    """One thread, all cells in one task, 20 days at a time. From the spin-up, without a say, it is the open loop."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    observations = [{**entry, "error": {"kind": "absolute", "size": 1e9}} for entry in EKF["observations"]]
    with connected(ClusterConfig(workers=1)) as one:
        run(whole(path, 64, 20, {"name": "huge", "observations": observations}), one, "huge")
    found = results(path)
    common = set(expected) & set(found)
    assert {name: found[name] for name in common} == {name: expected[name] for name in common}
    # Only the restarts at the ends of shorter periods are not in both, and the second run.
    assert {name.split("/")[0] for name in set(expected) ^ set(found)} == {"restarts", "runs"}
    assert any(name.startswith("restarts/ekf/20070421T09") for name in common)
    assert operator_hash(path) == operator_hash(truth)
    for variable in ("LAI", "WG1", "WG2", "WG8", "TG1", "TG2"):
        free_values = read_region(open_store(str(path)), "runs/open_loop", variable)[1:]
        np.testing.assert_array_equal(read_region(open_store(str(path)), "runs/huge", variable), free_values)
    free, huge = (array_hashes(str(path), f"restarts/{run}/20070421T09") for run in ("open_loop", "huge"))
    assert list(huge.values()) == list(free.values())
    assert list(huge.values()) != list(array_hashes(str(path), "restarts/ekf/20070421T09").values())


def test_bit_identical_two_processes_blocks_of_3(
    truth: Path, expected: dict[str, str], trained: Path, processes: Client, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    shutil.copytree(trained, path)
    run(whole(path, *CUT), processes)
    require_same(path, truth, expected)
    assert operator_hash(path) == operator_hash(truth)


def test_one_changed_value_changes_its_hash_and_no_other(truth: Path, expected: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "store"
    shutil.copytree(truth, path)
    root = open_store(str(path), "a")
    values = read_region(root, "runs/ekf", "LAI")
    values[13, 3] = np.nextafter(values[13, 3], np.float32(9.0))
    write_region(root, "runs/ekf", {"LAI": values}, {})
    after = results(path)
    assert {name for name in expected if expected[name] != after[name]} == {"runs/ekf/LAI"}


def moment_of(number: int) -> random.Random:
    """Random numbers of a moment; the seed is printed."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"moment {number}: seed {seed}")
    return random.Random(seed)


@pytest.mark.faults
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_bit_identical_after_the_assimilation_was_killed(
    truth: Path, expected: dict[str, str], trained: Path, threads: Client, tmp_path: Path, moment: int
) -> None:
    """The whole run is killed with kill -9 after a random number of tasks and a random time more, and started again."""
    chosen = moment_of(moment)
    path = tmp_path / "store"
    shutil.copytree(trained, path)
    after, wait = chosen.randrange(TASKS - 1), chosen.uniform(0.0, 0.5)
    script = [sys.executable, "-m", "tests.helpers.assimilation_run", str(path), *(str(size) for size in CUT)]
    process = subprocess.Popen(script, cwd=REPOSITORY, start_new_session=True)
    begun = path / "ledger" / "ekf"  # looked for cheaply and not too often: the run needs the processor
    while process.poll() is None and (not begun.exists() or tasks_done(path, "ekf") < after):
        time.sleep(0.05)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    print(f"killed after {tasks_done(path, 'ekf')} of {TASKS} tasks")
    listener = Silence()
    run(whole(path, *CUT), threads, listener=listener)
    require_same(path, truth, expected)
    assert array_hashes(str(path), "ledger/ekf") == array_hashes(str(truth), "ledger/ekf")


class Killer(Silence):
    """Kills a worker after a random number of tasks, of training or assimilation, and a random time more."""

    def __init__(self, client: Client, chosen: random.Random) -> None:
        super().__init__()
        self.processes = sorted(client.run(os.getpid).values())
        self.chosen = chosen
        self.after = chosen.choice([0, 1, TRAINING_TASKS + chosen.randrange(TASKS - 1)])
        self.timer = threading.Timer(chosen.uniform(0.0, 0.3), self.kill)
        self.killed = 0

    def kill(self) -> None:
        """Ends one of the workers."""
        self.killed = self.chosen.choice(self.processes)
        os.kill(self.killed, signal.SIGKILL)

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """See Listener."""
        super().stage_started(name, tasks, done)
        if name == "train-neural" and self.after == 0:
            self.timer.start()

    def task_done(self, name: str, result: Any) -> None:
        """See Listener."""
        super().task_done(name, result)
        if self.after and len(self.results) == self.after:
            self.timer.start()


def killed_during(path: Path, client: Client, moment: int) -> Killer:
    """Runs what is not done, with a worker that is killed on the way."""
    killer = Killer(client, moment_of(moment))
    run(whole(path, *CUT), client, listener=killer)
    killer.timer.join()
    return killer


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_bit_identical_after_a_worker_was_killed(
    truth: Path, expected: dict[str, str], trained: Path, processes: Client, tmp_path: Path, moment: int
) -> None:
    """Dask does not always start a killed worker again, and the run does without it."""
    path = tmp_path / "store"
    shutil.copytree(trained, path)
    for group in ("operators", "ledger/train-neural"):
        del open_store(str(path), "a")[group]
    if moment:  # the cluster of this file has lost a worker
        with connected(ClusterConfig(workers=2, processes=True)) as client:
            client.wait_for_workers(2, timeout=120)
            killer = killed_during(path, client, moment)
    else:
        killer = killed_during(path, processes, moment)
    assert killer.killed
    print(f"killed process {killer.killed} after {killer.after} of {TRAINING_TASKS + TASKS} tasks")
    assert len(killer.results) == TRAINING_TASKS + TASKS
    require_same(path, truth, expected)
