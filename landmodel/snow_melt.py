"""Melt, refreezing, percolation and sublimation of the snow pack (SURFEX snow3lmelt, snow3lrefrz, snow3levapn)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import FREEZING_POINT, FUSION_HEAT, HEAT_CAPACITY_ICE, SUBLIMATION_HEAT, WATER_DENSITY
from ldas.landmodel.lanes import any_lane, maximum, minimum, where
from ldas.landmodel.snow_layers import (
    MINIMUM_DENSITY,
    MINIMUM_DEPTH,
    layer_heat,
    liquid_capacity,
    temperature_and_liquid,
)

_ICE_DENSITY = 917.0
_THINNEST = 1.0e-4  # m
_COLDEST_BELOW_AIR = 15.0  # K: the first layer is not cooled further below the air by sublimation


@science
def melt_snow(work, options):
    """Melt in every layer; returns the heat that no snow was left to use (W m-2).
    Source: docs/science/snow.md, section 9."""
    unused = work.snow_thickness[0] * 0.0
    per_step = 1.0 / options.step
    for layer in range(options.snow_layers):
        density = work.snow_density[layer]
        thickness = work.snow_thickness[layer]
        temperature = work.snow_temperature[layer]
        liquid = work.snow_liquid[layer]
        exists = thickness > 0.0
        capacity = HEAT_CAPACITY_ICE * density * where(exists, thickness, 1.0)
        water = density * thickness * (1.0 / WATER_DENSITY)
        warmth = maximum(0.0, temperature - FREEZING_POINT)
        phase = minimum(capacity * warmth, maximum(0.0, water - liquid) * (FUSION_HEAT * WATER_DENSITY))
        temperature = temperature - phase / capacity
        left = maximum(0.0, temperature - FREEZING_POINT)
        unused = unused + where(exists, left * capacity * per_step, 0.0)
        melted = phase * (1.0 / (FUSION_HEAT * WATER_DENSITY))
        hold = liquid_capacity(density, thickness)
        solid_before = where(exists, water - minimum(liquid, hold), 1.0)
        shrunk = thickness * (water - minimum(liquid + melted, hold)) / solid_before
        # a layer that melts away entirely keeps its density: its mass is liquid
        denser = where(shrunk > 0.0, water * WATER_DENSITY / where(shrunk > 0.0, shrunk, 1.0), density)
        too_dense = denser > _ICE_DENSITY
        shrunk = where(too_dense, shrunk * denser * (1.0 / _ICE_DENSITY), shrunk)
        denser = where(too_dense, _ICE_DENSITY, denser)
        work.snow_thickness[layer] = where(exists, shrunk, thickness)
        work.snow_density[layer] = where(exists, denser, density)
        work.snow_temperature[layer] = where(exists, minimum(temperature, FREEZING_POINT), temperature)
        work.snow_liquid[layer] = where(exists, liquid + melted, liquid)
    return unused


@science
def percolate(work, options, rain):
    """Refreezing and downward flow of liquid water; `rain` is that on the snow (kg m-2 s-1).

    Source: docs/science/snow.md, section 10.

    Returns:
        What leaves the pack at the bottom (kg m-2 s-1).
    """
    layers = options.snow_layers
    step = options.step
    floor = MINIMUM_DEPTH / layers
    capacity_sum = rain * 0.0
    for layer in range(layers):
        density = work.snow_density[layer]
        thickness = work.snow_thickness[layer]
        heat = layer_heat(work.snow_temperature[layer], work.snow_liquid[layer], density, thickness)
        _, liquid = temperature_and_liquid(heat, density, thickness, floor)
        hold = liquid_capacity(density, thickness)
        surplus = maximum(0.0, liquid - hold)
        work.snow_heat[layer] = heat
        work.snow_liquid[layer] = liquid - surplus
        work.snow_hold[layer] = hold
        work.snow_surplus[layer] = surplus
        work.snow_thickness[layer] = maximum(0.0, thickness - surplus * WATER_DENSITY / density)
        capacity_sum = capacity_sum + hold
    inflow = minimum(rain * step / WATER_DENSITY, capacity_sum)
    direct = rain * step / WATER_DENSITY - inflow
    for layer in range(layers):
        density = work.snow_density[layer]
        thickness = work.snow_thickness[layer]
        before = work.snow_liquid[layer]
        liquid = before + inflow
        excess = maximum(0.0, liquid - work.snow_hold[layer])
        liquid = liquid - excess
        inflow = work.snow_surplus[layer] + excess
        density = density + (liquid - before) * WATER_DENSITY / maximum(floor, thickness)
        temperature, liquid = temperature_and_liquid(work.snow_heat[layer], density, thickness, floor)
        work.snow_density[layer] = density
        work.snow_temperature[layer] = temperature
        work.snow_liquid[layer] = liquid
        work.snow_heat[layer] = layer_heat(temperature, liquid, density, thickness)
    return (inflow + direct) * WATER_DENSITY / step


@science
def sublimate(air, work, options, cover):
    """Sublimation from the first layer (share `cover` of the patch is snow).

    Source: docs/science/snow.md, section 11.

    Returns:
        What the soil has to make up for (kg m-2 s-1).
    """
    layers = options.snow_layers
    step = options.step
    density = work.snow_density[0]
    thickness = work.snow_thickness[0]
    liquid = work.snow_liquid[0]
    exists = thickness > 0.0
    heat = work.snow_heat[0]
    per_mass = HEAT_CAPACITY_ICE * (work.snow_temperature[0] - FREEZING_POINT) - FUSION_HEAT
    dry = (heat - FUSION_HEAT * WATER_DENSITY * liquid) / (where(exists, thickness, 1.0) * per_mass)
    lacking = maximum(0.0, MINIMUM_DENSITY - dry) * thickness / step
    dry = maximum(MINIMUM_DENSITY, dry)
    remaining = thickness - cover * work.snow_latent_heat * step / (SUBLIMATION_HEAT * dry)
    lacking = lacking + maximum(0.0, -remaining) * dry / step
    remaining = maximum(0.0, remaining)
    temperature, liquid = temperature_and_liquid(heat, dry, remaining, _THINNEST)
    temperature = maximum(temperature, minimum(FREEZING_POINT, air.temperature - _COLDEST_BELOW_AIR))
    new_heat = layer_heat(temperature, liquid, dry, remaining)
    increase = where(exists, new_heat - heat, 0.0)
    below = thickness * 0.0
    for layer in range(1, layers):
        below = below + work.snow_thickness[layer]
    work.snow_density[0] = where(exists, dry, density)
    work.snow_thickness[0] = where(exists, remaining, thickness)
    work.snow_heat[0] = where(exists, new_heat, heat)
    per_depth = increase / maximum(_THINNEST, below)
    for layer in range(1, layers):
        part = work.snow_thickness[layer] * per_depth
        work.snow_heat[layer] -= part
    for layer in range(layers):
        layer_density = work.snow_density[layer]
        layer_thickness = work.snow_thickness[layer]
        share = minimum(1.0, layer_thickness * (1.0 / MINIMUM_DEPTH))
        capacity = HEAT_CAPACITY_ICE * layer_density
        excess = share * (
            work.snow_heat[layer] / maximum(MINIMUM_DEPTH, layer_thickness) + FUSION_HEAT * layer_density
        ) / capacity  # fmt: skip
        work.snow_temperature[layer] = minimum(FREEZING_POINT, FREEZING_POINT + excess)
        work.snow_liquid[layer] = (
            maximum(0.0, excess) * capacity * layer_thickness * (1.0 / (FUSION_HEAT * WATER_DENSITY))
        )
    lost = (work.snow_thickness[0] <= 0.0) & (below > 0.0)
    if any_lane(lost):
        spread_lower_layers(work, layers, lost)
    return where(exists, lacking, 0.0)


@science
def spread_lower_layers(work, layers, lost):
    """Spread layers 2 to n equally over n layers where sublimation took the first."""
    depth = work.snow_thickness[0] * 0.0
    heat = depth
    mass = depth
    for layer in range(1, layers):
        thickness = work.snow_thickness[layer]
        density = work.snow_density[layer]
        depth = depth + thickness
        heat = heat + layer_heat(work.snow_temperature[layer], work.snow_liquid[layer], density, thickness)
        mass = mass + density * thickness
    depth = maximum(0.5 * MINIMUM_DEPTH, depth)
    for layer in range(layers):
        density = mass / where(lost, depth, 1.0)
        thickness = depth / layers
        temperature, liquid = temperature_and_liquid(heat / layers, density, thickness, 1.0e-300)
        work.snow_density[layer] = where(lost, density, work.snow_density[layer])
        work.snow_thickness[layer] = where(lost, thickness, work.snow_thickness[layer])
        work.snow_heat[layer] = where(lost, heat / layers, work.snow_heat[layer])
        work.snow_temperature[layer] = where(lost, temperature, work.snow_temperature[layer])
        work.snow_liquid[layer] = where(lost, liquid, work.snow_liquid[layer])
