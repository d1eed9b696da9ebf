"""From spin-up to assimilation, small; as a program of its own it can be killed: assimilation_run STORE CELLS DAYS."""

import sys
from pathlib import Path
from typing import Any

from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.settings.experiment import ExperimentConfig
from tests.helpers.synthetic_store import experiment
from tests.helpers.toy import Silence

CELLS, DAYS = 4, 21
NETWORKS = {"hidden": [8], "epochs": 10, "minimum_samples": 8, "validation_fraction": 0.5, "block_size": 3}
TRAINING = {"start": "2007-04-01", "end": "2007-04-21"}
EKF = {
    "name": "ekf",
    "observations": [
        {"name": "sigma40", "operator": "neural"},
        {"name": "swi", "rescale": "linear"},
        {"name": "lai"},
    ],
}


def whole(path: Path, cells_per_block: int, days_per_period: int, *runs: dict[str, Any]) -> ExperimentConfig:
    """Spin-up, open loop, training, and an assimilation of all three kinds of observations from the first day."""
    return experiment(
        path,
        period={"start": "2007-04-01", "end": "2007-04-21"},
        spin_up={"year": 2007, "repetitions": 1},
        open_loop={"restart_on": ["2007-04-21"]},
        operators=[{"name": "neural", "training": TRAINING, "neural": NETWORKS}],
        assimilation=[EKF, *runs],
        execution={
            "cells_per_block": cells_per_block,
            "days_per_period": days_per_period,
            "cluster": {"workers": 2},
        },
    )


if __name__ == "__main__":
    run_experiment(whole(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), Silence())
