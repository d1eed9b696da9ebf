"""Exchange of heat, vapour and momentum between surface and air (Louis 1979, Mascart et al. 1995; SURFEX drag.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import GRAVITY, MAXIMUM_RICHARDSON, MAXIMUM_STOMATAL_RESISTANCE, MINIMUM_WATER, VON_KARMAN
from ldas.landmodel.lanes import any_lane, exp, half_cosine_rise, log, maximum, minimum, sqrt, where
from ldas.landmodel.thermodynamics import VIRTUAL

_SNOW_ROUGHNESS = 1.0e-3  # m
_SNOW_ROUGHNESS_HEAT = 1.0e-4  # m
ROUGHNESS_RATIO = 10.0  # z0 / z0h


@science
def effective_roughness(parameters, work):
    """Roughness lengths (m) for momentum and heat of the surface with its snow.
    Source: docs/science/surface.md, section 1."""
    snow = work.snow_fraction
    free = work.vegetation_roughness
    roughness = free
    roughness_heat = free / ROUGHNESS_RATIO
    if any_lane(snow > 0.0):
        wind_height = parameters.wind_height
        air_height = parameters.air_height
        on_snow = log(wind_height / _SNOW_ROUGHNESS)
        on_ground = log(wind_height / free)
        mixed = snow / (on_snow * on_snow) + (1.0 - snow) / (on_ground * on_ground)
        on_snow = log(air_height / _SNOW_ROUGHNESS_HEAT)
        on_ground = log(ROUGHNESS_RATIO * air_height / free)
        mixed_heat = snow / (on_snow * on_snow) + (1.0 - snow) / (on_ground * on_ground)
        roughness = where(snow > 0.0, wind_height * exp(-1.0 / sqrt(mixed)), roughness)
        roughness_heat = where(snow > 0.0, air_height * exp(-1.0 / sqrt(mixed_heat)), roughness_heat)
    work.roughness = roughness
    work.roughness_heat = roughness_heat


@science
def exchange_coefficients(parameters, air, work):
    """What the exchange functions need of roughness and heights: constant over the step, so its logarithms are taken
    once."""
    wind_height = parameters.wind_height
    air_height = parameters.air_height
    roughness = minimum(work.roughness, 0.5 * wind_height)
    roughness_heat = minimum(minimum(work.roughness_heat, roughness), 0.5 * air_height)
    log_momentum = log(wind_height / roughness)
    log_heat = log(air_height / roughness_heat)
    log_ratio = maximum(log(roughness / roughness_heat), 0.0)
    neutral = VON_KARMAN / log_momentum
    neutral = neutral * neutral
    heat_factor = log_momentum / log_heat
    c_star = 3.2165 + log_ratio * (4.3431 + log_ratio * (0.5360 - 0.0781 * log_ratio))
    power = 0.5802 + log_ratio * (-0.1571 + log_ratio * (0.0327 - 0.0026 * log_ratio))
    work.exchange_neutral = neutral
    work.exchange_heat_factor = heat_factor
    work.exchange_unstable = c_star * neutral * 15.0 * exp(power * log_heat) * heat_factor
    # the wind never falls below this in the exchange (source)
    wind = maximum(air.wind, 0.1 * minimum(10.0, wind_height))
    work.exchange_wind = wind
    work.exchange_inverse_cubed_wind = 1.0 / (wind * wind * wind)
    work.exchange_richardson_factor = 2.0 * GRAVITY * wind_height * wind_height / (wind * wind * air_height)
    work.virtual_air = air.temperature / air.exner_air * (1.0 + VIRTUAL * air.humidity)
    work.inverse_exner = 1.0 / air.exner_surface


@science
def richardson_number(surface_temperature, surface_humidity, work):
    """Bulk Richardson number (1), limited above as in the source."""
    virtual_air = work.virtual_air
    virtual_surface = surface_temperature * work.inverse_exner * (1.0 + VIRTUAL * surface_humidity)
    number = work.exchange_richardson_factor * (virtual_air - virtual_surface) / (virtual_air + virtual_surface)
    return minimum(MAXIMUM_RICHARDSON, number)


@science
def heat_conductance(richardson, work):
    """Aerodynamic conductance for heat (m s-1). Source: docs/science/surface.md, section 4."""
    wind = work.exchange_wind
    squared = wind * wind
    stability = richardson * squared
    transfer = wind
    if any_lane(richardson < 0.0):
        unstable = wind - 15.0 * stability / (wind + work.exchange_unstable * sqrt(maximum(-stability, 0.0)))
        transfer = where(richardson < 0.0, unstable, transfer)
    if any_lane(richardson > 0.0):
        damping = 15.0 * stability * sqrt(squared + 5.0 * maximum(stability, 0.0))
        stable = wind / (1.0 + damping * work.exchange_inverse_cubed_wind)
        transfer = where(richardson > 0.0, stable, transfer)
    return work.exchange_neutral * work.exchange_heat_factor * transfer


@science
def momentum_drag(richardson, parameters, work):
    """Drag coefficient CD (1), a diagnostic. Source: docs/science/surface.md, section 5."""
    wind_height = parameters.wind_height
    roughness = minimum(work.roughness, 0.5 * wind_height)
    roughness_heat = minimum(minimum(work.roughness_heat, roughness), 0.5 * parameters.air_height)
    ratio = log(minimum(roughness / roughness_heat, 200.0))
    power = 0.5233 + ratio * (-0.0815 + ratio * (0.0135 - 0.0010 * ratio))
    neutral = work.exchange_neutral
    scale = (
        10.0
        * neutral
        * (6.8741 + ratio * (2.6933 + ratio * (-0.3601 + 0.0154 * ratio)))
        * exp(power * log(wind_height / roughness))
    )
    stable = 1.0 / (1.0 + 10.0 * richardson / sqrt(1.0 + 5.0 * maximum(richardson, 0.0)))
    unstable = 1.0 - 10.0 * richardson / (1.0 + scale * sqrt(maximum(-richardson, 0.0)))
    return neutral * where(richardson > 0.0, stable, unstable)


@science
def ground_relative_humidity(column, parameters, work):
    """Relative humidity at the surface of the liquid and of the frozen bare ground (1), before dew is considered."""
    water = column.soil_water[0]
    ice = column.soil_ice[0]
    porosity = parameters.porosity[0]
    capacity = parameters.field_capacity[0]
    liquid_limit = capacity * (porosity - ice) / porosity
    frozen_limit = capacity * maximum(MINIMUM_WATER, porosity - water) / porosity
    # a layer full of ice has no liquid limit left; the floor keeps the quotient defined and the minimum decides
    ratio = minimum((water - MINIMUM_WATER) / maximum(liquid_limit, 1.0e-12), 1.0)
    work.ground_humidity_liquid = half_cosine_rise(ratio)
    work.ground_ice_share = ice / (water + ice)
    work.ground_humidity_frozen = half_cosine_rise(minimum(ice / frozen_limit, 1.0))


@science
def with_dew(relative_humidity, saturated, humidity, ratio):
    """Relative humidity of the ground and its evaporation switch (0 or 1): evaporation stops where the air is moister
    than the ground, and dew falls where the air is above saturation. `ratio` is air over saturated humidity.
    Source: docs/science/surface.md, section 2."""
    moist_air = relative_humidity * saturated < humidity
    dry = moist_air & (saturated > humidity)
    adjusted = where(dry, ratio, where(moist_air, 1.0, relative_humidity))
    return adjusted, where(dry, 0.0, 1.0)


@science
def open_conductance(resistance, stomatal):
    """Conductance (m s-1) from the leaves through stomata and air."""
    return 1.0 / (resistance + stomatal)


@science
def closed_conductance(resistance, stress):
    """Conductance (m s-1) of the leaves with closed stomata, in the share 1 - F5 that the stress leaves."""
    return (1.0 - stress) / (resistance + MAXIMUM_STOMATAL_RESISTANCE)


@science
def halstead(wet, resistance, stomatal, open_leaves, closed_leaves, evaporating):
    """Halstead coefficient HV (1) of the foliage."""
    value = wet + (1.0 - wet) * (resistance + stomatal * (1.0 - evaporating)) * (
        open_leaves - evaporating * closed_leaves
    )
    return where(value < 1.0e-12, 0.0, value)  # the source ends denormal exchange here


@science
def surface_humidity(fraction, ground, foliage, saturated, humidity):
    """Specific humidity (kg kg-1) of the snow-free surface: bare ground and foliage."""
    return ((1.0 - fraction) * ground + fraction * foliage) * saturated + fraction * (1.0 - foliage) * humidity


@science
def limit_wet_fraction(column, air, work, options, gradient, conductance, foliage, transpiring):
    """The wet share of the leaves, reduced where a full ISBA step would evaporate more than there is on them.

    `transpiring`: conductance of the dry leaves (m s-1), 0 where dew falls. Returns also where it is short.
    """
    step = options.step
    fraction = work.vegetation_fraction
    bare_of_snow = 1.0 - work.snow_fraction_vegetation
    wet = work.wet_fraction
    demand = (
        step * bare_of_snow * air.density * fraction * gradient * (foliage * conductance - (1.0 - wet) * transpiring)
    )
    supply = column.intercepted_water + step * fraction * bare_of_snow * air.rain
    short = (gradient >= 0.0) & (demand != 0.0) & (supply < demand)
    limited = wet
    if any_lane(short):
        ratio = minimum(maximum(supply / where(short, demand, 1.0), 0.01), 1.0)
        limited = where(short, wet * ratio, wet)
    return limited, short


@science
def exchange_diagnostics(parameters, work, flux):
    """Richardson number, CH and CD of the surface at the end of the step; outputs only.
    Source: docs/science/surface.md, section 5."""
    temperature = flux.TS
    number = richardson_number(temperature, work.surface_humidity, work)
    flux.RI = number
    flux.CH = heat_conductance(number, work) / work.exchange_wind
    flux.CD = momentum_drag(number, parameters, work)
