"""Overpasses at their own hour, from the store to the increment, beside the means of windows."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldas.assim import Quality
from ldas.operators.scores import predict_where_observed
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.assimilation import WindowConfig
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.observations import WindowSeries
from ldas.pipeline.stages.open_loop_departures import open_loop_departures
from ldas.pipeline.stages.train import Train, training_stage
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_dataset, open_store, read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.runs import run_stages
from tests.helpers.synthetic_store import (
    FIRST_DAY,
    experiment,
    made_up_observations,
    make_store,
    write_observations,
)

CELLS, DAYS = 3, 24
HOURS = np.array([9.0, 20.25])
OPERATOR = {
    "kind": "water_cloud",
    "training": {"start": "2007-04-01", "end": "2007-04-20"},
    "lai": None,
    "water_cloud": {"minimum_samples": 8},
}
OPERATORS = [{"name": "daily", **OPERATOR}, {"name": "seen", "time_matching": "overpass", **OPERATOR}]
RUNS = [{"name": name, "observations": [{"name": "sigma40", "operator": name}]} for name in ("daily", "seen")]


def small(path: Path, **sections: Any) -> ExperimentConfig:
    """Both matchings of an assimilation of backscatter."""
    return experiment(path, **{"operators": OPERATORS, "assimilation": RUNS, **sections})


def values(path: Path, group: str, name: str) -> np.ndarray:
    """An array of a group."""
    return read_region(open_store(str(path)), group, name)


def with_overpasses(path: Path) -> None:
    """Backscatter of the made-up store at its hours, by day and overpass."""
    _, arrays = made_up_observations(CELLS, DAYS)["sigma40"]
    by_day = {name: given.reshape(DAYS, 2, CELLS) for name, given in arrays.items()}
    hours = np.where(np.isfinite(by_day["value"]), HOURS[:, None], np.nan)
    days = FIRST_DAY + np.arange(DAYS) * np.timedelta64(1, "D")
    write_observations(path, "sigma40", days, {**by_day, "overpass_hour": hours})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which both ran."""
    path = tmp_path_factory.mktemp("matching") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    with_overpasses(path)
    with connected(ClusterConfig(workers=1)) as client:
        for outcome in run_stages(small(path), client):
            assert not outcome.failures, outcome.failures
    return path


def test_the_open_loop_has_the_states_of_each_overpass(store: Path) -> None:
    for name in ("WG2", "LAI"):
        seen = values(store, "runs/open_loop", f"{name}_sigma40")
        assert seen.shape == (DAYS, 2, CELLS)
        there = np.isfinite(values(store, "observations/sigma40", "value"))
        assert (np.isfinite(seen) == there).all()
        at_nine, daily = seen[:, 0], values(store, "runs/open_loop", name)
        np.testing.assert_array_equal(at_nine, np.where(there[:, 0], daily, np.nan))
    evening = values(store, "runs/open_loop", "WG2_sigma40")[:, 1]
    assert np.nanmean(np.abs(evening - values(store, "runs/open_loop", "WG2"))) > 0.002


def test_a_forecast_is_of_the_hour_of_its_overpass(store: Path) -> None:
    """In the first window the filter runs from the open loop's state: its forecasts are those of the open loop."""
    root = open_store(str(store))
    operator = read_operator(root, "seen")
    hour, forecast = (values(store, "runs/seen", name)[0] for name in ("overpass_hour_sigma40", "sigma40_forecast"))
    assert forecast.shape == (4, CELLS)
    states = np.stack([values(store, "runs/open_loop", f"{n}_sigma40") for n in operator.predictor_names], axis=-1)
    observed, quality = (values(store, "observations/sigma40", name) for name in ("value", "quality"))
    innovation = values(store, "runs/seen", "innovation_sigma40")[0]
    for cell in range(CELLS):  # the evening of 1 April and the morning of 2 April
        pairs = [(0, 1, HOURS[1] - 24.0), (1, 0, HOURS[0])]
        pairs = [pair for pair in pairs if np.isfinite(observed[pair[0], pair[1], cell])]
        np.testing.assert_allclose(hour[: len(pairs), cell], [pair[2] for pair in pairs])
        assert np.isnan(forecast[len(pairs) :, cell]).all()
        for place, (day, overpass, _) in enumerate(pairs):
            expected = operator.predict(np.repeat(states[day, overpass, cell][None], CELLS, axis=0))[cell]
            assert forecast[place, cell] == pytest.approx(expected, abs=1e-4)
            if quality[day, overpass, cell] == Quality.USED:
                assert innovation[place, cell] == pytest.approx(observed[day, overpass, cell] - expected, abs=1e-4)
            else:
                assert np.isnan(innovation[place, cell])


def test_every_overpass_has_its_code_and_some_move_the_state(store: Path) -> None:
    stored = existing_group(open_store(str(store)), "runs/seen")
    assert set(ledger.statuses(open_store(str(store)), "seen").ravel()) == {ledger.DONE}
    codes, hours = values(store, "runs/seen", "quality_sigma40"), values(store, "runs/seen", "overpass_hour_sigma40")
    given = values(store, "observations/sigma40", "quality")
    inside = np.isfinite(values(store, "observations/sigma40", "value"))
    inside[0, 0] = False  # before the first window
    inside[-1, 1] = False  # after the last one
    assert np.isfinite(hours).sum() == inside.sum()
    assert (codes == Quality.MASKED_PRODUCT_FLAG).sum() == (given[inside] == Quality.MASKED_PRODUCT_FLAG).sum()
    used = (codes == Quality.USED) & np.isfinite(hours)
    assert used.sum() > 60
    assert ((values(store, "runs/seen", "increment_WG2") != 0.0) <= used.any(axis=1)).all()
    assert stored["dfs_sigma40"].shape == (DAYS - 1, 4, CELLS)


