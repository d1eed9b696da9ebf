"""The comparison itself: a small folder of cases whose differences from the land model are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from ldas.landmodel.errors import LdasError
from ldas.pipeline.forcing.analytic import START, STEP_S, analytic_forcing
from ldas.pipeline.site.conformance import Row, compare, default_folder, markdown, run_conformance, tolerance
from ldas.pipeline.site.reference_cases import ConformanceError, read_cases
from ldas.pipeline.site.run import run_case

DAYS = 2
TG = [276.0, 279.0, *[280.0] * 8, *[284.5] * 4]
ENTRY: dict[str, Any] = {
    "parameters": "crop",
    "daily": "crop_daily.nc",
    "steps": "crop_steps.nc",
    "days": DAYS,
    "model_step_s": 1800,
    "steps_file_step_s": 1800,
    "latitude": 43.6,
    "longitude": 1.4,
    "altitude_m": 150,
    "zref_m": 2,
    "uref_m": 10,
    "forcing": "forcing.nc",
    "forcing_step_s": 1800,
    "start": "1986-01-01T00:00",
    "options": {"CISBA": "DIF", "CPEDOTF": "CH78", "CRUNOFF": "WSAT", "CRAIN": "DEF", "CHORT": "DEF", "LTR_ML": False},
    "note": "a note is passed over",
}
PARAMETERS = {
    "vegtype": "C3",
    **{"CLAY": [0.25] * 14, "SAND": [0.40] * 14, "DG2": 2.0, "DROOT": 1.5, "ALBNIR_SOIL": 0.3, "ALBVIS_SOIL": 0.1},
    **{"VEG": 0.26, "GAMMA": None, "TG": TG, "WG": [0.33211947] * 10 + [None] * 4, "WGI": [0.0] * 14, "WR": 0.0},
    **{"LAI": 0.5, "BIOMASS": [0.033859281, 0.0, 0.0]},
}


def write_folder(folder: Path, entry: dict[str, Any] | None = None, parameters: dict[str, Any] | None = None) -> Path:
    """A folder of one case. Its reference is the land model's own run, with known changes."""
    (folder / "cases.json").write_text(json.dumps({"rule": "...", "cases": {"crop": {**ENTRY, **(entry or {})}}}))
    (folder / "parameters.json").write_text(json.dumps({"crop": {**PARAMETERS, **(parameters or {})}}))
    timed = analytic_forcing(DAYS * 48)
    times = (START + np.arange(timed.intervals + 1) * np.timedelta64(STEP_S, "s")).astype("datetime64[ns]")
    names = {"Tair": "tair", "Qair": "qair", "Wind": "wind", "PSurf": "psurf", "SWdown": "swdown", "LWdown": "lwdown"}
    names |= {"Rainf": "rain", "Snowf": "snow", "CO2air": "co2"}
    forcing = {
        f"forc_{short}": ("time", np.asarray(getattr(timed.forcing, name))[:, 0]) for name, short in names.items()
    }
    xr.Dataset(forcing, coords={"time": times}).to_netcdf(folder / "forcing.nc")
    for name in ("crop_steps.nc", "crop_daily.nc"):
        xr.Dataset(coords={"time": times[1:2]}).to_netcdf(folder / name)
    case = read_cases(folder)[0].site
    output = case.output.model_copy(update={"interval": "half-hourly", "variables": ("TG", "WG", "LE", "BIOMASS")})
    run = run_case(case.model_copy(update={"output": output}))
    steps = xr.Dataset(
        {
            "tg": (("time", "soil_layer"), run["TG"].values + np.where(np.arange(14) == 4, 0.25, 0.0)),
            "wg": (("time", "soil_layer"), run["WG"].values),
            "le": ("time", run["LE"].values * 1.5),
            "biomass_leaf": ("time", run["BIOMASS"].values[:, 0]),
            "forc_tair": ("time", run["LE"].values),
        },
        coords={"time": times[1:]},
    )
    steps.to_netcdf(folder / "crop_steps.nc")
    daily = xr.Dataset(
        {
            "le": ("time", steps["le"].values.reshape(DAYS, 48).mean(axis=1) / 1.5),
            "tg": (("time", "soil_layer"), steps["tg"].values.reshape(DAYS, 48, 14).mean(axis=1)),
            "tg_end": (("time", "soil_layer"), run["TG"].values[47::48]),
        },
        coords={"time": times[48::48]},
    )
    daily.to_netcdf(folder / "crop_daily.nc")
    return folder


def row(rows: list[Row], period: str, variable: str, layer: int | None = None) -> Row:
    return next(r for r in rows if (r.period, r.variable, r.layer) == (period, variable, layer))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    return compare(read_cases(folder))


def test_known_differences_are_found(rows: list[Row]) -> None:
    assert row(rows, "steps", "TG", 1).max_abs < 1e-12
    changed = row(rows, "steps", "TG", 5)
    assert changed.max_abs == pytest.approx(0.25)
    assert changed.rmsd == pytest.approx(0.25)
    assert changed.unit == "K"
    assert changed.r == pytest.approx(1.0)
    scaled = row(rows, "steps", "LE")
    assert scaled.r == pytest.approx(1.0)
    assert scaled.max_abs > 1.0


