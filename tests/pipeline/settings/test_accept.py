"""Checks of plausibility that real data do not pass: each has a key that uses the data as they are, and is recorded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from distributed import Client

from ldas import landmodel
from ldas.landmodel import Forcing, OutputRequest
from ldas.pipeline import registry
from ldas.pipeline.commands.check import CheckRow, check_experiment
from ldas.pipeline.errors import ConfigurationError, IngestError
from ldas.pipeline.forcing.check import FORCING_NAMES, ForcingError
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.report.run_facts import accepted_lines
from ldas.pipeline.settings.acceptance import FORCING_CHECKS
from ldas.pipeline.settings.experiment import ExperimentConfig, ModelConfig
from ldas.pipeline.site.run import run_site
from ldas.pipeline.stages.land import accepted_checks, land_of
from ldas.pipeline.store.arrays import open_dataset, open_store, read_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.location import Location
from tests.helpers.runs import run_stages
from tests.helpers.small_store import synthetic_land, synthetic_weather

DAYS = 3
Change = Callable[[xr.Dataset], None]


def sunlit_night(forcing: xr.Dataset) -> None:
    """60 W m-2 at midnight: a record with a wrong clock, or a lamp."""
    forcing["SWdown"].values[24, 1] = 60.0


def fog(forcing: xr.Dataset) -> None:
    """A humidity of 1.2 times saturation."""
    forcing["Qair"].values[30:33, 0] *= 2.0


def storm(forcing: xr.Dataset) -> None:
    """95 m s-1, which the kernel can be run with."""
    forcing["Wind"].values[12, 1] = 95.0


def offset(forcing: xr.Dataset) -> None:
    """A radiometer's offset at night."""
    forcing["SWdown"].values[[2, 26], 0] = -3.5


CHANGES: dict[str, tuple[Change, str]] = {
    "night_shortwave": (sunlit_night, "forcing SWdown: night_shortwave"),
    "supersaturation": (fog, "forcing Qair: supersaturation"),
    "range": (storm, "forcing Wind: range"),
    "negative_values": (offset, "forcing SWdown: negative_values"),
}


def forcing_with(change: Change) -> xr.Dataset:
    forcing = synthetic_weather(2, DAYS)
    change(forcing)
    return forcing


def experiment(path: Path, *accept: str) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "name": "small",
            "store": {"url": str(path)},
            "accept": accept,
            "period": {"start": "2007-01-01", "end": "2007-01-03"},
            "output": {"mean": ["LE", "RN"], "instant": ["WG2"]},
            "report": False,
        }
    )


def kernel(path: Path, forcing: xr.Dataset) -> dict[str, np.ndarray]:
    """What the land model gives for the same numbers, without checks, stores and stages between."""
    parameters = land_of(open_store(str(path)), Block(0, 0, 2), ModelConfig()).parameters
    arrays = {name: forcing[name].values.astype(np.float64) for name in FORCING_NAMES}
    arrays["SWdown"] = np.maximum(arrays["SWdown"], 0.0)
    request = OutputRequest(mean=("LE", "RN"), instant=("WG",), instant_hour=9)
    state = landmodel.cold_start(parameters, air_temperature=ModelConfig().initial_temperature_k)
    _, out = landmodel.Isba(parameters).run(state, Forcing(**arrays), start="2007-01-01", output=request)
    columns = {"LE": out["LE"], "RN": out["RN"], "WG2": out["WG"][:, :, 1]}
    return {name: landmodel.aggregate(values, parameters, 2).astype("float32") for name, values in columns.items()}


def not_ok(config: ExperimentConfig) -> list[CheckRow]:
    return [row for row in check_experiment(config) if row.state != "ok"]


def test_every_check_is_tested() -> None:
    assert set(CHANGES) == set(FORCING_CHECKS)


@pytest.mark.parametrize("check", CHANGES)
def test_accepted_forcing_is_run_as_it_is(check: str, threads: Client, tmp_path: Path) -> None:
    change, what = CHANGES[check]
    path, forcing = tmp_path / "store", forcing_with(change)
    root = open_store(str(path), "a")
    write_group(root, "land", synthetic_land(2))
    write_group(root, "forcing", forcing)
    (wrong,) = not_ok(experiment(path))
    assert (wrong.what, wrong.state) == (what, "wrong")
    assert f"`accept: [{check}]`" in wrong.detail
    (refused,) = run_stages(experiment(path), threads)
    assert f"`accept: [{check}]`" in refused.failures[0]
    config = experiment(path, check)
    assert [(row.what, row.state) for row in not_ok(config)] == [(what, "accepted")]
    (outcome,) = run_stages(config, threads)
    assert outcome.complete, outcome.failures
    for name, expected in kernel(path, forcing).items():
        np.testing.assert_array_equal(read_region(root, "runs/open_loop", name), expected, err_msg=name)
    assert open_dataset(Location(str(path)), "runs/open_loop").attrs["accepted_checks"] == [check]
    (line,) = accepted_lines(root, ["open_loop"])
    assert line.startswith("open_loop accepted ")
    assert f"`accept: [{check}]`" in line


