"""Runs the tasks of a stage on Dask: a chain per block, a window of tasks in flight, retries, resuming."""

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from landmodel.errors import LdasError
from pipeline import ledger
from pipeline.errors import ExecutionError
from pipeline.ledger import Block, Period
from pipeline.location import Location
from pipeline.retry import is_hopeless
from pipeline.stages.base import Stage, TaskResult, run_task
from pipeline.store import open_store
from pipeline.versioned import committed, publish, unfinished

if TYPE_CHECKING:
    from distributed import Client, Future

_SHARE_OF_WORKER_MEMORY = 0.8  # the rest is the worker's own: libraries, compiled code, communication


class Listener(Protocol):
    """What is told about the progress of a stage."""

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """A stage begins: number of tasks, and how many of them the ledger has as done."""

    def task_done(self, result: TaskResult) -> None:
        """A task has come back."""

    def block_failed(self, block: Block, period: Period, message: str) -> None:
        """A block is set aside after its last attempt."""

    def stage_finished(self, name: str) -> None:
        """A stage ends."""


@dataclass
class Outcome:
    """What came of a stage: cells set aside by the model, blocks that failed with their messages."""

    cells_set_aside: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everything was done."""
        return not self.failures and not self.cells_set_aside


@dataclass
class _Chain:
    """What is left of a block: its tasks in order, and how often the next one was tried."""

    block: Block
    periods: deque[Period]
    attempts: int = 0


def run_stage(stage: Stage, client: "Client", *, window: int, retries: int, listener: Listener) -> Outcome:
    """Runs what the ledger does not have as done. The stage must have been prepared (`stages.base.prepare`).

    Raises ExecutionError when going on is useless: the store is full or may not be written, the scheduler is gone.
    """
    periods = list(stage.periods())
    blocks = ledger.blocks_of(stage.cells, stage.cells_per_block)
    with unfinished(stage.location):
        statuses = ledger.statuses(open_store(stage.location), stage.name)
    done = ledger.done_tasks(statuses, stage.cells_per_block)
    # Cells set aside in blocks that are done already; of the others, the results tell.
    last_done = np.repeat(done[-1:], stage.cells_per_block, axis=1)[:, : stage.cells]
    outcome = Outcome(int(np.count_nonzero((statuses[-1:] == ledger.SET_ASIDE) & last_done)))
    began = time.monotonic()
    listener.stage_started(stage.name, done.size, int(done.sum()))
    chains = _unfinished(blocks, periods, done)
    for chain, error, result in _results(stage, client, chains, window=window):
        if result is not None:
            listener.task_done(result)
            if result.period == len(periods) - 1:
                outcome.cells_set_aside += result.set_aside
            continue
        period = chain.periods[0]
        assert error is not None
        stop_if_hopeless(stage.location, error)
        if isinstance(error, LdasError) or chain.attempts > retries:
            message = f"{period}: {type(error).__name__}: {error}"
            outcome.failures[chain.block.index] = message
            with committed(stage.location, f"{stage.name}: block {chain.block.index} set aside"):
                ledger.mark(open_store(stage.location, "a"), stage.name, chain.block, period, ledger.FAILED)
            listener.block_failed(chain.block, period, str(error))
            chain.periods.clear()
    with committed(stage.location, f"{stage.name}: finished"):
        root = open_store(stage.location, "a")
        ledger.set_failures(root, stage.name, outcome.failures)
        if not outcome.failures:
            stage.finish(root)
        if not done.all():
            ledger.add_seconds(root, stage.name, time.monotonic() - began)
        # Not what an earlier run left of a later stage: it waits for its own end.
        whole = stage.location.has_versions and all(ledger.is_complete(root, name) for name in ledger.experiments(root))
    if whole:
        publish(stage.location)
    listener.stage_finished(stage.name)
    return outcome


def _unfinished(blocks: list[Block], periods: list[Period], done: np.ndarray) -> Iterator[_Chain]:
    for block in blocks:
        left = deque(period for period in periods if not done[period.index, block.index])
        if left:
            yield _Chain(block, left)


def _results(
    stage: Stage, client: "Client", chains: Iterable[_Chain], *, window: int
) -> Iterator[tuple[_Chain, BaseException | None, TaskResult | None]]:
    """Submits the next task of each chain, `window` at a time, and yields what comes back.

    Between two yields the caller may clear `chain.periods`; a chain that still has some goes on with its next task, or
    with the same one after an error.
    """
    from distributed import as_completed

    waiting = iter(chains)
    in_flight: dict[Future, _Chain] = {}
    finished = as_completed([], loop=client.loop)

    def submit(chain: _Chain) -> None:
        future = client.submit(
            run_task,
            stage,
            chain.block,
            chain.periods[0],
            wait_s=0.0 if chain.attempts == 0 else 0.2 * 2.0**chain.attempts,
            pure=False,
            retries=0,
            key=f"{stage.name}-{chain.block.index}-{chain.periods[0].index}-{next(_submission)}",
        )
        in_flight[future] = chain
        finished.add(future)

    try:
        for chain in itertools.islice(waiting, window):
            submit(chain)
        while in_flight:
            future = next(finished)
            chain = in_flight.pop(future)
            error, result = _outcome_of(future)
            chain.attempts = 0 if error is None else chain.attempts + 1
            if error is None:
                chain.periods.popleft()
            future.release()
            yield chain, error, result
            if chain.periods:
                submit(chain)
            elif (following := next(waiting, None)) is not None:
                submit(following)
    finally:
        client.cancel(list(in_flight))  # of a run that ends early; nothing is left otherwise


_submission = itertools.count()


def _outcome_of(future: "Future") -> tuple[BaseException | None, TaskResult | None]:
    from distributed import CancelledError
    from distributed.comm import CommClosedError

    try:
        error = future.exception()
        return (error, None) if error is not None else (None, future.result())
    except (CancelledError, CommClosedError, TimeoutError) as lost:
        raise ExecutionError(
            "the connection to the Dask scheduler is lost; what the ledger has as done is safe: start the same command "
            "again and it goes on from there"
        ) from lost


def stop_if_hopeless(location: Location, error: BaseException) -> None:
    """ExecutionError for a store that is full or may not be written: trying again, or another block, is useless."""
    file = getattr(error, "filename", None)
    root = Path(location.url.split("://", 1)[-1]).expanduser().resolve()
    elsewhere = location.protocol == "file" and file is not None and not Path(file).resolve().is_relative_to(root)
    if is_hopeless(error) and not elsewhere:
        reason = getattr(error, "strerror", None) or error
        raise ExecutionError(
            f"{location.url} cannot be written ({reason}); what was complete stays readable: make room or give "
            "permission, then start the same command again"
        ) from error


def check_memory(stage: Stage, worker_memory: int, threads: int) -> None:
    """Refuses, before the start, tasks that a worker's memory cannot hold, with the numbers and a block that fits."""
    most = int(_SHARE_OF_WORKER_MEMORY * worker_memory / threads)
    needed = stage.memory_bytes(min(stage.cells_per_block, stage.cells))
    if needed <= most:
        return
    fitting = stage.cells_per_block
    while fitting > 1 and stage.memory_bytes(fitting) > most:
        fitting //= 2
    advice = (
        f"set execution.cells_per_block to {fitting}"
        if stage.memory_bytes(fitting) <= most
        else "set execution.days_per_period lower"
    )
    raise ExecutionError(
        f"a task of '{stage.name}' over {min(stage.cells_per_block, stage.cells)} cells needs about "
        f"{needed / 2**20:.0f} MiB; a worker has {worker_memory / 2**20:.0f} MiB for {threads} task(s) at a time, so "
        f"{most / 2**20:.0f} MiB each: {advice}, or give the workers more memory"
    )
