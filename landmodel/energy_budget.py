"""Energy budget of the composite surface and heat diffusion in the soil (SURFEX e_budget.F90, soil_heatdif.F90,
isba_fluxes.F90), in sub-steps of about 300 s."""

from landmodel.compile import science
from landmodel.constants import (
    HEAT_CAPACITY_DRY_AIR,
    SOIL_LAYERS,
    STEFAN_BOLTZMANN,
    SUBLIMATION_HEAT,
    VAPORISATION_HEAT,
)
from landmodel.lanes import any_lane, get, put, where
from landmodel.surface_exchange import (
    closed_conductance,
    halstead,
    heat_conductance,
    limit_wet_fraction,
    open_conductance,
    richardson_number,
    surface_humidity,
    with_dew,
)
from landmodel.thermodynamics import saturation_humidity_and_slope


@science
def eliminate_soil(work, substep):
    """Upward elimination of the implicit heat diffusion: layer l is `slope` T(l-1) + intercept. The slopes depend on
    the start of the step alone; the surface row is the only one that changes between sub-steps."""
    below_slope = get(work.inertia_bare) * 0.0
    below = below_slope
    per_substep = 1.0 / substep
    for step in range(SOIL_LAYERS - 1):
        layer = SOIL_LAYERS - 1 - step
        storage = get(work.heat_capacity, layer) * get(work.thickness, layer) * per_substep
        above = get(work.conductance, layer - 1)
        inverse = 1.0 / (storage + above + below * (1.0 - below_slope))
        put(work.heat_storage, layer, storage)
        put(work.heat_inverse, layer, inverse)
        below_slope = above * inverse
        below = above
        put(work.heat_slope, layer, below_slope)


@science
def diffuse_heat(column, work, explicit, coupling):
    """New temperatures of all layers from the surface row T1 = explicit + coupling T2. Source: isba.md 10.3."""
    intercept = explicit * 0.0
    below = intercept
    for step in range(SOIL_LAYERS - 1):
        layer = SOIL_LAYERS - 1 - step
        right = get(work.heat_storage, layer) * get(column.soil_temperature, layer) + get(work.soil_heat_source, layer)
        intercept = (right + below * intercept) * get(work.heat_inverse, layer)
        below = get(work.conductance, layer - 1)
        put(work.heat_intercept, layer, intercept)
    temperature = (explicit + coupling * intercept) / (1.0 - coupling * get(work.heat_slope, 1))
    put(column.soil_temperature, 0, temperature)
    for layer in range(1, SOIL_LAYERS):
        temperature = get(work.heat_slope, layer) * temperature + get(work.heat_intercept, layer)
        put(column.soil_temperature, layer, temperature)


