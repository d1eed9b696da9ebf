"""Observation preparation, with pytesmo as the oracle where it has the same method."""

import numpy as np
import pytest
from pytesmo.cdf_matching import CDFMatching
from pytesmo.scaling import mean_std
from pytesmo.time_series.filters import exp_filter

from ldas.assim import testing as toy
from ldas.assim.errors import FilterConfigurationError, ObservationInputError
from ldas.assim.masks import MaskThresholds, frozen_soil, snow_cover, static_mask
from ldas.assim.quality import Quality
from ldas.assim.rescaling import PERCENTILES, cdf_matched, linearly_rescaled, seasonal_moments, seasonal_quantiles
from ldas.assim.sekf_cycle import SEKFConfiguration, SimplifiedEKF
from ldas.assim.windows import exponential_filter, window_end, window_means

# -- soil water index -------------------------------------------------------------------------------------------------


def irregular_wetness(cells=4, seed=0):
    random = np.random.default_rng(seed)
    days = np.sort(random.choice(np.arange(0.0, 200.0, 0.25), 300, replace=False))
    wetness = random.uniform(0.0, 1.0, (300, cells))
    wetness[random.uniform(size=wetness.shape) < 0.3] = np.nan
    return wetness, days


@pytest.mark.parametrize("constant", [1, 5, 20])
def test_soil_water_index_equals_pytesmo(constant):
    """pytesmo keeps the gain in single precision, hence 1e-6."""
    wetness, days = irregular_wetness()
    ours = exponential_filter(wetness, days, constant, restart_after_days=np.inf)
    for cell in range(wetness.shape[1]):
        theirs = exp_filter(wetness[:, cell].copy(), days, ctime=constant)
        np.testing.assert_allclose(ours[:, cell], theirs, rtol=0, atol=1e-6)
        assert (np.isnan(ours[:, cell]) == np.isnan(wetness[:, cell])).all()


def test_soil_water_index_by_hand():
    """Two days apart with T = 1: K = 1 / (1 + exp(-2)); then one day: K = K / (K + exp(-1))."""
    gain = 1.0 / (1.0 + np.exp(-2.0))
    second = 0.2 + gain * (0.6 - 0.2)
    gain = gain / (gain + np.exp(-1.0))
    expected = [0.2, np.nan, second, second + gain * (0.1 - second)]
    wetness = np.array([[0.2], [np.nan], [0.6], [0.1]])
    np.testing.assert_allclose(exponential_filter(wetness, np.array([0.0, 1.0, 2.0, 3.0]))[:, 0], expected, rtol=1e-15)


def test_soil_water_index_starts_anew_after_a_long_gap():
    wetness = np.array([[0.2, 0.2], [0.4, 0.4], [0.9, np.nan], [0.8, 0.7]])
    index = exponential_filter(wetness, np.array([0.0, 1.0, 13.5, 14.0]))
    assert index[2, 0] == 0.9
    assert index[3, 1] == 0.7
    kept = exponential_filter(wetness, np.array([0.0, 1.0, 13.0, 13.5]))
    assert kept[2, 0] != 0.9


@pytest.mark.parametrize(
    ("days", "options", "message"),
    [
        ([0.0, 2.0, 1.0], {}, "times must rise, but 1.0 follows 2.0 at position 2"),
        ([0.0, 1.0], {}, r"must be \(time, cell\)"),
        ([0.0, 1.0, 2.0], {"time_constant_days": 0.0}, "positive"),
    ],
)
def test_soil_water_index_refuses(days, options, message):
    with pytest.raises(ObservationInputError, match=message):
        exponential_filter(np.ones((3, 2)), np.array(days), **options)


# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "hour", "end"),
    [
        ("2015-01-01T09:00:00", 9, "2015-01-01T09"),
        ("2015-01-01T09:00:01", 9, "2015-01-02T09"),
        ("2015-01-01T21:30:00", 9, "2015-01-02T09"),
        ("2015-01-02T08:59:59", 9, "2015-01-02T09"),
        ("2015-01-01T00:00:00", 0, "2015-01-01T00"),
        ("2015-01-01T12:00:00", 0, "2015-01-02T00"),
        ("1969-12-31T10:00:00", 9, "1970-01-01T09"),
    ],
)
def test_window_of_a_time(time, hour, end):
    assert window_end(np.array([time], dtype="datetime64[s]"), hour)[0] == np.datetime64(end)


