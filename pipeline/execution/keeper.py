"""Looks after the workers of a run: those that are lost are replaced, and a run without workers is never silent.

Who replaces a worker depends on the kind of cluster. Kubernetes and Gateway do it themselves. On this machine Dask's
nanny does, and a nanny that gives up is replaced here. At a scheduler's address, whoever starts workers there does. For
Slurm, `squeue` tells which jobs there are, and those that have ended are submitted again: dask-jobqueue's own `adapt`
goes by the workers that have left, and does not replace a job of several workers.
"""

import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution.workers import workers_of
from ldas.pipeline.settings.execution import CARD

if TYPE_CHECKING:
    from distributed import Client

LOOK_EVERY_S = 20.0
LINE_EVERY_S = 60.0
NO_WORKERS_S = 600.0  # a run without workers is stopped after this time, unless jobs wait in a queue
START_S = 120.0  # a local worker that has not come after this time will not come
FRUITLESS = 3  # times that jobs end without a worker, or are refused, before a run without workers is stopped
_ANSWER_S = 30.0  # of squeue
_AT_WORK = frozenset({"RUNNING", "COMPLETING"})
_ADVICE = {
    "local": "they may have been killed for memory; see execution.cluster.memory_limit",
    "address": "start workers at this scheduler",
    "slurm": "their jobs run, but do not reach the scheduler; see their logs, and the option `interface`",
    "kubernetes": "look at the pods of the workers",
    "gateway": "look at the log of the gateway",
}
_CARD_ADVICE = f"start workers that offer one (`--resources {CARD}=1`)"


def _tasks_without_worker(dask_scheduler: Any) -> int:
    """Tasks that no worker may take, though there are workers: none of them offers a card. Runs in the scheduler."""
    return len(dask_scheduler.unrunnable)


class Keeper:
    """`with Keeper(...)`: a thread that looks every `LOOK_EVERY_S`. `failure` says why it has stopped the run.

    kind: of cluster. cluster: as made by this run, None for a scheduler's address. workers: how many it should have (of
    Slurm, jobs). message: takes a line for the user. cards: whether tasks may need a card.
    """

    def __init__(
        self, client: "Client", kind: str, cluster: Any, workers: int, message: Callable[[str], None], cards: bool
    ) -> None:
        self.failure: ExecutionError | None = None
        self._cards = cards
        self._client, self._kind, self._message = client, kind, message
        self._local = _LocalWorkers(cluster, workers) if kind == "local" else None
        self._jobs = _Jobs(cluster, workers, message) if kind == "slurm" else None
        self._since: datetime | None = None  # since when there are no workers
        self._stuck_since: datetime | None = None  # and no job in a queue either
        self._next_line = datetime.min.replace(tzinfo=UTC)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ldas-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=1.0)  # it may wait for an answer that does not come

    def wait_for_first(self) -> None:
        """Returns when there is a worker.

        Raises:
            ExecutionError: if none comes.
        """
        while not self._names():
            if self.failure is not None:
                raise self.failure
            time.sleep(0.2)

    def _names(self) -> set[str]:
        return {str(worker["name"]) for worker in workers_of(self._client).values()}

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self._look()
            except ExecutionError as error:
                self._stop_run(error)
                return
            except (OSError, TimeoutError, RuntimeError):
                continue  # the scheduler is busy; of one that is lost, the run itself hears

    def _look(self) -> None:
        names = self._names()
        about, queued = "", False
        if self._local is not None:
            self._local.replace(names)
        if self._jobs is not None:
            about, queued = self._jobs.replace(names)
        now = datetime.now(UTC)
        lacking = int(self._client.run_on_scheduler(_tasks_without_worker)) if names and self._cards else 0
        what = f"workers with a card for {lacking} tasks" if lacking else "workers"
        if names and not lacking:
            self._since = self._stuck_since = None
            return
        self._since = self._since or now
        self._stuck_since = None if queued else (self._stuck_since or now)
        if self._stuck_since and now - self._stuck_since >= timedelta(seconds=NO_WORKERS_S):
            advice = _CARD_ADVICE if lacking else _ADVICE[self._kind]
            raise ExecutionError(f"no {what} since {self._since:%H:%M:%S} UTC{about}: {advice}")
        if now >= self._next_line and not self._stop.is_set():
            self._next_line = now + timedelta(seconds=LINE_EVERY_S)
            self._message(f"waiting for {what} since {self._since:%H:%M:%S} UTC{about}")

    def _stop_run(self, error: ExecutionError) -> None:
        """Whatever the run waits for is cancelled; `connected` raises the failure in its place."""
        from distributed import Future

        self.failure = ExecutionError(
            f"{error}; tasks the ledger marks as done are safe: run the same command again to resume"
        )
        self._client.cancel([Future(key, self._client) for key in list(self._client.futures)])


