"""Saturation, air density and the Exner function (SURFEX mode_thermos.F90; docs/science/air.md, sections 2 and 3)."""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.constants import (
    FREEZING_POINT,
    GAS_CONSTANT_DRY_AIR,
    GAS_CONSTANT_VAPOUR,
    GRAVITY,
    HEAT_CAPACITY_DRY_AIR,
    HEAT_CAPACITY_ICE,
    HEAT_CAPACITY_VAPOUR,
    HEAT_CAPACITY_WATER,
    REFERENCE_PRESSURE,
    SATURATION_PRESSURE_AT_FREEZING,
    SUBLIMATION_HEAT,
    VAPORISATION_HEAT,
)
from ldas.landmodel.lanes import exp, log, where

_GAMMA_WATER = (HEAT_CAPACITY_WATER - HEAT_CAPACITY_VAPOUR) / GAS_CONSTANT_VAPOUR
_BETA_WATER = VAPORISATION_HEAT / GAS_CONSTANT_VAPOUR + _GAMMA_WATER * FREEZING_POINT
_ALPHA_WATER = (
    math.log(SATURATION_PRESSURE_AT_FREEZING) + _BETA_WATER / FREEZING_POINT + _GAMMA_WATER * math.log(FREEZING_POINT)
)
_GAMMA_ICE = (HEAT_CAPACITY_ICE - HEAT_CAPACITY_VAPOUR) / GAS_CONSTANT_VAPOUR
_BETA_ICE = SUBLIMATION_HEAT / GAS_CONSTANT_VAPOUR + _GAMMA_ICE * FREEZING_POINT
_ALPHA_ICE = (
    math.log(SATURATION_PRESSURE_AT_FREEZING) + _BETA_ICE / FREEZING_POINT + _GAMMA_ICE * math.log(FREEZING_POINT)
)
EPSILON = GAS_CONSTANT_DRY_AIR / GAS_CONSTANT_VAPOUR
VIRTUAL = GAS_CONSTANT_VAPOUR / GAS_CONSTANT_DRY_AIR - 1.0
_KAPPA = GAS_CONSTANT_DRY_AIR / HEAT_CAPACITY_DRY_AIR


@science
def saturation_vapour_pressure(temperature):
    """Saturation vapour pressure (Pa) at a temperature (K): over ice at and below 273.16 K (CQSAT=NEW), else water."""
    ice = temperature <= FREEZING_POINT
    alpha = where(ice, _ALPHA_ICE, _ALPHA_WATER)
    beta = where(ice, _BETA_ICE, _BETA_WATER)
    gamma = where(ice, _GAMMA_ICE, _GAMMA_WATER)
    return exp(alpha - beta / temperature - gamma * log(temperature))


@science
def saturation_humidity(temperature, pressure):
    """Saturation specific humidity (kg kg-1) at a temperature (K) and pressure (Pa)."""
    ratio = saturation_vapour_pressure(temperature) / pressure
    return EPSILON * ratio / (1.0 + (EPSILON - 1.0) * ratio)


@science
def saturation_humidity_over_water(temperature, pressure):
    """Saturation specific humidity (kg kg-1) over liquid water, also below freezing, as weather stations have it."""
    ratio = exp(_ALPHA_WATER - _BETA_WATER / temperature - _GAMMA_WATER * log(temperature)) / pressure
    return EPSILON * ratio / (1.0 + (EPSILON - 1.0) * ratio)


@science
def saturation_humidity_and_slope(temperature, pressure):
    """Saturation specific humidity (kg kg-1) and its derivative with temperature (kg kg-1 K-1)."""
    ice = temperature <= FREEZING_POINT
    alpha = where(ice, _ALPHA_ICE, _ALPHA_WATER)
    beta = where(ice, _BETA_ICE, _BETA_WATER)
    gamma = where(ice, _GAMMA_ICE, _GAMMA_WATER)
    inverse = 1.0 / temperature
    ratio = exp(alpha - beta * inverse - gamma * log(temperature)) / pressure
    denominator = 1.0 / (1.0 + (EPSILON - 1.0) * ratio)
    humidity = EPSILON * ratio * denominator
    return humidity, (beta * inverse - gamma) * inverse * humidity * denominator


@science
def air_density(temperature, humidity, pressure, height):
    """Density (kg m-3) of air of a temperature (K) and humidity (kg kg-1), a height (m) above surface pressure (Pa)."""
    return pressure / (temperature * GAS_CONSTANT_DRY_AIR * (1.0 + VIRTUAL * humidity) + height * GRAVITY)


@science
def exner(pressure):
    """Exner function (1) of a pressure (Pa)."""
    return exp(_KAPPA * log(pressure / REFERENCE_PRESSURE))
