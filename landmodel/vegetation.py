"""Interactive vegetation: biomass pools, leaf area index and what follows from it (CPHOTO=NIT; Calvet and Soussana
2001, Gibelin et al. 2006; SURFEX vegetation_evol.F90, nitro_decline.F90, laigain.F90)."""

import math

from landmodel.compile import science
from landmodel.constants import (
    DAY,
    DRY_MATTER_PER_CO2,
    EMISSIVITY_SOIL,
    EMISSIVITY_VEGETATION,
)
from landmodel.lanes import exp, get, log, maximum, minimum, put, where

_ALLOMETRY_EXPONENT = 0.38
_ALLOMETRY_COEFFICIENT = 0.31425531725
_SMALL_PLANT = 4.7540042445e-2  # kg m-2: below it dying leaves feed the reserve
_ROUGHNESS_PER_HEIGHT = 0.13
CROP_C3, CROP_C4, GRASS, FIXED = 1.0, 2.0, 3.0, 4.0  # laws of plant height


@science
def total_from_leaf(leaf):
    """Leaf and active structural biomass (kg m-2) that belong to a leaf biomass by allometry; 0 for no leaves."""
    positive = leaf > 0.0
    return where(
        positive,
        exp(log(where(positive, leaf, 1.0) / _ALLOMETRY_COEFFICIENT) / (1.0 - _ALLOMETRY_EXPONENT)),
        0.0,
    )


@science
def leaf_from_total(total):
    """Leaf biomass (kg m-2) that belongs to leaf and active structural biomass by allometry; 0 for none."""
    positive = total > 0.0
    return _ALLOMETRY_COEFFICIENT * where(
        positive, exp((1.0 - _ALLOMETRY_EXPONENT) * log(where(positive, total, 1.0))), 0.0
    )


@science
def leaf_life_span(parameters, leaf_area, maximum_assimilation):
    """Effective leaf life span (days)."""
    standard = get(parameters.senescence_time) / DAY
    conductance = 1000.0 * get(parameters.mesophyll_conductance)
    crowding = where(
        conductance > 0.0,
        exp(0.321 * log(maximum(conductance, 1.0e-300))) * leaf_area / get(parameters.shadow_lai),
        1.0,
    )
    span = standard * maximum(1.0, crowding) * minimum(1.0, maximum_assimilation / get(parameters.optimal_assimilation))
    return maximum(standard / 10.0, maximum(1.0e-8, span))


@science
def daily_biomass(column, parameters, leaf_area):
    """Growth or senescence of the three pools over a day. Source: isba.md 13.2; its steps are numbered here.

    Returns the leaf, active and passive structural biomass, the litter and the biomass that clipping negative pools
    created, all kg m-2.
    """
    leaves_before = maximum(get(column.biomass, 0), 0.0)  # 1
    active_before = get(column.biomass, 1)
    passive_before = get(column.biomass, 2)
    respired_active = get(column.respired_biomass, 0)
    respired_passive = get(column.respired_biomass, 1)
    span = leaf_life_span(parameters, leaf_area, get(column.maximum_leaf_assimilation))
    least = get(parameters.minimum_lai) * get(parameters.leaf_biomass_ratio)
    loss = maximum(0.0, minimum(leaves_before - least, leaves_before * (1.0 - exp(-1.0 / span))))
    leaves = leaves_before - loss
    gain = get(column.daily_net_assimilation) * DRY_MATTER_PER_CO2  # 2
    turnover = 1.0 - exp(-DAY / get(parameters.senescence_time))  # 3
    growing = gain >= loss
    total_growing = maximum(leaves, total_from_leaf(leaves))
    active_growing = total_growing - leaves
    storage_growing = active_growing - active_before + active_growing * turnover + respired_active
    decay = active_before * turnover
    fading = active_before - decay - respired_active
    active_fading = maximum(0.0, fading)
    active = where(growing, active_growing, active_fading)
    active_litter = where(growing, active_growing * turnover, decay)
    clipped = where(growing, 0.0, active_fading - fading)
    total = where(growing, total_growing, leaves + active_fading)
    storage = where(growing, storage_growing, 0.0)
    to_passive = -minimum(storage, 0.0)  # 4
    storage = maximum(0.0, storage)
    short = storage > loss  # 5
    total_short = leaves_before + active_before - decay - respired_active
    leaves_short = leaf_from_total(total_short)
    active_short = total_short - leaves_short
    active = where(short, active_short, active)
    total = where(short, total_short, total)
    leaves = where(short, leaves_short, leaves)
    loss = where(short, leaves_before - leaves_short, loss)
    storage = where(short, active_short - active_before + decay + respired_active, storage)
    active_litter = where(short, decay, active_litter)
    clipped = where(short, 0.0, clipped)
    mortality = maximum(0.0, loss - storage)  # 6
    reserve = where((total <= _SMALL_PLANT) & (span > 1.0), mortality, 0.0)  # 7
    passive_decay = passive_before * turnover
    passive = passive_before + reserve + to_passive - passive_decay - respired_passive  # 8
    litter = mortality - reserve + active_litter + passive_decay
    clipped = clipped + (leaves_before - get(column.biomass, 0)) + (maximum(0.0, passive) - passive)
    return leaves + gain, active, maximum(0.0, passive), litter, clipped


