"""Conversions and the solar geometry."""

import json

import numpy as np
import pytest

from ldas.pipeline.forcing import physics
from tests.support import shared


def test_saturation_pressure_and_humidity_at_known_points():
    # WMO tables: 611.2 Pa at 0 degC, 2338 Pa at 20 degC, 4245 Pa at 30 degC, over water
    np.testing.assert_allclose(
        physics.saturation_vapour_pressure([273.15, 293.15, 303.15]), [611.2, 2338.0, 4245.0], rtol=2e-3
    )
    humidity = physics.specific_humidity(1000.0, 100000.0)
    assert humidity == pytest.approx(0.622 * 0.01 / (1 - 0.378 * 0.01), rel=1e-3)
    np.testing.assert_allclose(physics.vapour_pressure(humidity, 100000.0), 1000.0, rtol=1e-12)


def test_air_density_and_co2():
    assert physics.air_density(273.15, 101325.0, 0.0) == pytest.approx(1.2922, rel=1e-4)
    # 400 ppm in standard air: 400e-6 x 44/28.96 x 1.2922
    assert physics.co2_density(400.0, 1.2922) == pytest.approx(7.852e-4, rel=1e-3)


def test_solar_geometry_against_the_reference_model():
    content = json.loads(shared("science/golden_steps.json").read_text())
    compared = 0
    for case in content["cases"]:
        place = case["parameters"]
        if not isinstance(case.get("cosZ"), float) or "lat" not in place:
            continue
        time = np.array(case["start_utc"].replace(" ", "T"), dtype="datetime64[s]")
        cosine = float(physics.cosine_zenith(time, place["lat"], place["lon"]))
        if case["cosZ"] > 0.02:  # below that the reference's limit of the zenith angle applies
            assert cosine == pytest.approx(case["cosZ"], abs=1e-8)
            compared += 1
    assert compared >= 3


def test_snow_fraction_is_linear_between_its_limits_and_can_be_a_step():
    np.testing.assert_allclose(physics.snow_fraction([272.0, 274.16, 276.0], 273.16, 275.16), [1.0, 0.5, 0.0])
    np.testing.assert_array_equal(physics.snow_fraction([273.15, 273.17], 273.16, 273.16), [1.0, 0.0])
