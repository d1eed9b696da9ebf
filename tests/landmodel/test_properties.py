"""Any valid column in any weather stays finite, inside its physical bounds and closes its budgets."""

import os

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldas.landmodel import Options
from tests.landmodel.support import (
    REGIMES,
    Array,
    Steps,
    biomass_residual,
    random_columns,
    random_forcing,
    random_state,
    run_steps,
    water_residual,
)

COLUMNS = 24
# The same examples every time, so that a failure belongs to a change of the code; LDAS_EXAMPLES=2000 searches further.
EXAMPLES = settings(
    max_examples=int(os.environ.get("LDAS_EXAMPLES", "120")),
    derandomize="LDAS_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)

any_options = st.builds(
    Options,
    pedotransfer=st.sampled_from(["CH78", "CO84"]),
    light_scheme=st.sampled_from(["gauss", "carrer"]),
    runoff=st.sampled_from(["WSAT", "DT92"]),
    horton=st.booleans(),
    drip=st.sampled_from(["DEF", "SGH"]),
    snow_layers=st.sampled_from([3, 12]),
    soil_respiration=st.sampled_from(["DEF", "PRM"]),
    conserve_heat=st.booleans(),
)


def a_run(seed: int, options: Options, regime: str, step_s: float, days: int) -> Steps:
    random = np.random.default_rng(seed)
    parameters = random_columns(random, options, COLUMNS)
    state = random_state(random, parameters, options, regime)
    forcing = random_forcing(random, regime, 24 * days + 1, COLUMNS)
    day = random.integers(0, 365)
    start = (
        np.datetime64("2008-01-01T00") + day * np.timedelta64(1, "D") + random.integers(0, 24) * np.timedelta64(1, "h")
    )
    return run_steps(parameters, options, state, forcing, str(start), step_s)


def require(name: str, values: Array, low: float | Array, high: float | Array, run: Steps) -> None:
    bad = ~((values >= low) & (values <= high))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise AssertionError(
            f"{name} at step {where[0]}, column {where[1]}, element {where[2:]}: {values[where]!r} outside its bounds; "
            f"{int(bad.sum())} values; {run.options}"
        )


def check_bounds(run: Steps) -> None:
    """Bounds of state and fluxes that hold in any weather that the forcing of these tests contains."""
    out, parameters = run.outputs, run.parameters
    moist = np.arange(14)[None, :] < parameters.moist_layers[:, None]
    vegetated = parameters.vegetated > 0.5
    porosity = parameters.soil("porosity")
    for name, values in out.items():
        undefined = name in ("WG", "WGI", "LAI", "SNOW_ALBEDO")  # NaN where there is no such thing
        assert (np.isfinite(values) | undefined).all(), name
    assert np.isfinite(run.after.to_rows()).all()
    water, ice = np.where(moist, out["WG"], 0.01), np.where(moist, out["WGI"], 0.0)
    require("TG", out["TG"], 180.0, 365.0, run)
    require("WGI", ice, 0.0, porosity - 0.001 + 1e-12, run)
    # A layer full of ice keeps the minimum of liquid water beside it; hoar on a full first layer, melting or not,
    # leaves it for the layers below in the next step only.
    full = np.broadcast_to(porosity + 0.001, water.shape).copy()
    full[..., 0] += np.maximum(0.0, -out["LEGI"]) * run.step_s / (2.8345e6 * 1000.0 * 0.01)
    require("WG", water, 0.001 - 1e-12, full + 1e-12, run)
    require("WG + WGI", water + ice, 0.001 - 1e-12, full + 1e-12, run)
    leaf_area = np.where(vegetated, out["LAI"], 0.0)
    require("LAI", leaf_area, np.where(vegetated, parameters.minimum_lai, 0.0) - 1e-15, 12.0, run)
    capacity = parameters.interception_coefficient * 1.0 * np.maximum(leaf_area, 12.0)
    require("WR", out["WR"], 0.0, capacity, run)
    require("BIOMASS", out["BIOMASS"][..., 1:], 0.0, 10.0, run)
    require("RESP_BIOMASS", out["RESP_BIOMASS"], 0.0, 1.0, run)
    require("ANFM", out["ANFM"], -1e-6, 1e-4, run)
    require("RESA", out["RESA"], 0.1, 2.0e5, run)
    require("SNOW_SWE", out["SNOW_SWE"], 0.0, 3000.0, run)
    # At most ice with the 3 % of 750 kg m-3 of liquid water that it holds until the next step. The first layer is kept
    # at 50; where sublimation takes it, the others are spread over at least 0.5e-6 m, which thins packs of micrometres.
    require("SNOW_RHO", out["SNOW_RHO"], 10.0, 917.0 + 22.5 + 1e-9, run)
    first = np.where(out["SNOW_DEPTH"] > 1e-5, out["SNOW_RHO"][..., 0], 50.0)
    require("SNOW_RHO of layer 1", first, 50.0 * (1 - 1e-12), 940.0, run)
    require("SNOW_HEAT", out["SNOW_HEAT"], -940.0 * (3.337e5 + 2106.0 * 110.0), 1e-3, run)
    require("SNOW_AGE", out["SNOW_AGE"], 0.0, 60.0, run)
    present = out["SWE"] > 0.0
    require("SNOW_ALBEDO", np.where(present, out["SNOW_ALBEDO"], 0.5), 0.3, 0.92, run)
    for name in ("PSN", "PSNG", "PSNV", "ALBEDO", "VEG", "EMIS", "ALBNOSNOW", "F2", "HALSTEAD"):
        require(name, out[name], 0.0, 1.0 + 1e-12, run)
    require("RS", out["RS"], 0.0, 5000.0, run)
    require("Z0EFF", out["Z0EFF"], 1e-4, 5.0, run)
    require("GPP", out["GPP"], -1e-20, 1e-5, run)
    require("RECO", out["RECO"], 0.0, 5e-5, run)
    require("RUNOFF", out["RUNOFF"], 0.0, 1.0, run)
    require("HORTON", out["HORTON"], 0.0, out["RUNOFF"] * (1 + 1e-12) + 1e-18, run)
    require("SNOWMELT", out["SNOWMELT"], 0.0, 1.0, run)
    require("LITTER", out["LITTER"], 0.0, 1.0, run)
    require("BIOMASS_CLIP", out["BIOMASS_CLIP"], 0.0, 1.0, run)
    require("LWUP", out["LWUP"], 0.0, 900.0, run)
    require("SWUP", out["SWUP"], 0.0, 1200.0, run)
    parts = out["LEG"] + out["LEGI"] + out["LEV"] + out["LES"]
    require("LE against its parts", out["LE"] - parts, -1e-9, 1e-9, run)
    require("LEV against its parts", out["LEV"] - out["LETR"] - out["LER"], -1e-9, 1e-9, run)
    require("GFLUX", out["GFLUX"] - (out["RN"] - out["H"] - out["LE"]), -1e-9, 1e-9, run)
    require("SWE", out["SWE"] - out["SNOW_SWE"].sum(axis=-1), -1e-9, 1e-9, run)


@EXAMPLES
@given(
    seed=st.integers(0, 2**32 - 1),
    options=any_options,
    regime=st.sampled_from(REGIMES),
    step_s=st.sampled_from([300.0, 900.0, 1800.0]),
)
def test_any_column_in_any_weather(seed: int, options: Options, regime: str, step_s: float) -> None:
    run = a_run(seed, options, regime, step_s, days=2)
    check_bounds(run)
    assert np.abs(water_residual(run)).max() <= 1.0e-9
    assert np.abs(biomass_residual(run)).max() <= 1.0e-12


@settings(parent=EXAMPLES, max_examples=int(os.environ.get("LDAS_EXAMPLES", "120")) // 6)
@given(seed=st.integers(0, 2**32 - 1), options=any_options, weathers=st.permutations(REGIMES))
def test_weather_of_one_regime_after_another(seed: int, options: Options, weathers: list[str]) -> None:
    """Each regime starts from the state that the one before left: a flooded column freezes, a deep pack meets heat."""
    random = np.random.default_rng(seed)
    parameters = random_columns(random, options, COLUMNS)
    state = random_state(random, parameters, options, weathers[0])
    start = np.datetime64("2007-11-03T05", "h")
    for regime in weathers:
        forcing = random_forcing(random, regime, 25, COLUMNS)
        run = run_steps(parameters, options, state, forcing, str(start), 1800.0)
        check_bounds(run)
        assert np.abs(water_residual(run)).max() <= 1.0e-9
        assert np.abs(biomass_residual(run)).max() <= 1.0e-12
        state = run.after
        start = start + 24


@settings(parent=EXAMPLES, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), regime=st.sampled_from(REGIMES))
def test_evaporation_does_not_exceed_what_there_is(seed: int, regime: str) -> None:
    """Over a run no more water evaporates than stood in soil, leaves and snow and fell."""
    run = a_run(seed, Options(), regime, 1800.0, days=2)
    stock = run.before.snow_water_equivalent.sum(axis=-1) + run.before.intercepted_water
    depth = np.diff(run.parameters.soil("layer_bottom"), axis=1, prepend=0.0)
    stock = stock + ((run.before.soil_water + run.before.soil_ice) * depth).sum(axis=1) * 1000.0
    fell = run.rain.sum(axis=0) * run.step_s
    assert (run.outputs["EVAP"].sum(axis=0) * run.step_s <= stock + fell).all()
