"""One network for two observations in an experiment: trained, stored, and assimilated with correlated errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldas.assim import Quality
from ldas.operators.joint import JointOperator
from ldas.operators.scores import scores_of
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.train import Train
from ldas.pipeline.store.arrays import existing_group, open_store, read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import read_operator
from tests.helpers.runs import run_here
from tests.helpers.synthetic_store import experiment, make_store, write_observations

CELLS = 3
BLOCK = Block(0, 0, CELLS)
TARGETS = ("tbh", "tbv")
OPERATOR = {
    "name": "smap",
    "observation": list(TARGETS),
    "training": {"start": "2007-04-01", "end": "2007-04-20"},
    "lai": None,
    "neural": {"hidden": [6], "epochs": 150, "learning_rate": 0.02, "minimum_samples": 8, "block_size": 2,
               "validation_fraction": 0.5},
}  # fmt: skip


def run(name: str = "ekf", kind: str = "validation", **options: Any) -> dict[str, Any]:
    observed = [{"name": target, "operator": "smap", "error": {"kind": kind, "size": 3.0}} for target in TARGETS]
    return {"name": name, "observations": observed, **options}


def config_of(path: Path, *runs: dict[str, Any], **operator: Any) -> ExperimentConfig:
    return experiment(path, operators=[{**OPERATOR, **operator}], assimilation=list(runs or [run()]))


def stages_of(config: ExperimentConfig, kind: type) -> list[Any]:
    return [stage for stage in build_stages(config) if isinstance(stage, kind)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open loop and brightness temperatures of its own states, with common noise; each missing on some days."""
    path = tmp_path_factory.mktemp("joint") / "store"
    make_store(path, cells=CELLS, days=24)
    config = config_of(path)
    run_here(stages_of(config, OpenLoop)[0])
    root = open_store(str(path), "a")
    days = read_region(root, "runs/open_loop", "time").astype("datetime64[s]")
    wet, warm = (np.asarray(read_region(root, "runs/open_loop", name), dtype=float) for name in ("WG2", "TG2"))
    common = np.random.default_rng(0).normal(size=wet.shape)
    for number, target in enumerate(TARGETS):
        own = np.random.default_rng(number + 1).normal(size=wet.shape)
        value = 245.0 + 20.0 * number - 100.0 * (wet - 0.25) + 0.5 * (warm - 285.0) + 1.5 * common + 0.5 * own
        value[3 + number :: 7] = np.nan
        times = days + np.timedelta64(config.model.analysis_hour_utc, "h")
        quality = np.where(np.isfinite(value), Quality.USED, Quality.MISSING).astype("int8")
        write_observations(path, target, times, {"value": value, "quality": quality})
    run_here(stages_of(config, Train)[0])
    return path


def test_it_is_stored_with_the_scores_of_each_target(store: Path) -> None:
    train = stages_of(config_of(store), Train)[0]
    root = open_store(str(store))
    samples = train.samples(root, BLOCK, train.settings.training)
    assert samples.target.shape == (CELLS, 20, 2)
    assert (np.isfinite(samples.target[..., 0]) != np.isfinite(samples.target[..., 1])).any()
    stored = read_operator(root, "smap")
    assert isinstance(stored, JointOperator)
    direct = train.settings.untrained().fit(*samples, cell_ids=stored.cell_ids)
    for name, array in direct.to_arrays().arrays.items():
        np.testing.assert_array_equal(stored.to_arrays().arrays[name], array, err_msg=name)
    expected = scores_of(stored, *samples)
    np.testing.assert_array_equal(read_region(root, "operators/smap", "rmsd_training"), expected.rmsd)
    assert (expected.rmsd < 3.0).all()
    assert existing_group(root, "operators/smap")["output"].attrs["labels"] == list(TARGETS)
    assert read_operator(root, "smap", output_name="tbv").output_name == "tbv"


def test_a_run_has_the_residuals_of_the_validation_in_its_errors(store: Path) -> None:
    """Standard deviations and correlation are those of the stored operator; the analysis differs without the latter."""
    config = config_of(store, run(error_correlations="validation"), run("independent"))
    (correlated, independent) = stages_of(config, Assimilate)
    root = open_store(str(store))
    operator = read_operator(root, "smap")
    assert isinstance(operator, JointOperator)
    tbh, tbv = correlated.filter_of(root, BLOCK).observation_types
    np.testing.assert_array_equal(tbh.error.size, operator.output("tbh").validation_error)
    np.testing.assert_array_equal(tbv.error_correlation["tbh"], operator.residual_correlation[:, 1, 0])
    assert (operator.residual_correlation[:, 0, 1] > 0.2).all()
    for stage in (correlated, independent):
        run_here(stage)
    root = open_store(str(store))
    arrays = ("chi_square", *(f"{kind}_{name}" for kind in ("quality", "innovation") for name in TARGETS))
    both = {
        name: {array: read_region(root, f"runs/{name}", array) for array in arrays} for name in ("ekf", "independent")
    }
    used = [both["ekf"][f"quality_{name}"] == Quality.USED for name in TARGETS]
    assert (used[0] & used[1]).sum() > 10
    assert (used[0] ^ used[1]).sum() > 3
    first = int(np.flatnonzero((used[0] & used[1]).any(axis=1))[0])  # until then the runs are the same
    at = used[0][first] & used[1][first]
    for name in TARGETS:
        innovations = [both[of][f"innovation_{name}"][first, at] for of in ("ekf", "independent")]
        np.testing.assert_allclose(*innovations, rtol=1e-6)
    assert (np.abs(both["ekf"]["chi_square"] / both["independent"]["chi_square"] - 1.0)[first, at] > 0.01).all()


