"""In which order stages are built, begin and end: each, and each block, as soon as what it needs is there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import zarr
from distributed import Client

from ldas.pipeline.errors import StoreError
from ldas.pipeline.execution.run_stages import run_stages
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.location import Location
from tests.helpers.small_store import make_synthetic_store
from tests.helpers.toy import Silence, ToyStage


@dataclass(frozen=True)
class After(ToyStage):
    """A toy that needs the stages of some names; with None, all before it. It may follow others block by block."""

    after: tuple[str, ...] | None = None
    behind: tuple[str, ...] = ()

    @property
    def needs(self) -> Collection[str] | None:
        """See Stage."""
        return self.after

    @property
    def follows(self) -> Collection[str]:
        """See Stage."""
        return self.behind


class Events(Silence):
    """Remembers what happened, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.blocks: list[tuple[str, int, int]] = []

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """See Listener."""
        self.events.append(f"{name} begins")

    def task_done(self, name: str, result: Any) -> None:
        """See Listener."""
        self.events.append(f"task of {name}")
        self.blocks.append((name, result.block, result.period))

    def stage_finished(self, name: str) -> None:
        """See Listener."""
        self.events.append(f"{name} ends")


def after(path: Path, name: str, needs: tuple[str, ...] | None, **settings: Any) -> After:
    """A stage of three blocks of one task."""
    options = {"cells": 6, "cells_per_block": 2, "days": 3, "days_per_period": 3, "after": needs}
    return After(name, location(path), **{**options, **settings})


def location(path: Path) -> Location:
    """The store of a test."""
    return Location(str(path / "store"))


def run(
    stages: Iterator[Stage] | list[Stage], client: Client, tasks_in_flight: int = 4
) -> tuple[list[str], dict[str, Any]]:
    """Runs stages: what happened, and their outcomes."""
    listener = Events()
    outcomes = run_stages(stages, client, tasks_in_flight=lambda: tasks_in_flight, retries=0, listener=listener)
    return listener.events, outcomes


def test_a_block_follows_the_same_block_of_another_stage(threads: Client, tmp_path: Path) -> None:
    """The second stage begins with the first block before the first stage is done with the last one."""
    stages = [
        after(tmp_path, "spin_up", (), seconds=0.1, days=6),
        after(tmp_path, "open_loop", (), behind=("spin_up",), seconds=0.1),
        after(tmp_path, "error", (), behind=("open_loop",)),
    ]
    listener = Events()
    outcomes = run_stages(stages, threads, tasks_in_flight=lambda: 2, retries=0, listener=listener)
    assert all(outcome.complete for outcome in outcomes.values())
    place = {done: number for number, done in enumerate(listener.blocks)}
    assert len(place) == len(listener.blocks) == 3 * 2 + 3 + 3
    for block in range(3):
        assert place["spin_up", block, 1] < place["open_loop", block, 0] < place["error", block, 0]
    assert place["open_loop", 0, 0] < place["spin_up", 2, 1]


def test_blocks_of_another_size_follow_the_cells(threads: Client, tmp_path: Path) -> None:
    """A block begins when its own cells are done, and not when all are."""
    stages = [
        after(tmp_path, "open_loop", (), cells=10, days=6, seconds=0.1),
        after(tmp_path, "train", (), behind=("open_loop",), cells=10, cells_per_block=3),
        after(tmp_path, "ekf", (), behind=("open_loop", "train"), cells=10),
    ]
    listener = Events()
    outcomes = run_stages(stages, threads, tasks_in_flight=lambda: 2, retries=0, listener=listener)
    assert all(outcome.complete for outcome in outcomes.values())
    place = {done: number for number, done in enumerate(listener.blocks)}
    assert len(place) == len(listener.blocks) == 5 * 2 + 4 + 5
    for block, cells in enumerate(((0, 1), (1, 2), (3, 4), (4,))):
        assert place["train", block, 0] > max(place["open_loop", other, 1] for other in cells)
    for block, cells in enumerate(((0,), (0, 1), (1,), (2,), (2, 3))):
        assert place["ekf", block, 0] > max(place["train", other, 0] for other in cells)
    assert place["ekf", 0, 0] < place["open_loop", 4, 1]
    assert place["ekf", 0, 0] < place["train", 2, 0]


@dataclass(frozen=True)
class Fruitless(After):
    """A stage that cannot be finished."""

    def finish(self, root: zarr.Group) -> None:
        """See Stage."""
        raise StoreError("nothing to be had")


def test_a_stage_that_cannot_be_finished_is_followed_no_further(threads: Client, tmp_path: Path) -> None:
    """One message; what had not begun by then is left out; the next run tries it again."""
    first = after(tmp_path, "first", ())
    stages = [Fruitless(**vars(first)), after(tmp_path, "second", (), behind=("first",), seconds=0.2)]
    events, outcomes = run(stages, threads, tasks_in_flight=1)
    assert outcomes["first"].failures == {0: "2007-01-01 to 2007-01-04: StoreError: nothing to be had"}
    assert outcomes["second"].failures == dict.fromkeys((1, 2), "not begun: it failed in first")
    events, outcomes = run([first, stages[1]], threads)
    assert all(outcome.complete for outcome in outcomes.values())
    assert events.count("task of first") == 3


