"""The explicit snow pack over one ISBA step (3-L, ISBA-ES; SURFEX snow3L_isba.F90, snow3l.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import DAY, FREEZING_POINT, FUSION_HEAT, SOIL_LAYERS, SUBLIMATION_HEAT, WATER_DENSITY
from ldas.landmodel.lanes import absolute, any_lane, maximum, minimum, where
from ldas.landmodel.snow_compaction import compact_snow
from ldas.landmodel.snow_cover import band_albedos, broadband_albedo
from ldas.landmodel.snow_energy import absorb_sunlight, snow_energy_budget
from ldas.landmodel.snow_layers import (
    MINIMUM_DENSITY,
    MINIMUM_DEPTH,
    add_snowfall,
    diagnose_snow,
    layer_heat,
    regrid_snow,
)
from ldas.landmodel.snow_melt import melt_snow, percolate, sublimate

_REMOVAL_DEPTH = 1.1e-6  # m
_LIGHTEST_SNOWFALL = 1.0e-6 * 750.0  # kg m-2 in a step: less founds no pack
_HEATED_DEPTH = 0.6  # m of soil that share the residual flux
_LARGEST_SURFACE_WARMING = 10.0  # K per step by the ground flux before it is shared


@science
def snow_step(column, parameters, air, work, options):
    """One step of the pack: its fluxes with air, ground and soil are left in `work`.
    Source: docs/science/snow.md, sections 2 to 12."""
    step = options.step
    per_step = 1.0 / step
    layers = options.snow_layers
    zero = air.snow * 0.0
    work.rain_on_ground = air.rain
    work.throughfall = zero
    work.evaporation_correction = zero
    work.snow_net_radiation = zero
    work.snow_sensible_heat = zero
    work.snow_latent_heat = zero
    work.snow_surface_temperature = zero + FREEZING_POINT
    work.snow_albedo = column.snow_albedo
    for layer in range(SOIL_LAYERS):
        work.soil_heat_source[layer] = zero
    mass = work.snow_mass
    depth = work.snow_depth
    if not any_lane((mass > 0.0) | (air.snow > 0.0)):
        return
    present = depth >= MINIMUM_DEPTH
    called = present | (air.snow * step >= _LIGHTEST_SNOWFALL)
    cover = work.snow_fraction
    rain = cover * air.rain
    work.rain_on_ground = air.rain - rain
    heat_before = zero
    for layer in range(layers):
        thickness = column.snow_water_equivalent[layer] / column.snow_density[layer]
        heat = column.snow_heat[layer] * thickness
        heat_before = heat_before + heat
        work.snow_thickness[layer] = thickness
        work.snow_density[layer] = column.snow_density[layer]
        work.snow_heat[layer] = heat
        work.snow_age[layer] = column.snow_age[layer]
    ground = zero
    residual = zero
    if any_lane(called):
        ground, residual = run_pack(column, parameters, air, work, options, present, called, rain)
    depth = zero
    for layer in range(layers):
        depth = depth + work.snow_thickness[layer]
    removed = depth < _REMOVAL_DEPTH
    snowfall = air.snow
    latent = where(called, work.snow_latent_heat, 0.0)
    net = where(called, work.snow_net_radiation, 0.0)
    sensible = where(called, work.snow_sensible_heat, 0.0)
    latent = where(removed, minimum(latent, SUBLIMATION_HEAT * (mass * per_step + snowfall)), latent)
    leaving = maximum(0.0, mass * per_step + snowfall - cover * latent * (1.0 / SUBLIMATION_HEAT) + rain)
    work.throughfall = where(removed, leaving, work.throughfall)
    remaining = (heat_before - snowfall * FUSION_HEAT * step) * per_step + net - sensible - latent
    ground = where(removed, remaining, ground)
    residual = where(removed, 0.0, residual)
    work.evaporation_correction = where(removed, 0.0, work.evaporation_correction)
    work.snow_latent_heat = latent
    work.snow_net_radiation = net
    work.snow_sensible_heat = sensible
    # SURFEX puts out the temperature of the first layer at the end of the step
    work.snow_surface_temperature = where(called & ~removed, work.snow_temperature[0], FREEZING_POINT)
    store_pack(column, work, options, called, removed)
    share_ground_flux(work, options, cover, ground, residual)


@science
def run_pack(column, parameters, air, work, options, present, called, rain):
    """The processes inside the pack in their order. Returns the flux into the soil and the residual one (W m-2)."""
    step = options.step
    layers = options.snow_layers
    falling = called & (air.snow > 0.0)
    pressure = air.pressure
    first, second, third = band_albedos(work.snow_density[0], work.snow_age[0], pressure)
    scale = work.snow_albedo / broadband_albedo(first, second, third)
    new_density = add_snowfall(air, work, options, present, falling)
    fresh = band_albedos(new_density, new_density * 0.0, pressure)
    first = where(present, first * scale, fresh[0])
    second = where(present, second * scale, fresh[1])
    third = where(present, third * scale, fresh[2])
    work.snow_albedo = where(present, work.snow_albedo, broadband_albedo(fresh[0], fresh[1], fresh[2]))
    regrid_snow(work, options, called)
    diagnose_snow(work, options)
    compact_snow(parameters, air, work, options)
    heat = rain * 0.0
    for layer in range(layers):
        heat = heat + work.snow_heat[layer]
    absorb_sunlight(air, work, options, first, second, third)
    snow_energy_budget(column, parameters, air, work, options)
    through = work.snow_sunlight[layers - 1]
    gone = work.snow_surface_flux + through >= -heat * (1.0 / step)
    transmitted = where(gone, 0.0, -through)
    for layer in range(layers):
        work.snow_thickness[layer] = where(gone, 0.0, work.snow_thickness[layer])
        work.snow_liquid[layer] = where(gone, 0.0, work.snow_liquid[layer])
        work.snow_temperature[layer] = where(gone, FREEZING_POINT, work.snow_temperature[layer])
    unused = melt_snow(work, options)
    work.throughfall = where(called, percolate(work, options, rain), 0.0)
    lacking = sublimate(air, work, options, work.snow_fraction)
    work.evaporation_correction = where(called, lacking, 0.0)
    first, second, third = band_albedos(work.snow_density[0], work.snow_age[0], pressure)
    work.snow_new_albedo = broadband_albedo(first, second, third)
    overflow = rain * 0.0
    for layer in range(layers):
        density = work.snow_density[layer]
        thickness = work.snow_thickness[layer]
        liquid = work.snow_liquid[layer]
        # liquid beyond the mass of the layer: only that of the last one reaches the soil as heat (source)
        overflow = maximum(0.0, WATER_DENSITY * liquid - density * thickness) * (FUSION_HEAT / step)
        liquid = maximum(0.0, liquid - overflow * (step / (FUSION_HEAT * WATER_DENSITY)))
        work.snow_heat[layer] = layer_heat(work.snow_temperature[layer], liquid, density, thickness)
        work.snow_age[layer] += where(thickness > 0.0, step / DAY, 0.0)
    flux = work.snow_ground_flux
    residual = (work.snow_ground_flux_limited - flux) + unused + overflow
    return flux + transmitted, residual


@science
def store_pack(column, work, options, called, removed):
    """Write the pack back to the state where it was computed; a removed pack leaves the empty one."""
    for layer in range(options.snow_layers):
        thickness = work.snow_thickness[layer]
        density = work.snow_density[layer]
        stays = called & ~removed
        per_volume = work.snow_heat[layer] / where(stays & (thickness > 0.0), thickness, 1.0)
        column.snow_water_equivalent[layer] = where(stays, density * thickness, 0.0)
        column.snow_density[layer] = where(stays, density, MINIMUM_DENSITY)
        column.snow_heat[layer] = where(stays, per_volume, 0.0)
        column.snow_age[layer] = where(stays, work.snow_age[layer], 0.0)
    column.snow_albedo = where(called & ~removed, work.snow_new_albedo, 0.0)


@science
def share_ground_flux(work, options, cover, ground, residual):
    """Heat sources of the soil layers (W m-2): the ground flux in the first, unless it would warm it by 10 K in the
    step, and the residual flux over the first 0.6 m in proportion to heat capacity.
    Source: docs/science/snow.md, section 12."""
    composite = work.inertia_composite
    total = cover * 0.0
    depth = total
    for layer in range(SOIL_LAYERS):
        thickness = work.thickness[layer]
        weight = work.heat_capacity[layer] * minimum(thickness, maximum(0.0, _HEATED_DEPTH - depth))
        if layer == 0:
            weight = 1.0 / composite
        depth = depth + thickness
        total = total + weight
        work.heat_weight[layer] = weight
    spread = options.step * composite * cover * absolute(ground) >= _LARGEST_SURFACE_WARMING
    inverse = 1.0 / total
    for layer in range(SOIL_LAYERS):
        share = work.heat_weight[layer] * inverse
        whole = 0.0
        if layer == 0:
            whole = 1.0
        direct = where(spread, share, whole) * ground
        work.soil_heat_source[layer] = cover * (direct + residual * share)
