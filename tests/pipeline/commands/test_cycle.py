"""`ldas cycle`: the same bytes as one run over everything, whatever came late or was corrected, and nothing twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ldas.pipeline.commands.cycle import CycleResult, run_cycle
from ldas.pipeline.commands.cycle_status import facts, stored
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig, SpinUpConfig
from ldas.pipeline.stages.replay import affected_from
from ldas.pipeline.store import input_record, ledger
from ldas.pipeline.store.arrays import array_hashes, existing_array, open_store, read_region
from ldas.pipeline.store.input_record import Changes, Checksums, checksums
from ldas.pipeline.store.lease import NAME, Record
from tests.helpers.program import program
from tests.helpers.synthetic_store import experiment, make_store
from tests.helpers.toy import Silence
from tests.pipeline.stages.test_bit_identical import MOMENTS, moment_of
from tests.support import REPOSITORY

CELLS, DAYS = 3, 10
RESULTS = ("runs/", "restarts/", "forecasts/", "ledger/")
RUNS = [
    {"name": "ekf", "observations": [{"name": "lai"}]},
    {"name": "ensrf", "filter": "ensrf", "ensrf": {"members": 2}, "observations": [{"name": "swi"}]},
]
AHEAD = {"name": "ahead", "from_run": "ekf", "days": 1, "every": 2}


def config_of(path: Path, end: int = 5, **sections: Any) -> ExperimentConfig:
    """One block of cells, periods of four days, from 3 April 2007 up to a day of that month."""
    return experiment(
        path,
        period={"start": "2007-04-03", "end": f"2007-04-{end:02d}"},
        output={"mean": ["LE"], "instant": ["WG2", "LAI"]},
        assimilation=RUNS,
        forecasts=[AHEAD],
        execution={"cells_per_block": CELLS, "days_per_period": 4, "cluster": {"workers": 1}},
        **sections,
    )


def correct(path: Path, group: str, name: str, row: int, cell: int, value: float) -> None:
    """Another value of one time and cell of an input."""
    existing_array(open_store(str(path), "a"), group, name)[row, cell] = value


def correct_some(path: Path) -> None:
    """Forcing of a noon of day 8 in cell 1, and leaf area on day 6 in cell 2: in two periods."""
    correct(path, "forcing", "Tair", 24 * 7 + 12, 1, 290.5)
    correct(path, "observations/lai", "value", 1, 2, 2.5)
    correct(path, "observations/lai", "quality", 1, 2, 0)


def results(path: Path) -> dict[str, str]:
    """Hashes of everything that stages have computed, and of their ledgers."""
    return {name: value for name, value in array_hashes(str(path)).items() if name.startswith(RESULTS)}


def cycle(path: Path, until: int | None = None) -> tuple[CycleResult, list[str]]:
    """One cycle up to a day, without a failure, and what it says."""
    said: list[str] = []
    end = None if until is None else date(2007, 4, until)
    result = run_cycle(config_of(path), Silence(), until=end, message=said.append)
    assert result.complete
    return result, said


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store after a cycle up to day 9, to be copied."""
    path = tmp_path_factory.mktemp("cycle") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    result, _ = cycle(path, 9)
    assert result.status["last_day"] == "2007-04-09"
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of one run over everything, with the corrected input."""
    path = tmp_path_factory.mktemp("clean") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    correct_some(path)
    assert run_experiment(config_of(path, DAYS), Silence()).complete
    return results(path)


@pytest.mark.faults
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_bit_identical_after_a_replay_was_killed(
    store: Path, expected: dict[str, str], tmp_path: Path, moment: int
) -> None:
    """The first cycle after corrections, in which there is a new day too, ends by kill -9; the next one, by itself."""
    path = tmp_path / "store"
    shutil.copytree(store, path)
    correct_some(path)
    process = subprocess.Popen([sys.executable, "-m", __name__, str(path)], cwd=REPOSITORY, start_new_session=True)
    while process.poll() is None and not (path / NAME).exists():
        time.sleep(0.02)
    time.sleep(moment_of(moment).uniform(0.0, 2.5))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result, said = cycle(path)
    print("\n".join(said))
    assert result.status["last_day"] == "2007-04-10"
    assert results(path) == expected
    before = array_hashes(str(path)), stored(open_store(str(path)))
    result, said = cycle(path)
    assert said[0] == "nothing new: analysed up to 2007-04-10"
    assert result.run.outcomes.keys() == {"open_loop", "ekf", "ensrf"}
    cycle(path, 6)  # what is there stays
    assert array_hashes(str(path)) == before[0]


def written_to(path: Path) -> Path:
    """The experiment of a store, as a file beside it."""
    file = path.with_name("experiment.yaml")
    file.write_text(yaml.safe_dump(config_of(path).model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    return file


def test_two_cycles_at_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one is refused by the lease, in one message; readers see how the analysis stands."""
    file = written_to(store)
    (store / NAME).write_text(Record.of_this_process("the cycle of 'small'").as_text(), encoding="utf-8")
    assert program("cycle", str(file)) == 2
    assert capsys.readouterr().err.startswith(f"error: {store} is being written by the cycle of 'small' on ")
    assert program("status", str(file)) == 0
    assert "small: analysed from 2007-04-03 to 2007-04-09" in capsys.readouterr().out
    (store / NAME).unlink()


