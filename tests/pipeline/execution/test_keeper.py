"""Lost workers are replaced, whatever started them; a run without workers says so, and is stopped with one message."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster, Nanny, Status

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution import keeper
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store.arrays import array_hashes
from ldas.pipeline.store.location import Location
from tests.helpers.runs import run_stage
from tests.helpers.slurm_commands import OPTIONS, SlurmCommands
from tests.helpers.toy import OnCard, Silence, toy


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(keeper, "LINE_EVERY_S", 0.5)
    monkeypatch.setattr(keeper, "NO_WORKERS_S", 5.0)


def eventually(condition: Callable[[], bool], seconds: float = 120.0, every: float = 0.05) -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(every)


def pids(client: Client) -> list[int]:
    """Process of each worker."""
    return list(client.run(os.getpid).values())


@pytest.mark.parametrize("processes", [1, 2])
def test_an_ended_job_is_submitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """Of one worker and of several."""
    monkeypatch.setattr(keeper, "NO_WORKERS_S", 120.0)
    slurm = SlurmCommands(tmp_path, monkeypatch)
    lines: list[str] = []
    options = OPTIONS | {"cores": processes, "processes": processes}
    config = ClusterConfig(kind="slurm", workers=processes, options=options)
    with connected(config, lines.append) as client:
        client.wait_for_workers(processes, timeout=120)
        (first,) = slurm.jobs()
        slurm.kill(first)
        waiting = client.submit(sum, [1, 2])
        eventually(lambda: len(slurm.jobs()) == 2)
        assert waiting.result(timeout=120) == 3
        client.wait_for_workers(processes, timeout=120)
    assert "1 of 1 worker jobs have ended: submitted again" in lines
    eventually(lambda: keeper.job_states() == {})  # the run has taken its jobs back
    assert len(slurm.jobs()) == 2


def test_jobs_that_end_before_a_worker_comes_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = SlurmCommands(tmp_path, monkeypatch)
    (tmp_path / "fail").touch()
    with (
        pytest.raises(ExecutionError, match=r"the worker jobs end before a worker comes \(job \d+\)"),
        connected(ClusterConfig(kind="slurm", options=OPTIONS)),
    ):
        pass
    assert len(slurm.jobs()) == keeper.FRUITLESS


def test_jobs_in_a_queue_are_waited_for_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes; here until somebody cancels them."""
    monkeypatch.setattr(keeper, "NO_WORKERS_S", 1.0)
    slurm = SlurmCommands(tmp_path, monkeypatch)
    (tmp_path / "queue").touch()
    lines: list[str] = []

    def listen(line: str) -> None:
        lines.append(line)
        if len(lines) == 6:
            monkeypatch.setattr(keeper, "NO_WORKERS_S", 60.0)
            (tmp_path / "queue").unlink()
            (tmp_path / "fail").touch()
            for number in slurm.jobs():
                slurm.kill(number)

    config = ClusterConfig(kind="slurm", workers=2, options=OPTIONS)
    with pytest.raises(ExecutionError, match="end before a worker comes"), connected(config, listen):
        pass
    assert all(line.startswith("waiting for workers since ") for line in lines[:6])  # for longer than NO_WORKERS_S
    assert all(line.endswith(" UTC (jobs: 2 pending)") for line in lines[:6])


def test_a_job_that_is_refused_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SlurmCommands(tmp_path, monkeypatch)
    (tmp_path / "refuse").touch()
    with (
        pytest.raises(ExecutionError, match="could not be started: sbatch: error: invalid partition specified: cpu; "),
        connected(ClusterConfig(kind="slurm", options=OPTIONS)),
    ):
        pass


def test_a_job_that_is_refused_later_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = SlurmCommands(tmp_path, monkeypatch)
    (tmp_path / "queue").touch()
    lines: list[str] = []

    def listen(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            (tmp_path / "refuse").touch()
            slurm.kill(slurm.jobs()[0])

    config = ClusterConfig(kind="slurm", options=OPTIONS)
    with pytest.raises(ExecutionError, match="cannot be submitted: sbatch: error: inv"), connected(config, listen):
        pass


class LosesWorkers(Silence):
    """Takes the workers of a cluster away after the third task."""

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__()
        self.cluster = cluster

    def task_done(self, name: str, result: Any) -> None:
        """See Listener."""
        super().task_done(name, result)
        if len(self.results) == 3:
            self.cluster.scale(0)


def test_an_address_without_workers_stops_the_run(toy_truth: dict[str, str], tmp_path: Path) -> None:
    """In the middle of a run: one message, and what is done is kept."""
    lines: list[str] = []
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as running:
        config = ClusterConfig(kind="address", address=running.scheduler_address)
        stage = toy(tmp_path / "store", seconds=0.1)
        prepare(stage)

        def run() -> None:
            with connected(config, lines.append) as client:
                run_stage(stage, client, tasks_in_flight=4, retries=2, listener=LosesWorkers(running))

        with pytest.raises(
            ExecutionError,
            match=r"no workers since .*: start workers at this scheduler; tasks the ledger marks as done are safe",
        ):
            run()
        assert lines
        assert all(line.startswith("waiting for workers since") for line in lines)
        running.scale(1)
        with connected(config) as client:
            assert run_stage(stage, client, tasks_in_flight=4, retries=2, listener=Silence()).complete
    assert array_hashes(str(tmp_path / "store")) == toy_truth


def test_an_address_where_no_worker_comes() -> None:
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as running:
        config = ClusterConfig(kind="address", address=running.scheduler_address)
        with pytest.raises(ExecutionError, match="no workers since"), connected(config):
            pass


def test_workers_none_of_which_offers_a_card_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "NO_WORKERS_S", 1.0)
    lines: list[str] = []
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as running:
        config = ClusterConfig(kind="address", address=running.scheduler_address)
        stage = OnCard("toy", Location(str(tmp_path / "store")), cells=2, cells_per_block=1)

        def run() -> None:
            with connected(config, lines.append, cards=True) as client:
                run_stage(stage, client, tasks_in_flight=4, retries=2, listener=Silence())

        prepare(stage)
        with pytest.raises(ExecutionError, match=r"no workers with a card for 2 tasks since .*: start workers that"):
            run()
        assert all(line.startswith("waiting for workers with a card for 2 tasks since") for line in lines)


def test_local_workers_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed, by its nanny; one whose nanny has ended, and one whose nanny does nothing, by us."""
    monkeypatch.setattr(keeper, "NO_WORKERS_S", 120.0)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}),
        connected(ClusterConfig(workers=1, processes=True)) as client,
    ):
        (first,) = pids(client)
        os.kill(first, signal.SIGKILL)
        assert client.submit(os.getpid).result(timeout=120) != first
        for disturb in (_end, _lull):
            eventually(lambda: len(client.cluster.workers) == len(pids(client)) == 1)  # Dask may have replaced it too
            (nanny,) = client.cluster.workers.values()
            disturb(client, nanny)
            assert client.submit(sum, [1, 2], pure=False).result(timeout=120) == 3
            eventually(lambda nanny=nanny: nanny not in client.cluster.workers.values())
            monkeypatch.setattr(keeper, "START_S", 2.0)  # for the second


def _end(client: Client, nanny: Nanny) -> None:
    client.cluster.sync(nanny.close)


def _lull(client: Client, nanny: Nanny) -> None:
    """It takes its process for one that is just starting."""
    (process,) = pids(client)
    nanny.status = Status.starting
    os.kill(process, signal.SIGKILL)
