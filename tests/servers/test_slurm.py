"""Runs on a real Slurm: the unchanged driver.sh of deploy/, worker jobs that end early, interrupts and a requeue.

Each run ends with the bytes of a run on this machine.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import array_hashes
from tests.helpers.runs import tasks_done
from tests.helpers.small_store import make_synthetic_store
from tests.servers.slurm import Slurm, missing, wait_for
from tests.support import REPOSITORY

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(900),
    pytest.mark.skipif(missing() is not None, reason=f"Slurm: {missing()}"),
]
DRIVER = REPOSITORY / "deploy" / "slurm" / "driver.sh"
CELLS, DAYS = 4, 360
EXPERIMENT = """\
name: slurm
store: {{url: store}}
period: {{start: 2007-01-01, end: 2007-12-26}}
output: {{mean: [LE], instant: [WG2]}}
execution:
  cells_per_block: 1
  days_per_period: {days}
  cluster: {cluster}
report: false
"""
SLURM = (
    "{{kind: slurm, workers: {workers}, options: {{queue: cpu, cores: {processes}, processes: {processes}, "
    'memory: {processes}GiB, walltime: "{walltime}", interface: lo}}}}'
)
SHORT, LONG = 60, 8  # days of a task: 24 tasks, and 180 that take long enough to be disturbed


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A node that takes jobs."""
    with Slurm(tmp_path_factory.mktemp("slurm") / "system") as running:
        running.environment["LDAS_VENV"] = sys.prefix
        yield running


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of what a run on this machine computes, in whatever pieces."""
    folder = tmp_path_factory.mktemp("local")
    experiment = write(folder, DAYS, "{kind: local}")
    ldas = Path(sys.executable).with_name("ldas")
    subprocess.run([ldas, "run", experiment], cwd=folder, check=True, capture_output=True)
    return array_hashes(str(folder / "store"), "runs")


def write(folder: Path, days: int, cluster: str) -> Path:
    """An experiment with its inputs."""
    experiment = folder / "experiment.yaml"
    experiment.write_text(EXPERIMENT.format(days=days, cluster=cluster), encoding="utf-8")
    make_synthetic_store(load_experiment(experiment).location, cells=CELLS, days=DAYS)
    return experiment


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run is started, beside the folder of the daemons."""
    return tmp_path_factory.mktemp("slurm")


def experiment(folder: Path, days: int, *, workers: int = 1, processes: int = 1, walltime: str = "00:30:00") -> Path:
    """An experiment with worker jobs."""
    return write(folder, days, SLURM.format(workers=workers, processes=processes, walltime=walltime))


def log(folder: Path, job: str) -> str:
    """What the driver said."""
    return (folder / f"ldas-{job}.log").read_text(encoding="utf-8")


def started(slurm: Slurm, folder: Path) -> None:
    """Waits until tasks are done."""
    wait_for(lambda: tasks_done(folder / "store", "open_loop") > 2, 180, slurm.logs)


def complete(slurm: Slurm, folder: Path, job: str, expected: dict[str, str]) -> None:
    """The driver ends well, and with the bytes of a run on this machine; no worker job is left."""
    ended = slurm.ended(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), log(folder, job)
    assert "Traceback" not in log(folder, job)
    assert array_hashes(str(folder / "store"), "runs") == expected
    wait_for(lambda: not slurm.jobs(), 60, slurm.logs)


def test_the_driver_of_deploy(slurm: Slurm, folder: Path, truth: dict[str, str]) -> None:
    job = slurm.submit(DRIVER, experiment(folder, SHORT, workers=2), cwd=folder)
    complete(slurm, folder, job, truth)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cancelled_worker_is_replaced(slurm: Slurm, folder: Path, truth: dict[str, str], processes: int) -> None:
    """The only job, of one worker and of several."""
    job = slurm.submit(DRIVER, experiment(folder, LONG, workers=processes, processes=processes), cwd=folder)
    started(slurm, folder)
    (worker,) = slurm.workers()
    slurm.call("scancel", worker)
    complete(slurm, folder, job, truth)
    assert "1 of 1 worker jobs have ended: submitted again" in log(folder, job)


def test_workers_that_reach_their_wall_time_are_replaced(slurm: Slurm, folder: Path, truth: dict[str, str]) -> None:
    """After a minute, which a halted driver makes long enough for them."""
    written = experiment(folder, LONG, workers=2, processes=2, walltime="00:01:00")
    job = slurm.submit(DRIVER, written, cwd=folder)
    started(slurm, folder)
    (worker,) = slurm.workers()
    driver = int(slurm.call("scontrol", "listpids", job).splitlines()[1].split()[0])
    os.kill(driver, signal.SIGSTOP)
    assert slurm.ended(worker)["JobState"] == "TIMEOUT"
    os.kill(driver, signal.SIGCONT)
    complete(slurm, folder, job, truth)
    assert "1 of 1 worker jobs have ended: submitted again" in log(folder, job)


@pytest.mark.parametrize(("name", "status"), [("INT", 130), ("TERM", 143)])
def test_an_interrupted_driver(slurm: Slurm, folder: Path, truth: dict[str, str], name: str, status: int) -> None:
    """It takes its workers back and says so; what depends on its success does not begin; the next one resumes."""
    written = experiment(folder, LONG, workers=2)
    job = slurm.submit(DRIVER, written, cwd=folder)
    after = slurm.submit(f"--dependency=afterok:{job}", "--wrap=touch begun", cwd=folder)
    started(slurm, folder)
    slurm.call("scancel", f"--signal={name}", "--batch", job)
    ended = slurm.ended(job, 60)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", f"{status}:0"), log(folder, job)
    message = f"interrupted (SIG{name}): what is done is safe; run the same command to resume"
    assert log(folder, job).splitlines()[-1] == message
    assert "Traceback" not in log(folder, job)
    wait_for(lambda: not slurm.workers(), 60, slurm.logs)
    wait_for(lambda: slurm.job(after)["Reason"] == "DependencyNeverSatisfied", 60, slurm.logs)
    slurm.call("scancel", after)
    assert not (folder / "begun").exists()
    complete(slurm, folder, slurm.submit(DRIVER, written, cwd=folder), truth)


def test_the_wall_time_of_the_driver(slurm: Slurm, folder: Path, truth: dict[str, str]) -> None:
    """Slurm interrupts it two minutes before, as the driver asks for; here at once."""
    written = experiment(folder, LONG)
    job = slurm.submit("--time=2", DRIVER, written, cwd=folder)
    assert slurm.ended(job)["ExitCode"] == "130:0"
    complete(slurm, folder, slurm.submit(DRIVER, written, cwd=folder), truth)


def test_a_requeued_driver(slurm: Slurm, folder: Path, truth: dict[str, str]) -> None:
    """It begins anew where it stopped, with workers of its own."""
    job = slurm.submit("--requeue", DRIVER, experiment(folder, LONG), cwd=folder)
    started(slurm, folder)
    slurm.call("scontrol", "requeue", job)
    wait_for(lambda: slurm.jobs()[job][1] == "PENDING", 60, slurm.logs)
    slurm.call("scontrol", "update", f"JobId={job}", "StartTime=now")  # by itself, Slurm waits two minutes
    complete(slurm, folder, job, truth)
    assert slurm.job(job)["Restarts"] == "1"
