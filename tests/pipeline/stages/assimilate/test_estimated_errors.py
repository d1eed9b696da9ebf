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
from ldas.pipeline.report.sources import Sources
from ldas.pipeline.report.system_sections import analysis
from ldas.pipeline.stages.observations import WindowSeries
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store
from ldas.pipeline.store.ledger import blocks_of
from tests.pipeline.stages.assimilate.support import CELLS, common_hashes, read, run, small, stage_of

SECTIONS: dict[str, Any] = {
    "bias": {"memory": 3, "lasting_threshold": 0.0, "passing_threshold": 0.0},
    "adaptive_errors": {"memory": 10, "ratio_bounds": [0.5, 2.0]},
}


def aware_run(**settings: Any) -> dict[str, Any]:
    """Soil moisture that is not rescaled, which is biased, and LAI."""
    return {"name": "aware", "observations": [{"name": "swi"}, {"name": "lai"}], **SECTIONS, **settings}


@pytest.fixture(scope="module")
def aware(base: Path, tmp_path_factory: pytest.TempPathFactory, threads: Client) -> Path:
    path = tmp_path_factory.mktemp("aware") / "store"
    shutil.copytree(base, path)
    assert run(small(path, aware_run()), threads).complete
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
    stage = stage_of(small(aware, aware_run()))
    root, block = stage.root(), blocks_of(stage.cells, stage.cells_per_block)[0]
    series = WindowSeries(root, stage.settings.observations[0], block, stage.ends(), stage.hour, "open_loop")
    assert used.sum() > 20
    np.testing.assert_allclose((innovation + bias + forecast)[used], series.value[used], atol=2e-6)


def test_bit_identical_in_other_blocks_after_an_interruption_and_with_a_later_end(
    aware: Path, halves: Path, threads: Client, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(halves, other)
    execution = {"cells_per_block": CELLS // 2, "days_per_period": 10}
    stage = stage_of(small(other, aware_run(end="2007-04-18"), execution=execution))
    prepare(stage)
    for block in blocks_of(stage.cells, stage.cells_per_block):  # killed before the ledger knew of it
        stage.compute(open_store(str(other), "a"), block, stage.periods()[0])
    assert run(small(other, aware_run(end="2007-04-18"), execution=execution), threads).complete
    assert run(small(other, aware_run(), execution=execution), threads).complete
    assert common_hashes(other, aware, "runs/aware/", "restarts/aware") > 60
    memories = [name for name in array_hashes(str(other)) if name.startswith("restarts/aware-errors/20070424T09/")]
    assert {name.rsplit("/")[-1] for name in memories} >= set(Memory._fields)


def test_a_memory_that_is_gone_is_named(aware: Path, tmp_path: Path) -> None:
    shutil.copytree(aware, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "restarts" / "aware-errors" / "20070411T09")
    stage = stage_of(small(tmp_path / "store", aware_run()))
    block = blocks_of(stage.cells, stage.cells_per_block)[0]
    with pytest.raises(StoreError, match="no restart 'restarts/aware-errors/20070411T09' in the store"):
        stage.compute(stage.root(), block, stage.periods()[1])


def test_check_says_what_is_estimated(aware: Path) -> None:
    rows = [
        row for row in check_experiment(small(aware, aware_run()), values=False) if row.what == "assimilation aware"
    ]
    assert [row.detail for row in rows] == [
        "estimates, by cell: the bias of swi, lai, at most 5 standard deviations of its error; "
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