class _LocalWorkers:
    """Workers of this machine: restarted where Dask has dropped one, or one does not come."""

    def __init__(self, cluster: Any, workers: int) -> None:
        self._cluster, self._wanted = cluster, workers
        self._missing: dict[Any, float] = {}  # and since when

    def replace(self, names: Collection[str]) -> None:
        if len(names) < self._wanted:
            self._cluster.sync(self._replace, names)

    async def _replace(self, names: Collection[str]) -> None:
        cluster, now = self._cluster, time.monotonic()
        lost = [name for name in cluster.worker_spec if str(name) not in names]
        self._missing = {name: self._missing.get(name, now) for name in lost}
        late = {name: cluster.worker_spec.pop(name) for name, since in self._missing.items() if now - since >= START_S}
        if late:
            await cluster._correct_state()  # closes them
            cluster.worker_spec.update(late)
            self._missing = {}
        await cluster._correct_state()


class _Jobs:
    """Jobs of Slurm: submitted again when they have ended."""

    def __init__(self, cluster: Any, jobs: int, message: Callable[[str], None]) -> None:
        self._cluster, self._wanted, self._message = cluster, jobs, message
        self._ended: set[str] = set()  # not in the last answer of squeue
        self._worked: set[str] = set()  # have had a worker
        self._fruitless = 0
        self._reason = ""
        self._not_before = 0.0

    def replace(self, names: Collection[str]) -> tuple[str, bool]:
        """What to say of the jobs, and whether some of them wait in a queue.

        Raises:
            ExecutionError: if jobs end, time and again, before a worker comes, and there is no other worker.
        """
        jobs = {str(name): self._number(name) for name in list(self._cluster.worker_spec)}
        working = {job for job in jobs if any(name == job or name.startswith(f"{job}-") for name in names)}
        self._worked |= working
        if len(working) == self._wanted:
            self._ended, self._fruitless = set(), 0
            return "", False
        states = job_states()
        if states is None:
            return ", squeue does not answer", True
        ended = {job for job in jobs.keys() - working if jobs[job] not in states}
        # Missing twice in succession: an answer may come from before the job was submitted.
        if (sure := ended & self._ended) or len(jobs) < self._wanted:
            self._submit(jobs, sure, bool(names))
            ended -= sure
        self._ended = ended
        here = [states[number] for number in jobs.values() if number in states]
        counts = ", ".join(f"{here.count(state)} {state.lower()}" for state in sorted(set(here)))
        return f" (jobs: {counts or 'none'})", not _AT_WORK.issuperset(here)

    def _number(self, name: str) -> str:
        """Number of a job; empty where there is none, or Dask has dropped it."""
        return str(getattr(self._cluster.workers.get(name), "job_id", None) or "")

    def _submit(self, jobs: Mapping[str, str], ended: set[str], others: bool) -> None:
        now = time.monotonic()
        if now < self._not_before:
            return
        self._fruitless = 0 if ended & self._worked else self._fruitless + 1
        self._worked -= ended
        if ended:
            numbers = ", ".join(jobs[job] for job in sorted(ended))
            self._reason = f"the worker jobs end before a worker comes (job {numbers})"
        if self._fruitless >= FRUITLESS and not others:
            raise ExecutionError(f"{self._reason}; see slurm-NUMBER.out in the folder where the run was started")
        self._not_before = now + LOOK_EVERY_S * (2 ** min(self._fruitless, 5) - 1)
        self._message(
            f"{self._wanted - len(jobs) + len(ended)} of {self._wanted} worker jobs have ended: submitted again"
        )
        try:
            self._cluster.sync(submit_jobs, self._cluster, self._wanted, ended)
        except (RuntimeError, OSError, ValueError) as error:
            self._reason = f"worker jobs cannot be submitted: {one_line(error)}"
            self._message(self._reason)


def job_states() -> Mapping[str, str] | None:
    """State of each job of this user that has not ended, by its number; None when Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%i %T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split() for line in answer.stdout.splitlines() if line.strip())


def one_line(error: Exception) -> str:
    """What went wrong, of a message of many lines: the last one, which is the system's."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


_job = itertools.count()


async def submit_jobs(cluster: Any, jobs: int, ended: Collection[str] = ()) -> None:
    """Submits as many jobs as are missing, in place of those that have ended; what `sbatch` says against it is raised.

    `scale` of dask-jobqueue leaves an error of `sbatch` to nobody, and keeps the ended job of several workers.
    """
    from distributed.core import Status

    for name in ended:
        cluster.worker_spec.pop(name, None)
    while len(cluster.worker_spec) < jobs:
        # No name comes twice: Dask closes what has the name of a lost worker some seconds later.
        cluster.worker_spec[f"ldas-{next(_job)}"] = cluster.new_spec
    try:
        await cluster._correct_state()
    except (RuntimeError, OSError, ValueError):
        for name, job in list(cluster.workers.items()):
            if not getattr(job, "job_id", None):
                job.status = Status.failed  # as its cluster expects of every job at the end
                del cluster.workers[name], cluster.worker_spec[name]
        raise
