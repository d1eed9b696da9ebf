"""Runs the tasks of stages on Dask: a chain per block, a window of tasks in flight, retries, resuming."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import zarr

from ldas.landmodel.errors import LdasError
from ldas.pipeline.errors import ExecutionError, LeaseLostError
from ldas.pipeline.execution.stage import Stage, TaskResult, finish, prepare, run_task
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.icechunk_store import Uncommitted, committed, continued, publish, unfinished
from ldas.pipeline.store.lease import owner_of
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.retry import is_hopeless, not_writable

if TYPE_CHECKING:
    from distributed import Client, Future

_COMMITS = 50  # of a stage, at most: each holds many tasks, and a killed run repeats no more than one of them
_SHARE_OF_WORKER_MEMORY = 0.8  # the rest is the worker's own: libraries, compiled code, communication


class Listener(Protocol):
    """What is told about the progress of stages, of which several may be under way."""

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """A stage begins: number of tasks, and how many of them the ledger has as done."""

    def task_done(self, name: str, result: TaskResult) -> None:
        """A task of a stage has come back."""

    def block_failed(self, name: str, block: Block, period: Period, message: str) -> None:
        """A block of a stage is set aside after its last attempt."""

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


class _State(Enum):
    """How far a block of a stage is."""

    LEFT, DONE, GIVEN_UP = range(3)


@dataclass
class _Chain:
    """What is left of a block: its tasks in order, and how often the next one was tried."""

    block: Block
    periods: deque[Period]
    attempts: int = 0


class _Run:
    """A stage under way: the chains that wait, how many tasks are in flight, and what has come of the others."""

    def __init__(self, stage: Stage, retries: int, listener: Listener, uncommitted: Uncommitted) -> None:
        self.stage, self.retries, self.listener, self.uncommitted = stage, retries, listener, uncommitted
        self.began: float | None = None  # when its first task was submitted
        self.task_seconds = 0.0
        self.in_flight = 0
        self.all_submitted = False
        self.fruitless = False  # its tasks were done, but it could not be finished: no block of it is of any use
        periods = list(stage.periods())
        self.last_period = len(periods) - 1
        with unfinished(stage.location):
            statuses = ledger.statuses(open_store(stage.location), stage.name)
        done = ledger.done_tasks(statuses, stage.cells_per_block)
        self.done_before = done
        self.blocks_left = {int(index) for index in np.flatnonzero(~done.all(axis=0))}
        # Cells set aside in blocks that are done already; of the others, the results tell.
        last_done = np.repeat(done[-1:], stage.cells_per_block, axis=1)[:, : stage.cells]
        self.outcome = Outcome(int(np.count_nonzero((statuses[-1:] == ledger.SET_ASIDE) & last_done)))
        self.blocks = ledger.blocks_of(stage.cells, stage.cells_per_block)
        self.waiting = _unfinished(self.blocks, periods, done)
        self.following = next(self.waiting, None)

    def next_chain(self, state_of: Callable[[str, Block], _State]) -> _Chain | None:
        """The next chain whose cells are done in all stages that this one follows; None as long as there is none.

        A block of which cells were given up there is given up here too.

        Args:
            state_of: of the cells of a block, by name of the stage.
        """
        while (chain := self.following) is not None:
            states = {name: state_of(name, chain.block) for name in sorted(self.stage.follows)}
            if _State.LEFT in states.values():
                return None
            self.following = next(self.waiting, None)
            failed = [name for name, state in states.items() if state is _State.GIVEN_UP]
            if not failed:
                return chain
            self.give_up(chain, failed)
        self.all_submitted = True
        return None

    def give_up(self, chain: _Chain, failed: list[str]) -> None:
        """A block is left out, as stages that it follows failed."""
        self.outcome.failures[chain.block.index] = f"not begun: it failed in {', '.join(failed)}"
        chain.periods.clear()

    def state_of(self, block: Block) -> _State:
        """How far the cells of a block are, which may be one of another stage."""
        own = blocks_with(block, self.stage.cells_per_block)
        if not self.outcome.failures.keys().isdisjoint(own):
            return _State.GIVEN_UP
        return _State.DONE if self.blocks_left.isdisjoint(own) else _State.LEFT

    def begin(self) -> None:
        """Its first task is submitted, or it turns out that there is none."""
        if self.began is None:
            self.began = time.monotonic()
            self.listener.stage_started(self.stage.name, self.done_before.size, int(self.done_before.sum()))

    def take_result(self, chain: _Chain, result: TaskResult) -> None:
        """A task came back."""
        chain.attempts = 0
        chain.periods.popleft()
        self.uncommitted.add((self.stage.name, chain.block.index), result.changes)
        if not chain.periods:
            self.blocks_left.discard(chain.block.index)
        self.task_seconds += result.seconds
        self.listener.task_done(self.stage.name, result)
        if result.period == self.last_period:
            self.outcome.cells_set_aside += result.set_aside

    def take_error(self, chain: _Chain, error: BaseException) -> None:
        """A task failed: it stays first in its chain, or, after its last attempt, the block is given up."""
        chain.attempts += 1
        if isinstance(error, LeaseLostError):
            raise error
        stop_if_hopeless(self.stage.location, error)
        if not isinstance(error, LdasError) and chain.attempts <= self.retries:
            return
        key = self.stage.name, chain.block.index
        with continued(self.stage.location, self.uncommitted.base(key)) as changes:
            self._set_aside(open_store(self.stage.location, "a"), chain.block, chain.periods[0], error)
        self.uncommitted.add(key, changes)
        chain.periods.clear()

    def _set_aside(self, root: zarr.Group, block: Block, period: Period, error: BaseException) -> None:
        self.outcome.failures[block.index] = f"{period}: {type(error).__name__}: {error}"
        left = ledger.left_of(block, ledger.block_status(root, self.stage.name, block)[period.index])
        ledger.mark(root, self.stage.name, left, period, ledger.FAILED)
        self.listener.block_failed(self.stage.name, block, period, str(error))

    def finish(self) -> Outcome:
        """Ends the stage, whose chains are all done or given up."""
        location, name = self.stage.location, self.stage.name
        self.begin()
        self.uncommitted.commit()
        with committed(location, f"{name}: finished"):
            root = open_store(location, "a")
            if not self.outcome.failures:
                try:
                    finish(self.stage, root)
                except LdasError as error:
                    period = list(self.stage.periods())[-1]
                    self._set_aside(root, self.blocks[0], period, error)
                    self.fruitless = True
                    ledger.mark_all(root, name, period, ledger.FAILED)
            ledger.set_failures(root, name, self.outcome.failures, location.url)
            if self.began is not None and not self.done_before.all():
                ledger.add_seconds(root, name, time.monotonic() - self.began, self.task_seconds)
            # Not what an earlier run left of a later stage: it waits for its own end.
            whole = location.has_versions and all(ledger.is_complete(root, name) for name in ledger.experiments(root))
        if whole:
            publish(location)
        self.listener.stage_finished(name)
        return self.outcome


def run_stages(
    stages: Iterable[Stage],
    client: "Client",
    *,
    tasks_in_flight: Callable[[], int],
    retries: int,
    listener: Listener,
    begin: Callable[[Stage], None] = prepare,
) -> dict[str, Outcome]:
    """Runs what the ledgers do not have as done, each stage as soon as those that it `needs` are, and each of its
    blocks as soon as those that it `follows` have done its cells; outcomes by name.

    A stage is built (taken from `stages`) when no earlier one is left that needs all before it. After a stage with
    failed blocks no other begins.

    Args:
        tasks_in_flight: the most of all stages together, asked for whenever a stage begins.
        begin: called before a stage starts.

    Raises:
        ExecutionError: if there is no point in continuing: the store is full or may not be written, the scheduler is
            gone.
    """
    return _Stages(iter(stages), client, tasks_in_flight, retries, listener, begin).run()


class _Stages:
    """Stages of one `run_stages`: those not yet built, those that wait, those under way, outcomes of the others."""

    def __init__(
        self,
        source: Iterator[Stage],
        client: "Client",
        tasks_in_flight: Callable[[], int],
        retries: int,
        listener: Listener,
        begin: Callable[[Stage], None],
    ) -> None:
        from distributed import as_completed

        self.source, self.client, self.tasks_in_flight = source, client, tasks_in_flight
        self.retries, self.listener, self.begin = retries, listener, begin
        self.waiting: list[Stage] = []
        self.runs: dict[str, _Run] = {}
        self.ended: dict[str, _Run] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.in_flight: dict[Future, tuple[_Run, _Chain]] = {}
        self.finished = as_completed([], loop=client.loop)
        self.most_in_flight = 0
        self.tasks_a_commit = 1
        self.uncommitted: dict[str, Uncommitted] = {}  # by URL of the store

    def run(self) -> dict[str, Outcome]:
        """See `run_stages`."""
        try:
            while True:
                self._begin_stages()
                self._submit_more()
                if not self.runs:
                    return self.outcomes
                if self.in_flight:
                    self._take_next()
                    self._submit_more()
                self._end_stages()
        except SystemExit:  # a signal
            self._commit()
            raise
        finally:
            self.client.cancel(list(self.in_flight))  # of a run that ends early; nothing is left otherwise

    def _begin_stages(self) -> None:
        """Builds the stages that may be built, and begins those that may begin."""
        if any(outcome.failures for outcome in self.outcomes.values()):
            return
        while not any(stage.needs is None for stage in (*self.waiting, *(run.stage for run in self.runs.values()))):
            following = next(self.source, None)
            if following is None:
                break
            self.waiting.append(following)
        left = {stage.name for stage in self.waiting} | set(self.runs)
        for stage in list(self.waiting):
            before = left - {stage.name} if stage.needs is None else left & set(stage.needs)
            if not before and not {other.name for other in self.waiting} & set(stage.follows):
                self.waiting.remove(stage)
                self._commit()  # what the tasks of this stage begin with are its templates and all before them
                self.begin(stage)
                uncommitted = self.uncommitted.setdefault(stage.location.url, Uncommitted(stage.location))
                self.runs[stage.name] = _Run(stage, self.retries, self.listener, uncommitted)
                self.most_in_flight = self.tasks_in_flight()
                most_tasks = max(run.done_before.size for run in self.runs.values())
                self.tasks_a_commit = max(self.most_in_flight, -(-most_tasks // _COMMITS))

    def _commit(self) -> None:
        for uncommitted in self.uncommitted.values():
            uncommitted.commit()

    def _submit_more(self) -> None:
        """Submits tasks of chains that wait, as long as more may be in flight."""
        for run in self.runs.values():
            while len(self.in_flight) < self.most_in_flight and (chain := run.next_chain(self._state_of)) is not None:
                self._submit(run, chain)

    def _state_of(self, name: str, block: Block) -> _State:
        """How far a stage is with the cells of a block."""
        run = self.runs.get(name) or self.ended.get(name)
        if run is None:  # none of those that are run here
            return _State.DONE
        return _State.GIVEN_UP if run.fruitless else run.state_of(block)

    def _chains_before(self, run: _Run, block: Block) -> Iterator[tuple[str, int]]:
        """Those of the stages that a stage follows, with cells of a block."""
        for name in sorted(run.stage.follows):
            if (other := self.runs.get(name) or self.ended.get(name)) is not None:
                yield from ((name, index) for index in blocks_with(block, other.stage.cells_per_block))

    def _submit(self, run: _Run, chain: _Chain) -> None:
        run.begin()
        future = self.client.submit(
            run_task,
            run.stage,
            chain.block,
            chain.periods[0],
            wait_s=0.0 if chain.attempts == 0 else 0.2 * 2.0**chain.attempts,
            owner=owner_of(run.stage.location),
            before=run.uncommitted.base((run.stage.name, chain.block.index), self._chains_before(run, chain.block)),
            pure=False,
            resources=dict(run.stage.resources),
            retries=0,
            key=f"{run.stage.name}-{chain.block.index}-{chain.periods[0].index}-{next(_submission)}",
        )
        self.in_flight[future] = run, chain
        run.in_flight += 1
        self.finished.add(future)

    def _take_next(self) -> None:
        """Waits for a task, and submits the next one of its chain."""
        future = next(self.finished)
        run, chain = self.in_flight.pop(future)
        run.in_flight -= 1
        error, result = _outcome_of(future)
        future.release()
        if error is not None:
            run.take_error(chain, error)
        else:
            assert result is not None
            fruitless = [name for name, ended in self.ended.items() if ended.fruitless]
            if fruitless and result.changes is not None:  # they may hold what those had written before they failed
                run.give_up(chain, fruitless)
            else:
                run.take_result(chain, result)
        if run.uncommitted.tasks >= self.tasks_a_commit:
            run.uncommitted.commit()
        if chain.periods:
            self._submit(run, chain)

    def _end_stages(self) -> None:
        """Ends the stages that have nothing left."""
        for name, run in list(self.runs.items()):
            if run.all_submitted and not run.in_flight:
                self.outcomes[name] = run.finish()
                self.ended[name] = self.runs.pop(name)


def blocks_with(block: Block, cells_per_block: int) -> range:
    """Which blocks of another size hold the cells of a block."""
    return range(block.start // cells_per_block, -(-block.stop // cells_per_block))


def _unfinished(blocks: list[Block], periods: list[Period], done: np.ndarray) -> Iterator[_Chain]:
    for block in blocks:
        left = deque(period for period in periods if not done[period.index, block.index])
        if left:
            yield _Chain(block, left)


_submission = itertools.count()


def _outcome_of(future: "Future") -> tuple[BaseException | None, TaskResult | None]:
    from distributed import CancelledError
    from distributed.comm import CommClosedError

    try:
        if future.status == "error":
            return future.exception(), None
        return None, future.result()
    except (CancelledError, CommClosedError, TimeoutError) as lost:
        raise ExecutionError(
            "the connection to the Dask scheduler is lost; tasks the ledger marks as done are safe: run the same "
            "command again to resume"
        ) from lost


def stop_if_hopeless(location: Location, error: BaseException) -> None:
    """ExecutionError for a store that is full or may not be written: trying again, or another block, is useless."""
    file = getattr(error, "filename", None)
    root = Path(location.url.split("://", 1)[-1]).expanduser().resolve()
    elsewhere = location.protocol == "file" and file is not None and not Path(file).resolve().is_relative_to(root)
    if is_hopeless(error) and not elsewhere:
        raise not_writable(location.url, error) from error


def check_memory(stage: Stage, worker_memory: int, threads: int) -> None:
    """Refuses, before the start, tasks that a worker's memory cannot hold, with the numbers and a block that fits."""
    most = int(_SHARE_OF_WORKER_MEMORY * worker_memory / threads)
    needed = stage.memory_bytes(min(stage.cells_per_block, stage.cells))
    if needed <= most:
        return
    fitting = stage.cells_per_block
    while fitting > 1 and stage.memory_bytes(fitting) > most:
        fitting //= 2
    if stage.memory_bytes(fitting) <= most:
        advice = f"set {stage.size_key} to {fitting}, or "
    else:
        advice = "" if stage.days_key is None else f"set {stage.days_key} lower, or "
    raise ExecutionError(
        f"a task of '{stage.name}' over {min(stage.cells_per_block, stage.cells)} cells needs about "
        f"{needed / 2**20:.0f} MiB; a worker has {worker_memory / 2**20:.0f} MiB for {threads} task(s) at a time, so "
        f"{most / 2**20:.0f} MiB each: {advice}give the workers more memory"
    )
