"""Single steps and two snow sequences copied from a SURFEX v8.1 run (`data/golden_steps.json`), at the file's own
tolerances, which are what its single-precision inputs allow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldas import landmodel

GOLDEN = json.loads((Path(__file__).parent / "data" / "golden_steps.json").read_text(encoding="utf-8"))["cases"]
STEPS = [case for case in GOLDEN if "n_steps" not in case]
SEQUENCES = [case for case in GOLDEN if "n_steps" in case]

SURFEX_NAMES = {
    "wsat": "WSAT",
    "wwilt": "WWILT",
    "w33": "WFC",
    "b": "BCOEF",
    "psisat": "MPOTSAT",
    "Ksat": "CONDSAT",
    "cond_dry": "CONDDRY",
    "cond_solid": "CONDSLD",
    "alb_nir_veg": "ALBNIR_VEG",
    "alb_vis_veg": "ALBVIS_VEG",
    "alb_nir_soil": "ALBNIR_SOIL",
    "alb_vis_soil": "ALBVIS_SOIL",
    "cwr": "WRMAX_CF",
    "Cveg": "CV",
    "LAImin": "LAIMIN",
    "SEFOLD": "SEFOLD",
    "gm": "GMES",
    "gc": "GC",
    "f2i": "F2I",
    "dmax": "DMAX",
    "Am": "AMAX",
    "f0": "FZERO",
    "EPS0": "EPSO",
    "GAM25": "GAMM",
    "ANMAX": "ANMAX",
    "BSLAI": "BSLAI_NITRO",
    "h_tree": "H_TREE",
}
FLUXES = {
    **{name: name for name in ("RN", "H", "LE", "GFLUX", "LEG", "LEGI", "LEV", "LER", "LETR", "EVAP")},
    **{name: name for name in ("GPP", "RESP_AUTO", "RECO", "CD", "CH")},
    **{"runoff": "RUNOFF", "drainage": "DRAINAGE", "drip": "DRIP", "SW_up": "SWUP", "LW_up": "LWUP", "Ri": "RI"},
}
# Small differences of large fluxes are measured by the large ones.
SCALES = {"GFLUX": "RN", "H": "RN", "LEV": "LE", "LER": "LE", "LETR": "LE", "LEG": "LE", "LEGI": "LE"}
SOIL = ("TG", "WG", "WGI")
SEQUENCE_FLUXES = {
    **{name: name.upper() for name in ("rn", "h", "le", "gflux", "evap", "les", "psn", "albedo", "swe", "snow_depth")},
    "snowmelt": "SNOWMELT",
}
SEQUENCE_STATES = {"resa": "RESA", "wr": "WR", "lai": "LAI", "TG": "TG", "WG": "WG", "WGI": "WGI"}


def columns_of(case: dict[str, Any]) -> tuple[landmodel.Parameters, landmodel.Options]:
    given = case["parameters"]
    options = landmodel.Options(light_scheme="carrer" if given["LTR_ML"] else "gauss")
    bottoms, roots = np.array(given["layer_bottom"]), np.array(given["root"])
    overrides = {name: given[key] for key, name in SURFEX_NAMES.items() if given.get(key) is not None}
    overrides["DG2"] = bottoms[given["NWG"] - 1]
    if roots[-1] > 0:
        overrides["DROOT"] = bottoms[np.argmax(roots == 1.0)]
        overrides["LSTRESS"] = float(given["defensive"])
    parameters = landmodel.columns(
        vegetation=[given["vegtype"]],
        cell=[0],
        patch=[1],
        fraction=[1.0],
        clay=0.37,
        sand=0.37,
        latitude=given["lat"],
        longitude=given["lon"],
        options=options,
        overrides=overrides,
        air_height=given["zref"],
        wind_height=given["uref"],
    )
    np.testing.assert_allclose(np.cumsum(parameters.soil("root_fraction")[0]), roots, atol=1e-7)
    assert int(parameters.moist_layers[0]) == given["NWG"]
    return parameters, options


def state_of(case: dict[str, Any], parameters: landmodel.Parameters) -> landmodel.State:
    given = case["in"]
    soil = {name: np.array([[0.0 if value is None else value for value in given[name]]]) for name in SOIL}
    lai = np.array([given["LAI"] or 0.0])
    state = landmodel.initial_state(parameters, soil["TG"], soil["WG"], lai)
    return state._replace(
        soil_ice=soil["WGI"],
        intercepted_water=np.array([given["WR"]]),
        biomass=np.array([[given["B1"], given["B2"], given["B3"]]]),
        respired_biomass=np.array([[given["RB2"], given["RB3"]]]),
        daily_net_assimilation=np.array([given["ANDAY"]]),
        maximum_leaf_assimilation=np.array([given["ANFM"]]),
        latent_heat_flux=np.array([given["LE"]]),
        aerodynamic_resistance=np.array([given["Ra"]]),
    )


def forcing_of(rows: list[list[float]]) -> landmodel.Forcing:
    """Records from one row per step (T q U SW LW Ps rain snow CO2): rain and snow belong to the end of their step."""
    steps = np.array(rows + rows[-1:])
    steps[1:, 6:8] = steps[:-1, 6:8].copy()
    order = {"Tair": 0, "Qair": 1, "Wind": 2, "PSurf": 5, "SWdown": 3, "LWdown": 4, "Rainf": 6, "Snowf": 7, "CO2air": 8}
    return landmodel.Forcing(**{name: steps[:, [column]] for name, column in order.items()})


def run(
    case: dict[str, Any], rows: list[list[float]], request: landmodel.OutputRequest
) -> tuple[landmodel.State, dict[str, np.ndarray]]:
    parameters, options = columns_of(case)
    return landmodel.Isba(parameters, options).run(
        state_of(case, parameters),
        forcing_of(rows),
        start=np.datetime64(case["start_utc"].replace(" ", "T")),
        step_s=case["dt"],
        forcing_step_s=case["dt"],
        output=request,
    )


def check(name: str, computed: Any, stored: Any, tolerance: float, scale: float | None = None) -> None:
    stored = np.array([np.nan if value is None else value for value in np.atleast_1d(stored)], dtype=float)
    computed = np.atleast_1d(computed)
    defined = np.isfinite(stored)
    size = np.abs(stored[defined]) if scale is None else abs(scale)
    # What is exactly 0 in the reference may be the rounding of a difference here.
    np.testing.assert_array_less(np.abs(computed[defined] - stored[defined]), tolerance * size + 1e-17, err_msg=name)


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case["name"])
def test_single_step(case: dict[str, Any]) -> None:
    air = case["forcing"]
    keys = ("Ta", "qa", "U", "SW", "LW", "Ps", "rain", "snow", "CO2_kg_m3")
    request = landmodel.OutputRequest(
        mean=tuple(FLUXES.values()), end=("VEG", "Z0VEG", "EMIS", "ALBNOSNOW"), interval_s=case["dt"]
    )
    state, outputs = run(case, [[air[key] for key in keys]], request)
    tolerance, fluxes, after = case["tol_rel"], case["fluxes"], case["out"]
    for key, name in FLUXES.items():
        scale = fluxes[SCALES[key]] if key in SCALES else None
        check(key, outputs[name][0, 0], fluxes[key], tolerance, scale)
    check("TG", state.soil_temperature[0], after["TG"], tolerance, 280.0)
    check("WG", state.soil_water[0], after["WG"], tolerance)
    check("WGI", state.soil_ice[0], after["WGI"], tolerance)
    check("WR", state.intercepted_water[0], after["WR"], tolerance)
    check("LAI", state.leaf_area_index[0], after["LAI"], tolerance)
    check("biomass", state.biomass[0], [after[key] for key in ("B1", "B2", "B3")], tolerance)
    check("respired", state.respired_biomass[0], [after["RB2"], after["RB3"]], tolerance)
    check("ANDAY", state.daily_net_assimilation[0], after["ANDAY"], tolerance)
    check("ANFM", state.maximum_leaf_assimilation[0], after["ANFM"], tolerance)
    check("Ra", state.aerodynamic_resistance[0], after["Ra"], tolerance)
    check("veg", outputs["VEG"][0, 0], after["veg"], tolerance)
    check("z0", outputs["Z0VEG"][0, 0], after["z0"], tolerance)
    check("emissivity", outputs["EMIS"][0, 0], after["emis"], tolerance)
    check("albedo", outputs["ALBNOSNOW"][0, 0], 0.5 * (after["alb_nir"] + after["alb_vis"]), tolerance)


@pytest.mark.parametrize("case", SEQUENCES, ids=lambda case: case["name"])
def test_snow_sequence(case: dict[str, Any]) -> None:
    request = landmodel.OutputRequest(
        mean=tuple(SEQUENCE_FLUXES.values()), end=tuple(SEQUENCE_STATES.values()), interval_s=case["dt"]
    )
    _, outputs = run(case, case["forcing"], request)
    at = np.array(case["out_steps"]) - 1
    for key, name in (SEQUENCE_FLUXES | SEQUENCE_STATES).items():
        stored = np.array([[np.nan if v is None else v for v in np.atleast_1d(row)] for row in case["out"][key]])
        computed = outputs[name][at, 0].reshape(stored.shape)
        scale = 280.0 if key == "TG" else float(np.nanmax(np.abs(stored)))
        check(key, computed.ravel(), stored.ravel(), case["tol_rel"], scale)
