"""One site from a YAML file: what comes out, and what stops before anything is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from ldas.landmodel.errors import LdasError
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.forcing.analytic import START, analytic_forcing
from ldas.pipeline.forcing.check import FORCING_NAMES
from ldas.pipeline.forcing.read import ForcingError
from ldas.pipeline.site.case import load_case
from ldas.pipeline.site.run import run_case, run_site
from tests.helpers.synthetic_store import forcing_store, formula_cell
from tests.support import shared

SOIL = {"DG2": 2.0, "DROOT": 1.5, "ALBNIR_SOIL": 0.3, "ALBVIS_SOIL": 0.1}
TG = [276.0, 279.0, *[280.0] * 8, *[284.5] * 4]


def case_file(folder: Path, **changes: Any) -> Path:
    """The C3 crop of the formula-driven reference, three days long, with changes (None takes a key away)."""
    content: dict[str, Any] = {
        "name": "formula weather",
        "latitude": 43.6,
        "longitude": 1.4,
        "clay": 0.25,
        "sand": 0.40,
        "vegetation": "C3",
        "parameters": SOIL,
        "initial_state": {"TG": TG, "WG": 0.33211947, "LAI": 0.5, "BIOMASS": [0.033859281, 0.0, 0.0]},
        "start": "1986-01-01",
        "days": 3,
        "forcing": {"formula": "rain"},
        "output": {"interval": "half-hourly"},
    }
    content.update(changes)
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def output(folder: Path, **changes: Any) -> xr.Dataset:
    run_site(case_file(folder, **changes), folder / "out.nc")
    with xr.open_dataset(folder / "out.nc") as opened:
        return opened.load()


def stopped(folder: Path, error: type[LdasError] = ConfigurationError, **changes: Any) -> str:
    """The message of the error that stops a case; nothing may have been written."""
    path = case_file(folder, **changes)
    with pytest.raises(error) as raised:
        run_site(path, folder / "out.nc")
    assert sorted(item.name for item in folder.iterdir() if item.suffix not in (".txt", ".yaml")) == []
    return str(raised.value)


def test_output_is_cf_under_registry_names(tmp_path: Path) -> None:
    site = output(tmp_path)
    assert site.attrs["Conventions"] == "CF-1.11"
    assert site["WG"].dims == ("time", "layer")
    assert site["WG"].attrs["units"] == "m3 m-3"
    assert site["LE"].attrs["cell_methods"] == "time: mean"
    assert site["TG"].attrs["cell_methods"] == "time: point"
    assert site["time"].values[0] == np.datetime64("1986-01-01T00:30")
    assert site["time"].size == 3 * 48
    assert site["time_bounds"].values[0, 0] == np.datetime64("1986-01-01T00:00")
    assert site["layer_bottom"].values[8] == 1.5
    assert np.isnan(site["WG"].values[:, 10:]).all()
    assert np.isfinite(site["WG"].values[:, :10]).all()
    assert "43.6" in site.attrs["provenance"]


def test_first_steps_are_those_of_surfex(tmp_path: Path) -> None:
    site = output(tmp_path, output={"interval": "half-hourly", "variables": ["TG", "LAI", "RN", "LE"]})
    assert set(site.data_vars) == {"TG", "LAI", "RN", "LE"}
    # The very first step makes the daily update, and LAI drops at once (reference case c3_loam, 8 digits).
    assert site["LAI"].values[0] == pytest.approx(0.46770334, abs=5e-9)


def test_daily_output_is_means_of_fluxes_and_last_states(tmp_path: Path) -> None:
    fine = output(tmp_path)
    daily = output(tmp_path, output={"interval": "daily"})
    assert daily["time"].values[0] == np.datetime64("1986-01-02")
    for name in ("RN", "LE", "GPP", "DRAINAGE"):
        mean = fine[name].values.reshape(3, 48).mean(axis=1)
        np.testing.assert_allclose(daily[name].values, mean, rtol=1e-12, atol=1e-18, err_msg=name)
    for name in ("TG", "WG", "LAI", "BIOMASS"):
        np.testing.assert_array_equal(daily[name].values, fine[name].values[47::48], err_msg=name)


def test_several_types_are_aggregated_and_given_per_patch(tmp_path: Path) -> None:
    fractions = {"C3": 0.4, "GRAS": 0.35, "NO": 0.25}
    site = output(
        tmp_path,
        vegetation=fractions,
        initial_state={"TG": TG},
        by_type={"GRAS": {"parameters": {"DG2": 1.0, "DROOT": 1.0}, "initial_state": {"LAI": 1.5}}},
        output={"interval": "half-hourly", "per_patch": True},
    )
    assert site["patch"].values.tolist() == [7, 10, 1]
    np.testing.assert_allclose(site["patch_fraction"].values, list(fractions.values()))
    weights = np.array(list(fractions.values()))
    np.testing.assert_allclose(site["LE"].values, site["LE_patch"].values @ weights, rtol=1e-12)
    # Bare soil has no leaves: it counts 0 in the mean.
    assert np.isnan(site["LAI_patch"].values[:, 2]).all()
    np.testing.assert_allclose(site["LAI"].values, site["LAI_patch"].values[:, :2] @ weights[:2], rtol=1e-12)
    # The settings of one type are its own: the grass stands on a metre of soil, and started with more leaves.
    assert np.isfinite(site["WG_patch"].values[0]).sum(axis=1).tolist() == [10, 8, 10]
    assert site["LAI_patch"].values[0, 1] > 1.0 > site["LAI_patch"].values[0, 0]


def test_bare_soil_is_not_read_as_false(tmp_path: Path) -> None:
    path = case_file(tmp_path, vegetation="BARE", initial_state={"TG": TG}, parameters={"DG2": 1.0})
    path.write_text(path.read_text().replace("BARE", "NO"))
    assert load_case(path).fractions == {"NO": 1.0}
    path.write_text(path.read_text().replace("vegetation: NO", "vegetation: {NO: 0.5, C3: 0.5}"))
    assert load_case(path).fractions == {"NO": 0.5, "C3": 0.5}


def test_forcing_from_a_store_gives_the_same_as_the_formulas(tmp_path: Path) -> None:
    near = formula_cell(analytic_forcing(3 * 48).forcing)
    far = near.assign(Tair=near["Tair"] + 1.0, latitude=("cell", [48.0]))
    around = near.assign_coords(longitude=near["longitude"] + 360.0)
    forcing_store(tmp_path / "store.zarr", xr.concat([far, around], dim="cell"))
    expected = output(tmp_path)
    path = case_file(tmp_path, forcing={"store": "store.zarr"})
    found = run_case(load_case(path))
    for name in expected.data_vars:
        np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=str(name))
    assert '"forcing": "' in found.attrs["provenance"]  # the checksum of the group


@pytest.mark.parametrize("prefix", ["", "icechunk+file://"])
def test_a_relative_store_lies_beside_the_case_file(tmp_path: Path, prefix: str) -> None:
    case = load_case(case_file(tmp_path, forcing={"store": f"{prefix}store"}))
    assert case.forcing.store == f"{prefix}{tmp_path}/store"


def test_forcing_from_files_gives_the_same_as_the_formulas(tmp_path: Path) -> None:
    timed = analytic_forcing(3 * 48)
    times = START + np.arange(timed.intervals + 1) * np.timedelta64(timed.step_s, "s")
    forcing = xr.Dataset(
        {name: ("time", getattr(timed.forcing, name)[:, 0]) for name in FORCING_NAMES},
        coords={"time": times.astype("datetime64[ns]")},
    )
    (tmp_path / "data").mkdir()
    forcing.to_netcdf(tmp_path / "data" / "alma.nc")
    by_formula = run_case(load_case(case_file(tmp_path)))
    from_file = run_case(load_case(case_file(tmp_path, forcing={"file": "data/alma.nc"})))
    for name in by_formula.data_vars:
        np.testing.assert_array_equal(from_file[name].values, by_formula[name].values, err_msg=str(name))


def test_a_repeated_forcing_starts_again_at_its_first_record(tmp_path: Path) -> None:
    repeated = run_case(load_case(case_file(tmp_path, days=4, forcing={"formula": "rain", "records_per_loop": 48})))
    once = run_case(load_case(case_file(tmp_path, days=4)))
    np.testing.assert_array_equal(repeated["LE"].values[:48], once["LE"].values[:48])
    assert not np.array_equal(repeated["LE"].values[48:96], once["LE"].values[48:96])
    # Rain falls on the third day of the formulas, never on the first.
    assert once["DRIP"].values[96:].max() > 0 >= repeated["DRIP"].values.max()


def test_coarse_forcing_and_finer_steps(tmp_path: Path) -> None:
    halves = run_case(load_case(case_file(tmp_path, time_step_s=900)))
    wholes = run_case(load_case(case_file(tmp_path)))
    assert halves["RN"].shape == wholes["RN"].shape
    difference = np.abs(halves["TG"].values - wholes["TG"].values)
    assert 0 < difference.max() < 2.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clai": 0.2}, ["clai: unknown key; did you mean 'clay'?"]),
        ({"latitude": None}, ["latitude: this key is needed"]),
        ({"vegetation": {"C3": 0.5, "GRAS": 0.4}}, ["fractions from 0 to 1 that add to 1", "add to 0.9"]),
        ({"vegetation": {"C3": 1.2, "GRAS": -0.2}}, ["fractions from 0 to 1"]),
        ({"vegetation": "C33"}, ["vegetation type", "got 'C33'", "did you mean C3?"]),
        ({"parameters": {"GMESS": 0.001}}, ["'GMESS' is not a parameter", "did you mean GMES?"]),
        ({"parameters": {"ALBNIR_SOIL": 1.3}}, ["vegetation type C3", "1.3"]),
        ({"initial_state": {"TGG": TG}}, ["initial_state: unknown 'TGG'; did you mean 'TG'?"]),
        ({"initial_state": {"TG": [*TG, 284.5]}}, ["initial_state TG: 15 values, expected at most 14"]),
        ({"initial_state": {"TG": 12.0}}, ["soil_temperature", "12.0"]),
        ({"clay": 25.0}, ["clay", "less than or equal to 1", "given: 25.0"]),
        ({"clay": 0.7, "sand": 0.6}, ["clay + sand"]),
        ({"time_step_s": 700}, ["time_step_s 700 does not divide a day"]),
        ({"time_step_s": 7200}, ["time_step_s 7200 does not divide the output interval of 1800 s"]),
        ({"forcing": {}}, ["give exactly one of file, store and formula"]),
        ({"by_type": {"GRAS": {}}}, ["by_type names GRAS, which the vegetation does not have"]),
        ({"output": {"variables": ["WG2"]}}, ["'WG2' is not a state, flux or diagnostic"]),
        ({"output": {"variables": ["LEE"]}}, ["unknown variable 'LEE'; did you mean"]),
        ({"start": "1985-12-31"}, ["must lie inside the forcing", "1986-01-01"]),
        ({"forcing": {"formula": "rain", "records_per_loop": 47}, "days": 1, "start": "1986-01-05"}, ["inside"]),
    ],
)
def test_bad_cases_stop_with_a_sentence_that_helps(
    tmp_path: Path, changes: dict[str, Any], expected: list[str]
) -> None:
    message = stopped(tmp_path, **changes)
    for words in expected:
        assert words in message


def test_bad_forcing_stops_before_the_run(tmp_path: Path) -> None:
    table = tmp_path / "hapex.txt"
    rows = [" .0 305.0 0 3.4 1.0 0.0 101110. .468E-02"] * 200
    table.write_text("\n".join(["#  SW LW Rain T U V Ps Q", *rows]))
    source = {"file": "hapex.txt", "step_s": 1800, "co2_kg_m3": 0.00062, "snowfall": "none"}
    message = stopped(tmp_path, ForcingError, forcing=source)
    assert "the table has no times" in message
    message = stopped(tmp_path, ForcingError, forcing=source | {"first_record": "1986-01-01T00:00:00"})
    assert "Tair is 3.4 at 1986-01-01T00:00 UTC, cell 0 (43.6N 1.4E), expected 180 to 340 K" in message
    assert "Celsius" in message


def test_a_missing_folder_for_the_output_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        run_site(case_file(tmp_path, days=1), tmp_path / "absent" / "out.nc")


@pytest.mark.parametrize("example", sorted(Path(__file__).parents[3].joinpath("examples").glob("site_*.yaml")))
def test_examples_are_valid(example: Path) -> None:
    case = load_case(example)
    assert case.days >= 1


def test_a_reference_case_from_yaml(tmp_path: Path) -> None:
    """The first two days of hapex_c3, from the text form of its forcing, against the stored steps."""
    text = shared("data/site_flux/HAPEX_1986_30min_forcing.txt")
    site = run_case(
        load_case(
            case_file(
                tmp_path,
                latitude=43.68,
                longitude=-0.1,
                clay=0.37,
                sand=0.37,
                initial_state={
                    "TG": [279.0, 281.25, *[282.0] * 8, *[285.7] * 4],
                    "WG": 0.35287504,
                    "LAI": 0.5,
                    "BIOMASS": [0.033859281, 0.0, 0.0],
                },
                days=2,
                forcing={
                    "file": str(text),
                    "first_record": "1986-01-01",
                    "step_s": 1800,
                    "co2_kg_m3": 0.00062,
                    "snowfall": "none",
                },
            )
        )
    )
    with xr.open_dataset(shared("reference/surfex/hapex_c3_steps.nc")) as stored:
        first = stored.isel(time=slice(0, 96)).load()
    np.testing.assert_allclose(site["TG"], first["tg"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(site["WG"].values[:, :10], first["wg"].values[:, :10], rtol=0, atol=1e-6)
    np.testing.assert_allclose(site["LE"], first["le"], rtol=0, atol=0.01)
    np.testing.assert_allclose(site["GPP"], first["gpp"], rtol=0, atol=1e-11)
