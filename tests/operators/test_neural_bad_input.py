"""Every kind of bad training data has its own error or its own outcome per cell, with names and numbers."""

import numpy as np
import pytest

from ldas.operators import NeuralOperator, NeuralOptions, Outcome
from ldas.operators.errors import (
    DuplicateTimesError,
    EmptyTrainingWindowError,
    OperatorFormatError,
    OperatorOptionError,
    PredictorShapeError,
    UntrainedOperatorError,
)
from ldas.operators.registry import from_arrays
from ldas.operators.samples import mask_incomplete, validation_samples
from tests.operators.synthetic import region

OPTIONS = NeuralOptions(epochs=3, block_size=16, minimum_samples=50)
GOOD = 0
BAD = {
    1: (Outcome.NO_DATA, "no valid sigma40 (dB) in the training window"),
    2: (Outcome.TOO_FEW_SAMPLES, "20 samples to train with, at least 50 are needed"),
    3: (Outcome.CONSTANT_TARGET, "sigma40 (dB) is -9.5 in all"),
    4: (Outcome.CONSTANT_PREDICTOR, "LAI (m2 m-2) is 0.3 in all"),
    5: (Outcome.NON_FINITE_PREDICTOR, "TG2 (K) is NaN or infinite in 3 of"),
    6: (Outcome.NON_FINITE_PREDICTOR, "WG2 (m3 m-3) is NaN or infinite in 1 of"),
    7: (Outcome.PREDICTOR_OUT_OF_RANGE, "values are outside 0 to 20"),
    8: (Outcome.PREDICTOR_OUT_OF_RANGE, "is it in percent or kg m-2?"),
    9: (Outcome.PREDICTOR_OUT_OF_RANGE, "is it in degrees Celsius?"),
    10: (Outcome.TARGET_OUT_OF_RANGE, "never negative: is it in linear units?"),
    11: (Outcome.TARGET_OUT_OF_RANGE, "1 of 200 values are outside -35 to 5 dB"),
    12: (Outcome.TARGET_OUT_OF_RANGE, "2 of 200 values are outside"),
}


@pytest.fixture(scope="module")
def spoiled():
    x, y = region(13, 200, missing=0.0)
    y[1] = np.nan
    y[2, 20:] = np.nan
    y[3] = -9.5
    x[4, :, 2] = 0.3
    x[5, :3, 1] = np.nan
    x[6, 7, 0] = np.inf
    x[7, 8, 2] = 20.5
    x[8, :, 0] *= 100.0
    x[9, :, 1] -= 273.15
    y[10] = 10.0 ** (y[10] / 10.0)
    y[11, 3] = 40.0
    y[12, :2] = np.inf
    return x, y


@pytest.fixture(scope="module")
def operator(spoiled):
    return NeuralOperator(OPTIONS).fit(*spoiled, cell_ids=np.arange(13) + 700)


@pytest.mark.parametrize("cell", BAD)
def test_each_bad_cell_has_its_outcome_and_reason(operator, cell):
    outcome, words = BAD[cell]
    assert operator.outcome[cell] == outcome
    reason = operator.reasons[700 + cell]
    assert reason.startswith(outcome.words)
    assert words in reason
    assert not operator.usable[cell]
    assert np.isnan(operator.networks.kernels[0][cell]).all()


def test_bad_cells_do_not_stop_or_change_the_good_one(spoiled, operator):
    x, y = spoiled
    assert operator.usable[GOOD]
    alone = NeuralOperator(OPTIONS).fit(x[[GOOD]], y[[GOOD]], cell_ids=[700])
    np.testing.assert_array_equal(alone.predict(x[[GOOD]])[0], operator.select([GOOD]).predict(x[[GOOD]])[0])
    assert sorted(operator.reasons) == [700 + cell for cell in BAD]


def test_cells_left_out_predict_nan_and_are_not_checked(spoiled, operator):
    x, _ = spoiled
    output, jacobian = operator.predict(x), operator.jacobian(x)
    assert np.isfinite(output[GOOD]).all()
    assert np.isnan(output[1:]).all()
    assert np.isnan(jacobian[1:]).all()


def test_outcomes_survive_saving(operator):
    again = from_arrays(operator.to_arrays())
    np.testing.assert_array_equal(again.outcome, operator.outcome)
    assert again.reasons == operator.reasons
    assert again.select([3]).reasons == {703: operator.reasons[703]}


