"""What one sees of a run: a live line for each stage in a terminal, plain lines at intervals in a log."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ldas.pipeline.errors import count
from ldas.pipeline.execution.stage import TaskResult
from ldas.pipeline.store.ledger import Block, Period

_DAYS_PER_YEAR = 365.25


@dataclass
class _Stage:
    tasks: int
    done: int
    began: float
    done_before: int
    last_line: float
    bar: TaskID
    cell_years: float = 0.0
    failed: int = 0

    def rate(self, now: float) -> float:
        """Cell-years per second since the stage began."""
        return self.cell_years / max(now - self.began, 1e-9)  # the clock may not have ticked yet


class ProgressDisplay:
    """Listens to the stages of a run (`execution.Listener`)."""

    def __init__(
        self, console: Console | None = None, *, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """console: where to; a console that is no terminal gets plain lines, at most one per `interval_s` and stage."""
        # A pipe is no terminal, even where FORCE_COLOR asks for colours (notebooks, CI): no live line is drawn there.
        self._console = console or Console(stderr=True, force_terminal=None if sys.stderr.isatty() else False)
        self._interval = interval_s
        self._clock = clock
        self._stages: dict[str, _Stage] = {}
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def message(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage_started(self, name: str, tasks: int, done: int) -> None:
        """See `execution.Listener`."""
        now, bar = self._clock(), TaskID(0)
        if self._bar:
            bar = self._bar.add_task(name, total=tasks, completed=done, rate="")
        else:
            self.message(f"{name}: {count(tasks, 'task')}, {done} done before")
        self._stages[name] = _Stage(tasks, done, now, done, now, bar)

    def task_done(self, name: str, result: TaskResult) -> None:
        """See `execution.Listener`."""
        stage, now = self._stages[name], self._clock()
        stage.done += 1
        stage.cell_years += result.cells * result.days / _DAYS_PER_YEAR
        if self._bar:
            self._bar.update(stage.bar, completed=stage.done, rate=f"{stage.rate(now):.2f} cell-years/s")
        elif now - stage.last_line >= self._interval:
            stage.last_line = now
            left = (stage.tasks - stage.done) * (now - stage.began) / (stage.done - stage.done_before)
            self.message(
                f"{name}: {stage.done}/{stage.tasks} tasks, {stage.rate(now):.2f} cell-years/s, {left:.0f} s left"
            )

    def block_failed(self, name: str, block: Block, period: Period, message: str) -> None:
        """See `execution.Listener`."""
        self._stages[name].failed += 1
        cells = f"cells {block.start} to {block.stop - 1}"
        self.message(f"{name}, block {block.index} ({cells}), {period}: set aside: {message}")

    def stage_finished(self, name: str) -> None:
        """See `execution.Listener`."""
        stage, now = self._stages[name], self._clock()
        failed = f", {count(stage.failed, 'block')} set aside" if stage.failed else ""
        self.message(f"{name}: done in {now - stage.began:.1f} s ({stage.rate(now):.2f} cell-years/s){failed}")
