"""Liquid water in the soil: Richards equation with vapour transfer (Decharme et al. 2011; SURFEX hydro_soildif.F90)."""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.constants import FREEZING_POINT, GAS_CONSTANT_VAPOUR, GRAVITY, MINIMUM_WATER, WATER_DENSITY
from ldas.landmodel.lanes import any_lane, exp, log, maximum, minimum, sqrt, where
from ldas.landmodel.runoff import ice_impedance
from ldas.landmodel.thermodynamics import saturation_vapour_pressure

_LOG_FREEZING_POINT = math.log(FREEZING_POINT)
_VAPOUR_DIFFUSIVITY = 2.17e-5  # m2 s-1


@science
def vapour_pressures(column, air, work):
    """Saturation pressures (Pa) over the two phases and factors of the vapour transfer of every layer, at the start of
    the hydrology. SURFEX swaps the phases: `over_water` weighs the ice share."""
    at_freezing = saturation_vapour_pressure(air.pressure * 0.0 + FREEZING_POINT)
    for layer in range(work.most_layers):
        temperature = column.soil_temperature[layer]
        over_water = at_freezing
        over_ice = at_freezing
        frozen = (temperature < FREEZING_POINT) | (column.soil_ice[layer] > 0.0)
        if any_lane(frozen):
            over_water = saturation_vapour_pressure(temperature)
            over_ice = where(temperature < FREEZING_POINT, over_water, at_freezing)
        work.vapour_over_water[layer] = over_water
        work.vapour_over_ice[layer] = over_ice
        set_vapour_transfer(column, work, layer)


@science
def set_vapour_transfer(column, work, layer):
    """What the vapour conductivity takes from the temperature of a layer: the inverse of Rv T (kg J-1) and the
    diffusivity (m2 s-1) with all factors of docs/science/soil_water.md, section 3 that do not change with the water."""
    temperature = column.soil_temperature[layer]
    inverse = 1.0 / (GAS_CONSTANT_VAPOUR * temperature)
    diffusivity = (_VAPOUR_DIFFUSIVITY * 1.0e5) * exp(1.88 * (log(temperature) - _LOG_FREEZING_POINT))
    work.inverse_vapour_energy[layer] = inverse
    # the air pressure of the numerator cancels that of the diffusivity
    work.vapour_transfer[layer] = (0.66 * GRAVITY / WATER_DENSITY) * diffusivity * inverse * inverse


@science
def vapour_conductivity(column, parameters, air, work, layer, potential, impedance):
    """Isothermal vapour conductivity (m s-1) of a layer drier than field capacity.
    Source: docs/science/soil_water.md, section 3."""
    porosity = parameters.porosity[layer]
    water = column.soil_water[layer]
    ice = column.soil_ice[layer]
    content = water + ice
    dry = (content > MINIMUM_WATER) & (content < parameters.field_capacity[layer])
    if not any_lane(dry):
        return porosity * 0.0
    air_space = minimum((porosity - content) * (1.0 + content * work.inverse_air_space[layer]), porosity)
    humidity = exp(potential * GRAVITY * work.inverse_vapour_energy[layer])
    saturated = work.vapour_over_ice[layer]
    if any_lane(ice > 0.0):
        frozen = ice / content
        saturated = frozen * work.vapour_over_water[layer] + (1.0 - frozen) * saturated
    pressure = humidity * saturated
    conductivity = work.vapour_transfer[layer] * air_space * pressure / (air.pressure - pressure)
    return where(dry, conductivity * impedance, 0.0)


@science
def infiltrate(column, parameters, work, amount):
    """Fill the pores from the top with `amount` (m); returns what the whole column does not take (m)."""
    moist = parameters.moist_layers
    if any_lane(amount > 0.0):
        for layer in range(work.most_layers):
            thickness = work.thickness[layer]
            water = column.soil_water[layer]
            room = maximum(0.0, work.free_porosity[layer] - water) * thickness
            taken = where(moist > layer, minimum(amount, room), 0.0)
            column.soil_water[layer] = water + taken * work.inverse_thickness[layer]
            amount = amount - taken
    return amount