def test_window_means_use_nothing_after_the_analysis():
    times = np.array(["2015-01-03T09:30", "2015-01-01T10", "2015-01-01T22", "2015-01-02T09"], dtype="datetime64[s]")
    values = np.array([[9.0, np.nan], [1.0, 4.0], [2.0, np.nan], [6.0, np.nan]])
    means = window_means(times, values, analysis_hour_utc=9)
    assert means.end.tolist() == np.array(["2015-01-02T09", "2015-01-03T09", "2015-01-04T09"], "M8[s]").tolist()
    np.testing.assert_array_equal(means.mean, [[3.0, 4.0], [np.nan, np.nan], [9.0, np.nan]])
    np.testing.assert_array_equal(means.number, [[3, 1], [0, 0], [1, 0]])


def test_window_means_of_nothing():
    means = window_means(np.array([], dtype="datetime64[s]"), np.zeros((0, 3)), 9)
    assert means.mean.shape == (0, 3)
    with pytest.raises(ObservationInputError, match="overpass, cell"):
        window_means(np.array(["2015-01-01"], dtype="datetime64[s]"), np.zeros((2, 3)), 9)


# -- rescaling --------------------------------------------------------------------------------------------------------


def two_climates(years=4, cells=3, seed=1):
    random = np.random.default_rng(seed)
    dates = np.arange("2007-01-01", f"{2007 + years}-01-01", dtype="datetime64[D]")
    months = dates.astype("datetime64[M]").astype(int) % 12 + 1
    season = np.sin(2 * np.pi * months / 12)[:, None]
    model = 0.25 + 0.05 * season + random.normal(0.0, 0.03, (dates.size, cells))
    observation = 0.5 + 0.2 * season + 0.15 * (model - 0.25) / 0.03 * 0.7 + random.normal(0.0, 0.1, model.shape)
    observation[random.uniform(size=model.shape) < 0.3] = np.nan
    return observation, model, months


def season_of(month):
    return [(month - 2) % 12 + 1, month, month % 12 + 1]


def test_linear_rescaling_equals_pytesmo_month_by_month():
    observation, model, months = two_climates()
    ours = linearly_rescaled(observation, months, seasonal_moments(observation, model, months))
    for month in (1, 6, 12):
        around = np.isin(months, season_of(month))
        for cell in range(observation.shape[1]):
            both = around & np.isfinite(observation[:, cell])
            theirs = mean_std(observation[both, cell], model[both, cell])
            of_month = months[both] == month
            np.testing.assert_allclose(ours[both, cell][of_month], theirs[of_month], rtol=1e-12)


def test_linear_rescaling_gives_the_mean_and_spread_of_the_model():
    observation, model, months = two_climates()
    moments = seasonal_moments(observation, model, months, window_months=1)
    ours = linearly_rescaled(observation, months, moments)
    there = np.isfinite(observation)
    assert (np.isfinite(ours) == there).all()
    for month in range(1, 13):
        here = (months == month)[:, None] & there
        for cell in range(3):
            assert ours[here[:, cell], cell].mean() == pytest.approx(model[here[:, cell], cell].mean(), rel=1e-12)
            assert ours[here[:, cell], cell].std() == pytest.approx(model[here[:, cell], cell].std(), rel=1e-12)


def test_linear_rescaling_without_variation_or_data():
    observation, model, months = two_climates()
    observation[:, 0] = np.where(np.isnan(observation[:, 0]), np.nan, 0.4)
    observation[:, 1] = np.nan
    moments = seasonal_moments(observation, model, months)
    ours = linearly_rescaled(observation, months, moments)
    january = np.flatnonzero((months == 1) & np.isfinite(observation[:, 0]))
    np.testing.assert_array_equal(ours[january, 0], moments.model_mean[0, 0])
    assert np.isnan(ours[:, 1]).all()
    assert (moments.pairs[:, 1] == 0).all()