def test_a_run_has_the_correlations_that_are_given(store: Path) -> None:
    pairs = [{"between": ["tbh", "tbv"], "size": 0.6}]
    (stage,) = stages_of(config_of(store, run("c", "absolute", error_correlations=pairs, bias={})), Assimilate)
    method: Any = stage.filter_of(open_store(str(store)), BLOCK)
    np.testing.assert_array_equal(method.error_correlations, [[[1.0, 0.6], [0.6, 1.0]]] * CELLS)
    assert [kind.error.size for kind in method.observation_types] == [3.0, 3.0]


def test_check_says_what_is_correlated(store: Path) -> None:
    pair = {"between": ["tbh", "tbv"], "size": 0.6}
    config = config_of(store, run(error_correlations=[pair]), run("b", error_correlations="validation"))
    rows = check_experiment(config, values=False)
    details = [row.detail for row in rows]
    assert "correlated errors: tbh and tbv 0.6" in details
    assert "correlated errors: as the residuals of the operators in their validation samples, cell by cell" in details
    assert "neural: tbh and tbv from WG2, TG2, LAI, at the window's end" in details


def test_a_target_that_was_never_ingested_is_refused(store: Path) -> None:
    config = experiment(store, operators=[{**OPERATOR, "observation": ["tbh", "vod"], "name": "other"}])
    with pytest.raises(StoreError, match="observations/vod"):
        prepare(stages_of(config, Train)[0])


@pytest.mark.parametrize(
    ("operator", "assimilation", "said"),
    [
        ({"observation": ["tbh", "tbh"]}, {}, "two or more distinct outputs"),
        ({"observation": ["tbh", "unheard_of"]}, {}, "unheard_of"),
        ({"kind": "pooled", "neural": {}}, {}, "several observations need `kind: neural`, got pooled"),
        (
            {},
            {"error_correlations": [{"between": ["tbh", "vod"], "size": 0.5}]},
            "expected two of the observations",
        ),
        ({}, {"error_correlations": [{"between": ["tbh", "tbv"], "size": 1.0}]}, "less than 1"),
        ({}, {"error_correlations": [{"between": ["tbh", "tbv"], "size": 0.5}] * 2}, "come twice"),
        (
            {},
            {"error_correlations": [{"between": ["tbh", "tbv"], "size": 0.5}], "bias": {"judged_by": "innovations"}},
            "not together with",
        ),
        ({}, {"observations": [{"name": "tbh", "operator": "smap"}]}, "tbh has no default error: give one"),
        (
            {},
            {"observations": run()["observations"][:1], "error_correlations": "validation"},
            "no two have the same `operator`",
        ),
        ({}, {"observations": [{"name": "lai", "error": {"kind": "validation"}}]}, "needs an operator: name it"),
        (
            {"neural": {**OPERATOR["neural"], "validation_fraction": 0.0}},
            {},
            "operator smap .kind: neural., which keeps no samples out of its training",
        ),
        (
            {"neural": {**OPERATOR["neural"], "validation_fraction": 0.0}},
            {**run(kind="absolute"), "error_correlations": "validation"},
            "errors of tbh are to be those of the validation",
        ),
        (
            {"kind": "water_cloud", "observation": "sigma40", "predictors": None, "lai": "lai", "neural": {}},
            {"observations": [{"name": "sigma40", "operator": "smap", "error": {"kind": "validation"}}]},
            "operator smap .kind: water_cloud., which keeps no samples",
        ),
        (
            {},
            {
                "observations": [*run()["observations"], {"name": "lai"}],
                "error_correlations": [
                    {"between": ["tbh", "tbv"], "size": 0.9},
                    {"between": ["tbh", "lai"], "size": 0.9},
                    {"between": ["tbv", "lai"], "size": -0.9},
                ],
            },
            "is not positive definite",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, operator: dict[str, Any], assimilation: dict[str, Any], said: str
) -> None:
    settings = {key: value for key, value in {**OPERATOR, **operator}.items() if key != "neural" or value}
    with pytest.raises((ConfigurationError, ValueError), match=said):
        experiment(tmp_path, operators=[settings], assimilation=[{**run(), **assimilation}])
