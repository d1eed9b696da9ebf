"""The explicit snow pack over one ISBA step (3-L, ISBA-ES; SURFEX snow3L_isba.F90, snow3l.F90)."""

from landmodel.compile import science
from landmodel.constants import DAY, FREEZING_POINT, FUSION_HEAT, SOIL_LAYERS, SUBLIMATION_HEAT, WATER_DENSITY
from landmodel.lanes import absolute, any_lane, get, maximum, minimum, put, where
from landmodel.snow_compaction import compact_snow
from landmodel.snow_cover import band_albedos, broadband_albedo
from landmodel.snow_energy import absorb_sunlight, snow_energy_budget
from landmodel.snow_layers import (
    MINIMUM_DENSITY,
    MINIMUM_DEPTH,
    add_snowfall,
    diagnose_snow,
    layer_heat,
    regrid_snow,
)
from landmodel.snow_melt import melt_snow, percolate, sublimate

_REMOVAL_DEPTH = 1.1e-6  # m
_LIGHTEST_SNOWFALL = 1.0e-6 * 750.0  # kg m-2 in a step: less founds no pack
_HEATED_DEPTH = 0.6  # m of soil that share the residual flux
_LARGEST_SURFACE_WARMING = 10.0  # K per step by the ground flux before it is shared


@science
def snow_step(column, parameters, air, work, options):
    """One step of the pack: its fluxes with air, ground and soil are left in `work`. Source: isba.md 12.2, 12.3."""
    step = options.step
    per_step = 1.0 / step
    layers = options.snow_layers
    zero = get(air.snow) * 0.0
    put(work.rain_on_ground, 0, get(air.rain))
    put(work.throughfall, 0, zero)
    put(work.evaporation_correction, 0, zero)
    put(work.snow_net_radiation, 0, zero)
    put(work.snow_sensible_heat, 0, zero)
    put(work.snow_latent_heat, 0, zero)
    put(work.snow_surface_temperature, 0, zero + FREEZING_POINT)
    put(work.snow_albedo, 0, get(column.snow_albedo))
    for layer in range(SOIL_LAYERS):
        put(work.soil_heat_source, layer, zero)
    mass = get(work.snow_mass)
    depth = get(work.snow_depth)
    if not any_lane((mass > 0.0) | (get(air.snow) > 0.0)):
        return
    present = depth >= MINIMUM_DEPTH
    called = present | (get(air.snow) * step >= _LIGHTEST_SNOWFALL)
    cover = get(work.snow_fraction)
    rain = cover * get(air.rain)
    put(work.rain_on_ground, 0, get(air.rain) - rain)
    heat_before = zero
    for layer in range(layers):
        thickness = get(column.snow_water_equivalent, layer) / get(column.snow_density, layer)
        heat = get(column.snow_heat, layer) * thickness
        heat_before = heat_before + heat
        put(work.snow_thickness, layer, thickness)
        put(work.snow_density, layer, get(column.snow_density, layer))
        put(work.snow_heat, layer, heat)
        put(work.snow_age, layer, get(column.snow_age, layer))
    ground = zero
    residual = zero
    if any_lane(called):
        ground, residual = run_pack(column, parameters, air, work, options, present, called, rain)
    depth = zero
    for layer in range(layers):
        depth = depth + get(work.snow_thickness, layer)
    removed = depth < _REMOVAL_DEPTH
    snowfall = get(air.snow)
    latent = where(called, get(work.snow_latent_heat), 0.0)
    net = where(called, get(work.snow_net_radiation), 0.0)
    sensible = where(called, get(work.snow_sensible_heat), 0.0)
    latent = where(removed, minimum(latent, SUBLIMATION_HEAT * (mass * per_step + snowfall)), latent)
    leaving = maximum(0.0, mass * per_step + snowfall - cover * latent * (1.0 / SUBLIMATION_HEAT) + rain)
    put(work.throughfall, 0, where(removed, leaving, get(work.throughfall)))
    remaining = (heat_before - snowfall * FUSION_HEAT * step) * per_step + net - sensible - latent
    ground = where(removed, remaining, ground)
    residual = where(removed, 0.0, residual)
    put(work.evaporation_correction, 0, where(removed, 0.0, get(work.evaporation_correction)))
    put(work.snow_latent_heat, 0, latent)
    put(work.snow_net_radiation, 0, net)
    put(work.snow_sensible_heat, 0, sensible)
    # SURFEX puts out the temperature of the first layer at the end of the step
    put(
        work.snow_surface_temperature,
        0,
        where(called & ~removed, get(work.snow_temperature, 0), FREEZING_POINT),
    )
    store_pack(column, work, options, called, removed)
    share_ground_flux(work, options, cover, ground, residual)


