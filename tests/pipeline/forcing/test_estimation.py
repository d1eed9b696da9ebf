"""Weather that was not measured: each formula by hand, and against real half-hourly records."""

import numpy as np
import pytest

from ldas.pipeline.forcing import estimation, physics
from ldas.pipeline.forcing.estimated import Estimate, estimates_of

DAY = np.arange(np.datetime64("2011-03-21T00", "s"), np.datetime64("2011-03-24T00", "s"), np.timedelta64(1, "h"))


def test_pressure_is_that_of_the_standard_atmosphere():
    assert estimation.pressure_at(0.0, 288.15) == pytest.approx(101325.0)
    assert estimation.pressure_at(1000.0, 281.65) == pytest.approx(89874.6, rel=2e-5)  # ICAO
    assert estimation.pressure_at(3000.0, 268.65) == pytest.approx(70108.5, rel=1e-4)


def test_solar_days_begin_at_local_midnight_and_their_extremes_are_those_of_whole_days():
    days = estimation.solar_days(DAY, -90.0)  # six hours behind UTC
    assert days.tolist() == [0] * 6 + [1] * 24 + [2] * 24 + [3] * 18
    values = np.arange(72.0)
    # The first and the last day have few hours.
    assert estimation.by_day(values, days, np.minimum).tolist() == [6.0, 6.0, 30.0, 30.0]
    assert estimation.by_day(values, days, np.maximum).tolist() == [29.0, 29.0, 53.0, 53.0]


def test_a_clear_sky_by_hand():
    noon = np.array([np.datetime64("2011-03-21T12:00", "s")])
    cosine = physics.cosine_zenith(noon, 0.0, 0.0)
    assert cosine[0] == pytest.approx(1.0, abs=2e-3)  # equinox at the equator
    distance = 1.0 + 0.033 * np.cos(2.0 * np.pi * 79 / 365.0)
    dry = estimation.clear_sky(noon, 0.0, 0.0, np.array([101325.0]), np.array([0.0]))
    assert dry[0] == pytest.approx(1361.0 * distance * cosine[0] * 0.87 ** (1.0 / cosine[0]), rel=1e-12)
    moist = estimation.clear_sky(noon, 0.0, 0.0, np.array([101325.0]), np.array([1000.0]))
    assert (dry - moist)[0] == pytest.approx(1361.0 * distance * cosine[0] * 0.061, rel=1e-9)
    high = estimation.clear_sky(noon, 0.0, 0.0, np.array([70000.0]), np.array([0.0]))
    assert high[0] / dry[0] == pytest.approx(0.87 ** ((70000.0 / 101325.0 - 1.0) / cosine[0]), rel=1e-9)
    assert (
        estimation.clear_sky(noon - np.timedelta64(12, "h"), 0.0, 0.0, np.array([101325.0]), np.array([0.0]))[0] == 0.0
    )


def test_clouds_by_the_daily_range_and_rain_by_hand():
    low, high = np.full(40, 280.0), np.full(40, 290.0)
    rainy = np.arange(40) == 3
    slope = 0.031 + 0.201 * np.exp(-0.185 * 10.0)
    passed = 1.0 - 0.9 * np.exp(-slope * 10.0**1.5)
    expected = np.where(rainy, 0.75 * passed, passed)
    np.testing.assert_allclose(estimation.cloud_transmittance(low, high, rainy), expected, rtol=1e-12)


def test_humidity_is_saturated_at_the_daily_minimum_and_never_above():
    temperature = 285.0 - 5.0 * np.cos(2.0 * np.pi * (np.arange(72) - 5) / 24.0)  # coldest at 05, 280 K
    days = estimation.solar_days(DAY, 0.0)
    vapour = estimation.vapour_pressure(temperature, days)
    np.testing.assert_allclose(vapour, physics.saturation_vapour_pressure(280.0), rtol=1e-12)
    drier = estimation.vapour_pressure(temperature, days, 4.0)
    np.testing.assert_allclose(drier, physics.saturation_vapour_pressure(276.0), rtol=1e-12)
    warming = temperature + np.arange(72) / 24.0  # the minimum rises by 1 K a day: 280 5/24 at 05 of the first day
    at_17 = estimation.vapour_pressure(warming, days)[17]
    assert at_17 == pytest.approx(physics.saturation_vapour_pressure(280.0 + 5.0 / 24.0 + 0.5), rel=3e-3)


def test_potential_evaporation_by_hand():
    # Allen et al. (1998), at 20 degC: slope of the saturation 144.8 Pa K-1; psychrometric constant 65 Pa K-1.
    found = estimation.potential_evaporation(np.array([293.15]), np.array([300.0]), np.array([101325.0]))
    assert found[0] == pytest.approx(1.26 * 144.8 / (144.8 + 65.4) * 0.72 * 300.0 / 2.5008e6, rel=3e-3)


def test_the_depression_of_the_dew_point_by_aridity_by_hand():
    temperature = 285.0 - 5.0 * np.cos(2.0 * np.pi * (np.arange(72) - 5) / 24.0)  # 280 to 290 K
    days = estimation.solar_days(DAY, 0.0)
    shortwave, pressure = np.full(72, 200.0), np.full(72, 1e5)
    daily = estimation.potential_evaporation(temperature, shortwave, pressure)[:24].sum() * 3600.0
    for ratio in (0.005, 0.01):
        rain = np.full(72, daily / ratio / 365.25 / 86400.0)
        cubic = 1.003 - 1.444 * ratio + 12.312 * ratio**2 - 32.766 * ratio**3
        expected = 280.0 - 280.0 * (-0.127 + 1.121 * cubic + 0.0006 * 10.0)
        found = estimation.aridity_depression(temperature, rain, shortwave, pressure, days)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    desert = estimation.aridity_depression(temperature, np.zeros(72), shortwave, pressure, days)
    np.testing.assert_allclose(desert, 280.0 - 280.0 * 0.94265, atol=0.02)  # the cubic at its lowest, 0.94884
    assert (desert > estimation.aridity_depression(temperature, rain, shortwave, pressure, days)).all()


def test_cloud_cover_and_longwave_by_hand():
    days = estimation.solar_days(DAY, 0.0)
    clear = estimation.clear_sky(DAY, 44.0, 0.0, np.full(72, 1e5), np.full(72, 800.0))
    shortwave = clear * np.array([1.0, 0.6, 0.6])[days]
    cover = estimation.cloud_cover(shortwave, clear, days)
    assert cover[[12, 36, 60]] == pytest.approx([0.0, 0.4, 0.4])
    assert cover[24] == pytest.approx(0.2)  # midnight between the first two noons
    assert estimation.cloud_cover(0.0 * clear, 0.0 * clear, days)[0] == 0.5  # polar night
    temperature, vapour = np.array([290.0]), np.array([1000.0])
    clear_emissivity = 1.24 * (10.0 / 290.0) ** (1.0 / 7.0)
    black = 5.670374e-8 * 290.0**4
    for part in (0.0, 0.4, 1.0):
        expected = (part + (1.0 - part) * clear_emissivity) * black
        assert estimation.longwave(temperature, vapour, np.array([part]))[0] == pytest.approx(expected, rel=1e-12)


def test_an_estimate_survives_the_attribute_of_a_store():
    item = Estimate("Wind", "estimated as a constant of 2 m s-1", "Allen et al. 1998", 0.25)
    assert estimates_of({"estimated": [item.stored()]}) == [item]
    assert estimates_of({}) == []
    assert str(item) == "Wind, 25 % of the hours: estimated as a constant of 2 m s-1 (Allen et al. 1998)"