def test_duplicate_times(spoiled):
    x, y = spoiled
    times = np.datetime64("2007-01-01") + np.arange(200)
    times[10:13] = times[9]
    with pytest.raises(DuplicateTimesError, match="1 times come more than once in 200 samples, first 2007-01-10"):
        NeuralOperator(OPTIONS).fit(x, y, times=times)
    with pytest.raises(PredictorShapeError, match=r"times must have shape \(200,\)"):
        NeuralOperator(OPTIONS).fit(x, y, times=times[:-1])


def test_window_without_data(spoiled):
    x, y = spoiled
    with pytest.raises(EmptyTrainingWindowError, match=r"13 cells, 200 samples, all missing"):
        NeuralOperator(OPTIONS).fit(x, np.full_like(y, np.nan))
    with pytest.raises(EmptyTrainingWindowError, match="13 cells, 0 samples"):
        NeuralOperator(OPTIONS).fit(x[:, :0], y[:, :0])


def test_a_failed_fit_leaves_the_operator_as_it_was(spoiled, operator):
    x, y = spoiled
    before = operator.predict(x)
    with pytest.raises(PredictorShapeError):
        operator.fit(x[..., :2], y)
    np.testing.assert_array_equal(operator.predict(x), before)


@pytest.mark.parametrize("shapes", [((13, 200), (13, 200)), ((13, 200, 2), (13, 200)), ((13, 200, 3), (13, 199))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(PredictorShapeError, match=r"\(cell, sample, 3\) for WG2, TG2, LAI"):
        NeuralOperator(OPTIONS).fit(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_before_training_there_is_nothing_to_predict_with():
    for ask in (lambda o: o.predict(np.zeros((1, 3))), lambda o: o.usable, lambda o: o.to_arrays()):
        with pytest.raises(UntrainedOperatorError, match="call fit"):
            ask(NeuralOperator())


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": ()},
        {"hidden": (40, 0)},
        {"learning_rate": 0.0},
        {"epochs": 0},
        {"batch_size": 0},
        {"block_size": 0},
        {"seed": -1},
        {"validation_fraction": 1.0},
        {"validation_fraction": -0.1},
        {"minimum_samples": 1},
        {"precision": "float16"},
        {"early_stopping_patience": 0},
        {"early_stopping_patience": 5, "validation_fraction": 0.0},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(OperatorOptionError, match="training options"):
        NeuralOptions(**options)


def test_names_and_units_must_fit():
    with pytest.raises(OperatorOptionError, match="one unit each"):
        NeuralOperator(predictor_names=("WG2",), predictor_units=("m3 m-3", "K"))
    with pytest.raises(OperatorOptionError, match="distinct names"):
        NeuralOperator(predictor_names=("WG2", "WG2"), predictor_units=("m3 m-3", "m3 m-3"))


def test_stored_networks_that_were_damaged_are_refused(operator):
    stored = operator.to_arrays()
    for name, value, message in (
        ("kernel_0", np.nan, "not finite in 1 of 1"),
        ("input_std", 0.0, "input_std must be positive"),
        ("outcome", 77, "unknown outcome codes"),
    ):
        damaged = stored.arrays[name].copy()
        damaged[0] = value
        with pytest.raises(OperatorFormatError, match=message):
            from_arrays(stored._replace(arrays={**stored.arrays, name: damaged}))
    with pytest.raises(OperatorFormatError, match=r"kernel_1.*expected \(13, 40, 1\)"):
        from_arrays(stored._replace(arrays={**stored.arrays, "kernel_1": stored.arrays["kernel_1"][:, :5]}))


def test_mask_incomplete_counts_what_model_gaps_cost():
    x, y = region(2, 50, missing=0.0)
    x[1, 4:7, 2] = np.nan
    y[1, 4] = np.nan
    masked, lost = mask_incomplete(x, y)
    assert lost.tolist() == [0, 2]
    assert np.isnan(masked[1, 4:7]).all()
    assert np.isnan(masked).sum() == 3
    assert np.isnan(y).sum() == 1


@pytest.mark.parametrize(("count", "fraction"), [(1000, 0.1), (997, 0.3), (5, 0.5), (0, 0.1), (100, 0.0)])
def test_validation_samples_are_spread_in_pieces(count, fraction):
    kept_out = validation_samples(count, fraction)
    assert kept_out.shape == (count,)
    assert kept_out.sum() <= count * fraction
    if count >= 100 and fraction:
        assert kept_out.sum() >= count * fraction - 10
        pieces = (np.diff(kept_out.astype(int)) == 1).sum()
        assert pieces == 10
