"""What the times of a run say is what its values are: instants of states, bounds of means, at any analysis hour."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas import landmodel
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.ingest.config import Period
from ldas.pipeline.ingest.surfex import daily_run
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.land import LandStage
from ldas.pipeline.store.arrays import open_run
from ldas.pipeline.store.ledger import Block
from tests.helpers.synthetic_store import FIRST_DAY, experiment, make_store
from tests.helpers.toy import Silence

DAY, CELLS = np.timedelta64(1, "D"), 2


def settings(path: Path, hour: int) -> ExperimentConfig:
    """Three days; the assimilation compares only, so that its states are those of the open loop."""
    run = {"name": "ekf", "observations": [{"name": "lai", "assimilate": False}]}
    return experiment(
        path,
        period={"start": "2007-04-01", "end": "2007-04-03"},
        output={"mean": ["LE"], "instant": ["TG1", "LAI"]},
        model={"analysis_hour_utc": hour},
        assimilation=[run],
    )


@pytest.mark.parametrize("hour", [0, 9])
def test_states_are_of_their_instant_and_means_over_their_bounds(tmp_path: Path, hour: int) -> None:
    make_store(tmp_path / "store", cells=CELLS, days=4)
    config = settings(tmp_path / "store", hour)
    assert run_experiment(config, Silence()).complete
    tree = open_run(tmp_path / "store")
    stage = next(iter(build_stages(config)))
    assert isinstance(stage, LandStage)
    root, block = stage.root(), Block(0, 0, CELLS)
    parameters = stage.parameters(root, block)
    cold = landmodel.cold_start(parameters, air_temperature=config.model.initial_temperature_k)

    def run_from(state: landmodel.State, start: Any, stop: Any) -> tuple[landmodel.State, dict[str, np.ndarray]]:
        """State at `stop`, and the mean latent heat flux from `start` on."""
        if start == stop:
            return state, {}
        request = landmodel.OutputRequest(mean=("LE",), interval_s=int((stop - start) / np.timedelta64(1, "s")))
        forcing = stage.forcing(root, block, start, stop, parameters)
        return stage.run_model(parameters, state, forcing, start, stop, request)

    for name, window in (("open_loop", False), ("ekf", True)):
        run = tree[f"runs/{name}"].to_dataset().load()
        days = run["time"].values
        assert (days == days.astype("datetime64[D]")).all()
        instants = days + np.timedelta64(hour or 24, "h")
        np.testing.assert_array_equal(run["TG1"]["instant_time"], instants)
        end = instants if window else days + DAY
        np.testing.assert_array_equal(run["time_bnds"], np.stack([end - DAY, end], axis=1))
        assert "instant_time" not in run["LE"].encoding["coordinates"]
        np.testing.assert_allclose(run["LE"]["latitude"], [43.0, 43.25])
        # the first value of each, by a model that runs to that instant and over those bounds
        instant = run["instant_time"].values[0].astype("datetime64[s]")
        state, _ = run_from(cold, FIRST_DAY, instant)
        expected = landmodel.aggregate(state.soil_temperature[:, 0], parameters, CELLS)
        np.testing.assert_array_equal(run["TG1"].values[0], expected.astype("float32"))
        begin, stop = run["time_bnds"].values[0].astype("datetime64[s]")
        state, _ = run_from(cold, FIRST_DAY, begin)
        _, outputs = run_from(state, begin, stop)
        expected = landmodel.aggregate(outputs["LE"][0], parameters, CELLS)
        np.testing.assert_allclose(run["LE"].values[0], expected, rtol=1e-6)
        said = run["TG1"].attrs["comment"]
        assert ("09 UTC of the day" if hour else "24 UTC of the day") in said
        assert "00 UTC of the day" not in said


def test_a_surfex_run_says_when_its_states_are() -> None:
    times = np.datetime64("2010-06-01T00", "ns") + np.arange(48) * np.timedelta64(1, "h")
    values = np.arange(48.0)[:, None] / 100.0
    series = xr.Dataset({"WG2": (("time", "cell"), values), "LE": (("time", "cell"), values)}, {"time": times})
    run = daily_run(series, 9, Period(), "test")
    np.testing.assert_array_equal(run["instant_time"], run["time"] + np.timedelta64(9, "h"))
    np.testing.assert_allclose(run["WG2"][:, 0], [0.09, 0.33], rtol=1e-6)
    assert run.attrs["analysis_hour_utc"] == 9
    np.testing.assert_array_equal(run["time_bnds"][:, 1], run["time"] + DAY)
    assert "analysis_hour_utc" not in daily_run(series, 0, Period(), "test").attrs
