"""What a cycle does with observations, states and windows of every kind: codes, or errors that name the place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.assim import Window
from ldas.assim import testing as toy
from ldas.assim.controls import DEFAULT_CONTROLS
from ldas.assim.errors import AssimilationWindowError, FilterConfigurationError, ObservationInputError
from ldas.assim.observations import ObservationError, ObservationType, WindowObservations
from ldas.assim.quality import QUALITY_MEANING, Quality
from ldas.assim.sekf_cycle import SEKFConfiguration, SimplifiedEKF
from ldas.assim.testing import START, observed
from ldas.operators.direct import DirectOperator
from ldas.operators.errors import OperatorMismatchError
from tests.assim.cycles import sigma_type, ssm_type, three_cells

# -- quality codes ----------------------------------------------------------------------------------------------------


def test_every_quality_code_occurs_for_its_own_reason():
    """One cell a reason; the codes found are all the codes there are, but for that of observed snow
    (test_snow_and_screen_level.py)."""
    reasons = [code for code in Quality if code not in (Quality.JACOBIAN_FAILED, Quality.NO_SNOW_IN_MODEL)]
    cells = len(reasons)
    at = {code: position for position, code in enumerate(reasons)}
    parameters = toy.parameters(np.arange(cells), np.full(cells, 7), np.ones(cells))
    state = toy.state(parameters)
    state.soil_ice[at[Quality.MASKED_FROZEN], 1] = 0.01
    state.snow_water_equivalent[at[Quality.MASKED_SNOW], 0] = 5.0
    drift = np.zeros((cells, 15))
    drift[at[Quality.STATE_NOT_FINITE], 3] = np.inf
    model = toy.LinearModel(parameters, drift=drift)
    operator = toy.Backscatter(np.arange(cells))
    operator.usable[at[Quality.OPERATOR_ABSENT]] = False
    state.soil_temperature[at[Quality.OPERATOR_FAILED], 1] = 20.0  # in Celsius: the operator would refuse it
    value, uncertainty = np.full(cells, -11.0), np.full(cells, 0.33)
    prepared = np.zeros(cells, dtype=np.int8)
    value[at[Quality.MISSING]] = np.nan
    value[at[Quality.OUTSIDE_VALID_RANGE]] = 0.06  # linear instead of dB
    value[at[Quality.REJECTED_INNOVATION]] = -24.0
    below_range = WindowObservations(np.full(cells, -30.01))
    uncertainty[at[Quality.ERROR_NOT_POSITIVE]] = 0.0
    for code in (
        Quality.MASKED_TOPOGRAPHY, Quality.MASKED_WATER, Quality.MASKED_URBAN, Quality.MASKED_PRODUCT_FLAG,
    ):  # fmt: skip
        prepared[at[code]] = code
    kind = ObservationType("sigma40", operator, ObservationError("given"), (-30.0, 0.0), innovation_limit=5.0)
    given_ = {"sigma40": WindowObservations(value, uncertainty, prepared)}
    kalman = SimplifiedEKF(SEKFConfiguration(), [kind], np.arange(cells))
    result = kalman.cycle(model, state, Window.cut(toy.forcing(cells), START), given_)
    expected = [Quality.USED if code is Quality.NOT_ASSIMILATED else code for code in reasons]
    assert result.quality[:, 0].tolist() == [int(code) for code in expected]
    unused = result.quality[:, 0] != Quality.USED
    assert (result.increment[unused] == 0.0).all()
    assert (np.abs(result.increment[~unused]).sum(axis=1) > 0.0).all()

    ranged = ObservationType("sigma40", operator, ObservationError("absolute", 0.33), (-30.0, 0.0))
    below = SimplifiedEKF(SEKFConfiguration(), [ranged], np.arange(cells)).cycle(
        model, state, Window.cut(toy.forcing(cells), START), {"sigma40": below_range}
    )
    assert (below.quality[at[Quality.USED]] == Quality.OUTSIDE_VALID_RANGE).all()

    passive = ObservationType("sigma40", operator, ObservationError("given"), (-30.0, 0.0), 5.0, assimilate=False)
    compared_only = SimplifiedEKF(SEKFConfiguration(), [passive], np.arange(cells)).cycle(
        model, state, Window.cut(toy.forcing(cells), START), given_
    )
    assert compared_only.quality[at[Quality.USED], 0] == Quality.NOT_ASSIMILATED
    assert (compared_only.increment == 0.0).all()
    np.testing.assert_array_equal(compared_only.innovation, result.innovation)
    # what a cell gives does not depend on whether another one is perturbed
    np.testing.assert_array_equal(compared_only.jacobian[unused], result.jacobian[unused])
    assert set(QUALITY_MEANING) == set(Quality)


def test_a_perturbed_member_that_blows_up_costs_one_analysis_only():
    class Fragile(toy.LinearModel):
        def run(self, state, forcing, **options):
            end, outputs = super().run(state, forcing, **options)
            if end.soil_water.ndim == 3:
                end.soil_water[1, 2, 1] = np.nan
            return end, outputs

    parameters, state, forcing = three_cells()
    kalman = SimplifiedEKF(SEKFConfiguration(), [ssm_type()], np.arange(3))
    result = kalman.cycle(Fragile(parameters), state, Window.cut(forcing, START), observed(ssm=[0.2, 0.2, 0.2]))
    assert result.quality[:, 0].tolist() == [Quality.JACOBIAN_FAILED, Quality.USED, Quality.USED]
    assert not result.set_aside.any()
    np.testing.assert_array_equal(result.state.soil_water[:3], result.forecast.soil_water[:3])


@given(
    value=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=3, max_size=3),
    uncertainty=st.lists(st.one_of(st.just(np.nan), st.floats(0.0, 1e3)), min_size=3, max_size=3),
    limit=st.floats(0.01, 1e6),
)
@settings(deadline=None, max_examples=50)
def test_any_observation_gets_one_known_code_and_leaves_a_finite_state(value, uncertainty, limit):
    parameters, state, forcing = three_cells()
    operator = DirectOperator.surface_soil_moisture(np.arange(3))
    kind = ObservationType("ssm", operator, ObservationError("given"), (0.0, 1.0), limit)
    kalman = SimplifiedEKF(SEKFConfiguration(), [kind], np.arange(3))
    given_ = {"ssm": WindowObservations(np.array(value), np.array(uncertainty))}
    result = kalman.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, START), given_)
    assert all(int(code) in set(Quality) for code in result.quality.ravel())
    assert ((result.quality == Quality.USED)[:, 0] == (result.used_count == 1)).all()
    for before, after in zip(state, result.state, strict=True):
        assert (np.isfinite(before) == np.isfinite(after)).all()
    assert (np.abs(result.increment) <= [1.0] + [0.1] * 7).all()


# -- bad input --------------------------------------------------------------------------------------------------------


def test_an_operator_for_other_cells_is_refused():
    with pytest.raises(OperatorMismatchError, match="cells"):
        SimplifiedEKF(SEKFConfiguration(), [sigma_type([4, 5, 6])], np.arange(3))


def test_an_operator_in_other_units_or_of_other_variables_is_refused():
    celsius = DirectOperator([0], predictor_name="TG2", unit="degC", output_name="t")
    with pytest.raises(FilterConfigurationError, match="in the model's units"):
        ObservationType("t", celsius, ObservationError("absolute", 1.0))
    optical_depth = DirectOperator([0], predictor_name="VOD", unit="1", output_name="t")
    with pytest.raises(FilterConfigurationError, match="unknown state variable 'VOD'"):
        ObservationType("t", optical_depth, ObservationError("absolute", 1.0))


@pytest.mark.parametrize("size", [-0.33, 0.0, np.nan, np.inf, [0.3, -0.1, 0.2]])
def test_error_sizes_must_be_positive(size):
    with pytest.raises(FilterConfigurationError, match="positive"):
        ObservationError("absolute", np.asarray(size) if isinstance(size, list) else size)


def test_negative_uncertainty_is_refused_with_its_place():
    parameters, state, forcing = three_cells()
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type()], np.arange(3))
    bad = {"sigma40": WindowObservations(np.full(3, -10.0), np.array([0.3, -999.0, 0.3]))}
    with pytest.raises(ObservationInputError, match="negative uncertainty -999 at cell position 1"):
        kalman.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, START), bad)


def test_observations_of_another_shape_or_type_are_refused():
    parameters, state, forcing = three_cells()
    kalman = SimplifiedEKF(SEKFConfiguration(), [sigma_type()], np.arange(3))
    with pytest.raises(ObservationInputError, match="value must be one number for each of the 3 cells"):
        kalman.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, START), observed(sigma40=[-10.0]))
    with pytest.raises(ObservationInputError, match=r"unknown type \['vod'\]"):
        kalman.cycle(toy.LinearModel(parameters), state, Window.cut(forcing, START), observed(vod=[1, 1, 1]))


@pytest.mark.parametrize(
    ("start", "forcing_start", "message"),
    [
        ("2015-01-02T09", "2015-01-01T09", "not inside the forcing"),
        ("2015-01-01T09", "2015-01-01T12", "not inside the forcing"),
        ("2015-01-01T09", "2015-01-01T08:30", "not inside the forcing"),
    ],
)
def test_windows_outside_the_forcing_are_refused(start, forcing_start, message):
    with pytest.raises(AssimilationWindowError, match=message):
        Window.cut(toy.forcing(3), start, forcing_start=forcing_start)


def test_forcing_without_a_record_at_the_window_start_is_refused():
    with pytest.raises(AssimilationWindowError, match="no record at 2015-01-01T09"):
        Window.cut(toy.forcing(3, 48), START, forcing_start="2015-01-01T08:30")


def test_only_the_window_of_a_long_forcing_reaches_the_model():
    parameters, state, _ = three_cells()
    seen = []

    class Listening(toy.LinearModel):
        def run(self, state, forcing, **options):
            seen.append((options["start"], forcing))
            return super().run(state, forcing, **options)

    year = toy.forcing(3, hours=240)
    kalman = SimplifiedEKF(SEKFConfiguration(), [], np.arange(3))
    kalman.cycle(Listening(parameters), state, Window.cut(year, "2015-01-04T09", forcing_start="2015-01-01T00"), {})
    start, window = seen[0]
    assert start == np.datetime64("2015-01-04T09")
    np.testing.assert_array_equal(window.Tair, year.Tair[81:106])


@pytest.mark.parametrize(
    "options",
    [
        {"controls": ("LAI", "WG2", "WG2")},
        {"controls": ()},
        {"controls": ("TG2",)},
        {"perturbation": {"WG2": 0.0}},
        {"perturbation": {"WG9": 1e-4}},
        {"soil_moisture_error": {"WG2": -0.1}},
        {"background": "D"},
        {"typical_range": 0.0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(FilterConfigurationError):
        SEKFConfiguration(**options)


def test_default_controls_are_those_of_the_paper():
    assert SEKFConfiguration().controls == DEFAULT_CONTROLS == ("LAI", *(f"WG{layer}" for layer in range(2, 9)))
