"""Parameters that can be given instead of the tables' values, by SURFEX name: what each sets, and its range."""

from ldas.landmodel.checks import DEPTH_RANGES, PARAMETER_RANGES, Range

SCALAR_OVERRIDES = {
    "GMES": "mesophyll_conductance",
    "GC": "cuticular_conductance",
    "DMAX": "maximum_deficit",
    "F2I": "critical_stress",
    "LSTRESS": "defensive",
    "AMAX": "assimilation_capacity",
    "FZERO": "ci_ratio",
    "EPSO": "quantum_efficiency",
    "GAMM": "compensation_point",
    "LAIMIN": "minimum_lai",
    "BSLAI_NITRO": "leaf_biomass_ratio",
    "ANMAX": "optimal_assimilation",
    "VEG": "vegetation_cover",
    "CV": "vegetation_inertia_coefficient",
    "WRMAX_CF": "interception_coefficient",
    "ALBNIR_VEG": "albedo_vegetation_near_infrared",
    "ALBVIS_VEG": "albedo_vegetation_visible",
    "ALBNIR_SOIL": "albedo_soil_near_infrared",
    "ALBVIS_SOIL": "albedo_soil_visible",
    "RE25": "soil_respiration_25",
    "RUNOFFD": "runoff_depth",
}
SOIL_OVERRIDES = {
    "WSAT": "porosity",
    "WWILT": "wilting_point",
    "WFC": "field_capacity",
    "BCOEF": "retention_exponent",
    "MPOTSAT": "entry_potential",
    "CONDSAT": "hydraulic_conductivity",
    "CONDDRY": "dry_conductivity",
    "CONDSLD": "solid_conductivity",
}
TABLE_OVERRIDES = ("DG2", "DROOT", "H_TREE", "CE_NITRO", "CF_NITRO", "CNA_NITRO", "SEFOLD")
OVERRIDES = (*SCALAR_OVERRIDES, *SOIL_OVERRIDES, *TABLE_OVERRIDES)
"""SURFEX names that can be given instead of the tables' values. SEFOLD is in seconds, as in SURFEX."""


def override_range(name: str) -> Range | None:
    """Physical range of a parameter that can be given; None for one that has none of its own (CE_NITRO, CF_NITRO,
    CNA_NITRO: the leaf biomass that they make has one)."""
    targets = {**SCALAR_OVERRIDES, **SOIL_OVERRIDES, "SEFOLD": "senescence_time", "H_TREE": "plant_height"}
    return DEPTH_RANGES.get(name) or PARAMETER_RANGES.get(targets.get(name, ""))
