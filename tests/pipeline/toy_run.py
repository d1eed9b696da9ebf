"""Runs the toy stage in a process of its own, so that a test can kill it: toy_run.py STORE SECONDS PROCESSES."""

import sys

from pipeline.cluster import connected
from pipeline.config import ClusterConfig
from pipeline.execution import run_stage
from pipeline.location import Location
from pipeline.stages.base import prepare
from tests.pipeline.toy import Silence, ToyStage


def main() -> None:
    """See the module."""
    url, seconds, processes = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "processes"
    stage = ToyStage("toy", Location(url), cells=12, cells_per_block=3, seconds=seconds)
    with connected(ClusterConfig(workers=2, processes=processes)) as client:
        prepare(stage)
        run_stage(stage, client, window=4, retries=2, listener=Silence())


if __name__ == "__main__":
    main()
