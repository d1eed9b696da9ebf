"""Experiments, runs and comparisons of the tests of the assimilation stage."""

from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from ldas.pipeline.execution.run_stages import Outcome
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.store.arrays import array_hashes, open_store, read_region
from tests.helpers.runs import run_stages
from tests.helpers.synthetic_store import FIRST_DAY, experiment

CELLS, DAYS = 4, 24
DAY = np.timedelta64(1, "D")
STATES = ("WG1", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8", "TG1", "TG2", "LAI", "SWE")
CONTROLS = ("LAI", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8")
RESTARTS = {"restart_on": ["2007-04-15", "2007-04-24"]}
ONE_BLOCK = {"cells_per_block": CELLS, "days_per_period": 10}
TWO_BLOCKS = {"cells_per_block": CELLS // 2, "days_per_period": 10}
HUGE = {"kind": "absolute", "size": 1e9}
Arrays = dict[str, np.ndarray]


def small(path: Path, *runs: dict[str, Any], **sections: Any) -> ExperimentConfig:
    """The experiment of these tests with some assimilations, in one block unless `execution` says otherwise."""
    defaults = {"open_loop": RESTARTS, "assimilation": list(runs), "execution": ONE_BLOCK}
    return experiment(path, **{**defaults, **sections})


def run(config: ExperimentConfig, client: Client) -> Outcome:
    """Runs what is not done; the outcome of the last stage, before which all went well."""
    outcome = Outcome()
    for following in run_stages(config, client):
        assert not outcome.failures, outcome.failures
        outcome = following
    return outcome


def lai_run(name: str = "lai", **settings: Any) -> dict[str, Any]:
    """An assimilation of LAI alone."""
    entry = {key: settings.pop(key) for key in tuple(settings) if key in ("error", "operator", "assimilate")}
    return {"name": name, "observations": [{"name": "lai", **entry}], **settings}


def swi_run(name: str = "swi", **settings: Any) -> dict[str, Any]:
    """An assimilation of soil moisture alone, as it is unless it says how to rescale it."""
    return {"name": name, "observations": [{"name": "swi", **settings}]}


def read(path: Path, name: str, variable: str) -> np.ndarray:
    """A variable of a run."""
    return read_region(open_store(str(path)), f"runs/{name}", variable)


def day_indices(path: Path, name: str) -> np.ndarray:
    """Where the days of a run lie on the axis of the open loop."""
    return (read(path, name, "time") - FIRST_DAY) // DAY


def stage_of(config: ExperimentConfig) -> Assimilate:
    """The last stage."""
    stage = list(build_stages(config))[-1]
    assert isinstance(stage, Assimilate)
    return stage


def daily(hour: float, cells: int = CELLS) -> np.ndarray:
    """An instant of each day."""
    return FIRST_DAY + np.arange(DAYS) * DAY + np.timedelta64(int(3600 * hour), "s")


def assert_same_states(path: Path, name: str, restart: str) -> None:
    """The stored states and the last restart of a run are, bit for bit, those of the open loop."""
    days = day_indices(path, name)
    for variable in STATES:
        expected = read(path, "open_loop", variable)[days]
        np.testing.assert_array_equal(read(path, name, variable), expected, err_msg=variable)
        if variable in CONTROLS:
            np.testing.assert_array_equal(read(path, name, f"{variable}_forecast"), expected, err_msg=variable)
            assert (read(path, name, f"increment_{variable}") == 0.0).all(), variable
    found, expected = (array_hashes(str(path), f"restarts/{run}/{restart}") for run in (name, "open_loop"))
    strip = {key.rsplit("/")[-1]: value for key, value in expected.items()}
    assert len(strip) > 15
    assert {key.rsplit("/")[-1]: value for key, value in found.items()} == strip


def common_hashes(path: Path, other: Path, *groups: str) -> int:
    """Compares all arrays below the groups that both stores have; their number."""
    found, expected = array_hashes(str(path)), array_hashes(str(other))
    common = [name for name in expected if name.startswith(groups) and name in found]
    assert {name: found[name] for name in common} == {name: expected[name] for name in common}
    return len(common)


def ensemble_run(**settings: Any) -> dict[str, Any]:
    """Two observation types in an ensemble of four."""
    return {
        "name": "ensemble",
        "filter": "ensrf",
        "ensrf": {"members": 4, "seed": 3},
        "observations": [{"name": "swi"}, {"name": "lai"}],
        **settings,
    }
