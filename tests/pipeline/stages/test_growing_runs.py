"""A run that grows day by day: each extension costs its new days, and leaves the bytes of one run over everything."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ldas.assim import Quality
from ldas.pipeline.errors import StoreError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    array_hashes,
    existing_array,
    existing_group,
    open_dataset,
    open_run,
    open_store,
    read_region,
)
from tests.helpers.growing_run import FIRST_END, LAST, NEXT_END, config_of, make, run_until
from tests.helpers.runs import tasks_done
from tests.support import REPOSITORY

MOMENTS = int(os.environ.get("LDAS_FAULT_MOMENTS", "1"))
MODEL_RUNS = {"open_loop": 1, "ekf": 9, "members": 2}  # of each day; the SEKF's counts all that it may need


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with land, weather and observations of all days."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make(path)
    return path


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run over everything."""
    path = Path(shutil.copytree(inputs, tmp_path_factory.mktemp("whole") / "store"))
    run_until(path, LAST)
    return path


@pytest.fixture(scope="module")
def expected(whole: Path) -> dict[str, str]:
    """Hashes of all its arrays, ledgers and restarts too."""
    return array_hashes(str(whole))


@pytest.fixture(scope="module")
def shorter(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ends after three of the five days of its second period."""
    path = Path(shutil.copytree(inputs, tmp_path_factory.mktemp("shorter") / "store"))
    run_until(path, FIRST_END)
    return path


@pytest.fixture
def store(shorter: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(shorter, tmp_path / "store"))


def of_stages(hashes: dict[str, str], *names: str) -> dict[str, str]:
    """Of all that some stages write."""
    return {path: value for path, value in hashes.items() if path.split("/")[1] in names}


def test_bit_identical_at_the_cost_of_the_new_days_and_unseen_before(store: Path, expected: dict[str, str]) -> None:
    """By a day that lengthens a period, then by three that complete it and begin another.

    A reader never sees half a day: what is new shows when all of it is there.
    """
    seen = {}

    def look(name: str) -> None:
        if name in MODEL_RUNS:
            run = open_dataset(str(store), f"runs/{name}").load()
            assert np.isfinite(run["LAI"]).all()
            assert np.isfinite(open_run(str(store))[f"runs/{name}"]["LAI"]).all()
            seen[name] = run.sizes["time"]

    before = {name: existing_group(open_store(str(store)), f"runs/{name}").attrs.asdict() for name in MODEL_RUNS}
    days = run_until(store, NEXT_END, after_task=look)
    assert {name: days[name] for name in MODEL_RUNS} == MODEL_RUNS
    assert seen == {"open_loop": 8, "ekf": 7, "members": 7}
    for name, attributes in before.items():
        group = existing_group(open_store(str(store)), f"runs/{name}")
        assert open_dataset(str(store), group.path).sizes["time"] == seen[name] + 1
        assert group.attrs.keys() == attributes.keys()
    days = run_until(store, LAST)
    assert {name: days[name] for name in MODEL_RUNS} == {name: 3 * number for name, number in MODEL_RUNS.items()}
    assert array_hashes(str(store)) == expected
    root = open_store(str(store))
    for name in ("sigma40", "swi", "lai"):
        assert (read_region(root, "runs/ekf", f"quality_{name}")[-4:] == Quality.USED).any() or name == "lai", name
    assert (np.abs(read_region(root, "runs/ekf", "increment_WG2")[-4:]) > 0.0).any()


@pytest.mark.parametrize("group", ["restarts/open_loop/20070409T00", "restarts/members-member-01/20070408T09"])
def test_without_its_restart_nothing_is_begun(store: Path, group: str) -> None:
    """Gone, then of a model with other options, then of another version: one message, and the store as it was."""
    kept = shutil.move(store / group, store.parent / "kept")
    stage = {stage.name: stage for stage in build_stages(config_of(store, LAST))}[group.split("/")[1].split("-")[0]]

    def written() -> dict[str, float]:
        return {str(file): file.stat().st_mtime_ns for file in store.rglob("*")}

    def refused(what: str) -> None:
        before = written()
        with pytest.raises(StoreError, match=what):
            prepare(stage)
        assert written() == before

    refused(f"no restart '{group}' in the store: .* or bring it back from a copy")
    shutil.copytree(kept, store / group)
    attributes = existing_group(open_store(str(store), "a"), group).attrs
    model = dict(attributes["model"])  # type: ignore[arg-type]
    attributes["model"] = {**model, "runoff": "DT92"}
    refused("runoff: 'DT92' there, 'WSAT' now")
    attributes["model"] = model
    state = existing_array(open_store(str(store), "a"), group, "state").attrs
    fields = dict(state["fields"])  # type: ignore[arg-type]
    state["fields"] = {name: place for name, place in fields.items() if name != "snow_age"}
    refused("has no snow_age: another version of ldas wrote it")
    state["fields"] = fields
    prepare(stage)
    assert ledger.interim_stops(open_store(str(store)), stage.name)


def test_a_gap_in_the_new_days_takes_none_of_the_old(store: Path, whole: Path) -> None:
    """The cell is set aside from the first new day on, with the state that it had; the other has its bytes."""
    existing_array(open_store(str(store), "a"), "forcing", "Tair")[24 * 9 + 5, 1] = np.nan
    run_until(store, LAST, "ekf")
    root, good = open_store(str(store)), open_store(str(whole))
    for path, old in (("runs/open_loop", 8), ("runs/ekf", 7)):
        found, right = (read_region(each, path, "WG2") for each in (root, good))
        np.testing.assert_array_equal(found[:, 0], right[:, 0])
        np.testing.assert_array_equal(found[:old, 1], right[:old, 1])
        assert np.isnan(found[old:, 1]).all()
    for name in ("open_loop", "ekf"):
        status = ledger.statuses(root, name)
        np.testing.assert_array_equal(status[:, 0], ledger.DONE)
        np.testing.assert_array_equal(status[:, 1], [ledger.DONE, ledger.SET_ASIDE, ledger.SET_ASIDE])


@pytest.mark.faults
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_bit_identical_after_an_extension_was_killed(store: Path, expected: dict[str, str], moment: int) -> None:
    """By kill -9, at a random moment after it has begun to write."""
    seed = int.from_bytes(os.urandom(4), "little")
    wait = random.Random(seed).uniform(0.0, 2.0)
    print(f"moment {moment}: seed {seed}, {wait:.3f} s after the first change")
    output = store / "runs" / "open_loop" / "zarr.json"
    before = output.stat().st_mtime_ns
    script = [sys.executable, "-m", "tests.helpers.growing_run", str(store), LAST]
    process = subprocess.Popen(script, cwd=REPOSITORY, start_new_session=True)
    while process.poll() is None and output.stat().st_mtime_ns == before:
        time.sleep(0.02)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    print("killed after", {name: tasks_done(store, name) for name in ("open_loop", "ekf")}, "tasks")
    run_until(store, LAST, "ekf")
    chosen = ("open_loop", "ekf", "train-seen", "seen")
    assert of_stages(array_hashes(str(store)), *chosen) == of_stages(expected, *chosen)
