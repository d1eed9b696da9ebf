"""Each kind of cluster: by file or by flag, with a stand-in where the real one cannot be here."""

import os
import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from urllib.request import urlopen

import pytest
from distributed import Client, LocalCluster

from ldas.pipeline.commands.arguments import experiment_of
from ldas.pipeline.errors import ConfigurationError, ExecutionError
from ldas.pipeline.execution import cluster
from ldas.pipeline.execution.threads import ONE_THREAD, limit_threads
from ldas.pipeline.settings.execution import ClusterConfig
from tests.helpers.slurm_commands import OPTIONS, SlurmCommands

EXPERIMENT = "name: small\nstore: {url: store}\nperiod: {start: 2007-01-01, end: 2007-01-04}\n"


class StandIn(LocalCluster):
    """In place of a cluster class that needs a system that is not here: threads, and what it was asked for."""

    asked: ClassVar[dict[str, Any]] = {}
    scaled: ClassVar[list[int]] = []

    def __init__(self, **arguments: Any) -> None:
        """Remembers the arguments."""
        StandIn.asked = arguments
        super().__init__(n_workers=0, processes=False, threads_per_worker=1, dashboard_address="127.0.0.1:0")

    def scale(self, n: int) -> None:  # type: ignore[override]
        """Remembers and scales."""
        StandIn.scaled.append(n)
        super().scale(n)


@pytest.mark.parametrize(
    ("settings", "module", "name", "asked"),
    [
        (
            {"kind": "kubernetes", "workers": 2, "threads_per_worker": 2, "memory_limit": "4GiB"},
            "dask_kubernetes.operator",
            "KubeCluster",
            {"resources": {part: {"cpu": "2", "memory": "4294967296"} for part in ("requests", "limits")}},
        ),
        (
            {"kind": "gateway", "options": {"worker_cores": 2}},
            "dask_gateway",
            "GatewayCluster",
            {"worker_cores": 2},
        ),
    ],
)
def test_clusters_of_pods_and_of_a_gateway(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], module: str, name: str, asked: dict[str, Any]
) -> None:
    for variable in ONE_THREAD:
        monkeypatch.setenv(variable, "1")
    stand_in = ModuleType(module)
    setattr(stand_in, name, StandIn)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], ModuleType(module.partition(".")[0]))
    monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.setattr(StandIn, "scaled", [])
    config = ClusterConfig.model_validate(settings)
    with cluster.connected(config) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        assert cluster.threads(client, config.workers) == (config.workers or 1)
        assert cluster.dashboard(client, config) == client.dashboard_link
    assert StandIn.asked == asked
    assert StandIn.scaled == [config.workers or 1, 0]  # taken away at the end


def test_slurm_with_stand_ins_of_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real SLURMCluster; `sbatch` runs the job script on this machine."""
    SlurmCommands(tmp_path, monkeypatch)
    for name in ("NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    config = ClusterConfig(kind="slurm", workers=1, options=OPTIONS)
    with cluster.connected(config) as client:
        limits = client.submit(lambda: {name: os.environ.get(name) for name in ONE_THREAD}).result(timeout=240)
        assert limits == ONE_THREAD
        assert cluster.worker_memory(client) == (2**30, 1)


def test_slurm_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with (
        pytest.raises(ExecutionError, match="no command `sbatch` here"),
        cluster.connected(ClusterConfig(kind="slurm")),
    ):
        pass


def test_a_cluster_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**arguments: Any) -> None:
        raise RuntimeError("no such namespace")

    stand_in = ModuleType("dask_gateway")
    stand_in.GatewayCluster = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_gateway", stand_in)
    with (
        pytest.raises(ExecutionError, match=r"kind gateway could not be started: no such namespace; check execution\."),
        cluster.connected(ClusterConfig(kind="gateway")),
    ):
        pass


def test_an_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cluster.SCHEDULER_VARIABLE, raising=False)
    config = ClusterConfig(kind="address")
    with pytest.raises(ExecutionError, match="use --address"), cluster.connected(config):
        pass
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as running:
        monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, running.scheduler_address)
        with cluster.connected(config) as client:
            assert client.submit(sum, [1, 2]).result() == 3
            assert client.cluster is None  # not ours: it stays when we go
        with Client(running.scheduler_address) as after:
            assert after.submit(sum, [3, 4]).result() == 7


def test_the_link_of_the_dashboard_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ClusterConfig(workers=1)
    with cluster.connected(config) as client:
        assert cluster.dashboard(client, config) is None  # as the tests ask for
        monkeypatch.delenv(cluster.DASHBOARD_VARIABLE)
    with cluster.connected(config) as client:
        link = cluster.dashboard(client, config)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", str(link))
        with urlopen(str(link)) as answer:
            assert answer.status == 200
            assert "Bokeh" in answer.read().decode()


@pytest.mark.parametrize("wanted", ["8787", "localhost:", "localhost:65536", "no"])
def test_a_dashboard_nowhere(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv(cluster.DASHBOARD_VARIABLE, wanted)
    with (
        pytest.raises(ExecutionError, match=rf"LDAS_DASHBOARD={wanted}: expected HOST:PORT, such as 127.0.0.1:8787"),
        cluster.connected(ClusterConfig(workers=1)),
    ):
        pass


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    slurm = "execution: {cluster: {kind: slurm, workers: 4, options: {queue: cpu}}}\n"
    path.write_text(EXPERIMENT + slurm, encoding="utf-8")

    def chosen(**flags: Any) -> ClusterConfig:
        return experiment_of(path, flags).execution.cluster

    assert chosen() == ClusterConfig(kind="slurm", workers=4, options={"queue": "cpu"})
    assert chosen(workers=8, memory_limit="2GiB").options == {"queue": "cpu"}
    assert chosen(kind="local", processes=True) == ClusterConfig(workers=4, processes=True)
    assert chosen(kind="gateway") == ClusterConfig(kind="gateway", workers=4)
    assert chosen(kind="address", address="tcp://far:8786").address == "tcp://far:8786"
    with pytest.raises(ConfigurationError, match="address belongs to kind: address"):
        chosen(kind="local", address="tcp://far:8786")


def test_a_window_for_workers_that_are_still_to_come() -> None:
    with cluster.connected(ClusterConfig(workers=2)) as client:
        assert cluster.threads(client) == 2
        assert cluster.threads(client, 8) == 16  # one worker of two threads is there, eight are expected


def test_workers_are_seen_while_the_client_asks_for_other_things() -> None:
    """The client itself asks every two seconds for what is known but the workers: no answer to us is without them."""
    stop = threading.Event()
    with (
        LocalCluster(n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
    ):

        def ask() -> None:
            while not stop.is_set():
                client.scheduler_info(n_workers=0)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            assert {cluster.threads(client) for _ in range(100)} == {3}
        finally:
            stop.set()
            thread.join()


def test_thread_limits_leave_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    limit_threads()
    assert {name: os.environ[name] for name in ONE_THREAD} == {**ONE_THREAD, "OMP_NUM_THREADS": "4"}
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)


def test_threads_of_this_process_take_turns_more_often() -> None:
    """As long as the cluster lasts; worker processes are not concerned."""
    before = sys.getswitchinterval()
    with cluster.connected(ClusterConfig(workers=2)):
        assert sys.getswitchinterval() == pytest.approx(5.0e-4)
    assert sys.getswitchinterval() == before
