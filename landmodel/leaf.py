"""The leaf of the A-gs model: net assimilation and stomatal conductance of one canopy level (SURFEX cotwo.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.lanes import exp, maximum, minimum, where

_AIR_TO_WATER = 1.606  # ratio of the molar masses of air and water
_WATER_TO_CO2 = 1.6  # ratio of the diffusivities of vapour and CO2
_DARK_RESPIRATION = 1.0 / 9.0
_MINIMUM_CONDUCTANCE = 1.0e-5  # m s-1


@science
def leaf(light, co2, deficit, mesophyll, cuticular, capacity, compensation, efficiency, ratio_limit, deficit_limit,
         open_stomata, respiration_factor):  # fmt: skip
    """Net assimilation An, conductance to vapour gs and dark respiration Rd of a leaf.

    Absorbed PAR (W m-2), CO2 and compensation point (kg kg-1), deficit and its limit Dmax (kg kg-1), conductances
    (m s-1), capacity Am (kg kg-1 m s-1), quantum efficiency (kg kg-1 m s-1 per W m-2).
    Source: docs/science/photosynthesis.md, section 4.
    """
    # the 1e-12 guard a leaf without any conductance, as in the source
    total = maximum(cuticular + mesophyll, 1.0e-12)
    ratio_minimum = maximum(minimum(cuticular / total, ratio_limit), 1.0e-12)
    dryness = where(deficit_limit > 0.0, minimum(1.0, deficit / deficit_limit), 1.0)
    ratio = ratio_limit * (1.0 - dryness) + ratio_minimum * dryness
    surface = maximum(co2, compensation + 1.0e-6)
    internal = surface * ratio + (1.0 - ratio) * compensation
    internal_minimum = (cuticular * surface + mesophyll * compensation) / total
    residual = mesophyll * (internal_minimum - compensation)
    saturated = maximum(capacity * (1.0 - exp(-mesophyll * (internal - compensation) / capacity)), residual)
    active = saturated > 0.0
    respiration = saturated * _DARK_RESPIRATION * respiration_factor
    gross = saturated + respiration
    yield_ = efficiency * (internal - compensation) / (internal + 2.0 * compensation)
    # a leaf without capacity divides by 1 instead of 0 and its result is replaced
    divisor = where(active, gross, 1.0)
    net = where(active, gross * (1.0 - exp(-yield_ * light / divisor)) - respiration, 0.0)
    net = maximum(net, -respiration)
    activity = where(active, (net + respiration) / divisor, 0.0)
    through_stomata = net - residual * dryness * activity + respiration * (1.0 - activity)
    gradient = surface - internal
    conductance = maximum(_MINIMUM_CONDUCTANCE, through_stomata / gradient)
    feedback = _AIR_TO_WATER * (_WATER_TO_CO2 * deficit) * (surface + internal) / (2.0 * gradient)
    first = conductance
    second = conductance + feedback * first
    third = conductance + feedback * second
    return net, (_WATER_TO_CO2 * third + cuticular) * open_stomata, respiration
