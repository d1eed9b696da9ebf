"""Temperature and humidity at 2 m, between surface and forcing height (Geleyn 1988; SURFEX cls_tq.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import GRAVITY, VON_KARMAN
from ldas.landmodel.lanes import exp, log, maximum, minimum, sqrt, where
from ldas.landmodel.thermodynamics import saturation_humidity_over_water

SCREEN_HEIGHT = 2.0  # m


@science
def weight_of_air(height, roughness_heat, drag, exchange, richardson):
    """Weight (1) of the air at the forcing's height (m) in a value at 2 m; the rest is the surface's.
    Source: docs/science/screen_level.md, section 1."""
    neutral = log(height / roughness_heat)
    profile = VON_KARMAN * sqrt(drag) / exchange
    share = SCREEN_HEIGHT / height
    stable = share * (neutral - profile)
    unstable = log(1.0 + share * (exp(maximum(0.0, neutral - profile)) - 1.0))
    logarithm = log(1.0 + share * (exp(neutral) - 1.0))
    weight = (logarithm - where(richardson < 0.0, unstable, stable)) / profile
    # nothing is extrapolated: forcing from 2 m or below is taken as it is, to the last bit
    return where(height > SCREEN_HEIGHT, maximum(0.0, minimum(1.0, weight)), 1.0)


@science
def screen_level(parameters, air, work, flux):
    """Temperature, specific and relative humidity at 2 m at the end of the step, after `exchange_diagnostics`; outputs
    only. Source: docs/science/screen_level.md, sections 1 and 2."""
    height = parameters.air_height
    surface = 1.0 - weight_of_air(height, flux.Z0H, flux.CD, flux.CH, flux.RI)
    temperature = air.temperature - surface * (air.temperature - flux.TS)
    pressure = air.pressure - air.density * GRAVITY * minimum(SCREEN_HEIGHT, height)
    saturated = saturation_humidity_over_water(temperature, pressure)
    humidity = minimum(air.humidity - surface * (air.humidity - work.surface_humidity), saturated)
    flux.T2M = temperature
    flux.Q2M = humidity
    flux.HU2M = humidity / saturated