@science
def run_pack(column, parameters, air, work, options, present, called, rain):
    """The processes inside the pack in their order. Returns the flux into the soil and the residual one (W m-2)."""
    step = options.step
    layers = options.snow_layers
    falling = called & (get(air.snow) > 0.0)
    pressure = get(air.pressure)
    first, second, third = band_albedos(get(work.snow_density, 0), get(work.snow_age, 0), pressure)
    scale = get(work.snow_albedo) / broadband_albedo(first, second, third)
    new_density = add_snowfall(air, work, options, present, falling)
    fresh = band_albedos(new_density, new_density * 0.0, pressure)
    first = where(present, first * scale, fresh[0])
    second = where(present, second * scale, fresh[1])
    third = where(present, third * scale, fresh[2])
    put(
        work.snow_albedo,
        0,
        where(present, get(work.snow_albedo), broadband_albedo(fresh[0], fresh[1], fresh[2])),
    )
    regrid_snow(work, options, called)
    diagnose_snow(work, options)
    compact_snow(parameters, air, work, options)
    heat = rain * 0.0
    for layer in range(layers):
        heat = heat + get(work.snow_heat, layer)
    absorb_sunlight(air, work, options, first, second, third)
    snow_energy_budget(column, parameters, air, work, options)
    through = get(work.snow_sunlight, layers - 1)
    gone = get(work.snow_surface_flux) + through >= -heat * (1.0 / step)
    transmitted = where(gone, 0.0, -through)
    for layer in range(layers):
        put(work.snow_thickness, layer, where(gone, 0.0, get(work.snow_thickness, layer)))
        put(work.snow_liquid, layer, where(gone, 0.0, get(work.snow_liquid, layer)))
        put(work.snow_temperature, layer, where(gone, FREEZING_POINT, get(work.snow_temperature, layer)))
    unused = melt_snow(work, options)
    put(work.throughfall, 0, where(called, percolate(work, options, rain), 0.0))
    lacking = sublimate(air, work, options, get(work.snow_fraction))
    put(work.evaporation_correction, 0, where(called, lacking, 0.0))
    first, second, third = band_albedos(get(work.snow_density, 0), get(work.snow_age, 0), pressure)
    put(work.snow_new_albedo, 0, broadband_albedo(first, second, third))
    overflow = rain * 0.0
    for layer in range(layers):
        density = get(work.snow_density, layer)
        thickness = get(work.snow_thickness, layer)
        liquid = get(work.snow_liquid, layer)
        # liquid beyond the mass of the layer: only that of the last one reaches the soil as heat (source)
        overflow = maximum(0.0, WATER_DENSITY * liquid - density * thickness) * (FUSION_HEAT / step)
        liquid = maximum(0.0, liquid - overflow * (step / (FUSION_HEAT * WATER_DENSITY)))
        put(
            work.snow_heat,
            layer,
            layer_heat(get(work.snow_temperature, layer), liquid, density, thickness),
        )
        put(work.snow_age, layer, get(work.snow_age, layer) + where(thickness > 0.0, step / DAY, 0.0))
    flux = get(work.snow_ground_flux)
    residual = (get(work.snow_ground_flux_limited) - flux) + unused + overflow
    return flux + transmitted, residual


@science
def store_pack(column, work, options, called, removed):
    """Write the pack back to the state where it was computed; a removed pack leaves the empty one."""
    for layer in range(options.snow_layers):
        thickness = get(work.snow_thickness, layer)
        density = get(work.snow_density, layer)
        stays = called & ~removed
        per_volume = get(work.snow_heat, layer) / where(stays & (thickness > 0.0), thickness, 1.0)
        put(column.snow_water_equivalent, layer, where(stays, density * thickness, 0.0))
        put(column.snow_density, layer, where(stays, density, MINIMUM_DENSITY))
        put(column.snow_heat, layer, where(stays, per_volume, 0.0))
        put(column.snow_age, layer, where(stays, get(work.snow_age, layer), 0.0))
    put(column.snow_albedo, 0, where(called & ~removed, get(work.snow_new_albedo), 0.0))


@science
def share_ground_flux(work, options, cover, ground, residual):
    """Heat sources of the soil layers (W m-2): the ground flux in the first, unless it would warm it by 10 K in the
    step, and the residual flux over the first 0.6 m in proportion to heat capacity. Source: isba.md 10.5."""
    composite = get(work.inertia_composite)
    total = cover * 0.0
    depth = total
    for layer in range(SOIL_LAYERS):
        thickness = get(work.thickness, layer)
        weight = get(work.heat_capacity, layer) * minimum(thickness, maximum(0.0, _HEATED_DEPTH - depth))
        if layer == 0:
            weight = 1.0 / composite
        depth = depth + thickness
        total = total + weight
        put(work.heat_weight, layer, weight)
    spread = options.step * composite * cover * absolute(ground) >= _LARGEST_SURFACE_WARMING
    inverse = 1.0 / total
    for layer in range(SOIL_LAYERS):
        share = get(work.heat_weight, layer) * inverse
        whole = 0.0
        if layer == 0:
            whole = 1.0
        direct = where(spread, share, whole) * ground
        put(work.soil_heat_source, layer, cover * (direct + residual * share))
