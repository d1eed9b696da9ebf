"""The training stage on a small made-up store, and the assimilation of backscatter with the operator it stores."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client

from ldas.assim import Quality
from ldas.operators.architecture import ArchitectureResult
from ldas.operators.arrays import content_hash
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.neural import NeuralOperator
from ldas.operators.options import NeuralOptions
from ldas.operators.outcome import Outcome
from ldas.operators.scores import Scores, predict_where_observed, score
from ldas.operators.water_cloud import WaterCloudOperator, WaterCloudOptions
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages import train
from ldas.pipeline.stages.train import Train
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store, read_region
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.runs import run_stages
from tests.helpers.synthetic_store import (
    FIRST_DAY,
    LONGITUDE,
    experiment,
    latitudes,
    make_store,
    write_observations,
)

CELLS, DAYS = 4, 24
ALL = ledger.Block(0, 0, CELLS)
DAY = np.timedelta64(1, "D")
NETWORKS = {"hidden": [6], "epochs": 40, "learning_rate": 0.02, "minimum_samples": 8, "block_size": 4}
NETWORKS |= {"validation_fraction": 0.5}
OPERATOR = {
    "name": "neural",
    "training": {"start": "2007-04-01", "end": "2007-04-20"},
    "test": {"start": "2007-04-15", "end": "2007-04-24"},
    "neural": NETWORKS,
}
EKF = {"name": "ekf", "observations": [{"name": "sigma40", "operator": "neural"}]}
NO_OBSERVATION_CELL = 2


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A cluster of one thread."""
    with connected(ClusterConfig(workers=1)) as client:
        yield client


def small(path: Path, *runs: dict[str, Any], **operator: Any) -> ExperimentConfig:
    """The experiment of these tests, with another operator where one is given."""
    return experiment(path, operators=[{**OPERATOR, **operator}], assimilation=list(runs))


def train_stage(config: ExperimentConfig) -> Train:
    """The training stage."""
    return next(stage for stage in build_stages(config) if isinstance(stage, Train))


def run(config: ExperimentConfig, client: Client) -> list[Any]:
    """Outcomes of all stages."""
    return list(run_stages(config, client))


