"""The twin as stages of a run: same bytes for any blocks, marked as synthetic, real data safe, OSSE, truth error."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.execution.stage import Stage, TaskResult, prepare
from ldas.pipeline.forcing.check import check_forcing
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment
from ldas.pipeline.settings.twin import TwinConfig, default_nature
from ldas.pipeline.settings.yaml_file import validate
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    array_hashes,
    existing_array,
    existing_group,
    has_group,
    open_dataset,
    open_store,
    read_region,
)
from ldas.pipeline.store.groups import append_group, write_group
from ldas.pipeline.twin.stages import OBSERVATIONS, TRUTH, TWIN, error_stage, twin_stages
from ldas.pipeline.twin.truth_error import truth_error
from tests.helpers.runs import run_here
from tests.pipeline.twin.support import experiment, nature_file, run
from tests.support import REPOSITORY

MADE = (
    "land",
    "forcing",
    "truth",
    "observations/sigma40",
    "observations/swi",
    "observations/lai",
    "insitu/smosmania_twin",
)


def make(folder: Path, config: ExperimentConfig, **settings: object) -> list[Stage]:
    twin = TwinConfig(**{"subset": "demo", "nature": nature_file(folder, spin_up_years=0), **settings})
    return [run(stage) for stage in twin_stages(config, twin)]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    folder = tmp_path_factory.mktemp("twin")
    config = experiment(folder / "store.zarr")
    make(folder, config)
    return config


def test_any_blocks_and_periods_give_the_same_bytes(twin: ExperimentConfig, tmp_path: Path) -> None:
    other = experiment(tmp_path / "other.zarr", execution={"cells_per_block": 3, "days_per_period": 33})
    make(tmp_path, other)
    for path in MADE:
        assert array_hashes(other.location, path) == array_hashes(twin.location, path), path


def test_days_without_an_observation_of_leaf_area(tmp_path: Path) -> None:
    """It is observed three times a month: a shorter twin has the others."""
    config = experiment(tmp_path / "store.zarr", start="2007-04-01", end="2007-04-03")
    make(tmp_path, config)
    with open_dataset(config.location, "observations/lai") as lai:
        assert lai.value.shape == (0, 4)
    with open_dataset(config.location, "observations/swi") as swi:
        assert np.isfinite(swi.value).any()


def test_another_seed_gives_another_twin(twin: ExperimentConfig, tmp_path: Path) -> None:
    other = experiment(tmp_path / "other.zarr")
    make(tmp_path, other, seed=2)
    here, there = array_hashes(twin.location, "truth"), array_hashes(other.location, "truth")
    assert all(here[name] != there[name] for name in ("truth/WG2", "truth/LAI", "truth/sigma40"))


def test_every_group_says_that_it_is_synthetic(twin: ExperimentConfig) -> None:
    for path in MADE:
        attributes = open_dataset(twin.location, path).attrs
        assert attributes["synthetic"] == "true"
        assert "synthetic" in attributes["synthetic_statement"]
        assert "provenance" in attributes
    assert open_dataset(twin.location, "truth").attrs["nature"]["management"]["winter_crop"]["harvest_day"] == 186


def test_backscatter_at_two_hours_a_day(twin: ExperimentConfig, tmp_path: Path) -> None:
    """Each overpass is made of nature at its hour, with noise of its own; all else keeps its bytes."""
    config = experiment(tmp_path / "store.zarr", end="2007-04-12")
    observed = default_nature().observations.model_dump()
    observed["sigma40"]["overpass_hours"] = [9.0, 20.5]
    observed["insitu"]["network"] = "other"
    (tmp_path / "nature").mkdir()
    make(tmp_path, config, nature=nature_file(tmp_path / "nature", spin_up_years=0, observations=observed))
    truth, made = (open_dataset(config.location, path).load() for path in ("truth", "observations/sigma40"))
    for path, name in (("truth", "WG2"), ("truth", "sigma40"), ("observations/swi", "value")):
        here, there = (read_region(open_store(one.location), path, name) for one in (config, twin))
        np.testing.assert_array_equal(here, there[: len(here)])
    for name in ("WG2", "LAI"):  # the first hour is that of the daily states
        np.testing.assert_array_equal(truth[f"{name}_sigma40"][:, 0], truth[name])
    assert open_dataset(config.location, "insitu/other").sizes["station"] == 4
    assert abs(truth["TG2_sigma40"][:, 1] - truth["TG2"]).mean() > 0.5
    there = made["quality"].values != Quality.MISSING
    assert 0.6 < there.mean() < 0.95
    assert (there[:, 0] != there[:, 1]).any()
    np.testing.assert_array_equal(made["overpass_hour"], np.where(there, np.array([9.0, 20.5])[:, None], np.nan))
    error = made["value"].values[:, 0] - truth["sigma40"].values
    assert np.nanstd(error) == pytest.approx(0.33, rel=0.25)
    assert abs(np.nanmean(error)) < 0.1


def test_the_forcing_of_the_store_passes_the_checks(twin: ExperimentConfig) -> None:
    forcing = open_dataset(twin.location, "forcing").load()
    assert forcing.sizes["time"] == 40 * 24 + 1
    check_forcing(forcing, forcing["latitude"], forcing["longitude"])
    assert all(np.isfinite(forcing[name]).all() for name in forcing.data_vars)


def test_truth_and_observations_fit(twin: ExperimentConfig) -> None:
    truth, sigma40 = open_dataset(twin.location, "truth"), open_dataset(twin.location, "observations/sigma40")
    error = (sigma40["value"].values - truth["sigma40"].values)[sigma40["quality"].values == 0]
    assert error.std() == pytest.approx(0.33, rel=0.25)  # 40 days of 4 cells
    # Stamped with the hour of the truth's states.
    assert {str(time)[11:16] for time in sigma40["time"].values} == {"09:00"}
    assert int(open_dataset(twin.location, "observations/lai").sizes["time"]) == 4
    stations = open_dataset(twin.location, "insitu/smosmania_twin")
    assert stations.sizes["station"] == 4
    assert np.isfinite(stations["soil_moisture"]).all()
    np.testing.assert_allclose(stations["depth"], 0.05)


def test_bit_identical_when_it_grows_day_by_day(twin: ExperimentConfig, tmp_path: Path) -> None:
    """By a day inside a period, then into the next one; readers see the old days until all new ones are there."""
    settings = TwinConfig(subset="demo", nature=nature_file(tmp_path, spin_up_years=0))
    url, seen, days = tmp_path / "store.zarr", set(), []

    def look(result: TaskResult) -> None:
        seen.add((len(days), open_dataset(str(url), TRUTH).sizes["time"]))

    for end in ("2007-04-18", "2007-04-19", "2007-05-10"):
        config = experiment(url, end=end)
        for stage in twin_stages(config, settings):
            days.append(run_here(stage, look if days else lambda result: None))
    assert days == [2 * 18, 2 * 18, 2 * 1, 2 * 1, 2 * 21, 2 * 21]
    assert seen == {(1, 18), (2, 18), (3, 19), (4, 19), (5, 40)}
    assert array_hashes(config.location) == array_hashes(twin.location)
    for path in MADE:
        assert open_dataset(config.location, path).attrs.keys() == open_dataset(twin.location, path).attrs.keys()


def test_the_last_state_of_nature_stays(twin: ExperimentConfig) -> None:
    assert list(existing_group(open_store(twin.location), f"restarts/{TWIN}").group_keys()) == ["20070511T00"]


def test_a_finished_twin_is_taken_as_it_is_and_another_is_refused(twin: ExperimentConfig, tmp_path: Path) -> None:
    before = array_hashes(twin.location)
    make(tmp_path, twin)
    assert array_hashes(twin.location) == before
    with pytest.raises(ConfigurationError, match=r"twin\.seed: 1 in the store, 7 now"):
        make(tmp_path, twin, seed=7)


def test_an_unfinished_twin_goes_on(twin: ExperimentConfig, tmp_path: Path) -> None:
    config = experiment(tmp_path / "store.zarr")
    settings = TwinConfig(subset="demo", nature=nature_file(tmp_path, spin_up_years=0))
    stage = next(iter(twin_stages(config, settings)))
    prepare(stage)
    first = ledger.blocks_of(stage.cells, stage.cells_per_block)[0]
    stage.compute(open_store(config.location, "a"), first, stage.periods()[0])  # killed before the ledger was marked
    with pytest.raises(StoreError, match="never finished"):
        open_dataset(config.location, "forcing")
    make(tmp_path, config)
    assert array_hashes(config.location, "truth") == array_hashes(twin.location, "truth")


def test_real_data_are_not_replaced(tmp_path: Path) -> None:
    config = experiment(tmp_path / "store.zarr")
    real = xr.Dataset({"latitude": ("cell", [43.0]), "longitude": ("cell", [1.0])})
    write_group(open_store(config.location, "a"), "land", real)
    before = array_hashes(config.location)
    with pytest.raises(StoreError, match="was not made by the twin"):
        make(tmp_path, config)
    assert array_hashes(config.location) == before


def test_observations_of_an_existing_run(twin: ExperimentConfig, tmp_path: Path) -> None:
    """An OSSE: the run is in another store with the same cells, and has no truth and no weather of the twin."""
    target = experiment(tmp_path / "osse.zarr")
    root = open_store(target.location, "a")
    names = ["latitude", "longitude", "clay", "sand", "patch_fraction"]
    land = open_dataset(twin.location, "land").load()
    write_group(root, "land", land[names].drop_attrs())
    truth = open_dataset(twin.location, "truth").load()
    write_group(root, "runs/mine", truth[["WG2", "LAI"]].drop_attrs())
    stages = make(tmp_path, target, from_run="mine")
    assert [stage.name for stage in stages] == [OBSERVATIONS]
    assert not has_group(root, "forcing")
    of_run, of_truth = (
        {name: open_dataset(where.location, f"observations/{name}")["value"].values for name in ("sigma40", "lai")}
        for where in (target, twin)
    )
    for name in of_run:
        np.testing.assert_array_equal(of_run[name], of_truth[name])  # same states, places and seeds
    other = experiment(tmp_path / "from_elsewhere.zarr")
    write_group(open_store(other.location, "a"), "land", land[names].drop_attrs())
    make(tmp_path, other, from_run="mine", from_url=str(tmp_path / "osse.zarr"))
    assert array_hashes(other.location, "observations/lai") == array_hashes(target.location, "observations/lai")
    # The run may move, but not become another one.
    (tmp_path / "osse.zarr").rename(tmp_path / "moved.zarr")
    assert len(make(tmp_path, other, from_run="mine", from_url=str(tmp_path / "moved.zarr"))) == 1
    existing_array(open_store(tmp_path / "moved.zarr", "a"), "land", "latitude").attrs["sha256"] = "of another land"
    with pytest.raises(ConfigurationError, match=r"source\.made_by"):
        make(tmp_path, other, from_run="mine", from_url=str(tmp_path / "moved.zarr"))


def test_cells_without_land_are_not_observed_and_the_others_as_without_them(
    twin: ExperimentConfig, tmp_path: Path
) -> None:
    """A block with a cell that has neither place nor soil, and one whose cells have no patches."""
    target = experiment(tmp_path / "osse.zarr")
    root = open_store(target.location, "a")
    names = ["latitude", "longitude", "clay", "sand", "patch_fraction"]
    land = open_dataset(twin.location, "land").load()[names].drop_attrs()
    run = open_dataset(twin.location, "truth").load()[["WG2", "LAI"]].drop_attrs()
    for name in names[:4]:
        land[name][1] = np.nan
    land["patch_fraction"][1] = np.nan
    land["patch_fraction"][2:] = 0.0
    for name in run.data_vars:
        run[name][:, 1:] = np.nan
    write_group(root, "land", land)
    write_group(root, "runs/mine", run)
    make(tmp_path, target, from_run="mine")
    for name in ("sigma40", "swi", "lai"):
        made = open_dataset(target.location, f"observations/{name}").load()
        if name != "swi":  # the run has no snow and frost, which the truth hides from it
            truth = open_dataset(twin.location, f"observations/{name}")["value"].to_numpy()
            np.testing.assert_array_equal(made["value"][:, 0], truth[:, 0])
        assert np.isfinite(made["value"][:, 0]).any(), name
        assert np.isnan(made["value"][:, 1:]).all(), name
        assert np.isnan(made["uncertainty"][:, 1:]).all(), name
        assert (made["quality"][:, 1:] == Quality.MISSING).all(), name


def test_runs_that_cannot_be_observed(twin: ExperimentConfig, tmp_path: Path) -> None:
    target = experiment(tmp_path / "osse.zarr")
    root = open_store(target.location, "a")
    land, truth = open_dataset(twin.location, "land").load(), open_dataset(twin.location, "truth").load()
    write_group(root, "land", land.drop_attrs())
    write_group(root, "runs/mine", truth[["WG2"]].drop_attrs())
    with pytest.raises(StoreError, match=r"does not hold LAI.*output\.instant"):
        make(tmp_path, target, from_run="mine")
    other = experiment(tmp_path / "other.zarr")
    write_group(open_store(other.location, "a"), "land", land.isel(cell=slice(0, 4)).assign(latitude=land.latitude + 1))
    write_group(root, "runs/whole", truth[["WG2", "LAI"]].drop_attrs())
    with pytest.raises(StoreError, match="other cells"):
        make(tmp_path, other, from_run="whole", from_url=str(tmp_path / "osse.zarr"))


def test_error_of_a_run_against_the_truth(
    twin: ExperimentConfig, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = experiment(tmp_path / "store.zarr", open_loop={"name": "shifted"})
    make(tmp_path, config)
    root, truth = open_store(config.location, "a"), open_dataset(config.location, "truth").load()
    shifted = truth[["WG2", "LAI"]] + 0.05
    write_group(root, "runs/shifted", shifted.drop_attrs())
    ledger.create(root, "shifted", periods=[], cells=4, cells_per_block=2, identity={})
    capsys.readouterr()
    run(error_stage(config, TwinConfig(subset="demo"), "shifted"))
    printed = capsys.readouterr().err
    assert "SYNTHETIC truth" in printed
    assert "WG2" in printed
    result = truth_error(config.location, "shifted")
    assert set(result) == {"WG2", "LAI"}
    for values in result.values():
        assert values["rmsd"] == pytest.approx(0.05, rel=1e-4)
        assert values["bias"] == pytest.approx(0.05, rel=1e-4)
        assert values["r"] == pytest.approx(1.0, abs=1e-6)
    assert read_region(root, "truth_error/shifted", "WG2_rmsd").shape == (4,)


def test_the_error_of_a_run_that_grew_is_of_all_its_days(twin: ExperimentConfig, tmp_path: Path) -> None:
    shutil.copytree(twin.location.url, tmp_path / "store.zarr")
    config = experiment(tmp_path / "store.zarr")
    root, truth = open_store(config.location, "a"), open_dataset(config.location, "truth").load()[["WG2"]]
    truth = truth.drop_vars("instant_time").drop_attrs()
    made = {"periods": [], "cells": 4, "cells_per_block": 2}
    ledger.create(root, "mine", **made, identity={"period": {"end": "2007-04-30"}})
    write_group(root, "runs/mine", truth.isel(time=slice(30)) + 0.05)
    run(error_stage(config, TwinConfig(subset="demo"), "mine"))
    append_group(root, "runs/mine", truth.isel(time=slice(30, 40)) + 0.25)
    ledger.create(root, "mine", **made, identity={"period": {"end": "2007-05-10"}})
    run(error_stage(config, TwinConfig(subset="demo"), "mine"))
    assert truth_error(config.location, "mine")["WG2"]["bias"] == pytest.approx((30 * 0.05 + 10 * 0.25) / 40, rel=1e-4)


def test_the_spin_up_year_must_lie_in_the_period(tmp_path: Path) -> None:
    config = experiment(tmp_path / "store.zarr", spin_up={"year": 2001})
    with pytest.raises(ConfigurationError, match=r"spin_up\.year 2001"):
        make(tmp_path, config)


def test_wrong_settings_say_where_and_what(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'subset'"):
        validate({"subste": "demo"}, TwinConfig, source="experiment.yaml")
    with pytest.raises(ConfigurationError, match="give from_run too"):
        validate({"from_url": "x.zarr"}, TwinConfig, source="experiment.yaml")
    path = nature_file(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("first_hour_utc: 16", "first_hour_utc: 20"), "utf-8")
    with pytest.raises(ConfigurationError, match=r"nature\.yaml:\d+: .*before 24 UTC"):
        TwinConfig(nature=path).nature_settings()


@pytest.mark.parametrize("name", ["southwest_france_twin", "demo"])
def test_examples_are_valid(name: str) -> None:
    config = load_experiment(REPOSITORY / "examples" / f"{name}.yaml")
    assert config.synthetic
    twin = getattr(config, "twin", None)
    assert isinstance(twin, TwinConfig)
    assert config.open_loop.restart_on[0] == config.assimilation[0].start