def test_cdf_matching_equals_pytesmo_month_by_month():
    observation, model, months = two_climates()
    ours = cdf_matched(observation, months, seasonal_quantiles(observation, model, months))
    for month in (1, 7, 12):
        around = np.isin(months, season_of(month))
        for cell in range(observation.shape[1]):
            both = around & np.isfinite(observation[:, cell])
            oracle = CDFMatching(percentiles=list(PERCENTILES)).fit(observation[both, cell], model[both, cell])
            of_month = both & (months == month)
            theirs = oracle.predict(observation[of_month, cell])
            np.testing.assert_allclose(ours[of_month, cell], theirs, rtol=1e-12)
    assert (np.isfinite(ours) == np.isfinite(observation)).all()


def test_cdf_matching_of_steps_extrapolation_and_constants():
    """Ties give a monotone function; beyond the ends the last piece goes on; a constant gives a constant."""
    months = np.full(400, 5)
    random = np.random.default_rng(2)
    observation = np.round(random.uniform(0.0, 1.0, (400, 2)), 1)
    observation[:, 1] = 0.3
    model = random.uniform(0.1, 0.4, (400, 2))
    quantiles = seasonal_quantiles(observation, model, months)
    new = np.array([[-0.1, 0.3], [0.0, 0.3], [0.5, 0.9], [1.0, 0.3], [1.1, np.nan]])
    matched = cdf_matched(new, months[:5], quantiles)
    assert (np.diff(matched[:, 0]) > 0.0).all()
    assert matched[0, 0] - matched[1, 0] < 0.0
    assert (matched[:4, 1] == matched[0, 1]).all()
    assert np.isnan(matched[4, 1])


def test_too_few_pairs_give_nothing():
    observation, model, months = two_climates(years=1)
    assert np.isnan(cdf_matched(observation, months, seasonal_quantiles(observation, model, months))).all()
    observation[months == 6] = np.nan
    moments = seasonal_moments(observation, model, months, window_months=1, minimum_pairs=10)
    assert np.isnan(moments.slope[5]).all()
    assert np.isfinite(moments.slope[[0, 6]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"months": np.zeros(1461, dtype=int)}, "months go from 1 to 12"),
        ({"window_months": 2}, "odd"),
        ({"model": np.zeros((3, 3))}, "must both be"),
    ],
)
def test_rescaling_refuses(change, message):
    observation, model, months = two_climates()
    arguments = {"observation": observation, "model": model, "months": months, **change}
    with pytest.raises(ObservationInputError, match=message):
        seasonal_moments(**arguments)


# -- masks ------------------------------------------------------------------------------------------------------------


def test_static_masks():
    topography = np.array([0.1, 0.3, 0.1, 0.1, np.nan, 0.2])
    water = np.array([0.0, 0.0, 0.1, 0.0, 0.0, 0.05])
    urban = np.array([0.0, 0.9, 0.9, 0.3, 0.0, 0.2])
    codes = static_mask(topography, water, urban)
    assert codes.tolist() == [
        Quality.USED,
        Quality.MASKED_TOPOGRAPHY,
        Quality.MASKED_WATER,
        Quality.MASKED_URBAN,
        Quality.MASKED_TOPOGRAPHY,
        Quality.USED,
    ]
    assert static_mask(topography, water, urban, MaskThresholds(topography=0.4))[1] == Quality.MASKED_URBAN
    with pytest.raises(FilterConfigurationError, match="percent"):
        MaskThresholds(water=5.0)


def test_frozen_soil_and_snow():
    parameters = toy.parameters([0, 0, 1, 1, 2], [7, 10, 7, 10, 4], [0.5, 0.5, 0.5, 0.5, 1.0])
    controls = SimplifiedEKF(SEKFConfiguration(), [], np.arange(3)).controls_of(parameters)
    state = toy.state(parameters)
    state.soil_ice[:4, 1] = [0.01, 0.02, 0.01, 0.0]
    assert frozen_soil(controls, state, "every_patch").tolist() == [True, False, False]
    assert frozen_soil(controls, state, "any_patch").tolist() == [True, True, False]
    state.soil_temperature[4, 1] = 273.0
    assert frozen_soil(controls, state, "any_patch").tolist() == [True, True, True]
    state.snow_water_equivalent[3, :2] = [0.4, 0.3]
    assert snow_cover(controls, state).tolist() == [False, True, False]
    assert not snow_cover(controls, state, threshold=1.0).any()
