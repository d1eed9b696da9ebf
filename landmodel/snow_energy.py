"""Energy of the snow pack: absorbed sunlight, conduction, surface budget (SURFEX snow3lrad, snow3lthrm, snow3lebud,
snow3lsolvt, snow3lflux)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import (
    EMISSIVITY_SNOW,
    FREEZING_POINT,
    HEAT_CAPACITY_DRY_AIR,
    HEAT_CAPACITY_ICE,
    STEFAN_BOLTZMANN,
    SUBLIMATION_HEAT,
)
from ldas.landmodel.lanes import any_lane, exp, log, maximum, sqrt, where
from ldas.landmodel.snow_cover import BAND_WEIGHTS, optical_grain_size
from ldas.landmodel.surface_exchange import heat_conductance, richardson_number
from ldas.landmodel.thermodynamics import saturation_humidity_and_slope

_THINNEST = 1.0e-4  # m: layers count as at least this thick in the solver (XSNOWDZMIN)
_EXTINCTION_INFRARED = 2000.0  # m-1


@science
def absorb_sunlight(air, work, options, first, second, third):
    """Sunlight (W m-2, negative downward) that passes the bottom of every layer.
    Source: docs/science/snow.md, section 7."""
    shortwave = air.shortwave
    layers = options.snow_layers
    if not any_lane(shortwave > 0.0):
        for layer in range(layers):
            work.snow_sunlight[layer] = -shortwave
        return
    path_first = shortwave * 0.0
    path_second = path_first
    path_third = path_first
    for layer in range(layers):
        density = work.snow_density[layer]
        thickness = maximum(_THINNEST, work.snow_thickness[layer])
        scattering = density / sqrt(optical_grain_size(density, work.snow_age[layer]))
        path_first = path_first + maximum(40.0, 1.92e-3 * scattering) * thickness
        path_second = path_second + maximum(100.0, 1.098e-2 * scattering) * thickness
        path_third = path_third + _EXTINCTION_INFRARED * thickness
        passing = (
            BAND_WEIGHTS[0] * (1.0 - first) * exp(-path_first)
            + BAND_WEIGHTS[1] * (1.0 - second) * exp(-path_second)
            + BAND_WEIGHTS[2] * (1.0 - third) * exp(-path_third)
        )
        beneath = -shortwave * passing
        if layer == layers - 1:
            beneath = beneath * (1.0 - work.albedo)
        work.snow_sunlight[layer] = beneath


@science
def snow_conductivity(density, temperature, pressure):
    """Effective thermal conductivity (W m-1 K-1), vapour transfer included. Source: docs/science/snow.md, section 8."""
    vapour = maximum(0.0, (-0.06023 - 2.5425 / (temperature - 289.99)) * (1.0e5 / pressure))
    return 2.22 * exp(1.88 * log(density * 1.0e-3)) + vapour


@science
def half_resistance(work, layer, pressure):
    """Thermal resistance (m2 K W-1) of half a layer."""
    thickness = maximum(_THINNEST, work.snow_thickness[layer])
    return 0.5 * thickness / snow_conductivity(work.snow_density[layer], work.snow_temperature[layer], pressure)


@science
def eliminate_snow(column, air, work, options):
    """Conductances (W m-2 K-1) and the upward elimination of the implicit conduction from the soil to layer 2."""
    layers = options.snow_layers
    storage_factor = HEAT_CAPACITY_ICE / options.step
    pressure = air.pressure
    # half the resistance of the layer below: at first of soil layer 1
    below = 0.5 * work.thickness[0] / work.conductivity[0]
    half = half_resistance(work, layers - 1, pressure)
    conductance = 1.0 / (half + below)
    slope = pressure * 0.0
    intercept = column.soil_temperature[0]
    for number in range(layers):
        layer = layers - 1 - number
        temperature = work.snow_temperature[layer]
        thickness = maximum(_THINNEST, work.snow_thickness[layer])
        storage = storage_factor * work.snow_density[layer] * thickness
        work.snow_conductance[layer] = conductance
        work.snow_storage[layer] = storage
        work.snow_slope[layer] = slope
        work.snow_intercept[layer] = intercept
        if layer > 0:
            half_above = half_resistance(work, layer - 1, pressure)
            above = 1.0 / (half_above + half)
            right = storage * temperature - (work.snow_sunlight[layer - 1] - work.snow_sunlight[layer])
            inverse = 1.0 / (storage + above + conductance * (1.0 - slope))
            intercept = (right + conductance * intercept) * inverse
            slope = above * inverse
            conductance = above
            half = half_above


@science
def conduct_down(work, options, surface):
    """Temperatures of layers 2 to n from that of layer 1 (K); row l of the elimination gives layer l + 1."""
    temperature = surface
    for layer in range(1, options.snow_layers):
        temperature = work.snow_slope[layer - 1] * temperature + work.snow_intercept[layer - 1]
        work.snow_solved[layer] = temperature
    return temperature


@science
def snow_surface_fluxes(air, work, exchange, old, new, humidity, slope):
    """Net radiation, sensible heat and sublimation heat (W m-2) of the snow surface at a new temperature (K)."""
    cubed = EMISSIVITY_SNOW * STEFAN_BOLTZMANN * (old * old * old)
    net = (1.0 - work.snow_albedo) * air.shortwave + EMISSIVITY_SNOW * air.longwave - cubed * (old + 4.0 * (new - old))
    sensible = exchange * HEAT_CAPACITY_DRY_AIR * (new / air.exner_surface - air.temperature / air.exner_air)
    latent = SUBLIMATION_HEAT * exchange * (humidity - air.humidity + slope * (new - old))
    return net, sensible, latent


@science
def snow_energy_budget(column, parameters, air, work, options):
    """Implicit temperatures of all layers, fluxes at the surface and into the soil.
    Source: docs/science/snow.md, section 8.

    Leaves `snow_temperature` (possibly above freezing: melt follows) and the fluxes with air and ground in `work`.
    """
    layers = options.snow_layers
    step = options.step
    old = work.snow_temperature[0]
    pressure = air.pressure
    humidity, slope = saturation_humidity_and_slope(old, pressure)
    exchange = air.density * heat_conductance(richardson_number(old, humidity, work), work)
    eliminate_snow(column, air, work, options)
    thickness = maximum(_THINNEST, work.snow_thickness[0])
    inertia = 1.0 / (HEAT_CAPACITY_ICE * work.snow_density[0] * thickness)
    cubed = EMISSIVITY_SNOW * STEFAN_BOLTZMANN * (old * old * old)
    conduction = work.snow_conductance[0]
    evaporation_slope = exchange * SUBLIMATION_HEAT * slope
    a = 1.0 / step + inertia * (
        4.0 * cubed + evaporation_slope + exchange * HEAT_CAPACITY_DRY_AIR / air.exner_surface + conduction
    )
    b = 1.0 / step + inertia * (3.0 * cubed + evaporation_slope)
    c = inertia * (
        exchange * HEAT_CAPACITY_DRY_AIR * air.temperature / air.exner_air
        + air.shortwave * (1.0 - work.snow_albedo)
        + EMISSIVITY_SNOW * air.longwave
        - exchange * SUBLIMATION_HEAT * (humidity - air.humidity)
        + work.snow_sunlight[0]
    )
    coupling = conduction * inertia / a
    explicit = (old * b + c) / a
    new = (explicit + coupling * work.snow_intercept[0]) / (1.0 - coupling * work.snow_slope[0])
    at_melting = old == FREEZING_POINT
    warms = new > FREEZING_POINT
    stays = warms & at_melting  # melting went on: the surface is at the melting point during the whole step
    reaches = warms & ~at_melting
    lowest = conduct_down(work, options, where(stays, FREEZING_POINT, new))
    flux_below = conduction * (where(stays, FREEZING_POINT, new) - work.snow_solved[1])

    final = where(stays | reaches, FREEZING_POINT, new)
    net, sensible, latent = snow_surface_fluxes(air, work, exchange, old, final, humidity, slope)
    surface = net - sensible - latent
    free_net, free_sensible, free_latent = snow_surface_fluxes(air, work, exchange, old, new, humidity, slope)
    unused = (free_net - free_sensible - free_latent) - surface
    new = where(reaches, new - unused * step * inertia, new)
    melting = FREEZING_POINT + step * inertia * (surface + work.snow_sunlight[0] - flux_below)
    new = where(stays, melting, new)

    into_soil = work.snow_conductance[layers - 1]
    soil = column.soil_temperature[0]
    ground = into_soil * (lowest - soil)
    ground_limited = into_soil * (where(lowest < FREEZING_POINT, lowest, FREEZING_POINT) - soil)
    work.snow_solved[layers - 1] = lowest + (ground - ground_limited) / work.snow_storage[layers - 1]
    work.snow_temperature[0] = new
    for layer in range(1, layers):
        work.snow_temperature[layer] = work.snow_solved[layer]
    work.snow_net_radiation = net
    work.snow_sensible_heat = sensible
    work.snow_latent_heat = latent
    work.snow_surface_flux = surface
    work.snow_ground_flux = ground
    work.snow_ground_flux_limited = ground_limited
