"""Cells whose state is lost are set aside alone."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from ldas import landmodel
from ldas.assim import Quality
from ldas.landmodel import State
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import existing_array, open_store, read_region
from ldas.pipeline.store.ledger import Block, Period
from tests.helpers.synthetic_store import FIRST_DAY
from tests.pipeline.stages.assimilate.support import TWO_BLOCKS, lai_run, read, run, small


def assert_set_aside(path: Path, good: Path, cell: int, first: int, name: str = "lai") -> None:
    """A cell has nothing from a row on; everything else is as in a good run."""
    for variable in ("LAI", "LAI_forecast", "LE", "WG2", "increment_LAI", "residual_lai", "innovation_lai", "dfs_lai"):
        found, expected = read(path, name, variable), read(good, name, variable)
        assert np.isnan(found[first:, cell]).all(), variable
        expected[first:, cell] = np.nan
        np.testing.assert_array_equal(found, expected, err_msg=variable)
    assert (read(path, name, "quality_lai")[first:, cell] == Quality.STATE_NOT_FINITE).all()


def test_a_cell_that_starts_from_a_broken_state_is_set_aside_alone(divided: Path, good: Path, threads: Client) -> None:
    state = existing_array(open_store(str(divided), "a"), "restarts/open_loop/20070415T09", "state")
    first, *_ = state.attrs["fields"]["soil_temperature"]  # type: ignore[call-overload, index]
    state[1, 6, first + 3] = np.nan
    outcome = run(small(divided, lai_run("late", start="2007-04-15"), execution=TWO_BLOCKS), threads)
    assert not outcome.complete
    assert (outcome.cells_set_aside, outcome.failures) == (1, {})
    assert_set_aside(divided, good, cell=1, first=0, name="late")
    root = open_store(str(divided))
    assert (ledger.statuses(root, "late")[:, 1] == ledger.SET_ASIDE).all()
    assert (np.delete(ledger.statuses(root, "late"), 1, axis=1) == ledger.DONE).all()


def blow_up(monkeypatch: pytest.MonkeyPatch, clay: float, when: str) -> None:
    """Makes the model lose the state of the cell with this clay content in the window that begins then."""
    whole = landmodel.Isba.run

    def failing(self: landmodel.Isba, state: State, forcing: Any, start: Any, **settings: Any) -> Any:
        after, outputs = whole(self, state, forcing, start, **settings)
        if str(start)[:13] == when:
            after.soil_water[np.isclose(self.parameters.clay, clay), ..., 3] = np.nan
        return after, outputs

    monkeypatch.setattr(landmodel.Isba, "run", failing)


@pytest.mark.parametrize("method", ["sekf", "ensrf"])
def test_a_cell_whose_state_is_lost_on_the_way_keeps_its_last_good_one(
    divided: Path, good: Path, threads: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    """In the third window of the second period."""
    settings: dict[str, Any] = {"filter": method} | ({"ensrf": {"members": 3}} if method == "ensrf" else {})
    members = [""] if method == "sekf" else [f"-member-{number:02d}" for number in range(3)]
    if method == "ensrf":
        good = tmp_path / "good"
        shutil.copytree(divided, good)
        assert run(small(good, lai_run(**settings), execution=TWO_BLOCKS), threads).complete
    blow_up(monkeypatch, clay=0.24, when="2007-04-13T09")  # cell 2
    outcome = run(small(divided, lai_run(**settings), execution=TWO_BLOCKS), threads)
    assert (outcome.cells_set_aside, outcome.failures) == (1, {})
    assert_set_aside(divided, good, cell=2, first=12)
    status = ledger.statuses(open_store(str(divided)), "lai")
    assert list(status[:, 2]) == [ledger.DONE, ledger.SET_ASIDE, ledger.SET_ASIDE]
    kept = ["20070421T09", "20070424T09"]
    for member in members:
        root, sound = open_store(str(divided)), open_store(str(good))
        first, last = (read_region(root, f"restarts/lai{member}/{instant}", "soil_water") for instant in kept)
        assert np.isfinite(first[2, [3, 6, 9], 3]).all()
        np.testing.assert_array_equal(last[2], first[2])
        other = read_region(sound, f"restarts/lai{member}/{kept[1]}", "soil_water")
        np.testing.assert_array_equal(np.delete(last, 2, axis=0), np.delete(other, 2, axis=0))


@pytest.mark.parametrize(("start", "aside"), [("2007-04-15", True), ("2007-04-05", False)])
def test_a_cell_that_the_open_loop_lost_before_the_start_is_set_aside(
    divided: Path, threads: Client, start: str, aside: bool
) -> None:
    """The open loop lost cell 3 in its second period, which begins on 11 April."""
    root = open_store(str(divided), "a")
    status = np.array([ledger.DONE, ledger.SET_ASIDE], dtype="int8")
    for index in (1, 2):
        ledger.mark(root, "open_loop", Block(1, 2, 4), Period(index, FIRST_DAY, FIRST_DAY, slice(0, 1)), status)
    outcome = run(small(divided, lai_run(start=start), execution=TWO_BLOCKS), threads)
    assert outcome.cells_set_aside == int(aside)
    assert np.isnan(read(divided, "lai", "LAI")[:, 3]).all() == aside
    assert np.isfinite(read(divided, "lai", "LAI")[:, :3]).all()
