"""Several observations of one network, each overpass with the states at its own hour."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldas.assim import Quality
from ldas.operators.joint import JointOperator
from ldas.operators.scores import predict_where_observed
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.observations import WindowSeries
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.open_loop_departures import open_loop_departures
from ldas.pipeline.stages.overpass_samples import common_overpasses
from ldas.pipeline.stages.train import Train
from ldas.pipeline.store.arrays import open_dataset, open_store, read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.runs import run_here
from tests.helpers.synthetic_store import FIRST_DAY, experiment, make_store, write_observations

CELLS, DAYS = 2, 16
BLOCK = Block(0, 0, CELLS)
TARGETS = ("tbh", "tbv")
HOURS = {"tbh": np.array([9.0, 20.25]), "tbv": np.array([8.99, 20.26])}  # of the same model steps
OPERATOR = {
    "name": "smap",
    "observation": list(TARGETS),
    "time_matching": "overpass",
    "training": {"start": "2007-04-01", "end": "2007-04-16"},
    "lai": None,
    "neural": {"hidden": [4], "epochs": 60, "learning_rate": 0.02, "minimum_samples": 8, "validation_fraction": 0.5},
}
OBSERVED = [{"name": target, "operator": "smap", "error": {"kind": "absolute", "size": 3.0}} for target in TARGETS]
RUNS = [
    {"name": "ekf", "observations": OBSERVED, "error_correlations": "validation"},
    {"name": "independent", "observations": OBSERVED},
]


def config_of(path: Path, operator: dict[str, Any] = OPERATOR) -> ExperimentConfig:
    days = {"start": "2007-04-01", "end": "2007-04-16"}
    return experiment(path, period=days, operators=[operator], assimilation=RUNS)


def stages_of(path: Path, kind: type) -> list[Any]:
    return [stage for stage in build_stages(config_of(path)) if isinstance(stage, kind)]


def write_overpasses(path: Path, target: str, value: np.ndarray, hours: np.ndarray) -> None:
    """Values (day, 2, cell) as ingestion writes them: what is missing takes no place, the next moves up."""
    hour = np.where(np.isfinite(value), hours[:, None], np.nan)
    order = np.argsort(hour, axis=1)  # NaN comes last
    value, hour = (np.take_along_axis(given, order, axis=1) for given in (value, hour))
    quality = np.where(np.isfinite(value), Quality.USED, Quality.MISSING).astype("int8")
    days = FIRST_DAY + np.arange(DAYS) * np.timedelta64(1, "D")
    write_observations(path, target, days, {"value": value, "quality": quality, "overpass_hour": hour})


def brightness() -> dict[str, np.ndarray]:
    """By target (day, overpass, cell); mornings of tbv and evenings of tbh are missing on some days."""
    random = np.random.default_rng(3)
    common = random.normal(size=(DAYS, 2, CELLS))
    found = {}
    for number, target in enumerate(TARGETS):
        value = 240.0 + 20.0 * number + 2.0 * common + random.normal(size=common.shape)
        value[2 + number :: 5, 1 - number] = np.nan
        found[target] = value
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which operator and both runs are complete."""
    path = tmp_path_factory.mktemp("joint_overpasses") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    for target, value in brightness().items():
        write_overpasses(path, target, value, HOURS[target])
    for kind in (OpenLoop, Train, Assimilate):
        for stage in stages_of(path, kind):
            run_here(stage)
    return path


def test_a_sample_is_an_overpass_with_all_its_targets(store: Path) -> None:
    """Values and states of each day and hour, though the targets keep them in different places."""
    (train,) = stages_of(store, Train)
    root = open_store(str(store))
    samples = train.samples(root, BLOCK, train.settings.training)
    assert samples.target.shape == (CELLS, DAYS * 2, 2)
    given = np.stack(list(brightness().values()), axis=-1).reshape(DAYS * 2, CELLS, 2)
    for cell in range(CELLS):
        np.testing.assert_allclose(samples.target[cell], given[:, cell], rtol=1e-6)
    daily = np.asarray(read_region(root, "runs/open_loop", "WG2"), dtype=float)  # at 09 UTC, the hour of the mornings
    np.testing.assert_array_equal(samples.predictors[:, ::2, 0], daily.T)
    evenings = read_region(root, "runs/open_loop", "WG2_tbv")[0, 1]
    np.testing.assert_array_equal(samples.predictors[:, 1, 0], evenings)
    stored = read_operator(root, "smap")
    direct = train.settings.untrained().fit(*samples, cell_ids=stored.cell_ids)
    for name, array in direct.to_arrays().arrays.items():
        np.testing.assert_array_equal(stored.to_arrays().arrays[name], array, err_msg=name)


