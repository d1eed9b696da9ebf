"""Carbon fluxes of the ecosystem (SURFEX soil_respiration: Norman et al. 1992)."""

import math

from ldas.landmodel.compile import science
from ldas.landmodel.lanes import exp as exponential
from ldas.landmodel.lanes import maximum, minimum, where

_RESPIRATION_DEPTH = 0.1  # m
_MEAN_DEPTH = 1.0  # m


@science
def mean_temperature_first_metre(column, parameters, work):
    """Thickness-weighted soil temperature (K) over the first metre, at most down to the lowest moist layer."""
    moist = parameters.moist_layers
    total = moist * 0.0
    depth = total
    for layer in range(work.most_layers):
        bottom = parameters.layer_bottom[layer]
        part = where(moist > layer, maximum(0.0, minimum(_MEAN_DEPTH, bottom) - depth), 0.0)
        total = total + part * column.soil_temperature[layer]
        depth = depth + part
    return total / depth


@science
def carbon_fluxes(column, parameters, air, work, flux, options, mean_temperature):
    """Autotrophic and ecosystem respiration (kg CO2 m-2 s-1). Source: docs/science/vegetation.md, section 7."""
    density = air.density
    leaf = work.leaf_respiration * density
    water = work.emissivity * 0.0
    relative = water
    depth = water
    for layer in range(work.most_layers):
        bottom = parameters.layer_bottom[layer]
        part = maximum(0.0, minimum(_RESPIRATION_DEPTH, bottom) - depth)
        content = column.soil_water[layer]
        water = water + part * content
        relative = relative + part * minimum(1.0, content / parameters.field_capacity[layer])
        depth = depth + part
    warmth = exponential((0.1 * math.log(2.0)) * (mean_temperature - 298.16))
    flux.RESP_AUTO = leaf + work.active_respiration + work.passive_respiration
    if options.respiration_prm > 0:
        flux.RECO = parameters.soil_respiration_25 * (relative / depth) * warmth
    else:
        soil = 4.4e-8 * (13.5 + 5.4 * work.leaf_area_index) * (water / depth) * warmth
        # SURFEX puts out no respiration of ground without vegetation
        vegetated = parameters.vegetated > 0.5
        flux.RECO = where(vegetated, soil + leaf + work.active_respiration, 0.0)
