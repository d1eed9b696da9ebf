"""`ldas calibrate`: known parameters found again in a synthetic twin, resuming, and cases that are refused."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
import zarr

from ldas.assim.es_mda import es_mda_step
from ldas.landmodel.errors import LdasError
from ldas.pipeline.calibration.case import load_calibration
from ldas.pipeline.calibration.members import run_members
from ldas.pipeline.calibration.observations import CARBON_UNITS, days_of, read_observed, within
from ldas.pipeline.calibration.sensitivity import largest_change
from ldas.pipeline.commands.calibrate import CalibrationResult, input_checksums, run_calibration
from ldas.pipeline.execution.stage import TaskResult
from ldas.pipeline.store.arrays import open_dataset, open_store
from ldas.pipeline.store.groups import write_group
from tests.helpers.program import program
from tests.helpers.toy import Silence
from tests.support import REPOSITORY, shared

TRUTH = {"GMES": 0.0026, "RE25": 2.2e-7, "F2I": 0.45}
DAYS = 80
SITE = {
    "name": "formula weather",
    "latitude": 43.6,
    "longitude": 1.4,
    "clay": 0.25,
    "sand": 0.40,
    "vegetation": "C3",
    "options": {"soil_respiration": "PRM", "energy_substep_s": 900},
    "initial_state": {"LAI": 2.0},
    "start": "1986-05-11",
    "days": DAYS,
    "forcing": {"formula": "rain", "records_per_loop": 17520},
}
CASE = {
    "name": "twin",
    "description": "Parameters of a synthetic twin",
    "synthetic": True,
    "store": {"url": "store.zarr"},
    "site": "site.yaml",
    "parameters": {
        "GMES": {"low": 5e-4, "high": 6e-3, "prior": "log_uniform"},
        "RE25": {"low": 5e-8, "high": 6e-7},
        "F2I": {"low": 0.1, "high": 0.7, "prior": "normal", "standard_deviation": 0.2},
    },
    "observations": [
        {"variable": "NEE", "file": "tower.csv", "column": "NEE", "unit": "gC m-2 d-1", "error": {"column": "NEE_UC"}},
        {"variable": "LE", "file": "tower.csv", "column": "LE", "unit": "W m-2", "error": {"absolute": 3.0}},
    ],
    "calibration": {"start": "1986-05-21", "end": "1986-07-08"},
    "kept_back": {"start": "1986-07-09", "end": "1986-07-29"},
    "method": {"assimilations": 3, "ensemble_size": 32, "seed": 5},
    "callmip": {"site": "XX-Twn", "scenario": 2},
    "execution": {"members_per_batch": 16, "cluster": {"workers": 1}},
}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the case, its site and synthetic observations of the model with known parameters."""
    folder = tmp_path_factory.mktemp("twin")
    write(folder)
    (folder / "tower.csv").write_text("TIMESTAMP,NEE,NEE_UC,LE\n")
    _, site = load_calibration(folder / "case.yaml")
    truth = {name: values[:, 0] for name, values in run_members(site, [TRUTH], ["NEE", "LE"], 0).items()}
    random = np.random.default_rng(8)
    days = pd.date_range("1986-05-11", periods=DAYS)
    nee = truth["NEE"] / CARBON_UNITS["gC m-2 d-1"] + 0.3 * random.standard_normal(DAYS)
    table = pd.DataFrame({"NEE": nee, "NEE_UC": 0.3, "LE": truth["LE"] + 3.0 * random.standard_normal(DAYS)})
    table.loc[30:34, "NEE"] = np.nan
    table.set_index(days.strftime("%Y%m%d")).to_csv(folder / "tower.csv", index_label="TIMESTAMP")
    return folder


