"""Snow and air at 2 m through a whole run: observed, compared at their hour, corrected, checked."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from pydantic import ValidationError

from ldas.assim import Quality
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import StoreError
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store.arrays import open_store
from tests.helpers.synthetic_store import COLD_DAYS, FIRST_DAY, experiment, write_observations
from tests.pipeline.stages.assimilate.support import CELLS, DAY, DAYS, daily, read, run, small

DATES = FIRST_DAY + np.arange(DAYS) * DAY
CONTROLS = ["WG1", "WG2", "SWE"]
WATER = {"WG1": 10.0, "WG2": 30.0, "SWE": 1.0}  # kg m-2 of one unit
SECTIONS: dict[str, Any] = {
    "model": {"air_height_m": 20.0},
    "period": {"start": "2007-04-01", "end": "2007-04-18"},
    "output": {"mean": ["LE"], "instant": ["WG2", "SWE", "SNOW_DEPTH", "T2M"]},
    "open_loop": {},
}


def assimilation(name: str, *observations: dict[str, Any], **sekf: Any) -> dict[str, Any]:
    return {"name": name, "observations": list(observations), "sekf": {"controls": CONTROLS, **sekf}}


def test_snow_and_air_in_a_run(inputs: Path, tmp_path: Path, threads: Client) -> None:
    store = tmp_path / "store"
    shutil.copytree(inputs, store)
    write_observations(store, "swe", daily(6.0), {"value": np.full((DAYS, CELLS), 20.0)})
    hours = np.tile(np.array([9.0, 15.0])[:, None], (DAYS, 1, CELLS))
    air = np.full((DAYS, 2, CELLS), 283.0)
    write_observations(store, "t2m", DATES, {"value": air, "overpass_hour": hours})
    runs = (
        assimilation("snow", {"name": "swe"}, {"name": "t2m"}),
        assimilation("sure", {"name": "swe"}, {"name": "t2m", "assimilate": False}, snow_error=0.05),
    )
    config = small(store, *runs, **SECTIONS)
    rows = {row.what: (row.state, row.detail) for row in check_experiment(config)}
    assert rows["assimilation snow"] == ("ok", "t2m: between the surface and forcing from 20 m")
    assert rows["observations/t2m"][1].endswith("at most 2 overpasses a day at their own hour")
    assert run(config, threads).complete

    # the window of 2 April ends at 09 UTC: before it nothing was corrected
    forecast, code = read(store, "snow", "t2m_forecast"), read(store, "snow", "quality_t2m")
    np.testing.assert_array_equal(read(store, "snow", "overpass_hour_t2m")[0, :2, 0], [-9.0, 9.0])
    np.testing.assert_allclose(forecast[0, 1], read(store, "open_loop", "T2M")[1], rtol=1e-6)
    np.testing.assert_allclose(read(store, "snow", "innovation_t2m")[0, :2], 283.0 - forecast[0, :2], atol=1e-4)
    assert (code[0, :2] == Quality.USED).all()
    assert (np.abs(read(store, "snow", "increment_WG1")[0]) > 0.0).all()
    cold = slice(COLD_DAYS[0], COLD_DAYS[1] - 1)
    assert (code[cold, :2] != Quality.USED).any()  # frozen soil or snow

    code = read(store, "snow", "quality_swe")
    assert (code[: COLD_DAYS[0] - 1] == Quality.NO_SNOW_IN_MODEL).all()
    used = (code == Quality.USED) & (np.abs(read(store, "snow", "increment_SWE")) > 0.0)
    assert used[cold].any()
    before, after = (read(store, "snow", name)[used] for name in ("SWE_forecast", "SWE"))
    assert (after > before).all()
    assert (after <= 2.001 * before).all()
    np.testing.assert_allclose(after - before, read(store, "snow", "increment_SWE")[used], rtol=1e-3, atol=1e-4)
    deeper = read(store, "snow", "SNOW_DEPTH")[used] / read(store, "snow", "SNOW_DEPTH_forecast")[used]
    assert (deeper > 1.0).all()
    first = np.argmax(used.any(axis=1))  # until then both runs are the same
    less, more = (read(store, name, "increment_SWE")[first][used[first]] for name in ("sure", "snow"))
    assert (np.abs(less) < 0.2 * np.abs(more)).all()
    assert (read(store, "sure", "quality_t2m")[0, :2] == Quality.NOT_ASSIMILATED).all()

    scores = evaluate(store)
    in_use = read(store, "snow", "quality_t2m") == Quality.USED
    departure = np.where(in_use, read(store, "snow", "innovation_t2m").astype(np.float64), np.nan)
    of_air = scores.dataset("t2m_observations_by_overpass").sel(series="snow")
    np.testing.assert_allclose(of_air["bias"], -np.nanmean(departure, axis=(0, 1)), rtol=1e-5)
    water = sum(read(store, "snow", f"increment_{name}").mean(axis=0) * weight for name, weight in WATER.items())
    np.testing.assert_allclose(scores.dataset("balance_snow")["added_by_analysis"], water * 365.25, rtol=1e-4)
    assert scores.dataset("swe_observations")["series"].to_numpy().tolist()[:2] == ["open_loop", "snow"]


def test_daily_means_of_the_air_and_forcing_from_2_m_are_said(inputs: Path, tmp_path: Path, threads: Client) -> None:
    store = tmp_path / "store"
    shutil.copytree(inputs, store)
    write_observations(store, "t2m", DATES + DAY, {"value": np.full((DAYS, CELLS), 283.0)})
    config = small(store, assimilation("air", {"name": "t2m"}))
    rows = {row.what: (row.state, row.detail) for row in check_experiment(config)}
    assert rows["assimilation air"][0] == "accepted"
    assert "forcing is from 2 m (model.air_height_m)" in rows["assimilation air"][1]
    assert rows["observations/t2m"][0] == "wrong"
    assert "ingest it with `overpasses_per_day`" in rows["observations/t2m"][1]
    with pytest.raises(StoreError, match="what is observed at 2 m is compared at its own hour"):
        run(small(store, assimilation("air", {"name": "t2m"}), period={"start": "2007-04-01", "end": "2007-04-02"},
                  open_loop={}), threads)  # fmt: skip
    assert "runs/air" not in open_store(str(store))


@pytest.mark.parametrize(
    ("run_", "words"),
    [
        ({"observations": [{"name": "swe"}]}, "swe corrects nothing, since SWE is not among the control variables"),
        ({"observations": [{"name": "t2m", "rescale": "cdf"}]}, "t2m is compared at its own hour"),
        ({"observations": [{"name": "lai"}], "sekf": {"snow_error": -1.0}}, "positive typical_range, lai_error, snow"),
        ({"observations": [{"name": "lai"}], "sekf": {"snow_error": 0.5}}, "snow_error has no effect without SWE"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, run_: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        experiment(tmp_path, assimilation=[{"name": "a", **run_}])


def test_a_direct_operator_of_the_air_is_refused(tmp_path: Path) -> None:
    training = {"start": "2007-04-01", "end": "2007-04-10"}
    with pytest.raises(ValidationError, match="assimilate t2m without an operator"):
        experiment(tmp_path, operators=[{"name": "air", "kind": "direct", "observation": "t2m", "training": training}])


def test_defaults_of_snow_and_what_identifies_a_run(tmp_path: Path) -> None:
    plain = {"name": "a", "observations": [{"name": "lai"}]}
    config: ExperimentConfig = experiment(tmp_path, assimilation=[plain, assimilation("b", {"name": "snow_depth"})])
    lai, snow = (run.observations[0] for run in config.assimilation)
    assert (lai.reject_snow, lai.reject_frozen) == (True, True)
    assert (snow.reject_snow, snow.reject_frozen) == (False, False)
    assert snow.error_model.size == 0.04
    # runs of earlier commits have no such key
    kept = [run.model_dump(mode="json")["sekf"] for run in config.assimilation]
    assert ["snow_error" in sekf for sekf in kept] == [False, True]
