"""Layers of the explicit snow pack (ISBA-ES; Boone and Etchevers 2001, Decharme et al. 2016; SURFEX snow3l.F90):
heat content, snowfall and the vertical grid. Everything per unit patch area; heat relative to liquid water at 273.16 K.
"""

from landmodel.compile import science
from landmodel.constants import FREEZING_POINT, FUSION_HEAT, HEAT_CAPACITY_ICE, WATER_DENSITY
from landmodel.lanes import any_lane, get, maximum, minimum, put, sqrt, where

MAXIMUM_DENSITY = 750.0
MINIMUM_DENSITY = 50.0
MINIMUM_DEPTH = 1.0e-6  # m of snow: below it there is none
_THIN_PACK = 0.03  # m: thinner packs have equal layers (XSNOWCRITD)
_NEAR_FREEZING = 1.0e-7  # K: rounding around the melting point (OWN rule, isba.md 12.3.4)


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
    """Snowfall joins the first layer, or founds a pack of equal layers. Returns its density. Source: isba.md 12.3.1."""
    layers = options.snow_layers
    density = get(work.snow_density, 0)
    thickness = get(work.snow_thickness, 0)
    heat = get(work.snow_heat, 0)
    capacity = HEAT_CAPACITY_ICE * density
    surface = minimum(
        FREEZING_POINT,
        FREEZING_POINT
        + (heat + FUSION_HEAT * density * thickness) / (capacity * maximum(MINIMUM_DEPTH / layers, thickness)),
    )
    temperature = where(present, surface, FREEZING_POINT)
    amount = get(air.snow) * options.step
    new_heat = amount * (HEAT_CAPACITY_ICE * (temperature - FREEZING_POINT) - FUSION_HEAT)
    new_density = maximum(
        MINIMUM_DENSITY, 109.0 + 6.0 * (get(air.temperature) - FREEZING_POINT) + 26.0 * sqrt(get(air.wind))
    )
    depth = amount / new_density
    mass = density * thickness
    joins = present & falling
    total = where(joins, thickness + depth, 1.0)
    put(
        work.snow_age,
        0,
        where(joins, get(work.snow_age, 0) * mass / where(joins, mass + amount, 1.0), get(work.snow_age, 0)),
    )
    put(work.snow_density, 0, where(joins, (mass + amount) / total, density))
    put(work.snow_thickness, 0, where(joins, total, thickness))
    put(work.snow_heat, 0, where(joins, heat + new_heat, heat))
    founds = falling & ~present
    if any_lane(founds):
        for layer in range(layers):
            put(work.snow_thickness, layer, where(founds, depth / layers, get(work.snow_thickness, layer)))
            put(work.snow_heat, layer, where(founds, new_heat / layers, get(work.snow_heat, layer)))
            put(work.snow_density, layer, where(founds, new_density, get(work.snow_density, layer)))
            put(work.snow_age, layer, where(founds, 0.0, get(work.snow_age, layer)))
    return new_density


@science
def target_grid(work, options, depth):
    """Thickness (m) of the layers wanted for a pack of a depth (m), into `work.snow_target`. Source: isba.md 12.3.3."""
    if options.snow_layers == 3:
        shallow = depth <= 0.04
        middle = depth <= 0.20
        edge = minimum(0.01, depth / 3.0)
        second = minimum(0.5, 0.34 * (depth - 0.05) + 0.05)
        first = where(shallow, edge, where(middle, 0.25 * depth, 0.05))
        second = where(shallow, depth - 2.0 * edge, where(middle, 0.5 * depth, second))
        third = where(shallow, edge, where(middle, 0.25 * depth, depth - 0.05 - second))
        put(work.snow_target, 0, first)
        put(work.snow_target, 1, second)
        put(work.snow_target, 2, third)
    else:
        equal = depth / 12.0
        limits_top = (0.01, 0.05, 0.15, 0.5, 1.0)
        limits_bottom = (1.0, 0.5, 0.1, 0.02)
        rest = depth
        for layer in range(5):
            thickness = minimum(limits_top[layer], equal)
            put(work.snow_target, layer, thickness)
            rest = rest - thickness
        for layer in range(4):
            thickness = minimum(limits_bottom[layer], equal)
            put(work.snow_target, 8 + layer, thickness)
            rest = rest - thickness
        sixth = 0.3 * rest
        seventh = 0.4 * rest
        eighth = 0.3 * rest
        shift = minimum(0.0, sixth - get(work.snow_target, 4))
        sixth = sixth - shift
        seventh = seventh + shift
        shift = minimum(0.0, eighth - get(work.snow_target, 8))
        eighth = eighth - shift
        seventh = seventh + shift
        put(work.snow_target, 5, sixth)
        put(work.snow_target, 6, seventh)
        put(work.snow_target, 7, eighth)


