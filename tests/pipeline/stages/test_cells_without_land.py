"""Cells that the land model cannot run: `ldas check` names them, `ldas run` sets them aside and no others."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from distributed import Client

from ldas.assim import Quality
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.status import experiment_status
from ldas.pipeline.report import write_report
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_store, read_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.location import Location
from tests.helpers.assimilation_run import whole
from tests.helpers.program import program
from tests.helpers.runs import run_stages
from tests.helpers.synthetic_store import land, made_up_observations, weather, write_observations

CELLS, DAYS = 4, 21
WEATHER_DAYS = 366  # for the spin-up
BAD = (2, 3)  # water only, without forcing; undefined texture
GOOD = (0, 1)
ENSEMBLE = {"name": "members", "filter": "ensrf", "ensrf": {"members": 4}, "observations": [{"name": "lai"}]}


def bad_land() -> xr.Dataset:
    """Land of the test."""
    made = land(CELLS)
    made["patch_fraction"][BAD[0]] = 0.0
    made["clay"][BAD[1]] = np.nan
    return made


def make(path: Path, cells: tuple[int, ...]) -> None:
    """A store with some of the cells."""
    chosen, root = list(cells), open_store(str(path), "a")
    forcing = weather(CELLS, WEATHER_DAYS)
    for name in forcing.data_vars:
        forcing[name][:, BAD[0]] = np.nan
    for group, dataset in (("land", bad_land()), ("forcing", forcing)):
        part = dataset.isel(cell=chosen).assign_coords(cell=np.arange(len(chosen)))
        write_group(root, group, part, chunks={"time": 24 * WEATHER_DAYS + 1})
    for name, (times, arrays) in made_up_observations(CELLS, DAYS).items():
        write_observations(path, name, times, {key: values[:, chosen] for key, values in arrays.items()})


def config_of(path: Path, cells_per_block: int) -> ExperimentConfig:
    """From spin-up to two kinds of filter."""
    return whole(path, cells_per_block, DAYS, ENSEMBLE)


@pytest.fixture(scope="module")
def stores(threads: Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with the bad cells, run in one block, and one without them."""
    folder = tmp_path_factory.mktemp("stores")
    for name, cells in (("all", range(CELLS)), ("good", GOOD)):
        make(folder / name, tuple(cells))
        for outcome in run_stages(config_of(folder / name, CELLS), threads):
            assert not outcome.failures
    return folder / "all", folder / "good"


def test_the_cells_beside_them_have_the_same_bytes(stores: tuple[Path, Path]) -> None:
    """Spin-up, open loop, networks and both filters; the bad cells have nothing."""
    mixed, good = (open_store(str(path)) for path in stores)
    compared = 0
    for group in ("spin_up", "runs/open_loop", "runs/ekf", "runs/members", "restarts/open_loop/20070422T00"):
        arrays = {name: array for name, array in mixed[group].arrays() if "cell" in array.metadata.dimension_names}
        for name in set(arrays) - {"cell", "latitude", "longitude"}:
            axis = arrays[name].metadata.dimension_names.index("cell")
            found, expected = read_region(mixed, group, name), read_region(good, group, name)
            np.testing.assert_array_equal(np.take(found, GOOD, axis), expected, err_msg=f"{group}/{name}")
            lost = np.take(found, BAD, axis)
            if name.startswith("quality_"):
                assert (lost == Quality.STATE_NOT_FINITE).all(), name
            elif name == "repetitions":
                assert (lost == 0).all()
            else:
                assert np.isnan(lost).all(), f"{group}/{name}"
            compared += 1
    assert compared > 40
    for stage in ("spin_up", "open_loop", "ekf", "members"):
        statuses = ledger.statuses(mixed, stage)
        assert (statuses[:, BAD] == ledger.SET_ASIDE).all()
        assert (statuses[:, GOOD] == ledger.DONE).all()


def test_check_names_them_unless_they_are_accepted(stores: tuple[Path, Path]) -> None:
    config = config_of(stores[0], CELLS)
    rows = {row.what: row for row in check_experiment(config)}
    row_name = "cells without land"
    row = rows[row_name]
    assert row.state == "wrong"
    assert "2 of 4 cells will be set aside: cell 2 (43.5N 0.5E): no land: all patch fractions are 0" in row.detail
    assert "cell 3 (43.75N 0.5E): land: clay = nan" in row.detail
    assert "accept: [cells_without_land]" in row.detail
    assert rows["forcing values"].state == "ok"  # the forcing of a cell without land is nobody's
    accepted = config.model_copy(update={"accept": ("cells_without_land",)})
    assert [row.state for row in check_experiment(accepted) if row.what == row_name] == ["accepted"]


def test_status_tells_why_they_are_set_aside(stores: tuple[Path, Path]) -> None:
    status = next(row for row in experiment_status(config_of(stores[0], CELLS)) if row.name == "ekf")
    assert status.cells_set_aside == 2
    assert [line.partition(":")[0] for line in status.set_aside] == ["cell 2 (43.5N 0.5E)", "cell 3 (43.75N 0.5E)"]
    assert "no land" in status.set_aside[0]


@pytest.mark.long
def test_the_report_is_that_of_the_other_cells(stores: tuple[Path, Path], tmp_path: Path) -> None:
    numbers = [write_report(path, tmp_path / path.name).numbers for path in stores]
    mixed, good = numbers
    assert mixed["summary"] == good["summary"]
    for name in ("sigma40", "lai"):
        rows = {row["station"]: row for row in mixed["tables"][name]}
        assert len(rows) > len(good["tables"][name]) > 1  # the bad cells have rows, without numbers
        for row in good["tables"][name]:
            assert rows[row["station"]] == row


def test_blocks_of_such_cells_only(stores: tuple[Path, Path], threads: Client, tmp_path: Path) -> None:
    """A block of cells that can be run and one of those that cannot give the same bytes as one block."""
    path = tmp_path / "store"
    make(path, tuple(range(CELLS)))
    for outcome in run_stages(config_of(path, len(BAD)), threads):
        assert not outcome.failures
    found, expected = (array_hashes(str(p)) for p in (path, stores[0]))
    results = {k: v for k, v in expected.items() if k.split("/")[0] in ("runs", "spin_up", "restarts")}
    assert {k: found[k] for k in results} == results


def test_the_program_ends_with_3_and_says_which(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "store", tuple(range(CELLS)))
    content = {
        "name": "lake", "store": {"url": "store"}, "period": {"start": "2007-04-01", "end": "2007-04-02"},
        "output": {"mean": ["LE"], "instant": ["WG2"]}, "report": False,
    }  # fmt: skip
    file = tmp_path / "lake.yaml"
    file.write_text(yaml.safe_dump(content))
    assert program("check", str(file)) == 2
    assert program("run", str(file)) == 3
    assert "2 cells set aside" in capfd.readouterr().err
    assert program("status", str(file)) == 0
    assert "open_loop, cell 2 (43.5N 0.5E): no land" in capfd.readouterr().out
    file.write_text(yaml.safe_dump({**content, "accept": ["cells_without_land"]}))
    assert program("check", str(file)) == 0
    assert program("run", str(file)) == 3
    run = open_dataset(Location(str(tmp_path / "store")), "runs/open_loop")
    assert run.attrs["accepted_checks"] == ["cells_without_land"]
    assert np.isfinite(run["LE"].values[:, list(GOOD)]).all()
