"""Several observations of one network: training with missing targets, exact Jacobian, files, residuals, bad input."""

from typing import Any

import numpy as np
import pytest

from ldas.operators import NeuralOptions, Outcome, export_keras, import_keras
from ldas.operators.arrays import content_hash
from ldas.operators.errors import OperatorFormatError, OperatorMismatchError, OperatorOptionError, PredictorShapeError
from ldas.operators.joint import JointOperator
from ldas.operators.registry import from_arrays
from ldas.operators.scores import predict_where_observed, score, scores_of
from ldas.operators.testing import ObservationOperatorContract
from tests.operators.synthetic import region

CELLS, IDS = 4, np.array([5, 3, 9, 7])
OPTIONS = {"hidden": (8,), "epochs": 80, "learning_rate": 0.01, "block_size": 4, "minimum_samples": 50}


def samples(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Brightness temperatures of two polarisations whose noise has a correlation of 0.8; each with gaps of its own."""
    x, _ = region(cells=CELLS, seed=seed)
    generator = np.random.default_rng(seed + 10)
    noise = generator.multivariate_normal(np.zeros(2), 4.0 * np.array([[1.0, 0.8], [0.8, 1.0]]), x.shape[:2])
    wet, warm, leaves = np.moveaxis(x, -1, 0)
    horizontal = 240.0 - 180.0 * (wet - 0.25) * np.exp(-0.2 * leaves) + 0.5 * (warm - 287.0)
    vertical = 265.0 - 90.0 * (wet - 0.25) * np.exp(-0.2 * leaves) + 0.7 * (warm - 287.0)
    y = np.stack([horizontal, vertical], axis=-1) + noise
    y[generator.random(y.shape) < 0.2] = np.nan
    return x, y


def operator(**changes: Any) -> JointOperator:
    return JointOperator(NeuralOptions(**{**OPTIONS, **changes}))


@pytest.fixture(scope="module")
def joint() -> JointOperator:
    return operator().fit(*samples(), cell_ids=IDS)


class TestContractOfOneOutput(ObservationOperatorContract):
    @pytest.fixture
    def operator(self, joint):
        return joint.output("tbv")

    @pytest.fixture
    def predictors(self):
        return region(cells=CELLS, seed=2, samples=20)[0]


def test_both_targets_are_learnt_where_the_other_is_missing_too(joint: JointOperator) -> None:
    """The noise is 2 K; a cell that has the second target only where the first is missing learns both."""
    x, y = samples()
    alternating = y.copy()
    alternating[0, ::2, 0], alternating[0, 1::2, 1] = np.nan, np.nan
    found = operator().fit(x, alternating, cell_ids=IDS)
    test_x, test_y = samples(seed=3)
    for trained in (joint, found):
        assert trained.usable.all()
        scores = scores_of(trained, test_x, test_y)
        assert scores.rmsd.shape == (CELLS, 2)
        assert (scores.rmsd < 2.6).all(), scores.rmsd
        assert (scores.correlation > 0.8).all(), scores.correlation
    assert found.networks.training_count[0].sum() < joint.networks.training_count[0].sum()
    np.testing.assert_array_equal(joint.networks.training_count[:, 0] + joint.networks.validation_count[:, 0],
                                  np.isfinite(y[..., 0]).sum(axis=1))  # fmt: skip
    assert found.residual_count[0] == 0
    np.testing.assert_array_equal(found.residual_correlation[0], np.eye(2))


def test_jacobian_has_a_row_for_each_target(joint: JointOperator) -> None:
    """(cell, sample, target, predictor), against central differences of the whole operator."""
    x = region(cells=CELLS, seed=2, samples=6)[0]
    jacobian = joint.jacobian(x)
    assert jacobian.shape == (CELLS, 6, 2, 3)
    for index, step in enumerate((1e-6, 1e-4, 1e-5)):
        move = np.zeros(3)
        move[index] = step
        difference = (joint.predict(x + move) - joint.predict(x - move)) / (2.0 * step)
        np.testing.assert_allclose(jacobian[..., index], difference, rtol=1e-6, atol=1e-5)
    for place, name in enumerate(joint.output_names):
        np.testing.assert_array_equal(joint.output(name).jacobian(x), jacobian[..., place, :])


def test_scores_and_training_errors_are_of_each_target() -> None:
    x, y = samples()
    joint = operator(epochs=3, precision="float64").fit(x, y, cell_ids=IDS)
    scores = scores_of(joint, x, y)
    for place, name in enumerate(joint.output_names):
        one = score(predict_where_observed(joint.output(name), x, y[..., place]), y[..., place])
        for found, expected in zip(scores, one, strict=True):
            np.testing.assert_array_equal(found[:, place], expected)
    # The training error of the only epoch of one batch, before its step, by hand: the network it started with.
    from ldas.operators.batched_training import initial_weights

    first = operator(epochs=1, precision="float64", batch_size=1000, validation_fraction=0.0).fit(x, y, cell_ids=IDS)
    (kernel, last), (bias, end) = initial_weights((3, 8, 2), IDS, 0)
    networks = first.networks
    z = (x - networks.input_mean[:, None]) / networks.input_std[:, None]
    start = np.maximum(z @ kernel + bias, 0.0) @ last + end
    scaled = (y - networks.target_mean[:, None]) / networks.target_std[:, None]
    expected = np.sqrt(np.nanmean((start - scaled) ** 2, axis=1)) * networks.target_std
    np.testing.assert_allclose(networks.training_rmsd[:, 0], expected, rtol=1e-5)


def test_residuals_have_the_correlation_of_the_noise(joint: JointOperator) -> None:
    n = joint.residual_count
    assert (n >= 10).all()
    x, y = samples()
    part = joint._cell(x[1], y[1])
    left = joint.select([1]).predict(part.validation_predictors[None])[0] - part.validation_target
    left = left[np.isfinite(left).all(axis=1)]
    expected = (left[:, 0] @ left[:, 1]) / np.sqrt((left**2).sum(axis=0).prod()) * len(left) / (len(left) + 10.0)
    assert joint.residual_correlation[1, 0, 1] == pytest.approx(expected, rel=1e-12)
    undone = joint.residual_correlation[:, 0, 1] * (n + 10.0) / n
    assert 0.6 < undone.mean() < 0.95, undone
    assert (np.linalg.eigvalsh(joint.residual_correlation) > 0.0).all()


def test_stored_and_selected_and_back(joint: JointOperator) -> None:
    again = from_arrays(joint.to_arrays())
    assert isinstance(again, JointOperator)
    assert (again.output_names, again.output_units) == (("tbh", "tbv"), ("K", "K"))
    assert content_hash(again.select([2, 0]).to_arrays()) == content_hash(joint.select([2, 0]).to_arrays())
    x, _ = samples()
    np.testing.assert_array_equal(again.predict(x), joint.predict(x))
    stored = joint.to_arrays()
    short = {**stored.arrays, "target_mean": np.asarray(stored.arrays["target_mean"])[:, 0]}
    with pytest.raises(OperatorFormatError, match="'target_mean' has shape"):
        from_arrays(stored._replace(arrays=short))
    short = {**stored.arrays, "residual_covariance": np.zeros((CELLS, 2))}
    with pytest.raises(OperatorFormatError, match="'residual_covariance' has shape"):
        from_arrays(stored._replace(arrays=short))


def test_as_a_keras_file_and_back(joint: JointOperator, tmp_path: Any) -> None:
    x, _ = samples()
    export_keras(joint, 9, tmp_path / "cell.keras")
    again = import_keras(tmp_path / "cell.keras")
    assert isinstance(again, JointOperator)
    assert again.cell_ids.tolist() == [9]
    np.testing.assert_allclose(again.predict(x[[2]]), joint.predict(x)[[2]], atol=1e-10)
    assert again.networks.training_count.tolist() == joint.networks.training_count[[2]].tolist()


def test_a_cell_without_one_of_the_targets_has_its_reason() -> None:
    x, y = samples()
    y[1, 30:, 1] = np.nan
    y[2, 5, 0] = np.inf
    found = operator(epochs=2).fit(x, y, cell_ids=IDS)
    assert found.outcome.tolist() == [0, Outcome.TOO_FEW_SAMPLES, Outcome.TARGET_OUT_OF_RANGE, 0]
    assert "samples to train with, at least 50" in found.reasons[3]
    assert "tbh is" in found.reasons[9]
    assert np.isnan(found.predict(x)[1:3]).all()
    assert np.isnan(found.output("tbh").predict(x)[1]).all()


def test_what_cannot_be_meant_is_refused(joint: JointOperator) -> None:
    x, y = samples()
    with pytest.raises(PredictorShapeError, match=r"the target tbh, tbv \(cell, sample, 2\)"):
        operator().fit(x, y[..., 0])
    with pytest.raises(OperatorMismatchError, match="asks for output vod, the operator was made for tbh, tbv"):
        joint.output("vod")
    with pytest.raises(OperatorOptionError, match="two or more distinct outputs"):
        JointOperator(output_names=("tbh", "tbh"))
    with pytest.raises(OperatorOptionError, match="need one unit each"):
        JointOperator(output_units=("K",))
