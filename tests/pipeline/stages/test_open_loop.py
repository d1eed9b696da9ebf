"""Spin-up and open loop with the real land model on a small made-up store."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from distributed import Client

import ldas
from ldas import landmodel
from ldas.landmodel import State
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.commands.status import experiment_status
from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.land import LandStage
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, open_store, read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.restart import columns_of, read_restart, restart_path
from tests.helpers.runs import run_stage, run_stages
from tests.helpers.small_store import FIRST_DAY, make_synthetic_store
from tests.helpers.toy import Silence

CELLS = 4


def experiment(path: Path, **sections: Any) -> ExperimentConfig:
    """An experiment of 24 days on a store in a folder."""
    content: dict[str, Any] = {
        "name": "small",
        "store": {"url": str(path)},
        "period": {"start": "2007-01-01", "end": "2007-01-24"},
        "open_loop": {"restart_on": ["2007-01-15"]},
        "output": {"mean": ["LE", "GPP"], "instant": ["WG2", "TG2", "LAI"], "per_patch": ["LAI"]},
        "report": False,
        "execution": {"cells_per_block": 2, "days_per_period": 10},
    }
    return ExperimentConfig.model_validate({**content, **sections})


def run(config: ExperimentConfig, client: Client) -> None:
    """Runs the stages of an experiment on a cluster that is there already."""
    for outcome in run_stages(config, client):
        assert outcome.complete, outcome.failures


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with land and forcing only, to be copied."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make_synthetic_store(Location(str(path)), cells=CELLS, days=24)
    return path


@pytest.fixture(scope="module")
def truth(inputs: Path, threads: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an uninterrupted run."""
    path = tmp_path_factory.mktemp("truth") / "store"
    shutil.copytree(inputs, path)
    run(experiment(path), threads)
    return path


def hashes(path: Path) -> dict[str, str]:
    """Hashes of the results."""
    return {k: v for k, v in array_hashes(str(path)).items() if k.split("/")[0] in ("runs", "restarts", "spin_up")}


def test_daily_output_is_that_of_the_model(truth: Path) -> None:
    root = open_store(str(truth))
    stage = next(build_stages(experiment(truth)))
    assert isinstance(stage, LandStage)
    block = Block(0, 0, CELLS)
    parameters = stage.parameters(root, block)
    forcing = stage.forcing(root, block, FIRST_DAY, FIRST_DAY + np.timedelta64(10, "D"), parameters)
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    request = landmodel.OutputRequest(mean=("LE",), instant=("WG", "LAI"), instant_hour=9)
    _, outputs = stage.run_model(parameters, state, forcing, FIRST_DAY, FIRST_DAY + np.timedelta64(10, "D"), request)
    expected = landmodel.aggregate(outputs["LE"], parameters, CELLS).astype("float32")
    np.testing.assert_array_equal(read_region(root, "runs/open_loop", "LE")[:10], expected)
    expected = landmodel.aggregate(outputs["WG"][:, :, 1], parameters, CELLS).astype("float32")
    np.testing.assert_array_equal(read_region(root, "runs/open_loop", "WG2")[:10], expected)
    per_patch = read_region(root, "runs/open_loop", "LAI_patch")[:10]
    np.testing.assert_array_equal(per_patch[:, parameters.cell, parameters.patch - 1], outputs["LAI"].astype("float32"))
    assert np.isnan(per_patch[:, 0, 1]).all()  # no such patch
    assert np.isnan(per_patch[:, 0, 0]).all()  # bare soil has no LAI


def test_opens_as_a_tree_with_attributes(truth: Path) -> None:
    tree = ldas.open_run(str(truth))
    assert {node.path for node in tree.leaves} == {"/land", "/forcing", "/runs/open_loop"}
    run_ = tree["runs/open_loop"].to_dataset()
    assert run_.LE.attrs["units"] == "W m-2"
    assert run_.LE.attrs["cell_methods"] == "time: mean"
    assert run_.WG2.attrs["comment"] == "value at 09 UTC of the day"
    assert json.loads(run_.attrs["provenance"])["configuration"]["name"] == "small"
    assert json.loads(run_.attrs["provenance"])["inputs"]["forcing"]
    assert str(run_.time.values[0])[:10] == "2007-01-01"
    assert "/restarts/open_loop/20070125T00" in {n.path for n in ldas.open_run(str(truth), everything=True).leaves}


@pytest.mark.parametrize(("cells", "days"), [pytest.param(1, 10, marks=pytest.mark.long), (64, 10), (2, 24), (3, 7)])
def test_bit_identical_blocks_and_periods(
    inputs: Path, truth: Path, threads: Client, tmp_path: Path, cells: int, days: int
) -> None:
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    run(experiment(path, execution={"cells_per_block": cells, "days_per_period": days}), threads)
    expected, found = hashes(truth), hashes(path)
    common = set(expected) & set(found)  # other periods, other restarts; the last and the chosen one are common
    assert any("20070125T00" in name for name in common)
    assert any("20070115T09" in name for name in common)
    assert {name: found[name] for name in common} == {name: expected[name] for name in common}


