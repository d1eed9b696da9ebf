"""The one table of quantities: everything that lies in the memory of a column, with its unit and meaning.

What memory the kernel has (`layout.py`), the state, its ranges, the names of outputs, the axes of restarts and the site
file follow from it. `set_by` names the functions that assign a quantity of the scratch space, in the order of the step.
"""
# fmt: off

from typing import NamedTuple

import numpy as np

SOIL, SNOW = 14, 12  # rows of a quantity of soil layers, and of snow layers (the larger of the two grids)


class Quantity(NamedTuple):
    """One quantity of a column (a patch of a cell).

    `rows`: number of layers or pools, 0 for one value; `surfex`: its name in outputs, restarts of SURFEX and files;
    `low`, `high`: what the model accepts, both included; `below`, `above`: the likely mistake behind a value outside;
    `axis`: name of the rows in the store.
    """

    name: str
    unit: str
    meaning: str
    rows: int = 0
    surfex: str = ""
    low: float = -np.inf
    high: float = np.inf
    below: str = ""
    above: str = ""
    axis: str = ""
    set_by: str = ""


Q = Quantity
_CELSIUS = "is it in deg C? 0 deg C is 273.15 K"

STATE = (
    Q("soil_temperature", "K", "soil temperature; the first layer is the composite surface", SOIL, "TG", 150.0, 380.0, _CELSIUS, axis="layer"),
    Q("soil_water", "m3 m-3", "liquid water; 0 below the moist layers", SOIL, "WG", 0.0, 1.0, above="is it in percent?", axis="layer"),
    Q("soil_ice", "m3 m-3", "ice as liquid-water equivalent; 0 below the moist layers", SOIL, "WGI", 0.0, 1.0, axis="layer"),
    Q("intercepted_water", "kg m-2", "water on the leaves", 0, "WR", 0.0, 100.0),
    Q("snow_water_equivalent", "kg m-2", "mass of a snow layer; 0 without snow", SNOW, "SNOW_SWE", 0.0, 1.0e5, axis="snow_layer"),
    Q("snow_density", "kg m-3", "density of a snow layer; 50 without snow", SNOW, "SNOW_RHO", 1.0, 1000.0, "an empty layer has 50", axis="snow_layer"),
    Q("snow_heat", "J m-3", "heat content of a snow layer relative to liquid water at 273.16 K", SNOW, "SNOW_HEAT", -1.0e9, 1.0e8, axis="snow_layer"),
    Q("snow_age", "days", "age of a snow layer", SNOW, "SNOW_AGE", 0.0, 1.0e5, axis="snow_layer"),
    Q("snow_albedo", "1", "albedo of the snow; 0 without snow", 0, "SNOW_ALBEDO", 0.0, 1.0),
    Q("leaf_area_index", "m2 m-2", "leaf area index; 0 of bare ground", 0, "LAI", 0.0, 20.0),
    Q("biomass", "kg m-2", "leaf, active and passive structural biomass (dry matter)", 3, "BIOMASS", -10.0, 1.0e3, axis="pool"),
    Q("respired_biomass", "kg m-2", "dry matter that the two structural pools respired since the last daily update", 2, "RESP_BIOMASS", -10.0, 1.0e3, axis="respired_pool"),
    Q("daily_net_assimilation", "kg m-2", "net assimilation (CO2) since the last daily update", 0, "ANDAY", -10.0, 10.0),
    Q("maximum_leaf_assimilation", "kg kg-1 m s-1", "largest net assimilation of a leaf since the last daily update", 0, "ANFM", -1.0, 1.0),
    Q("net_assimilation", "kg kg-1 m s-1", "net assimilation of the canopy in the last step", 0, "AN", -1.0, 1.0),
    Q("latent_heat_flux", "W m-2", "latent heat flux of the last step", 0, "LE", -1.0e5, 1.0e5),
    Q("aerodynamic_resistance", "s m-1", "aerodynamic resistance of the last sub-step", 0, "RESA", 1.0e-4, 1.0e7),
)
"""The prognostic state: all that a run needs to resume bit for bit."""

