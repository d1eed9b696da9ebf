"""Settling of snow under its weight and by wind (Brun et al. 1989, 1997; Decharme et al. 2016; SURFEX snow3lcompactn,
snow3ldrift)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import FREEZING_POINT, GRAVITY
from ldas.landmodel.lanes import any_lane, exp, maximum, minimum, where
from ldas.landmodel.snow_layers import MAXIMUM_DENSITY, MINIMUM_DENSITY, layer_heat, liquid_capacity

_VISCOSITY = 7.62237e6
_DRIFT_DENSITY = 350.0  # wind packs no denser snow
_DRIFT_TIME = 48.0 * 3600.0 * 1.25  # s
_FOREST_SHELTER = 0.85


@science
def settle(work, options):
    """Compaction by the weight of the snow above. Source: docs/science/snow.md, section 6."""
    above = work.snow_thickness[0] * 0.0
    for layer in range(options.snow_layers):
        density = work.snow_density[layer]
        thickness = work.snow_thickness[layer]
        mass = density * thickness
        burden = above
        if layer == 0:
            burden = 0.5 * mass
        above = above + mass
        # a layer without thickness holds no water: the floor keeps the ratio defined
        wetness = minimum(1.0, work.snow_liquid[layer] / maximum(1.0e-10, liquid_capacity(density, thickness)))
        cold = minimum(5.0, FREEZING_POINT - work.snow_temperature[layer])
        # viscosity (Pa s): eta0 / (1 + 10 wetness) exp(0.023 density + 0.1 cold) density / 250
        stiffness = exp(0.023 * density + 0.1 * cold) * density
        inverse_viscosity = (1.0 + 10.0 * wetness) * (250.0 / _VISCOSITY) / stiffness
        settled = density + density * (options.step * GRAVITY) * burden * inverse_viscosity
        settled = where(density < MAXIMUM_DENSITY, settled, density)
        work.snow_density[layer] = settled
        work.snow_thickness[layer] = thickness * density / settled


@science
def drift(parameters, air, work, options):
    """Compaction by wind, from the top down to the first layer that it cannot move.
    Source: docs/science/snow.md, section 6."""
    wind = 1.25 * (1.0 - _FOREST_SHELTER * parameters.forest_fraction) * air.wind
    threshold = 2.868 * exp(-0.085 * wind) - 1.0
    cover = wind * 0.0
    moving = wind >= 0.0
    for layer in range(options.snow_layers):
        density = work.snow_density[layer]
        thickness = work.snow_thickness[layer]
        mobility = 1.25 - (1.25e-3 / 0.295) * (maximum(density, MINIMUM_DENSITY) - MINIMUM_DENSITY)
        index = mobility - threshold
        moving = moving & (index > 0.0)
        cover = cover + 0.05 * thickness * (3.25 - index)
        if any_lane(moving):
            rate = maximum(0.0, index * exp(-100.0 * cover))
            packed = minimum(_DRIFT_DENSITY, density + (_DRIFT_DENSITY - density) * rate * (options.step / _DRIFT_TIME))
            packed = where(moving & (density < _DRIFT_DENSITY), packed, density)
            thickness = thickness * density / packed
            work.snow_density[layer] = packed
            work.snow_thickness[layer] = thickness
        cover = cover + 0.05 * thickness * (3.25 - index)


@science
def compact_snow(parameters, air, work, options):
    """Both ways of compaction at constant temperature and liquid water."""
    settle(work, options)
    drift(parameters, air, work, options)
    for layer in range(options.snow_layers):
        work.snow_heat[layer] = layer_heat(
            work.snow_temperature[layer],
            work.snow_liquid[layer],
            work.snow_density[layer],
            work.snow_thickness[layer],
        )
