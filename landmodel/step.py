"""One ISBA step, in the order of SURFEX (coupling_isban.F90, isba.F90)."""

from ldas.landmodel.carbon import carbon_fluxes, mean_temperature_first_metre
from ldas.landmodel.compile import science
from ldas.landmodel.constants import EMISSIVITY_SNOW, SUBLIMATION_HEAT, VAPORISATION_HEAT
from ldas.landmodel.energy_budget import energy_budget
from ldas.landmodel.hydrology import hydrology
from ldas.landmodel.interception import wet_leaf_fraction
from ldas.landmodel.lanes import any_lane, exp, log, phase, where
from ldas.landmodel.photosynthesis import photosynthesis
from ldas.landmodel.runoff import raining_fraction
from ldas.landmodel.screen_level import screen_level
from ldas.landmodel.snow import snow_step
from ldas.landmodel.snow_cover import snow_fractions, total_snow
from ldas.landmodel.soil_stress import soil_moisture_stress
from ldas.landmodel.soil_thermal import soil_thermal_properties
from ldas.landmodel.surface_exchange import (
    effective_roughness,
    exchange_coefficients,
    exchange_diagnostics,
    ground_relative_humidity,
)
from ldas.landmodel.thermodynamics import saturation_humidity
from ldas.landmodel.vegetation import daily_vegetation_update, plant_respiration


@science
def isba_step(column, parameters, air, work, flux, options, first_of_day):
    """Advance the columns by one step: `column` is the state, `flux` receives the fluxes of the step.

    `first_of_day`: the step starts at 00 UTC, so it ends with the daily update of the vegetation
    (docs/science/vegetation.md, section 1).
    """
    snow_fractions(column, work, options)
    effective_roughness(parameters, work)
    exchange_coefficients(parameters, air, work)
    phase()
    soil_thermal_properties(column, parameters, work, options)
    soil_moisture_stress(column, parameters, work)
    wet_leaf_fraction(column, parameters, work)
    work.raining_fraction = raining_fraction(air.rain, parameters.cell_size, options.drip_subgrid)
    phase()
    snow_step(column, parameters, air, work, options)
    phase()
    photosynthesis(column, parameters, air, work, flux, options)
    ground_relative_humidity(column, parameters, work)
    work.start_temperature = column.soil_temperature[0]
    phase()
    energy_budget(column, air, work, options)
    weigh_by_snow_free_share(work)
    work.diffused_temperature = column.soil_temperature[0]
    phase()
    hydrology(column, parameters, air, work, flux, options)
    phase()
    aggregate_fluxes(column, air, work, flux, options)
    flux.LITTER = 0.0
    flux.BIOMASS_CLIP = 0.0
    if first_of_day:
        daily_vegetation_update(column, parameters, work, flux, options)
    mean_temperature = mean_temperature_first_metre(column, parameters, work)
    plant_respiration(column, parameters, work, flux, options, mean_temperature)
    carbon_fluxes(column, parameters, air, work, flux, options, mean_temperature)
    snow_diagnostics(column, flux, options)
    if options.diagnose_exchange > 0:
        exchange_diagnostics(parameters, work, flux)
    if options.diagnose_screen_level > 0:
        screen_level(parameters, air, work, flux)


@science
def weigh_by_snow_free_share(work):
    """Water fluxes of ground and canopy per patch area: only their snow-free shares take part.
    Source: docs/science/surface.md, section 8."""
    ground = 1.0 - work.snow_fraction_ground
    canopy = 1.0 - work.snow_fraction_vegetation
    work.ground_evaporation *= ground
    work.ground_sublimation *= ground
    work.canopy_evaporation *= canopy
    work.transpiration *= canopy


@science
def aggregate_fluxes(column, air, work, flux, options):
    """Fluxes of the patch from its snow-free and its snow-covered part. Source: docs/science/surface.md, section 8."""
    snow = work.snow_fraction
    free = 1.0 - snow
    net = free * work.net_radiation + snow * work.snow_net_radiation
    sensible = free * work.sensible_heat + snow * work.snow_sensible_heat
    ground = work.ground_evaporation
    ground_ice = work.ground_sublimation
    canopy = work.canopy_evaporation
    transpiration = work.transpiration
    from_snow = snow * work.snow_latent_heat
    latent = ground + ground_ice + canopy + from_snow
    albedo = free * work.albedo + snow * work.snow_albedo
    reflected = air.shortwave * albedo
    column.latent_heat_flux = latent
    flux.RN = net
    flux.H = sensible
    flux.LE = latent
    flux.LEG = ground
    flux.LEGI = ground_ice
    flux.LEI = ground_ice + from_snow
    flux.LEV = canopy
    flux.LETR = transpiration
    flux.LER = canopy - transpiration
    flux.LES = from_snow
    flux.GFLUX = net - sensible - latent
    evaporation = (ground + canopy) / VAPORISATION_HEAT + (ground_ice + from_snow) / SUBLIMATION_HEAT
    flux.EVAP = evaporation
    flux.ALBEDO = albedo
    flux.SWUP = reflected
    flux.LWUP = air.longwave + air.shortwave - reflected - net
    flux.SNOWMELT = work.throughfall
    flux.PSN = snow
    flux.PSNG = work.snow_fraction_ground
    flux.PSNV = work.snow_fraction_vegetation
    flux.Z0EFF = work.roughness
    flux.Z0H = work.roughness_heat
    flux.HALSTEAD = work.halstead
    flux.RS = work.stomatal_resistance
    flux.F2 = work.soil_moisture_stress
    # conduction reaches layer 2 in full while the surface loses only CG/CT of it (SURFEX): what appears from nowhere
    lost_share = work.surface_coupling / work.inertia_composite
    flux.GFLUX_IMBALANCE = (1.0 - lost_share) * work.conduction
    flux.SURFACE_STORAGE = ((work.diffused_temperature - work.start_temperature)
        / (work.inertia_composite * options.step))  # fmt: skip
    flux.SNOW_TO_SOIL = work.soil_heat_source[0]
    surface_temperatures(column, air, work, flux, snow)


@science
def surface_temperatures(column, air, work, flux, snow):
    """Effective and radiative temperature of the surface (K), with the end-of-step soil."""
    temperature = column.soil_temperature[0]
    snow_temperature = work.snow_surface_temperature
    flux.TS = (1.0 - snow) * temperature + snow * snow_temperature
    squared = temperature * temperature
    radiative = temperature
    if any_lane(snow > 0.0):
        snow_squared = snow_temperature * snow_temperature
        weight = (1.0 - snow) * work.emissivity
        weight_snow = snow * EMISSIVITY_SNOW
        fourth = (weight * squared * squared + weight_snow * snow_squared * snow_squared) / (weight + weight_snow)
        radiative = where(snow > 0.0, exp(0.25 * log(fourth)), radiative)
        humidity = (1.0 - snow) * work.surface_humidity + snow * saturation_humidity(snow_temperature, air.pressure)
        work.surface_humidity = where(snow > 0.0, humidity, work.surface_humidity)
    flux.TSRAD = radiative


@science
def snow_diagnostics(column, flux, options):
    """Mass and depth of the pack at the end of the step."""
    mass, depth = total_snow(column, options)
    flux.SWE = mass
    flux.SNOW_DEPTH = depth
