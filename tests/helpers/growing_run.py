"""A small run that grows day by day; as a program of its own it can be killed: growing_run STORE END."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from tests.helpers.runs import run_here
from tests.helpers.synthetic_store import FIRST_DAY, experiment, made_up_observations, make_store, write_observations

CELLS, DAYS = 2, 12
FIRST_END, NEXT_END, LAST = "2007-04-08", "2007-04-09", "2007-04-12"
SEEN = {
    "name": "seen",
    "kind": "water_cloud",
    "training": {"start": "2007-04-01", "end": "2007-04-05"},
    "lai": None,
    "water_cloud": {"minimum_samples": 5},
    "time_matching": "overpass",
}
RESCALED = {"rescale": "linear", "rescale_months": 1, "rescale_period": {"start": "2007-04-01", "end": FIRST_END}}
EKF = {
    "name": "ekf",
    "observations": [{"name": "sigma40", "operator": "seen"}, {"name": "swi", **RESCALED}, {"name": "lai"}],
}
MEMBERS = {"name": "members", "filter": "ensrf", "ensrf": {"members": 2}, "observations": [{"name": "swi"}]}


def make(path: Path) -> None:
    """Land, weather and observations of twelve days, of backscatter two overpasses a day."""
    make_store(path, cells=CELLS, days=DAYS)
    _, arrays = made_up_observations(CELLS, DAYS)["sigma40"]
    by_day = {name: given.reshape(DAYS, 2, CELLS) for name, given in arrays.items()}
    hours = np.where(np.isfinite(by_day["value"]), np.array([9.0, 20.25])[:, None], np.nan)
    days = FIRST_DAY + np.arange(DAYS) * np.timedelta64(1, "D")
    write_observations(path, "sigma40", days, {**by_day, "overpass_hour": hours})


def config_of(path: Path, end: str) -> ExperimentConfig:
    """Open loop, an operator of overpasses, an SEKF and an ensemble; one block, five days a period."""
    return experiment(
        path,
        period={"start": "2007-04-01", "end": end},
        open_loop={"restart_on": ["2007-04-05"]},
        output={"mean": ["LE"], "instant": ["WG1", "WG2", "TG2", "LAI"], "per_patch": ["LAI"]},
        operators=[SEEN],
        assimilation=[EKF, MEMBERS],
        execution={"cells_per_block": CELLS, "days_per_period": 5},
    )


def run_until(
    path: Path, end: str, last: str = "members", after_task: Callable[[str], None] = lambda name: None
) -> dict[str, float]:
    """All stages up to one, in this process; the days of each that were run."""
    days = {}
    for stage in build_stages(config_of(path, end)):
        days[stage.name] = run_here(stage, lambda result, name=stage.name: after_task(name))  # type: ignore[misc]
        if stage.name == last:
            break
    return days


if __name__ == "__main__":
    run_until(Path(sys.argv[1]), sys.argv[2], "ekf")
