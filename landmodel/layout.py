"""Where every quantity lies in memory: fields of state, parameters, fluxes and scratch space, with their rows.

Outside the kernel an array has the column first. Inside it a block of `WIDTH` columns lies in records whose fields are
(row, lane) or (lane,): the same numbers in the same order, transposed.
"""

import numpy as np

from landmodel.constants import SOIL_LAYERS
from landmodel.lanes import WIDTH

SNOW_LAYERS = 12  # room for the larger of the two grids

STATE_FIELDS: dict[str, int] = {
    "soil_temperature": SOIL_LAYERS,
    "soil_water": SOIL_LAYERS,
    "soil_ice": SOIL_LAYERS,
    "intercepted_water": 0,
    "snow_water_equivalent": SNOW_LAYERS,
    "snow_density": SNOW_LAYERS,
    "snow_heat": SNOW_LAYERS,
    "snow_age": SNOW_LAYERS,
    "snow_albedo": 0,
    "leaf_area_index": 0,
    "biomass": 3,
    "respired_biomass": 2,
    "daily_net_assimilation": 0,
    "maximum_leaf_assimilation": 0,
    "net_assimilation": 0,
    "latent_heat_flux": 0,
    "aerodynamic_resistance": 0,
}
"""Name and number of rows (0: one value a column) of the prognostic state."""

SOIL_PARAMETERS = (
    "porosity",
    "wilting_point",
    "field_capacity",
    "retention_exponent",
    "entry_potential",
    "hydraulic_conductivity",
    "dry_conductivity",
    "solid_conductivity",
)
LAYER_PARAMETERS = ("layer_bottom", "root_fraction", "runoff_weight", *SOIL_PARAMETERS)
COLUMN_PARAMETERS = (
    "moist_layers",
    "runoff_depth",
    "sin_latitude",
    "cos_latitude",
    "sin_longitude",
    "cos_longitude",
    "air_height",
    "wind_height",
    "cell_size",
    "vegetated",
    "woody",
    "tropical",
    "forest_fraction",
    "defensive",
    "mesophyll_conductance",
    "cuticular_conductance",
    "maximum_deficit",
    "critical_stress",
    "assimilation_capacity",
    "ci_ratio",
    "quantum_efficiency",
    "compensation_point",
    "mesophyll_low",
    "mesophyll_high",
    "capacity_low",
    "capacity_high",
    "herb_intercept",
    "herb_slope",
    "minimum_lai",
    "senescence_time",
    "leaf_biomass_ratio",
    "optimal_assimilation",
    "shadow_lai",
    "vegetation_cover",
    "height_law",
    "plant_height",
    "vegetation_inertia_coefficient",
    "interception_coefficient",
    "albedo_vegetation_near_infrared",
    "albedo_vegetation_visible",
    "albedo_soil_near_infrared",
    "albedo_soil_visible",
    "soil_respiration_25",
    "shading_leaf_area",
    "clumping_upper",
    "clumping_lower",
)

FLUXES: dict[str, str] = {
    "RN": "W m-2",
    "H": "W m-2",
    "LE": "W m-2",
    "LEG": "W m-2",
    "LEGI": "W m-2",
    "LEI": "W m-2",
    "LEV": "W m-2",
    "LETR": "W m-2",
    "LER": "W m-2",
    "LES": "W m-2",
    "GFLUX": "W m-2",
    "SWUP": "W m-2",
    "LWUP": "W m-2",
    "EVAP": "kg m-2 s-1",
    "DRAINAGE": "kg m-2 s-1",
    "RUNOFF": "kg m-2 s-1",
    "HORTON": "kg m-2 s-1",
    "OVERFLOW": "kg m-2 s-1",
    "DRIP": "kg m-2 s-1",
    "SNOWMELT": "kg m-2 s-1",
    "GPP": "kg m-2 s-1",
    "RESP_AUTO": "kg m-2 s-1",
    "RECO": "kg m-2 s-1",
    "LITTER": "kg m-2 s-1",
    "BIOMASS_CLIP": "kg m-2 s-1",
    "SWE": "kg m-2",
    "SNOW_DEPTH": "m",
    "ALBEDO": "1",
    "TS": "K",
    "TSRAD": "K",
    "PSN": "1",
    "PSNG": "1",
    "PSNV": "1",
    "Z0EFF": "m",
    "Z0H": "m",
    "HALSTEAD": "1",
    "RS": "s m-1",
    "F2": "1",
    "GFLUX_IMBALANCE": "W m-2",
    "SURFACE_STORAGE": "W m-2",
    "SNOW_TO_SOIL": "W m-2",
    "RI": "1",
    "CH": "1",
    "CD": "1",
}
"""Name and unit of what a step computes beside the state."""

SURFACE = ("vegetation_fraction", "vegetation_roughness", "emissivity", "albedo")
"""What follows from the LAI; the first rows of the scratch space, so that it can be put out like a flux."""

