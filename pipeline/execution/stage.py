"""What a stage is: something that runs block by block and period by period, each task the same whenever it is run."""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import zarr

from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import existing_group, has_group, open_store
from ldas.pipeline.store.groups import show
from ldas.pipeline.store.icechunk_store import Changes, committed, continued
from ldas.pipeline.store.lease import borrowed
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.location import Location

if TYPE_CHECKING:
    from ldas.landmodel.gpu import Card


@dataclass(frozen=True)
class TaskResult:
    """The few numbers a task sends back."""

    block: int
    period: int
    cells: int
    days: float
    seconds: float
    set_aside: int
    skipped: bool = False
    changes: Changes | None = None  #: of a store with versions, for the driver to commit


@dataclass(frozen=True)
class Stage(ABC):
    """One stage of an experiment on one store. Small and picklable: it travels to the workers with every task.

    A task reads its region, computes, writes its region and its restart, and marks the ledger. Run twice, it writes the
    same bytes; the periods of a block run one after the other, blocks in any order.
    """

    name: str  #: name of the run in the store, and of its ledger
    location: Location
    cells: int
    cells_per_block: int
    #: keys of the identity that may grow in an extension, such as a later end
    growing_keys: ClassVar[tuple[str, ...]] = ()
    #: keys of the experiment file that set `cells_per_block`, and the days of a task, where that is possible
    size_key: ClassVar[str] = "execution.cells_per_block"
    days_key: ClassVar[str | None] = "execution.days_per_period"

    def root(self) -> zarr.Group:
        """The store, read only."""
        return open_store(self.location)

    @abstractmethod
    def periods(self) -> Sequence[Period]:
        """The periods of every block, in order."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """All that the bytes depend on; another identity is refused on resuming, key by key."""

    @abstractmethod
    def create(self, root: zarr.Group) -> None:
        """Makes the templates that the tasks write into."""

    @abstractmethod
    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """Reads, computes and writes; the status (DONE or SET_ASIDE) of each cell of the block.

        Of a block with chosen cells, the others' output must stay as it is: not written, or computed to the same bytes.
        """

    @abstractmethod
    def memory_bytes(self, cells: int) -> int:
        """Memory that a task over this many cells needs, at most."""

    @property
    def needs(self) -> Collection[str] | None:
        """Names of the stages that must be done before this one begins.

        None: all those before it, and those after it need it: they are built and begin when it is done.
        """
        return None

    @property
    def follows(self) -> Collection[str]:
        """Names of the stages that must have done the cells of a block before this one begins with it."""
        return ()

    @property
    def resources(self) -> Mapping[str, float]:
        """Dask's worker resources that each task needs; none, but for tasks that compute on a card."""
        return {}

    def cells_that_fit(self, card: "Card") -> int | None:
        """How many cells of a block a card holds; None for tasks that do not compute on one."""
        return None

    @property
    def takes_over_from_other_device(self) -> bool:
        """Whether what another device has begun may be continued, though the last digits differ."""
        return False

    def work_days(self, period: Period) -> float:
        """Days that the model runs in a period, for the rate that progress shows."""
        return float((period.stop - period.start) / np.timedelta64(1, "D"))

    def places_until(self, period: Period, instant: np.datetime64) -> int:
        """How many places of a period's axis (`Period.days`) an earlier run that ended at an instant had done: days."""
        return int((instant - period.start) // ledger.DAY)

    @property
    def growing_groups(self) -> Collection[str]:
        """Groups whose time axis gets longer in an extension; readers do not see the new times before all are there."""
        return ()

    def require_restart(self, root: zarr.Group, instant: np.datetime64) -> None:  # noqa: B027
        """Refuses (StoreError) to continue from an instant without its restart, or with one of another version or
        model; most stages have none."""

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """Lengthens the templates to the present periods; only stages that grow are asked to."""
        raise NotImplementedError

    def superseded_at(self, instant: np.datetime64) -> Collection[str]:
        """Restarts at the end of an earlier run, inside a period, that nothing needs when the period is done."""
        return ()

    def is_outdated(self, root: zarr.Group) -> bool:
        """Whether templates and ledger are of an earlier version whose tasks cannot be resumed; they are made again."""
        return False

    def record(self, root: zarr.Group) -> None:  # noqa: B027  (most stages have nothing of the kind)
        """What the present configuration says that the bytes do not depend on; called when the templates are there."""

    def refresh(self, root: zarr.Group) -> None:  # noqa: B027
        """Says again what the output is made from; called when inputs changed and a part of it is computed again."""

    def finish(self, root: zarr.Group) -> None:  # noqa: B027  (most stages have nothing left to do)
        """What is left to do when all tasks are done."""


def prepare(stage: Stage) -> None:
    """Makes templates and ledger, takes in a later end, or refuses another configuration (ConfigurationError)."""
    with committed(stage.location, f"{stage.name}: prepared"):
        _prepare(stage)


def _prepare(stage: Stage) -> None:
    root = open_store(stage.location, "a")
    if stage.name not in ledger.experiments(root):
        _begin_anew(root, stage)
        stage.record(root)
        return
    different = differences(root, stage)
    growing = refuse_other_configuration(stage, different)
    if stage.is_outdated(root):
        _begin_anew(root, stage)
    elif growing or _ends_later(root, stage):
        shrunk = {key: values for key, values in growing.items() if not str(values[1]) > str(values[0])}
        ledger.refuse_differences(stage.name, shrunk)
        old_periods = ledger.stored_periods(root, stage.name)
        stage.require_restart(root, np.datetime64(old_periods[-1][1], "s"))
        # First, so that the earlier end is refused from now on: what is lengthened fits the later one only.
        ledger.set_identity(root, stage.name, stage.identity())
        stage.extend(root, old_periods)
        ledger.extend(root, stage.name, stage.periods(), stage.places_until)
    elif ledger.DEVICE in different:
        ledger.set_identity(root, stage.name, stage.identity())
    stage.record(root)


def differences(root: zarr.Group, stage: Stage) -> dict[str, tuple[Any, Any]]:
    """Keys whose value differs from the one that made the stage: key -> (stored, now).

    Another device is no difference where nothing is left to compute.
    """
    different = ledger.differences(root, stage.name, stage.identity())
    if different.keys() == {ledger.DEVICE} and is_finished(stage, root) and not _ends_later(root, stage):
        return {}
    return different


def refuse_other_configuration(stage: Stage, different: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Those of the `differences` that an extension may have: key -> (stored, now).

    Raises:
        ConfigurationError: for any other one, except the device where the stage may resume on another.
    """
    growing = {key: values for key, values in different.items() if key in stage.growing_keys}
    other = {key: values for key, values in different.items() if key not in growing}
    if stage.takes_over_from_other_device:
        other.pop(ledger.DEVICE, None)
    ledger.refuse_differences(stage.name, other)
    return growing


def _ends_later(root: zarr.Group, stage: Stage) -> bool:
    """Whether a stage that grows has later periods than its ledger, though no key of the configuration says so: it
    follows another one that became longer, or an extension was interrupted."""
    if not stage.growing_groups:
        return False
    return bool(stage.periods()[-1].stop > np.datetime64(ledger.stored_periods(root, stage.name)[-1][1], "s"))


def is_finished(stage: Stage, root: zarr.Group) -> bool:
    """Whether all tasks are done, and all that follows from them (`finish`)."""
    if not ledger.is_complete(root, stage.name) or ledger.interim_stops(root, stage.name):
        return False
    return not any(existing_group(root, path).attrs.get("appending", False) for path in stage.growing_groups)


def finish(stage: Stage, root: zarr.Group) -> None:
    """What is left to do when all tasks are done: what only an extension under way needs goes, and all becomes visible.

    Interrupted, it is done when the run is started again.
    """
    stage.finish(root)
    for stop in ledger.interim_stops(root, stage.name):
        for path in stage.superseded_at(stop):
            if has_group(root, path):
                del root[path]
    ledger.settle(root, stage.name)
    for path in stage.growing_groups:
        show(root, path)


def _begin_anew(root: zarr.Group, stage: Stage) -> None:
    stage.create(root)
    ledger.create(  # last: without a ledger, the templates are made again
        root,
        stage.name,
        periods=stage.periods(),
        cells=stage.cells,
        cells_per_block=stage.cells_per_block,
        identity=stage.identity(),
    )


def run_task(
    stage: Stage,
    block: Block,
    period: Period,
    wait_s: float = 0.0,
    owner: tuple[str, float] | None = None,
    before: Changes | None = None,
) -> TaskResult:
    """One task, on a worker. A task that the ledger marks as done is skipped.

    Args:
        owner: of the run's lease on the store (`lease.owner_of`); a task whose run lost it, or is over, writes nothing.
        before: in a store with versions, the changes that the task's own follow; it counts as done when the driver has
            committed them.
    """
    time.sleep(wait_s)  # a task that failed is tried again a little later
    with borrowed(stage.location, owner), continued(stage.location, before) as changes:
        return replace(_run_task(stage, block, period), changes=changes)


def _run_task(stage: Stage, block: Block, period: Period) -> TaskResult:
    root = open_store(stage.location, "a")
    status = ledger.block_status(root, stage.name, block)
    if is_done(status[period.index]):
        return TaskResult(block.index, period.index, block.cells, 0.0, 0.0, _count(status[period.index]), skipped=True)
    if period.index and not is_done(status[period.index - 1]):
        raise ConfigurationError(f"block {block.index}: period {period.index} before the one it follows is done")
    began = time.perf_counter()
    left = ledger.left_of(block, status[period.index])
    rest = ledger.rest_of(root, stage.name, left, period)
    if not stage.location.has_versions:  # where it would be seen with the task's end only
        ledger.mark(root, stage.name, left, period, ledger.STARTED, status)
    result = stage.compute(root, left, rest)
    ledger.mark(root, stage.name, left, period, result, status)
    set_aside = _count(result if left.mask is None else np.where(left.mask, result, status[period.index]))
    cells, days = block.cells if left.chosen is None else len(left.chosen), stage.work_days(rest)
    return TaskResult(block.index, period.index, cells, days, time.perf_counter() - began, set_aside)


def is_done(status: np.ndarray) -> bool:
    """Whether all cells of a task are done or set aside."""
    return bool(np.isin(status, (ledger.DONE, ledger.SET_ASIDE)).all())


def _count(status: np.ndarray) -> int:
    return int((status == ledger.SET_ASIDE).sum())
