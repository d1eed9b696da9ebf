"""Dask clusters: this machine by default, a scheduler's address, Slurm, Kubernetes or Gateway by configuration."""

import asyncio
import logging
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution.keeper import Keeper, one_line, submit_jobs
from ldas.pipeline.execution.threads import ONE_THREAD, short_switches
from ldas.pipeline.execution.workers import workers_of
from ldas.pipeline.settings.execution import CARD, ClusterConfig

if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT_S = 15
SCHEDULER_VARIABLE = "DASK_SCHEDULER_ADDRESS"  # Dask's own name for it
DASHBOARD_VARIABLE = "LDAS_DASHBOARD"  # HOST:PORT of the dashboard of a cluster on this machine, or `none`
_ANY_PORT = "127.0.0.1:0"  # of this machine only
_EXTRAS = {
    "slurm": ("dask_jobqueue", "SLURMCluster", "pip install 'ldas[cluster]'"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", "pip install 'ldas[cluster]'"),
    "gateway": ("dask_gateway", "GatewayCluster", "pip install dask-gateway"),
}


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def connected(
    config: ClusterConfig, message: Callable[[str], None] = lambda text: None, *, cards: bool = False
) -> Iterator["Client"]:
    """A client of the cluster that the configuration asks for; a cluster made here is closed at the end.

    Lost workers are replaced (`ldas.pipeline.execution.keeper`).

    Args:
        message: takes lines about them.
        cards: workers of this machine offer its card (see `ldas.pipeline.execution.device`); others say it themselves.

    Raises:
        ExecutionError: if the scheduler does not answer, a package for the kind of cluster is missing, or no worker
            comes for long.
    """
    import dask
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.comm.timeouts.connect": "10s",
                    # In place of Dask's own, which has the system map every larger array anew: training took a sixth
                    # more processor time (findings/dask_worker_page_faults.sh), and peaks of memory were the same.
                    "distributed.nanny.pre-spawn-environ": ONE_THREAD,
                    # Dask's sampling of other threads' frames has ended a run on Python 3.11 (segmentation fault).
                    "distributed.worker.profile.enabled": False,
                }
            )
        )
        if config.kind == "local" and not config.processes:
            stack.enter_context(short_switches())
        if config.kind == "local" and config.processes:
            stack.enter_context(_main_is_not_imported())
        try:
            cluster: Any = None if config.kind == "address" else stack.enter_context(_cluster(config, cards))
            client = stack.enter_context(
                Client(cluster or scheduler_address(config), timeout=CONNECT_TIMEOUT_S, set_as_default=False)
            )
            if config.kind != "local":
                from ldas.pipeline.execution.worker_plugin import OneThread

                client.register_plugin(OneThread())  # workers that others started, and those that come later
        except (OSError, TimeoutError) as error:
            raise ExecutionError(
                f"no Dask scheduler at {config.address or config.kind}: {error}; check the address, and that the "
                "scheduler is running"
            ) from error
        keeper = stack.enter_context(Keeper(client, config.kind, cluster, _wanted(config), message, cards))
        try:
            if config.kind != "local":
                keeper.wait_for_first()
            yield client
        except SystemExit:  # a signal: tasks are not waited for
            if config.kind == "local":
                cluster.sync(_close_at_once, cluster, config.processes)
            raise
        except Exception as error:
            if keeper.failure is not None:
                raise keeper.failure from error
            raise


async def _close_at_once(cluster: Any, processes: bool) -> None:
    haste: dict[str, Any] = {"timeout": 1.0} if processes else {"executor_wait": False}
    await asyncio.gather(*(worker.close(**haste) for worker in cluster.workers.values()))


def _wanted(config: ClusterConfig) -> int:
    """Workers that the cluster should have; of Slurm, jobs."""
    if config.kind == "local":
        return local_shape(config)[0]
    if config.kind == "slurm":
        return math.ceil((config.workers or 1) / cluster_arguments(config)["processes"])
    return config.workers or 1


@contextmanager
def _main_is_not_imported() -> Iterator[None]:
    """Worker processes do not import the user's script: without the guard `if __name__ == "__main__"` it would start
    its run again in each of them. Tasks do not need it: what a script defines travels with them.

    multiprocessing does not import a main module whose name ends in `.__main__`.
    """
    main = sys.modules["__main__"]
    before = main.__spec__
    main.__spec__ = ModuleSpec("ldas.__main__", None)
    try:
        yield
    finally:
        main.__spec__ = before


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Threads and processes that begin inside do not take SIGINT and SIGTERM: Ctrl-C in a terminal and the end of a job
    of Slurm reach every process, but the run ends its workers itself."""
    resource_tracker.ensure_running()  # before: multiprocessing unblocks them in the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def scheduler_address(config: ClusterConfig) -> str:
    """Address of a running scheduler: of the configuration, or of the environment."""
    address = config.address or os.environ.get(SCHEDULER_VARIABLE)
    if not address:
        raise ExecutionError(
            f"kind: address, but no address is given: use --address tcp://host:8786, or set {SCHEDULER_VARIABLE}"
        )
    return address


def dashboard(client: "Client", config: ClusterConfig) -> str | None:
    """Link of the scheduler's dashboard, None where there is none."""
    if config.kind != "local":
        return client.dashboard_link or None
    if not _dashboard_options()["scheduler_kwargs"]["dashboard"]:
        return None
    from distributed.utils import format_dashboard_link

    # The cluster's own link names this machine as others see it, where the dashboard does not listen.
    host = _dashboard_options()["dashboard_address"].rpartition(":")[0]
    link: str = format_dashboard_link(host, client.cluster.scheduler.services["dashboard"].port)
    return link