LAYER_PARAMETERS = (
    Q("layer_bottom", "m", "depth of the bottom of a layer", SOIL),
    Q("root_fraction", "1", "share of the roots in a layer", SOIL),
    Q("runoff_weight", "m", "thickness of a layer within the depth of the saturation runoff", SOIL),
    Q("porosity", "m3 m-3", "pore space", SOIL, "WSAT", 0.05, 0.95),
    Q("wilting_point", "m3 m-3", "water at the wilting point", SOIL, "WWILT", 0.0, 0.95),
    Q("field_capacity", "m3 m-3", "water at field capacity", SOIL, "WFC"),
    Q("retention_exponent", "1", "exponent b of the retention curve", SOIL, "BCOEF", 1.0, 30.0),
    Q("entry_potential", "m", "matric potential of saturated soil (air entry)", SOIL, "MPOTSAT", -100.0, -1.0e-6),
    Q("hydraulic_conductivity", "m s-1", "hydraulic conductivity of saturated soil", SOIL, "CONDSAT", 1.0e-12, 1.0e-1),
    Q("dry_conductivity", "W m-1 K-1", "thermal conductivity of dry soil", SOIL, "CONDDRY", 1.0e-3, 20.0),
    Q("solid_conductivity", "W m-1 K-1", "thermal conductivity of the solids", SOIL, "CONDSLD", 1.0e-2, 50.0),
)
COLUMN_PARAMETERS = (
    Q("moist_layers", "1", "number of layers that carry water"),
    Q("runoff_depth", "m", "depth over which the saturation runoff looks at the water", 0, "RUNOFFD", 0.01, 12.0),
    Q("sin_latitude", "1", "sine of the latitude"),
    Q("cos_latitude", "1", "cosine of the latitude"),
    Q("sin_longitude", "1", "sine of the longitude"),
    Q("cos_longitude", "1", "cosine of the longitude"),
    Q("air_height", "m", "height of the forcing's temperature and humidity", 0, "", 0.1, 200.0),
    Q("wind_height", "m", "height of the forcing's wind", 0, "", 0.1, 200.0),
    Q("cell_size", "km", "size of the grid cell", 0, "", 1.0e-3, 1.0e4),
    Q("vegetated", "1", "1 for a vegetated patch, 0 for bare ground, rock and permanent snow"),
    Q("woody", "1", "1 for trees and shrubs: their response to soil moisture stress, allometry and shading"),
    Q("tropical", "1", "1 for tropical evergreen forest (TRBE): its own response to stress"),
    Q("forest_fraction", "1", "share of forest, 1 for woody types: snow cover and drift"),
    Q("defensive", "1", "strategy under soil moisture stress: 1 defensive, 0 offensive", 0, "LSTRESS", 0.0, 1.0),
    Q("mesophyll_conductance", "m s-1", "mesophyll conductance at 25 deg C without stress", 0, "GMES", 1.0e-6, 0.1),
    Q("cuticular_conductance", "m s-1", "conductance of closed leaves", 0, "GC", 0.0, 0.1),
    Q("maximum_deficit", "kg kg-1", "saturation deficit at which the stomata close", 0, "DMAX", 1.0e-4, 1.0),
    Q("critical_stress", "1", "F2 below which the response to stress changes", 0, "F2I", 0.01, 0.99),
    Q("assimilation_capacity", "kg m-2 s-1", "largest net assimilation at 25 deg C (CO2)", 0, "AMAX", 1.0e-9, 1.0),
    Q("ci_ratio", "1", "largest ratio f0 of internal to ambient CO2", 0, "FZERO", 0.01, 0.99),
    Q("quantum_efficiency", "kg J-1", "CO2 per absorbed PAR at low light", 0, "EPSO", 1.0e-10, 1.0e-6),
    Q("compensation_point", "ppm", "CO2 compensation point at 25 deg C", 0, "GAMM", 0.1, 500.0),
    Q("mesophyll_low", "deg C", "lower reference temperature of the mesophyll conductance", 0, "T1GMES"),
    Q("mesophyll_high", "deg C", "upper reference temperature of the mesophyll conductance", 0, "T2GMES"),
    Q("capacity_low", "deg C", "lower reference temperature of the assimilation capacity", 0, "T1AMAX"),
    Q("capacity_high", "deg C", "upper reference temperature of the assimilation capacity", 0, "T2AMAX"),
    Q("herb_intercept", "1", "intercept of ln(Dmax) against ln(gm) of herbaceous types", 0, "AH"),
    Q("herb_slope", "1", "slope of ln(Dmax) against ln(gm) of herbaceous types", 0, "BH"),
    Q("minimum_lai", "m2 m-2", "lowest leaf area index", 0, "LAIMIN", 0.0, 10.0),
    Q("senescence_time", "s", "e-folding time of leaf loss", 0, "SEFOLD", 86400.0, 1.0e10, "is it in days?"),
    Q("leaf_biomass_ratio", "kg m-2", "leaf biomass of one unit of leaf area index", 0, "BSLAI_NITRO", 1.0e-4, 10.0),
    Q("optimal_assimilation", "kg kg-1 m s-1", "net assimilation of an unstressed leaf at its optimum", 0, "ANMAX", 1.0e-12, 1.0),
    Q("shadow_lai", "m2 m-2", "leaf area index from which crowding lengthens the life of leaves"),
    Q("vegetation_cover", "1", "vegetation fraction, or -1: from the leaf area index", 0, "VEG", -1.0, 1.0),
    Q("height_law", "1", "how the height follows from the leaf area index: crops, grass, or a height given", 0, "HEIGHT_LAW"),
    Q("plant_height", "m", "height of trees", 0, "H_TREE", 0.0, 100.0),
    Q("vegetation_inertia_coefficient", "K m2 J-1", "thermal inertia coefficient of the vegetation", 0, "CV", 1.0e-6, 1.0e-3),
    Q("interception_coefficient", "kg m-2", "capacity for water of one unit of leaf area", 0, "WRMAX_CF", 0.0, 10.0),
    Q("albedo_vegetation_near_infrared", "1", "near-infrared albedo of the vegetation", 0, "ALBNIR_VEG", 0.0, 1.0),
    Q("albedo_vegetation_visible", "1", "visible albedo of the vegetation", 0, "ALBVIS_VEG", 0.0, 1.0),
    Q("albedo_soil_near_infrared", "1", "near-infrared albedo of bare ground", 0, "ALBNIR_SOIL", 0.0, 1.0),
    Q("albedo_soil_visible", "1", "visible albedo of bare ground", 0, "ALBVIS_SOIL", 0.0, 1.0),
    Q("soil_respiration_25", "kg m-2 s-1", "ecosystem respiration at 25 deg C (CO2; option PRM)", 0, "RE25", 0.0, 1.0e-4),
    Q("shading_leaf_area", "m2 m-2", "leaf area index from which sunlit and shaded leaves differ (option carrer)", 0, "LAI_SHADE"),
    Q("clumping_upper", "1", "clumping of the upper canopy (option carrer)", 0, "B_SUP"),
    Q("clumping_lower", "1", "clumping of the lower canopy (option carrer)", 0, "B_INF"),
)

