"""Backscatter through neural networks: the chain rule of the Jacobian, and cells without a trained network."""

import numpy as np
import pytest

from ldas.assim import (
    ObservationError,
    ObservationType,
    Quality,
    SEKFConfiguration,
    SimplifiedEKF,
    Window,
    WindowObservations,
)
from ldas.assim import testing as toy
from ldas.assim.innovations import predictors
from ldas.assim.overpasses import Row
from ldas.landmodel import State
from ldas.operators.networks import Networks
from ldas.operators.neural import NeuralOperator
from ldas.operators.outcome import Outcome

START = "2015-01-01T09"


@pytest.fixture
def network_operator():
    """Three cells with random networks of 40 neurons, the last one not trained."""
    random = np.random.default_rng(6)
    cells = 3
    kernels = (random.normal(size=(cells, 3, 40)), random.normal(size=(cells, 40, 1)) / 6.0)
    biases = (random.normal(size=(cells, 40)), random.normal(size=(cells, 1)))
    for array in (*kernels, *biases):
        array[2] = np.nan
    return NeuralOperator().with_networks(
        Networks(
            cell_ids=np.array([31, 47, 52]),
            outcome=np.array([Outcome.TRAINED, Outcome.TRAINED, Outcome.TOO_FEW_SAMPLES], dtype=np.int8),
            kernels=kernels,
            biases=biases,
            input_mean=np.tile([0.25, 288.0, 2.5], (cells, 1)),
            input_std=np.tile([0.06, 8.0, 1.2], (cells, 1)),
            target_mean=np.full(cells, -11.0),
            target_std=np.full(cells, 0.8),
            training_count=np.full(cells, 900),
            validation_count=np.full(cells, 100),
            training_rmsd=np.full((cells, 250), np.nan, dtype=np.float32),
            validation_rmsd=np.full((cells, 250), np.nan, dtype=np.float32),
        )
    )


def test_jacobian_is_that_of_network_and_model_together(network_operator):
    """The analytic chain rule against the network evaluated at the perturbed grid means, in double precision."""
    parameters = toy.parameters([0, 0, 0, 1, 1, 2], [1, 7, 10, 2, 4, 5], [0.2, 0.5, 0.3, 0.4, 0.6, 1.0])
    state = toy.state(parameters)
    transition = np.eye(15) * 0.8 + np.random.default_rng(1).uniform(0.0, 0.02, (15, 15))
    model = toy.LinearModel(parameters, transition)
    kind = ObservationType("sigma40", network_operator, ObservationError("absolute", 0.33), (-30.0, 0.0), 10.0)
    kalman = SimplifiedEKF(SEKFConfiguration(), [kind], network_operator.cell_ids)
    forecast = kalman.cycle(model, state, Window.cut(toy.forcing(3), START), {})
    given = {"sigma40": WindowObservations(forecast.predicted[:, 0] + np.array([0.5, -0.5, np.nan]))}
    result = kalman.cycle(model, state, Window.cut(toy.forcing(3), START), given)
    assert result.quality[:, 0].tolist() == [Quality.USED, Quality.USED, Quality.MISSING]

    controls = kalman.controls_of(parameters)
    relative_size = kalman.configuration.relative_perturbation()
    members = controls.perturbed_members(state, relative_size)
    ends, _ = model.run(
        members, toy.forcing(3), start=np.datetime64(START), step_s=1800, steps=48, forcing_step_s=3600,
        output=None, threads=1, allow_nonfinite=False,
    )  # fmt: skip
    eps = controls.perturbation(state, relative_size)
    usable = network_operator.select(np.array([0, 1]))
    row = Row(kind, given["sigma40"], None, np.datetime64("2015-01-02T09"))
    for column in range(5):
        cell, patch = parameters.cell[column], parameters.patch[column] - 1
        for control in range(8):
            one = State(*(np.array(values) for values in forecast.forecast))
            for before, after in zip(one, ends, strict=True):
                before[column] = after[column, control]
            if eps[column, control] == 0.0:
                assert result.jacobian[cell, 0, patch, control] == 0.0
                continue
            moved = usable.predict(predictors(controls, one, row)[:2])[cell]
            expected = (moved - result.predicted[cell, 0]) / eps[column, control]
            assert result.jacobian[cell, 0, patch, control] == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_cell_without_a_network_is_left_out(network_operator):
    parameters = toy.parameters([0, 1, 2], [7, 10, 4], [1.0, 1.0, 1.0])
    kind = ObservationType("sigma40", network_operator, ObservationError("absolute", 0.33))
    kalman = SimplifiedEKF(SEKFConfiguration(), [kind], network_operator.cell_ids)
    given = {"sigma40": WindowObservations(np.full(3, -11.0))}
    result = kalman.cycle(toy.LinearModel(parameters), toy.state(parameters), Window.cut(toy.forcing(3), START), given)
    assert result.quality[:, 0].tolist() == [Quality.USED, Quality.USED, Quality.OPERATOR_ABSENT]
    assert (result.increment[2] == 0.0).all()
    assert (result.increment[:2] != 0.0).any()
    assert np.isnan(result.innovation[2, 0])