def write(folder: Path, site: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Case and site files with changes."""
    (folder / "site.yaml").write_text(yaml.safe_dump(SITE | (site or {})))
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(CASE | changes))
    return path


@pytest.fixture(scope="module")
def calibrated(twin: Path) -> CalibrationResult:
    result = run_calibration(write(twin), Silence())
    assert result.complete
    return result


def rounds(store: Path) -> list[xr.Dataset]:
    return [open_dataset(store, f"calibration/twin/round_{number}").load() for number in range(4)]


def test_known_parameters_are_found_within_the_posterior_uncertainty(twin: Path, calibrated: CalibrationResult) -> None:
    prior, *_, posterior = rounds(twin / "store.zarr")
    names = posterior["parameter_name"].attrs["labels"]
    assert sorted(names) == sorted(TRUTH)
    for number, name in enumerate(names):
        before, after = (one["value"].values[:, number] for one in (prior, posterior))
        assert abs(after.mean() - TRUTH[name]) < 2.5 * after.std(ddof=1), name
        assert after.std(ddof=1) < 0.4 * before.std(ddof=1), name
    # the truth explains the observations up to their error
    table = pd.read_csv(twin / "store_report" / "tables" / "scores.csv").set_index(["period", "variable", "run"])
    for variable in ("NEE", "LE"):
        assert 0.6 < table.loc["kept_back", variable, "calibrated"]["misfit"] < 1.6
        assert table.loc["calibration", variable, "calibrated"]["N"] == (49 - 5 if variable == "NEE" else 49)
    assert calibrated.kept_back_reduction > 0.5


class Interrupted(Silence):
    """Stops the run in the middle of the second round."""

    def task_done(self, name: str, result: TaskResult) -> None:
        if name == "twin_round_1":
            raise KeyboardInterrupt


def test_neither_batches_nor_an_interruption_change_anything(twin: Path, calibrated: CalibrationResult) -> None:
    other = {"store": {"url": "other.zarr"}, "execution": {"members_per_batch": 8, "cluster": {"workers": 2}}}
    path = write(twin, **other)
    with pytest.raises(KeyboardInterrupt):
        run_calibration(path, Interrupted())
    assert "calibration/twin/round_2" not in open_store(twin / "other.zarr")
    result = run_calibration(path, Silence())
    for first, second in zip(rounds(twin / "store.zarr"), rounds(twin / "other.zarr"), strict=True):
        for name in ("value", "standard_normal", "NEE", "LE"):
            np.testing.assert_array_equal(first[name].values, second[name].values)
    assert result.kept_back_reduction == calibrated.kept_back_reduction
    with pytest.raises(LdasError, match=r"method\.seed.*5 in the store, 6 now"):
        run_calibration(write(twin, **other, method={**CASE["method"], "seed": 6}), Silence())  # type: ignore[dict-item]


def test_the_command_writes_the_page_again_and_the_figures(
    twin: Path, calibrated: CalibrationResult, capfd: pytest.CaptureFixture[str]
) -> None:
    figures, page = twin / "figures.json", twin / "again" / "index.html"
    assert program("calibrate", str(write(twin)), "--out", str(twin / "again"), "--json", str(figures)) == 0
    assert json.loads(figures.read_text())["kept_back_reduction"] == calibrated.kept_back_reduction
    assert calibrated.report is not None
    assert page.read_bytes() == calibrated.report.read_bytes()
    assert "The data behind this report are synthetic" in page.read_text()
    assert "Parameters of a synthetic twin" in page.read_text()
    assert f"wrote {page}" in capfd.readouterr().err
    assert program("calibrate", str(write(twin, utc_offset_h=1)), "--out", str(twin / "again")) == 2
    assert "so its days are not theirs" in capfd.readouterr().err


def test_files_of_callmip_have_the_names_of_its_template(twin: Path, calibrated: CalibrationResult) -> None:
    import netCDF4

    prior, posterior = calibrated.files
    assert prior.name.endswith("_Phase1b_Scen2_XX-Twn_Cal_Prior.nc")
    with netCDF4.Dataset(posterior) as file, netCDF4.Dataset(prior) as before:
        assert file.getncattr("Calibration_stage") == "Posterior"
        assert {name: len(size) for name, size in file.dimensions.items()} == {"time": DAYS, "lat": 1, "lon": 1}
        assert file["lat"].dimensions == ()
        assert float(file["lat"][...]) == SITE["latitude"]
        assert file["time"].getncattr("units") == "days since 1986-05-11 00:00:00"
        table = pd.read_csv(twin / "tower.csv")
        # positive into the land, in carbon
        nep = file["nep"][:, 0, 0] * 1000 * 86400
        assert np.nanmax(np.abs(nep + table["NEE"].to_numpy())) < 1.5
        assert (file["nep_post_unc"][:] > 0).any()
        assert "nep_post_unc" not in before.variables
        assert set(before.variables) | {"nep_post_unc", "hfls_post_unc"} <= set(file.variables)
        # 0.01 + 0.04 + 0.05 m of the porous soil hold less than their porosity
        assert (file["mrsos"][:] > 10.0).all()
        assert (file["mrsos"][:] < 100.0 * 0.5).all()
        assert (file["mrso"][:] > file["mrsos"][:]).all()


def parameters(**changes: Any) -> dict[str, Any]:
    return {"parameters": CASE["parameters"] | changes}  # type: ignore[operator]


def observation(**changes: Any) -> dict[str, Any]:
    return {"observations": [{**CASE["observations"][1], **changes}]}  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        (parameters(GMES={"low": 1e-4, "high": 2.0}), ["GMES: a bound is outside the physical range", "2.0"]),
        (parameters(GMS={"low": 0.1, "high": 0.2}), ["'GMS' is not a parameter", "did you mean GMES?"]),
        (parameters(GMES={"low": 0.2, "high": 0.1}), ["parameters.GMES", "low < high"]),
        (
            parameters(F2I={"low": 0.1, "high": 0.2, "mean": 0.1}),
            ["mean and standard_deviation belong to prior: normal"],
        ),
        (parameters(F2I={"low": 0.1, "high": 0.2, "prior": "normal"}), ["needs its standard_deviation"]),
        (
            parameters(WWILT={"low": 0.1, "high": 0.35}, WFC={"low": 0.2, "high": 0.4}),
            ["the bounds allow WWILT = 0.35, WFC = 0.2", "wilting point < field capacity"],
        ),
        (
            parameters(ALBNIR_VEG={"low": 0.2, "high": 0.2001}),
            ["parameters: ALBNIR_VEG: without effect", "NEE, LE change by less than 0.01"],
        ),
        ({"kept_back": {"start": "1986-07-08", "end": "1986-07-29"}}, ["overlap"]),
        (
            {"kept_back": {"start": "1986-07-09", "end": "1986-07-30"}},
            ["must lie inside the run of site.yaml, 1986-05-11 to 1986-07-29"],
        ),
        (
            {"execution": {"cluster": {"kind": "address", "address": "tcp://192.0.2.1:8786"}}},
            ["address of another machine is not taken from a file: set DASK_SCHEDULER_ADDRESS"],
        ),
        (observation(unit="W"), ["the unit 'W' is not known: expected W m-2"]),
        (observation(column="LEE"), ["tower.csv: no column LEE; it has TIMESTAMP, NEE"]),
        (observation(error={"relative": 0.1}), ["give column or absolute"]),
        (observation(variable="WG"), ["'WG' is not a single series of the land model"]),
        (observation(file="nothing.csv"), ["nothing.csv: cannot be read"]),
        ({"utc_offset_h": 1}, ["let the site start at 1986-05-10T23:00:00"]),
    ],
)
def test_a_case_that_cannot_be_calibrated_is_refused(twin: Path, changes: dict[str, Any], texts: list[str]) -> None:
    """Each with a message of its own, and before the long run."""
    path = write(twin, **changes, store={"url": "refused.zarr"})
    with pytest.raises(LdasError) as raised:
        run_calibration(path, Silence())
    for text in texts:
        assert text in str(raised.value)
    assert "ledger" not in open_store(twin / "refused.zarr", "a")


def test_a_respiration_that_the_site_does_not_use_is_named_with_its_option(twin: Path) -> None:
    path = write(twin, {"options": {"soil_respiration": "DEF"}}, store={"url": "unused.zarr"})
    with pytest.raises(LdasError, match=r"RE25 \(options.soil_respiration: PRM is needed\): without effect"):
        run_calibration(path, Silence())


def test_a_member_whose_model_fails_is_set_aside_and_the_others_go_on_as_if_it_were_not_there(twin: Path) -> None:
    small = {"assimilations": 1, "ensemble_size": 16, "seed": 5}
    path = write(twin, store={"url": "failed.zarr"}, method=small, callmip=None)

    class AfterThePrior(Silence):
        def stage_finished(self, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_calibration(path, AfterThePrior())
    store = zarr.open_group(twin / "failed.zarr")["calibration/twin/round_0"]
    store["LE"][40:, 3] = np.nan  # as of a state that is no longer finite
    result = run_calibration(path, Silence())
    assert not result.complete
    assert result.outcomes["twin_round_1"].cells_set_aside == 1
    prior, posterior = (open_dataset(twin / "failed.zarr", f"calibration/twin/round_{n}").load() for n in (0, 1))
    others = np.arange(16) != 3
    assert np.isnan(posterior["value"].values[3]).all()
    assert np.isnan(posterior["LE"].values[:, 3]).all()
    table = pd.read_csv(twin / "tower.csv", dtype={"TIMESTAMP": str}).set_index("TIMESTAMP").loc["19860521":"19860708"]
    used = np.isfinite(table["NEE"].to_numpy())
    window = slice(10, 59)
    predicted = np.concatenate(
        [prior["NEE"].values[window][used], prior["LE"].values[window]], axis=0, dtype=np.float64
    ).T
    unit = CARBON_UNITS["gC m-2 d-1"]
    observed = np.concatenate([table["NEE"][used] * unit, table["LE"]])
    error = np.concatenate([np.full(used.sum(), 0.3 * unit), np.full(len(table), 3.0)])
    noise = np.random.default_rng([5, 1]).standard_normal((16, len(observed)))
    expected = es_mda_step(
        prior["standard_normal"].values[others], predicted[others], observed, error, 1.0, noise[others]
    )
    np.testing.assert_allclose(posterior["standard_normal"].values[others], expected, rtol=1e-9)


def test_observations_of_netcdf_csv_and_a_group_of_the_store(tmp_path: Path) -> None:
    """The same three days in three forms, in other units; a day with less than half of its hours does not count."""
    hours = pd.date_range("1986-05-21", periods=72, freq="h")
    random = np.random.default_rng(2)
    nee = random.normal(0.0, 2.0, 72)
    nee[30:48] = np.nan
    series = xr.Dataset({"NEE": ("time", nee, {"units": "gC/m2/d"})}, coords={"time": hours})
    series.to_netcdf(tmp_path / "tower.nc")
    series["NEE"].to_pandas().to_csv(tmp_path / "tower.csv", index_label="TIMESTAMP", header=["NEE"])
    stations = xr.Dataset(
        {"NEE": (("station", "time"), np.stack([nee + 1.0, nee]), {"units": "gC/m2/d"})},
        coords={"time": hours, "code": ("station", ["a", "b"])},
    )
    write_group(open_store(tmp_path / "store.zarr", "a"), "insitu/towers", stations)
    common = {"variable": "NEE", "column": "NEE", "unit": "gC m-2 d-1", "error": {"absolute": 0.5, "relative": 0.1}}
    sources: list[dict[str, Any]] = [
        {"file": "tower.nc"}, {"file": "tower.csv"}, {"group": "insitu/towers", "station": "b"},
    ]  # fmt: skip
    days = {"calibration": "1986-05-21", "kept_back": "1986-05-23"}
    windows: dict[str, Any] = {name: {"start": day, "end": day} for name, day in days.items()}
    for source in sources:
        case, site = load_calibration(write(tmp_path, observations=[{**common, **source}], **windows))
        (found,) = read_observed(case, days_of(site, 0))
        mean, unit = nee[48:].mean(), 1e-3 / 86400 * 44.0 / 12.0
        np.testing.assert_allclose(found.value[12], mean * unit, rtol=1e-12)
        np.testing.assert_allclose(found.error[12], np.hypot(0.5, 0.1 * mean) * unit, rtol=1e-12)
        assert np.isfinite(found.value).nonzero()[0].tolist() == [10, 12]
    for source, text in (
        ({"file": "tower.nc", "unit": "kgC m-2 s-1"}, "NEE is in 'gC/m2/d', the case file says 'kgC m-2 s-1'"),
        ({"group": "insitu/towers", "station": "c"}, "expected one of a, b, got c"),
        ({"group": "insitu/towers"}, "expected one of a, b, got None"),
        ({"file": "tower.nc", "column": "LE"}, "tower.nc: no variable LE; it has NEE"),
    ):
        case, site = load_calibration(write(tmp_path, observations=[{**common, **source}], **windows))
        with pytest.raises(LdasError, match=text):
            read_observed(case, days_of(site, 0))
    for source, text in (
        ({}, "give either a file or a group"),
        ({"file": "tower.nc", "station": "b"}, "no effect of station with a file"),
    ):
        with pytest.raises(LdasError, match=text):
            load_calibration(write(tmp_path, observations=[{**common, **source}], **windows))


def test_a_bound_at_which_the_model_fails_leaves_the_effect_of_the_others() -> None:
    low, middle, failed = np.zeros(4), np.array([1.0, -1.0, 1.0, 7.0]), np.full(4, np.nan)
    for runs in itertools.permutations((low, middle, failed)):
        assert largest_change(*runs) == pytest.approx(np.sqrt(52.0 / 4.0))
    assert largest_change(low, middle, 2.0 * middle) == pytest.approx(np.sqrt(52.0))
    assert np.isnan(largest_change(low, failed, failed))


def test_files_of_one_name_have_their_own_checksums(twin: Path) -> None:
    """Otherwise a change of one of them would not be seen by a calibration that resumes."""
    text = (twin / "tower.csv").read_text()
    for folder, content in (("a", text), ("b", text + "19861231,1,1,1\n"), ("c", text)):
        (twin / folder).mkdir()
        (twin / folder / "tower.csv").write_text(content)
    le, nee = (observation()["observations"][0], CASE["observations"][0])  # type: ignore[index]
    made = []
    for first, second in (("a", "b"), ("a", "c"), ("b", "a")):
        pair = [{**nee, "file": f"{first}/tower.csv"}, {**le, "file": f"{second}/tower.csv"}]
        made.append(input_checksums(*load_calibration(write(twin, observations=pair))))
    assert list(made[0]) == ["tower.csv", "LE: tower.csv"]
    assert list(made[1]) == ["tower.csv"]
    assert made[2] == {"tower.csv": made[0]["LE: tower.csv"], "LE: tower.csv": made[0]["tower.csv"]}


def test_the_example_of_hawaii_is_valid() -> None:
    case, site = load_calibration(REPOSITORY / "examples" / "hawaii" / "calibration.yaml")
    assert case.variables == ("WG3", "WG4", "WG5", "WG6")
    assert all(step.config.is_file() for step in case.ingest)
    assert days_of(site, case.utc_offset_h)[-1] == np.datetime64("2020-12-31")


def test_the_example_of_puechabon_has_the_observations_of_callmip() -> None:
    path = shared("data/site_flux/CalLMIP_FR-Pue_daily_aggregated_2000-2014_FLUXNET2015_Flux.nc")
    case, site = load_calibration(REPOSITORY / "examples" / "puechabon" / "calibration.yaml")
    case = case.model_copy(
        update={"observations": tuple(entry.model_copy(update={"file": path}) for entry in case.observations)}
    )
    days = days_of(site, case.utc_offset_h)
    nee, le, h = read_observed(case, days)
    assert (str(days[0]), str(days[-1])) == ("2000-01-01", "2014-12-31")
    window = within(days, case.calibration)
    assert [int(one.used(window).sum()) for one in (nee, le, h)] == [558, 1207, 754]
    with xr.open_dataset(path) as opened:
        np.testing.assert_allclose(le.value, opened["Qle_daily"].values, rtol=1e-6)
        np.testing.assert_allclose(le.error, np.hypot(opened["Qle_uc_daily"].values, 15.0), rtol=1e-6)
        carbon = opened["NEE_daily"].values * 1e-3 / 86400 * 44.0 / 12.0
    np.testing.assert_allclose(nee.value, carbon, rtol=1e-6)
