"""Stages on a cluster that is there, one after the other, as the tests of stages run them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from distributed import Client

from ldas.pipeline.errors import PipelineError
from ldas.pipeline.execution import run_stages as execution
from ldas.pipeline.execution.run_stages import Listener, Outcome
from ldas.pipeline.execution.stage import Stage, TaskResult, finish, prepare, run_task
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import open_store
from tests.helpers.toy import Silence


def run_stage(stage: Stage, client: Client, *, tasks_in_flight: int, retries: int, listener: Listener) -> Outcome:
    """One stage alone, prepared if it is not."""
    only = execution.run_stages(
        [stage], client, tasks_in_flight=lambda: tasks_in_flight, retries=retries, listener=listener
    )
    return only[stage.name]


def run_here(stage: Stage, after_task: Callable[[TaskResult], None] = lambda result: None) -> float:
    """One stage in this process, without a cluster, blocks last to first; the days that were run, of all blocks."""
    prepare(stage)
    days = 0.0
    for block in reversed(ledger.blocks_of(stage.cells, stage.cells_per_block)):
        for period in stage.periods():
            result = run_task(stage, block, period)
            days += result.days
            after_task(result)
    finish(stage, open_store(stage.location, "a"))
    return days


def run_stages(
    config: ExperimentConfig,
    client: Client,
    *,
    retries: int = 0,
    last: str | None = None,
    listener: Listener | None = None,
) -> Iterator[Outcome]:
    """Runs what is not done, up to the stage of this name or to the end; gives the outcome of each stage."""
    for stage in build_stages(config):
        yield run_stage(stage, client, tasks_in_flight=4, retries=retries, listener=listener or Silence())
        if stage.name == last:
            return
    assert last is None, f"no stage {last}"


def tasks_done(path: Path, name: str) -> int:
    """Tasks that the ledger has as done; 0 before there is one, also while another process is making it."""
    try:
        root = open_store(str(path))
        if f"{ledger.path_of(name)}/status" not in root:
            return 0
        return int(ledger.done_tasks(ledger.statuses(root, name), ledger.block_size(root, name)).sum())
    except (PipelineError, OSError, KeyError):
        return 0