def test_scores_by_overpass_are_those_of_the_stored_pairs(store: Path, tmp_path: Path) -> None:
    evaluate(store, scores=tmp_path / "scores.zarr")
    found = open_dataset(tmp_path / "scores.zarr", "scores/sigma40_observations_by_overpass").load()
    labels = found["series"].attrs["labels"]
    innovation, code = (values(store, "runs/seen", f"{name}_sigma40") for name in ("innovation", "quality"))
    pairs = np.where(np.isin(code, [Quality.MASKED_FROZEN, Quality.MASKED_SNOW]), np.nan, innovation)
    expected = np.sqrt(np.nanmean(pairs.reshape(-1, CELLS) ** 2, axis=0))
    np.testing.assert_allclose(found["rmsd"][labels.index("seen")], expected, rtol=1e-5)
    assert (found["n"] == np.isfinite(pairs).reshape(-1, CELLS).sum(axis=0)).all()
    statistics = open_dataset(tmp_path / "scores.zarr", "scores/innovations_seen_sigma40").load()
    np.testing.assert_allclose(statistics["number"], np.isfinite(innovation).reshape(-1, CELLS).sum(axis=0))


def test_departures_from_the_open_loop_are_those_of_the_training(store: Path) -> None:
    """With the model's own LAI the residuals of the samples, of the windows' ends and of overpasses."""
    config, days = small(store), WindowConfig(start=date(2007, 4, 1), end=date(2007, 4, 24))
    stages = list(build_stages(config))
    for name in ("daily", "seen"):
        stage = next(stage for stage in stages if stage.name == name)
        training = next(stage for stage in stages if stage.name == training_stage(name))
        assert isinstance(stage, Assimilate)
        assert isinstance(training, Train)
        root, block, ends = stage.root(), Block(0, 0, CELLS), stage.ends()
        operator, entry = read_operator(root, name), stage.settings.observations[0]
        matching = "overpass" if name == "seen" else "window_end"
        series = WindowSeries(root, entry, block, ends, 9, "open_loop", matching)
        found = open_loop_departures(root, config, series, operator, None, block, ends)
        samples = training.samples(root, block, days)
        residual = samples.target - predict_where_observed(operator, samples.predictors, samples.target)
        residual[:, 0] = np.nan  # up to 09 UTC of the first day, before the first window
        if name == "seen":
            residual[:, -1] = np.nan  # after the last one
        for cell in range(CELLS):
            departures = found[..., cell].ravel()
            assert (np.isfinite(departures) == np.isfinite(series.value[..., cell].ravel())).all()
            np.testing.assert_array_equal(
                departures[np.isfinite(departures)], residual[cell][np.isfinite(residual[cell])]
            )
            assert np.isfinite(departures).sum() > 15
        some = ends[8:15]
        series = WindowSeries(root, entry, block, some, 9, "open_loop", matching)
        part = open_loop_departures(root, config, series, operator, None, block, some)
        np.testing.assert_array_equal(part[np.isfinite(part)], found[8:15][np.isfinite(found[8:15])])


@pytest.mark.long
def test_a_later_end_gives_the_bytes_of_one_run(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_store(path, cells=CELLS, days=DAYS)
    with_overpasses(path)
    alone = {"operators": OPERATORS[1:], "assimilation": RUNS[1:]}
    until = {"period": {"start": "2007-04-01", "end": "2007-04-21"}}
    with connected(ClusterConfig(workers=1)) as client:
        for config in (small(path, **alone, **until), small(path, **alone)):
            for outcome in run_stages(config, client):
                assert not outcome.failures, outcome.failures
    for group in ("runs/open_loop", "runs/seen"):
        assert array_hashes(str(path), group) == array_hashes(str(store), group), group


def test_daily_values_and_overpasses_without_hour_are_one_message(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    shutil.copytree(store, path)
    rows = {row.what: row for row in check_experiment(small(path))}
    assert "from WG2, LAI, each overpass at its own hour" in rows["operator seen"].detail
    assert "from WG2, LAI, at the window's end" in rows["operator daily"].detail
    assert "at most 2 overpasses a day at their own hour" in rows["observations/sigma40"].detail
    hours = np.full((DAYS, 2, CELLS), np.nan)
    root = open_store(str(path), "a")
    root["observations/sigma40/overpass_hour"][...] = hours
    (wrong,) = [row for row in check_experiment(small(path)) if row.what == "observations/sigma40"]
    assert wrong.state == "wrong"
    assert "usable values have no overpass_hour" in wrong.detail
    times, arrays = made_up_observations(CELLS, DAYS)["sigma40"]
    write_observations(path, "sigma40", times, arrays)
    (wrong,) = [row for row in check_experiment(small(path)) if row.what == "observations/sigma40"]
    assert "holds daily values, in which overpasses have no hour" in wrong.detail
