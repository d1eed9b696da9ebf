"""The pooled operator: one network for many cells, the correction of each, policies, and cells that it is not for."""

from typing import Any

import numpy as np
import pytest

from ldas.operators import NeuralOperator, NeuralOptions, Outcome, export_keras, import_keras, score
from ldas.operators.arrays import content_hash
from ldas.operators.cell_corrections import Moments, Prior, correction_of, estimated_prior
from ldas.operators.errors import (
    EmptyTrainingWindowError,
    OperatorMismatchError,
    OperatorOptionError,
    PredictorShapeError,
    UntrainedOperatorError,
)
from ldas.operators.options import PooledOptions
from ldas.operators.pooled import PooledOperator, Source
from ldas.operators.protocol import TrainingBlock
from ldas.operators.registry import from_arrays
from ldas.operators.testing import ObservationOperatorContract
from tests.operators.synthetic import region

CELLS = 12
IDS = np.arange(CELLS) + 40
FEW, NONE = 4, 5  # cells with 30 samples and without any
OPTIONS = {"hidden": (12,), "pool_epochs": 40, "pool_learning_rate": 0.01, "pool_batch_size": 64, "static": ("clay",)}
CLAY = {"clay": np.linspace(0.1, 0.4, CELLS)}


def samples(**changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """A region of which one cell has few samples and one has none."""
    x, y = region(cells=CELLS, **changes)
    y[FEW, 40:], y[NONE] = np.nan, np.nan
    return x, y


def operator(**changes: Any) -> PooledOperator:
    return PooledOperator(PooledOptions(**{**OPTIONS, **changes}))


@pytest.fixture(scope="module")
def pooled() -> PooledOperator:
    return operator().fit(*samples(), cell_ids=IDS, static=CLAY)


class TestContract(ObservationOperatorContract):
    @pytest.fixture
    def operator(self, pooled):
        return pooled

    @pytest.fixture
    def predictors(self):
        return region(cells=CELLS, seed=2, samples=20)[0]


def test_the_correction_is_the_ridge_solution_of_a_toy() -> None:
    """Two samples of one term, by hand: d = D (s2 + G D)^-1 h."""
    terms, rest = np.array([[1.0], [2.0]]), np.array([3.0, 4.0])
    moments = Moments(terms.T @ terms, terms.T @ rest, float(rest @ rest), 2)
    assert correction_of(moments, Prior(np.array([[0.5]]), 2.0)) == pytest.approx([0.5 * 11.0 / (2.0 + 5.0 * 0.5)])
    assert correction_of(Moments(np.zeros((1, 1)), np.zeros(1), 0.0, 0), Prior(np.array([[0.5]]), 2.0)) == 0.0


@pytest.mark.parametrize("directions", [np.eye(2), np.array([[1.0], [1.0]])])
def test_the_prior_is_that_of_the_cells(directions: np.ndarray) -> None:
    """2000 cells drawn from a known prior, in all directions and along one."""
    random = np.random.default_rng(3)
    inner = np.array([[1.0, 0.6], [0.6, 0.8]]) if directions.shape[1] == 2 else np.array([[0.7]])
    cells = []
    for _ in range(2000):
        terms = np.column_stack([np.ones(20), random.normal(0.0, 1.0, 20)])
        rest = terms @ directions @ random.multivariate_normal(np.zeros(len(inner)), inner)
        rest += random.normal(0.0, 0.5, 20)
        cells.append(Moments(terms.T @ terms, terms.T @ rest, float(rest @ rest), 20))
    prior = estimated_prior(cells, directions)
    np.testing.assert_allclose(prior.covariance, directions @ inner @ directions.T, atol=0.06)
    assert prior.noise_variance == pytest.approx(0.25, rel=0.02)


def test_a_neuron_that_never_fires_is_not_corrected() -> None:
    """Else the first sample of a cell in which it does would decide its weight alone."""
    terms, rest = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.3, 0.5])
    prior = estimated_prior([Moments(terms.T @ terms, terms.T @ rest, float(rest @ rest), 2)] * 2, np.eye(2))
    assert prior.covariance[0, 0] > 0.0
    assert prior.covariance[1].tolist() == [0.0, 0.0]


def test_a_cell_without_samples_has_the_shared_network(pooled: PooledOperator) -> None:
    """Folded into one network of the predictors, it gives what the shared one gives with the fields as inputs."""
    x, _ = samples()
    shared = pooled.shared
    fields = np.concatenate([[CLAY["clay"][NONE]], x[NONE].mean(axis=0), x[NONE].std(axis=0)])
    inputs = np.column_stack([x[NONE], np.broadcast_to(fields, (len(x[NONE]), fields.size))])
    hidden = np.maximum((inputs - shared.input_mean) / shared.input_std @ shared.kernels[0] + shared.biases[0], 0.0)
    expected = shared.target_mean + shared.target_std * (hidden @ shared.kernels[1][:, 0] + shared.biases[1])
    np.testing.assert_allclose(pooled.predict(x)[NONE], expected, atol=2e-5)  # weights are stored in single precision
    assert pooled.usable.all()
    assert pooled.source[[0, FEW, NONE]].tolist() == [Source.CORRECTED, Source.CORRECTED, Source.UNCORRECTED]
    assert pooled.networks.training_count[NONE] == 0


