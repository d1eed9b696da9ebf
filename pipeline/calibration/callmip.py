"""Output files of the land model calibration exercise CalLMIP (Phase 1b): names, units and layout of its template.

Source: protocol version 2, sections 6 and 7, and template file of the repository callmip-org/Phase1 (MIT). `lat` and
`lon` are dimensions and scalar variables at once, which xarray refuses: the NetCDF library writes the files.

The model has no soil carbon (cSoil is left out). Above-ground biomass is that of leaves and active wood.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np

from ldas.landmodel.array_types import Array
from ldas.landmodel.constants import (
    CARBON_MOLAR_MASS,
    CO2_MOLAR_MASS,
    SOIL_LAYERS,
    SUBLIMATION_HEAT,
    VAPORISATION_HEAT,
    WATER_DENSITY,
)
from ldas.pipeline.calibration.results import Results
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.site.columns import prepare_members, site_forcing

_CARBON = CARBON_MOLAR_MASS / CO2_MOLAR_MASS
_CARBON_OF_DRY_MATTER = 0.40
_WATER = tuple(f"{name}{layer}" for name in ("WG", "WGI") for layer in range(1, SOIL_LAYERS + 1))
VARIABLES = (
    "NEE",
    "LE",
    "H",
    "GPP",
    "RECO",
    "LETR",
    "LEG",
    "LEGI",
    "GFLUX",
    "TS",
    "LAI",
    "BIOMASS1",
    "BIOMASS2",
    *_WATER,
)
"""What the model has to put out for the files."""
_SURFACE_M = 0.10
_UNCERTAIN = {"nep": ("NEE", _CARBON), "hfls": ("LE", 1.0), "hfss": ("H", 1.0)}


class _Output(NamedTuple):
    unit: str
    long_name: str
    values: Array


def write_callmip(results: Results, folder: Path) -> list[Path]:
    """Writes the files of the prior (the site's own parameters) and of the posterior run; their paths.

    Raises:
        ConfigurationError: for a site of several vegetation types, whose soil columns differ.
    """
    case, site = results.calibration.case, results.calibration.site
    assert case.callmip is not None
    if len(site.fractions) > 1:
        raise ConfigurationError(
            f"callmip: the soil water of one column is written, {site.name} has {len(site.fractions)} vegetation "
            "types: leave callmip out, or give the site one type"
        )
    forcing = site_forcing(site)
    best = dict(zip(results.calibration.priors, map(float, results.calibrated), strict=True))
    run = prepare_members(site, forcing, [{}, best])
    thickness = np.diff(run.parameters.soil("layer_bottom"), axis=1, prepend=0.0)
    model = f"ldas.{version('ldas')}"
    paths = []
    for number, stage in enumerate(("Prior", "Posterior")):
        outputs = {name: values[:, number] for name, values in results.outputs.items()}
        made = _outputs(outputs, thickness[number])
        if stage == "Posterior":
            for name, (variable, factor) in _UNCERTAIN.items():
                if variable in results.predicted:
                    spread = factor * results.predicted[variable].std(axis=1, ddof=1)
                    meaning = f"standard deviation of the posterior ensemble: {made[name].long_name}"
                    made[f"{name}_post_unc"] = _Output(made[name].unit, meaning, spread)
        path = folder / f"{model}_Phase1b_Scen{case.callmip.scenario}_{case.callmip.site}_Cal_{stage}.nc"
        attributes = {
            "title": f"ISBA-A-gs at {site.name}",
            "Conventions": "CF-1.11",
            "Model": model,
            "CalLMIP_Phase": "Phase1b",
            "Calibration_Scenario": f"Scen{case.callmip.scenario}",
            "Calibration_stage": stage,
            "Cal_Val": "Calibration",
        }
        _write(path, made, results, attributes)
        paths.append(path)
    return paths


def _outputs(run: Mapping[str, Array], thickness: Array) -> dict[str, _Output]:
    """Variables of the protocol's table 3 from those of the model, (day,)."""
    layers = range(SOIL_LAYERS)
    water = [np.nan_to_num(run[f"WG{k + 1}"]) + np.nan_to_num(run[f"WGI{k + 1}"]) for k in layers]
    bottom = np.cumsum(thickness)
    top = np.clip(_SURFACE_M - (bottom - thickness), 0.0, thickness)
    return {
        "nep": _Output("kgC m-2 s-1", "net ecosystem productivity, positive into the land", -_CARBON * run["NEE"]),
        "hfls": _Output("W m-2", "surface upward latent heat flux", run["LE"]),
        "hfss": _Output("W m-2", "surface upward sensible heat flux", run["H"]),
        "gpp": _Output("kgC m-2 s-1", "gross primary production", _CARBON * run["GPP"]),
        "reco": _Output("kgC m-2 s-1", "total ecosystem respiration", _CARBON * run["RECO"]),
        "tran": _Output("kg m-2 s-1", "transpiration", run["LETR"] / VAPORISATION_HEAT),
        "evspsblsoi": _Output(
            "kg m-2 s-1",
            "evaporation from soil, with sublimation of its ice",
            run["LEG"] / VAPORISATION_HEAT + run["LEGI"] / SUBLIMATION_HEAT,
        ),
        "hfg": _Output("W m-2", "ground heat flux", run["GFLUX"]),
        "ts": _Output("K", "surface (skin) temperature", run["TS"]),
        "lai": _Output("m2 m-2", "leaf area index", run["LAI"]),
        "cLiveBioAbove": _Output(
            "kg m-2",
            "carbon in leaves and active wood",
            _CARBON_OF_DRY_MATTER * (run["BIOMASS1"] + run["BIOMASS2"]),
        ),
        "mrso": _Output("kg m-2", "total soil moisture, liquid and ice", _water_mass(water, thickness)),
        "mrsos": _Output("kg m-2", "soil moisture of the upper 10 cm", _water_mass(water, top)),
    }


def _water_mass(water: list[Array], thickness: Array) -> Array:
    total = np.zeros(len(water[0]))
    for content, metres in zip(water, thickness, strict=True):
        total += WATER_DENSITY * float(metres) * content
    return total


def _write(path: Path, made: Mapping[str, _Output], results: Results, attributes: Mapping[str, str]) -> None:
    site, days = results.calibration.site, results.calibration.days
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.setncatts(dict(attributes))
        for name, size in (("time", len(days)), ("lat", 1), ("lon", 1)):
            file.createDimension(name, size)
        for name, value, direction in (("lat", site.latitude, "north"), ("lon", site.longitude, "east")):
            place = file.createVariable(name, "f8", ())
            place.setncatts(
                {"units": f"degrees_{direction}", "long_name": "latitude" if name == "lat" else "longitude"}
            )
            place[...] = value
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": f"days since {days[0]} 00:00:00", "calendar": "standard", "long_name": "time"})
        time[:] = np.arange(len(days))
        for name, output in made.items():
            variable = file.createVariable(name, "f8", ("time", "lat", "lon"), fill_value=1.0e38, zlib=True)
            variable.setncatts({"units": output.unit, "long_name": output.long_name})
            variable[:, 0, 0] = np.where(np.isfinite(output.values), output.values, 1.0e38)