@pytest.mark.long
def test_bit_identical_after_extending(inputs: Path, truth: Path, threads: Client, tmp_path: Path) -> None:
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    run(experiment(path, period={"start": "2007-01-01", "end": "2007-01-16"}), threads)
    run(experiment(path), threads)
    assert hashes(path) == hashes(truth)


@pytest.mark.parametrize("first_end", [pytest.param(None, marks=pytest.mark.long), "2007-01-16"])
def test_a_restart_that_an_interrupted_preparation_left_half_made_is_made_anew(
    inputs: Path, truth: Path, threads: Client, tmp_path: Path, first_end: str | None
) -> None:
    """Of the first run, and of one that extends an earlier run: the group is there, its arrays are not."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    if first_end is not None:
        run(experiment(path, period={"start": "2007-01-01", "end": first_end}), threads)
    half = restart_path("open_loop", np.datetime64("2007-01-21", "s"))
    open_store(str(path), "a").create_group(half)
    run(experiment(path), threads)
    assert hashes(path) == hashes(truth)


def test_the_restart_of_a_chosen_day_continues_the_run(truth: Path) -> None:
    """From the restart at 9 UTC to the end of the day: the state that the period's end holds follows from it."""
    config = experiment(truth)
    stage = next(build_stages(config))
    assert isinstance(stage, LandStage)
    root, block = open_store(str(truth)), Block(0, 0, CELLS)
    parameters = stage.parameters(root, block)
    columns = columns_of(parameters)

    def restart(instant: str) -> State:
        path = restart_path("open_loop", np.datetime64(instant, "s"))
        return read_restart(root, path, State, State._fields, columns, block, model=stage.model_identity())

    begin, end = np.datetime64("2007-01-15T09", "s"), np.datetime64("2007-01-21", "s")
    state, _ = stage.run_model(
        parameters, restart(str(begin)), stage.forcing(root, block, begin, end, parameters), begin, end
    )
    for name, found, expected in zip(State._fields, state, restart(str(end)), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_a_restart_of_other_options_is_refused(truth: Path) -> None:
    stage = next(build_stages(experiment(truth, model={"pedotransfer": "CO84"})))
    assert isinstance(stage, LandStage)
    root, block = open_store(str(truth)), Block(0, 0, CELLS)
    columns = columns_of(stage.parameters(root, block))
    path = restart_path("open_loop", np.datetime64("2007-01-25", "s"))
    with pytest.raises(StoreError, match="pedotransfer: 'CH78' there, 'CO84' now"):
        read_restart(root, path, State, State._fields, columns, block, model=stage.model_identity())


def test_a_missing_restart_says_what_to_run(truth: Path, tmp_path: Path) -> None:
    root = open_store(str(truth))
    columns = columns_of(landmodel.columns_from_fractions(np.eye(12)[[6]], [0.3], [0.3], [43.0], [1.0]))
    with pytest.raises(StoreError, match="no restart 'restarts/open_loop/19990101T00'"):
        read_restart(
            root,
            restart_path("open_loop", np.datetime64("1999-01-01", "s")),
            State,
            State._fields,
            columns,
            Block(0, 0, 1),
            model={},
        )


def test_a_cell_whose_state_is_lost_is_set_aside_alone(
    inputs: Path, truth: Path, threads: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell 2 turns non-finite in the second period: NaN from there on, its last good restart is kept."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    whole = LandStage.run_model

    def failing(self: LandStage, parameters: Any, state: State, forcing: Any, start: Any, *rest: Any) -> Any:
        after, outputs = whole(self, parameters, state, forcing, start, *rest)
        first_cell = float(parameters.clay[0]) > 0.3  # the block of cells 2 and 3
        if first_cell and start == np.datetime64("2007-01-11"):
            after.soil_water[parameters.cell == 0, 3] = np.nan
        return after, outputs

    monkeypatch.setattr(LandStage, "run_model", failing)
    config = experiment(path)
    stage = next(build_stages(config))
    prepare(stage)
    outcome = run_stage(stage, threads, tasks_in_flight=4, retries=0, listener=Silence())
    assert not outcome.complete
    assert outcome.cells_set_aside == 1
    root, good = open_store(str(path)), open_store(str(truth))
    for name in ("LE", "WG2", "LAI"):
        found, expected = read_region(root, "runs/open_loop", name), read_region(good, "runs/open_loop", name)
        assert np.isnan(found[10:, 2]).all()
        expected[10:, 2] = np.nan
        np.testing.assert_array_equal(found, expected)
    kept = read_region(root, "restarts/open_loop/20070125T00", "soil_water")
    last_good = read_region(good, "restarts/open_loop/20070111T00", "soil_water")
    np.testing.assert_array_equal(kept[2], last_good[2])
    assert (ledger.statuses(root, "open_loop")[:, 2] == [ledger.DONE, ledger.SET_ASIDE, ledger.SET_ASIDE]).all()


def test_spin_up_stops_each_cell_by_its_own_drift(threads: Client, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_synthetic_store(Location(str(path)), cells=2, days=366)
    settings = {"year": 2007, "repetitions": 4, "soil_water_drift_kg_m2": 0.1, "biomass_drift_kg_m2": 1.0}
    period = {"start": "2007-01-01", "end": "2007-01-02"}
    config = experiment(path, spin_up=settings, period=period, open_loop={})
    run(config, threads)
    root = open_store(str(path))
    water = read_region(root, "spin_up", "TOTAL_SOIL_WATER")
    used = read_region(root, "spin_up", "repetitions")
    assert used.tolist() == [2, 3]
    for cell in range(2):
        drift = np.abs(np.diff(water[: used[cell], cell]))
        assert (drift[:-1] >= 0.1).all()
        assert drift[-1] < 0.1
        assert (water[used[cell] - 1 :, cell] == water[-1, cell]).all()
    alone = tmp_path / "alone"
    make_synthetic_store(Location(str(alone)), cells=2, days=366)
    run(
        experiment(
            alone,
            spin_up=settings,
            period=period,
            open_loop={},
            execution={"cells_per_block": 1, "days_per_period": 10},
        ),
        threads,
    )
    assert hashes(alone) == hashes(path)


def test_check_tells_what_is_wrong_before_any_computation(truth: Path) -> None:
    assert {row.state for row in check_experiment(experiment(truth))} == {"ok"}
    later = check_experiment(experiment(truth, period={"start": "2007-01-01", "end": "2007-02-24"}))
    assert [(row.what, row.state) for row in later if row.state != "ok"] == [("forcing span", "wrong")]
    other = check_experiment(experiment(truth, model={"runoff": "DT92"}))
    wrong = [row for row in other if row.state == "wrong"]
    assert len(wrong) == 1
    assert "model.runoff: 'WSAT' in the store, 'DT92' now" in wrong[0].detail
    absent = check_experiment(experiment(truth / "nowhere"))
    assert [row.state for row in absent] == ["ok", "missing"]


def test_check_names_texture_outside_its_range(tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_synthetic_store(Location(str(path)), cells=2, days=3)
    clay = open_store(str(path), "a")["land/clay"]
    assert isinstance(clay, zarr.Array)
    clay[1] = 37.0
    period = {"start": "2007-01-01", "end": "2007-01-02"}
    rows = check_experiment(experiment(path, period=period, open_loop={}))
    wrong = next(row for row in rows if row.state == "wrong")
    assert "cell 1 (43.25N 1W): land: clay = 37" in wrong.detail
    assert "percent" in wrong.detail


def test_forcing_that_ends_too_early_fails_before_running(threads: Client, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_synthetic_store(Location(str(path)), cells=2, days=5)
    stage = next(build_stages(experiment(path)))
    prepare(stage)
    outcome = run_stage(stage, threads, tasks_in_flight=4, retries=0, listener=Silence())
    assert "the forcing of the store runs from 2007-01-01T00:00:00 to 2007-01-06T00:00:00" in outcome.failures[0]


def test_run_experiment_and_status(tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_synthetic_store(Location(str(path)), cells=2, days=5)
    config = experiment(path, period={"start": "2007-01-01", "end": "2007-01-05"}, open_loop={})
    with pytest.raises(StoreError, match="nothing has been run"):
        experiment_status(experiment(tmp_path / "none"))
    assert run_experiment(config, Silence()).complete
    (status,) = experiment_status(config)
    assert (status.name, status.tasks, status.done, status.failed) == ("open_loop", 1, 1, 0)
    with pytest.raises(ConfigurationError, match=r"period\.end"):
        run_experiment(experiment(path, period={"start": "2007-01-01", "end": "2007-01-03"}, open_loop={}), Silence())


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("moment", range(int(os.environ.get("LDAS_FAULT_MOMENTS", "1"))))
def test_bit_identical_after_the_program_was_killed(
    inputs: Path, truth: Path, threads: Client, tmp_path: Path, moment: int
) -> None:
    """`ldas run` in a process of its own, killed with kill -9 at a random moment after it has begun, and resumed."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    config = experiment(path)
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    seed = int.from_bytes(os.urandom(4), "little")
    wait = random.Random(seed).uniform(0.0, 3.0)
    print(f"moment {moment}: seed {seed}, {wait:.3f} s after the ledger appears")
    program = Path(sys.executable).with_name("ldas")
    process = subprocess.Popen([program, "run", file], stderr=subprocess.DEVNULL, start_new_session=True)
    while not (path / "ledger" / "open_loop").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run(config, threads)
    assert hashes(path) == hashes(truth)