def test_a_machine_reads_how_the_analysis_stands(store: Path, tmp_path: Path) -> None:
    """After the command was repeated; and where a run is not done in one cell."""
    shutil.copytree(store, tmp_path / "store")
    file, out = written_to(tmp_path / "store"), tmp_path / "status.json"
    assert program("cycle", str(file), "--until", "2007-04-09", "--json", str(out)) == 0
    status = json.loads(out.read_text(encoding="utf-8"))
    root = open_store(str(tmp_path / "store"), "a")
    assert status == stored(root)
    assert (status["last_day"], status["until"], status["days_missing"]) == ("2007-04-09", "2007-04-09", 0)
    assert status["inputs"]["forcing"] == {"last": "2007-04-11T00:00:00", "hours_behind": 0.0}
    assert status["inputs"]["observations/lai"] == {"last": "2007-04-06T00:00:00", "hours_behind": 96.0}
    innovation = read_region(root, "runs/ensrf", "innovation_swi")[-1].astype(np.float64)
    found = status["scores"]["ensrf"]["swi"]["innovation"]
    assert found["number"] == np.isfinite(innovation).sum() > 0
    assert found["mean"] == pytest.approx(np.nanmean(innovation), rel=1e-5)
    assert found["standard_deviation"] == pytest.approx(np.nanstd(innovation), rel=1e-5)
    ledger.reopen(root, "ekf", np.array(["2007-04-08", "NaT", "NaT"], "datetime64[s]"))
    status = facts(root, config_of(tmp_path / "store", 9), ["lai", "swi"], date(2007, 4, 10))
    assert (status["last_day"], status["days_missing"]) == ("2007-04-07", 3)  # the first period has four windows
    assert status["runs"]["ekf"] == {"last_day": "2007-04-07", "tasks_left": 1, "cells_set_aside": 0}


def test_a_replay_without_its_restart_changes_nothing(store: Path, tmp_path: Path) -> None:
    """One message where it is of another model, and where it is gone; the next cycle says the same."""
    path = tmp_path / "store"
    shutil.copytree(store, path)
    correct_some(path)
    root, restart = open_store(str(path), "a"), "restarts/open_loop/20070407T00"
    before = array_hashes(str(path), "ledger")
    attributes = root[restart].attrs
    attributes["model"] = {**attributes["model"], "runoff": "other"}  # type: ignore[dict-item]
    again = "open_loop cannot be computed again from 2007-04-07.*"
    with pytest.raises(StoreError, match=again + "is of a model with other options: runoff: 'other' there, "):
        cycle(path, 9)
    del root[restart]
    with pytest.raises(StoreError, match=again + f"no restart '{restart}' in the store"):
        cycle(path, 9)
    assert array_hashes(str(path), "ledger") == before


