"""Training of all cells at once gives each cell what it would get alone, and what Keras would give it."""

import numpy as np
import pytest

from ldas.operators import NeuralOperator, NeuralOptions, Outcome
from ldas.operators.batched_training import import_tensorflow, initial_weights
from ldas.operators.shuffle import fill_batches
from tests.operators.synthetic import region

CELLS = 20
IDS = np.arange(CELLS) * 3 + 11
CHOSEN = 13


@pytest.fixture(scope="module")
def data():
    return region(CELLS, 200)


def fit(data, cells, **options):
    x, y = data
    defaults = {"epochs": 5, "block_size": 8}
    return NeuralOperator(NeuralOptions(**(defaults | options))).fit(x[cells], y[cells], cell_ids=IDS[cells])


def same_networks(one, other):
    assert one.outcome.tolist() == other.outcome.tolist()
    for a, b in zip((*one.kernels, *one.biases), (*other.kernels, *other.biases), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.training_rmsd, other.training_rmsd)
    np.testing.assert_array_equal(one.validation_rmsd, other.validation_rmsd)


@pytest.mark.parametrize(("precision", "epochs"), [("float32", 5), ("float64", 250)])
def test_a_cell_alone_equals_the_cell_in_a_block_of_20(data, precision, epochs):
    together = fit(data, range(CELLS), precision=precision, epochs=epochs, block_size=20)
    alone = fit(data, [CHOSEN], precision=precision, epochs=epochs, block_size=1)
    x = data[0][[CHOSEN]]
    difference = np.abs(alone.predict(x) - together.select([CHOSEN]).predict(x)).max()
    assert difference < 1e-5
    assert np.isfinite(alone.predict(x)).all()
    # The operator did learn: the comparison is not one of two untouched networks.
    assert alone.networks.training_rmsd[0, -1] < alone.networks.training_rmsd[0, 0] - 0.02


def test_block_size_position_and_workers_change_no_bit(data):
    reference = fit(data, range(CELLS))
    order = np.random.default_rng(0).permutation(CELLS)
    shuffled = fit(data, order)
    same_networks(shuffled.select(np.argsort(order)).networks, reference.networks)
    same_networks(fit(data, range(CELLS), block_size=16).networks, reference.networks)
    part = fit(data, [CHOSEN])
    same_networks(part.networks, reference.select([CHOSEN]).networks)
    x, y = data
    one_worker = NeuralOperator(reference.options).fit(x, y, cell_ids=IDS, workers=1)
    same_networks(one_worker.networks, reference.networks)