def test_a_block_that_failed_is_not_begun_where_it_is_followed(threads: Client, tmp_path: Path) -> None:
    """And the others go on; the next run takes it up again."""
    stages = [
        after(tmp_path, "first", (), bad_blocks=(1,)),
        after(tmp_path, "second", (), behind=("first",)),
        after(tmp_path, "third", (), behind=("second",)),
    ]
    events, outcomes = run(stages, threads)
    assert list(outcomes["first"].failures) == list(outcomes["second"].failures) == [1]
    assert outcomes["second"].failures[1] == "not begun: it failed in first"
    assert outcomes["third"].failures[1] == "not begun: it failed in second"
    assert events.count("task of second") == events.count("task of third") == 2
    events, outcomes = run([replace(stages[0], bad_blocks=()), *stages[1:]], threads)
    assert all(outcome.complete for outcome in outcomes.values())
    assert [event for event in events if event.startswith("task")] == [
        "task of first",
        "task of second",
        "task of third",
    ]


def test_stages_that_do_not_need_each_other_run_side_by_side(threads: Client, tmp_path: Path) -> None:
    stages = [
        after(tmp_path, "open_loop", None),
        after(tmp_path, "train", ("open_loop",), seconds=0.2),
        after(tmp_path, "swi", ("open_loop",), seconds=0.2),
        after(tmp_path, "ekf", ("open_loop", "train")),
        after(tmp_path, "error", ("swi",)),
    ]
    events, outcomes = run(stages, threads)
    at = {event: place for place, event in enumerate(events)}
    assert set(outcomes) == {stage.name for stage in stages}
    assert at["open_loop ends"] < min(at["train begins"], at["swi begins"])
    assert max(at["train begins"], at["swi begins"]) < min(at["train ends"], at["swi ends"])
    assert at["train ends"] < at["ekf begins"]
    assert at["swi ends"] < at["error begins"]
    assert events.count("task of ekf") == 3


def test_a_stage_that_needs_all_waits_and_is_waited_for(threads: Client, tmp_path: Path) -> None:
    stages = [
        after(tmp_path, "a", (), seconds=0.1),
        after(tmp_path, "b", (), seconds=0.1),
        after(tmp_path, "all", None),
        after(tmp_path, "last", ()),
    ]
    events, _ = run(stages, threads)
    at = {event: place for place, event in enumerate(events)}
    assert max(at["a ends"], at["b ends"]) < at["all begins"]
    assert at["all ends"] < at["last begins"]


def test_a_stage_is_built_when_what_makes_its_store_is_done(threads: Client, tmp_path: Path) -> None:
    built = []
    listener = Events()

    def stages() -> Iterator[Stage]:
        yield after(tmp_path, "land", None)
        built.append(list(listener.events))
        yield after(tmp_path, "run", ("land",))

    run_stages(stages(), threads, tasks_in_flight=lambda: 4, retries=0, listener=listener)
    assert built[0][-1] == "land ends"


@pytest.mark.parametrize("window", [1, 2, 50])
def test_the_window_holds_for_all_stages_together(threads: Client, tmp_path: Path, window: int) -> None:
    """With a window of one, tasks come back in the order in which stages were given, none is lost."""
    stages = [after(tmp_path, name, ()) for name in ("a", "b", "c")]
    events, outcomes = run(stages, threads, window)
    tasks = [event.removeprefix("task of ") for event in events if event.startswith("task")]
    assert sorted(tasks) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert all(outcome.complete for outcome in outcomes.values())
    if window == 1:
        assert tasks == sorted(tasks)


def test_after_a_failed_stage_others_end_and_none_begins(threads: Client, tmp_path: Path) -> None:
    stages = [
        after(tmp_path, "bad", (), bad_blocks=(1,)),
        after(tmp_path, "good", (), seconds=0.1),
        after(tmp_path, "never", ("good",)),
    ]
    events, outcomes = run(stages, threads)
    assert outcomes["bad"].failures
    assert outcomes["good"].complete
    assert events.count("task of good") == 3
    assert "never begins" not in events


def test_an_error_before_a_stage_begins_ends_the_run(threads: Client, tmp_path: Path) -> None:
    def begin(stage: Stage) -> None:
        raise StoreError(f"no room for {stage.name}")

    with pytest.raises(StoreError, match="no room for a"):
        run_stages(
            [after(tmp_path, "a", ())], threads, tasks_in_flight=lambda: 4, retries=0, listener=Events(), begin=begin
        )


def test_what_the_stages_of_an_experiment_need(tmp_path: Path) -> None:
    """An assimilation needs its operators and the runs that its errors come from, besides the open loop."""
    make_synthetic_store(location(tmp_path), cells=2, days=10)
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    stages = {stage.name: stage for stage in build_stages(load_experiment(path))}
    assert set(stages["open_loop"].follows) == {"spin_up"}
    assert (stages["train-neural"].needs, stages["train-neural"].follows) == ((), ("open_loop",))
    assert stages["train-neural"].cells_per_block == 32
    assert (stages["ekf"].needs, stages["ekf"].follows) == (set(), {"open_loop", "train-neural"})
    assert (stages["lai"].needs, stages["lai"].follows) == (set(), {"open_loop", "ekf"})


EXPERIMENT = """\
name: small
synthetic: true
store: {url: store}
period: {start: 2007-01-01, end: 2007-01-10}
output: {mean: [LE], instant: [WG2, TG2, LAI]}
operators:
  - name: neural
    observation: sigma40
    training: {start: 2007-01-01, end: 2007-01-05}
assimilation:
  - name: ekf
    start: 2007-01-06
    observations: [{name: sigma40, operator: neural}, {name: lai}]
  - name: lai
    start: 2007-01-06
    observations: [{name: lai, error: {kind: estimated, size: 0.2, from_run: ekf}}]
"""