FORCING = (
    Q("Tair", "K", "air temperature", 0, "", 150.0, 360.0, _CELSIUS),
    Q("Qair", "kg kg-1", "specific humidity", 0, "", 0.0, 0.1, above="is it in g kg-1, or relative?"),
    Q("Wind", "m s-1", "wind speed", 0, "", 0.0, 150.0, "a speed is meant, not a component"),
    Q("PSurf", "Pa", "surface pressure", 0, "", 3.0e4, 1.2e5, "is it in hPa?"),
    Q("SWdown", "W m-2", "downward shortwave radiation", 0, "", 0.0, 2.0e3, above="is it in J m-2?"),
    Q("LWdown", "W m-2", "downward longwave radiation", 0, "", 20.0, 1.0e3, above="is it in J m-2?"),
    Q("Rainf", "kg m-2 s-1", "rainfall, the mean over the interval that ends at the record", 0, "", 0.0, 0.2, above="is it in mm per hour or day?"),
    Q("Snowf", "kg m-2 s-1", "snowfall, the mean over the interval that ends at the record", 0, "", 0.0, 0.2, above="is it in mm per hour or day?"),
    Q("CO2air", "kg m-3", "carbon dioxide", 0, "", 1.0e-5, 1.0e-2, above="is it in ppm?"),
)
"""A record of the forcing (ALMA names)."""

