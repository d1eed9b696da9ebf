"""Runs that estimate bias and error scales: restarts, blocks, a later end, what is stored, what `ldas check` says."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from ldas.assim import Quality
from ldas.assim.error_estimation import Memory
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import StoreError
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.report.sources import Sources
from ldas.pipeline.report.system_sections import analysis
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.observations import WindowSeries
from ldas.pipeline.stages.open_loop_departures import last_known, open_loop_departures
from ldas.pipeline.stages.train import training_stage
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store, read_region
from ldas.pipeline.store.ledger import blocks_of
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.runs import run_here
from tests.pipeline.stages.assimilate.support import CELLS, common_hashes, day_indices, read, run, small, stage_of

SECTIONS: dict[str, Any] = {
    "bias": {"memory": 3, "lasting_threshold": 0.0, "passing_threshold": 0.0},
    "adaptive_errors": {"memory": 10, "ratio_bounds": [0.5, 2.0]},
}


OPERATOR = {
    "name": "cloud",
    "kind": "water_cloud",
    "training": {"start": "2007-04-01", "end": "2007-04-20"},
    "water_cloud": {"minimum_samples": 8},
}


def aware_run(**settings: Any) -> dict[str, Any]:
    """Soil moisture that is not rescaled, which is biased, LAI, and backscatter, which is judged by the open loop."""
    observations = [{"name": "swi"}, {"name": "lai"}, {"name": "sigma40", "operator": "cloud"}]
    return {"name": "aware", "observations": observations, **SECTIONS, **settings}


def experiment_of(path: Path, **sections: Any) -> ExperimentConfig:
    """That run with its operator."""
    return small(path, sections.pop("run", None) or aware_run(), operators=[OPERATOR], **sections)


@pytest.fixture(scope="module")
def aware(base: Path, tmp_path_factory: pytest.TempPathFactory, threads: Client) -> Path:
    path = tmp_path_factory.mktemp("aware") / "store"
    shutil.copytree(base, path)
    assert run(experiment_of(path), threads).complete
    return path


def test_estimates_are_stored_with_what_they_mean(aware: Path) -> None:
    group = existing_group(open_store(str(aware)), "runs/aware")
    bias, scale, b_scale = (read(aware, "aware", name) for name in ("bias_swi", "r_scale_swi", "b_scale"))
    assert (bias[0] == 0.0).all()
    assert np.abs(bias[-1]).min() > 0.0
    assert (scale[-1] != 1.0).all()
    assert (b_scale[-1] != 1.0).all()
    assert dict(group["bias_lai"].attrs)["units"] == "m2 m-2"
    assert dict(group["r_scale_lai"].attrs)["units"] == dict(group["b_scale"].attrs)["units"] == "1"
    flags = dict(group["bounded_swi"].attrs)
    assert flags["flag_masks"] == [1, 2, 4]
    assert flags["flag_meanings"] == "bias_at_bound r_scale_at_bound b_scale_at_bound"
    assert set(np.unique(read(aware, "aware", "bounded_swi"))) <= set(range(8))
    used = read(aware, "aware", "quality_swi") == Quality.USED
    innovation, forecast = read(aware, "aware", "innovation_swi"), read(aware, "aware", "WG2_forecast")
    stage = stage_of(experiment_of(aware))
    root, block = stage.root(), blocks_of(stage.cells, stage.cells_per_block)[0]
    series = WindowSeries(root, stage.settings.observations[0], block, stage.ends(), stage.hour, "open_loop")
    assert used.sum() > 20
    np.testing.assert_allclose((innovation + bias + forecast)[used], series.value[used], atol=2e-6)


def test_departures_are_of_the_states_that_the_operator_was_trained_on(aware: Path) -> None:
    """By hand, with the LAI observed last; what is remembered of the bias follows from them."""
    stage = stage_of(experiment_of(aware))
    root, block = stage.root(), blocks_of(stage.cells, stage.cells_per_block)[0]
    series = WindowSeries(root, stage.settings.observations[2], block, stage.ends(), stage.hour, "open_loop")
    operator = read_operator(root, "cloud")
    found = open_loop_departures(root, stage.config, series, operator, "lai", block, stage.ends())
    days = day_indices(aware, "aware")
    lai, code = (read_region(root, "observations/lai", name) for name in ("value", "quality"))
    lai = np.where(code == Quality.USED, lai, np.nan)
    for window in (0, 8, 22):
        for cell in range(CELLS):
            dekad = days[window] // 5  # at 00 UTC of every fifth day
            while dekad >= 0 and np.isnan(lai[dekad, cell]):
                dekad -= 1
            x = [read(aware, "open_loop", "WG2")[days[window], cell], lai[dekad, cell] if dekad >= 0 else np.nan]
            expected = np.nan
            if np.isfinite(x).all():
                expected = series.value[window, cell] - operator.predict(np.tile(x, (CELLS, 1)))[cell]
            np.testing.assert_allclose(found[window, cell], expected, rtol=1e-12)
    assert np.isfinite(found).sum() > 60
    used = read(aware, "aware", "quality_sigma40") == Quality.USED
    bias, mean = read(aware, "aware", "bias_sigma40"), np.zeros(CELLS)
    for window in range(len(used)):
        there = used[window] & np.isfinite(found[window])
        mean = np.where(there, mean + (found[window] - mean) / 3.0, mean)
    memory = read_region(root, "restarts/aware-errors/20070424T09", "departure")[:, 2]
    np.testing.assert_allclose(memory, mean, rtol=1e-12)
    assert np.abs(bias[-1]).min() > 0.0
    assert (read_region(root, "restarts/aware-errors/20070424T09", "departures")[:, :2] == 0.0).all()


def test_the_last_known_value_is_taken_until_it_is_too_old() -> None:
    times = np.array(["2007-04-01", "2007-04-11", "2007-04-21"], "datetime64[s]")
    values = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, 6.0]])
    days = np.array(["2007-03-31", "2007-04-01", "2007-04-10", "2007-04-30", "2007-05-12", "NaT"], "datetime64[s]")
    at = np.repeat(days[:, None], 2, axis=1)
    found = last_known(times, values, at, np.timedelta64(30, "D"))
    np.testing.assert_array_equal(found[:, 0], [np.nan, 1.0, 1.0, 2.0, np.nan, np.nan])
    np.testing.assert_array_equal(found[:, 1], [np.nan, np.nan, np.nan, 6.0, 6.0, np.nan])


def test_bit_identical_in_other_blocks_after_an_interruption_and_with_a_later_end(
    aware: Path, halves: Path, threads: Client, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(halves, other)
    execution = {"cells_per_block": CELLS // 2, "days_per_period": 10}
    until = aware_run(end="2007-04-18")
    stage = stage_of(experiment_of(other, run=until, execution=execution))
    run_here(next(each for each in build_stages(stage.config) if each.name == training_stage("cloud")))
    prepare(stage)
    for block in blocks_of(stage.cells, stage.cells_per_block):  # killed before the ledger knew of it
        stage.compute(open_store(str(other), "a"), block, stage.periods()[0])
    assert run(experiment_of(other, run=until, execution=execution), threads).complete
    assert run(experiment_of(other, execution=execution), threads).complete
    assert common_hashes(other, aware, "runs/aware/", "restarts/aware") > 60
    memories = [name for name in array_hashes(str(other)) if name.startswith("restarts/aware-errors/20070424T09/")]
    assert {name.rsplit("/")[-1] for name in memories} >= set(Memory._fields)


def test_a_memory_that_is_gone_is_named(aware: Path, tmp_path: Path) -> None:
    shutil.copytree(aware, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "restarts" / "aware-errors" / "20070411T09")
    stage = stage_of(experiment_of(tmp_path / "store"))
    block = blocks_of(stage.cells, stage.cells_per_block)[0]
    with pytest.raises(StoreError, match="no restart 'restarts/aware-errors/20070411T09' in the store"):
        stage.compute(stage.root(), block, stage.periods()[1])


def test_check_says_what_is_estimated(aware: Path) -> None:
    rows = [row for row in check_experiment(experiment_of(aware), values=False) if row.what == "assimilation aware"]
    assert [row.detail for row in rows] == [
        "estimates, by cell: the bias of swi, lai, sigma40 (sigma40 judged by the open loop), at most 5 standard "
        "deviations of its error; "
        "a factor of R from 0.1 to 10; a factor of B from 0.1 to 10"
    ]


def test_the_report_draws_the_estimates(aware: Path, tmp_path: Path) -> None:
    scores = evaluate(aware, scores=tmp_path / "scores.zarr")
    section = analysis(Sources(scores))
    shown = {picture.caption.split(":")[0] for picture in section.pictures}
    assert {"Bias of swi in aware", "Factor of R of swi in aware"} <= shown
    days = int((read(aware, "aware", "bounded_swi") > 0).sum())
    assert scores.dataset("innovations_aware_swi")["bounded_days"].sum() == days
    mean = scores.dataset("daily_aware")["bias_swi_mean"].values[-1]
    assert mean == pytest.approx(read(aware, "aware", "bias_swi")[-1].mean(), rel=1e-5)
    said = " ".join(section.sentences)
    assert "estimates of its errors with swi" in said
    assert "The correlation of successive innovations of swi is" in said