@pytest.fixture(scope="module")
def base(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the open loop, the trained operator and the assimilation; one cell has no backscatter."""
    path = tmp_path_factory.mktemp("base") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    root = open_store(str(path), "a")
    times, value = (read_region(root, "observations/sigma40", name) for name in ("time", "value"))
    quality = read_region(root, "observations/sigma40", "quality")
    value[:, NO_OBSERVATION_CELL] = np.nan
    write_observations(path, "sigma40", times, {"value": value, "quality": quality})
    times, arrays = (
        read_region(root, "observations/lai", "time"),
        {name: read_region(root, "observations/lai", name) for name in ("value", "quality")},
    )
    arrays["value"][2, 0], arrays["quality"][2, 0] = 14.9, Quality.MASKED_PRODUCT_FLAG  # it must not be used
    write_observations(path, "lai", times, arrays)
    assert all(outcome.complete for outcome in run(small(path, EKF), client))
    return path


@pytest.fixture
def store(base: Path, tmp_path: Path) -> Path:
    """A copy with the open loop only."""
    shutil.copytree(base, tmp_path / "store")
    root = open_store(str(tmp_path / "store"), "a")
    for group in ("operators", "runs/ekf", "restarts/ekf", "ledger/ekf", "ledger/train-neural"):
        del root[group]
    return tmp_path / "store"


def expected_samples(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the training window, pair by pair as docs/science/observations.md, section 1 and
    docs/science/operators.md, section 2 say."""
    root = open_store(str(path))
    model = {name: read_region(root, "runs/open_loop", name).astype(float) for name in ("WG2", "TG2")}
    sigma, lai = (
        {name: read_region(root, f"observations/{kind}", name) for name in ("time", "value", "quality")}
        for kind in ("sigma40", "lai")
    )
    predictors, target = np.full((CELLS, 20, 3), np.nan), np.full((CELLS, 20), np.nan)
    for cell in range(CELLS):
        good = lai["quality"][:, cell] == 0
        for day in range(20):
            analysis = FIRST_DAY + day * DAY + np.timedelta64(9, "h")
            inside = (sigma["time"] > analysis - DAY) & (sigma["time"] <= analysis) & (sigma["quality"][:, cell] == 0)
            values = sigma["value"][inside, cell].astype(float)
            days, known = (lai["time"][good] - FIRST_DAY) / DAY, lai["value"][good, cell].astype(float)
            when = (analysis - FIRST_DAY) / DAY
            covered = days[0] <= when <= days[-1]
            predictors[cell, day] = (
                model["WG2"][day, cell],
                model["TG2"][day, cell],
                np.interp(when, days, known) if covered else np.nan,
            )
            if covered and np.isfinite(values).any():
                target[cell, day] = np.nanmean(values)
    return predictors, target


def test_samples_pair_the_open_loop_with_the_window_before(base: Path) -> None:
    config = small(base)
    found = train_stage(config).samples(open_store(str(base)), ALL, config.operators[0].training)
    predictors, target = expected_samples(base)
    assert np.isfinite(target).sum() > 50
    np.testing.assert_allclose(found.target, target, rtol=1e-12)
    np.testing.assert_allclose(found.predictors, predictors, rtol=1e-12)


def test_the_stored_operator_is_the_one_trained_on_the_samples(base: Path) -> None:
    root = open_store(str(base))
    cell_ids = cell_ids_from_coordinates(latitudes(CELLS), np.full(CELLS, LONGITUDE))
    predictors, target = expected_samples(base)
    options = NeuralOptions(**{**NETWORKS, "hidden": (6,)})
    expected = NeuralOperator(options).fit(predictors, target, cell_ids=cell_ids)
    stored = read_operator(root, "neural", cell_ids=cell_ids, output_name="sigma40", output_unit="dB")
    assert isinstance(stored, NeuralOperator)
    for found, wanted in zip(stored.networks.kernels, expected.networks.kernels, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(stored.outcome, expected.outcome)
    assert list(stored.outcome) == [Outcome.NO_DATA if c == NO_OBSERVATION_CELL else Outcome.TRAINED for c in range(4)]
    filled = np.where(np.isfinite(predictors), predictors, 1.0)
    predicted = stored.predict(filled)
    error = np.where(np.isfinite(target), predicted - target, np.nan)
    rmsd = read_region(root, "operators/neural", "rmsd_training")
    usable = np.arange(CELLS) != NO_OBSERVATION_CELL
    np.testing.assert_allclose(rmsd[usable], np.sqrt(np.nanmean(error[usable] ** 2, axis=1)), rtol=1e-6)
    assert np.isnan(rmsd[NO_OBSERVATION_CELL])
    assert (rmsd[usable] < np.nanstd(target[usable], axis=1)).all()
    assert read_region(root, "operators/neural", "pairs_test")[0] > 4
    windows = existing_group(root, "operators/neural").attrs["windows"]
    assert windows == {"training": ["2007-04-01", "2007-04-20"], "test": ["2007-04-15", "2007-04-24"]}


def test_backscatter_is_assimilated_through_the_operator(base: Path) -> None:
    root = open_store(str(base))

    def read(name: str) -> np.ndarray:
        return read_region(root, "runs/ekf", name)

    operator = read_operator(root, "neural")
    free = {name: read_region(root, "runs/open_loop", name).astype(float) for name in ("WG2", "TG2", "LAI")}
    predictors = np.stack([free[name][1] for name in ("WG2", "TG2", "LAI")], axis=-1)
    usable = np.arange(CELLS) != NO_OBSERVATION_CELL
    first = operator.predict(predictors[:, None])[:, 0]
    np.testing.assert_allclose(read("sigma40_forecast")[0, usable], first[usable], rtol=1e-5)
    quality = read("quality_sigma40")
    assert (quality[:, NO_OBSERVATION_CELL] == Quality.MISSING).all()
    used = quality == Quality.USED
    assert used.sum() > 40
    np.testing.assert_allclose(
        (read("innovation_sigma40") - read("residual_sigma40"))[used],
        (read("sigma40") - read("sigma40_forecast"))[used],
        atol=1e-4,
    )
    innovation, residual = np.abs(read("innovation_sigma40")[used]), np.abs(read("residual_sigma40")[used])
    assert residual.mean() < 0.95 * innovation.mean()
    assert (np.abs(read("increment_WG2"))[used] > 0.0).mean() > 0.9
    assert (read("increment_WG2")[~used] == 0.0).all()
    assert np.isnan(read("sigma40")[:, NO_OBSERVATION_CELL]).all()


def test_a_cell_without_operator_is_coded(base: Path, client: Client, tmp_path: Path) -> None:
    """It has observations now, but none when the operator was trained."""
    path = tmp_path / "store"
    shutil.copytree(base, path)
    times = FIRST_DAY + np.arange(DAYS) * DAY
    write_observations(path, "sigma40", times, {"value": np.full((DAYS, CELLS), -11.0)})
    again = {**EKF, "name": "again"}
    assert all(outcome.complete for outcome in run(small(path, again), client))
    code = read_region(open_store(str(path)), "runs/again", "quality_sigma40")
    assert (code[:, NO_OBSERVATION_CELL] == Quality.OPERATOR_ABSENT).all()
    assert (code[:, 0] == Quality.USED).sum() > 10


def test_an_assimilation_goes_on_with_its_own_operator_only(base: Path, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "store"
    shutil.copytree(base, path)
    root = open_store(str(path), "a")
    del root["ledger/train-neural"], root["operators/neural"]
    with pytest.raises(ConfigurationError, match=r"operators\.neural: "):
        run(small(path, EKF, neural={**NETWORKS, "seed": 5}), client)


def test_trained_again_it_is_the_same(base: Path, store: Path, client: Client) -> None:
    assert all(outcome.complete for outcome in run(small(store), client))
    assert array_hashes(str(store), "operators") == array_hashes(str(base), "operators")
    group, before = (existing_group(open_store(str(path)), "operators/neural") for path in (store, base))
    assert group.attrs["content_hash"] == before.attrs["content_hash"]
    del open_store(str(store), "a")["ledger/train-neural"]  # as after a kill before the ledger was written
    assert all(outcome.complete for outcome in run(small(store), client))
    assert array_hashes(str(store), "operators") == array_hashes(str(base), "operators")


def test_block_by_block_it_is_the_operator_of_one_training(store: Path, client: Client) -> None:
    """Blocks of one cell, of which one has no observation; kept is what would be if all were trained in one call."""
    settings = {**NETWORKS, "block_size": 1}
    assert all(outcome.complete for outcome in run(small(store, neural=settings), client))
    predictors, target = expected_samples(store)
    cell_ids = cell_ids_from_coordinates(latitudes(CELLS), np.full(CELLS, LONGITUDE))
    expected = NeuralOperator(NeuralOptions(**{**settings, "hidden": (6,)})).fit(predictors, target, cell_ids=cell_ids)
    root = open_store(str(store))
    group = existing_group(root, "operators/neural")
    assert group.attrs["content_hash"] == content_hash(expected.to_arrays())
    assert group.attrs["operator"] == expected.to_arrays().attributes
    assert "blocks" not in group
    whole = score(predict_where_observed(expected, predictors, target), target)
    for name in Scores._fields:
        found = read_region(root, "operators/neural", f"{name}_training")
        np.testing.assert_array_equal(found, getattr(whole, name), err_msg=name)
    part = read_operator(root, "neural", cell_ids=cell_ids[[3, 1]])
    np.testing.assert_array_equal(part.predict(predictors[[3, 1], :1]), expected.predict(predictors)[[3, 1], :1])


def test_a_training_that_an_earlier_version_did_not_end_is_begun_anew(base: Path, store: Path, client: Client) -> None:
    """It was one task of all cells, and there is no group yet."""
    stage = replace(train_stage(small(store)), cells_per_block=CELLS)
    ledger.create(
        open_store(str(store), "a"),
        stage.name,
        periods=stage.periods(),
        cells=CELLS,
        cells_per_block=CELLS,
        identity=stage.identity(),
    )
    assert all(outcome.complete for outcome in run(small(store), client))
    assert array_hashes(str(store), "operators") == array_hashes(str(base), "operators")


def test_the_models_own_leaf_area_as_predictor(base: Path) -> None:
    config = small(base, lai=None)
    found = train_stage(config).samples(open_store(str(base)), ALL, config.operators[0].training)
    expected = read_region(open_store(str(base)), "runs/open_loop", "LAI")[:20].astype(float)
    np.testing.assert_array_equal(found.predictors[:, :, 2], expected.T)


def test_compared_architectures_are_stored_once_more_after_a_kill(
    store: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(predictors: np.ndarray, target: np.ndarray, **settings: Any) -> list[ArchitectureResult]:
        assert predictors.shape == (CELLS, 20, 3)
        assert settings["test"][0].shape == (CELLS, 10, 3)
        rmsd = np.full(CELLS, 0.5)
        return [
            ArchitectureResult(hidden=hidden, training_rmsd=rmsd, test_rmsd=2 * rmsd, seconds=1.0)
            for hidden in ((5,), (10, 10))
        ]

    monkeypatch.setattr(train, "search_architectures", search)
    monkeypatch.setattr(train, "ARCHITECTURES", ((5,), (10, 10)))
    config = small(store, search_architectures=True)
    for _ in range(2):
        assert all(outcome.complete for outcome in run(config, client))
        root = open_store(str(store), "a")
        np.testing.assert_array_equal(read_region(root, "scores/architectures_neural", "layers"), [1, 2])
        np.testing.assert_array_equal(read_region(root, "scores/architectures_neural", "test_rmsd"), np.ones((2, 4)))
        group = existing_group(root, "scores/architectures_neural")
        assert group.attrs["labels"] == ["5", "10x10"]
        assert group.attrs["chosen"] == "6"
        assert group.attrs["complete"]
        del root["ledger/train-neural"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"test": {"start": "2008-04-01", "end": "2008-04-20"}},
            r"no day of the open loop \(2007-04-01 to 2007-04-24\) lies in the window 2008-04-01 to 2008-04-20",
        ),
        ({"observation": "ssm"}, r"observations 'observations/ssm': not in the store"),
        ({"lai": "fapar"}, r"observations 'observations/fapar': not in the store"),
        ({"predictors": ["WG2", "TG14"], "lai": None}, r"add TG14 to output\.instant"),
        (
            {"neural": {**NETWORKS, "minimum_samples": 500}},
            r"operator neural: the store has one of that name that was trained otherwise; .* remove the group 'op",
        ),
    ],
)
def test_a_training_that_cannot_be_leaves_the_earlier_operator(
    base: Path, tmp_path: Path, client: Client, change: dict[str, Any], said: str
) -> None:
    """One message, before anything is made in its place."""
    path = tmp_path / "store"
    shutil.copytree(base, path)
    del open_store(str(path), "a")["ledger/train-neural"]
    before = array_hashes(str(path))
    with pytest.raises((ConfigurationError, StoreError), match=said):
        run(small(path, **change), client)
    assert array_hashes(str(path)) == before
    assert "train-neural" not in ledger.experiments(open_store(str(path)))
    assert read_operator(open_store(str(path)), "neural").usable.sum() == CELLS - 1


def test_a_training_window_without_an_observation(store: Path) -> None:
    times = FIRST_DAY + np.arange(20, DAYS) * DAY
    write_observations(store, "sigma40", times, {"value": np.full((4, CELLS), -11.0)})
    stage = train_stage(small(store, training={"start": "2007-04-01", "end": "2007-04-20"}))
    said = r"no observation of sigma40 lies in the training window 2007-04-01 to 2007-04-20: they run from 2007-04-21"
    with pytest.raises(ConfigurationError, match=said):
        prepare(stage)
    prepare(train_stage(small(store, training={"start": "2007-04-22", "end": "2007-04-24"})))


def test_a_training_without_a_cell_that_can_be_trained(store: Path, client: Client) -> None:
    hungry = small(store, name="hungry", test=None, neural={**NETWORKS, "minimum_samples": 500})
    (message,) = run(hungry, client)[-1].failures.values()
    assert "no cell could be trained (no data: 1, too few samples: 3); first reason: " in message
    assert "at least 500 are needed" in message
    root = open_store(str(store))
    with pytest.raises(StoreError, match="'hungry' was never finished"):
        read_operator(root, "hungry")
    assert ledger.failures(root, "train-hungry")


def test_a_later_end_of_the_open_loop_leaves_the_operator_alone(store: Path, client: Client) -> None:
    """Only the open loop's period may grow."""
    assert all(outcome.complete for outcome in run(small(store), client))
    root = open_store(str(store), "a")
    group = root["ledger/open_loop"]
    assert isinstance(group, zarr.Group)
    identity = dict(group.attrs["identity"])
    group.attrs["identity"] = {**identity, "period.end": "2007-05-24"}
    before = array_hashes(str(store), "operators")
    stage = train_stage(small(store))
    prepare(stage)
    assert array_hashes(str(store), "operators") == before
    assert ledger.stored_identity(root, "train-neural")["open_loop.period.end"] == "2007-05-24"
    assert (ledger.statuses(root, "train-neural") == ledger.DONE).all()
    group.attrs["identity"] = {**identity, "model.runoff": "DT92"}
    with pytest.raises(ConfigurationError, match=r"open_loop\.model\.runoff"):
        prepare(train_stage(small(store)))


KIND_EKF = {"name": "other", "start": "2007-04-02", "end": "2007-04-06"}


def test_a_water_cloud_model_is_calibrated_and_assimilated_through(store: Path, client: Client) -> None:
    options = {"minimum_samples": 8, "incidence_angle": 35.0}
    operator = {"name": "cloud", "kind": "water_cloud", "training": OPERATOR["training"], "water_cloud": options}
    ekf = {**KIND_EKF, "observations": [{"name": "sigma40", "operator": "cloud"}]}
    config = experiment(store, operators=[operator], assimilation=[ekf])
    assert all(outcome.complete for outcome in run(config, client))
    root = open_store(str(store))
    predictors, target = expected_samples(store)
    expected = WaterCloudOperator(WaterCloudOptions(**options)).fit(predictors[..., [0, 2]], target)
    stored = read_operator(root, "cloud", predictor_names=("WG2", "LAI"), output_name="sigma40")
    assert isinstance(stored, WaterCloudOperator)
    assert existing_group(root, "operators/cloud").attrs["kind"] == "water_cloud"
    np.testing.assert_allclose(stored.parameters, expected.parameters, rtol=1e-6)
    assert list(stored.usable) == [cell != NO_OBSERVATION_CELL for cell in range(CELLS)]
    assert np.isfinite(read_region(root, "operators/cloud", "rmsd_training")[stored.usable]).all()
    free = np.stack([read_region(root, "runs/open_loop", name)[2].astype(float) for name in ("WG2", "LAI")], axis=-1)
    first = stored.predict(free[:, None])[:, 0]
    forecast = read_region(root, "runs/other", "sigma40_forecast")[0]
    np.testing.assert_allclose(forecast[stored.usable], first[stored.usable], rtol=1e-5)
    assert (read_region(root, "runs/other", "quality_sigma40") == Quality.USED).any()


def test_a_direct_operator_gives_what_the_model_variable_gives(store: Path, client: Client) -> None:
    """Leaf area index observed through it, and without an operator."""
    operator = {"name": "copy", "kind": "direct", "observation": "lai", "training": OPERATOR["training"]}
    runs = [
        {**KIND_EKF, "name": name, "observations": [{"name": "lai", "operator": operator}]}
        for name, operator in (("plain", None), ("copied", "copy"))
    ]
    config = experiment(store, operators=[operator], assimilation=runs)
    assert all(outcome.complete for outcome in run(config, client))
    root = open_store(str(store))
    assert (read_region(root, "runs/plain", "quality_lai") == Quality.USED).any()
    for name in ("LAI", "WG2", "increment_LAI", "innovation_lai", "residual_lai", "quality_lai"):
        np.testing.assert_array_equal(
            read_region(root, "runs/copied", name), read_region(root, "runs/plain", name), err_msg=name
        )


def test_the_predictors_are_those_of_the_file(base: Path) -> None:
    config = small(base, predictors=["LAI", "WG2"])
    found = train_stage(config).samples(open_store(str(base)), ALL, config.operators[0].training)
    usual = train_stage(small(base)).samples(open_store(str(base)), ALL, config.operators[0].training)
    np.testing.assert_array_equal(found.predictors, usual.predictors[..., [2, 0]])


def test_the_season_is_a_predictor_at_the_end_of_the_window(base: Path) -> None:
    config = small(base, predictors=["WG2", "DOY_SIN", "DOY_COS"])
    assert config.operators[0].state_names == ("WG2",)
    found = train_stage(config).samples(open_store(str(base)), ALL, config.operators[0].training)
    angle = 2.0 * np.pi * (90.0 + np.arange(20) + 9.0 / 24.0 + 6 * 365 - 6 * 365.2425 + 1) / 365.2425  # 2004 is long
    np.testing.assert_allclose(found.predictors[2, :, 1], np.sin(angle), atol=1e-12)
    np.testing.assert_allclose(found.predictors[3, :, 2], np.cos(angle), atol=1e-12)


def test_the_identity_of_a_network_is_what_it_was_before_there_were_kinds(base: Path) -> None:
    identity = small(base).operators[0].model_dump(mode="json")
    assert set(identity) == {"name", "observation", "lai", "training", "test", "neural", "search_architectures"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "crystal_ball"}, r"'crystal_ball' is unknown: expected direct, neural, pooled, water_cloud"),
        ({"kind": "water_cloud"}, r"`neural` belongs to kind: neural, the kind is water_cloud"),
        ({"water_cloud": {}}, r"`water_cloud` belongs to kind: water_cloud, the kind is neural"),
        ({"options": {"a": 1}}, r"options of kind: neural are in its section `neural`"),
        ({"predictors": ["WG2", "TG2"], "lai": "lai"}, r"`lai` has no effect: LAI is not a predictor"),
        ({"predictors": ["WG2", "LE"]}, r"LE"),
        ({"predictors": ["WG2", "WG2"]}, r"distinct names"),
        ({"observation": "sigma41"}, r"unknown variable 'sigma41'"),
        ({"predictors": ["DOY_SIN", "DOY_COS"]}, r"the season alone is no predictor"),
        ({"predictors": ["WG2", "WR"], "time_matching": "overpass"}, r"WR is stored at the analysis hour only"),
    ],
)
def test_kinds_and_predictors_that_cannot_be(base: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small(base, **change)


def test_check_has_a_line_of_each_operator(base: Path) -> None:
    rows = {row.what: (row.state, row.detail) for row in check_experiment(small(base), values=False)}
    assert rows["operator neural"] == ("ok", "neural: sigma40 from WG2, TG2, LAI, at the window's end")
    rows = {row.what: (row.state, row.detail) for row in check_experiment(small(base, predictors=["TG14"], lai=None))}
    assert rows["operator neural"] == ("wrong", "add TG14 to output.instant")


def test_a_water_cloud_model_has_its_own_predictors(base: Path) -> None:
    cloud = {"name": "cloud", "kind": "water_cloud", "training": OPERATOR["training"]}
    for wrong in (["LAI", "WG2"], ["WG2"], ["WG2", "TG2"]):
        with pytest.raises(ValueError, match=r"from soil moisture .* in this order"):
            experiment(base, operators=[{**cloud, "predictors": wrong}])
    with pytest.raises(ValueError, match=r"got swi in"):
        experiment(base, operators=[{**cloud, "observation": "swi"}])
