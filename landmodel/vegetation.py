"""Interactive vegetation: biomass pools, leaf area index and what follows from it (CPHOTO=NIT; Calvet and Soussana
2001, Gibelin et al. 2006; SURFEX vegetation_evol.F90, nitro_decline.F90, laigain.F90)."""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.constants import DAY, DRY_MATTER_PER_CO2, EMISSIVITY_SOIL, EMISSIVITY_VEGETATION
from ldas.landmodel.lanes import exp, log, maximum, minimum, where

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
    standard = parameters.senescence_time / DAY
    conductance = 1000.0 * parameters.mesophyll_conductance
    crowding = where(
        conductance > 0.0,
        exp(0.321 * log(maximum(conductance, 1.0e-300))) * leaf_area / parameters.shadow_lai,
        1.0,
    )
    span = standard * maximum(1.0, crowding) * minimum(1.0, maximum_assimilation / parameters.optimal_assimilation)
    return maximum(standard / 10.0, maximum(1.0e-8, span))


@science
def daily_biomass(column, parameters, leaf_area):
    """Growth or senescence of the three pools over a day. The numbers are the steps of
    docs/science/vegetation.md, section 3.

    Returns:
        The leaf, active and passive structural biomass, the litter and the biomass that clipping negative pools
        created, all kg m-2.
    """
    leaves_before = maximum(column.biomass[0], 0.0)  # 1
    active_before = column.biomass[1]
    passive_before = column.biomass[2]
    respired_active = column.respired_biomass[0]
    respired_passive = column.respired_biomass[1]
    span = leaf_life_span(parameters, leaf_area, column.maximum_leaf_assimilation)
    least = parameters.minimum_lai * parameters.leaf_biomass_ratio
    loss = maximum(0.0, minimum(leaves_before - least, leaves_before * (1.0 - exp(-1.0 / span))))
    leaves = leaves_before - loss
    gain = column.daily_net_assimilation * DRY_MATTER_PER_CO2  # 2
    turnover = 1.0 - exp(-DAY / parameters.senescence_time)  # 3
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
    clipped = clipped + (leaves_before - column.biomass[0]) + (maximum(0.0, passive) - passive)
    return leaves + gain, active, maximum(0.0, passive), litter, clipped


@science
def daily_vegetation_update(column, parameters, work, flux, options):
    """Biomass, LAI and surface properties at the end of the first step of a UTC day.
    Source: docs/science/vegetation.md, sections 1 to 4."""
    vegetated = parameters.vegetated > 0.5
    leaves, active, passive, litter, clipped = daily_biomass(column, parameters, column.leaf_area_index)
    ratio = parameters.leaf_biomass_ratio
    lai = maximum(parameters.minimum_lai * ratio, leaves) / ratio
    flux.LITTER = where(vegetated, litter, 0.0) / options.step
    flux.BIOMASS_CLIP = where(vegetated, clipped, 0.0) / options.step
    column.biomass[0] = where(vegetated, leaves, column.biomass[0])
    column.biomass[1] = where(vegetated, active, column.biomass[1])
    column.biomass[2] = where(vegetated, passive, column.biomass[2])
    column.leaf_area_index = where(vegetated, lai, column.leaf_area_index)
    column.respired_biomass[0] = where(vegetated, 0.0, column.respired_biomass[0])
    column.respired_biomass[1] = where(vegetated, 0.0, column.respired_biomass[1])
    column.daily_net_assimilation = where(vegetated, 0.0, column.daily_net_assimilation)
    column.maximum_leaf_assimilation = where(vegetated, 0.0, column.maximum_leaf_assimilation)
    set_surface_from_leaf_area(column, parameters, work)


@science
def set_surface_from_leaf_area(column, parameters, work):
    """Vegetation fraction, roughness, emissivity and snow-free albedo from the LAI.
    Source: docs/science/vegetation.md, section 6."""
    vegetated = parameters.vegetated > 0.5
    lai = where(vegetated, column.leaf_area_index, 0.0)
    work.leaf_area_index = lai
    cover = parameters.vegetation_cover
    fraction = where(cover < 0.0, 1.0 - exp(-0.6 * lai), cover)
    law = parameters.height_law
    crop = exp((lai - 3.5) / 1.3)
    height = where(
        law == FIXED,
        parameters.plant_height,
        where(law == GRASS, lai / 6.0, minimum(where(law == CROP_C3, 1.0, 2.5), crop)),
    )
    roughness = maximum(0.001, _ROUGHNESS_PER_HEIGHT * maximum(0.001, height))
    work.vegetation_fraction = fraction
    work.vegetation_roughness = roughness
    work.emissivity = EMISSIVITY_VEGETATION * fraction + EMISSIVITY_SOIL * (1.0 - fraction)
    near = (
        1.0 - fraction
    ) * parameters.albedo_soil_near_infrared + fraction * parameters.albedo_vegetation_near_infrared
    visible = (1.0 - fraction) * parameters.albedo_soil_visible + fraction * parameters.albedo_vegetation_visible
    work.albedo = 0.5 * (near + visible)


@science
def plant_respiration(column, parameters, work, flux, options, mean_temperature):
    """Respiration of the structural pools over the step, taken from them at the next daily update.
    `mean_temperature` (K): of the first metre at the end of the step. Source: docs/science/vegetation.md, section 5."""
    step = options.step
    vegetated = parameters.vegetated > 0.5
    surface = column.soil_temperature[0]
    active = column.biomass[1]
    passive = column.biomass[2]
    herb_rate = 1.16e-7 * exp((0.1 * math.log(2.0)) * (surface - 298.16))
    wood_rate = maximum(0.0, 1.25 * exp(3500.0 * (1.0 / 288.0 - 1.0 / surface))) / (365.0 * DAY)
    active_rate = active * where(parameters.woody > 0.5, wood_rate, herb_rate)
    passive_rate = passive * 1.16e-7 * exp((0.1 * math.log(2.0)) * (mean_temperature - 298.16))
    active_rate = where(vegetated, active_rate, 0.0)
    passive_rate = where(vegetated, passive_rate, 0.0)
    column.respired_biomass[0] += active_rate * step
    column.respired_biomass[1] += passive_rate * step
    work.active_respiration = active_rate / DRY_MATTER_PER_CO2
    work.passive_respiration = passive_rate / DRY_MATTER_PER_CO2
