"""What the land model cannot work with stops before anything is computed, and the message says what, where, expected,
got, and the likely mistake."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ldas.landmodel import (
    Forcing,
    Isba,
    LandModelError,
    LdasError,
    Options,
    OutputRequest,
    State,
    aggregate,
    cold_start,
    columns_from_fractions,
)
from ldas.landmodel.overrides import OVERRIDES
from tests.landmodel.support import constant_forcing, simple_columns, with_snow

PARAMETERS = simple_columns(["C3", "TENE"])
STATE = cold_start(PARAMETERS)
FRACTIONS = np.eye(12)[[6, 4]]


def raised(call: Callable[[], Any], *parts: str) -> str:
    """The message of the error that a call raises, which holds all parts."""
    with pytest.raises(LandModelError) as caught:
        call()
    assert isinstance(caught.value, LdasError)
    message = str(caught.value)
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"
    return message


def run(state: State = STATE, forcing: Forcing | None = None, **changes: Any) -> Any:
    arguments = {"start": "2007-01-01T00", "step_s": 1800.0} | changes
    return Isba(PARAMETERS).run(state, constant_forcing(3, 2) if forcing is None else forcing, **arguments)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"vegetation": []}, ["at least one column"]),
        ({"vegetation": ["C3", "GRASS"]}, ["vegetation type", "'GRASS'", "did you mean GRAS?", "TEBD, BONE"]),
        ({"clay": [0.1, 0.2, 0.3]}, ["clay", "(2,)", "(3,)"]),
        ({"clay": np.full((2, 3), 0.2)}, ["clay", "(2, 14)", "(2, 3)"]),
        ({"clay": 25.0}, ["clay of column 0, layer 1", "0.01 to 0.99", "25.0", "percent"]),
        ({"sand": [0.4, np.nan]}, ["sand of column 1", "nan"]),
        ({"clay": 0.5, "sand": 0.6}, ["clay + sand of column 0", "at most 1", "1.1"]),
        ({"latitude": [10.0, 95.0]}, ["latitude of column 1", "-90 to 90", "95.0"]),
        ({"latitude": [1.0, 2.0, 3.0]}, ["latitude", "(2,)", "(3,)"]),
        ({"longitude": 361.0}, ["longitude of column 0", "361.0"]),
        ({"fraction": [0.5, 0.0]}, ["fraction of column 1", "0.0"]),
        ({"fraction": np.nan}, ["fraction of column 0", "nan"]),
        ({"cell": 3, "fraction": 0.6}, ["fractions of cell 3", "2 columns", "1.2"]),
        ({"cell": [-1, 0]}, ["cell of column 0", "-1.0"]),
        ({"cell": [0.5, 1.0]}, ["cell of column 0", "whole number", "0.5"]),
        ({"patch": 13}, ["patch of column 0", "1 to 12", "13.0"]),
        ({"air_height": 0.0}, ["air_height of column 0", "0.1 to 200 m", "0.0"]),
        ({"wind_height": [10.0, 500.0]}, ["wind_height of column 1", "500.0"]),
        ({"cell_size_km": -1.0}, ["cell_size of column 0", "-1.0"]),
        ({"reference_co2": 380.0}, ["reference_co2 of column 0", "380.0", "ppm"]),
        ({"overrides": {"GMESS": 1.0}}, ["'GMESS'", "did you mean GMES?"]),
        ({"overrides": {"zzz": 1.0}}, ["'zzz'", "known are", "WSAT", "DROOT"]),
        ({"overrides": {"WSAT": np.ones((2, 3))}}, ["WSAT", "(2, 14)", "(2, 3)"]),
        ({"overrides": {"GMES": np.full((2, 14), 0.001)}}, ["GMES", "(2,)", "(2, 14)"]),
        ({"overrides": {"GMES": "fast"}}, ["GMES", "numbers", "fast"]),
    ],
)  # fmt: skip
def test_columns(arguments: dict[str, Any], parts: list[str]) -> None:
    arguments = dict(arguments)
    vegetation = arguments.pop("vegetation", ["C3", "TENE"])
    raised(lambda: simple_columns(vegetation, **arguments), *parts)


# SURFEX name, a usual value, and one that nothing in nature has
OVERRIDE_VALUES = (
    ("VEG", 0.9, 1.5), ("VEG", 0.9, np.nan), ("GMES", 0.002, 0.0), ("GC", 1e-4, -1.0), ("DMAX", 0.1, -1.0),
    ("F2I", 0.3, 0.0), ("LSTRESS", 1.0, 5.0), ("AMAX", 1e-6, 0.0), ("FZERO", 0.9, 2.0), ("EPSO", 1.7e-8, -1.0),
    ("GAMM", 45.0, -1.0), ("LAIMIN", 0.3, -1.0), ("BSLAI_NITRO", 0.06, 0.0), ("ANMAX", 1e-6, 0.0), ("CV", 2e-5, 1.0),
    ("WRMAX_CF", 0.2, -1.0), ("ALBNIR_VEG", 0.2, 1.1), ("ALBVIS_VEG", 0.1, -0.1), ("ALBNIR_SOIL", 0.2, np.nan),
    ("ALBVIS_SOIL", 0.1, 2.0), ("RE25", 1e-7, -1.0), ("RUNOFFD", 0.6, 0.0), ("WSAT", 0.45, 0.99), ("WWILT", 0.1, -1.0),
    ("WFC", 0.3, 0.9), ("BCOEF", 6.0, 0.0), ("MPOTSAT", -0.3, 0.3), ("CONDSAT", 1e-6, 0.0), ("CONDDRY", 0.2, 0.0),
    ("CONDSLD", 3.0, -1.0), ("DG2", 2.0, 100.0), ("DROOT", 1.0, -1.0), ("H_TREE", 10.0, np.nan),
    ("CE_NITRO", 5.0, -50.0), ("CF_NITRO", 5.0, np.nan), ("CNA_NITRO", 1.3, -50.0), ("SEFOLD", 1e7, 150.0),
)  # fmt: skip


@pytest.mark.parametrize(("name", "usual", "wrong"), OVERRIDE_VALUES)
def test_every_override_has_a_range(name: str, usual: float, wrong: float) -> None:
    """None is skipped; the message names the second of two columns and its value."""
    code = "C3" if name == "FZERO" else "TENE"
    assert simple_columns([code], overrides={name: None}).columns == 1
    # the nitrogen parameters give BSLAI together, which is what is refused
    got = [] if name in ("CE_NITRO", "CF_NITRO", "CNA_NITRO") else [repr(float(wrong))]
    message = raised(lambda: simple_columns([code] * 2, overrides={name: [usual, wrong]}), "of column 1", *got)
    if name == "SEFOLD":
        assert "days?" in message


def test_every_override_is_tried_above() -> None:
    assert {name for name, _, _ in OVERRIDE_VALUES} == set(OVERRIDES)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"patch_fraction": FRACTIONS[:, :5]}, ["patch_fraction", "(cell, 12)", "(2, 5)"]),
        ({"patch_fraction": FRACTIONS * 0.9}, ["patch_fraction of cell 0", "add to 1", "0.9"]),
        ({"patch_fraction": np.where(FRACTIONS > 0, np.nan, 0.0)}, ["patch_fraction of cell 0", "nan"]),
        ({"patch_fraction": FRACTIONS + np.eye(12)[0] * 0.2 - np.eye(12)[1] * 0.2}, ["cell 0", "-0.2"]),
        ({"clay": [0.2]}, ["clay", "(2,)", "(1,)"]),
        ({"sand": np.full((2, 5), 0.3)}, ["sand", "(2, 14)", "(2, 5)"]),
        ({"latitude": [1.0, 2.0, 3.0]}, ["latitude", "(3,)"]),
        ({"vegetation_of_patch": ("NO",)}, ["vegetation_of_patch", "12", "1"]),
        ({"minimum_fraction": 2.0}, ["cell 0", "minimum_fraction=2.0"]),
        ({"overrides": {"LAI_MIN": 0.3}}, ["'LAI_MIN'", "did you mean LAIMIN?"]),
    ],
)
def test_columns_from_fractions(changes: dict[str, Any], parts: list[str]) -> None:
    arguments: dict[str, Any] = {
        "patch_fraction": FRACTIONS,
        "clay": 0.2,
        "sand": 0.4,
        "latitude": 45.0,
        "longitude": 0.0,
    }
    assert columns_from_fractions(**arguments).columns == 2
    raised(lambda: columns_from_fractions(**(arguments | changes)), *parts)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"step_s": 0}, ["step_s", "1 to 86400", "0"]),
        ({"step_s": -1800.0}, ["step_s", "-1800.0"]),
        ({"step_s": np.nan}, ["step_s", "nan"]),
        ({"step_s": 7000.0}, ["forcing_step_s=3600.0 over step_s=7000.0", "whole number"]),
        ({"forcing_step_s": np.inf}, ["forcing_step_s", "inf"]),
        ({"steps": 0}, ["steps", "1 to 4", "0"]),
        ({"steps": 99}, ["steps", "1 to 4", "3 forcing records", "99"]),
        ({"steps": 1.5}, ["steps", "1.5"]),
        ({"start": "yesterday"}, ["start", "UTC", "'yesterday'"]),
        ({"start": "NaT"}, ["start", "'NaT'"]),
        ({"output": OutputRequest(mean=("LEE",))}, ["'LEE'", "did you mean LE?", "GPP"]),
        ({"output": OutputRequest(mean=("LE", "LE"))}, ["once", "LE, LE"]),
        ({"output": OutputRequest(mean=("LE",), interval_s=5000.0)}, ["interval", "5000.0", "1800.0"]),
        ({"output": OutputRequest(mean=("LE",), interval_s=86400.0)}, ["4 steps", "86400"]),
        ({"output": OutputRequest(instant=("WG",), interval_s=3600.0)}, ["interval_s=86400", "3600"]),
        (
            {"output": OutputRequest(instant=("WG",), instant_hour=9.3), "forcing": constant_forcing(25, 2)},
            ["instant_hour=9.3"],
        ),
    ],
)
def test_run(changes: dict[str, Any], parts: list[str]) -> None:
    raised(lambda: run(**changes), *parts)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("Tair", 15.0, "deg C"), ("Tair", np.nan, "gaps"), ("Qair", 5.0, "g kg-1"), ("Qair", -0.001, ""),
        ("Wind", -3.0, "component"), ("Wind", np.inf, "gaps"), ("PSurf", 1013.0, "hPa"), ("SWdown", -50.0, ""),
        ("SWdown", 1.0e6, "J m-2"), ("LWdown", 1.0e6, "J m-2"), ("LWdown", 0.0, ""), ("Rainf", 5.0, "mm per hour"),
        ("Rainf", -1e-4, ""), ("Snowf", 2.0, "mm per hour"), ("CO2air", 380.0, "ppm"), ("CO2air", 0.0, ""),
    ],
)  # fmt: skip
def test_forcing_values(name: str, value: float, hint: str) -> None:
    forcing = constant_forcing(3, 2)
    np.asarray(getattr(forcing, name))[2, 1] = value
    raised(lambda: run(forcing=forcing), f"{name} of record 2, cell 1", repr(float(value)), hint)


def test_forcing_shapes() -> None:
    raised(lambda: run(forcing=constant_forcing(3, 1)), "at least 2 cells", "(3, 1)")
    raised(lambda: run(forcing=constant_forcing(1, 2)), "at least 2 records", "(1, 2)")
    crooked = constant_forcing(3, 2)._replace(Wind=np.ones((3, 1)))
    raised(lambda: run(forcing=crooked), "Wind", "(record, cell) = (3, 2)", "(3, 1)")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("soil_temperature", 15.0, "deg C"), ("soil_temperature", np.nan, "nan"), ("soil_water", -0.1, "-0.1"),
        ("soil_water", 25.0, "percent"), ("soil_water", 0.0, "soil depth"), ("soil_water", 0.9, "porosity"),
        ("soil_ice", 0.4, "porosity"), ("soil_ice", -1e-9, "-1e-09"), ("intercepted_water", -1.0, "kg m-2"),
        ("snow_density", 0.0, "50"), ("snow_water_equivalent", -1.0, "kg m-2"), ("snow_heat", np.inf, "J m-3"),
        ("snow_age", -1.0, "days"), ("snow_albedo", 1.5, "1.5"), ("leaf_area_index", 50.0, "m2 m-2"),
        ("biomass", np.nan, "nan"), ("respired_biomass", 1e9, "kg m-2"), ("daily_net_assimilation", 1e9, "kg m-2"),
        ("maximum_leaf_assimilation", 5.0, "5.0"), ("net_assimilation", -5.0, "-5.0"),
        ("latent_heat_flux", 1e9, "W m-2"), ("aerodynamic_resistance", 0.0, "s m-1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("members", [0, 3])
def test_state_values(name: str, value: float, hint: str, members: int) -> None:
    """The second column, third member and fifth layer (or the last element) hold the value."""
    state = STATE.members(members) if members else STATE
    values = np.array(getattr(state, name))
    where: tuple[int, ...] = (1, 2)[: values.ndim] if members else (1,)
    where = where + ((min(4, values.shape[-1] - 1),) if values.ndim > len(where) else ())
    values[where] = value
    message = raised(lambda: run(state._replace(**{name: values})), name, "column 1 (cell 1, patch 7)", hint)
    assert f"element {where[1:]}" in message


def test_state_shapes() -> None:
    raised(lambda: run(STATE.take(np.array([0]))), "leading axes", "(2,)", "(1,)")
    raised(lambda: run(STATE._replace(soil_water=np.ones((2, 10)))), "(2, 14)", "soil_water", "(2, 10)")
    mixed = STATE._replace(soil_ice=STATE.members(2).soil_ice)
    raised(lambda: run(mixed), "soil_ice", "(2, 2, 14)")
    raised(lambda: run(STATE.members(3), where=np.ones(2, dtype=bool)), "where", "(2, 3)", "(2,)")


def test_restart_of_another_configuration() -> None:
    """Deeper soil than the state has water in; fewer snow layers than it has snow in; another soil."""
    deep = Isba(simple_columns(["C3", "TENE"], overrides={"DROOT": 3.0}))
    forcing = constant_forcing(3, 2)
    raised(
        lambda: deep.run(STATE, forcing, "2007-01-01"),
        "soil_water of column 0",
        "11 moist layers",
        "another soil depth",
    )
    snowy = with_snow(STATE, [0.0, 50.0], 200.0, 265.0, layers=12)
    few = Isba(PARAMETERS, Options(snow_layers=3))
    raised(lambda: few.run(snowy, forcing, "2007-01-01"), "column 1", "layer 4", "snow_layers=3")
    tight = Isba(simple_columns(["C3", "TENE"], overrides={"WSAT": 0.27, "WFC": 0.25, "WWILT": 0.1}))
    raised(lambda: tight.run(STATE, forcing, "2007-01-01"), "porosity 0.27", "another soil?")


def test_a_refused_run_leaves_its_input_alone() -> None:
    state = STATE._replace(soil_temperature=STATE.soil_temperature - 273.16)
    before = [values.copy() for values in state]
    raised(lambda: run(state, overwrite_state=True), "soil_temperature")
    for old, new in zip(before, state, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_state_that_leaves_the_numbers_is_named() -> None:
    """A state that passed the checks and yet goes wrong: the first undefined value is named, with its place. Only its
    column is lost where undefined values are allowed."""
    temperature = STATE.soil_temperature.copy()
    temperature[1, 3] = np.nan
    state = STATE._replace(soil_temperature=temperature)
    end, _ = run(state, allow_nonfinite=True)
    assert not np.isfinite(end.soil_temperature[1]).any()
    np.testing.assert_array_equal(end.to_rows()[0], run(STATE)[0].to_rows()[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldas.landmodel.isba.validate_state", lambda *_: None)
        raised(
            lambda: run(state),
            "soil_temperature of column 1 (cell 1, patch 7)",
            "no longer finite",
            "2007-01-01T01:30",
            "1 of 2",
        )


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"runoff": "SGH"}, ["option runoff", "WSAT, DT92", "'SGH'"]),
        ({"pedotransfer": "ch78"}, ["pedotransfer", "CH78, CO84", "'ch78'"]),
        ({"light_scheme": "LTR_ML"}, ["light_scheme", "gauss, carrer"]),
        ({"drip": "sgh"}, ["drip", "DEF, SGH"]),
        ({"snow_layers": 5}, ["snow_layers", "3, 12", "5"]),
        ({"soil_respiration": "Q10"}, ["soil_respiration", "DEF, PRM"]),
        ({"horton": "yes"}, ["horton", "'yes'"]),
        ({"conserve_heat": "no"}, ["conserve_heat", "'no'"]),
        ({"energy_substep_s": 0.0}, ["energy_substep_s", "positive", "0.0"]),
        ({"energy_substep_s": np.nan}, ["energy_substep_s", "nan"]),
    ],
)
def test_options(values: dict[str, Any], parts: list[str]) -> None:
    raised(lambda: Options(**values), *parts)


def test_aggregate_and_cold_start() -> None:
    raised(lambda: aggregate(np.ones((2, 5)), PARAMETERS, 2), "(..., 2)", "(2, 5)")
    raised(lambda: aggregate(np.ones((2, 2)), PARAMETERS, 1), "at least 2 cells", "1")
    raised(lambda: cold_start(PARAMETERS, np.ones(3)), "air_temperature", "(3,)")
    raised(lambda: cold_start(PARAMETERS, leaf_area_index=np.ones(3)), "leaf_area_index", "(3,)")


@pytest.mark.parametrize("begin", ["2007-01-01T22:10", "2007-01-01T23:50", "2007-01-01T22:00"])
def test_the_daily_update_needs_no_step_at_midnight(begin: str) -> None:
    """The first step of a UTC day ends with the update, wherever in its first half hour it starts
    (docs/science/vegetation.md, section 1)."""
    request = OutputRequest(mean=("LITTER",), interval_s=1800.0)
    state = cold_start(PARAMETERS, leaf_area_index=3.0)
    _, outputs = Isba(PARAMETERS).run(state, constant_forcing(27, 2), begin, output=request)
    times = np.datetime64(begin, "s") + np.arange(52) * np.timedelta64(1800, "s")
    seconds = (times - times.astype("datetime64[D]")).astype(int)
    np.testing.assert_array_equal((outputs["LITTER"] > 0.0).all(axis=1), seconds < 1800)
    assert (seconds < 1800).any()
