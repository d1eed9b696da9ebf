"""The pooled operator in an experiment: shared weights first, then blocks of any size, and a filter that uses it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldas.assim import Quality
from ldas.operators.outcome import Outcome
from ldas.operators.pooled import PooledOperator, Source
from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.train import Train
from ldas.pipeline.stages.train_shared import TrainShared
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store, read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.runs import run_here
from tests.helpers.synthetic_store import experiment, make_store, write_observations

CELLS = 4
FEW, NONE = 1, 2
ALL = Block(0, 0, CELLS)
POOLED = {"hidden": [6], "pool_epochs": 60, "pool_learning_rate": 0.02, "minimum_samples": 8, "block_size": 2}
WINDOW = {"start": "2007-04-01", "end": "2007-04-20"}
EKF = {"name": "ekf", "observations": [{"name": "sigma40", "operator": "pool"}]}


def small(path: Path, **pooled: Any) -> ExperimentConfig:
    operator = {"name": "pool", "kind": "pooled", "training": WINDOW, "pooled": {**POOLED, **pooled}}
    return experiment(path, operators=[operator], assimilation=[EKF])


def stage_of(config: ExperimentConfig, kind: type) -> Any:
    return next(stage for stage in build_stages(config) if isinstance(stage, kind))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an open loop; one cell has few observations of backscatter, another none."""
    path = tmp_path_factory.mktemp("pooled") / "store"
    make_store(path, cells=CELLS, days=24)
    root = open_store(str(path), "a")
    names = ("time", "value", "quality")
    times, value, quality = (read_region(root, "observations/sigma40", name) for name in names)
    value[5:, FEW], value[:, NONE] = np.nan, np.nan
    write_observations(path, "sigma40", times, {"value": value, "quality": quality})
    run_here(stage_of(small(path), OpenLoop))
    return path


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "store"
    shutil.copytree(base, path)
    for kind in (TrainShared, Train):
        run_here(stage_of(small(path), kind))
    return path


def test_the_stored_operator_is_that_of_its_samples(trained: Path) -> None:
    train = stage_of(small(trained), Train)
    root = open_store(str(trained))
    everything = train.samples(root, ALL, train.settings.training)
    fields = train.static(root, ALL)["static"]
    stored = read_operator(root, "pool")
    assert isinstance(stored, PooledOperator)
    direct = train.settings.untrained().fit(*everything, cell_ids=stored.cell_ids, static=fields)
    assert isinstance(direct, PooledOperator)
    assert set(fields) == {"clay", "sand", "patch_fraction"}
    for name, array in direct.to_arrays().arrays.items():
        np.testing.assert_array_equal(stored.to_arrays().arrays[name], array, err_msg=name)
    assert stored.outcome.tolist() == [0, 0, Outcome.OUTSIDE_TRAINING_RANGE, 0]
    assert stored.source.tolist() == [Source.CORRECTED, Source.CORRECTED, Source.NONE, Source.CORRECTED]


def test_other_blocks_give_the_same_bytes(base: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "store")
    for kind in (TrainShared, Train):
        run_here(stage_of(small(tmp_path / "store", block_size=4), kind))
    one, other = (open_store(str(path)) for path in (trained, tmp_path / "store"))
    arrays = existing_group(one, "operators/pool").attrs["arrays"]
    for name in arrays:  # chunks differ
        np.testing.assert_array_equal(
            read_region(one, "operators/pool", name), read_region(other, "operators/pool", name)
        )
    assert array_hashes(one, "shared_weights/pool") == array_hashes(other, "shared_weights/pool")


def test_a_filter_uses_it_where_a_network_of_its_own_could_not_be_trained(trained: Path) -> None:
    config = small(trained)
    root = open_store(str(trained), "a")
    names = ("time", "value", "quality")
    times, value, quality = (read_region(root, "observations/sigma40", name) for name in names)
    value[:, [FEW, NONE]] = value[:, :1]  # observed since
    write_observations(trained, "sigma40", times, {"value": value, "quality": quality})
    run_here(stage_of(config, Assimilate))
    codes = read_region(open_store(str(trained)), "runs/ekf", "quality_sigma40")
    assert (codes[:, FEW] == Quality.USED).sum() > 10
    assert (codes[:, NONE] == Quality.OPERATOR_ABSENT).all()


def test_blocks_wait_for_the_shared_weights_of_their_own_training(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "store")
    config = small(tmp_path / "store")
    train, shared = stage_of(config, Train), stage_of(config, TrainShared)
    assert (list(train.needs), list(train.follows)) == (["train-pool-shared"], ["open_loop"])
    assert list(shared.needs) == ["open_loop"]
    with pytest.raises(StoreError, match=r"its shared weights .* are missing"):
        run_here(train)
    run_here(shared)
    root = open_store(str(tmp_path / "store"), "a")
    existing_group(root, "shared_weights/pool").attrs["identity"] = "of another training"
    with pytest.raises(StoreError, match="of another training"):
        run_here(train)


def test_fields_that_the_land_has_not_are_refused(base: Path) -> None:
    config = small(base, static=["clay", "elevation"])
    with pytest.raises(ConfigurationError, match="'land' has no elevation, which its option `static` names"):
        prepare(stage_of(config, TrainShared))