def test_blocks_of_any_size_give_the_same_bits(pooled: PooledOperator) -> None:
    x, y = samples()
    blocks = [
        TrainingBlock(x[part], y[part], IDS[part], {"clay": CLAY["clay"][part]}) for part in np.split(np.r_[:12], 4)
    ]
    shared = operator(block_size=3).fit_shared(iter(blocks), CELLS).shared_arrays()
    found = []
    for x_part, y_part, ids, static in blocks:
        part = operator(block_size=3).with_shared(shared).fit_block(x_part, y_part, cell_ids=ids, static=static)
        found.append(part.to_arrays().arrays)
    for name, array in pooled.to_arrays().arrays.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in found]), array, err_msg=name)


def test_few_samples_are_better_used_than_by_networks_of_their_own() -> None:
    """40 samples a cell; judged by the truth in other samples."""
    x, test_x = region(cells=CELLS)[0], region(cells=CELLS, samples=400, seed=2)[0]
    generator = np.random.default_rng(8)
    wet = generator.uniform(15.0, 30.0, (CELLS, 1))

    def truth(x: np.ndarray) -> np.ndarray:
        moisture, temperature, leaf_area = np.moveaxis(x, -1, 0)
        return -16.0 + wet * moisture * np.exp(-0.3 * leaf_area) + 0.6 * leaf_area + 0.02 * (temperature - 287.0)

    y = truth(x) + generator.normal(0.0, 0.2, x.shape[:2])
    y[:, generator.permutation(y.shape[1])[40:]] = np.nan
    rmsd = {}
    for correction in ("none", "linear", "head"):
        trained = operator(correction=correction, pool_epochs=60).fit(x, y, cell_ids=IDS, static=CLAY)
        rmsd[correction] = score(trained.predict(test_x), truth(test_x)).rmsd
    options = {"hidden": (12,), "epochs": 150, "learning_rate": 0.01, "minimum_samples": 20, "block_size": 16}
    own = NeuralOperator(NeuralOptions(**options))
    rmsd["own"] = score(own.fit(x, y, cell_ids=IDS).predict(test_x), truth(test_x)).rmsd
    medians = {name: float(np.median(values)) for name, values in rmsd.items()}
    assert medians["head"] < medians["linear"] < medians["none"], medians
    assert medians["head"] < 0.85 * medians["own"], medians
    assert (rmsd["head"] < rmsd["own"]).mean() >= 0.8


def test_policies_use_own_networks_and_fall_back_on_the_pooled_one(pooled: PooledOperator) -> None:
    x, y = samples()
    options = {"epochs": 12, "learning_rate": 0.01, "block_size": 16}
    per_cell = operator(policy="per_cell", **options).fit(x, y, cell_ids=IDS, static=CLAY)
    own = NeuralOperator(NeuralOptions(hidden=(12,), **options)).fit(x, y, cell_ids=IDS)
    fallen_back = [FEW, NONE]
    assert np.flatnonzero(~own.usable).tolist() == fallen_back
    assert per_cell.usable.all()
    assert np.flatnonzero(per_cell.source != Source.OWN_NETWORK).tolist() == fallen_back
    np.testing.assert_array_equal(per_cell.predict(x)[own.usable], own.predict(x)[own.usable])
    np.testing.assert_array_equal(per_cell.predict(x)[fallen_back], pooled.predict(x)[fallen_back])
    np.testing.assert_array_equal(per_cell.networks.training_rmsd[0], own.networks.training_rmsd[0])
    # A network of its own needs no fields of the land.
    no_clay = {"clay": np.where(np.arange(CELLS) == 0, np.nan, CLAY["clay"])}
    found = operator(policy="per_cell", **options).with_shared(pooled.shared_arrays())
    found.fit_block(x, y, cell_ids=IDS, static=no_clay)
    assert found.source[0] == Source.OWN_NETWORK
    np.testing.assert_array_equal(found.predict(x)[0], own.predict(x)[0])
    # 12 epochs are too few: no own network is better than the pooled one by more than chance.
    auto = operator(policy="auto", **options).fit(x, y, cell_ids=IDS, static=CLAY)
    np.testing.assert_array_equal(auto.predict(x), pooled.predict(x))
    assert not (auto.source == Source.OWN_NETWORK).any()