AIR = (
    Q("temperature", "K", "air temperature", set_by="read_air"),
    Q("humidity", "kg kg-1", "specific humidity", set_by="read_air"),
    Q("wind", "m s-1", "wind speed", set_by="read_air"),
    Q("pressure", "Pa", "surface pressure", set_by="read_air"),
    Q("shortwave", "W m-2", "downward shortwave radiation", set_by="read_air"),
    Q("longwave", "W m-2", "downward longwave radiation", set_by="read_air"),
    Q("rain", "kg m-2 s-1", "rainfall", set_by="read_air"),
    Q("snow", "kg m-2 s-1", "snowfall", set_by="read_air"),
    Q("co2", "kg kg-1", "carbon dioxide mixing ratio", set_by="read_air"),
    Q("density", "kg m-3", "density of the air", set_by="read_air"),
    Q("exner_air", "1", "Exner function at the height of the air temperature", set_by="read_air"),
    Q("exner_surface", "1", "Exner function at the surface", set_by="read_air"),
    Q("cosine_zenith", "1", "cosine of the solar zenith angle", set_by="read_air"),
)
"""The air at the start of a step."""

FLUXES = (
    Q("RN", "W m-2", "net radiation", set_by="aggregate_fluxes"),
    Q("H", "W m-2", "sensible heat flux", set_by="aggregate_fluxes"),
    Q("LE", "W m-2", "latent heat flux", set_by="aggregate_fluxes"),
    Q("LEG", "W m-2", "latent heat of bare soil evaporation", set_by="aggregate_fluxes"),
    Q("LEGI", "W m-2", "latent heat of soil ice sublimation", set_by="aggregate_fluxes"),
    Q("LEI", "W m-2", "latent heat of sublimation from soil and snow", set_by="aggregate_fluxes"),
    Q("LEV", "W m-2", "latent heat of the vegetation", set_by="aggregate_fluxes"),
    Q("LETR", "W m-2", "latent heat of transpiration", set_by="aggregate_fluxes"),
    Q("LER", "W m-2", "latent heat of intercepted water", set_by="aggregate_fluxes"),
    Q("LES", "W m-2", "latent heat of snow", set_by="aggregate_fluxes"),
    Q("GFLUX", "W m-2", "ground heat flux: RN - H - LE", set_by="aggregate_fluxes"),
    Q("SWUP", "W m-2", "reflected shortwave radiation", set_by="aggregate_fluxes"),
    Q("LWUP", "W m-2", "upward longwave radiation", set_by="aggregate_fluxes"),
    Q("EVAP", "kg m-2 s-1", "evapotranspiration", set_by="aggregate_fluxes"),
    Q("DRAINAGE", "kg m-2 s-1", "water leaving the lowest moist layer", set_by="hydrology"),
    Q("RUNOFF", "kg m-2 s-1", "surface runoff", set_by="surface_runoff hydrology"),
    Q("HORTON", "kg m-2 s-1", "surface runoff by infiltration excess", set_by="surface_runoff hydrology"),
    Q("OVERFLOW", "kg m-2 s-1", "infiltration that the full column does not take", set_by="hydrology"),
    Q("DRIP", "kg m-2 s-1", "water dripping from the leaves", set_by="intercept_rain"),
    Q("SNOWMELT", "kg m-2 s-1", "water leaving the snow", set_by="aggregate_fluxes"),
    Q("GPP", "kg m-2 s-1", "gross primary production (CO2)", set_by="photosynthesis"),
    Q("RESP_AUTO", "kg m-2 s-1", "autotrophic respiration (CO2)", set_by="carbon_fluxes"),
    Q("RECO", "kg m-2 s-1", "ecosystem respiration (CO2)", set_by="carbon_fluxes"),
    Q("LITTER", "kg m-2 s-1", "biomass lost at the daily update (dry matter)", set_by="isba_step daily_vegetation_update"),
    Q("BIOMASS_CLIP", "kg m-2 s-1", "biomass added by lower limits at the daily update (dry matter)", set_by="isba_step daily_vegetation_update"),
    Q("SWE", "kg m-2", "snow water equivalent", set_by="snow_diagnostics"),
    Q("SNOW_DEPTH", "m", "depth of the snow", set_by="snow_diagnostics"),
    Q("ALBEDO", "1", "albedo", set_by="aggregate_fluxes"),
    Q("TS", "K", "temperature of the surface with its snow", set_by="surface_temperatures"),
    Q("TSRAD", "K", "radiative temperature of the surface", set_by="surface_temperatures"),
    Q("PSN", "1", "snow fraction", set_by="aggregate_fluxes"),
    Q("PSNG", "1", "snow fraction over bare ground", set_by="aggregate_fluxes"),
    Q("PSNV", "1", "snow fraction over vegetation", set_by="aggregate_fluxes"),
    Q("Z0EFF", "m", "roughness length for momentum", set_by="aggregate_fluxes"),
    Q("Z0H", "m", "roughness length for heat", set_by="aggregate_fluxes"),
    Q("HALSTEAD", "1", "Halstead coefficient of the foliage", set_by="aggregate_fluxes"),
    Q("RS", "s m-1", "stomatal resistance of the canopy", set_by="aggregate_fluxes"),
    Q("F2", "1", "soil moisture stress", set_by="aggregate_fluxes"),
    Q("GFLUX_IMBALANCE", "W m-2", "conduction to layer 2 that the composite surface does not lose", set_by="aggregate_fluxes"),
    Q("SURFACE_STORAGE", "W m-2", "heat stored in the composite surface", set_by="aggregate_fluxes"),
    Q("SNOW_TO_SOIL", "W m-2", "heat from snow into the first layer", set_by="aggregate_fluxes"),
    Q("RI", "1", "Richardson number", set_by="exchange_diagnostics"),
    Q("CH", "1", "exchange coefficient for heat", set_by="exchange_diagnostics"),
    Q("CD", "1", "drag coefficient", set_by="exchange_diagnostics"),
    Q("T2M", "K", "air temperature at 2 m", set_by="screen_level"),
    Q("Q2M", "kg kg-1", "specific humidity at 2 m", set_by="screen_level"),
    Q("HU2M", "1", "relative humidity at 2 m, over liquid water", set_by="screen_level"),
)
"""What a step computes beside the state; output under the same names."""

