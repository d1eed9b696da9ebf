"""Energy budget of the composite surface and heat diffusion in the soil (SURFEX e_budget.F90, soil_heatdif.F90,
isba_fluxes.F90), in sub-steps of about 300 s."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import (
    HEAT_CAPACITY_DRY_AIR,
    SOIL_LAYERS,
    STEFAN_BOLTZMANN,
    SUBLIMATION_HEAT,
    VAPORISATION_HEAT,
)
from ldas.landmodel.lanes import any_lane, where
from ldas.landmodel.surface_exchange import (
    closed_conductance,
    halstead,
    heat_conductance,
    limit_wet_fraction,
    open_conductance,
    richardson_number,
    surface_humidity,
    with_dew,
)
from ldas.landmodel.thermodynamics import saturation_humidity_and_slope


@science
def eliminate_soil(work, substep):
    """Upward elimination of the implicit heat diffusion: layer l is `slope` T(l-1) + intercept. The slopes depend on
    the start of the step alone; the surface row is the only one that changes between sub-steps."""
    below_slope = work.inertia_bare * 0.0
    below = below_slope
    per_substep = 1.0 / substep
    for step in range(SOIL_LAYERS - 1):
        layer = SOIL_LAYERS - 1 - step
        storage = work.heat_capacity[layer] * work.thickness[layer] * per_substep
        above = work.conductance[layer - 1]
        inverse = 1.0 / (storage + above + below * (1.0 - below_slope))
        work.heat_storage[layer] = storage
        work.heat_inverse[layer] = inverse
        below_slope = above * inverse
        below = above
        work.heat_slope[layer] = below_slope


@science
def diffuse_heat(column, work, explicit, coupling):
    """New temperatures of all layers from the surface row T1 = explicit + coupling T2.
    Source: docs/science/soil_heat.md, section 4."""
    intercept = explicit * 0.0
    below = intercept
    for step in range(SOIL_LAYERS - 1):
        layer = SOIL_LAYERS - 1 - step
        right = work.heat_storage[layer] * column.soil_temperature[layer] + work.soil_heat_source[layer]
        intercept = (right + below * intercept) * work.heat_inverse[layer]
        below = work.conductance[layer - 1]
        work.heat_intercept[layer] = intercept
    temperature = (explicit + coupling * intercept) / (1.0 - coupling * work.heat_slope[1])
    column.soil_temperature[0] = temperature
    for layer in range(1, SOIL_LAYERS):
        temperature = work.heat_slope[layer] * temperature + work.heat_intercept[layer]
        column.soil_temperature[layer] = temperature


@science
def energy_substep(column, air, work, options, substep):
    """One sub-step: exchange, linearised implicit surface, soil, fluxes.
    Source: docs/science/surface.md, sections 2 to 7.

    Adds the fluxes of the snow-free surface (W m-2) to the sums in `work`.
    """
    density = air.density
    humidity = air.humidity
    fraction = work.vegetation_fraction
    snow = work.snow_fraction
    free = 1.0 - snow
    old = column.soil_temperature[0]
    stomatal = work.stomatal_resistance
    wet = work.wet_fraction

    saturated, slope = saturation_humidity_and_slope(old, air.pressure)
    ratio = humidity / saturated
    liquid, liquid_switch = with_dew(work.ground_humidity_liquid, saturated, humidity, ratio)
    frozen, frozen_switch = with_dew(work.ground_humidity_frozen, saturated, humidity, ratio)
    ice_share = work.ground_ice_share
    ground_humidity = (1.0 - ice_share) * liquid + ice_share * frozen
    evaporating = where(saturated >= humidity, 1.0, 0.0)
    foliage = halstead(
        wet,
        column.aerodynamic_resistance,
        stomatal,
        work.open_conductance,
        work.closed_conductance,
        evaporating,
    )
    surface = surface_humidity(fraction, ground_humidity, foliage, saturated, humidity)
    conductance = heat_conductance(richardson_number(old, surface, work), work)
    resistance = 1.0 / conductance
    open_leaves = open_conductance(resistance, stomatal)
    closed_leaves = closed_conductance(resistance, work.soil_moisture_stress)
    column.aerodynamic_resistance = resistance
    work.open_conductance = open_leaves
    work.closed_conductance = closed_leaves
    work.surface_humidity = surface
    foliage = halstead(wet, resistance, stomatal, open_leaves, closed_leaves, evaporating)
    transpiring = evaporating * (open_leaves - closed_leaves)
    limited, short = limit_wet_fraction(
        column, air, work, options, saturated - humidity, conductance, foliage, transpiring
    )
    if any_lane(short):
        wet = limited
        work.wet_fraction = wet
        foliage = where(short, halstead(wet, resistance, stomatal, open_leaves, closed_leaves, evaporating), foliage)
    work.halstead = foliage

    # vapour coefficients: latent heat times the share of each source, for the saturated and the air humidity
    frozen_share = work.frozen_fraction
    green = fraction * (1.0 - work.snow_fraction_vegetation)
    ground = (1.0 - fraction) * (1.0 - work.snow_fraction_ground)
    ground_liquid = VAPORISATION_HEAT * ground * (1.0 - frozen_share) * liquid_switch
    ground_frozen = SUBLIMATION_HEAT * ground * frozen_share * frozen_switch
    leaves = VAPORISATION_HEAT * green * foliage
    vapour_air = leaves + ground_liquid + ground_frozen
    vapour_surface = leaves + ground_liquid * liquid + ground_frozen * frozen

    exchange = density * conductance
    composite = work.inertia_composite
    radiative = work.emissivity * STEFAN_BOLTZMANN * (old * old * old)
    absorbed = air.shortwave * (1.0 - work.albedo) + work.emissivity * air.longwave
    evaporation_slope = exchange * vapour_surface * slope
    sensible_slope = exchange * HEAT_CAPACITY_DRY_AIR
    sensible_air = sensible_slope * work.exner_temperature
    per_substep = 1.0 / substep
    a = per_substep + composite * (free * (4.0 * radiative + sensible_slope * work.inverse_exner) + evaporation_slope)
    b = per_substep + composite * (free * 3.0 * radiative + evaporation_slope)
    c = composite * (
        free * (sensible_air + absorbed)
        - exchange * (vapour_surface * saturated - vapour_air * humidity)
        + work.soil_heat_source[0]
    )
    # SURFEX couples the soil with the inertia of bare ground (heat is then not conserved over vegetation)
    conduction = work.surface_coupling * work.conductance[0]
    inverse = 1.0 / (a + conduction)
    diffuse_heat(column, work, (old * b + c) * inverse, conduction * inverse)

    new = column.soil_temperature[0]
    at_surface = saturated + slope * (new - old)
    net_radiation = absorbed - radiative * (4.0 * new - 3.0 * old)
    sensible = sensible_slope * new * work.inverse_exner - sensible_air
    bare = (1.0 - fraction) * exchange
    evaporation_ground = (
        VAPORISATION_HEAT * bare * (liquid * at_surface - humidity) * (1.0 - frozen_share) * liquid_switch
    )
    sublimation_ground = SUBLIMATION_HEAT * bare * (frozen * at_surface - humidity) * frozen_share * frozen_switch
    evaporation_canopy = VAPORISATION_HEAT * fraction * foliage * exchange * (at_surface - humidity)
    transpiration = VAPORISATION_HEAT * fraction * density * (1.0 - wet) * transpiring * (at_surface - humidity)
    work.net_radiation += net_radiation
    work.sensible_heat += sensible
    work.ground_evaporation += evaporation_ground
    work.ground_sublimation += sublimation_ground
    work.canopy_evaporation += evaporation_canopy
    work.transpiration += transpiration
    lost = work.conductance[0] * (new - column.soil_temperature[1])
    work.conduction += lost


@science
def energy_budget(column, air, work, options):
    """All sub-steps of one ISBA step; the mean fluxes of the snow-free surface (W m-2) are left in `work`."""
    count = options.energy_substeps
    substep = options.step / count
    eliminate_soil(work, substep)
    zero = work.inertia_bare * 0.0
    work.exner_temperature = air.temperature / air.exner_air
    resistance = column.aerodynamic_resistance
    work.open_conductance = open_conductance(resistance, work.stomatal_resistance)
    work.closed_conductance = closed_conductance(resistance, work.soil_moisture_stress)
    work.net_radiation = zero
    work.sensible_heat = zero
    work.ground_evaporation = zero
    work.ground_sublimation = zero
    work.canopy_evaporation = zero
    work.transpiration = zero
    work.conduction = zero
    for _ in range(count):
        energy_substep(column, air, work, options, substep)
    share = 1.0 / count
    work.net_radiation *= share
    work.sensible_heat *= share
    work.ground_evaporation *= share
    work.ground_sublimation *= share
    work.canopy_evaporation *= share
    work.transpiration *= share
    work.conduction *= share