@science
def soil_water_properties(column, parameters, air, work):
    """Matric potential (m), hydraulic conductivity and the sum with that of vapour (m s-1) of every moist layer."""
    for layer in range(work.most_layers):
        water = column.soil_water[layer]
        impedance = work.impedance[layer]
        saturation = minimum(1.0, water * work.inverse_free_porosity[layer])
        power = exp(-parameters.retention_exponent[layer] * log(saturation))
        potential = parameters.entry_potential[layer] * power
        # S^(2b+3) from the same logarithm as S^-b
        conductivity = (
            impedance
            * parameters.hydraulic_conductivity[layer]
            * (saturation * saturation * saturation)
            / (power * power)
        )
        work.potential[layer] = potential
        work.hydraulic_conductivity[layer] = conductivity
        work.vapour_conductivity[layer] = vapour_conductivity(
            column, parameters, air, work, layer, potential, impedance
        )


@science
def distribute_negative_infiltration(column, parameters, work, rate):
    """Share a rate (m s-1, negative) among the layers above the lowest in proportion to their water."""
    total = rate * 0.0
    moist = parameters.moist_layers
    needed = any_lane(rate != 0.0)
    if needed:
        for layer in range(work.most_layers - 1):
            amount = work.thickness[layer] * column.soil_water[layer]
            total = total + where(moist > layer + 1.0, amount, 0.0)
    rate_per_water = total
    if needed:
        rate_per_water = rate / total
    for layer in range(work.most_layers):
        share = rate * 0.0
        if needed:
            amount = work.thickness[layer] * column.soil_water[layer]
            share = where(moist > layer + 1.0, rate_per_water * amount, 0.0)
        work.water_source[layer] = share


@science
def solve_richards(column, parameters, work, substep, evaporation, transpiration):
    """One linearised Crank-Nicolson step of the water content; returns the drainage at the bottom (m s-1).

    Source: docs/science/soil_water.md, section 4.
    """
    moist = parameters.moist_layers
    layers = work.most_layers
    flow_above = moist * 0.0  # upward flow (m s-1) and its derivatives at the interface above the layer
    first_above = flow_above
    second_above = flow_above
    upper = flow_above  # eliminated upper diagonal and right side of the layer above
    known = flow_above
    bottom_flow = flow_above
    bottom_first = flow_above
    per_substep = 1.0 / substep
    inverse_water = 1.0 / column.soil_water[0]
    for layer in range(layers):
        exponent = parameters.retention_exponent[layer]
        conductivity = work.hydraulic_conductivity[layer]
        lowest = moist == layer + 1.0
        inside = moist > layer
        steepness = (2.0 * exponent + 3.0) * inverse_water
        flow = -conductivity
        first = -steepness * conductivity
        second = flow * 0.0
        if layer + 1 < layers:
            # layers below a shallower column hold no water: the floor keeps their unused derivatives finite
            inverse_below = 1.0 / maximum(column.soil_water[layer + 1], 1.0e-12)
            exponent_below = parameters.retention_exponent[layer + 1]
            per_spacing = work.inverse_spacing[layer]
            head = work.potential[layer] * per_spacing
            head_below = work.potential[layer + 1] * per_spacing
            mean = sqrt(conductivity * work.hydraulic_conductivity[layer + 1])
            total = mean + sqrt(work.vapour_conductivity[layer] * work.vapour_conductivity[layer + 1])
            gradient = head - head_below
            head_first = -exponent * head * inverse_water
            head_second = -exponent_below * head_below * inverse_below
            slope_first = 0.5 * steepness * mean
            slope_second = 0.5 * (2.0 * exponent_below + 3.0) * mean * inverse_below
            flow = where(lowest, flow, -total * gradient - mean)
            first = where(lowest, first, -slope_first * gradient - total * head_first - slope_first)
            second = where(lowest, 0.0, -slope_second * gradient + total * head_second - slope_second)
            inverse_water = inverse_below
        bottom_flow = where(lowest, flow, bottom_flow)
        bottom_first = where(lowest, first, bottom_first)
        right = flow - flow_above - work.uptake_share[layer] * transpiration + work.water_source[layer]
        if layer == 0:
            right = right - evaporation
        diagonal = work.thickness[layer] * per_substep - 0.5 * first + 0.5 * second_above
        lower = 0.5 * first_above
        # below the column: no change
        lower = where(inside, lower, 0.0)
        right = where(inside, right, 0.0)
        inverse = 1.0 / (where(inside, diagonal, 1.0) - lower * upper)
        known = (right - lower * known) * inverse
        upper = where(inside, -0.5 * second, 0.0) * inverse
        work.eliminated_upper[layer] = upper
        work.eliminated_right[layer] = known
        flow_above = flow
        first_above = first
        second_above = second
    change = flow_above * 0.0
    drainage = change
    for step in range(layers):
        layer = layers - 1 - step
        change = work.eliminated_right[layer] - work.eliminated_upper[layer] * change
        column.soil_water[layer] += change
        lowest = moist == layer + 1.0
        drainage = where(lowest, -(bottom_flow + 0.5 * bottom_first * change), drainage)
    return drainage


