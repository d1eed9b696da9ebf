"""One ISBA step, in the order of SURFEX (coupling_isban.F90, isba.F90)."""

from landmodel.carbon import carbon_fluxes, mean_temperature_first_metre
from landmodel.compile import science
from landmodel.constants import (
    EMISSIVITY_SNOW,
    SUBLIMATION_HEAT,
    VAPORISATION_HEAT,
)
from landmodel.energy_budget import energy_budget
from landmodel.hydrology import hydrology
from landmodel.interception import wet_leaf_fraction
from landmodel.lanes import any_lane, exp, get, log, put, where
from landmodel.photosynthesis import photosynthesis
from landmodel.runoff import raining_fraction
from landmodel.snow import snow_step
from landmodel.snow_cover import snow_fractions, total_snow
from landmodel.soil_stress import soil_moisture_stress
from landmodel.soil_thermal import soil_thermal_properties
from landmodel.surface_exchange import (
    effective_roughness,
    exchange_coefficients,
    exchange_diagnostics,
    ground_relative_humidity,
)
from landmodel.thermodynamics import saturation_humidity
from landmodel.vegetation import daily_vegetation_update, plant_respiration


@science
def isba_step(column, parameters, air, work, flux, options, first_of_day):
    """Advance the columns by one step: `column` is the state, `flux` receives the fluxes of the step.

    `first_of_day`: the step starts at 00 UTC, so it ends with the daily update of the vegetation (isba.md 13.1).
    """
    snow_fractions(column, work, options)
    effective_roughness(parameters, work)
    exchange_coefficients(parameters, air, work)
    soil_thermal_properties(column, parameters, work, options)
    soil_moisture_stress(column, parameters, work)
    wet_leaf_fraction(column, parameters, work)
    put(
        work.raining_fraction,
        0,
        raining_fraction(get(air.rain), get(parameters.cell_size), options.drip_subgrid),
    )
    snow_step(column, parameters, air, work, options)
    photosynthesis(column, parameters, air, work, flux, options)
    ground_relative_humidity(column, parameters, work)
    put(work.start_temperature, 0, get(column.soil_temperature, 0))
    energy_budget(column, air, work, options)
    weigh_by_snow_free_share(work)
    put(work.diffused_temperature, 0, get(column.soil_temperature, 0))
    hydrology(column, parameters, air, work, flux, options)
    aggregate_fluxes(column, air, work, flux, options)
    put(flux.LITTER, 0, 0.0)
    put(flux.BIOMASS_CLIP, 0, 0.0)
    if first_of_day:
        daily_vegetation_update(column, parameters, work, flux, options)
    mean_temperature = mean_temperature_first_metre(column, parameters, work)
    plant_respiration(column, parameters, work, flux, options, mean_temperature)
    carbon_fluxes(column, parameters, air, work, flux, options, mean_temperature)
    snow_diagnostics(column, flux, options)
    if options.diagnose_exchange > 0:
        exchange_diagnostics(parameters, work, flux)


@science
def weigh_by_snow_free_share(work):
    """Water fluxes of ground and canopy per patch area: only their snow-free shares take part. Source: isba.md 10.6."""
    ground = 1.0 - get(work.snow_fraction_ground)
    canopy = 1.0 - get(work.snow_fraction_vegetation)
    put(work.ground_evaporation, 0, get(work.ground_evaporation) * ground)
    put(work.ground_sublimation, 0, get(work.ground_sublimation) * ground)
    put(work.canopy_evaporation, 0, get(work.canopy_evaporation) * canopy)
    put(work.transpiration, 0, get(work.transpiration) * canopy)


