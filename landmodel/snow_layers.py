"""Layers of the explicit snow pack (ISBA-ES; Boone and Etchevers 2001, Decharme et al. 2016; SURFEX snow3l.F90):
heat content, snowfall and the vertical grid. Everything per unit patch area; heat relative to liquid water at 273.16 K.
"""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import FREEZING_POINT, FUSION_HEAT, HEAT_CAPACITY_ICE, WATER_DENSITY
from ldas.landmodel.lanes import any_lane, maximum, minimum, sqrt, where

MAXIMUM_DENSITY = 750.0
MINIMUM_DENSITY = 50.0
MINIMUM_DEPTH = 1.0e-6  # m of snow: below it there is none
_THIN_PACK = 0.03  # m: thinner packs have equal layers (XSNOWCRITD)
_NEAR_FREEZING = 1.0e-7  # K: rounding around the melting point (OWN rule, docs/science/snow.md, section 5)


@science
def liquid_capacity(density, thickness):
    """Liquid water (m) a layer can hold."""
    limited = minimum(MAXIMUM_DENSITY, density)
    return (0.03 + (0.07 / 200.0) * maximum(0.0, 200.0 - limited)) * limited * thickness * (1.0 / WATER_DENSITY)


@science
def layer_heat(temperature, liquid, density, thickness):
    """Heat content (J m-2) of a layer."""
    return (
        thickness * (HEAT_CAPACITY_ICE * density * (temperature - FREEZING_POINT) - FUSION_HEAT * density)
        + FUSION_HEAT * WATER_DENSITY * liquid
    )


@science
def temperature_and_liquid(heat, density, thickness, floor):
    """Temperature (K, at most freezing) and liquid water (m) of a layer from its heat content (J m-2).

    `floor` (m) keeps the division by the thickness of vanishing layers defined.
    """
    capacity = HEAT_CAPACITY_ICE * density
    temperature = FREEZING_POINT + (heat / maximum(floor, thickness) + FUSION_HEAT * density) / capacity
    liquid = maximum(0.0, temperature - FREEZING_POINT) * capacity * thickness * (1.0 / (FUSION_HEAT * WATER_DENSITY))
    return minimum(FREEZING_POINT, temperature), liquid


@science
def add_snowfall(air, work, options, present, falling):
    """Snowfall joins the first layer, or founds a pack of equal layers. Returns its density.
    Source: docs/science/snow.md, section 3."""
    layers = options.snow_layers
    density = work.snow_density[0]
    thickness = work.snow_thickness[0]
    heat = work.snow_heat[0]
    capacity = HEAT_CAPACITY_ICE * density
    surface = minimum(
        FREEZING_POINT,
        FREEZING_POINT
        + (heat + FUSION_HEAT * density * thickness) / (capacity * maximum(MINIMUM_DEPTH / layers, thickness)),
    )
    temperature = where(present, surface, FREEZING_POINT)
    amount = air.snow * options.step
    new_heat = amount * (HEAT_CAPACITY_ICE * (temperature - FREEZING_POINT) - FUSION_HEAT)
    new_density = maximum(MINIMUM_DENSITY, 109.0 + 6.0 * (air.temperature - FREEZING_POINT) + 26.0 * sqrt(air.wind))
    depth = amount / new_density
    mass = density * thickness
    joins = present & falling
    total = where(joins, thickness + depth, 1.0)
    work.snow_age[0] = where(joins, work.snow_age[0] * mass / where(joins, mass + amount, 1.0), work.snow_age[0])
    work.snow_density[0] = where(joins, (mass + amount) / total, density)
    work.snow_thickness[0] = where(joins, total, thickness)
    work.snow_heat[0] = where(joins, heat + new_heat, heat)
    founds = falling & ~present
    if any_lane(founds):
        for layer in range(layers):
            work.snow_thickness[layer] = where(founds, depth / layers, work.snow_thickness[layer])
            work.snow_heat[layer] = where(founds, new_heat / layers, work.snow_heat[layer])
            work.snow_density[layer] = where(founds, new_density, work.snow_density[layer])
            work.snow_age[layer] = where(founds, 0.0, work.snow_age[layer])
    return new_density


@science
def target_grid(work, options, depth):
    """Thickness (m) of the layers wanted for a pack of a depth (m), into `work.snow_target`.
    Source: docs/science/snow.md, section 4."""
    if options.snow_layers == 3:
        shallow = depth <= 0.04
        middle = depth <= 0.20
        edge = minimum(0.01, depth / 3.0)
        second = minimum(0.5, 0.34 * (depth - 0.05) + 0.05)
        first = where(shallow, edge, where(middle, 0.25 * depth, 0.05))
        second = where(shallow, depth - 2.0 * edge, where(middle, 0.5 * depth, second))
        third = where(shallow, edge, where(middle, 0.25 * depth, depth - 0.05 - second))
        work.snow_target[0] = first
        work.snow_target[1] = second
        work.snow_target[2] = third
    else:
        equal = depth / 12.0
        limits_top = (0.01, 0.05, 0.15, 0.5, 1.0)
        limits_bottom = (1.0, 0.5, 0.1, 0.02)
        rest = depth
        for layer in range(5):
            thickness = minimum(limits_top[layer], equal)
            work.snow_target[layer] = thickness
            rest = rest - thickness
        for layer in range(4):
            thickness = minimum(limits_bottom[layer], equal)
            work.snow_target[8 + layer] = thickness
            rest = rest - thickness
        sixth = 0.3 * rest
        seventh = 0.4 * rest
        eighth = 0.3 * rest
        shift = minimum(0.0, sixth - work.snow_target[4])
        sixth = sixth - shift
        seventh = seventh + shift
        shift = minimum(0.0, eighth - work.snow_target[8])
        eighth = eighth - shift
        seventh = seventh + shift
        work.snow_target[5] = sixth
        work.snow_target[6] = seventh
        work.snow_target[7] = eighth