def test_auto_takes_the_own_network_of_a_cell_unlike_the_others() -> None:
    x, y = samples()
    y[2] = -15.0 - 1.5 * np.abs(x[2, :, 1] - 287.0)  # a shape that the others have not
    options = {"epochs": 250, "learning_rate": 0.01, "block_size": 16, "correction": "linear"}
    auto = operator(policy="auto", **options).fit(x, y, cell_ids=IDS, static=CLAY)
    assert auto.source[2] == Source.OWN_NETWORK


def test_cells_outside_what_was_seen_have_a_code_and_no_number(pooled: PooledOperator) -> None:
    x, _ = samples()
    x, y = x[:6].copy(), np.full((6, x.shape[1]), np.nan)
    x[2, :, 0] += 0.3  # far wetter than any cell in training
    x[3, :, 2] = np.nan
    x[4, :, 1] -= 273.15
    clay = np.array([0.2, 0.9, 0.2, 0.2, 0.2, 0.41])
    found = operator().with_shared(pooled.shared_arrays()).fit_block(x, y, static={"clay": clay})
    outside = Outcome.OUTSIDE_TRAINING_RANGE
    assert found.outcome.tolist() == [0, outside, outside, outside, Outcome.PREDICTOR_OUT_OF_RANGE, 0]
    assert "field 0 is 0.9 and was 0.1 to 0.4; it has 0 samples of its own" in found.reasons[1]
    assert "mean of TG2 (K) is" in found.reasons[4]
    assert "degrees Celsius" in found.reasons[4]
    x[~np.isfinite(x)] = 1.0
    assert np.isnan(found.predict(x)[1:5]).all()
    assert np.isfinite(found.predict(x)[[0, 5]]).all()


def test_wrong_values_of_a_cell_are_not_made_up_for(pooled: PooledOperator) -> None:
    x, y = samples()
    y[1] = 10.0 ** (y[1] / 10.0)
    x[3, 5, 0] = np.inf
    y[3, 5] = -12.0
    found = operator().with_shared(pooled.shared_arrays()).fit_block(x, y, cell_ids=IDS, static=CLAY)
    assert found.outcome[[1, 3]].tolist() == [Outcome.TARGET_OUT_OF_RANGE, Outcome.NON_FINITE_PREDICTOR]
    assert np.isfinite(found.predict(np.where(np.isfinite(x), x, 0.3))[[0, 2, 4]]).all()


def test_a_cell_as_a_keras_file_and_back(pooled: PooledOperator, tmp_path: Any) -> None:
    x, _ = samples()
    export_keras(pooled, int(IDS[FEW]), tmp_path / "cell.keras")
    again = import_keras(tmp_path / "cell.keras")
    assert again.options.hidden == (12,)
    np.testing.assert_allclose(again.predict(x[[FEW]]), pooled.predict(x)[[FEW]], atol=1e-12)


def test_from_arrays_keeps_sources_and_options(pooled: PooledOperator) -> None:
    again = from_arrays(pooled.to_arrays())
    assert isinstance(again, PooledOperator)
    assert again.options == pooled.options
    np.testing.assert_array_equal(again.source, pooled.source)
    assert content_hash(again.select([3, 1]).to_arrays()) == content_hash(pooled.select([3, 1]).to_arrays())
    with pytest.raises(UntrainedOperatorError, match="no shared network"):
        again.fit_block(*samples(), static=CLAY)


def test_what_cannot_be_meant_is_refused() -> None:
    x, y = samples()
    with pytest.raises(OperatorMismatchError, match="static fields clay was not given clay"):
        operator().fit(x, y)
    with pytest.raises(PredictorShapeError, match=r"static field clay must be \(12,\)"):
        operator().fit(x, y, static={"clay": np.zeros(3)})
    with pytest.raises(PredictorShapeError, match=r"static field clay must be \(12,\)"):
        operator(block_size=6).fit(x, y, static={"clay": np.full(14, 0.2)})
    with pytest.raises(EmptyTrainingWindowError):
        operator().fit(x, np.full_like(y, np.nan), static=CLAY)
    with pytest.raises(EmptyTrainingWindowError, match="no cell has samples"):
        operator().fit(x, y, static={"clay": np.full(CELLS, np.nan)})
    for changes, said in (
        ({"policy": "best"}, "policy must be pooled or per_cell or auto, got best"),
        ({"correction": "full"}, "correction must be"),
        ({"pool_samples": 0}, "pool_samples must be positive"),
        ({"pool_learning_rate": 0.0}, "pool_learning_rate must be positive"),
        ({"epochs": 3}, "epochs: no effect with policy: pooled"),
        ({"policy": "auto", "validation_fraction": 0.0}, "policy: auto compares networks in the validation samples"),
    ):
        with pytest.raises(OperatorOptionError, match=said):
            operator(**changes)
