"""A scheduler, two workers and a run of the toy stage, each in a process of its own that a test can kill."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distributed import Client, Scheduler, Worker

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.stage import Stage, prepare
from ldas.pipeline.settings.execution import ClusterConfig
from tests.helpers.runs import run_stage
from tests.helpers.toy import Silence

SCHEDULER_LOST = 2
_context = get_context("forkserver")  # it has imported everything once: a process more takes no time
_context.set_forkserver_preload([__name__])


class ToyCluster:
    """`with ToyCluster(stage) as cluster`: everything is running, the stage too; at the end nothing is left."""

    def __init__(self, stage: Stage, log: Path) -> None:
        """log: file for what the processes print."""
        self.log = log
        receive, send = _context.Pipe(duplex=False)
        self.scheduler = self._start(_scheduler, send)
        address = receive.recv()
        self.workers = [self._start(_worker, address) for _ in range(2)]
        self.run = self._start(_run, address, stage)

    def _start(self, target: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = _context.Process(target=_logged, args=(target, str(self.log), *arguments), daemon=True)
        process.start()
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill(self.run, self.scheduler, *self.workers)

    def kill(self, *processes: BaseProcess) -> None:
        """kill -9, all at once."""
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join()


def _logged(target: Callable[..., None], log: str, *arguments: Any) -> None:
    with open(log, "a", encoding="utf-8") as file:  # its descriptor becomes 1 and 2
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    target(*arguments)


def _scheduler(send: Connection) -> None:
    async def serve() -> None:
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            send.send(scheduler.address)
            await scheduler.finished()

    asyncio.run(serve())


def _worker(address: str) -> None:
    async def serve() -> None:
        async with Worker(address, nthreads=1, dashboard=False) as worker:
            await worker.finished()

    asyncio.run(serve())


def _run(address: str, stage: Stage) -> None:
    try:
        with connected(ClusterConfig(kind="address", address=address)) as client:
            wait_for_both(client)
            prepare(stage)
            outcome = run_stage(stage, client, tasks_in_flight=4, retries=2, listener=Silence())
    except ExecutionError as error:
        print(error, flush=True)
        sys.exit(SCHEDULER_LOST)
    sys.exit(0 if outcome.complete else 3)


def wait_for_both(client: Client) -> None:
    """The two workers are there."""
    client.wait_for_workers(2, timeout=60)