SURFACE = (
    Q("vegetation_fraction", "1", "vegetation fraction", surfex="VEG", set_by="set_surface_from_leaf_area"),
    Q("vegetation_roughness", "m", "roughness length of the snow-free surface", surfex="Z0VEG", set_by="set_surface_from_leaf_area"),
    Q("emissivity", "1", "emissivity of the snow-free surface", surfex="EMIS", set_by="set_surface_from_leaf_area"),
    Q("albedo", "1", "albedo of the snow-free surface", surfex="ALBNOSNOW", set_by="set_surface_from_leaf_area"),
)
"""What follows from the leaf area index at a daily update; output like a flux."""

SCRATCH = (
    Q("leaf_area_index", "m2 m-2", "leaf area index that the surface was last made from", set_by="set_surface_from_leaf_area"),
    # snow cover and exchange with the air
    Q("snow_mass", "kg m-2", "mass of the pack at the start of the step", set_by="snow_fractions"),
    Q("snow_depth", "m", "depth of the pack at the start of the step", set_by="snow_fractions"),
    Q("snow_fraction", "1", "share of the patch under snow", set_by="snow_fractions"),
    Q("snow_fraction_ground", "1", "share of the bare ground under snow", set_by="snow_fractions"),
    Q("snow_fraction_vegetation", "1", "share of the vegetation under snow", set_by="snow_fractions"),
    Q("roughness", "m", "roughness length for momentum of the surface with its snow", set_by="effective_roughness"),
    Q("roughness_heat", "m", "roughness length for heat of the surface with its snow", set_by="effective_roughness"),
    Q("exchange_neutral", "1", "neutral drag coefficient", set_by="exchange_coefficients"),
    Q("exchange_heat_factor", "1", "neutral coefficient for heat over that for momentum", set_by="exchange_coefficients"),
    Q("exchange_unstable", "1", "factor of the square root in unstable exchange", set_by="exchange_coefficients"),
    Q("exchange_wind", "m s-1", "wind of the exchange, never below its lower limit", set_by="exchange_coefficients"),
    Q("exchange_inverse_cubed_wind", "s3 m-3", "inverse cube of that wind", set_by="exchange_coefficients"),
    Q("exchange_richardson_factor", "1", "Richardson number per relative difference of virtual temperature", set_by="exchange_coefficients"),
    Q("virtual_air", "K", "virtual potential temperature of the air", set_by="exchange_coefficients"),
    Q("inverse_exner", "1", "inverse Exner function at the surface", set_by="exchange_coefficients"),
    # soil, stress and wet leaves at the start of the step
    Q("frozen_fraction", "1", "share of ice in the water of layer 1", set_by="soil_thermal_properties"),
    Q("inertia_bare", "K m2 J-1", "inertia coefficient CG of bare ground", set_by="soil_thermal_properties"),
    Q("inertia_composite", "K m2 J-1", "inertia coefficient CT of the composite surface", set_by="soil_thermal_properties"),
    Q("surface_coupling", "K m2 J-1", "inertia coefficient that couples the surface with layer 2", set_by="soil_thermal_properties"),
    Q("soil_moisture_stress", "1", "F2", set_by="soil_moisture_stress"),
    Q("interception_capacity", "kg m-2", "water that the leaves can hold", set_by="wet_leaf_fraction"),
    Q("wet_fraction", "1", "wet share of the leaves", set_by="wet_leaf_fraction energy_substep"),
    Q("raining_fraction", "1", "share of the cell on which it rains", set_by="isba_step"),
    # snow pack
    Q("rain_on_ground", "kg m-2 s-1", "rain on the snow-free part", set_by="snow_step"),
    Q("throughfall", "kg m-2 s-1", "water leaving the snow", set_by="snow_step run_pack"),
    Q("evaporation_correction", "kg m-2 s-1", "sublimation that the pack could not supply, taken from the soil", set_by="snow_step run_pack"),
    Q("snow_net_radiation", "W m-2", "net radiation of the snow", set_by="snow_step snow_energy_budget"),
    Q("snow_sensible_heat", "W m-2", "sensible heat flux of the snow", set_by="snow_step snow_energy_budget"),
    Q("snow_latent_heat", "W m-2", "latent heat flux of the snow", set_by="snow_step snow_energy_budget"),
    Q("snow_surface_temperature", "K", "temperature of the first snow layer at the end of the step", set_by="snow_step"),
    Q("snow_albedo", "1", "albedo of the snow in this step", set_by="snow_step run_pack"),
    Q("snow_new_albedo", "1", "albedo of the snow for the next step", set_by="run_pack"),
    Q("snow_surface_flux", "W m-2", "heat flux into the pack at its surface", set_by="snow_energy_budget"),
    Q("snow_ground_flux", "W m-2", "heat flux from the pack into the soil", set_by="snow_energy_budget"),
    Q("snow_ground_flux_limited", "W m-2", "the same from temperatures of at most the melting point", set_by="snow_energy_budget"),
    # photosynthesis
    Q("stomatal_resistance", "s m-1", "stomatal resistance of the canopy", set_by="photosynthesis"),
    Q("leaf_respiration", "kg kg-1 m s-1", "dark respiration of the leaves", set_by="photosynthesis"),
    # energy of the snow-free surface
    Q("ground_humidity_liquid", "1", "relative humidity at the surface of liquid ground", set_by="ground_relative_humidity"),
    Q("ground_humidity_frozen", "1", "relative humidity at the surface of frozen ground", set_by="ground_relative_humidity"),
    Q("ground_ice_share", "1", "share of ice in the surface humidity of the ground", set_by="ground_relative_humidity"),
    Q("start_temperature", "K", "surface temperature before the energy budget", set_by="isba_step"),
    Q("diffused_temperature", "K", "surface temperature after the energy budget", set_by="isba_step"),
    Q("exner_temperature", "K", "potential temperature of the air", set_by="energy_budget"),
    Q("open_conductance", "m s-1", "conductance from leaves with open stomata to the air", set_by="energy_budget energy_substep"),
    Q("closed_conductance", "m s-1", "conductance from leaves with closed stomata to the air", set_by="energy_budget energy_substep"),
    Q("surface_humidity", "kg kg-1", "specific humidity of the surface", set_by="energy_substep surface_temperatures"),
    Q("halstead", "1", "Halstead coefficient of the foliage", set_by="energy_substep"),
    Q("net_radiation", "W m-2", "net radiation of the snow-free surface", set_by="energy_budget energy_substep"),
    Q("sensible_heat", "W m-2", "sensible heat flux of the snow-free surface", set_by="energy_budget energy_substep"),
    Q("ground_evaporation", "W m-2", "latent heat of evaporation from the ground", set_by="energy_budget energy_substep weigh_by_snow_free_share"),
    Q("ground_sublimation", "W m-2", "latent heat of sublimation from the ground", set_by="energy_budget energy_substep weigh_by_snow_free_share"),
    Q("canopy_evaporation", "W m-2", "latent heat of the vegetation", set_by="energy_budget energy_substep weigh_by_snow_free_share"),
    Q("transpiration", "W m-2", "latent heat of transpiration", set_by="energy_budget energy_substep weigh_by_snow_free_share"),
    Q("conduction", "W m-2", "heat conducted from the surface to layer 2", set_by="energy_budget energy_substep"),
    # hydrology and respiration
    Q("wet_canopy_loss", "kg m-2 s-1", "evaporation of intercepted water", set_by="hydrology"),
    Q("freezing_insulation", "1", "share of the energy that freezes or thaws layer 1 under vegetation", set_by="hydrology"),
    Q("active_respiration", "kg m-2 s-1", "respiration of the active structural biomass (CO2)", set_by="plant_respiration"),
    Q("passive_respiration", "kg m-2 s-1", "respiration of the passive structural biomass (CO2)", set_by="plant_respiration"),
)
"""One value a column."""

