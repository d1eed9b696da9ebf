"""A stage as small as can be, for the tests of all that is around stages: each number follows from the one before."""

import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr

from ldas.pipeline.errors import PipelineError
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import read_region, write_region
from ldas.pipeline.store.groups import hide_new
from ldas.pipeline.store.ledger import Block, Period, day_axis, periods_of
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template

START = np.datetime64("2007-01-01", "s")


@dataclass(frozen=True)
class ToyStage(Stage):
    """x(day) = 3.9 x (1 - x): chaotic, so one wrong bit shows; the state at the end of a period is its restart."""

    days: int = 20
    days_per_period: int = 7
    factor: float = 3.9
    seconds: float = 0.0
    #: a file that, while it is there, makes the task of block 1 kill its own worker (and removes the file)
    kill_file: str = ""
    #: blocks that raise an error of the user's data, and blocks that fail once
    bad_blocks: tuple[int, ...] = ()
    flaky_file: str = ""
    bytes_per_cell: int = 1000
    growing_keys: ClassVar[tuple[str, ...]] = ("period.days",)

    def periods(self) -> Sequence[Period]:
        """See Stage."""
        return periods_of(START, self.days, self.days_per_period)

    def identity(self) -> Mapping[str, Any]:
        """See Stage."""
        return {
            "factor": self.factor,
            "period": {"days": self.days},
            "execution": {"cells_per_block": self.cells_per_block, "days_per_period": self.days_per_period},
        }

    def create(self, root: zarr.Group) -> None:
        """See Stage."""
        cells = ("cell",), np.arange(self.cells)
        create_template(
            root,
            f"runs/{self.name}",
            {"x": ArraySpec(("time", "cell"), "float64")},
            coordinates={"time": (("time",), day_axis(START, self.days)), "cell": cells},
            chunks={"time": self.days_per_period, "cell": self.cells_per_block},
        )
        for period in self.periods():
            self._create_restart(root, period)

    def _create_restart(self, root: zarr.Group, period: Period) -> None:
        create_template(
            root,
            self._restart(period.stop),
            {"x": ArraySpec(("cell",), "float64")},
            coordinates={"cell": (("cell",), np.arange(self.cells))},
            chunks={"cell": self.cells_per_block},
        )

    def _restart(self, instant: np.datetime64) -> str:
        return f"restarts/{self.name}/{str(instant.astype('datetime64[D]')).replace('-', '')}"

    @property
    def growing_groups(self) -> Collection[str]:
        """See Stage."""
        return (f"runs/{self.name}",)

    def superseded_at(self, instant: np.datetime64) -> Collection[str]:
        """See Stage."""
        return (self._restart(instant),)

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """See Stage."""
        hide_new(root, f"runs/{self.name}")
        extend_template(root, f"runs/{self.name}", "time", day_axis(START, self.days))
        for period in self.periods():
            if period.stop > np.datetime64(old_periods[-1][1]):
                self._create_restart(root, period)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See Stage."""
        if self.kill_file and block.index == 1 and Path(self.kill_file).exists():
            Path(self.kill_file).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.flaky_file and Path(self.flaky_file).exists():
            Path(self.flaky_file).unlink()
            raise OSError("the disk was busy")
        if block.index in self.bad_blocks:
            raise PipelineError(f"cell {block.start}: soil made of cheese")
        if period.days.start == 0:
            x = 0.1 + 0.8 * np.arange(block.start, block.stop) / self.cells
        else:
            x = read_region(root, self._restart(period.start), "x", {"cell": block.region})
        days = []
        for _ in range(period.days.start, period.days.stop):
            x = self.factor * x * (1.0 - x)
            days.append(x)
        time.sleep(self.seconds)
        region = {"time": period.days, "cell": block.region}
        write_region(root, f"runs/{self.name}", {"x": np.array(days)}, region, continued="time")
        write_region(root, self._restart(period.stop), {"x": x}, {"cell": block.region})
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def memory_bytes(self, cells: int) -> int:
        """See Stage."""
        return cells * self.bytes_per_cell


@dataclass(frozen=True)
class OnCard(ToyStage):
    """A toy whose tasks take a turn on a card."""

    @property
    def resources(self) -> Mapping[str, float]:
        """See Stage."""
        return {"GPU": 1}


def toy(where: Location | Path, **settings: Any) -> ToyStage:
    """The toy of most tests, in a folder or elsewhere: twelve tasks, four blocks of three periods."""
    location = where if isinstance(where, Location) else Location(str(where))
    return ToyStage("toy", location, **{"cells": 12, "cells_per_block": 3, **settings})


class Silence:
    """A listener that only remembers."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.failed: list[str] = []

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """See Listener."""
        self.tasks, self.done_before = tasks, done

    def task_done(self, name: str, result: Any) -> None:
        """See Listener."""
        self.results.append(result)

    def block_failed(self, name: str, block: Any, period: Any, message: str) -> None:
        """See Listener."""
        self.failed.append(message)

    def stage_finished(self, name: str) -> None:
        """See Listener."""
