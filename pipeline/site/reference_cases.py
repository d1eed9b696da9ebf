"""Reference cases of the land model: a folder with `cases.json` (SURFEX runs), and one with formula-driven cases.

A case becomes a `SiteCase`, so that it runs exactly as `ldas site` would run it, with the files it is compared with.
The protocol is that of the "rule" text in `cases.json`; of the reference's states only the initial one is used to run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ConfigDict, ValidationError

from ldas.landmodel.overrides import OVERRIDES
from ldas.pipeline.errors import PipelineError
from ldas.pipeline.forcing.analytic import LATITUDE, LONGITUDE, START
from ldas.pipeline.settings.acceptance import FORCING_CHECKS
from ldas.pipeline.settings.yaml_file import StrictModel, validate
from ldas.pipeline.site.case import SiteCase, Values

UNVEGETATED = ("NO", "ROCK", "SNOW")
# Parameters that also mean something without vegetation; the others are undefined or 0 in the reference there.
_SOIL_PARAMETERS = (
    *("DG2", "RUNOFFD", "WSAT", "WWILT", "WFC", "BCOEF", "MPOTSAT", "CONDSAT", "CONDDRY", "CONDSLD"),
    *("ALBNIR_SOIL", "ALBVIS_SOIL"),
)
# The fraction of crops follows the LAI, so the stored value is that of the start only.
_FOLLOWS_LAI = ("VEG",)
ANALYTIC_STATE = {
    **{"TG_K": "TG", "WG_m3m3": "WG", "WGI_m3m3": "WGI", "WR_kgm2": "WR", "LAI": "LAI"},
    **{"resa_s_m": "RESA", "le_ags_Wm2": "LE", "an": "AN", "anday": "ANDAY", "anfm": "ANFM"},
}


class ConformanceError(PipelineError):
    """A folder of reference cases that cannot be used."""


class ReferenceCase(NamedTuple):
    """A case and what it is compared with."""

    site: SiteCase
    files: dict[str, Path]
    """by kind: `daily`, `steps` (NetCDF), `monthly` and the 48-hour windows (CSV)"""
    output_step_s: int
    """interval of the stored half-hourly (or finer) values"""


class _Entry(StrictModel):
    """One entry of `cases.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    parameters: str
    daily: Path | None = None
    steps: Path | None = None
    days: int
    model_step_s: int
    steps_file_step_s: int = 1800
    latitude: float
    longitude: float
    zref_m: float
    uref_m: float
    forcing: Path
    records_per_loop: int | None = None
    start: str
    options: dict[str, Any]


def read_cases(folder: Path) -> list[ReferenceCase]:
    """The cases of a folder with `cases.json`, and of its subfolder `analytic`, if it has one.

    Raises:
        ConformanceError: if the folder or one of its entries cannot be used.
    """
    listed = folder / "cases.json"
    if not listed.is_file() and not (folder / "initial_state.json").is_file():
        raise ConformanceError(
            f"{folder}: neither cases.json nor initial_state.json; expected a folder of reference cases"
        )
    cases = []
    if listed.is_file():
        entries = _read_json(listed).get("cases", {})
        parameters = _read_json(folder / "parameters.json")
        cases += [_case(folder, name, entry, parameters) for name, entry in entries.items()]
    for place in (folder, folder / "analytic"):
        if (place / "initial_state.json").is_file():
            cases += read_analytic_cases(place)
    return cases


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConformanceError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise ConformanceError(f"{path}: an object was expected")
    return content


def _case(folder: Path, name: str, content: Mapping[str, Any], parameters: Mapping[str, Any]) -> ReferenceCase:
    try:
        entry = _Entry.model_validate(content)
    except ValidationError as error:
        raise ConformanceError(f"{folder / 'cases.json'}, case {name}: {error}") from error
    if entry.parameters not in parameters:
        raise ConformanceError(f"{folder / 'parameters.json'}: no entry '{entry.parameters}', which case {name} names")
    given = parameters[entry.parameters]
    vegetation = given["vegtype"]
    site = {
        "name": name,
        "latitude": entry.latitude,
        "longitude": entry.longitude,
        "clay": _uniform(given["CLAY"], name, "CLAY"),
        "sand": _uniform(given["SAND"], name, "SAND"),
        "cell_size_km": 10.0,
        "vegetation": vegetation,
        "parameters": _overrides(given, vegetation),
        "initial_state": _initial_state(given, vegetation),
        "options": _options(entry.options, name),
        "start": entry.start,
        "days": entry.days,
        "time_step_s": entry.model_step_s,
        "forcing": {
            "file": folder / entry.forcing,
            "temperature_height_m": entry.zref_m,
            "wind_height_m": entry.uref_m,
            "records_per_loop": entry.records_per_loop,
        },
        "accept": FORCING_CHECKS,  # the reference had the same forcing, plausible or not
    }
    files = {kind: folder / path for kind, path in (("daily", entry.daily), ("steps", entry.steps)) if path is not None}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise ConformanceError(f"case {name} names {', '.join(missing)}, which is not there")
    return ReferenceCase(validate(site, SiteCase, source=f"case {name}"), files, entry.steps_file_step_s)


def _uniform(values: Any, case: str, name: str) -> float:
    layers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if np.ptp(layers) > 0:
        raise ConformanceError(f"case {case}: {name} differs between layers, which cases do not support")
    return float(layers[0])


def _overrides(given: Mapping[str, Any], vegetation: str) -> dict[str, Values]:
    """Every stored parameter that the land model lets one set."""
    names = _SOIL_PARAMETERS if vegetation in UNVEGETATED else set(OVERRIDES) - set(_FOLLOWS_LAI)
    overrides: dict[str, Values] = {}
    for name in sorted(names):
        value = given.get(name)
        if isinstance(value, list):
            overrides[name] = value[0] if len(set(value)) == 1 else tuple(value)
        elif value is not None:
            overrides[name] = value
    return overrides


def _initial_state(given: Mapping[str, Any], vegetation: str) -> dict[str, Values]:
    """The stored start and the values that every run starts with."""
    state: dict[str, Values] = {
        name: tuple(given[name]) if isinstance(given[name], list) else given[name]
        for name in ("TG", "WG", "WGI", "WR", "BIOMASS", "LAI")
        if given.get(name) is not None
    }
    state |= {"RESA": 100.0, "LE": 0.0, "ANDAY": 0.0, "AN": 0.0, "RESP_BIOMASS": (0.0, 0.0)}
    state["ANFM"] = 0.0 if vegetation in UNVEGETATED else 1.0e-8
    return state


def _options(given: Mapping[str, Any], case: str) -> dict[str, Any]:
    """Options by our names; those that exist in one form only must have it."""
    fixed = {"CISBA": "DIF", "CPHOTO": "NIT", "CKSAT": "DEF", "CSCOND": "PL98", "CSNOW": "3-L"}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name in fixed:
            if value != fixed[name]:
                raise ConformanceError(f"case {case}: option {name} = {value}, only {fixed[name]} exists here")
        elif name in ("CPEDOTF", "CPEDO_FUNCTION"):
            options["pedotransfer"] = value
        elif name == "LTR_ML":
            options["light_scheme"] = "carrer" if value else "gauss"
        elif name == "CRUNOFF":
            options["runoff"] = value
        elif name == "CHORT":
            options["horton"] = value == "SGH"
        elif name == "CRAIN":
            options["drip"] = value
        elif name == "NSNOW_LAYER":
            options["snow_layers"] = value
        elif name == "CRESPSL":
            options["soil_respiration"] = value
        else:
            raise ConformanceError(f"case {case}: option {name} is not known")
    return options


# --- cases driven by formulas ----------------------------------------------------------------------------------------


def read_analytic_cases(folder: Path) -> list[ReferenceCase]:
    """The cases on formula weather: a folder with `initial_state.json`, `parameters.json` and `<case>_monthly.csv`."""
    states = _read_json(folder / "initial_state.json")["cases"]
    parameters = _read_json(folder / "parameters.json")
    return [_analytic_case(folder, name, states, parameters) for name in states]


def _analytic_case(folder: Path, name: str, states: Mapping[str, Any], parameters: Mapping[str, Any]) -> ReferenceCase:
    parts: dict[str, float] = states[name].get("patches", {name: 1.0})
    first = states[next(iter(parts))]
    by_type = {
        states[part]["vegetation"]: {
            "parameters": _overrides(parameters[part], states[part]["vegetation"]),
            "initial_state": _analytic_state(states[part]),
        }
        for part in parts
    }
    site = {
        "name": name,
        "latitude": LATITUDE,
        "longitude": LONGITUDE,
        "clay": first["clay"],
        "sand": first["sand"],
        "vegetation": {states[part]["vegetation"]: share for part, share in parts.items()},
        "by_type": by_type,
        "start": str(START),
        "days": 730,
        "forcing": {"formula": "snow" if first["forcing"] == "snow" else "rain"},
        "output": {"interval": "half-hourly", "per_patch": len(parts) > 1},
    }
    files = {path.stem.removeprefix(f"{name}_"): path for path in sorted(folder.glob(f"{name}_*.csv"))}
    # A case whose name begins like this one has its own files.
    files = {
        kind: path for kind, path in files.items() if kind == "monthly" or (kind.endswith("48h") and "_" not in kind)
    }
    return ReferenceCase(validate(site, SiteCase, source=f"case {name}"), files, 1800)


def _analytic_state(given: Mapping[str, Any]) -> dict[str, Values]:
    state: dict[str, Values] = {}
    for key, name in ANALYTIC_STATE.items():
        value = given.get(key)
        if value is not None:
            state[name] = tuple(value) if isinstance(value, list) else value
    pools = given.get("biomass_kgDMm2")
    if pools is not None:
        state["BIOMASS"] = (pools["leaf"], pools["struct_active"], pools["struct_passive"])
    state["RESP_BIOMASS"] = (given["resp_struct_active_acc"], given["resp_struct_passive_acc"])
    if given["vegetation"] in UNVEGETATED:
        state["ANFM"] = 0.0
    return state