@science
def energy_substep(column, air, work, options, substep):
    """One sub-step: exchange, linearised implicit surface, soil, fluxes. Source: isba.md 9 and 10.

    Adds the fluxes of the snow-free surface (W m-2) to the sums in `work`.
    """
    density = get(air.density)
    humidity = get(air.humidity)
    fraction = get(work.vegetation_fraction)
    snow = get(work.snow_fraction)
    free = 1.0 - snow
    old = get(column.soil_temperature, 0)
    stomatal = get(work.stomatal_resistance)
    wet = get(work.wet_fraction)

    saturated, slope = saturation_humidity_and_slope(old, get(air.pressure))
    ratio = humidity / saturated
    liquid, liquid_switch = with_dew(get(work.ground_humidity_liquid), saturated, humidity, ratio)
    frozen, frozen_switch = with_dew(get(work.ground_humidity_frozen), saturated, humidity, ratio)
    ice_share = get(work.ground_ice_share)
    ground_humidity = (1.0 - ice_share) * liquid + ice_share * frozen
    evaporating = where(saturated >= humidity, 1.0, 0.0)
    foliage = halstead(
        wet,
        get(column.aerodynamic_resistance),
        stomatal,
        get(work.open_conductance),
        get(work.closed_conductance),
        evaporating,
    )
    surface = surface_humidity(fraction, ground_humidity, foliage, saturated, humidity)
    conductance = heat_conductance(richardson_number(old, surface, work), work)
    resistance = 1.0 / conductance
    open_leaves = open_conductance(resistance, stomatal)
    closed_leaves = closed_conductance(resistance, get(work.soil_moisture_stress))
    put(column.aerodynamic_resistance, 0, resistance)
    put(work.open_conductance, 0, open_leaves)
    put(work.closed_conductance, 0, closed_leaves)
    put(work.surface_humidity, 0, surface)
    foliage = halstead(wet, resistance, stomatal, open_leaves, closed_leaves, evaporating)
    transpiring = evaporating * (open_leaves - closed_leaves)
    limited, short = limit_wet_fraction(
        column, air, work, options, saturated - humidity, conductance, foliage, transpiring
    )
    if any_lane(short):
        wet = limited
        put(work.wet_fraction, 0, wet)
        foliage = where(short, halstead(wet, resistance, stomatal, open_leaves, closed_leaves, evaporating), foliage)
    put(work.halstead, 0, foliage)

    # vapour coefficients: latent heat times the share of each source, for the saturated and the air humidity
    frozen_share = get(work.frozen_fraction)
    green = fraction * (1.0 - get(work.snow_fraction_vegetation))
    ground = (1.0 - fraction) * (1.0 - get(work.snow_fraction_ground))
    ground_liquid = VAPORISATION_HEAT * ground * (1.0 - frozen_share) * liquid_switch
    ground_frozen = SUBLIMATION_HEAT * ground * frozen_share * frozen_switch
    leaves = VAPORISATION_HEAT * green * foliage
    vapour_air = leaves + ground_liquid + ground_frozen
    vapour_surface = leaves + ground_liquid * liquid + ground_frozen * frozen

    exchange = density * conductance
    composite = get(work.inertia_composite)
    radiative = get(work.emissivity) * STEFAN_BOLTZMANN * (old * old * old)
    absorbed = get(air.shortwave) * (1.0 - get(work.albedo)) + get(work.emissivity) * get(air.longwave)
    evaporation_slope = exchange * vapour_surface * slope
    sensible_slope = exchange * HEAT_CAPACITY_DRY_AIR
    sensible_air = sensible_slope * get(work.exner_temperature)
    per_substep = 1.0 / substep
    a = per_substep + composite * (
        free * (4.0 * radiative + sensible_slope * get(work.inverse_exner)) + evaporation_slope
    )
    b = per_substep + composite * (free * 3.0 * radiative + evaporation_slope)
    c = composite * (
        free * (sensible_air + absorbed)
        - exchange * (vapour_surface * saturated - vapour_air * humidity)
        + get(work.soil_heat_source, 0)
    )
    # SURFEX couples the soil with the inertia of bare ground (heat is then not conserved over vegetation)
    conduction = get(work.surface_coupling) * get(work.conductance, 0)
    inverse = 1.0 / (a + conduction)
    diffuse_heat(column, work, (old * b + c) * inverse, conduction * inverse)

    new = get(column.soil_temperature, 0)
    at_surface = saturated + slope * (new - old)
    net_radiation = absorbed - radiative * (4.0 * new - 3.0 * old)
    sensible = sensible_slope * new * get(work.inverse_exner) - sensible_air
    bare = (1.0 - fraction) * exchange
    evaporation_ground = (
        VAPORISATION_HEAT * bare * (liquid * at_surface - humidity) * (1.0 - frozen_share) * liquid_switch
    )
    sublimation_ground = SUBLIMATION_HEAT * bare * (frozen * at_surface - humidity) * frozen_share * frozen_switch
    evaporation_canopy = VAPORISATION_HEAT * fraction * foliage * exchange * (at_surface - humidity)
    transpiration = VAPORISATION_HEAT * fraction * density * (1.0 - wet) * transpiring * (at_surface - humidity)
    put(work.net_radiation, 0, get(work.net_radiation) + net_radiation)
    put(work.sensible_heat, 0, get(work.sensible_heat) + sensible)
    put(work.ground_evaporation, 0, get(work.ground_evaporation) + evaporation_ground)
    put(work.ground_sublimation, 0, get(work.ground_sublimation) + sublimation_ground)
    put(work.canopy_evaporation, 0, get(work.canopy_evaporation) + evaporation_canopy)
    put(work.transpiration, 0, get(work.transpiration) + transpiration)
    lost = get(work.conductance, 0) * (new - get(column.soil_temperature, 1))
    put(work.conduction, 0, get(work.conduction) + lost)


@science
def energy_budget(column, air, work, options):
    """All sub-steps of one ISBA step; the mean fluxes of the snow-free surface (W m-2) are left in `work`."""
    count = options.energy_substeps
    substep = options.step / count
    eliminate_soil(work, substep)
    zero = get(work.inertia_bare) * 0.0
    put(work.exner_temperature, 0, get(air.temperature) / get(air.exner_air))
    resistance = get(column.aerodynamic_resistance)
    put(work.open_conductance, 0, open_conductance(resistance, get(work.stomatal_resistance)))
    put(work.closed_conductance, 0, closed_conductance(resistance, get(work.soil_moisture_stress)))
    put(work.net_radiation, 0, zero)
    put(work.sensible_heat, 0, zero)
    put(work.ground_evaporation, 0, zero)
    put(work.ground_sublimation, 0, zero)
    put(work.canopy_evaporation, 0, zero)
    put(work.transpiration, 0, zero)
    put(work.conduction, 0, zero)
    for _ in range(count):
        energy_substep(column, air, work, options, substep)
    share = 1.0 / count
    put(work.net_radiation, 0, get(work.net_radiation) * share)
    put(work.sensible_heat, 0, get(work.sensible_heat) * share)
    put(work.ground_evaporation, 0, get(work.ground_evaporation) * share)
    put(work.ground_sublimation, 0, get(work.ground_sublimation) * share)
    put(work.canopy_evaporation, 0, get(work.canopy_evaporation) * share)
    put(work.transpiration, 0, get(work.transpiration) * share)
    put(work.conduction, 0, get(work.conduction) * share)