_SCRATCH = (
    "leaf_area_index",
    "active_respiration",
    "passive_respiration",
    "leaf_respiration",
    "canopy_evaporation",
    "conduction",
    "diffused_temperature",
    "start_temperature",
    "evaporation_correction",
    "exchange_heat_factor",
    "exchange_neutral",
    "exchange_unstable",
    "exchange_wind",
    "exchange_inverse_cubed_wind",
    "exchange_richardson_factor",
    "exner_temperature",
    "inverse_exner",
    "virtual_air",
    "open_conductance",
    "closed_conductance",
    "ground_ice_share",
    "freezing_insulation",
    "frozen_fraction",
    "ground_evaporation",
    "ground_humidity_frozen",
    "ground_humidity_liquid",
    "ground_sublimation",
    "halstead",
    "inertia_bare",
    "inertia_composite",
    "interception_capacity",
    "net_radiation",
    "rain_on_ground",
    "raining_fraction",
    "roughness",
    "roughness_heat",
    "sensible_heat",
    "snow_albedo",
    "snow_depth",
    "snow_fraction",
    "snow_fraction_ground",
    "snow_fraction_vegetation",
    "snow_ground_flux",
    "snow_ground_flux_limited",
    "snow_latent_heat",
    "snow_mass",
    "snow_net_radiation",
    "snow_new_albedo",
    "snow_sensible_heat",
    "snow_surface_flux",
    "snow_surface_temperature",
    "soil_moisture_stress",
    "stomatal_resistance",
    "surface_coupling",
    "surface_humidity",
    "throughfall",
    "transpiration",
    "wet_canopy_loss",
    "wet_fraction",
)
_SOIL_SCRATCH = (
    "thickness",
    "conductance",
    "conductivity",
    "eliminated_right",
    "eliminated_upper",
    "free_porosity",
    "heat_capacity",
    "heat_intercept",
    "heat_inverse",
    "heat_slope",
    "heat_storage",
    "heat_weight",
    "hydraulic_conductivity",
    "impedance",
    "log_solid_conductivity",
    "potential",
    "root_uptake_weight",
    "saturated_conductivity",
    "soil_heat_source",
    "uptake_share",
    "vapour_conductivity",
    "vapour_transfer",
    "inverse_vapour_energy",
    "inverse_porosity",
    "inverse_exponent",
    "inverse_entry_potential",
    "inverse_thickness",
    "inverse_spacing",
    "inverse_air_space",
    "inverse_free_porosity",
    "vapour_over_ice",
    "vapour_over_water",
    "water_source",
)
_SNOW_SCRATCH = (
    "snow_age",
    "snow_conductance",
    "snow_density",
    "snow_heat",
    "snow_hold",
    "snow_intercept",
    "snow_inverse_thickness",
    "snow_liquid",
    "snow_new_age",
    "snow_new_heat",
    "snow_new_mass",
    "snow_old_top",
    "snow_slope",
    "snow_solved",
    "snow_storage",
    "snow_sunlight",
    "snow_surplus",
    "snow_target",
    "snow_temperature",
    "snow_thickness",
)
FORCING = ("Tair", "Qair", "Wind", "PSurf", "SWdown", "LWdown", "Rainf", "Snowf", "CO2air")
"""ALMA names of a record of the forcing, in its order."""

_AIR = (
    "temperature",
    "humidity",
    "wind",
    "pressure",
    "shortwave",
    "longwave",
    "rain",
    "snow",
    "co2",
    "density",
    "exner_air",
    "exner_surface",
    "cosine_zenith",
)


def _lanes(rows: dict[str, int]) -> list[tuple]:
    return [(name, np.float64, (count, WIDTH) if count else (WIDTH,)) for name, count in rows.items()]


PARAMETER_ROWS = dict.fromkeys(LAYER_PARAMETERS, SOIL_LAYERS) | dict.fromkeys(COLUMN_PARAMETERS, 0)
STATE_DTYPE = np.dtype(_lanes(STATE_FIELDS))
PARAMETER_DTYPE = np.dtype(_lanes(PARAMETER_ROWS))
FLUX_DTYPE = np.dtype(_lanes(dict.fromkeys(FLUXES, 0)))
FORCING_DTYPE = np.dtype(_lanes(dict.fromkeys(FORCING, 0)))
AIR_DTYPE = np.dtype(_lanes(dict.fromkeys(_AIR, 0)))
WORK_DTYPE = np.dtype(
    [
        *_lanes(dict.fromkeys((*SURFACE, *_SCRATCH), 0)),
        *_lanes(dict.fromkeys(_SOIL_SCRATCH, SOIL_LAYERS) | dict.fromkeys(_SNOW_SCRATCH, SNOW_LAYERS)),
        ("phase_change", np.int64, (SOIL_LAYERS,)),
        ("most_layers", np.int64),
        ("fewest_layers", np.int64),
    ]
)
OPTION_DTYPE = np.dtype(
    [
        ("step", np.float64),
        ("energy_substeps", np.int64),
        ("water_substeps", np.int64),
        ("snow_layers", np.int64),
        ("light_carrer", np.int64),
        ("runoff_saturation", np.int64),
        ("runoff_horton", np.int64),
        ("drip_subgrid", np.int64),
        ("respiration_prm", np.int64),
        ("conserve_heat", np.int64),
        ("diagnose_exchange", np.int64),
    ]
)


def rows_of(fields: dict[str, int]) -> dict[str, range]:
    """Rows of every field in the flat form of a record."""
    rows: dict[str, range] = {}
    start = 0
    for name, count in fields.items():
        rows[name] = range(start, start + max(count, 1))
        start += max(count, 1)
    return rows


STATE_ROWS = rows_of(STATE_FIELDS)
STATE_SIZE = sum(max(count, 1) for count in STATE_FIELDS.values())
PARAMETER_SIZE = sum(max(count, 1) for count in PARAMETER_ROWS.values())
FLUX_SIZE = len(FLUXES)