SOIL_SCRATCH = (
    Q("thickness", "m", "thickness of a layer", SOIL, set_by="set_soil_grid"),
    Q("inverse_thickness", "m-1", "its inverse", SOIL, set_by="set_soil_grid"),
    Q("inverse_spacing", "m-1", "inverse distance between the centres of a layer and the next", SOIL, set_by="set_soil_grid"),
    Q("inverse_porosity", "1", "inverse porosity", SOIL, set_by="set_soil_constants"),
    Q("inverse_exponent", "1", "inverse exponent of the retention curve", SOIL, set_by="set_soil_constants"),
    Q("inverse_entry_potential", "m-1", "inverse air-entry potential", SOIL, set_by="set_soil_constants"),
    Q("inverse_air_space", "1", "inverse of porosity - 0.05, of the vapour conductivity", SOIL, set_by="set_soil_constants"),
    Q("log_solid_conductivity", "1", "logarithm of the thermal conductivity of the solids (W m-1 K-1)", SOIL, set_by="set_soil_constants"),
    Q("saturated_conductivity", "W m-1 K-1", "thermal conductivity of saturated unfrozen soil", SOIL, set_by="set_soil_constants"),
    Q("conductivity", "W m-1 K-1", "thermal conductivity", SOIL, set_by="soil_thermal_properties"),
    Q("conductance", "W m-2 K-1", "thermal conductance between a layer and the next", SOIL, set_by="soil_thermal_properties"),
    Q("heat_capacity", "J m-3 K-1", "heat capacity", SOIL, set_by="soil_thermal_properties"),
    Q("root_uptake_weight", "1", "share of a layer in F2", SOIL, set_by="soil_moisture_stress"),
    Q("soil_heat_source", "W m-2", "heat from the snow", SOIL, set_by="snow_step share_ground_flux"),
    Q("heat_weight", "J m-2 K-1", "heat capacity that a layer brings into the sharing of the residual snow flux", SOIL, set_by="share_ground_flux"),
    Q("heat_storage", "W m-2 K-1", "heat capacity of a layer over the sub-step", SOIL, set_by="eliminate_soil"),
    Q("heat_inverse", "W-1 m2 K", "inverse diagonal of the upward elimination", SOIL, set_by="eliminate_soil"),
    Q("heat_slope", "1", "change of a layer's temperature with that of the layer above", SOIL, set_by="eliminate_soil"),
    Q("heat_intercept", "K", "temperature of a layer with 0 K above", SOIL, set_by="diffuse_heat"),
    Q("uptake_share", "1", "share of a layer in the transpiration", SOIL, set_by="hydrology"),
    Q("vapour_over_water", "Pa", "saturation pressure that the source weighs with the share of ice", SOIL, set_by="vapour_pressures"),
    Q("vapour_over_ice", "Pa", "saturation pressure that the source weighs with the share of liquid water", SOIL, set_by="vapour_pressures"),
    Q("inverse_vapour_energy", "kg J-1", "inverse of the gas constant of vapour times temperature", SOIL, set_by="set_vapour_transfer"),
    Q("vapour_transfer", "m s-1", "factors of the vapour conductivity that do not change with the water", SOIL, set_by="set_vapour_transfer"),
    Q("free_porosity", "m3 m-3", "pore space without ice", SOIL, set_by="soil_water_substep"),
    Q("inverse_free_porosity", "1", "its inverse", SOIL, set_by="soil_water_substep"),
    Q("impedance", "1", "reduction of the hydraulic conductivity by ice", SOIL, set_by="soil_water_substep"),
    Q("water_source", "m s-1", "negative infiltration shared among the layers", SOIL, set_by="distribute_negative_infiltration"),
    Q("potential", "m", "matric potential", SOIL, set_by="soil_water_properties"),
    Q("hydraulic_conductivity", "m s-1", "hydraulic conductivity", SOIL, set_by="soil_water_properties"),
    Q("vapour_conductivity", "m s-1", "isothermal vapour conductivity", SOIL, set_by="soil_water_properties"),
    Q("eliminated_upper", "1", "upper diagonal of the Richards system after elimination", SOIL, set_by="solve_richards"),
    Q("eliminated_right", "m3 m-3", "right-hand side of the Richards system after elimination", SOIL, set_by="solve_richards"),
)
"""One value a soil layer."""

