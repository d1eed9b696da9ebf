import numpy as np
import pytest
from scipy.optimize import least_squares

from ldas.operators import Outcome, WaterCloudOperator, WaterCloudOptions, water_cloud_calibration
from ldas.operators.errors import (
    DuplicateTimesError,
    EmptyTrainingWindowError,
    OperatorFormatError,
    OperatorOptionError,
    UntrainedOperatorError,
)
from ldas.operators.registry import from_arrays
from ldas.operators.testing import ObservationOperatorContract

TRUTH = np.array([[0.08, 0.15, -16.0, 28.0], [0.12, 0.3, -18.0, 40.0], [0.05, 0.05, -14.0, 20.0]])


def model(parameters, moisture, leaf_area):
    """Attema and Ulaby (1978) written out once more, one number at a time."""
    a, b, c, d = parameters
    cosine = np.cos(np.radians(40.0))
    through = np.exp(-2.0 * b * leaf_area / cosine)
    canopy = a * leaf_area * cosine * (1.0 - through)
    return 10.0 * np.log10(canopy + through * 10.0 ** (0.1 * (c + d * moisture)))


def data(samples=300, noise=0.0, seed=0):
    generator = np.random.default_rng(seed)
    x = np.stack([generator.uniform(0.08, 0.42, (3, samples)), generator.uniform(0.2, 5.0, (3, samples))], axis=-1)
    y = np.stack([model(TRUTH[cell], x[cell, :, 0], x[cell, :, 1]) for cell in range(3)])
    return x, y + generator.normal(0.0, noise, y.shape)


@pytest.fixture(scope="module")
def calibrated():
    return WaterCloudOperator().fit(*data(), cell_ids=[12, 30, 31])


class TestWaterCloud(ObservationOperatorContract):
    @pytest.fixture
    def operator(self, calibrated):
        return calibrated

    @pytest.fixture
    def predictors(self):
        return data(samples=20, seed=5)[0]

    def test_recovers_parameters_and_backscatter_it_was_made_from(self, operator, predictors):
        np.testing.assert_allclose(operator.parameters, TRUTH, rtol=1e-4)
        truth = np.stack([model(TRUTH[i], predictors[i, :, 0], predictors[i, :, 1]) for i in range(3)])
        np.testing.assert_allclose(operator.predict(predictors), truth, atol=1e-6)
        assert (operator.training_rmsd < 1e-6).all()

    def test_bare_soil_is_linear_in_soil_moisture(self, operator):
        bare = np.stack([np.linspace(0.1, 0.4, 7), np.zeros(7)], axis=-1)[None].repeat(3, axis=0)
        expected = operator.parameters[:, 2:3] + operator.parameters[:, 3:4] * bare[..., 0]
        np.testing.assert_allclose(operator.predict(bare), expected, rtol=1e-12)

    def test_vegetation_hides_the_soil(self, operator):
        leafy = np.stack([np.full(2, 0.2), np.array([0.1, 6.0])], axis=-1)[None].repeat(3, axis=0)
        to_moisture = operator.jacobian(leafy)[..., 0]
        assert (to_moisture[:, 1] < 0.9 * to_moisture[:, 0]).all()


def test_noise_averages_out():
    x, y = data(samples=1500, noise=0.3)
    operator = WaterCloudOperator().fit(x, y)
    np.testing.assert_allclose(operator.training_rmsd, 0.3, rtol=0.05)
    clean = data(samples=1500)[1]
    assert np.sqrt(np.mean((operator.predict(x) - clean) ** 2)) < 0.05


def test_parameters_stay_within_bounds():
    x, y = data()
    options = WaterCloudOptions(soil_moisture_sensitivity=(0.0, 15.0))
    operator = WaterCloudOperator(options).fit(x, y)
    assert operator.usable.all()
    lowest, highest = options.bounds
    assert (operator.parameters >= lowest).all()
    assert (operator.parameters <= highest).all()
    assert (operator.training_rmsd > 0.1).all()


def test_cells_have_no_influence_on_each_other():
    x, y = data(noise=0.2)
    together = WaterCloudOperator().fit(x, y)
    alone = WaterCloudOperator().fit(x[[1]], y[[1]])
    np.testing.assert_array_equal(alone.parameters[0], together.parameters[1])


