"""Dask clusters: this machine by default, a scheduler's address, Slurm, Kubernetes or Gateway by configuration."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.config import ClusterConfig
from pipeline.errors import ExecutionError

if TYPE_CHECKING:
    from distributed import Client

# One task is one thread: libraries that start threads of their own would fight over the cores with the other tasks.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",  # as Dask has it: freed memory goes back to the system
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
CONNECT_TIMEOUT_S = 15
_EXTRAS = {
    "slurm": ("dask_jobqueue", "SLURMCluster", "pip install 'ldas[cluster]'"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", "pip install dask-kubernetes"),
    "gateway": ("dask_gateway", "GatewayCluster", "pip install dask-gateway"),
}


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def connected(config: ClusterConfig) -> Iterator["Client"]:
    """A client of the cluster that the configuration asks for; a cluster made here is closed at the end.

    Raises ExecutionError when the scheduler does not answer or a package for the kind of cluster is missing.
    """
    import dask
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.comm.timeouts.connect": "10s",
                    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
                }
            )
        )
        try:
            if config.kind == "address":
                target: Any = config.address
            else:
                target = stack.enter_context(_cluster(config))
            client = stack.enter_context(Client(target, timeout=CONNECT_TIMEOUT_S, set_as_default=False))
            if config.kind != "local":
                client.wait_for_workers(1, timeout=300)
        except (OSError, TimeoutError) as error:
            raise ExecutionError(
                f"no Dask scheduler with workers at {config.address or config.kind}: {error}; check the address and "
                "that workers are running"
            ) from error
        yield client


def _cluster(config: ClusterConfig) -> Any:
    if config.kind == "local":
        from distributed import LocalCluster

        workers, threads = local_shape(config)
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=config.processes,
            memory_limit=config.memory_limit or "auto",
            silence_logs=logging.CRITICAL,  # failed tasks are reported by the run itself, once
            dashboard_address="127.0.0.1:0",  # any free port, of this machine only
            **config.options,
        )
    module, name, command = _EXTRAS[config.kind]
    try:
        found = getattr(__import__(module, fromlist=[name]), name)
    except ImportError as error:
        raise ExecutionError(
            f"a cluster of kind {config.kind} needs the package {module.split('.')[0]}: {command}"
        ) from error
    cluster = found(**config.options)
    cluster.scale(config.workers or 1)
    return cluster


def local_shape(config: ClusterConfig) -> tuple[int, int]:
    """Number of workers and threads of each; all cores by default, as threads of one worker or as processes."""
    if config.processes:
        return config.workers or max(1, usable_cores() // config.threads_per_worker), config.threads_per_worker
    # Workers that are not processes share this one: what was asked for as workers becomes threads.
    return 1, config.threads_per_worker * (config.workers or max(1, usable_cores() // config.threads_per_worker))


def worker_memory(client: "Client") -> tuple[int, int]:
    """Memory limit (bytes) and threads of the smallest worker."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        raise ExecutionError("the Dask scheduler has no workers: start some, or wait for them")
    smallest = min(workers, key=lambda worker: worker["memory_limit"] or 2**62)
    return int(smallest["memory_limit"] or _machine_memory()), int(smallest["nthreads"])


def threads(client: "Client") -> int:
    """Threads of all workers together."""
    return sum(int(worker["nthreads"]) for worker in client.scheduler_info(n_workers=-1)["workers"].values())


def _machine_memory() -> int:
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)