@science
def aggregate_fluxes(column, air, work, flux, options):
    """Fluxes of the patch from its snow-free and its snow-covered part. Source: isba.md 10.6."""
    snow = get(work.snow_fraction)
    free = 1.0 - snow
    net = free * get(work.net_radiation) + snow * get(work.snow_net_radiation)
    sensible = free * get(work.sensible_heat) + snow * get(work.snow_sensible_heat)
    ground = get(work.ground_evaporation)
    ground_ice = get(work.ground_sublimation)
    canopy = get(work.canopy_evaporation)
    transpiration = get(work.transpiration)
    from_snow = snow * get(work.snow_latent_heat)
    latent = ground + ground_ice + canopy + from_snow
    albedo = free * get(work.albedo) + snow * get(work.snow_albedo)
    reflected = get(air.shortwave) * albedo
    put(column.latent_heat_flux, 0, latent)
    put(flux.RN, 0, net)
    put(flux.H, 0, sensible)
    put(flux.LE, 0, latent)
    put(flux.LEG, 0, ground)
    put(flux.LEGI, 0, ground_ice)
    put(flux.LEI, 0, ground_ice + from_snow)
    put(flux.LEV, 0, canopy)
    put(flux.LETR, 0, transpiration)
    put(flux.LER, 0, canopy - transpiration)
    put(flux.LES, 0, from_snow)
    put(flux.GFLUX, 0, net - sensible - latent)
    evaporation = (ground + canopy) / VAPORISATION_HEAT + (ground_ice + from_snow) / SUBLIMATION_HEAT
    put(flux.EVAP, 0, evaporation)
    put(flux.ALBEDO, 0, albedo)
    put(flux.SWUP, 0, reflected)
    put(flux.LWUP, 0, get(air.longwave) + get(air.shortwave) - reflected - net)
    put(flux.SNOWMELT, 0, get(work.throughfall))
    put(flux.PSN, 0, snow)
    put(flux.PSNG, 0, get(work.snow_fraction_ground))
    put(flux.PSNV, 0, get(work.snow_fraction_vegetation))
    put(flux.Z0EFF, 0, get(work.roughness))
    put(flux.Z0H, 0, get(work.roughness_heat))
    put(flux.HALSTEAD, 0, get(work.halstead))
    put(flux.RS, 0, get(work.stomatal_resistance))
    put(flux.F2, 0, get(work.soil_moisture_stress))
    # conduction reaches layer 2 in full while the surface loses only CG/CT of it (SURFEX): what appears from nowhere
    lost_share = get(work.surface_coupling) / get(work.inertia_composite)
    put(flux.GFLUX_IMBALANCE, 0, (1.0 - lost_share) * get(work.conduction))
    put(flux.SURFACE_STORAGE, 0,
        (get(work.diffused_temperature) - get(work.start_temperature))
        / (get(work.inertia_composite) * options.step))  # fmt: skip
    put(flux.SNOW_TO_SOIL, 0, get(work.soil_heat_source, 0))
    surface_temperatures(column, air, work, flux, snow)


@science
def surface_temperatures(column, air, work, flux, snow):
    """Effective and radiative temperature of the surface (K), with the end-of-step soil."""
    temperature = get(column.soil_temperature, 0)
    snow_temperature = get(work.snow_surface_temperature)
    put(flux.TS, 0, (1.0 - snow) * temperature + snow * snow_temperature)
    squared = temperature * temperature
    radiative = temperature
    if any_lane(snow > 0.0):
        snow_squared = snow_temperature * snow_temperature
        weight = (1.0 - snow) * get(work.emissivity)
        weight_snow = snow * EMISSIVITY_SNOW
        fourth = (weight * squared * squared + weight_snow * snow_squared * snow_squared) / (weight + weight_snow)
        radiative = where(snow > 0.0, exp(0.25 * log(fourth)), radiative)
        humidity = (1.0 - snow) * get(work.surface_humidity) + snow * saturation_humidity(
            snow_temperature, get(air.pressure)
        )
        put(work.surface_humidity, 0, where(snow > 0.0, humidity, get(work.surface_humidity)))
    put(flux.TSRAD, 0, radiative)


@science
def snow_diagnostics(column, flux, options):
    """Mass and depth of the pack at the end of the step."""
    mass, depth = total_snow(column, options)
    put(flux.SWE, 0, mass)
    put(flux.SNOW_DEPTH, 0, depth)
