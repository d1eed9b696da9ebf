"""Surface runoff: saturated area of Dümenil and Todini (1992) and infiltration excess (SURFEX hydro_sgh.F90,
isba_sgh_update.F90)."""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.constants import MINIMUM_WATER, WATER_DENSITY
from ldas.landmodel.lanes import any_lane, exp, log, maximum, minimum, where

_LN10 = math.log(10.0)
HORTON_DEPTH = 0.1  # m
_SHAPE = 0.5  # B of DT92
_SMALL_CELL = 15.0  # km: rain covers the whole of a smaller cell


@science
def ice_impedance(water, ice):
    """Reduction of the hydraulic conductivity by ice (1)."""
    return exp((-6.0 * _LN10) * ice / (ice + water))


@science
def raining_fraction(rain, cell_size, subgrid):
    """Share of the cell where it rains, MUF (1): 1 in a cell below 15 km; 0 without rain."""
    if subgrid == 0:
        return rain * 0.0
    rate = rain * 3600.0
    wide = 1.0 - exp(-(0.2 + 0.5 * exp(-0.01 * cell_size)) * rate)
    return where(rain > 0.0, where(cell_size < _SMALL_CELL, 1.0, wide), 0.0)


@science
def infiltration_capacity(column, parameters, work):
    """Maximum infiltration Imax (m s-1) over the layers down to 0.1 m."""
    depth = parameters.moist_layers * 0.0
    total = depth
    for layer in range(work.most_layers):
        thickness = work.thickness[layer]
        taken = (depth < HORTON_DEPTH - 1.0e-9) & (parameters.moist_layers > layer)  # layer bottoms are sums
        ice = column.soil_ice[layer]
        water = column.soil_water[layer]
        pores = maximum(MINIMUM_WATER, parameters.porosity[layer] - ice)
        saturation = minimum(1.0, water / pores)
        suction = parameters.retention_exponent[layer] * parameters.entry_potential[layer]
        rate = (
            thickness
            * ice_impedance(water, ice)
            * parameters.hydraulic_conductivity[layer]
            * (suction * (saturation - 1.0) / thickness + 1.0)
        )
        total = total + where(taken, rate, 0.0)
        depth = depth + where(taken, thickness, 0.0)
    return total / depth


@science
def mean_over_runoff_depth(values, parameters, layers):
    """Mean of a layer quantity over the depth of the saturation runoff (RUNOFFD)."""
    total = parameters.runoff_weight[0] * values[0]
    for layer in range(1, layers):
        total = total + parameters.runoff_weight[layer] * values[layer]
    return total / parameters.runoff_depth


@science
def surface_runoff(column, parameters, work, flux, options, rain, melt):
    """Infiltration (kg m-2 s-1) of rain and melt water at the ground after surface runoff.
    Source: docs/science/interception_runoff.md, sections 4 and 5."""
    incoming = rain + melt
    horton = rain * 0.0
    dunne = rain * 0.0
    saturated_area = rain * 0.0
    layers = work.most_layers
    water = rain * 0.0
    ice = rain * 0.0
    porosity = rain * 0.0 + 1.0
    wilting = rain * 0.0
    if options.runoff_saturation > 0:
        water = mean_over_runoff_depth(column.soil_water, parameters, layers)
        if options.runoff_horton == 0:
            ice = mean_over_runoff_depth(column.soil_ice, parameters, layers)
        porosity = mean_over_runoff_depth(parameters.porosity, parameters, layers)
        wilting = mean_over_runoff_depth(parameters.wilting_point, parameters, layers)
        saturation = minimum(1.0, (water + ice - wilting) / (porosity - wilting))
        dry = 1.0 - maximum(0.0, saturation)
        # log of the floor stands for a saturated column, whose dry share is 0
        saturated_area = 1.0 - exp((_SHAPE / (_SHAPE + 1.0)) * log(maximum(dry, 1.0e-300)))
    if options.runoff_horton > 0:
        capacity = infiltration_capacity(column, parameters, work) * WATER_DENSITY
        if options.drip_subgrid > 0:
            positive = where(rain > 0.0, rain, 1.0)
            excess = where(rain > 0.0, positive / (capacity * work.raining_fraction / positive + 1.0), 0.0)
        else:
            excess = maximum(0.0, rain - capacity)
        horton = (1.0 - saturated_area) * (excess + maximum(0.0, melt - capacity))
    if options.runoff_saturation > 0:
        step = options.step
        depth = parameters.runoff_depth
        supply = incoming - horton
        content = minimum(porosity, water + ice)
        room = porosity - wilting
        added = supply * step / (WATER_DENSITY * depth)
        dry = maximum(1.0 - (content - wilting) / room, 1.0e-300)  # as above
        curve = maximum(0.0, exp(log(dry) / (1.0 + _SHAPE)) - added / ((1.0 + _SHAPE) * room))
        curve = where(curve > 0.0, exp((1.0 + _SHAPE) * log(maximum(curve, 1.0e-300))), 0.0)
        excess = maximum(0.0, added - (porosity - content) + room * curve)
        dunne = excess * depth * WATER_DENSITY / step
        dunne = where((content <= wilting) | (supply - dunne <= 0.0) | (excess == 0.0), 0.0, dunne)
    if any_lane(incoming < 0.0):
        horton = where(incoming < 0.0, 0.0, horton)
        dunne = where(incoming < 0.0, 0.0, dunne)
    flux.HORTON = horton
    flux.RUNOFF = horton + dunne
    return incoming - dunne - horton
