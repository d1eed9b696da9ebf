"""`ldas calibrate`: known parameters found again in a synthetic twin, resuming, and cases that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from ldas.landmodel.errors import LdasError
from ldas.pipeline.calibration.case import load_calibration
from ldas.pipeline.calibration.members import run_members
from ldas.pipeline.calibration.observations import CARBON_UNITS
from ldas.pipeline.commands.calibrate import CalibrationResult, run_calibration
from ldas.pipeline.execution.stage import TaskResult
from ldas.pipeline.store.arrays import open_dataset, open_store
from tests.helpers.toy import Silence

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
    "method": {"assimilations": 3, "ensemble_size": 48, "seed": 5},
    "callmip": {"site": "XX-Twn"},
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


def test_files_of_callmip_have_the_names_of_its_template(twin: Path, calibrated: CalibrationResult) -> None:
    import netCDF4

    prior, posterior = calibrated.files
    assert prior.name.endswith("_Phase1b_Scen1_XX-Twn_Cal_Prior.nc")
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
        ({"kept_back": {"start": "1986-07-09", "end": "1987-03-01"}}, ["must lie inside the run of site.yaml"]),
        (observation(unit="W"), ["the unit 'W' is not known: expected W m-2"]),
        (observation(column="LEE"), ["tower.csv: no column LEE; it has TIMESTAMP, NEE"]),
        (observation(error={"relative": 0.1}), ["give column or absolute"]),
        (observation(variable="WG"), ["'WG' is no single series of the land model"]),
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