SNOW_SCRATCH = (
    Q("snow_thickness", "m", "thickness of a layer", SNOW, set_by="snow_step run_pack settle drift add_snowfall transfer_layers equalise_thin_pack melt_snow percolate sublimate spread_lower_layers"),
    Q("snow_density", "kg m-3", "density of a layer", SNOW, set_by="snow_step settle drift add_snowfall transfer_layers equalise_thin_pack melt_snow percolate sublimate spread_lower_layers"),
    Q("snow_heat", "J m-2", "heat content of a layer", SNOW, set_by="snow_step run_pack compact_snow add_snowfall transfer_layers equalise_thin_pack percolate sublimate spread_lower_layers"),
    Q("snow_age", "days", "age of a layer", SNOW, set_by="snow_step run_pack add_snowfall transfer_layers equalise_thin_pack"),
    Q("snow_temperature", "K", "temperature of a layer", SNOW, set_by="run_pack snow_energy_budget diagnose_snow melt_snow percolate sublimate spread_lower_layers"),
    Q("snow_liquid", "m", "liquid water of a layer", SNOW, set_by="run_pack diagnose_snow melt_snow percolate sublimate spread_lower_layers"),
    Q("snow_target", "m", "thickness wanted for a layer", SNOW, set_by="target_grid"),
    Q("snow_old_top", "m", "height of the top of an old layer above the ground", SNOW, set_by="transfer_layers"),
    Q("snow_inverse_thickness", "m-1", "inverse thickness of an old layer", SNOW, set_by="transfer_layers"),
    Q("snow_new_mass", "kg m-2", "mass of a new layer", SNOW, set_by="transfer_layers"),
    Q("snow_new_heat", "J m-2", "heat content of a new layer", SNOW, set_by="transfer_layers"),
    Q("snow_new_age", "days", "age of a new layer", SNOW, set_by="transfer_layers"),
    Q("snow_sunlight", "W m-2", "sunlight passing the bottom of a layer, negative downward", SNOW, set_by="absorb_sunlight"),
    Q("snow_storage", "W m-2 K-1", "heat capacity of a layer over the step", SNOW, set_by="eliminate_snow"),
    Q("snow_conductance", "W m-2 K-1", "thermal conductance between a layer and the next", SNOW, set_by="eliminate_snow"),
    Q("snow_slope", "1", "change of the next layer's temperature with that of a layer", SNOW, set_by="eliminate_snow"),
    Q("snow_intercept", "K", "temperature of the next layer with 0 K in a layer", SNOW, set_by="eliminate_snow"),
    Q("snow_solved", "K", "temperature of a layer from the implicit solution", SNOW, set_by="conduct_down snow_energy_budget"),
    Q("snow_hold", "m", "liquid water that a layer can hold", SNOW, set_by="percolate"),
    Q("snow_surplus", "m", "liquid water of a layer beyond what it can hold", SNOW, set_by="percolate"),
)
"""One value a snow layer. Heat is relative to liquid water at 273.16 K."""

WHOLE_NUMBERS = (
    Q("phase_change", "1", "1 where the layer of a block may freeze or thaw in this sub-step", SOIL, set_by="soil_freezing"),
    Q("most_layers", "1", "largest number of moist layers in the block", set_by="start_columns"),
    Q("fewest_layers", "1", "smallest number of moist layers in the block", set_by="start_columns"),
)
"""Whole numbers that all columns of a block share."""


def named(table: tuple[Quantity, ...]) -> dict[str, Quantity]:
    """The quantities of a table by name."""
    return {quantity.name: quantity for quantity in table}
