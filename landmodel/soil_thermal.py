"""Thermal properties of the soil (Peters-Lidard et al. 1998, PL98; SURFEX soildif.F90) and of the composite surface.

Equations: docs/science/soil_heat.md, sections 1 to 3.
"""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.constants import (
    FREEZING_POINT,
    FUSION_HEAT,
    GRAVITY,
    HEAT_CAPACITY_ICE,
    HEAT_CAPACITY_WATER,
    ICE_CONDUCTIVITY,
    ICE_DENSITY,
    MINIMUM_WATER,
    SOIL_LAYERS,
    SOIL_SOLID_HEAT_CAPACITY,
    WATER_CONDUCTIVITY,
    WATER_DENSITY,
    WATER_TABLE_DEPTH,
)
from ldas.landmodel.lanes import any_lane, exp, log, maximum, minimum, where

_LOG_ICE = math.log(ICE_CONDUCTIVITY)
_LOG_WATER = math.log(WATER_CONDUCTIVITY)
_PER_LN10 = 1.0 / math.log(10.0)
_MAXIMUM_INERTIA_COEFFICIENT = 1.0e-4  # K m2 J-1, upper limit of CG and CV in SURFEX


@science
def frozen_fraction(water, ice):
    """Share of ice in the water of a layer (1)."""
    return ice / (ice + maximum(water, MINIMUM_WATER))


@science
def saturated_conductivity(log_solid_conductivity, porosity, frozen):
    """Thermal conductivity (W m-1 K-1) of the saturated soil, a share `frozen` of its pores being ice."""
    unfrozen = (1.0 - frozen) * porosity
    return exp((1.0 - porosity) * log_solid_conductivity + (porosity - unfrozen) * _LOG_ICE + unfrozen * _LOG_WATER)


@science
def thermal_conductivity(water, ice, inverse_porosity, dry, saturated, frozen):
    """Thermal conductivity (W m-1 K-1): dry to saturated by the Kersten number."""
    saturation = minimum(maximum((water + ice) * inverse_porosity, 0.1), 1.0)
    kersten = (1.0 - frozen) * (log(saturation) * _PER_LN10 + 1.0) + frozen * saturation
    return kersten * (saturated - dry) + dry


@science
def heat_capacity(water, ice, porosity):
    """Volumetric heat capacity (J m-3 K-1). The ice content is a liquid equivalent, and yet has ice density here: as
    in SURFEX."""
    return (
        (1.0 - porosity) * SOIL_SOLID_HEAT_CAPACITY
        + water * (HEAT_CAPACITY_WATER * WATER_DENSITY)
        + ice * (HEAT_CAPACITY_ICE * ICE_DENSITY)
    )


@science
def set_soil_constants(parameters, work):
    """What only depends on the soil: inverses of its constants, and the conductivity of the saturated unfrozen soil,
    constant as long as there is no ice."""
    for layer in range(SOIL_LAYERS):
        solid = log(parameters.solid_conductivity[layer])
        work.log_solid_conductivity[layer] = solid
        porosity = parameters.porosity[layer]
        work.inverse_porosity[layer] = 1.0 / porosity
        work.inverse_exponent[layer] = 1.0 / parameters.retention_exponent[layer]
        work.inverse_entry_potential[layer] = 1.0 / parameters.entry_potential[layer]
        work.inverse_air_space[layer] = 1.0 / (porosity - 0.05)
        work.saturated_conductivity[layer] = saturated_conductivity(solid, porosity, porosity * 0.0)


