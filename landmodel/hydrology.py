"""Water at and below the surface over one ISBA step: interception, runoff, soil water and ice (SURFEX hydro.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import SUBLIMATION_HEAT, VAPORISATION_HEAT, WATER_DENSITY
from ldas.landmodel.interception import intercept_rain
from ldas.landmodel.lanes import maximum, minimum, where
from ldas.landmodel.runoff import surface_runoff
from ldas.landmodel.soil_freezing import soil_freezing
from ldas.landmodel.soil_water import set_vapour_transfer, soil_water_substep, vapour_pressures


@science
def hydrology(column, parameters, air, work, flux, options):
    """Interception, runoff and the sub-steps of soil water and ice; fluxes to `flux` (kg m-2 s-1).

    Source: docs/science/soil_water.md, section 1; evaporation terms already weighted by the snow-free shares.
    """
    rain = work.rain_on_ground
    work.wet_canopy_loss = (work.canopy_evaporation - work.transpiration) / VAPORISATION_HEAT
    reaching = intercept_rain(column, work, flux, options, rain)
    melt = work.throughfall
    infiltration = surface_runoff(column, parameters, work, flux, options, reaching, melt) / WATER_DENSITY

    evaporation = work.ground_evaporation / (WATER_DENSITY * VAPORISATION_HEAT)
    sublimation = work.ground_sublimation / (WATER_DENSITY * SUBLIMATION_HEAT)
    stress = work.soil_moisture_stress
    # without any extractable water nothing transpires: the floor keeps the shares defined
    per_stress = 1.0 / maximum(stress, 1.0e-12)
    transpiration = work.transpiration / (WATER_DENSITY * VAPORISATION_HEAT)
    for layer in range(work.most_layers):
        work.uptake_share[layer] = work.root_uptake_weight[layer] * per_stress
    correction = work.evaporation_correction / WATER_DENSITY
    vegetated = parameters.vegetated > 0.5
    insulation = (1.0 - 0.2 * work.vegetation_fraction) * minimum(maximum(1.0 - work.leaf_area_index / 30.0, 0.0), 1.0)
    work.freezing_insulation = where(vegetated, insulation, 1.0)

    count = options.water_substeps
    substep = options.step / count
    vapour_pressures(column, air, work)
    drainage = infiltration * 0.0
    overflow = drainage
    for number in range(count):
        drained, excess = soil_water_substep(
            column, parameters, air, work, substep, infiltration, evaporation, transpiration, correction
        )
        pushed = soil_freezing(column, parameters, work, substep, sublimation)
        drainage = drainage + drained + pushed
        overflow = overflow + excess
        if number + 1 < count:
            for layer in range(work.most_layers):
                if work.phase_change[layer] > 0:  # its temperature has moved, and the vapour transfer with it
                    set_vapour_transfer(column, work, layer)
    flux.DRAINAGE = drainage * (WATER_DENSITY / count)
    flux.OVERFLOW = overflow * (WATER_DENSITY / count)
    flux.RUNOFF += overflow * (WATER_DENSITY / count)
    flux.HORTON += overflow * (WATER_DENSITY / count)
