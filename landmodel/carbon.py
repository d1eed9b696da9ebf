"""Carbon fluxes of the ecosystem (SURFEX soil_respiration: Norman et al. 1992)."""

import math

from landmodel.compile import science
from landmodel.lanes import exp as exponential
from landmodel.lanes import get, maximum, minimum, put, where

_RESPIRATION_DEPTH = 0.1  # m
_MEAN_DEPTH = 1.0  # m


@science
def mean_temperature_first_metre(column, parameters, work):
    """Thickness-weighted soil temperature (K) over the first metre, at most down to the lowest moist layer."""
    moist = get(parameters.moist_layers)
    total = moist * 0.0
    depth = total
    for layer in range(work.most_layers):
        bottom = get(parameters.layer_bottom, layer)
        part = where(moist > layer, maximum(0.0, minimum(_MEAN_DEPTH, bottom) - depth), 0.0)
        total = total + part * get(column.soil_temperature, layer)
        depth = depth + part
    return total / depth


@science
def carbon_fluxes(column, parameters, air, work, flux, options, mean_temperature):
    """Autotrophic and ecosystem respiration (kg CO2 m-2 s-1). Source: isba.md 13.6."""
    density = get(air.density)
    leaf = get(work.leaf_respiration) * density
    water = get(work.emissivity) * 0.0
    relative = water
    depth = water
    for layer in range(work.most_layers):
        bottom = get(parameters.layer_bottom, layer)
        part = maximum(0.0, minimum(_RESPIRATION_DEPTH, bottom) - depth)
        content = get(column.soil_water, layer)
        water = water + part * content
        relative = relative + part * minimum(1.0, content / get(parameters.field_capacity, layer))
        depth = depth + part
    warmth = exponential((0.1 * math.log(2.0)) * (mean_temperature - 298.16))
    put(flux.RESP_AUTO, 0, leaf + get(work.active_respiration) + get(work.passive_respiration))
    if options.respiration_prm > 0:
        put(flux.RECO, 0, get(parameters.soil_respiration_25) * (relative / depth) * warmth)
    else:
        soil = 4.4e-8 * (13.5 + 5.4 * get(work.leaf_area_index)) * (water / depth) * warmth
        # SURFEX puts out no respiration of ground without vegetation
        vegetated = get(parameters.vegetated) > 0.5
        put(flux.RECO, 0, where(vegetated, soil + leaf + get(work.active_respiration), 0.0))