def _dashboard_options() -> dict[str, Any]:
    """Where a cluster on this machine serves its dashboard, and whether it does."""
    wanted = os.environ.get(DASHBOARD_VARIABLE, _ANY_PORT)
    if wanted == "none":
        return {"dashboard_address": _ANY_PORT, "scheduler_kwargs": {"dashboard": False}}
    host, _, port = wanted.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ExecutionError(f"{DASHBOARD_VARIABLE}={wanted}: expected HOST:PORT, such as 127.0.0.1:8787, or none")
    return {"dashboard_address": wanted, "scheduler_kwargs": {"dashboard": True}}


def _cluster(config: ClusterConfig, cards: bool) -> Any:
    if config.kind == "local":
        from distributed import LocalCluster

        with _without_interrupts():
            offered = {"resources": {CARD: local_shape(config)[1]}} if cards else {}
            return LocalCluster(**cluster_arguments(config), **offered)
    module, name, command = _EXTRAS[config.kind]
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        found = getattr(__import__(module, fromlist=[name]), name)
    except ImportError as error:
        raise ExecutionError(
            f"a cluster of kind {config.kind} needs the package {module.split('.')[0]}: {command}"
        ) from error
    finally:
        if signal.getsignal(signal.SIGINT) is not interrupt:  # dask_jobqueue makes it an exit with status 0
            signal.signal(signal.SIGINT, interrupt)
    if config.kind == "slurm" and shutil.which("sbatch") is None:
        raise ExecutionError(
            "kind: slurm, but there is no command `sbatch` here: start the run on a node of a Slurm machine"
        )
    try:
        with _without_interrupts():
            cluster = found(**cluster_arguments(config))
        if config.kind == "slurm":
            cluster.sync(submit_jobs, cluster, _wanted(config))
        else:
            cluster.scale(_wanted(config))
    except Exception as error:  # each kind has errors of its own; all of them mean this
        raise ExecutionError(
            f"a cluster of kind {config.kind} could not be started: {one_line(error)}; check execution.cluster and "
            "Dask's own configuration for it"
        ) from error
    return cluster


def cluster_arguments(config: ClusterConfig) -> dict[str, Any]:
    """Arguments of the class of a cluster: on this machine the keys, elsewhere the options completed from them."""
    if config.kind == "local":
        workers, threads = local_shape(config)
        return {
            "n_workers": workers,
            "threads_per_worker": threads,
            "processes": config.processes,
            "memory_limit": config.memory_limit or "auto",
            "silence_logs": logging.CRITICAL,  # failed tasks are reported by the run itself, once
            **_dashboard_options(),
        }
    given = dict(config.options)
    if config.kind == "slurm":
        import dask

        # The dashboard of each run on a port of its own: users share the node that they start from.
        ours = dask.config.get("jobqueue.slurm.scheduler-options", None) or {}
        given["scheduler_options"] = {"dashboard_address": ":0", **ours}
        given.setdefault("cores", config.threads_per_worker)
        given.setdefault("processes", 1)
        if config.memory_limit is not None:
            given.setdefault("memory", config.memory_limit)
    elif config.kind == "kubernetes":
        each = {"cpu": str(config.threads_per_worker)}
        if config.memory_limit is not None:
            from dask.utils import parse_bytes

            each["memory"] = str(parse_bytes(config.memory_limit))
        given.setdefault("resources", {"requests": each, "limits": each})
    return given


def local_shape(config: ClusterConfig) -> tuple[int, int]:
    """Number of workers and threads of each; all cores by default, as threads of one worker or as processes."""
    if config.processes:
        return config.workers or max(1, usable_cores() // config.threads_per_worker), config.threads_per_worker
    # Workers that are not processes share this one: what was asked for as workers becomes threads.
    return 1, config.threads_per_worker * (config.workers or max(1, usable_cores() // config.threads_per_worker))


def worker_memory(client: "Client") -> tuple[int, int]:
    """Memory limit (bytes) and threads of the smallest worker."""
    workers = workers_of(client).values()
    if not workers:
        raise ExecutionError("the Dask scheduler has no workers: start some, or wait for them")
    smallest = min(workers, key=lambda worker: worker["memory_limit"] or 2**62)
    return int(smallest["memory_limit"] or _machine_memory()), int(smallest["nthreads"])


def threads(client: "Client", workers: int | None = None) -> int:
    """Threads of all workers together; of the workers that were asked for, as long as not all of them are there."""
    there = [int(worker["nthreads"]) for worker in workers_of(client).values()]
    return max(sum(there), (workers or 0) * min(there, default=1))


def _machine_memory() -> int:
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)