@science
def daily_vegetation_update(column, parameters, work, flux, options):
    """Biomass, LAI and surface properties at the end of the first step of a UTC day. Source: isba.md 13.1 to 13.3."""
    vegetated = get(parameters.vegetated) > 0.5
    leaves, active, passive, litter, clipped = daily_biomass(column, parameters, get(column.leaf_area_index))
    ratio = get(parameters.leaf_biomass_ratio)
    lai = maximum(get(parameters.minimum_lai) * ratio, leaves) / ratio
    put(flux.LITTER, 0, where(vegetated, litter, 0.0) / options.step)
    put(flux.BIOMASS_CLIP, 0, where(vegetated, clipped, 0.0) / options.step)
    put(column.biomass, 0, where(vegetated, leaves, get(column.biomass, 0)))
    put(column.biomass, 1, where(vegetated, active, get(column.biomass, 1)))
    put(column.biomass, 2, where(vegetated, passive, get(column.biomass, 2)))
    put(column.leaf_area_index, 0, where(vegetated, lai, get(column.leaf_area_index)))
    put(column.respired_biomass, 0, where(vegetated, 0.0, get(column.respired_biomass, 0)))
    put(column.respired_biomass, 1, where(vegetated, 0.0, get(column.respired_biomass, 1)))
    put(column.daily_net_assimilation, 0, where(vegetated, 0.0, get(column.daily_net_assimilation)))
    put(column.maximum_leaf_assimilation, 0, where(vegetated, 0.0, get(column.maximum_leaf_assimilation)))
    set_surface_from_leaf_area(column, parameters, work)


@science
def set_surface_from_leaf_area(column, parameters, work):
    """Vegetation fraction, roughness, emissivity and snow-free albedo from the LAI. Source: isba.md 13.5."""
    vegetated = get(parameters.vegetated) > 0.5
    lai = where(vegetated, get(column.leaf_area_index), 0.0)
    put(work.leaf_area_index, 0, lai)
    cover = get(parameters.vegetation_cover)
    fraction = where(cover < 0.0, 1.0 - exp(-0.6 * lai), cover)
    law = get(parameters.height_law)
    crop = exp((lai - 3.5) / 1.3)
    height = where(
        law == FIXED,
        get(parameters.plant_height),
        where(law == GRASS, lai / 6.0, minimum(where(law == CROP_C3, 1.0, 2.5), crop)),
    )
    roughness = maximum(0.001, _ROUGHNESS_PER_HEIGHT * maximum(0.001, height))
    put(work.vegetation_fraction, 0, fraction)
    put(work.vegetation_roughness, 0, roughness)
    put(work.emissivity, 0, EMISSIVITY_VEGETATION * fraction + EMISSIVITY_SOIL * (1.0 - fraction))
    near = (1.0 - fraction) * get(parameters.albedo_soil_near_infrared) + fraction * get(
        parameters.albedo_vegetation_near_infrared
    )
    visible = (1.0 - fraction) * get(parameters.albedo_soil_visible) + fraction * get(
        parameters.albedo_vegetation_visible
    )
    put(work.albedo, 0, 0.5 * (near + visible))


@science
def plant_respiration(column, parameters, work, flux, options, mean_temperature):
    """Respiration of the structural pools over the step, taken from them at the next daily update. Source: isba.md
    13.4. The temperature (K) of the first metre is that of the end of the step."""
    step = options.step
    vegetated = get(parameters.vegetated) > 0.5
    surface = get(column.soil_temperature, 0)
    active = get(column.biomass, 1)
    passive = get(column.biomass, 2)
    herb_rate = 1.16e-7 * exp((0.1 * math.log(2.0)) * (surface - 298.16))
    wood_rate = maximum(0.0, 1.25 * exp(3500.0 * (1.0 / 288.0 - 1.0 / surface))) / (365.0 * DAY)
    active_rate = active * where(get(parameters.woody) > 0.5, wood_rate, herb_rate)
    passive_rate = passive * 1.16e-7 * exp((0.1 * math.log(2.0)) * (mean_temperature - 298.16))
    active_rate = where(vegetated, active_rate, 0.0)
    passive_rate = where(vegetated, passive_rate, 0.0)
    put(column.respired_biomass, 0, get(column.respired_biomass, 0) + active_rate * step)
    put(column.respired_biomass, 1, get(column.respired_biomass, 1) + passive_rate * step)
    put(work.active_respiration, 0, active_rate / DRY_MATTER_PER_CO2)
    put(work.passive_respiration, 0, passive_rate / DRY_MATTER_PER_CO2)
