"""A-gs photosynthesis and stomatal conductance (Jacobs 1996; Calvet et al. 1998, 2004; SURFEX cotwores.F90, cotwo.F90).

Equations: docs/science/photosynthesis.md, sections 1 to 8.
Concentrations are kg CO2 per kg of air, assimilation kg CO2 kg_air-1 m s-1, conductances m s-1.
"""

import math

from ldas.landmodel.canopy_light import carrer_canopy, gauss_canopy_light
from ldas.landmodel.compile import science
from ldas.landmodel.constants import (
    CO2_MOLAR_MASS,
    DRY_AIR_MOLAR_MASS,
    FREEZING_POINT,
    MAXIMUM_STOMATAL_RESISTANCE,
    VAPORISATION_HEAT,
)
from ldas.landmodel.lanes import any_lane, exp, log, maximum, minimum, where
from ldas.landmodel.leaf import leaf
from ldas.landmodel.thermodynamics import saturation_humidity

_LN2 = math.log(2.0)
_LN15 = math.log(1.5)
PPM_CO2 = CO2_MOLAR_MASS / DRY_AIR_MOLAR_MASS * 1.0e-6  # kg kg-1 of one part per million
_WOODY_INTERCEPT = 4.7  # AW
_WOODY_INTERCEPT_STRESSED = 2.8  # ASW
_WOODY_SLOPE = 7.0  # BW
_DEFICIT_DEFENSIVE = 0.03  # DMAXN, kg kg-1
_DEFICIT_OFFENSIVE = 0.3  # DMAXX, kg kg-1
_GAUSS_WEIGHTS = (5.0 / 18.0, 8.0 / 18.0, 5.0 / 18.0)


@science
def temperature_response(celsius, q10_power, low, high):
    """Q10 response with inhibition below `low` and above `high` (deg C), 1 near 25 deg C."""
    return q10_power / ((1.0 + exp(0.3 * (low - celsius))) * (1.0 + exp(0.3 * (celsius - high))))


@science
def herbaceous_stress(stress, parameters):
    """Mesophyll conductance gm (m s-1) and maximum deficit Dmax (kg kg-1) of herbs under stress F2 (Calvet 2000)."""
    slope = parameters.herb_slope  # BH
    intercept = parameters.herb_intercept  # AH
    critical = parameters.critical_stress
    defensive = parameters.defensive > 0.5
    unstressed = exp((log(1000.0 * parameters.mesophyll_conductance) - intercept) / slope) / 1000.0
    limit = where(defensive, _DEFICIT_DEFENSIVE, _DEFICIT_OFFENSIVE)
    moderate = stress >= critical
    deficit = where(moderate, unstressed - (unstressed - limit) * (1.0 - stress) / (1.0 - critical), limit)
    conductance = exp(intercept + slope * log(1000.0 * deficit)) / 1000.0
    relative = stress / critical
    conductance = where(moderate | ~defensive, conductance, conductance * relative)
    deficit = where(moderate | defensive, deficit, deficit * relative)
    exhausted = ~defensive & (deficit <= _DEFICIT_DEFENSIVE)
    lowest = exp(intercept + slope * math.log(1000.0 * _DEFICIT_DEFENSIVE)) / 1000.0
    return where(exhausted, lowest * relative, conductance), where(exhausted, _DEFICIT_DEFENSIVE, deficit)


@science
def woody_stress(stress, parameters):
    """Mesophyll conductance gm (m s-1) and ratio f0 (1) of trees under stress F2 (Calvet et al. 2004)."""
    unstressed = parameters.mesophyll_conductance
    critical = parameters.critical_stress
    defensive = parameters.defensive > 0.5
    ratio = (_WOODY_INTERCEPT - log(1000.0 * unstressed)) / _WOODY_SLOPE
    stressed = where(defensive, unstressed, exp(_WOODY_INTERCEPT_STRESSED - _WOODY_SLOPE * ratio) / 1000.0)
    moderate = stress >= critical
    conductance = where(moderate, stressed, stressed * stress / critical)
    # a dry root zone has gm = 0: the floor keeps its logarithm defined, as in the source
    ratio_stressed = (_WOODY_INTERCEPT_STRESSED - log(1000.0 * maximum(conductance, 1.0e-12))) / _WOODY_SLOPE
    share = (1.0 - stress) / (1.0 - critical)
    ratio = where(
        moderate,
        where(defensive, ratio - (ratio - ratio_stressed) * share, ratio),
        minimum(0.95, ratio_stressed),
    )
    conductance = where(moderate & ~defensive, unstressed - (unstressed - stressed) * share, conductance)
    return conductance, ratio