@science
def off_target(work, options, depth, active):
    """Where the grid has to be made anew: always with 3 layers, with 12 when layer 1, 2 or 12 is off its target."""
    if options.snow_layers == 3:
        return active
    equal = depth / 12.0
    first = get(work.snow_thickness, 0) / minimum(0.01, equal)
    second = get(work.snow_thickness, 1) / minimum(0.05, equal)
    last = get(work.snow_thickness, 11) / minimum(0.02, equal)
    outside = (first < 0.5) | (first > 1.5) | (second < 0.5) | (second > 1.5) | (last < 0.5) | (last > 1.5)
    return active & outside


@science
def transfer_layers(work, layers, regrid):
    """Move mass, heat and age (weighted by mass) to the target grid by the overlap of old and new layers."""
    top = get(work.snow_thickness, 0) * 0.0
    for step in range(layers):
        layer = layers - 1 - step
        thickness = get(work.snow_thickness, layer)
        top = top + thickness
        put(work.snow_old_top, layer, top)
        put(work.snow_inverse_thickness, layer, 1.0 / maximum(thickness, 1.0e-300))  # without thickness: share nothing
    top = top * 0.0
    for step in range(layers):
        new = layers - 1 - step
        bottom = top
        top = top + get(work.snow_target, new)
        mass = top * 0.0
        heat = mass
        age = mass
        for old in range(layers):
            thickness = get(work.snow_thickness, old)
            old_top = get(work.snow_old_top, old)
            overlap = maximum(0.0, minimum(old_top, top) - maximum(old_top - thickness, bottom))
            share = overlap * get(work.snow_inverse_thickness, old)
            part = share * get(work.snow_density, old) * thickness
            mass = mass + part
            heat = heat + share * get(work.snow_heat, old)
            age = age + part * get(work.snow_age, old)
        put(work.snow_new_mass, new, mass)
        put(work.snow_new_heat, new, heat)
        put(work.snow_new_age, new, age / maximum(mass, 1.0e-300))
    for layer in range(layers):
        target = get(work.snow_target, layer)
        density = get(work.snow_new_mass, layer) / maximum(target, 1.0e-300)
        put(work.snow_density, layer, where(regrid, density, get(work.snow_density, layer)))
        put(work.snow_heat, layer, where(regrid, get(work.snow_new_heat, layer), get(work.snow_heat, layer)))
        put(work.snow_age, layer, where(regrid, get(work.snow_new_age, layer), get(work.snow_age, layer)))
        put(work.snow_thickness, layer, where(regrid, target, get(work.snow_thickness, layer)))


@science
def equalise_thin_pack(work, layers, depth, thin):
    """A thin pack has equal layers of equal properties."""
    mass = depth * 0.0
    heat = mass
    age = mass
    for layer in range(layers):
        mass = mass + get(work.snow_density, layer) * get(work.snow_thickness, layer)
        heat = heat + get(work.snow_heat, layer)
        age = age + get(work.snow_age, layer)
    density = mass / where(thin, depth, 1.0)
    for layer in range(layers):
        put(work.snow_density, layer, where(thin, density, get(work.snow_density, layer)))
        put(work.snow_heat, layer, where(thin, heat / layers, get(work.snow_heat, layer)))
        put(work.snow_age, layer, where(thin, age / layers, get(work.snow_age, layer)))
        put(work.snow_thickness, layer, where(thin, depth / layers, get(work.snow_thickness, layer)))


@science
def regrid_snow(work, options, active):
    """Bring the layers back to their target thickness where needed. Source: isba.md 12.3.3."""
    layers = options.snow_layers
    depth = get(work.snow_thickness, 0)
    for layer in range(1, layers):
        depth = depth + get(work.snow_thickness, layer)
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
            get(work.snow_heat, layer), get(work.snow_density, layer), get(work.snow_thickness, layer), 1.0e-300
        )
        temperature = where(temperature > FREEZING_POINT - _NEAR_FREEZING, FREEZING_POINT, temperature)
        put(work.snow_temperature, layer, temperature)
        put(work.snow_liquid, layer, liquid)