def test_missing_and_bad_cells():
    x, y = data()
    y[0, ::2] = np.nan
    y[1] = 10.0 ** (y[1] / 10.0)
    x[2, :, 1] = 2.0
    operator = WaterCloudOperator().fit(x, y, cell_ids=[1, 2, 3])
    assert operator.outcome.tolist() == [Outcome.TRAINED, Outcome.TARGET_OUT_OF_RANGE, Outcome.CONSTANT_PREDICTOR]
    np.testing.assert_allclose(operator.parameters[0], TRUTH[0], rtol=1e-4)
    assert "linear units" in operator.reasons[2]
    assert "LAI (m2 m-2) is 2 in all 300" in operator.reasons[3]
    x[1:] = np.nan
    output = operator.predict(x)
    assert np.isfinite(output[0]).all()
    assert np.isnan(output[1:]).all()
    assert from_arrays(operator.to_arrays()).reasons == operator.reasons
    assert operator.select([1]).reasons == {2: operator.reasons[2]}


def test_bad_samples_and_options():
    x, y = data()
    with pytest.raises(EmptyTrainingWindowError):
        WaterCloudOperator().fit(x, np.full_like(y, np.nan))
    with pytest.raises(DuplicateTimesError):
        WaterCloudOperator().fit(x, y, times=np.zeros(300))
    with pytest.raises(UntrainedOperatorError, match="call fit"):
        WaterCloudOperator().predict(x)
    for options in (
        {"vegetation_scattering": (1.0, 0.0)},
        {"vegetation_attenuation": (-0.1, 1.0)},
        {"incidence_angle": 90.0},
    ):
        with pytest.raises(OperatorOptionError, match="water cloud"):
            WaterCloudOptions(**options)
    stored = WaterCloudOperator().fit(x, y).to_arrays()
    with pytest.raises(OperatorFormatError, match="expected"):
        from_arrays(stored._replace(attributes={**stored.attributes, "parameter_names": ["A"]}))


def test_no_start_that_converges_is_called_diverged(monkeypatch):
    monkeypatch.setattr(water_cloud_calibration, "MOST_STEPS", 1)
    operator = WaterCloudOperator().fit(*data())
    assert (operator.outcome == Outcome.DIVERGED).all()
    assert np.isnan(operator.parameters).all()
    assert "no start of the calibration" in operator.reasons[0]


@pytest.mark.parametrize("bounds", [{}, {"soil_moisture_sensitivity": (0.0, 15.0)}], ids=["usual", "tight"])
def test_the_calibration_agrees_with_scipy(bounds):
    """SciPy's trust region reflective from the same starts, one cell after the other; it stops a little earlier."""
    x, y = data(samples=1500, noise=0.3)
    options = WaterCloudOptions(**bounds)
    operator = WaterCloudOperator(options).fit(x, y)
    lowest, highest = options.bounds
    width = highest - lowest
    for cell in range(3):
        moisture, leaf_area = x[cell].T
        ends = [
            least_squares(
                lambda p, w, v, observed: model(p, w, v) - observed,
                np.clip(start, lowest + 0.01 * width, highest - 0.01 * width),
                bounds=(lowest, highest),
                x_scale=width,
                args=(moisture, leaf_area, y[cell]),
            )
            for start in ([0.05, 0.1, -15.0, 25.0], [0.2, 0.5, -20.0, 40.0], [0.01, 0.02, -12.0, 15.0])
        ]
        best = min(ends, key=lambda end: end.cost)
        np.testing.assert_allclose(operator.parameters[cell] / width, best.x / width, atol=1e-5)
        rmsd = np.sqrt(2.0 * best.cost / 1500)
        assert operator.training_rmsd[cell] <= rmsd * (1.0 + 1e-12)
        np.testing.assert_allclose(operator.training_rmsd[cell], rmsd, rtol=1e-8)


def test_a_corner_of_the_bounds_is_found():
    """Made with a larger A and D than the bounds allow: they end at their bounds, and no place nearby is as good."""
    x, y = data(noise=0.1)
    options = WaterCloudOptions(vegetation_scattering=(0.0, 0.04), soil_moisture_sensitivity=(0.0, 15.0))
    operator = WaterCloudOperator(options).fit(x, y)
    assert (operator.parameters[:, 0] == 0.04).all()
    assert (operator.parameters[[0, 2], 3] == 15.0).all()
    lowest, highest = options.bounds
    generator = np.random.default_rng(1)
    for cell in range(3):
        near = operator.parameters[cell] + 1e-3 * (highest - lowest) * generator.normal(size=(200, 4))
        for parameters in np.clip(near, lowest, highest):
            off = model(parameters, x[cell, :, 0], x[cell, :, 1]) - y[cell]
            assert np.sqrt(np.mean(off**2)) >= operator.training_rmsd[cell]