def test_equals_plain_keras_with_the_same_start_and_batches(data):
    """Weights after three epochs of a Keras model of one cell with Keras' Adam, to single precision."""
    import_tensorflow()
    import keras

    own = {"batch_size": 24, "learning_rate": 2e-3}  # other than the defaults
    options = NeuralOptions(epochs=3, block_size=1, precision="float64", validation_fraction=0.0, **own)
    x, y = data[0][CHOSEN], data[1][CHOSEN]
    operator = NeuralOperator(options).fit(x[None], y[None], cell_ids=IDS[[CHOSEN]])
    valid = ~np.isnan(y)
    inputs = (x[valid] - x[valid].mean(axis=0)) / x[valid].std(axis=0)
    targets = (y[valid] - y[valid].mean()) / y[valid].std()

    model = keras.Sequential(
        [
            keras.Input((3,), dtype="float64"),
            keras.layers.Dense(40, activation="relu", dtype="float64"),
            keras.layers.Dense(1, dtype="float64"),
        ]
    )
    kernels, biases = initial_weights((3, 40, 1), IDS[[CHOSEN]], options.seed)
    model.set_weights([kernels[0][0], biases[0][0, 0], kernels[1][0], biases[1][0, 0]])
    optimizer = keras.optimizers.Adam(options.learning_rate)
    count = int(valid.sum())
    size = options.batch_size
    batches = np.zeros((-(-count // size), 1, size), np.int32)
    tensorflow = import_tensorflow()
    for epoch in range(options.epochs):
        fill_batches(options.seed, epoch, IDS[[CHOSEN]], np.array([count]), batches)
        order = batches.ravel()[:count]
        for start in range(0, count, size):
            batch = order[start : start + size]
            with tensorflow.GradientTape() as tape:
                error = model(inputs[batch])[:, 0] - targets[batch]
                loss = tensorflow.reduce_mean(error**2)
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
            )
    networks = operator.networks
    ours = (networks.kernels[0][0], networks.biases[0][0], networks.kernels[1][0], networks.biases[1][0])
    for mine, keras_weight in zip(ours, model.get_weights(), strict=True):
        # Keras keeps Adam's learning rate in single precision, so the last digits differ.
        np.testing.assert_allclose(mine, keras_weight, rtol=1e-5, atol=1e-6)
    start = np.concatenate([kernel[0].ravel() for kernel in kernels])
    assert np.abs(np.concatenate([ours[0].ravel(), ours[2].ravel()]) - start).max() > 1e-3


def test_missing_samples_equal_absent_samples(data):
    x, y = data[0][[CHOSEN]], data[1][[CHOSEN]]
    valid = ~np.isnan(y[0])
    with_gaps = NeuralOperator(NeuralOptions(epochs=4, block_size=1)).fit(x, y)
    without = NeuralOperator(NeuralOptions(epochs=4, block_size=1)).fit(x[:, valid], y[:, valid])
    assert with_gaps.networks.training_count[0] == without.networks.training_count[0]
    np.testing.assert_allclose(with_gaps.predict(x), without.predict(x), atol=1e-5)


def test_values_under_missing_targets_do_not_matter(data):
    x, y = data[0][:2].copy(), data[1][:2]
    reference = NeuralOperator(NeuralOptions(epochs=2, block_size=2)).fit(x, y)
    x[np.isnan(y)] = np.nan
    same_networks(NeuralOperator(NeuralOptions(epochs=2, block_size=2)).fit(x, y).networks, reference.networks)


def test_scalers_are_those_of_the_training_samples(data):
    networks = fit(data, range(4), validation_fraction=0.0, epochs=1).networks
    for cell in range(4):
        valid = ~np.isnan(data[1][cell])
        np.testing.assert_allclose(networks.input_mean[cell], data[0][cell][valid].mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(networks.input_std[cell], data[0][cell][valid].std(axis=0), rtol=1e-12)
        np.testing.assert_allclose(networks.target_std[cell], data[1][cell][valid].std(), rtol=1e-12)


def test_another_seed_gives_other_networks(data):
    one, other = fit(data, range(2), seed=0), fit(data, range(2), seed=1)
    assert np.abs(one.networks.kernels[0] - other.networks.kernels[0]).max() > 0.01


def test_learning_curves_and_validation_counts(data):
    networks = fit(data, range(4), epochs=30, validation_fraction=0.3).networks
    assert networks.training_rmsd.shape == networks.validation_rmsd.shape == (4, 30)
    assert (networks.training_rmsd[:, -1] < networks.training_rmsd[:, 0]).all()
    assert (networks.validation_rmsd[:, -1] < networks.validation_rmsd[:, 0]).all()
    valid = (~np.isnan(data[1][:4])).sum(axis=1)
    np.testing.assert_array_equal(networks.training_count + networks.validation_count, valid)
    assert (np.abs(networks.validation_count - 0.3 * valid) <= 10).all()


def test_without_validation_there_is_no_validation_curve(data):
    networks = fit(data, range(2), validation_fraction=0.0).networks
    assert np.isnan(networks.validation_rmsd).all()
    assert (networks.validation_count == 0).all()


def test_early_stopping_takes_the_best_weights_of_each_cell(data):
    options = {"epochs": 40, "validation_fraction": 0.3, "learning_rate": 0.02}
    full = fit(data, range(8), **options)
    stopped = fit(data, range(8), early_stopping_patience=3, **options)
    epochs = (~np.isnan(stopped.networks.validation_rmsd)).sum(axis=1)
    assert epochs.min() < 40
    assert len(set(epochs.tolist())) > 1  # one by one, not all at once
    for cell, ran in enumerate(epochs):
        curve = full.networks.validation_rmsd[cell, :ran]
        np.testing.assert_array_equal(stopped.networks.validation_rmsd[cell, :ran], curve)
        best = int(np.argmin(curve))
        assert ran == 40 or best == ran - 1 - 3
        # The weights are those after the best epoch: a training that ends there has the same.
        if cell < 2:
            ended = fit(data, range(8), **(options | {"epochs": best + 1}))
            for kept, reference in zip(stopped.networks.kernels, ended.networks.kernels, strict=True):
                np.testing.assert_array_equal(kept[cell], reference[cell])


def test_a_rate_that_is_too_high_is_called_diverged(data):
    operator = fit(data, range(3), learning_rate=1e25)
    assert (operator.outcome == Outcome.DIVERGED).all()
    assert not operator.usable.any()
    assert "lower the learning rate (1e+25)" in operator.reasons[int(IDS[0])]
    assert np.isnan(operator.predict(data[0][:3])).all()


def test_progress_is_reported_in_cells(data):
    seen = []
    NeuralOperator(NeuralOptions(epochs=1, block_size=8)).fit(
        *data, progress=lambda done, cells: seen.append((done, cells))
    )
    assert seen == [(8, 20), (16, 20), (20, 20)]


def test_double_precision_weights_stay_double(data):
    assert fit(data, range(2), precision="float64", block_size=1, epochs=1).networks.kernels[0].dtype == np.float64
    assert fit(data, range(2)).networks.kernels[0].dtype == np.float32
