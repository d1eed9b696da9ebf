"""The air at the start of a step, from two records of the forcing."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import GRAVITY
from ldas.landmodel.thermodynamics import air_density, exner


@science
def read_air(parameters, air, before, after, weight, sun):
    """Air at the start of a step: everything interpolated between two records but rain and snow, which are those of
    the end of the interval (docs/science/air.md, section 3); and the sun."""
    temperature = before.Tair + (after.Tair - before.Tair) * weight
    humidity = before.Qair + (after.Qair - before.Qair) * weight
    pressure = before.PSurf + (after.PSurf - before.PSurf) * weight
    density = air_density(temperature, humidity, pressure, parameters.air_height)
    air.temperature = temperature
    air.humidity = humidity
    air.wind = before.Wind + (after.Wind - before.Wind) * weight
    air.pressure = pressure
    air.shortwave = before.SWdown + (after.SWdown - before.SWdown) * weight
    air.longwave = before.LWdown + (after.LWdown - before.LWdown) * weight
    air.rain = after.Rainf
    air.snow = after.Snowf
    air.co2 = (before.CO2air + (after.CO2air - before.CO2air) * weight) / density
    air.density = density
    air.exner_surface = exner(pressure)
    air.exner_air = exner(pressure - density * parameters.air_height * GRAVITY)
    cos_hour = sun[2] * parameters.cos_longitude - sun[3] * parameters.sin_longitude
    air.cosine_zenith = parameters.sin_latitude * sun[0] + parameters.cos_latitude * (sun[1] * cos_hour)
