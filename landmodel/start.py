"""What follows from parameters and state before the first step."""

from ldas.landmodel.compile import science
from ldas.landmodel.constants import SOIL_LAYERS
from ldas.landmodel.lanes import fewest_and_most
from ldas.landmodel.soil_thermal import set_soil_constants
from ldas.landmodel.vegetation import set_surface_from_leaf_area


@science
def set_soil_grid(parameters, work):
    """Thickness and spacing of the soil layers."""
    top = parameters.moist_layers * 0.0
    for layer in range(SOIL_LAYERS):
        bottom = parameters.layer_bottom[layer]
        work.thickness[layer] = bottom - top
        work.inverse_thickness[layer] = 1.0 / work.thickness[layer]
        top = bottom
    for layer in range(SOIL_LAYERS - 1):
        spacing = 0.5 * (work.thickness[layer] + work.thickness[layer + 1])
        work.inverse_spacing[layer] = 1.0 / spacing


@science
def start_columns(column, parameters, work):
    """All that a step needs beside the soil grid."""
    work.fewest_layers, work.most_layers = fewest_and_most(parameters.moist_layers)
    set_soil_constants(parameters, work)
    set_surface_from_leaf_area(column, parameters, work)
