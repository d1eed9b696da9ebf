"""Freezing and thawing of soil water by the Gibbs free-energy method (Boone et al. 2000, Decharme et al. 2013;
SURFEX ice_soildif.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import (
    FREEZING_POINT,
    FREEZING_TIME_SCALE,
    FUSION_HEAT,
    GRAVITY,
    HEAT_CAPACITY_ICE,
    ICE_DENSITY,
    MINIMUM_WATER,
    WATER_DENSITY,
)
from ldas.landmodel.lanes import any_lane, exp, log, maximum, minimum, where

_LATENT = FUSION_HEAT * WATER_DENSITY  # J per m3 of water
_SENSIBLE = HEAT_CAPACITY_ICE * ICE_DENSITY
_TRACE_OF_ICE = 1.0e-6  # m3 m-3, melted at once


@science
def freeze_or_thaw(temperature, water, ice, capacity, soil, inverses, insulation, substep):
    """Temperature (K), liquid water and ice (m3 m-3) of a layer after a sub-step.
    Source: docs/science/soil_water.md, section 6.

    `soil`: porosity (m3 m-3), air-entry potential (m) and retention exponent; `inverses`: theirs, which are taken once.
    """
    porosity, entry, exponent = soil
    per_porosity, per_entry, per_exponent = inverses
    limit = minimum(entry, (FUSION_HEAT / GRAVITY) * (temperature - FREEZING_POINT) / temperature)
    most_liquid = porosity * exp(-per_exponent * log(limit * per_entry))
    potential = entry * exp(-exponent * log(water * per_porosity))
    departure = temperature - FUSION_HEAT * FREEZING_POINT / (FUSION_HEAT - GRAVITY * potential)
    cold = maximum(0.0, -departure)
    excess = maximum(0.0, water - most_liquid)
    buffered = (departure < 0.0) & (water >= most_liquid) & ((_SENSIBLE / _LATENT) * insulation * cold >= excess)
    apparent = where(
        buffered,
        -(FREEZING_POINT * WATER_DENSITY * FUSION_HEAT * FUSION_HEAT / GRAVITY)
        * most_liquid
        / (limit * exponent * temperature * temperature),
        0.0,
    )
    share = substep / FREEZING_TIME_SCALE
    melt = share * minimum(insulation * _SENSIBLE * maximum(0.0, departure), ice * _LATENT)
    freeze = share * minimum(insulation * _SENSIBLE * cold, excess * _LATENT)
    energy = freeze - melt
    volume = energy * (1.0 / _LATENT)
    return temperature + energy / (capacity + apparent), water - volume, ice + volume


@science
def soil_freezing(column, parameters, work, substep, sublimation):
    """Phase change of a sub-step in all moist layers, then sublimation (m s-1) from the ice of layer 1.

    Returns:
        The water (m s-1) that ice above the pore space pushes out at the bottom.
    """
    moist = parameters.moist_layers
    leaving = moist * 0.0
    pushed = leaving
    for layer in range(work.most_layers):
        inside = moist > layer
        thickness = work.thickness[layer]
        per_thickness = work.inverse_thickness[layer]
        temperature = column.soil_temperature[layer]
        water = column.soil_water[layer]
        ice = column.soil_ice[layer]
        active = inside & ((temperature < FREEZING_POINT) | (ice > 0.0))
        work.phase_change[layer] = 0
        if any_lane(active):
            work.phase_change[layer] = 1
            insulation = temperature * 0.0 + 1.0
            if layer == 0:
                insulation = work.freezing_insulation
            capacity = work.heat_capacity[layer]
            new_temperature, new_water, new_ice = freeze_or_thaw(
                temperature,
                maximum(water, MINIMUM_WATER),  # only layers below the column, which are not used, are drier
                ice,
                capacity,
                (
                    parameters.porosity[layer],
                    parameters.entry_potential[layer],
                    parameters.retention_exponent[layer],
                ),
                (
                    work.inverse_porosity[layer],
                    work.inverse_entry_potential[layer],
                    work.inverse_exponent[layer],
                ),
                insulation,
                substep,
            )
            temperature = where(active, new_temperature, temperature)
            water = where(active, new_water, water)
            ice = where(active, new_ice, ice)
        if layer == 0:
            ice = ice - sublimation * substep * per_thickness
            water = water + minimum(ice, 0.0)
            ice = maximum(ice, 0.0)
        # ice from above arrives after the phase change of all layers: it melts from the next sub-step on
        ice = ice + pushed * per_thickness
        pushed = leaving * 0.0
        if any_lane(ice > 0.0):
            limit = parameters.porosity[layer] - MINIMUM_WATER
            excess = where(inside, maximum(0.0, ice - limit), 0.0)
            ice = where(excess > 0.0, limit, ice)
            lowest = moist == layer + 1.0
            leaving = leaving + where(lowest, excess * thickness * (1.0 / substep), 0.0)
            pushed = where(lowest, 0.0, excess * thickness)
            trace = (ice > 0.0) & (ice < _TRACE_OF_ICE)
            temperature = where(trace, temperature - ice * _LATENT / work.heat_capacity[layer], temperature)
            water = where(trace, water + ice, water)
            ice = where(trace, 0.0, ice)
        column.soil_temperature[layer] = temperature
        column.soil_water[layer] = water
        column.soil_ice[layer] = ice
    return leaving