@pytest.mark.parametrize(("name", "value"), [("PSurf", -98000.0), ("SWdown", -300.0), ("Rainf", -1e-3), ("Qair", 0.3)])
def test_what_the_model_cannot_run_with_cannot_be_accepted(name: str, value: float, tmp_path: Path) -> None:
    def change(forcing: xr.Dataset) -> None:
        forcing[name].values[10, 0] = value

    path = tmp_path / "store"
    root = open_store(str(path), "a")
    write_group(root, "land", synthetic_land(2))
    write_group(root, "forcing", forcing_with(change))
    (wrong,) = not_ok(experiment(path, *FORCING_CHECKS))
    assert (wrong.what, wrong.state) == (f"forcing {name}: impossible", "wrong")
    assert "accept" not in wrong.detail


def test_an_unknown_check_is_refused_with_the_list(tmp_path: Path) -> None:
    file = tmp_path / "case.yaml"
    file.write_text("accept: [night_shortwav]\n")
    with pytest.raises(ConfigurationError) as refused:
        run_site(file, tmp_path / "out.nc")
    for check in FORCING_CHECKS:
        assert f"'{check}'" in str(refused.value)


def test_a_site_file_accepts_for_its_forcing(tmp_path: Path) -> None:
    forcing = forcing_with(sunlit_night).isel(cell=1, drop=True)
    forcing.to_netcdf(tmp_path / "tower.nc")
    case = {
        "name": "tower", "latitude": 43.25, "longitude": -1.0, "clay": 0.3, "sand": 0.3, "vegetation": "C3",
        "initial_state": {"TG": 285.0}, "start": "2007-01-01", "days": 3, "forcing": {"file": "tower.nc"},
        "output": {"variables": ["LE", "WG"]},
    }  # fmt: skip
    file, out = tmp_path / "case.yaml", tmp_path / "out.nc"
    file.write_text(yaml.safe_dump(case))
    with pytest.raises(ForcingError, match=r"`accept: \[night_shortwave\]`"):
        run_site(file, out)
    file.write_text(yaml.safe_dump({**case, "accept": ["night_shortwave"]}))
    run_site(file, out)
    plain = forcing_with(lambda dataset: None).isel(cell=1, drop=True)
    plain.to_netcdf(tmp_path / "tower.nc")
    file.write_text(yaml.safe_dump(case))
    run_site(file, tmp_path / "plain.nc")
    with xr.open_dataset(out) as lit, xr.open_dataset(tmp_path / "plain.nc") as dark:
        assert lit.attrs["accepted_checks"] == "night_shortwave"
        assert "accepted_checks" not in dark.attrs
        assert lit["LE"].values[1] > dark["LE"].values[1]  # the light of that midnight evaporates


def test_what_an_ingest_accepts_holds_for_its_runs(tmp_path: Path) -> None:
    forcing = forcing_with(storm)
    path = tmp_path / "store"
    write_group(open_store(str(path), "a"), "land", synthetic_land(2))
    forcing = forcing.assign_coords({name: synthetic_land(2)[name] for name in ("latitude", "longitude")})
    for name in FORCING_NAMES:
        forcing[name].attrs["units"] = registry.variable(name).unit
    forcing.to_netcdf(tmp_path / "alma.nc")
    file = tmp_path / "alma.yaml"
    file.write_text("files: [alma.nc]\nstore: {url: store}\n")
    with pytest.raises(IngestError, match=r"`out_of_range: missing`.*`accept: \[range\]`"):
        run_ingest("alma", file)
    file.write_text("files: [alma.nc]\nstore: {url: store}\naccept: [range]\n")
    run_ingest("alma", file)
    root = open_store(str(path))
    assert read_region(root, "forcing", "Wind").max() == 95.0
    assert accepted_checks(root, experiment(path)) == {"range"}
    assert [(row.what, row.state) for row in not_ok(experiment(path))] == [("forcing Wind: range", "accepted")]
