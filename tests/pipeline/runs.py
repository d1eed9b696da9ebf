"""Stages on a cluster that is there, one after the other, as the tests of stages run them."""

from collections.abc import Iterator
from pathlib import Path

from distributed import Client

from pipeline import execution, ledger
from pipeline.config import ExperimentConfig
from pipeline.errors import PipelineError
from pipeline.execution import Listener, Outcome
from pipeline.stages.base import Stage
from pipeline.stages.build import build_stages
from pipeline.store import open_store
from tests.pipeline.toy import Silence


def run_stage(stage: Stage, client: Client, *, window: int, retries: int, listener: Listener) -> Outcome:
    """One stage alone, prepared if it is not."""
    only = execution.run_stages([stage], client, window=lambda: window, retries=retries, listener=listener)
    return only[stage.name]


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
        yield run_stage(stage, client, window=4, retries=retries, listener=listener or Silence())
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