@science
def water_below(parameters, work, layer, temperature, bottom_potential_ratio, bottom_depth):
    """Water and ice (m3 m-3) of a layer below the moisture column, for thermal use only.

    The matric potential goes from that of the lowest moisture layer (`bottom_potential_ratio` times the air-entry
    potential, at `bottom_depth` m) to saturation at the water table.
    """
    depth = parameters.layer_bottom[layer] - 0.5 * work.thickness[layer]
    porosity = parameters.porosity[layer]
    exponent = -work.inverse_exponent[layer]
    # above the lowest moisture layer the result is not used; the 1e-3 m keep the division defined there
    weight = maximum(0.0, (WATER_TABLE_DEPTH - depth) / maximum(depth - bottom_depth, 1.0e-3))
    ratio = (1.0 + weight * bottom_potential_ratio) / (1.0 + weight)
    total = maximum(MINIMUM_WATER, porosity * exp(exponent * log(maximum(1.0, ratio))))
    entry = parameters.entry_potential[layer]
    liquid = porosity
    if any_lane(temperature < FREEZING_POINT):
        potential = minimum(entry, (FUSION_HEAT / GRAVITY) * (temperature - FREEZING_POINT) / temperature)
        liquid = porosity * exp(exponent * log(maximum(1.0, potential * work.inverse_entry_potential[layer])))
    water = minimum(maximum(MINIMUM_WATER, liquid), total)
    return water, total - water


@science
def soil_thermal_properties(column, parameters, work, options):
    """Conductivity, heat capacity and conductances between layers, the inertia coefficients CG and CT and the frozen
    share of layer 1; constant over the ISBA step."""
    moist_layers = parameters.moist_layers
    bottom_ratio = moist_layers * 0.0 + 1.0
    bottom_depth = moist_layers * 0.0
    half_above = bottom_depth
    for layer in range(SOIL_LAYERS):
        water = column.soil_water[layer]
        ice = column.soil_ice[layer]
        porosity = parameters.porosity[layer]
        if layer + 1 >= work.fewest_layers:
            thickness = work.thickness[layer]
            saturation = minimum(1.0, (water + ice) / porosity)
            lowest = moist_layers == layer + 1.0
            if any_lane(lowest):
                # the layers below have no water of their own; the floor keeps the logarithm defined there
                ratio = exp(-parameters.retention_exponent[layer] * log(maximum(saturation, 1.0e-3)))
                bottom_ratio = where(lowest, ratio, bottom_ratio)
                bottom_depth = where(lowest, parameters.layer_bottom[layer] - 0.5 * thickness, bottom_depth)
            below = moist_layers <= layer
            if any_lane(below):
                deep_water, deep_ice = water_below(
                    parameters, work, layer, column.soil_temperature[layer], bottom_ratio, bottom_depth
                )
                water = where(below, deep_water, water)
                ice = where(below, deep_ice, ice)
        saturated = work.saturated_conductivity[layer]
        frozen = porosity * 0.0
        if any_lane(ice > 0.0):
            frozen = frozen_fraction(water, ice)
            saturated = saturated_conductivity(work.log_solid_conductivity[layer], porosity, frozen)
        conductivity = thermal_conductivity(
            water, ice, work.inverse_porosity[layer], parameters.dry_conductivity[layer], saturated, frozen
        )
        work.conductivity[layer] = conductivity
        half_resistance = 0.5 * work.thickness[layer] / conductivity
        if layer > 0:
            work.conductance[layer - 1] = 1.0 / (half_above + half_resistance)
        half_above = half_resistance
        work.heat_capacity[layer] = heat_capacity(water, ice, porosity)
        if layer == 0:
            work.frozen_fraction = frozen
    bare = minimum(_MAXIMUM_INERTIA_COEFFICIENT, 1.0 / (work.thickness[0] * work.heat_capacity[0]))
    vegetation = minimum(
        _MAXIMUM_INERTIA_COEFFICIENT,
        1.0 / (0.2 / parameters.vegetation_inertia_coefficient + HEAT_CAPACITY_WATER * column.intercepted_water),
    )
    fraction = work.vegetation_fraction
    composite = 1.0 / ((1.0 - fraction) / bare + fraction / vegetation)
    work.inertia_bare = bare
    work.inertia_composite = composite
    coupling = bare
    if options.conserve_heat > 0:
        coupling = composite
    work.surface_coupling = coupling