@science
def off_target(work, options, depth, active):
    """Where the grid has to be rebuilt: always with 3 layers, with 12 when layer 1, 2 or 12 is off its target."""
    if options.snow_layers == 3:
        return active
    equal = depth / 12.0
    first = work.snow_thickness[0] / minimum(0.01, equal)
    second = work.snow_thickness[1] / minimum(0.05, equal)
    last = work.snow_thickness[11] / minimum(0.02, equal)
    outside = (first < 0.5) | (first > 1.5) | (second < 0.5) | (second > 1.5) | (last < 0.5) | (last > 1.5)
    return active & outside


@science
def transfer_layers(work, layers, regrid):
    """Move mass, heat and age (weighted by mass) to the target grid by the overlap of old and new layers."""
    top = work.snow_thickness[0] * 0.0
    for step in range(layers):
        layer = layers - 1 - step
        thickness = work.snow_thickness[layer]
        top = top + thickness
        work.snow_old_top[layer] = top
        work.snow_inverse_thickness[layer] = 1.0 / maximum(thickness, 1.0e-300)  # without thickness: share nothing
    top = top * 0.0
    for step in range(layers):
        new = layers - 1 - step
        bottom = top
        top = top + work.snow_target[new]
        mass = top * 0.0
        heat = mass
        age = mass
        for old in range(layers):
            thickness = work.snow_thickness[old]
            old_top = work.snow_old_top[old]
            overlap = maximum(0.0, minimum(old_top, top) - maximum(old_top - thickness, bottom))
            share = overlap * work.snow_inverse_thickness[old]
            part = share * work.snow_density[old] * thickness
            mass = mass + part
            heat = heat + share * work.snow_heat[old]
            age = age + part * work.snow_age[old]
        work.snow_new_mass[new] = mass
        work.snow_new_heat[new] = heat
        work.snow_new_age[new] = age / maximum(mass, 1.0e-300)
    for layer in range(layers):
        target = work.snow_target[layer]
        density = work.snow_new_mass[layer] / maximum(target, 1.0e-300)
        work.snow_density[layer] = where(regrid, density, work.snow_density[layer])
        work.snow_heat[layer] = where(regrid, work.snow_new_heat[layer], work.snow_heat[layer])
        work.snow_age[layer] = where(regrid, work.snow_new_age[layer], work.snow_age[layer])
        work.snow_thickness[layer] = where(regrid, target, work.snow_thickness[layer])


@science
def equalise_thin_pack(work, layers, depth, thin):
    """A thin pack has equal layers of equal properties."""
    mass = depth * 0.0
    heat = mass
    age = mass
    for layer in range(layers):
        mass = mass + work.snow_density[layer] * work.snow_thickness[layer]
        heat = heat + work.snow_heat[layer]
        age = age + work.snow_age[layer]
    density = mass / where(thin, depth, 1.0)
    for layer in range(layers):
        work.snow_density[layer] = where(thin, density, work.snow_density[layer])
        work.snow_heat[layer] = where(thin, heat / layers, work.snow_heat[layer])
        work.snow_age[layer] = where(thin, age / layers, work.snow_age[layer])
        work.snow_thickness[layer] = where(thin, depth / layers, work.snow_thickness[layer])


@science
def regrid_snow(work, options, active):
    """Bring the layers back to their target thickness where needed. Source: docs/science/snow.md, section 4."""
    layers = options.snow_layers
    depth = work.snow_thickness[0]
    for layer in range(1, layers):
        depth = depth + work.snow_thickness[layer]
    safe_depth = where(active, depth, 1.0)
    target_grid(work, options, safe_depth)
    thin = active & (depth < _THIN_PACK)
    regrid = off_target(work, options, safe_depth, active) & ~thin
    if any_lane(regrid):
        transfer_layers(work, layers, regrid)
    if any_lane(thin):
        equalise_thin_pack(work, layers, depth, thin)


@science
def diagnose_snow(work, options):
    """Temperature and liquid water of every layer from its heat content; a layer within rounding of the melting point
    is at it."""
    for layer in range(options.snow_layers):
        temperature, liquid = temperature_and_liquid(
            work.snow_heat[layer], work.snow_density[layer], work.snow_thickness[layer], 1.0e-300
        )
        temperature = where(temperature > FREEZING_POINT - _NEAR_FREEZING, FREEZING_POINT, temperature)
        work.snow_temperature[layer] = temperature
        work.snow_liquid[layer] = liquid
