"""Stages of an experiment one after the other on a cluster that is there, as the tests of stages run them."""

from collections.abc import Iterator

from distributed import Client

from pipeline.config import ExperimentConfig
from pipeline.execution import Listener, Outcome, run_stage
from pipeline.stages.base import prepare
from pipeline.stages.build import build_stages
from tests.pipeline.toy import Silence


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
        prepare(stage)
        yield run_stage(stage, client, window=4, retries=retries, listener=listener or Silence())
        if stage.name == last:
            return
    assert last is None, f"no stage {last}"
