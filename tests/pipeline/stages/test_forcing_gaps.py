"""A gap in the forcing of one cell: `ldas check` names it, `ldas run` sets this cell aside from its period on."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from distributed import Client

from ldas.assim import Quality
from ldas.pipeline.commands.check import CheckRow, check_experiment
from ldas.pipeline.commands.status import experiment_status
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import existing_array, open_store, read_region
from tests.helpers.program import program
from tests.helpers.runs import run_stages
from tests.helpers.synthetic_store import experiment, make_store

CELLS, DAYS, HOUR = 3, 6, 70  # the gap: in the second of three periods of two days
GAP, OTHERS = 1, [0, 2]
RUNS = [
    {"name": "late", "start": "2007-04-04", "observations": [{"name": "lai"}]},  # begins in the period of the gap
    {"name": "members", "filter": "ensrf", "ensrf": {"members": 2}, "observations": [{"name": "lai"}]},
]
GROUPS = ("runs/open_loop", "runs/late", "restarts/open_loop/20070404T09", "runs/members")


def config_of(path: Path, cells_per_block: int = CELLS, accept: tuple[str, ...] = ()) -> ExperimentConfig:
    """The open loop, with a restart in the middle of the period of the gap, and both kinds of filter."""
    return experiment(
        path,
        accept=accept,
        period={"start": "2007-04-01", "end": "2007-04-06"},
        output={"mean": ["LE"], "instant": ["LAI", "WG2"], "per_patch": ["LAI"]},
        open_loop={"restart_on": ["2007-04-04"]},
        assimilation=RUNS if cells_per_block == CELLS else RUNS[:1],
        execution={"cells_per_block": cells_per_block, "days_per_period": 2},
    )


def make(path: Path, name: str, value: float = np.nan) -> None:
    """A store whose forcing lacks one number."""
    make_store(path, cells=CELLS, days=DAYS)
    existing_array(open_store(str(path), "a"), "forcing", name)[HOUR, GAP] = value


def run(path: Path, cells_per_block: int, threads: Client) -> None:
    """All stages; no block fails, and the cell with the gap is said to be set aside."""
    outcomes = list(run_stages(config_of(path, cells_per_block), threads))
    assert [outcome.failures for outcome in outcomes] == [{}] * len(outcomes)
    assert [outcome.cells_set_aside for outcome in outcomes] == [int(path.name != "whole")] * len(outcomes)


@pytest.fixture(scope="module")
def stores(threads: Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with the gap and one without it."""
    folder = tmp_path_factory.mktemp("stores")
    make(folder / "gap", "Rainf")
    make_store(folder / "whole", cells=CELLS, days=DAYS)
    for name in ("gap", "whole"):
        run(folder / name, CELLS, threads)
    return folder / "gap", folder / "whole"


def test_the_other_cells_have_the_bytes_of_a_run_without_the_gap(stores: tuple[Path, Path]) -> None:
    """And the cell with the gap has them before its period; after that, nothing, and its last good restart."""
    found, expected = (open_store(str(path)) for path in stores)
    for group in GROUPS:
        for name, array in found[group].arrays():
            dims = array.metadata.dimension_names
            if "cell" not in dims or name in ("cell", "latitude", "longitude"):
                continue
            ours, theirs = (read_region(root, group, name) for root in (found, expected))
            axis = dims.index("cell")
            np.testing.assert_array_equal(*(np.take(values, OTHERS, axis) for values in (ours, theirs)), err_msg=name)
            if "time" in dims:
                mine, other = ours[:, GAP], theirs[:, GAP]
                before = 0 if group == "runs/late" else 2
                np.testing.assert_array_equal(mine[:before], other[:before], err_msg=f"{group}/{name}")
                lost = Quality.STATE_NOT_FINITE if name.startswith("quality_") else np.nan
                np.testing.assert_array_equal(mine[before:], np.full_like(other[before:], lost), err_msg=name)
    for run_name, hour in (("open_loop", "00"), ("members-member-01", "09")):
        good, kept = (f"restarts/{run_name}/{day}T{hour}" for day in ("20070403", "20070405"))
        np.testing.assert_array_equal(*(read_region(found, group, "soil_water")[GAP] for group in (kept, good)))