def test_daily_means_of_fluxes_and_ends_of_states(rows: list[Row]) -> None:
    assert row(rows, "daily_mean", "LE").max_abs < 1e-9
    assert row(rows, "daily_end", "TG", 5).max_abs < 1e-12
    assert not any(r.period == "daily_mean" and r.variable == "TG" for r in rows)


def test_undefined_layers_and_foreign_variables_are_left_out(rows: list[Row]) -> None:
    assert {r.layer for r in rows if r.variable == "WG"} == set(range(1, 11))
    assert {r.layer for r in rows if r.variable == "BIOMASS"} == {1}
    assert {r.variable for r in rows} == {"TG", "WG", "LE", "BIOMASS"}


def test_states_of_the_reference_do_not_enter_the_run(folder: Path, rows: list[Row], tmp_path: Path) -> None:
    """Reference values from another world change the differences, not the run: theirs grow by exactly as much."""
    other = write_folder(tmp_path)
    with xr.open_dataset(other / "crop_steps.nc") as opened:
        shifted = opened.load()
    shifted["tg"] = shifted["tg"] - 100.0
    shifted.to_netcdf(other / "crop_steps.nc")
    again = compare(read_cases(other))
    assert row(again, "steps", "TG", 1).max_abs == pytest.approx(100.0, abs=1e-9)
    assert row(again, "steps", "LE").max_abs == row(rows, "steps", "LE").max_abs


def test_rows_are_written_as_json_and_pages(folder: Path, tmp_path: Path) -> None:
    with (tmp_path / "table.txt").open("w") as file:
        rows = run_conformance(folder, tmp_path / "rows.json", tmp_path / "page.md", Console(file=file, width=140))
    stored = json.loads((tmp_path / "rows.json").read_text())
    assert [entry["variable"] for entry in stored] == [r.variable for r in rows]
    assert set(stored[0]) == {"case", "period", "variable", "layer", "unit", "rmsd", "max_abs", "r"}
    assert "crop" in (tmp_path / "table.txt").read_text()
    assert "| crop | steps |" in (tmp_path / "page.md").read_text()


def test_undefined_results_are_never_within_tolerance() -> None:
    lost = Row("crop", "steps", "TG", 1, "K", rmsd=float("nan"), max_abs=float("nan"), r=None, count=3)
    allowed = tolerance(lost)
    assert allowed is not None
    assert not lost.max_abs <= allowed


def test_tolerances_are_those_of_the_specification() -> None:
    def allowed(case: str, variable: str) -> float | None:
        return tolerance(Row(case, "steps", variable, None, "", 0.0, 0.0, None, 1))

    assert allowed("hapex_c3", "TG") == 1e-4
    assert allowed("mix_loam", "TG_GRAS") == 1e-4
    assert allowed("hapex_c3", "RESP_AUTO") is None
    assert allowed("hapex_c3_dt92", "TG") == 5e-3
    assert allowed("hapex_c3_dt92", "GPP") is None


def test_page_pools_layers(rows: list[Row]) -> None:
    page = markdown(rows)
    # One layer of fourteen is wrong by 0.25 K: 0.25 / sqrt(14) over all.
    assert "7e-02 / 2e-01" in page or "7e-02 / 3e-01" in page
    assert "\nIn 0 of 1 cases the model stays within the tolerance" in page


@pytest.mark.parametrize(
    ("entry", "parameters", "expected"),
    [
        ({"options": {"CRUNOFF": "SGH"}}, {}, "case crop: options.runoff"),
        ({"options": {"CISBA": "3-L"}}, {}, "option CISBA = 3-L, only DIF exists here"),
        ({"options": {"CFLOOD": "YES"}}, {}, "option CFLOOD is not known"),
        ({"parameters": "tree"}, {}, "no entry 'tree', which case crop names"),
        ({"steps": "absent.nc"}, {}, "absent.nc, which is not there"),
        ({"days": "many"}, {}, "case crop"),
        ({}, {"CLAY": [0.2] * 13 + [0.3]}, "CLAY differs between layers"),
        ({}, {"vegtype": "OAK"}, "got 'OAK'"),
    ],
)
def test_unusable_cases_are_named(
    tmp_path: Path, folder: Path, entry: dict[str, Any], parameters: dict[str, Any], expected: str
) -> None:
    for path in folder.glob("*.nc"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cases.json").write_text(json.dumps({"cases": {"crop": {**ENTRY, **entry}}}))
    (tmp_path / "parameters.json").write_text(json.dumps({"crop": {**PARAMETERS, **parameters}}))
    with pytest.raises(LdasError, match=expected):
        compare(read_cases(tmp_path))


def test_a_folder_without_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConformanceError, match=r"neither cases\.json nor initial_state\.json"):
        read_cases(tmp_path)
    (tmp_path / "cases.json").write_text("[1, 2]")
    with pytest.raises(ConformanceError, match="an object was expected"):
        read_cases(tmp_path)


def test_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LDAS_SHARED", str(tmp_path))
    assert default_folder() == tmp_path / "reference" / "surfex"
