"""Thermal properties of the soil in plain numpy, written from docs/science/soil_heat.md, sections 1 to 3, and the heat
budget of a run."""

import numpy as np

from ldas.landmodel import Parameters
from tests.landmodel.support import Array, Steps, thickness

LATENT = 3.337e8  # J m-3 of ice
FREEZING = 273.16


def water_for_heat(parameters: Parameters, temperature: Array, water: Array, ice: Array) -> tuple[Array, Array]:
    """Water and ice (..., column, 14) with the layers below the moisture column filled as the thermal scheme sees
    them: from the potential of the lowest moist layer to saturation at a water table 100 m down."""
    porosity, exponent, entry = (parameters.soil(n) for n in ("porosity", "retention_exponent", "entry_potential"))
    bottoms = parameters.soil("layer_bottom")
    middle = bottoms - 0.5 * thickness(parameters)
    column = np.arange(parameters.columns)
    lowest = parameters.moist_layers.astype(int) - 1
    below = np.arange(14)[None, :] > lowest[:, None]
    content = (water + ice)[..., column, lowest]
    saturation = np.minimum(1.0, content / porosity[column, lowest])
    potential = entry[column, lowest] * saturation ** -exponent[column, lowest]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.maximum(0.0, (100.0 - middle) / (middle - middle[column, lowest][:, None]))
        mixed = (entry + weight * potential[..., None]) / (1.0 + weight)
        total = np.maximum(0.001, porosity * np.maximum(1.0, mixed / entry) ** (-1.0 / exponent))
        frozen = np.minimum(entry, 3.337e5 * (temperature - FREEZING) / (9.80665 * temperature))
        liquid = np.maximum(0.001, porosity * np.maximum(1.0, frozen / entry) ** (-1.0 / exponent))
    liquid = np.minimum(liquid, total)
    return np.where(below, liquid, water), np.where(below, total - liquid, ice)


def volumetric_heat_capacity(parameters: Parameters, temperature: Array, water: Array, ice: Array) -> Array:
    """J m-3 K-1, (..., column, 14)"""
    water, ice = water_for_heat(parameters, temperature, water, ice)
    return (1.0 - parameters.soil("porosity")) * 733.0 * 2700.0 + water * 4218.0e3 + ice * 2106.0 * 917.0


def conductivity(parameters: Parameters, temperature: Array, water: Array, ice: Array) -> Array:
    """W m-1 K-1, (..., column, 14)"""
    water, ice = water_for_heat(parameters, temperature, water, ice)
    porosity = parameters.soil("porosity")
    frozen = ice / (ice + np.maximum(water, 0.001))
    unfrozen = (1.0 - frozen) * porosity
    solid, dry = parameters.soil("solid_conductivity"), parameters.soil("dry_conductivity")
    saturated = solid ** (1.0 - porosity) * 2.22 ** (porosity - unfrozen) * 0.57**unfrozen
    saturation = np.clip((water + ice) / porosity, 0.1, 1.0)
    kersten = (1.0 - frozen) * (np.log10(saturation) + 1.0) + frozen * saturation
    return kersten * (saturated - dry) + dry


def conductance(parameters: Parameters, conductivities: Array) -> Array:
    """W m-2 K-1 between a layer and the next, (..., column, 13)"""
    resistance = 0.5 * thickness(parameters) / conductivities
    return 1.0 / (resistance[..., :-1] + resistance[..., 1:])


def at_start_of_steps(run: Steps) -> tuple[Array, Array, Array]:
    """Temperature, water and ice (step, column, 14) at the start of every step."""
    out, before = run.outputs, run.before
    return tuple(
        np.concatenate([first[None], np.nan_to_num(out[name][:-1])])
        for first, name in (
            (before.soil_temperature, "TG"),
            (before.soil_water, "WG"),
            (before.soil_ice, "WGI"),
        )
    )  # type: ignore[return-value]


def heat_residual(run: Steps) -> Array:
    """(step, column) W m-2 by which the heat of surface and soil changes beyond what enters it, for columns without
    snow and phase change: surface storage and layers 2 to 14 against GFLUX and its known imbalance."""
    temperature, water, ice = at_start_of_steps(run)
    capacity = volumetric_heat_capacity(run.parameters, temperature, water, ice) * thickness(run.parameters)
    stored = capacity * (run.outputs["TG"] - temperature) / run.step_s
    below = stored[..., 1:].sum(axis=-1)
    return run.outputs["SURFACE_STORAGE"] + below - run.outputs["GFLUX"] - run.outputs["GFLUX_IMBALANCE"]