def test_one_cell_a_block_gives_the_same(stores: tuple[Path, Path], threads: Client, tmp_path: Path) -> None:
    """A block of nothing but a gap stops neither the stages nor the others."""
    make(tmp_path / "gap", "Rainf", np.inf)
    run(tmp_path / "gap", 1, threads)
    found, expected = (open_store(str(path)) for path in (tmp_path / "gap", stores[0]))
    for group in GROUPS[:-1]:
        for name, _ in expected[group].arrays():
            ours, theirs = (read_region(root, group, name) for root in (found, expected))
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{group}/{name}")


def test_check_names_cell_and_time_unless_it_is_accepted(stores: tuple[Path, Path]) -> None:
    def row(*accept: str) -> CheckRow:
        (found,) = (row for row in check_experiment(config_of(stores[0], CELLS, accept)) if "gap" in row.what)
        return found

    wrong = row()
    assert (wrong.what, wrong.state) == ("forcing Rainf: gap", "wrong")
    assert "Rainf is nan at 2007-04-03T22:00 UTC, cell 1 (43.25N 0.5E)" in wrong.detail
    assert wrong.detail.endswith("`accept: [gap]` in the configuration runs the other cells.")
    assert row("gap").state == "accepted"


def test_check_lists_all_cells(tmp_path: Path) -> None:
    make(tmp_path / "store", "Tair")
    existing_array(open_store(str(tmp_path / "store"), "a"), "forcing", "Tair")[:, 2] = np.nan
    (row,) = (row for row in check_experiment(config_of(tmp_path / "store")) if "gap" in row.what)
    assert "; 146 values in all, in 2 cells: 1, 2. " in row.detail


def test_status_tells_where_the_gap_is(stores: tuple[Path, Path]) -> None:
    rows = {row.name: row for row in experiment_status(config_of(stores[0]))}
    assert rows["open_loop"].set_aside == (
        "cell 1 (43.25N 0.5E): its forcing has a gap (Rainf at 2007-04-03T22:00 UTC), "
        "from the period of 2007-04-03T00:00:00 on",
    )
    assert "here or in a stage before" in rows["late"].set_aside[0]


def test_a_gap_in_the_year_of_the_spin_up(threads: Client, tmp_path: Path) -> None:
    """Outside the period of the run: the cell is set aside from the first day on, the other one is not touched."""
    stores = tmp_path / "gap", tmp_path / "whole"
    for path in stores:
        make_store(path, cells=2, days=366, observed_days=DAYS)
        if path.name == "gap":
            existing_array(open_store(str(path), "a"), "forcing", "Tair")[5000, GAP] = np.nan
        config = experiment(
            path,
            period={"start": "2007-04-01", "end": "2007-04-02"},
            spin_up={"year": 2007, "repetitions": 1},
            output={"mean": ["LE"], "instant": ["WG2"]},
        )
        outcomes = list(run_stages(config, threads))
        assert [(o.failures, o.cells_set_aside) for o in outcomes] == [({}, int(path.name == "gap"))] * 2
    found, expected = (read_region(open_store(str(path)), "runs/open_loop", "WG2") for path in stores)
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])
    assert np.isfinite(expected).all()
    assert np.isnan(found[:, GAP]).all()
    assert (ledger.statuses(open_store(str(stores[0])), "spin_up")[:, GAP] == ledger.SET_ASIDE).all()


def test_the_program_ends_with_3(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "store", "Wind")
    content = {
        "name": "gap", "store": {"url": "store"}, "period": {"start": "2007-04-03", "end": "2007-04-04"},
        "output": {"mean": ["LE"], "instant": ["WG2"]}, "report": False,
    }  # fmt: skip
    file = tmp_path / "gap.yaml"
    file.write_text(yaml.safe_dump(content))
    assert program("check", str(file)) == 2
    assert program("run", str(file)) == 3
    assert "1 cell set aside" in capfd.readouterr().err
    file.write_text(yaml.safe_dump({**content, "accept": ["gap"]}))
    assert program("check", str(file)) == 0
    assert program("run", str(file)) == 3
    root = open_store(str(tmp_path / "store"))
    assert root["runs/open_loop"].attrs["accepted_checks"] == ["gap"]
    assert np.isfinite(read_region(root, "runs/open_loop", "LE")[:, OTHERS]).all()
