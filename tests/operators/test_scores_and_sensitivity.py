import numpy as np
import pytest

from ldas.operators import (
    ARCHITECTURES,
    DirectOperator,
    NeuralOperator,
    NeuralOptions,
    predictor_sensitivity,
    score,
    search_architectures,
)
from ldas.operators.scores import predict_where_observed
from tests.operators.synthetic import region


def test_scores_by_hand():
    predicted = np.array([[1.0, 2.0, 3.0, np.nan], [1.0, 1.0, 1.0, 1.0], [np.nan] * 4])
    observed = np.array([[1.0, 4.0, 4.0, 9.0], [0.0, 2.0, np.nan, 2.0], [1.0, 2.0, 3.0, 4.0]])
    found = score(predicted, observed)
    np.testing.assert_allclose(found.rmsd, [np.sqrt(5.0 / 3.0), 1.0, np.nan])
    np.testing.assert_allclose(found.bias, [-1.0, -1.0 / 3.0, np.nan])
    np.testing.assert_allclose(found.correlation[0], np.corrcoef([1, 2, 3], [1, 4, 4])[0, 1])
    assert np.isnan(found.correlation[1:]).all()
    assert found.pairs.tolist() == [3, 3, 0]


def test_prediction_of_series_with_gaps():
    operator = DirectOperator.leaf_area_index([1, 2])
    x = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])[..., None]
    y = np.array([[np.nan, 2.0, 3.0], [1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(predict_where_observed(operator, x, y), [[np.nan, np.nan, 3.0], [np.nan] * 3])


@pytest.fixture(scope="module")
def trained():
    x, y = region(4, 400)
    y[3] = np.nan
    return x, y, NeuralOperator(NeuralOptions(epochs=60, block_size=4)).fit(x, y)


def test_sensitivity_is_the_loss_when_a_predictor_is_held_at_its_mean(trained):
    x, y, operator = trained
    found = predictor_sensitivity(operator, x, y)
    assert found.predictor_names == ("WG2", "TG2", "LAI")
    assert found.difference.shape == (4, 3)
    valid = ~np.isnan(y[1])
    held = x[1, valid].copy()
    held[:, 2] = held[:, 2].mean()
    one = operator.select([1])
    by_hand = np.sqrt(np.mean((one.predict(held[None])[0] - y[1, valid]) ** 2))
    np.testing.assert_allclose(found.neutralised_rmsd[1, 2], by_hand, rtol=1e-12)
    all_used = np.sqrt(np.mean((one.predict(x[1:2, valid])[0] - y[1, valid]) ** 2))
    np.testing.assert_allclose(found.rmsd[1], all_used, rtol=1e-12)
    # The region is made of soil moisture first, vegetation next and hardly any temperature.
    assert (found.difference[:3, 0] > found.difference[:3, 2]).all()
    assert (found.difference[:3, 2] > found.difference[:3, 1]).all()
    assert np.isnan(found.difference[3]).all()


def test_twelve_architectures_of_one_and_two_layers():
    assert len(ARCHITECTURES) == 12
    assert sum(len(hidden) == 1 for hidden in ARCHITECTURES) == 6
    assert (40,) in ARCHITECTURES


def test_search_trains_every_cell_with_every_architecture():
    x, y = region(3, 240)
    y[2] = np.nan
    seen = []
    found = search_architectures(
        x[:, :160],
        y[:, :160],
        operator=NeuralOperator(NeuralOptions(epochs=25, block_size=4)),
        architectures=((2,), (40,), (4, 4)),
        test=(x[:, 160:], y[:, 160:]),
        cell_ids=[7, 8, 9],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [result.hidden for result in found] == [(2,), (40,), (4, 4)]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for result in found:
        assert np.isfinite(result.training_rmsd[:2]).all()
        assert np.isfinite(result.test_rmsd[:2]).all()
        assert np.isnan([result.training_rmsd[2], result.test_rmsd[2]]).all()
        assert result.seconds > 0.0
    assert (found[1].training_rmsd[:2] < found[0].training_rmsd[:2]).all()
    alone = NeuralOperator(NeuralOptions(epochs=25, block_size=4)).fit(x[:, :160], y[:, :160], cell_ids=[7, 8, 9])
    expected = score(predict_where_observed(alone, x[:, :160], y[:, :160]), y[:, :160]).rmsd
    np.testing.assert_array_equal(found[1].training_rmsd, expected)