def test_overpasses_of_one_step_are_one() -> None:
    def of(*days: list[str]) -> np.ndarray:
        return np.array(days, dtype="datetime64[s]")[..., None]

    start, nothing = np.datetime64("2007-04-01", "s"), "NaT"
    one = of(["2007-04-01T06", "2007-04-01T18"], ["2007-04-02T18", nothing])
    other = of(["2007-04-01T18:01"], ["2007-04-02T06"])
    time, (place, of_other) = common_overpasses([one, other], start, 1800)
    expected = of(["2007-04-01T06", "2007-04-01T18"], ["2007-04-02T06", "2007-04-02T18"])
    np.testing.assert_array_equal(time, expected)
    assert place[..., 0].tolist() == [[0, 1], [1, -1]]
    assert of_other[..., 0].tolist() == [[1], [0]]
    twice = of(["2007-04-01T18", "2007-04-01T18:02"])
    time, (place, of_other) = common_overpasses([twice, other[:1]], start, 1800)  # two satellites in one step stay two
    np.testing.assert_array_equal(time, twice)
    assert place[..., 0].tolist() == [[0, 1]]
    assert of_other[..., 0].tolist() == [[0]]


def test_the_targets_of_an_overpass_are_analysed_together(store: Path) -> None:
    """Forecasts are those of the open loop's states at the hour; correlated are the errors of one overpass only."""
    root = open_store(str(store))
    operator = read_operator(root, "smap")
    assert isinstance(operator, JointOperator)
    assert (operator.residual_correlation[:, 0, 1] > 0.2).all()
    (train,) = stages_of(store, Train)
    samples = train.samples(root, BLOCK, train.settings.training)
    runs = {
        name: {
            key: read_region(root, f"runs/{name}", key) for key in ("chi_square", "innovation_tbh", "innovation_tbv")
        }
        for name in ("ekf", "independent")
    }
    # The first window holds the evening of 1 April and the morning of 2 April, both seen by both.
    predicted = operator.predict(samples.predictors[:, 1:3])
    for number, target in enumerate(TARGETS):
        expected = (samples.target[:, 1:3, number] - predicted[..., number]).T
        for run in runs.values():
            np.testing.assert_allclose(run[f"innovation_{target}"][0, :2], expected, atol=1e-4)
    first = {name: run["chi_square"][0] for name, run in runs.items()}
    assert (np.abs(first["ekf"] / first["independent"] - 1.0) > 0.01).all()


def test_departures_and_scores_are_of_each_target(store: Path, tmp_path: Path) -> None:
    config, root = config_of(store), open_store(str(store))
    stage, (train,) = stages_of(store, Assimilate)[0], stages_of(store, Train)
    samples, ends = train.samples(root, BLOCK, train.settings.training), stage.ends()
    evaluate(store, scores=tmp_path / "scores.zarr")
    for number, entry in enumerate(stage.settings.observations):
        operator, target = read_operator(root, "smap", output_name=entry.name), samples.target[..., number]
        series = WindowSeries(root, entry, BLOCK, ends, 9, "open_loop", "overpass")
        found = open_loop_departures(root, config, series, operator, None, BLOCK, ends)
        residual = target - predict_where_observed(operator, samples.predictors, target)
        residual = residual[:, 1:-1]  # neither before the first window nor after the last
        for cell in range(CELLS):
            departures = found[..., cell].ravel()
            expected = residual[cell][np.isfinite(residual[cell])]
            np.testing.assert_array_equal(departures[np.isfinite(departures)], expected)
        innovation = read_region(root, "runs/ekf", f"innovation_{entry.name}")
        scores = open_dataset(tmp_path / "scores.zarr", f"scores/innovations_ekf_{entry.name}").load()
        np.testing.assert_allclose(scores["mean"], np.nanmean(innovation, axis=(0, 1)), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(scores["number"], np.isfinite(innovation).sum(axis=(0, 1)))


def test_check_and_targets_that_share_no_overpass(store: Path) -> None:
    rows = {row.what: row.detail for row in check_experiment(config_of(store), values=False)}
    said = "neural: tbh and tbv from WG2, TG2, LAI, each overpass at its own hour, those of one model step together"
    assert rows["operator smap"] == said
    (train,) = stages_of(store, Train)
    write_overpasses(store, "tbv", brightness()["tbv"], HOURS["tbh"] + 1.0)
    with pytest.raises(ConfigurationError, match="no two of tbh, tbv were ever measured in the same model step"):
        train.samples(open_store(str(store)), BLOCK, train.settings.training)