@pytest.fixture(scope="module")
def land_only(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """All kinds of stages on inputs that are only looked at."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    estimated = {"kind": "estimated", "from_run": "rescaled"}
    spring = {"start": "2007-04-01", "end": "2007-04-05"}
    return experiment(
        path,
        period={"start": "2007-04-01", "end": "2007-04-08"},
        assimilation=[
            *RUNS,
            {"name": "rescaled", "observations": [{"name": "swi", "rescale": "linear", "rescale_period": spring}]},
            {"name": "estimated", "start": "2007-04-03", "observations": [{"name": "swi", "error": estimated}]},
        ],
        forecasts=[AHEAD],
    )


def affected(config: ExperimentConfig, found: Changes) -> dict[str, list[str]]:
    """By stage, when each cell has to be computed again from."""
    root, earlier = open_store(config.location), dict[str, np.ndarray]()
    for stage in build_stages(config):
        instants = affected_from(root, stage, found, earlier)
        assert instants is not None
        earlier[stage.name] = instants
    return {name: [str(item)[:13] for item in instants] for name, instants in earlier.items()}


def one_change(config: ExperimentConfig, group: str, time: str, cell: int) -> Changes:
    """A time of an input, in a cell."""
    groups = ("forcing", "observations/lai", "observations/swi")
    times = {name: np.array([time] if name == group else [], "datetime64[s]") for name in groups}
    return Changes(times, {name: np.tile(np.arange(CELLS) == cell, (len(times[name]), 1)) for name in groups})


@pytest.mark.parametrize(
    ("group", "time", "expected"),
    [
        ("forcing", "2007-04-06", {"open_loop": "04-06T00", "ekf": "04-06T00", "ensrf": "04-06T00",
                                   "rescaled": "04-06T00", "estimated": "04-03T09", "ahead": "04-05T00"}),
        ("forcing", "2007-03-31", {"open_loop": "04-01T00", "ekf": "04-01T09", "ensrf": "04-01T09",
                                   "rescaled": "04-01T09", "estimated": "04-03T09", "ahead": "04-01T09"}),
        ("forcing", "2007-03-30", {}),
        ("forcing", "2007-04-05", {"open_loop": "04-05T00", "ekf": "04-05T00", "ensrf": "04-05T00",
                                   "rescaled": "04-01T09", "estimated": "04-03T09", "ahead": "04-04T00"}),
        ("observations/lai", "2007-04-06T00", {"ekf": "04-05T09", "ahead": "04-05T09"}),
        ("observations/lai", "2007-04-06T10", {"ekf": "04-06T09", "ahead": "04-06T09"}),
        ("observations/swi", "2007-04-04T06", {"ensrf": "04-03T09", "rescaled": "04-01T09", "estimated": "04-03T09"}),
        ("observations/swi", "2007-04-05T10", {"ensrf": "04-05T09", "rescaled": "04-05T09", "estimated": "04-03T09"}),
    ],
)  # fmt: skip
def test_what_a_changed_time_touches(
    land_only: ExperimentConfig, group: str, time: str, expected: dict[str, str]
) -> None:
    """Worked out by hand: windows end at 09 UTC; a climatology touches its run from the beginning, and what follows. A
    forecast of a day has the changed record in it if it starts less than a day before."""
    found = affected(land_only, one_change(land_only, group, time, 1))
    assert found == {name: ["NaT", f"2007-{expected[name]}" if name in expected else "NaT", "NaT"] for name in found}


def test_a_lai_that_a_bias_is_judged_with_counts_from_its_time_on(land_only: ExperimentConfig) -> None:
    """It is taken for thirty days; one from before the first window touches the run from there."""
    spring = {"start": "2007-04-01", "end": "2007-04-05"}
    section = {"operators": [{"name": "cloud", "kind": "water_cloud", "training": spring}], "forecasts": []}
    seen = {"observations": [{"name": "sigma40", "operator": "cloud"}], "start": "2007-04-03"}
    runs = [
        {"name": "aware", "bias": {}, **seen},
        {"name": "other", "bias": {"judged_by": "innovations"}, **seen},
    ]
    config = experiment(Path(land_only.location.url), period=land_only.period, assimilation=runs, **section)
    root, groups = open_store(config.location), ("forcing", "observations/lai")
    for when, expected in (("2007-04-06T10", "2007-04-06T09"), ("2007-03-20", "2007-04-03T09"), ("2007-03-01", "NaT")):
        times = {name: np.array([when] if name == groups[1] else [], "datetime64[s]") for name in groups}
        found = Changes(times, {name: np.tile(np.arange(CELLS) == 1, (len(times[name]), 1)) for name in groups})
        aware, other = (stage for stage in build_stages(config) if stage.name in ("aware", "other"))
        instants = affected_from(root, aware, found, {})
        assert instants is not None
        assert [str(item)[:13] for item in instants] == ["NaT", expected, "NaT"]
        assert np.isnat(np.asarray(affected_from(root, other, found, {}))).all()


def test_a_changed_spin_up_touches_all_of_its_cells(land_only: ExperimentConfig) -> None:
    config = land_only.model_copy(update={"spin_up": SpinUpConfig(year=2006)})
    found = affected(config, one_change(config, "forcing", "2006-08-01", 2))
    begin = {"spin_up": "2006-04-01T00", "open_loop": "2007-04-01T00", "estimated": "2007-04-03T09"}
    assert found == {name: ["NaT", "NaT", begin.get(name, "2007-04-01T09")] for name in found}


def test_a_spin_up_of_a_first_cycle_that_failed_is_not_kept(tmp_path: Path) -> None:
    """Its forcing was corrected in a cell before the next cycle, which then says what more a spin-up needs."""
    path, said = tmp_path / "store", list[str]()
    make_store(path, cells=CELLS, days=DAYS)
    config = config_of(path).model_copy(update={"spin_up": SpinUpConfig(year=2007)})
    stage = next(build_stages(config))
    prepare(stage)
    root = open_store(str(path), "a")
    ledger.mark_all(root, stage.name, stage.periods()[0], ledger.DONE)
    input_record.keep(root, {"forcing": checksums(root, "forcing")})
    correct_some(path)
    with pytest.raises(ConfigurationError, match="the spin-up needs"):
        run_cycle(config, Silence(), message=said.append)
    assert said[-1] == "spin_up: 1 of 3 cells again, from 2007-04-03 on"


def test_checksums_find_the_day_and_cell(land_only: ExperimentConfig) -> None:
    """A record at 00 UTC belongs to the day that it ends; an observation that is not there is none."""
    path = Path(land_only.location.url)
    groups = ("forcing", "observations/lai")
    before = {group: checksums(open_store(str(path)), group) for group in groups}
    input_record.keep(open_store(str(path), "a"), before)
    assert input_record.same(before, before)
    correct(path, "forcing", "Rainf", 24 * 5, 1, 1e-3)
    correct(path, "observations/lai", "value", 1, 0, 3.0)
    correct(path, "observations/lai", "uncertainty", 0, 2, 0.1)
    root = open_store(str(path))
    now = {group: checksums(root, group) for group in groups}
    found = input_record.changes(root, now)
    forcing, lai = (found.first(group).astype("datetime64[D]").astype(str).tolist() for group in groups)
    assert forcing == ["NaT", "2007-04-05", "NaT"]
    assert lai == ["2007-04-06", "NaT", "2007-04-01"]
    later = {group: checksums(root, group, np.datetime64("2007-04-06", "s")) for group in groups}
    found = input_record.changes(root, later)
    assert np.isnat(found.first("forcing")).all()
    assert str(found.first("observations/lai")[0]) == "2007-04-06T00:00:00"
    absent = Checksums(before["observations/lai"].times[:1], before["observations/lai"].values[:1])
    came = input_record.changes(root, {"observations/lai": absent})
    usable = before["observations/lai"].values[1] != input_record.NOTHING
    np.testing.assert_array_equal(came.cells["observations/lai"][1], usable)


def test_days_before_the_look_back_are_not_compared(store: Path, tmp_path: Path) -> None:
    """Days 6 and 8 of a store that ends with day 9."""
    shutil.copytree(store, tmp_path / "store")
    correct_some(tmp_path / "store")
    config = config_of(tmp_path / "store", cycle={"look_back_days": 1})
    result = run_cycle(config, Silence(), until=date(2007, 4, 9))
    assert result.replayed == {}
    assert array_hashes(str(tmp_path / "store"), "ledger") == array_hashes(str(store), "ledger")
    assert result.status["inputs"]["observations/lai"] == {"last": None, "hours_behind": None}


def test_input_before_the_experiment_has_no_effect(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    correct(tmp_path / "store", "observations/lai", "value", 0, 0, 2.0)
    correct(tmp_path / "store", "forcing", "Tair", 12, 1, 290.5)
    result, said = cycle(tmp_path / "store", 9)
    without = "since the last cycle (2007-04-01), in 1 cells, before the experiment: without effect"
    assert said[:2] == [f"forcing: new or corrected {without}", f"observations/lai: new or corrected {without}"]
    assert result.replayed == {}
    assert array_hashes(str(tmp_path / "store"), "ledger") == array_hashes(str(store), "ledger")


@pytest.mark.parametrize(
    ("days", "until", "said"),
    [
        (10, date(2007, 4, 2), "the first day of the experiment is 2007-04-03, but --until is 2007-04-02"),
        (
            2,
            None,
            r"the first day of the experiment is 2007-04-03, but the forcing of .* is whole up to 2007-04-02 only",
        ),
    ],
)
def test_nothing_is_begun_before_there_is_a_day(tmp_path: Path, days: int, until: date | None, said: str) -> None:
    make_store(tmp_path / "store", cells=1, days=days)
    with pytest.raises(ConfigurationError, match=said):
        run_cycle(config_of(tmp_path / "store"), Silence(), until=until)
    assert "ledger" not in open_store(str(tmp_path / "store"))


if __name__ == "__main__":
    cycle(Path(sys.argv[1]))
