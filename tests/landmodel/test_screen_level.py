"""Temperature and humidity at 2 m: from the forcing where it is given there, else between it and the surface."""

import numpy as np
import pytest

from ldas.landmodel import Forcing, Isba, Options, OutputRequest, State, cold_start
from tests.landmodel.support import (
    REGIMES,
    Array,
    constant_forcing,
    random_columns,
    random_forcing,
    random_state,
    simple_columns,
)

SCREEN = ("T2M", "Q2M", "HU2M")
EXCHANGE = ("TS", "RI", "CH", "CD", "Z0H", "LE", "SWE")
OPTIONS = Options()


def saturation(temperature: Array, pressure: Array) -> Array:
    """Specific humidity over water (kg kg-1) after Bolton (1980), good to 0.3 % above -35 deg C."""
    celsius = temperature - 273.15
    vapour = 611.2 * np.exp(17.67 * celsius / (celsius + 243.5))
    return np.asarray(0.62198 * vapour / (pressure - 0.37802 * vapour))


def first_step(regime: str, height: float) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs (column,) of a step from random states, and the air at its start."""
    random = np.random.default_rng(REGIMES.index(regime))
    parameters = random_columns(random, OPTIONS, 16)
    parameters.values["air_height"][:] = height
    state = random_state(random, parameters, OPTIONS, regime)
    forcing = random_forcing(random, regime, 2, 16)
    request = OutputRequest(end=SCREEN + EXCHANGE, interval_s=1800.0)
    _, outputs = Isba(parameters, OPTIONS).run(state, forcing, "2007-06-01T12", steps=1, output=request)
    air = {name: np.asarray(values)[0] for name, values in zip(Forcing._fields, forcing, strict=True)}
    return {name: values[0] for name, values in outputs.items()}, air


@pytest.mark.parametrize("regime", ["hot", "thaw"])
def test_forcing_at_2_m_is_the_air_at_2_m_to_the_last_bit(regime: str) -> None:
    found, air = first_step(regime, 2.0)
    np.testing.assert_array_equal(found["T2M"], air["Tair"])
    drier = found["HU2M"] < 1.0
    assert drier.any()
    np.testing.assert_array_equal(found["Q2M"][drier], air["Qair"][drier])
    assert (found["Q2M"][~drier] <= air["Qair"][~drier]).all()  # supersaturated forcing


@pytest.mark.parametrize("regime", REGIMES)
def test_between_surface_and_forcing_as_in_geleyn_1988(regime: str) -> None:
    height = 20.0
    found, air = first_step(regime, height)
    neutral = np.log(height / found["Z0H"])
    profile = 0.4 * np.sqrt(found["CD"]) / found["CH"]
    stable = 0.1 * (neutral - profile)
    unstable = np.log(1.0 + 0.1 * (np.exp(np.maximum(0.0, neutral - profile)) - 1.0))
    correction = np.where(found["RI"] >= 0.0, stable, unstable)
    weight = np.clip((np.log(1.0 + 0.1 * (height / found["Z0H"] - 1.0)) - correction) / profile, 0.0, 1.0)
    assert ((weight > 0.0) & (weight < 1.0)).any()
    expected = found["TS"] + weight * (air["Tair"] - found["TS"])
    np.testing.assert_allclose(found["T2M"], expected, rtol=1e-13)
    usual = np.abs(found["T2M"] - 278.0) < 30.0
    near = saturation(found["T2M"], air["PSurf"])[usual]
    np.testing.assert_allclose((found["Q2M"] / found["HU2M"])[usual], near, rtol=5e-3)
    assert (found["HU2M"] <= 1.0).all()


def test_humidity_over_wet_ground_is_between_saturation_there_and_the_air() -> None:
    parameters = simple_columns(("NO",), air_height=50.0)
    wet = cold_start(parameters, air_temperature=290.0)
    wet.soil_water[:] = np.where(wet.soil_water > 0.0, 0.95 * parameters.soil("porosity"), 0.0)
    forcing = constant_forcing(25, SWdown=300.0, Qair=0.004)
    request = OutputRequest(end=SCREEN + EXCHANGE, interval_s=1800.0)
    _, outputs = Isba(parameters, OPTIONS).run(wet, forcing, "2007-06-01T00", output=request)
    temperature, humidity, surface = (outputs[name][-1, 0] for name in ("T2M", "Q2M", "TS"))
    share = (temperature - surface) / (288.0 - surface)
    at_surface = saturation(surface, np.float64(1.0e5))  # the surface hardly warms any more
    np.testing.assert_allclose(humidity, at_surface + share * (0.004 - at_surface), rtol=5e-3)
    assert 0.004 < humidity < at_surface


def test_what_is_diagnosed_changes_nothing_else() -> None:
    parameters = simple_columns(("C3", "TEBD"), air_height=10.0)
    forcing = constant_forcing(5, 2, SWdown=500.0)
    model = Isba(parameters, OPTIONS)
    states: list[State] = []
    for names in (("LE",), ("LE", *SCREEN)):
        state, outputs = model.run(
            cold_start(parameters), forcing, "2007-06-01T12", output=OutputRequest(mean=names, interval_s=14400.0)
        )
        states.append(state._replace(latent_heat_flux=outputs["LE"]))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*states, strict=True))