@science
def stressed_leaf(stress, parameters, work):
    """Mesophyll conductance, maximum deficit and f0 of the leaf under the stress of this step."""
    ratio = parameters.ci_ratio
    deficit = parameters.maximum_deficit
    conductance = parameters.mesophyll_conductance
    woody = parameters.woody > 0.5
    if any_lane(~woody):
        herb_conductance, herb_deficit = herbaceous_stress(stress, parameters)
        conductance = where(woody, conductance, herb_conductance)
        deficit = where(woody, deficit, herb_deficit)
    if any_lane(woody):
        tree_conductance, tree_ratio = woody_stress(stress, parameters)
        conductance = where(woody, tree_conductance, conductance)
        ratio = where(woody, tree_ratio, ratio)
    tropical = parameters.tropical > 0.5
    conductance = where(tropical, parameters.mesophyll_conductance * stress, conductance)
    return conductance, deficit, where(tropical, parameters.ci_ratio, ratio)


@science
def photosynthesis(column, parameters, air, work, flux, options):
    """Stomatal resistance of the canopy, gross and net assimilation and leaf respiration of this step, from the
    surface temperature at its start and the latent heat flux and aerodynamic resistance of the step before."""
    density = air.density
    stress = work.soil_moisture_stress
    celsius = column.soil_temperature[0] - FREEZING_POINT
    conductance, deficit_limit, ratio = stressed_leaf(stress, parameters, work)
    q10 = exp((0.1 * _LN2) * (celsius - 25.0))
    conductance = conductance * temperature_response(celsius, q10, parameters.mesophyll_low, parameters.mesophyll_high)
    capacity = (
        parameters.assimilation_capacity
        * temperature_response(celsius, q10, parameters.capacity_low, parameters.capacity_high)
        / density
    )
    compensation = parameters.compensation_point * PPM_CO2 * exp((0.1 * _LN15) * (celsius - 25.0))
    efficiency = parameters.quantum_efficiency / density
    saturated = saturation_humidity(column.soil_temperature[0], air.pressure)
    deficit = maximum(
        0.0,
        saturated
        - air.humidity
        - column.latent_heat_flux * column.aerodynamic_resistance / (density * VAPORISATION_HEAT),
    )
    cuticular = parameters.cuticular_conductance
    co2 = air.co2
    leaf_area = work.leaf_area_index
    open_stomata = minimum(1.0, stress / 1.0e-12)  # closed only where F2 is exactly 0
    if options.light_carrer > 0:
        assimilation, vapour_conductance, respiration = carrer_canopy(
            parameters, air, leaf_area, co2, deficit, conductance, capacity, compensation, efficiency, cuticular,
            ratio, deficit_limit, open_stomata,
        )  # fmt: skip
    else:
        zero = leaf_area * 0.0
        assimilation, vapour_conductance, respiration = zero, zero, zero
        daylight = any_lane(air.shortwave > 0.0)
        light = zero
        for node in range(3):
            if daylight:
                light = gauss_canopy_light(node, air.shortwave, air.cosine_zenith, leaf_area)
            if daylight or node == 0:  # in the dark all levels are alike
                level = leaf(light, co2, deficit, conductance, cuticular, capacity, compensation, efficiency, ratio,
                             deficit_limit, open_stomata, 1.0)  # fmt: skip
            weight = _GAUSS_WEIGHTS[node]
            assimilation = assimilation + weight * level[0]
            vapour_conductance = vapour_conductance + weight * level[1]
            respiration = respiration + weight * level[2]
    vegetated = parameters.vegetated > 0.5
    uncovered = (1.0 - work.wet_fraction) * (1.0 - work.snow_fraction_vegetation)
    net = where(vegetated, uncovered * assimilation * leaf_area, 0.0)
    leaf_respiration = where(vegetated, uncovered * respiration * leaf_area, 0.0)
    resistance = minimum(maximum(1.0 / (vapour_conductance * leaf_area + 1.0e-12), 1.0e-4), MAXIMUM_STOMATAL_RESISTANCE)
    work.stomatal_resistance = where(vegetated, resistance, 0.0)
    column.net_assimilation = net
    work.leaf_respiration = leaf_respiration
    flux.GPP = (net + leaf_respiration) * density
    column.daily_net_assimilation += net * options.step * density
    column.maximum_leaf_assimilation = (where(vegetated, maximum(assimilation, column.maximum_leaf_assimilation),
              column.maximum_leaf_assimilation))  # fmt: skip