@science
def limit_water(column, parameters, work, substep):
    """Pass water above saturation down and raise layers at the minimum at the expense of the layer below; returns
    what leaves (or enters) at the bottom (m s-1). Source: docs/science/soil_water.md, section 5."""
    moist = parameters.moist_layers
    layers = work.most_layers
    per_substep = 1.0 / substep
    leaving = moist * 0.0
    incoming = leaving
    for layer in range(layers):
        inside = moist > layer
        thickness = work.thickness[layer]
        water = column.soil_water[layer] + incoming * work.inverse_thickness[layer]
        limit = work.free_porosity[layer]
        excess = where(inside, maximum(0.0, water - limit), 0.0)
        water = where(excess > 0.0, limit, water)
        column.soil_water[layer] = water
        lowest = moist == layer + 1.0
        leaving = leaving + where(lowest, excess * thickness * per_substep, 0.0)
        incoming = where(lowest, 0.0, excess * thickness)
    incoming = leaving * 0.0
    for layer in range(layers):
        inside = moist > layer
        thickness = work.thickness[layer]
        water = column.soil_water[layer] - incoming * work.inverse_thickness[layer]
        lacking = where(inside, maximum(0.0, MINIMUM_WATER - water), 0.0)
        water = where(lacking > 0.0, MINIMUM_WATER, water)
        column.soil_water[layer] = water
        lowest = moist == layer + 1.0
        leaving = leaving - where(lowest, lacking * thickness * per_substep, 0.0)
        incoming = where(lowest, 0.0, lacking * thickness)
    return leaving


@science
def soil_water_substep(column, parameters, air, work, substep, infiltration, evaporation, transpiration, correction):
    """One sub-step of the soil water; all rates m s-1, positive `evaporation` and `transpiration` leaving.

    Returns:
        Drainage and the infiltration excess of a full column (m s-1).
    """
    layers = work.most_layers
    for layer in range(layers):
        water = column.soil_water[layer]
        ice = column.soil_ice[layer]
        porosity = parameters.porosity[layer]
        inverse = work.inverse_porosity[layer]
        impedance = water * 0.0 + 1.0
        if any_lane(ice > 0.0):
            impedance = ice_impedance(water, ice)
            porosity = maximum(MINIMUM_WATER, porosity - ice)
            inverse = 1.0 / porosity
        work.free_porosity[layer] = porosity
        work.inverse_free_porosity[layer] = inverse
        work.impedance[layer] = impedance
    left = infiltrate(column, parameters, work, maximum(0.0, infiltration) * substep)
    distribute_negative_infiltration(column, parameters, work, minimum(0.0, infiltration) - correction)
    soil_water_properties(column, parameters, air, work)
    drainage = solve_richards(column, parameters, work, substep, evaporation, transpiration)
    return drainage + limit_water(column, parameters, work, substep), left / substep
