"""Soil moisture stress of transpiration (SURFEX soilstress.F90)."""

from ldas.landmodel.compile import science
from ldas.landmodel.lanes import maximum, minimum


@science
def soil_moisture_stress(column, parameters, work):
    """F2 (1) and the share of every layer in it: root fraction times relative extractable liquid water. Ice does not
    change the limits. Source: docs/science/photosynthesis.md, section 1."""
    stress = parameters.moist_layers * 0.0
    for layer in range(work.most_layers):
        wilting = parameters.wilting_point[layer]
        available = (column.soil_water[layer] - wilting) / (parameters.field_capacity[layer] - wilting)
        weight = parameters.root_fraction[layer] * minimum(maximum(available, 0.0), 1.0)
        work.root_uptake_weight[layer] = weight
        stress = stress + weight
    work.soil_moisture_stress = stress
